/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keydiff.cu - how much each key differs from the mean direction of all keys.
 *
 * Three launches for an object. Tiles: each block adds its tokens' unit vectors, one
 * column a thread, and leaves a sum in double; rows of 8, 16 or 32 accesses, which are
 * those of most models, stay in registers for it. Anchors: the tiles of each head are
 * added in order and brought to length 1. Scores: one more read of K, as in norms.cu.
 * K is read twice, by tiles and by scores, the second time from the L2 cache where it
 * fits.
 */
#include "kernels/keys.cuh"

enum { THREADS = KEYDIFF_THREADS, AT_ONCE = KEYDIFF_AT_ONCE, TILE = KEYDIFF_TILE };

struct key_tile {		/* of a block */
	uint32_t layer, head, first, n_rows;
};

/* Row r of the tile; the last one again past its end. */
__device__ static inline const char *tile_row(const struct keydiff_task &t,
					      const struct key_tile &tile, uint32_t r)
{
	return row_at(t.k, tile.layer, tile.head, tile.first + min(r, tile.n_rows - 1),
		      t.row_bytes);
}

/*
 * 1 / |key| for row r's sum of squares, 0 for a zero key and past the tile's end. The lane
 * with `reports` tells of a row that is no number.
 */
template <typename V>
__device__ static inline float inverse_of(const struct keydiff_task &t,
					  const struct key_tile &tile, uint32_t r,
					  float squares, bool reports, uint64_t *status)
{
	if (r >= tile.n_rows)
		return 0.0f;
	if (reports && !is_finite(squares))
		report_key<V>(tile_row(t, tile, r), t.n_access, status, tile.layer,
			      tile.head, tile.first + r);
	return squares > 0.0f ? __fdiv_rn(1.0f, __fsqrt_rn(squares)) : 0.0f;
}

/*
 * Where each lane has one access of a row: the columns' sums of a thread's rows. It holds
 * AT_ONCE of them until their lengths are known, so rows are read once.
 */
template <typename V>
__device__ static inline void add_held(const struct keydiff_task &t,
				       const struct key_tile &tile,
				       const struct key_lanes &l, float *sum,
				       uint64_t *status)
{
	uint32_t first_lane = threadIdx.x % WARP - l.lane;

	/* The same number of turns for all lanes of a warp, who add together. */
#pragma unroll 1
	for (uint32_t r = l.row; r - l.row < tile.n_rows; r += AT_ONCE * l.n_rows) {
		const char *row[AT_ONCE];
		typename V::raw raw[AT_ONCE];
		float squares[AT_ONCE], inverse;

#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++)
			row[u] = tile_row(t, tile, r + u * l.n_rows);
		load_rows<V, AT_ONCE>(row, l.lane, raw);
#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++)
			squares[u] = add_squares<V>(raw[u], 0.0f);
		inverse = share_sums<AT_ONCE>(squares, l);
		inverse = inverse_of<V>(t, tile, r + shared_row<AT_ONCE>(l) * l.n_rows, inverse,
					is_first_with_row<AT_ONCE>(l), status);
#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++) {
			float x[V::N], by = __shfl_sync(ALL_LANES, inverse, first_lane +
							lane_with_row<AT_ONCE>(l, u));

			V::unpack(raw[u], x);
#pragma unroll
			for (uint32_t j = 0; j < V::N; j++)
				sum[j] = fmaf(x[j], by, sum[j]);
		}
	}
}

/* Other rows are read twice. First 1 / |key| of the tile's rows to inv. */
template <typename V>
__device__ static void invert_norms(const struct keydiff_task &t,
				    const struct key_tile &tile,
				    const struct key_lanes &l, float *inv,
				    uint64_t *status)
{
	for (uint32_t r = l.row; r - l.row < TILE; r += AT_ONCE * l.n_rows) {
		uint32_t mine = r + shared_row<AT_ONCE>(l) * l.n_rows;
		float squares[AT_ONCE] = { 0.0f }, inverse;
		const char *row[AT_ONCE];

#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++)
			row[u] = tile_row(t, tile, r + u * l.n_rows);
		for (uint32_t i = l.lane; i < t.n_access; i += l.n) {
			typename V::raw raw[AT_ONCE];

			load_rows<V, AT_ONCE>(row, i, raw);
#pragma unroll
			for (uint32_t u = 0; u < AT_ONCE; u++)
				squares[u] = add_squares<V>(raw[u], squares[u]);
		}
		inverse = share_sums<AT_ONCE>(squares, l);
		if (is_first_with_row<AT_ONCE>(l) && mine < tile.n_rows)
			inv[mine] = inverse_of<V>(t, tile, mine, inverse, true, status);
	}
}

/* Then the sums of the columns, those of n_slots threads one below the other. */
template <typename V>
__device__ static void add_again(const struct keydiff_task &t, const struct key_tile &tile,
				 const float *inv, float *sums)
{
	struct keydiff_grid g = keydiff_grid_of(t.n_access);
	uint32_t slot = threadIdx.x / g.n_cols, col = threadIdx.x % g.n_cols;

	for (uint32_t i = col; slot < g.n_slots && i < t.n_access; i += g.n_cols) {
		float sum[V::N] = { 0.0f };

#pragma unroll 4
		for (uint32_t r = slot; r < tile.n_rows; r += g.n_slots) {
			float x[V::N];

			V::unpack(load_numbers<V>(row_at(t.k, tile.layer, tile.head,
							 tile.first + r, t.row_bytes), i),
				  x);
			for (uint32_t j = 0; j < V::N; j++)
				sum[j] = fmaf(x[j], inv[r], sum[j]);
		}
		for (uint32_t j = 0; j < V::N; j++)
			sums[slot * t.k.rows.dim + i * V::N + j] = sum[j];
	}
}

template <typename V>
__device__ static __forceinline__ void
tiles_kernel(const struct keydiff_task &t, uint64_t *status)
{
	CKV_SHARED(float, inv);		/* [TILE] */
	float *const sums = inv + TILE;	/* [n_slots][dim] */
	struct key_lanes l = key_lanes_of(t.lane_bits, THREADS);
	uint32_t n_slots = keydiff_grid_of(t.n_access).n_slots, dim = t.k.rows.dim;
	uint32_t index = blockIdx.x / t.n_tiles, first = blockIdx.x % t.n_tiles * TILE;
	struct key_tile tile = { index / t.k.rows.n_heads * t.k.layer_step,
				 index % t.k.rows.n_heads, first,
				 min((uint32_t)TILE, t.k.rows.n_tokens - first) };

	if (V::N > 1 && t.n_access == l.n) {
		float sum[V::N] = { 0.0f };

		add_held<V>(t, tile, l, sum, status);
#pragma unroll
		for (uint32_t j = 0; j < V::N; j++)
			sums[l.row * dim + l.lane * V::N + j] = sum[j];
	} else {
		invert_norms<V>(t, tile, l, inv, status);
		__syncthreads();
		add_again<V>(t, tile, inv, sums);
	}
	__syncthreads();
	for (uint32_t d = threadIdx.x; d < dim; d += THREADS) {
		double sum = 0.0;

		for (uint32_t s = 0; s < n_slots; s++)
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

/* N numbers of the mean direction. */
template <uint32_t N>
__device__ static inline void load_unit(const float *unit, uint32_t i, float *x)
{
	if constexpr (N == 1) {
		x[0] = __ldg(unit + i);
	} else {
#pragma unroll
		for (uint32_t j = 0; j < N; j += 4)
			f32x4::unpack(load_numbers<f32x4>((const char *)unit, (i * N + j) / 4),
				      x + j);
	}
}

template <typename V>
__device__ static __forceinline__ void
score_kernel(const struct keydiff_task &t, uint32_t n_tiles, float *__restrict__ score)
{
	struct key_lanes l = key_lanes_of(t.lane_bits, THREADS);
	uint32_t index = blockIdx.x / n_tiles, head = index % t.k.rows.n_heads;
	uint32_t layer = index / t.k.rows.n_heads * t.k.layer_step;
	uint32_t first = blockIdx.x % n_tiles * l.n_rows * AT_ONCE + l.row, token;
	const float *unit = t.unit + (size_t)index * t.k.rows.dim;
	float squares[AT_ONCE] = { 0.0f }, dot[AT_ONCE] = { 0.0f }, n2, d;
	const char *row[AT_ONCE];

#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++)
		row[u] = row_at(t.k, layer, head, min(first + u * l.n_rows,
			t.k.rows.n_tokens - 1), t.row_bytes);
	for (uint32_t i = l.lane; i < t.n_access; i += l.n) {
		typename V::raw raw[AT_ONCE];
		float a[V::N];

		load_rows<V, AT_ONCE>(row, i, raw);
		load_unit<V::N>(unit, i, a);
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
	n2 = share_sums<AT_ONCE>(squares, l);
	d = share_sums<AT_ONCE>(dot, l);
	token = first + shared_row<AT_ONCE>(l) * l.n_rows;
	if (is_first_with_row<AT_ONCE>(l) && token < t.k.rows.n_tokens)
		score[(size_t)index * t.k.rows.n_tokens + token] =
			n2 > 0.0f ? __fdiv_rn(-d, __fsqrt_rn(n2)) : 0.0f;
}

#define TASK	const __grid_constant__ struct keydiff_task t
#define TILES(V)								\
	CKV_ENTRY(keydiff_tiles_##V, (THREADS, 3), (TASK, uint64_t *status),	\
		  tiles_kernel<V>(t, status))
#define SCORE(V)								\
	CKV_ENTRY(keydiff_score_##V, (THREADS, 4),					\
		  (TASK, uint32_t n_tiles, float *__restrict__ score),		\
		  score_kernel<V>(t, n_tiles, score))
CKV_EACH_NUMBERS(TILES)
CKV_ENTRY(keydiff_anchor, (THREADS), (TASK), anchor_kernel(t))
CKV_EACH_NUMBERS(SCORE)
