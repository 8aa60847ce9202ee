/* SPDX-License-Identifier: Apache-2.0 */
/*
 * declared.c - the declarations of cuda_driver.h, cuda_device.h and the tests against cuda.h.
 *
 * Compiled only, where there is a toolkit. Behind cuda.h these headers leave their own
 * types out, so their prototypes are written with cuda.h's; each must then be the one
 * that the toolkit has for that name and version (cudaTypedefs.h), and each number the
 * toolkit's.
 */
#include <cuda.h>

#include <cudaTypedefs.h>

#include "kernels/cuda_device.h"
#include "tests/gpu/device.h"

#define NUMBER(name, value)	_Static_assert((int)(name) == (value), #name);
CKV_CUDA_NUMBERS(NUMBER)
CKV_CUDA_DEVICE_NUMBERS(NUMBER)
GPU_NUMBERS(NUMBER)

/* cuda.h renames functions to their newest versions, so names are pasted, not expanded. */
#define SAME(name, version, parameters)						\
	_Static_assert(__builtin_types_compatible_p(PFN_##name##_v##version,	\
						    CUresult (*) parameters), #name);
CKV_CUDA_FUNCTIONS(SAME)
CKV_CUDA_DEVICE_FUNCTIONS(SAME)
GPU_FUNCTIONS(SAME)
