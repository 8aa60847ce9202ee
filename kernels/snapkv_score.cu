/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapkv_score.cu - from the window's attention to one score a token and kv head.
 *
 * A block makes TILE scores of one kv head. What is pooled, the mean of a query head or
 * the reduced group, is put in shared memory once with its neighbours, so the
 * divisions are one a number and not one a neighbour. The same steps as snapkv.c in
 * the same order, so the same bits. Reads 4 bytes a query head and token.
 */
#include "pool.cuh"

enum { TILE = SNAPKV_TILE };

/* Numbers [from, to) of a query head, or of the reduced group, to shared memory. */
__device__ static void stage(const struct snapkv_task &t, const float *head,
			     uint32_t from, uint32_t to, float *staged)
{
	for (uint32_t i = from + threadIdx.x; i < to; i += TILE)
		staged[i - from] = t.pools_first
			? __fdiv_rn(__ldg(head + i), (float)t.window)
			: reduce_at(t.reduce, head + i, t.group, t.n);
	__syncthreads();
}

/* Pooled score of token `at`; staged[0] is number `from`. */
__device__ static float pooled(const struct snapkv_task &t, uint32_t at,
			       uint32_t from, const float *staged)
{
	struct pool_part part = pool_part_of(at, t.kernel, t.n);

	return pool_span(t.pool, t.kernel, staged + (part.from - from),
			 part.to - part.from);
}

__device__ static __forceinline__ void
snapkv_kernel(struct snapkv_task t, const float *__restrict__ score,
	      uint32_t *max, float *__restrict__ out)
{
	CKV_SHARED(float, staged);
	uint32_t head = blockIdx.x / t.n_tiles;	/* kv head, over all layers */
	uint32_t first = blockIdx.x % t.n_tiles * TILE, at = first + threadIdx.x;
	uint32_t last = min(first + TILE, t.n) - 1;
	uint32_t from = pool_part_of(first, t.kernel, t.n).from;
	uint32_t to = pool_part_of(last, t.kernel, t.n).to, best;
	const float *group = score + (size_t)head * t.group * t.n;
	float sum = 0.0f;

	for (uint32_t g = 0; g < (t.pools_first ? t.group : 1); g++) {
		float x = 0.0f;

		stage(t, group + (size_t)g * t.n, from, to, staged);
		if (at < t.n)
			x = pooled(t, at, from, staged);
		if (g == 0)
			sum = x;
		else if (t.reduce == CKV_REDUCE_MAX)
			sum = x > sum ? x : sum;
		else
			sum += x;
		__syncthreads();
	}
	if (t.pools_first && t.reduce == CKV_REDUCE_MEAN)
		sum *= __fdiv_rn(1.0f, (float)t.group);
	if (at < t.n)
		out[(size_t)head * t.n + at] = sum;
	if (max == nullptr)
		return;
	best = __reduce_max_sync(ALL_LANES, at < t.n ? score_key(sum) : 0);
	if (threadIdx.x % WARP == 0)
		atomicMax(&max[head / t.n_kv_heads], best);
}

CKV_ENTRY(snapkv_scores, (TILE),
	  (struct snapkv_task t, const float *__restrict__ score,
	   uint32_t *max, float *__restrict__ out),
	  snapkv_kernel(t, score, max, out))
