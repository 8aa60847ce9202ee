/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk_score.cu - one score per chunk of tokens, all heads of a layer together.
 *
 * A block takes as many chunks as make about TILE tokens (or one longer chunk, TILE
 * tokens at a time). Each token's heads are added by one thread into shared memory,
 * each chunk's tokens by one thread, in order: sums in double, rounded once, as
 * chunk_score.c does it.
 */
#include "common.cuh"

enum { THREADS = CHUNK_THREADS, TILE = CHUNK_TILE };

/* A window token's score: one above the highest, for every head. */
__device__ static float pad_of(uint32_t max_key, uint32_t n_heads)
{
	return (float)((double)(score_of_key(max_key) + 1.0f) * n_heads);
}

__device__ static float token_score(const struct chunk_task &t, const float *in,
				    uint32_t token, float pad)
{
	double sum = 0.0;

	if (token >= t.n_scored)
		return pad;
#pragma unroll 8
	for (uint32_t h = 0; h < t.n_heads; h++)
		sum += (double)__ldg(in + (size_t)h * t.n_scored + token);
	return (float)sum;
}

__device__ static __forceinline__ void
chunk_kernel(struct chunk_task t, const float *__restrict__ in,
	     const uint32_t *__restrict__ max, float *__restrict__ chunk_score)
{
	CKV_SHARED(float, token);
	uint32_t layer = blockIdx.x / t.n_blocks;
	uint32_t index = blockIdx.x % t.n_blocks * t.per_block + threadIdx.x;
	uint32_t first = blockIdx.x % t.n_blocks * t.per_block * t.chunk;
	uint32_t end = min(first + t.per_block * t.chunk, t.n_chunked);
	uint32_t from = first + threadIdx.x * t.chunk;	/* this thread's chunk */
	uint32_t to = min(from + t.chunk, t.n_chunked);
	bool has_chunk = threadIdx.x < t.per_block && index < t.n_chunks;
	const float *heads = in + (size_t)layer * t.n_heads * t.n_scored;
	float pad = max != nullptr ? pad_of(max[layer], t.n_heads) : 0.0f;
	double sum = 0.0;

	for (uint32_t tile = first; tile < end; tile += TILE) {
		uint32_t tile_end = min(tile + TILE, end);

		for (uint32_t i = tile + threadIdx.x; i < tile_end; i += THREADS)
			token[i - tile] = token_score(t, heads, i, pad);
		__syncthreads();
		if (has_chunk)
			for (uint32_t i = from > tile ? from : tile;
			     i < min(to, tile_end); i++)
				sum += (double)token[i - tile];
		__syncthreads();
	}
	if (has_chunk)
		chunk_score[(size_t)layer * t.n_chunks + index] =
			(float)(t.mean ? sum / (to - from) : sum);
}

CKV_ENTRY(chunk_scores, (THREADS),
	  (struct chunk_task t, const float *__restrict__ in,
	   const uint32_t *__restrict__ max, float *__restrict__ chunk_score),
	  chunk_kernel(t, in, max, chunk_score))
