/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_image.c - the device code of each .cu file, for every GPU that the build knew.
 *
 * With CKV_CUDA_CODE nvcc's fatbins are put here by the assembler, and the Makefile sees
 * to it that they are there. A build without nvcc has none, and the launchers say so.
 */
#include "kernels/cuda_launch.h"

#ifdef CKV_CUDA_CODE
#define CODE(file)								\
	__asm__(".pushsection .rodata\n\t.balign 64\n"				\
		"ckv_code_" #file ":\n\t"					\
		".incbin \"build/kernels/" #file ".cu.fatbin\"\n\t.popsection");	\
	extern const char ckv_code_##file[] __attribute__((visibility("hidden")));
#define IMAGE(file)	ckv_code_##file,
CKV_CUDA_FILES(CODE)
#else
#define IMAGE(file)	NULL,
#endif

const void *const cuda_image[N_CUDA_FILES] = { CKV_CUDA_FILES(IMAGE) };
