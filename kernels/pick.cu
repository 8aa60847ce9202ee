/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pick.cu - the small steps of ckv_cuda_select(): counts, and scores that need no keys.
 *
 * A thread makes one score. What the scores are is said in h2o.c, random.c and
 * streamingllm.c: the same steps, so the same bits.
 */
#include "pool.cuh"

enum { THREADS = PICK_THREADS };

/* Counts of layers, the budget of each of their rows, and what begins as nothing. */
__device__ static __forceinline__ void
begin_kernel(const struct pick_budgets &b, uint32_t n_sets, uint32_t *n, uint32_t *row_k,
	     uint32_t *max, uint64_t *fault)
{
	for (uint32_t i = threadIdx.x; i < b.n_layers; i += THREADS) {
		n[b.first + i] = b.n[i];
		if (max != nullptr)
			max[b.first + i] = 0;
		for (uint32_t s = 0; row_k != nullptr && s < n_sets; s++)
			row_k[(size_t)(b.first + i) * n_sets + s] = b.n[i];
	}
	if (threadIdx.x < PICK_RUNS)
		fault[threadIdx.x] = CKV_CUDA_OK;
}

/* The first fault of runs of layers, whose words count layers from the run's first. */
__device__ static __forceinline__ void
end_kernel(const struct pick_faults &f, uint64_t *status)
{
	uint32_t i = threadIdx.x;

	if (i >= f.n_runs || f.word[i] == CKV_CUDA_OK)
		return;
	fault_report(status, f.word[i] + cuda_fault_word(CUDA_FAULT_DOM, f.first[i],
							 CKV_INPUT_KEY, 0, 0, 0));
}

/* H2O: a group's sums of one token, which are judged one by one. */
__device__ static __forceinline__ void
sums_kernel(const struct sums_task &t, float *__restrict__ out, uint64_t *status)
{
	uint32_t row = blockIdx.x / t.n_tiles;	/* kv head, over all layers */
	uint32_t token = blockIdx.x % t.n_tiles * THREADS + threadIdx.x;
	const float *group = t.sums + (size_t)row * t.group * t.n_tokens + token;

	if (token >= t.n_tokens)
		return;
	for (uint32_t g = 0; g < t.group; g++)
		if (!is_finite(__ldg(group + (size_t)g * t.n_tokens)))
			fault_report(status, cuda_fault_word(
				CUDA_FAULT_DOM, row / t.n_heads, CKV_INPUT_SUM,
				row % t.n_heads * t.group + g, token, 0));
	out[(size_t)row * t.n_tokens + token] =
		reduce_at(t.reduce, group, t.group, t.n_tokens);
}

/* The step of SplitMix64. */
__device__ static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

__device__ static __forceinline__ void
random_kernel(uint64_t seed, uint32_t first_layer, uint32_t n, uint32_t n_tiles,
	      float *__restrict__ out)
{
	uint32_t layer = blockIdx.x / n_tiles;
	uint32_t token = blockIdx.x % n_tiles * THREADS + threadIdx.x;
	uint64_t stream = mix(mix(seed) + first_layer + layer);

	if (token < n)
		out[(size_t)layer * n + token] =
			__uint_as_float((uint32_t)(mix(stream + token) >> 34));
}

/* Sinks rank first, the first of them best; then the newest. */
__device__ static __forceinline__ void
streaming_kernel(uint32_t n_sink, uint32_t n, uint32_t n_tiles, float *__restrict__ out)
{
	uint32_t layer = blockIdx.x / n_tiles;
	uint32_t token = blockIdx.x % n_tiles * THREADS + threadIdx.x;
	uint32_t rank = token < n_sink ? token : n_sink + n - 1 - token;

	if (token < n)
		out[(size_t)layer * n + token] = __uint_as_float(0x7f000000u - rank);
}

/* Every token has its chunk's score. */
__device__ static __forceinline__ void
spread_kernel(const float *__restrict__ chunk_score, uint32_t n_chunks, uint32_t chunk,
	      uint32_t n, uint32_t n_tiles, float *__restrict__ out)
{
	uint32_t layer = blockIdx.x / n_tiles;
	uint32_t token = blockIdx.x % n_tiles * THREADS + threadIdx.x;

	if (token < n)
		out[(size_t)layer * n + token] =
			__ldg(chunk_score + (size_t)layer * n_chunks + token / chunk);
}

CKV_ENTRY(pick_begin, (THREADS),
	  (const __grid_constant__ struct pick_budgets b, uint32_t n_sets, uint32_t *n,
	   uint32_t *row_k, uint32_t *max, uint64_t *fault),
	  begin_kernel(b, n_sets, n, row_k, max, fault))
CKV_ENTRY(pick_end, (THREADS),
	  (const __grid_constant__ struct pick_faults f, uint64_t *status),
	  end_kernel(f, status))
CKV_ENTRY(pick_sums, (THREADS),
	  (const __grid_constant__ struct sums_task t, float *__restrict__ out,
	   uint64_t *status),
	  sums_kernel(t, out, status))
CKV_ENTRY(pick_random, (THREADS),
	  (uint64_t seed, uint32_t first_layer, uint32_t n, uint32_t n_tiles,
	   float *__restrict__ out),
	  random_kernel(seed, first_layer, n, n_tiles, out))
CKV_ENTRY(pick_streaming, (THREADS),
	  (uint32_t n_sink, uint32_t n, uint32_t n_tiles, float *__restrict__ out),
	  streaming_kernel(n_sink, n, n_tiles, out))
CKV_ENTRY(pick_spread, (THREADS),
	  (const float *__restrict__ chunk_score, uint32_t n_chunks, uint32_t chunk,
	   uint32_t n, uint32_t n_tiles, float *__restrict__ out),
	  spread_kernel(chunk_score, n_chunks, chunk, n, n_tiles, out))
