/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norms.cu - L2 norm of every key of an object: one read of K.
 *
 * As many lanes as a row has vectors (a power of two, at most a warp) add up one row; each
 * thread works on AT_ONCE rows, whose loads do not wait for each other. The time is that
 * of reading all keys; 4 bytes a row are written.
 */
#include "common.cuh"

enum { THREADS = 256, AT_ONCE = 8 };

template <typename V>
__global__ void __launch_bounds__(THREADS)
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

int ckv_cuda_norms(const struct ckv_cuda_rows *k, float *norm, uint64_t *status,
		   void *stream)
{
	uint32_t unit, lanes, n_tiles;
	bool wide;
	uint64_t n_blocks;

	if (cuda_rows_check(k) < 0 || norm == NULL || status == NULL)
		return -EINVAL;
	unit = cuda_rows_unit(k);
	wide = unit == 16;
	lanes = lanes_for(wide ? cuda_row_bytes(k) / unit : k->rows.dim);
	n_tiles = ceil_div(k->rows.n_tokens, THREADS / lanes * AT_ONCE);
	n_blocks = (uint64_t)k->n_layers * k->rows.n_heads * n_tiles;
	if (n_blocks > INT32_MAX)
		return -EINVAL;
	CKV_FOR_NUMBERS(k->rows.elem, wide, V,
		CKV_LAUNCH((norms_kernel<V>), (uint32_t)n_blocks, THREADS, 0,
			   stream, *k, lanes, n_tiles, norm, status););
	return launch_result();
}
