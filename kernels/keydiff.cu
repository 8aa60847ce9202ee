/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keydiff.cu - how much each key differs from the mean direction of all keys.
 *
 * Three launches for an object. Tiles: each block adds its tokens' unit vectors, one
 * column a thread, and leaves a sum in double. Anchors: the tiles of each head are
 * added in order and brought to length 1. Scores: one more read of K, as in norms.cu.
 * K is read twice, the second time from the L2 cache where it fits.
 */
#include "kernels/keys.cuh"

enum { THREADS = KEYDIFF_THREADS, AT_ONCE = KEYDIFF_AT_ONCE, TILE = KEYDIFF_TILE };

/* 1 / |key| of the tile's rows to inv; 0 for a zero key. */
template <typename V>
__device__ static void invert_norms(const struct keydiff_task &t, uint32_t layer,
				    uint32_t head, uint32_t first,
				    uint32_t n_rows, float *inv, uint64_t *status)
{
	struct key_lanes l = key_lanes_of(t.lane_bits, THREADS);

	/* The same number of turns for all lanes of a warp, who add together. */
	for (uint32_t turn = 0; turn < TILE; turn += l.n_rows) {
		uint32_t r = turn + l.row;
		const char *row = row_at(t.k, layer, head,
					 first + min(r, n_rows - 1), t.row_bytes);
		float sum = 0.0f;

		for (uint32_t i = l.lane; i < t.n_access; i += l.n) {
			float x[V::N];

			V::unpack(load_numbers<V>(row, i), x);
			for (uint32_t j = 0; j < V::N; j++)
				sum = fmaf(x[j], x[j], sum);
		}
		sum = lanes_sum(sum, l.n);
		if (l.lane != 0 || r >= n_rows)
			continue;
		inv[r] = sum > 0.0f ? __fdiv_rn(1.0f, __fsqrt_rn(sum)) : 0.0f;
		if (!is_finite(sum))
			report_key<V>(row, t.n_access, status, layer, head,
				      first + r);
	}
}

template <typename V>
__device__ static __forceinline__ void
tiles_kernel(const struct keydiff_task &t, uint64_t *status)
{
	CKV_SHARED(float, inv);		/* [TILE] */
	float *const sums = inv + TILE;	/* [n_slots][dim] */
	struct keydiff_grid g = keydiff_grid_of(t.n_access);
	uint32_t index = blockIdx.x / t.n_tiles, dim = t.k.rows.dim;
	uint32_t first = blockIdx.x % t.n_tiles * TILE;
	uint32_t n_rows = min((uint32_t)TILE, t.k.rows.n_tokens - first);
	uint32_t layer = index / t.k.rows.n_heads * t.k.layer_step;
	uint32_t head = index % t.k.rows.n_heads;
	uint32_t slot = threadIdx.x / g.n_cols, col = threadIdx.x % g.n_cols;

	invert_norms<V>(t, layer, head, first, n_rows, inv, status);
	__syncthreads();
	for (uint32_t i = col; slot < g.n_slots && i < t.n_access;
	     i += g.n_cols) {
		float sum[V::N] = { 0.0f };

#pragma unroll 4
		for (uint32_t r = slot; r < n_rows; r += g.n_slots) {
			float x[V::N];

			V::unpack(load_numbers<V>(row_at(t.k, layer, head,
							 first + r, t.row_bytes),
						  i), x);
			for (uint32_t j = 0; j < V::N; j++)
				sum[j] = fmaf(x[j], inv[r], sum[j]);
		}
		for (uint32_t j = 0; j < V::N; j++)
			sums[slot * dim + i * V::N + j] = sum[j];
	}
	__syncthreads();
	for (uint32_t d = threadIdx.x; d < dim; d += THREADS) {
		double sum = 0.0;

		for (uint32_t s = 0; s < g.n_slots; s++)
			sum += (double)sums[s * dim + d];
		t.tile_sum[(size_t)blockIdx.x * dim + d] = sum;
	}
}

__device__ static __forceinline__ void anchor_kernel(const struct keydiff_task &t)
{
	CKV_SHARED(double, sums);	/* [dim], then one for each warp */
	uint32_t dim = t.k.rows.dim;
	const double *tile = t.tile_sum + (size_t)blockIdx.x * t.n_tiles * dim;
	double squares = 0.0, length = 0.0;

	for (uint32_t d = threadIdx.x; d < dim; d += THREADS) {
		double sum = 0.0;

#pragma unroll 8
		for (uint32_t i = 0; i < t.n_tiles; i++)
			sum += tile[(size_t)i * dim + d];
		sums[d] = sum;
		squares += sum * sum;
	}
	squares = lanes_sum(squares, WARP);
	if (threadIdx.x % WARP == 0)
		sums[dim + threadIdx.x / WARP] = squares;
	__syncthreads();
	for (uint32_t i = 0; i < THREADS / WARP; i++)
		length += sums[dim + i];
	length = sqrt(length);
	for (uint32_t d = threadIdx.x; d < dim; d += THREADS)
		t.unit[(size_t)blockIdx.x * dim + d] =
			length > 0.0 ? (float)(sums[d] / length) : 0.0f;
}

template <typename V>
__device__ static __forceinline__ void
score_kernel(const struct keydiff_task &t, uint32_t n_tiles, float *__restrict__ score)
{
	struct key_lanes l = key_lanes_of(t.lane_bits, THREADS);
	uint32_t index = blockIdx.x / n_tiles, head = index % t.k.rows.n_heads;
	uint32_t layer = index / t.k.rows.n_heads * t.k.layer_step;
	uint32_t first = blockIdx.x % n_tiles * l.n_rows * AT_ONCE + l.row;
	const float *unit = t.unit + (size_t)index * t.k.rows.dim;
	float squares[AT_ONCE] = { 0.0f }, dot[AT_ONCE] = { 0.0f };
	const char *row[AT_ONCE];

#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++)
		row[u] = row_at(t.k, layer, head, min(first + u * l.n_rows,
			t.k.rows.n_tokens - 1), t.row_bytes);
	for (uint32_t i = l.lane; i < t.n_access; i += l.n) {
		typename V::raw raw[AT_ONCE];
		float a[V::N];

#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++)
			raw[u] = load_numbers<V>(row[u], i);
#pragma unroll
		for (uint32_t j = 0; j < V::N; j++)
			a[j] = __ldg(unit + i * V::N + j);
#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++) {
			float x[V::N];

			V::unpack(raw[u], x);
#pragma unroll
			for (uint32_t j = 0; j < V::N; j++) {
				squares[u] = fmaf(x[j], x[j], squares[u]);
				dot[u] = fmaf(x[j], a[j], dot[u]);
			}
		}
	}
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++) {
		uint32_t token = first + u * l.n_rows;
		float n2 = lanes_sum(squares[u], l.n);
		float d = lanes_sum(dot[u], l.n);

		if (l.lane == 0 && token < t.k.rows.n_tokens)
			score[(size_t)index * t.k.rows.n_tokens + token] =
				n2 > 0.0f ? __fdiv_rn(-d, __fsqrt_rn(n2)) : 0.0f;
	}
}

#define TASK	const __grid_constant__ struct keydiff_task t
#define TILES(V)								\
	CKV_ENTRY(keydiff_tiles_##V, (THREADS, 4), (TASK, uint64_t *status),	\
		  tiles_kernel<V>(t, status))
#define SCORE(V)								\
	CKV_ENTRY(keydiff_score_##V, (THREADS),					\
		  (TASK, uint32_t n_tiles, float *__restrict__ score),		\
		  score_kernel<V>(t, n_tiles, score))
CKV_EACH_NUMBERS(TILES)
CKV_ENTRY(keydiff_anchor, (THREADS), (TASK), anchor_kernel(t))
CKV_EACH_NUMBERS(SCORE)
