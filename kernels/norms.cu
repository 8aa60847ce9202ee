/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norms.cu - L2 norm of every key of an object: one read of K.
 *
 * A few lanes add up one row (keys.cuh); each thread works on AT_ONCE rows, whose loads do
 * not wait for each other, and ends up with the sum of one of them. The time is that of
 * reading all keys; 4 bytes a row are written. Three blocks on a multiprocessor leave a thread the registers
 * that these loads need; with more, the compiler has fewer of them under way.
 */
#include "kernels/keys.cuh"

enum { THREADS = NORMS_THREADS, AT_ONCE = NORMS_AT_ONCE };

template <typename V>
__device__ static __forceinline__ void
norms_kernel(struct ckv_cuda_rows k, uint32_t lane_bits, uint32_t n_tiles,
	     float *__restrict__ norm, uint64_t *status)
{
	struct key_lanes l = key_lanes_of(lane_bits, THREADS);
	uint32_t n_access = k.rows.dim / V::N, row_bytes = n_access * V::BYTES;
	uint32_t index = blockIdx.x / n_tiles, head = index % k.rows.n_heads;
	uint32_t layer = index / k.rows.n_heads * k.layer_step;
	uint32_t first = blockIdx.x % n_tiles * l.n_rows * AT_ONCE + l.row, token;
	const char *row[AT_ONCE];
	float sum[AT_ONCE] = { 0.0f }, all;

#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++)
		row[u] = row_at(k, layer, head,
				min(first + u * l.n_rows, k.rows.n_tokens - 1), row_bytes);
	for (uint32_t i = l.lane; i < n_access; i += l.n) {
		typename V::raw raw[AT_ONCE];

		load_rows<V, AT_ONCE>(row, i, raw);
#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++)
			sum[u] = add_squares<V>(raw[u], sum[u]);
	}
	all = share_sums<AT_ONCE>(sum, l);
	token = first + shared_row<AT_ONCE>(l) * l.n_rows;
	if (!is_first_with_row<AT_ONCE>(l) || token >= k.rows.n_tokens)
		return;
	norm[(size_t)index * k.rows.n_tokens + token] = __fsqrt_rn(all);
	if (!is_finite(all))
		report_key<V>(row_at(k, layer, head, token, row_bytes), n_access, status,
			      layer, head, token);
}

#define NORMS(V)								\
	CKV_ENTRY(norms_##V, (THREADS, 3), (struct ckv_cuda_rows k,	\
		  uint32_t lane_bits, uint32_t n_tiles, float *__restrict__ norm,		\
		  uint64_t *status),							\
		  norms_kernel<V>(k, lane_bits, n_tiles, norm, status))
CKV_EACH_NUMBERS(NORMS)
