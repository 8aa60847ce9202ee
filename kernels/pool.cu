/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.cu - smoothing scores over neighbours, and reducing rows to one.
 *
 * A thread per result; neighbours and rows of a group come from the first-level cache.
 * The same additions in the same order as pool.c, so the same bits.
 */
#include "pool.cuh"

enum { THREADS = 256 };

__global__ void __launch_bounds__(THREADS)
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

__global__ void __launch_bounds__(THREADS)
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

int ckv_cuda_pool(enum ckv_pool pool, uint32_t kernel, const float *in,
		  uint32_t n_rows, uint32_t n, float *out, void *stream)
{
	uint32_t n_tiles = ceil_div(n, (uint32_t)THREADS);
	uint64_t n_blocks = (uint64_t)n_rows * n_tiles;

	if (!pool_ok(pool, kernel) || n_blocks > INT32_MAX ||
	    (n_blocks > 0 && (in == NULL || out == NULL)))
		return -EINVAL;
	if (n_blocks == 0)
		return 0;	/* an empty grid is a launch error */
	CKV_LAUNCH(pool_kernel, (uint32_t)n_blocks, THREADS, 0, stream, pool,
		   kernel, in, n, n_tiles, out);
	return launch_result();
}

int ckv_cuda_reduce(enum ckv_reduce reduce, const float *in, uint32_t n_groups,
		    uint32_t group, uint32_t n, float *out, void *stream)
{
	uint32_t n_tiles = ceil_div(n, (uint32_t)THREADS);
	uint64_t n_blocks = (uint64_t)n_groups * n_tiles;

	if (!reduce_ok(reduce) || group == 0 || n_blocks > INT32_MAX ||
	    (n_blocks > 0 && (in == NULL || out == NULL)))
		return -EINVAL;
	if (n_blocks == 0)
		return 0;
	CKV_LAUNCH(reduce_kernel, (uint32_t)n_blocks, THREADS, 0, stream, reduce,
		   in, group, n, n_tiles, out);
	return launch_result();
}
