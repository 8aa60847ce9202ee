/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_kernels.h - every kernel of the .cu files, by file and name.
 *
 * CKV_CUDA_KERNELS(do) is do(FILE, NAME) for each, in the order of their numbers: the
 * kernel is ckvk_NAME in FILE.cu, where a CKV_ENTRY() has it. Those of a family follow
 * each other, so a launcher adds to the number of the first; the functions at the end
 * say what. Plain C.
 */
#ifndef CKV_KERNELS_CUDA_KERNELS_H
#define CKV_KERNELS_CUDA_KERNELS_H

#include "kernels/ckv_rows.h"

#include <stdbool.h>
#include <stdint.h>

/* Rows read in accesses of 16 bytes, or number by number: see cuda_numbers(). */
#define CKV_NUMBERS(do, file, name)						\
	do(file, name##_f32x4) do(file, name##_f32x1)				\
	do(file, name##_bf16x8) do(file, name##_bf16x1)				\
	do(file, name##_f16x8) do(file, name##_f16x1)

/* Codes of 8, 4 or 2 bits: see cuda_bits(). */
#define CKV_BITS(do, file, name)						\
	do(file, name##_8) do(file, name##_4) do(file, name##_2)

/* Rows of up to 2048 or 8192 numbers, or longer ones: see select_kernel_of(). */
#define CKV_SELECTS(do, file, name)						\
	do(file, name##_2048) do(file, name##_8192) do(file, name##_long)

/* Passes of window scoring: enum pass. */
#define CKV_PASSES(do, file, name)						\
	do(file, name##_sums) do(file, name##_scores) do(file, name##_lse)

/* Eight numbers a thread, or one. */
#define CKV_WIDTHS(do, file, name)						\
	do(file, name##_x8) do(file, name##_x1)

#define CKV_CUDA_KERNELS(do)							\
	do(begin, begin)							\
	do(checksum, pieces)							\
	do(checksum, join)							\
	CKV_SELECTS(do, chunk_keep, keep)					\
	do(chunk_keep, newest)							\
	do(chunk_score, chunk_scores)						\
	do(chunkkv, chunkkv_begin)						\
	CKV_NUMBERS(do, convert, encode_plain)					\
	CKV_NUMBERS(do, convert, encode_bf16)					\
	CKV_NUMBERS(do, convert, encode_f16)					\
	CKV_NUMBERS(do, convert, encode_fp8)					\
	CKV_NUMBERS(do, convert, encode_fp8_block)				\
	CKV_NUMBERS(do, convert, amax)						\
	do(convert, clear)							\
	CKV_WIDTHS(do, decode, decode_f32_f32)					\
	CKV_WIDTHS(do, decode, decode_bf16_f32)					\
	CKV_WIDTHS(do, decode, decode_bf16_bf16)				\
	CKV_WIDTHS(do, decode, decode_bf16_f16)					\
	CKV_WIDTHS(do, decode, decode_f16_f32)					\
	CKV_WIDTHS(do, decode, decode_f16_bf16)					\
	CKV_WIDTHS(do, decode, decode_f16_f16)					\
	CKV_WIDTHS(do, decode, decode_fp8_f32)					\
	CKV_WIDTHS(do, decode, decode_fp8_bf16)					\
	CKV_WIDTHS(do, decode, decode_fp8_f16)					\
	do(decode, decode_lone_f32_f32)						\
	do(decode, decode_lone_bf16_f32)					\
	do(decode, decode_lone_bf16_bf16)					\
	do(decode, decode_lone_f16_f32)						\
	do(decode, decode_lone_f16_f16)						\
	CKV_BITS(do, decode, decode_keys_bf16_f32)				\
	CKV_BITS(do, decode, decode_keys_bf16_bf16)				\
	CKV_BITS(do, decode, decode_keys_f16_f32)				\
	CKV_BITS(do, decode, decode_keys_f16_f16)				\
	CKV_BITS(do, decode, decode_values_bf16_f32)				\
	CKV_BITS(do, decode, decode_values_bf16_bf16)				\
	CKV_BITS(do, decode, decode_values_f16_f32)				\
	CKV_BITS(do, decode, decode_values_f16_f16)				\
	do(gather, gather_16)							\
	do(gather, gather_8)							\
	do(gather, gather_4)							\
	do(gather, gather_2)							\
	CKV_NUMBERS(do, keydiff, keydiff_tiles)					\
	do(keydiff, keydiff_anchor)						\
	CKV_NUMBERS(do, keydiff, keydiff_score)					\
	CKV_NUMBERS(do, keydiff_held, keydiff_held)				\
	CKV_BITS(do, kivi, kivi_lone_f32)					\
	CKV_BITS(do, kivi, kivi_lone_bf16)					\
	CKV_BITS(do, kivi, kivi_lone_f16)					\
	CKV_BITS(do, kivi, kivi_keys_bf16)					\
	CKV_BITS(do, kivi, kivi_keys_f16)					\
	CKV_BITS(do, kivi, kivi_values_bf16)					\
	CKV_BITS(do, kivi, kivi_values_f16)					\
	CKV_NUMBERS(do, norms, norms)						\
	do(pick, pick_begin)							\
	do(pick, pick_end)							\
	do(pick, pick_sums)							\
	do(pick, pick_random)							\
	do(pick, pick_streaming)						\
	do(pick, pick_spread)							\
	do(pick_blocks, pick_pairs)						\
	do(pick_blocks, pick_blocks)						\
	do(pool, pool)								\
	do(pool, reduce)							\
	CKV_SELECTS(do, select, select)						\
	do(snapkv_score, snapkv_scores)						\
	CKV_PASSES(do, window_score, window_plain)				\
	CKV_PASSES(do, window_score, window_bf16_64)				\
	CKV_PASSES(do, window_score, window_bf16_128)				\
	CKV_PASSES(do, window_score, window_bf16_256)				\
	CKV_PASSES(do, window_score, window_f16_64)				\
	CKV_PASSES(do, window_score, window_f16_128)				\
	CKV_PASSES(do, window_score, window_f16_256)

#define CKV_KERNEL_NUMBER(file, name)	KERNEL_##name,
enum cuda_kernel { CKV_CUDA_KERNELS(CKV_KERNEL_NUMBER) N_CUDA_KERNELS };
#undef CKV_KERNEL_NUMBER

/* The files with kernels, do(FILE) for each; FILE.cu becomes one image of device code. */
#define CKV_CUDA_FILES(do)							\
	do(begin) do(checksum) do(chunk_keep) do(chunk_score) do(chunkkv)	\
	do(convert) do(decode) do(gather) do(keydiff) do(keydiff_held) do(kivi)	\
	do(norms) do(pick) do(pick_blocks) do(pool) do(select) do(snapkv_score)	\
	do(window_score)

#define CKV_FILE_NUMBER(file)	CUDA_FILE_##file,
enum cuda_file { CKV_CUDA_FILES(CKV_FILE_NUMBER) N_CUDA_FILES };
#undef CKV_FILE_NUMBER

/* What to add for rows of `elem`. */
static inline uint32_t cuda_elem(enum ckv_elem elem)
{
	return elem == CKV_ELEM_F32 ? 0 : elem == CKV_ELEM_BF16 ? 1 : 2;
}

static inline uint32_t cuda_numbers(enum ckv_elem elem, bool wide)
{
	return 2 * cuda_elem(elem) + !wide;
}

static inline uint32_t cuda_bits(uint32_t bits)
{
	return bits == 8 ? 0 : bits == 4 ? 1 : 2;
}

#endif
