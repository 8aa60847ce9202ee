/* SPDX-License-Identifier: Apache-2.0 */
/* pool.cuh - one pooled score, one reduced score; as pool.c rounds them. */
#ifndef CKV_KERNELS_POOL_CUH
#define CKV_KERNELS_POOL_CUH

#include "common.cuh"

/* The neighbours of `at` that there are: [from, to) of n. */
struct pool_part {
	uint32_t from, to;
};

__device__ static inline struct pool_part pool_part_of(uint32_t at,
						       uint32_t kernel,
						       uint32_t n)
{
	uint32_t half = kernel / 2;

	return { at < half ? 0 : at - half, n - at > half ? at + half + 1 : n };
}

/* Pool the n numbers x of a span, left to right. */
__device__ static inline float pool_span(enum ckv_pool pool, uint32_t kernel,
					 const float *x, uint32_t n)
{
	float sum = 0.0f, best = -INFINITY;

	if (pool == CKV_POOL_AVG) {
		for (uint32_t i = 0; i < n; i++)
			sum += x[i];
		return __fdiv_rn(sum, (float)kernel);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (x[i] != x[i])
			return x[i];
		if (x[i] > best)
			best = x[i];
	}
	return best;
}

/* Reduce n_rows numbers, row_stride apart; sums in double, rounded once. */
__device__ static inline float reduce_at(enum ckv_reduce reduce, const float *in,
					 uint32_t n_rows, size_t row_stride)
{
	float best = __ldg(in);
	double sum = 0.0;

	if (reduce == CKV_REDUCE_MAX) {
		for (uint32_t i = 1; i < n_rows; i++) {
			float x = __ldg(in + i * row_stride);

			if (x > best || x != x)
				best = x;
		}
		return best;
	}
#pragma unroll 4
	for (uint32_t i = 0; i < n_rows; i++)
		sum += (double)__ldg(in + i * row_stride);
	return (float)(reduce == CKV_REDUCE_MEAN ? sum / n_rows : sum);
}

#endif
