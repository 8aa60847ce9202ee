/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norms.cu - L2 norm of every key of an object: one read of K.
 *
 * As many lanes as a row has vectors (a power of two, at most a warp) add up one row; each
 * thread works on AT_ONCE rows, whose loads do not wait for each other. The time is that
 * of reading all keys; 4 bytes a row are written.
 */
#include "common.cuh"

enum { THREADS = NORMS_THREADS, AT_ONCE = NORMS_AT_ONCE };

template <typename V>
__device__ static __forceinline__ void
norms_kernel(struct ckv_cuda_rows k, uint32_t lanes, uint32_t n_tiles,
	     float *__restrict__ norm, uint64_t *status)
{
	uint32_t n_access = k.rows.dim / V::N, row_bytes = n_access * V::BYTES;
	uint32_t index = blockIdx.x / n_tiles, head = index % k.rows.n_heads;
	uint32_t layer = index / k.rows.n_heads * k.layer_step;
	uint32_t step = THREADS / lanes, lane = threadIdx.x % lanes;
	uint32_t first = blockIdx.x % n_tiles * step * AT_ONCE +
			 threadIdx.x / lanes;
	const char *row[AT_ONCE];
	float sum[AT_ONCE];

#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++) {
		uint32_t token = min(first + u * step, k.rows.n_tokens - 1);

		row[u] = row_at(k, layer, head, token, row_bytes);
		sum[u] = 0.0f;
	}
	for (uint32_t i = lane; i < n_access; i += lanes) {
		typename V::raw raw[AT_ONCE];

#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++)
			raw[u] = load_numbers<V>(row[u], i);
#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++) {
			float x[V::N];

			V::unpack(raw[u], x);
#pragma unroll
			for (uint32_t j = 0; j < V::N; j++)
				sum[u] = fmaf(x[j], x[j], sum[u]);
		}
	}
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++) {
		uint32_t token = first + u * step;
		float all = lanes_sum(sum[u], lanes);

		if (lane != 0 || token >= k.rows.n_tokens)
			continue;
		norm[(size_t)index * k.rows.n_tokens + token] = __fsqrt_rn(all);
		if (!is_finite(all))
			report_key<V>(row[u], n_access, status, layer, head,
				      token);
	}
}

#define NORMS(V)								\
	CKV_ENTRY(norms_##V, (THREADS), (struct ckv_cuda_rows k,	\
		  uint32_t lanes, uint32_t n_tiles, float *__restrict__ norm,		\
		  uint64_t *status),							\
		  norms_kernel<V>(k, lanes, n_tiles, norm, status))
CKV_EACH_NUMBERS(NORMS)
