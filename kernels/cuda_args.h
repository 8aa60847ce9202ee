/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_args.h - inside the CUDA launchers: judging arguments, packing faults.
 *
 * Plain C, so that it is built and tested where there is no nvcc.
 */
#ifndef CKV_KERNELS_CUDA_ARGS_H
#define CKV_KERNELS_CUDA_ARGS_H

#include "kernels/ckv_cuda.h"

#ifdef __CUDACC__
#define CUDA_BOTH	__host__ __device__
#else
#define CUDA_BOTH
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* 0, or -EINVAL: rows that cannot be. */
int cuda_rows_check(const struct ckv_cuda_rows *r);

/* Do b's layers, heads, tokens and kind of number match a's? 0 or -EINVAL. */
int cuda_rows_match(const struct ckv_cuda_rows *a, const struct ckv_cuda_rows *b);

uint32_t cuda_row_bytes(const struct ckv_cuda_rows *r);

/* Bytes of the widest access (16, 8, 4 or 2) by which every row can be read whole. */
uint32_t cuda_rows_unit(const struct ckv_cuda_rows *r);
uint32_t cuda_out_unit(const struct ckv_cuda_out *out, uint32_t unit);

int cuda_work_check(const void *work);

/* Hand out the next piece of the work, aligned; with NULL only measure. */
void *cuda_carve(void *work, size_t *used, size_t bytes);

/* 0, or -EINVAL: a set of survivors that the rows cannot have. */
int cuda_kept_check(const struct ckv_cuda_kept *kept,
		    const struct ckv_cuda_rows *rows);

/* The status word of a fault, ordered as ckv_cuda.h says. */
enum cuda_fault { CUDA_FAULT_DOM, CUDA_FAULT_RANGE, CUDA_FAULT_POSITION };

CUDA_BOTH static inline uint64_t cuda_fault_word(enum cuda_fault kind,
						 uint32_t layer,
						 enum ckv_input input,
						 uint32_t head, uint32_t token,
						 uint32_t dim)
{
	return (uint64_t)kind << 61 | (uint64_t)layer << 49 |
	       (uint64_t)input << 46 | (uint64_t)head << 36 |
	       (uint64_t)token << 10 | dim;
}

#ifdef __cplusplus
}
#endif
#endif
