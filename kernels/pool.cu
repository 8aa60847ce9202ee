/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.cu - smoothing scores over neighbours, and reducing rows to one.
 *
 * A thread per result; neighbours and rows of a group come from the first-level cache.
 * The same additions in the same order as pool.c, so the same bits.
 */
#include "pool.cuh"

enum { THREADS = POOL_THREADS };

__device__ static __forceinline__ void
pool_kernel(enum ckv_pool pool, uint32_t kernel, const float *__restrict__ in,
	    uint32_t n, uint32_t n_tiles, float *__restrict__ out)
{
	size_t row = (size_t)(blockIdx.x / n_tiles) * n;
	uint32_t at = blockIdx.x % n_tiles * THREADS + threadIdx.x;
	struct pool_part part;

	if (at >= n)
		return;
	part = pool_part_of(at, kernel, n);
	out[row + at] = pool_span(pool, kernel, in + row + part.from,
				  part.to - part.from);
}

__device__ static __forceinline__ void
reduce_kernel(enum ckv_reduce reduce, const float *__restrict__ in,
	      uint32_t group, uint32_t n, uint32_t n_tiles,
	      float *__restrict__ out)
{
	size_t row = blockIdx.x / n_tiles;
	uint32_t at = blockIdx.x % n_tiles * THREADS + threadIdx.x;

	if (at < n)
		out[row * n + at] = reduce_at(reduce, in + row * group * n + at,
					      group, n);
}

CKV_ENTRY(pool, (THREADS),
	  (enum ckv_pool pool, uint32_t kernel, const float *__restrict__ in, uint32_t n,
	   uint32_t n_tiles, float *__restrict__ out),
	  pool_kernel(pool, kernel, in, n, n_tiles, out))

CKV_ENTRY(reduce, (THREADS),
	  (enum ckv_reduce reduce, const float *__restrict__ in, uint32_t group, uint32_t n,
	   uint32_t n_tiles, float *__restrict__ out),
	  reduce_kernel(reduce, in, group, n, n_tiles, out))
