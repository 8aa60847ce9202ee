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

enum { THREADS = 256, TILE = 1024 };

struct chunk_task {
	uint32_t chunk, n_chunks, n_chunked;
	uint32_t n_scored;	/* T - w; later tokens have the pad */
	uint32_t n_heads;	/* rows of the input in a layer */
	uint32_t per_block, n_blocks;	/* chunks of a block, blocks of a layer */
	bool mean;
};

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

__global__ void __launch_bounds__(THREADS)
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

int ckv_cuda_chunk_scores(const struct ckv_chunkkv *m,
			  const struct ckv_shape *shape, uint32_t n_layers,
			  const float *in, const uint32_t *max,
			  float *chunk_score, void *stream)
{
	struct chunk_task t;
	bool kvpress;

	if (m == NULL || shape == NULL || m->chunk == 0 || m->window == 0 ||
	    shape->n_kv_heads == 0 || shape->n_q_heads == 0 ||
	    shape->n_tokens <= m->window ||
	    shape->n_tokens > CKV_KERNEL_MAX_TOKENS || n_layers == 0 ||
	    in == NULL || chunk_score == NULL)
		return -EINVAL;
	kvpress = m->mode == CKV_CHUNKKV_KVPRESS;
	if (kvpress != (max != NULL))
		return -EINVAL;
	t.chunk = min(m->chunk, shape->n_tokens);
	t.n_chunks = ckv_chunkkv_n_chunks(m, shape->n_tokens);
	t.n_scored = shape->n_tokens - m->window;
	t.n_chunked = kvpress ? shape->n_tokens : t.n_scored;
	t.n_heads = kvpress ? shape->n_kv_heads : shape->n_q_heads;
	t.per_block = t.chunk < TILE ? TILE / t.chunk : 1;
	if (t.per_block > THREADS)
		t.per_block = THREADS;
	t.n_blocks = ceil_div(t.n_chunks, t.per_block);
	t.mean = kvpress;
	if ((uint64_t)n_layers * t.n_blocks > INT32_MAX)
		return -EINVAL;
	CKV_LAUNCH(chunk_kernel, n_layers * t.n_blocks, THREADS,
		   TILE * sizeof(float), stream, t, in, max, chunk_score);
	return launch_result();
}
