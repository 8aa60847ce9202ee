/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keydiff_held.cu - KeyDiff in blocks: what is kept meets one block after another.
 *
 * A thread block has one head and goes through all of its steps, since each needs the one
 * before: it holds n tokens, takes the next block of them, adds all keys up at length 1,
 * scores each against that sum, and lets the best n stay, by the selection of select.cuh.
 * Lists of tokens and their scores lie in the work, one that is read and one that is
 * written. In the end a token that is held has its last score, every other NaN, which
 * ranks last: the top-k of the row that follows takes the former.
 */
#include "select.cuh"

enum { THREADS = KEYDIFF_THREADS, AT_ONCE = KEYDIFF_AT_ONCE, TILE = KEYDIFF_TILE };

/* One head at one step: what is held, and the block's shared memory. */
struct held_head {
	const struct held_task *t;
	uint32_t layer, head, n;	/* n: tokens held, the new ones too */
	const uint32_t *token;
	float *value;			/* their scores */
	double *sums;			/* [n_slots][dim] */
	double *of_warp;
	float *anchor, *inv;
	uint64_t *status;

	__device__ const char *row(uint32_t i) const
	{
		return row_at(t->k, layer, head, token[min(i, n - 1)], t->row_bytes);
	}
};

/* 1 / |key| of TILE held tokens from `first` on; 0 for a zero key. */
template <typename V>
__device__ static void invert_norms(const struct held_head &h, uint32_t first)
{
	const struct held_task &t = *h.t;
	uint32_t lane = threadIdx.x % t.lanes, step = THREADS / t.lanes;

	/* The same number of turns for all lanes of a warp, who add together. */
	for (uint32_t turn = 0; turn < TILE; turn += step) {
		uint32_t r = turn + threadIdx.x / t.lanes;
		const char *row = h.row(first + r);
		float sum = 0.0f;

		for (uint32_t i = lane; i < t.n_access; i += t.lanes) {
			float x[V::N];

			V::unpack(load_numbers<V>(row, i), x);
			for (uint32_t j = 0; j < V::N; j++)
				sum = fmaf(x[j], x[j], sum);
		}
		sum = lanes_sum(sum, t.lanes);
		/* Short rows have so few lanes that one turn reaches beyond the tile. */
		if (lane != 0 || r >= TILE || first + r >= h.n)
			continue;
		h.inv[r] = sum > 0.0f ? __fdiv_rn(1.0f, __fsqrt_rn(sum)) : 0.0f;
		if (!is_finite(sum))
			report_key<V>(row, t.n_access, h.status, h.layer, h.head,
				      h.token[first + r]);
	}
}

/* Add a tile's keys at length 1 to the sums; each has one thread. */
template <typename V>
__device__ static void add_tile(const struct held_head &h, uint32_t first)
{
	const struct held_task &t = *h.t;
	struct keydiff_grid g = keydiff_grid_of(t.n_access);
	uint32_t slot = threadIdx.x / g.n_cols, dim = t.k.rows.dim;
	uint32_t n_rows = min((uint32_t)TILE, h.n - first);

	for (uint32_t i = threadIdx.x % g.n_cols; slot < g.n_slots && i < t.n_access;
	     i += g.n_cols) {
		float sum[V::N] = { 0.0f };

#pragma unroll 4
		for (uint32_t r = slot; r < n_rows; r += g.n_slots) {
			float x[V::N];

			V::unpack(load_numbers<V>(h.row(first + r), i), x);
			for (uint32_t j = 0; j < V::N; j++)
				sum[j] = fmaf(x[j], h.inv[r], sum[j]);
		}
		for (uint32_t j = 0; j < V::N; j++)
			h.sums[slot * dim + i * V::N + j] += (double)sum[j];
	}
}

/* The sum of all held keys at length 1, brought to length 1. Ends with a barrier. */
template <typename V>
__device__ static void make_anchor(const struct held_head &h)
{
	uint32_t n_slots = keydiff_grid_of(h.t->n_access).n_slots, dim = h.t->k.rows.dim;
	double squares = 0.0, length = 0.0;

	for (uint32_t d = threadIdx.x; d < n_slots * dim; d += THREADS)
		h.sums[d] = 0.0;
	for (uint32_t first = 0; first < h.n; first += TILE) {
		invert_norms<V>(h, first);
		__syncthreads();
		add_tile<V>(h, first);
		__syncthreads();
	}
	for (uint32_t d = threadIdx.x; d < dim; d += THREADS) {
		double sum = 0.0;

		for (uint32_t s = 0; s < n_slots; s++)
			sum += h.sums[s * dim + d];
		h.sums[d] = sum;
		squares += sum * sum;
	}
	squares = lanes_sum(squares, WARP);
	if (threadIdx.x % WARP == 0)
		h.of_warp[threadIdx.x / WARP] = squares;
	__syncthreads();
	for (uint32_t i = 0; i < THREADS / WARP; i++)
		length += h.of_warp[i];
	length = sqrt(length);
	for (uint32_t d = threadIdx.x; d < dim; d += THREADS)
		h.anchor[d] = length > 0.0 ? (float)(h.sums[d] / length) : 0.0f;
	__syncthreads();
}

/* -cos(key, anchor) of every held token. */
template <typename V>
__device__ static void score_held(const struct held_head &h)
{
	const struct held_task &t = *h.t;
	uint32_t lane = threadIdx.x % t.lanes, step = THREADS / t.lanes;

	for (uint32_t turn = 0; turn < h.n; turn += step * AT_ONCE) {
		uint32_t first = turn + threadIdx.x / t.lanes;
		float squares[AT_ONCE] = { 0.0f }, dot[AT_ONCE] = { 0.0f };
		const char *row[AT_ONCE];

#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++)
			row[u] = h.row(first + u * step);
		for (uint32_t i = lane; i < t.n_access; i += t.lanes) {
			typename V::raw raw[AT_ONCE];

#pragma unroll
			for (uint32_t u = 0; u < AT_ONCE; u++)
				raw[u] = load_numbers<V>(row[u], i);
#pragma unroll
			for (uint32_t u = 0; u < AT_ONCE; u++) {
				float x[V::N];

				V::unpack(raw[u], x);
#pragma unroll
				for (uint32_t j = 0; j < V::N; j++) {
					squares[u] = fmaf(x[j], x[j], squares[u]);
					dot[u] = fmaf(x[j], h.anchor[i * V::N + j], dot[u]);
				}
			}
		}
#pragma unroll
		for (uint32_t u = 0; u < AT_ONCE; u++) {
			float n2 = lanes_sum(squares[u], t.lanes);
			float d = lanes_sum(dot[u], t.lanes);

			if (lane == 0 && first + u * step < h.n)
				h.value[first + u * step] =
					n2 > 0.0f ? __fdiv_rn(-d, __fsqrt_rn(n2)) : 0.0f;
		}
	}
}

struct held_source {
	const float *value;

	__device__ float load(uint32_t i) const
	{
		return value[i];
	}

	__device__ uint32_t key(uint32_t, float x) const
	{
		return score_key(x);
	}
};

/* The best n of the held to `token` and `value`, in their order. Ends with a barrier. */
__device__ static void let_stay(const struct held_head &h, uint32_t n,
				struct select_room *room, uint32_t *token, float *value)
{
	struct held_source source = { h.value };
	const uint32_t *from = h.token;
	const float *from_value = h.value;
	/* Begins with a barrier, after which all values are there. */
	select_row<THREADS, false, struct held_source> held(source, room, h.n);
	struct select_cut c = held.cut(n);

	held.rank(c, [=](const struct select_rank &r) {
		uint32_t at = r.n_better + min(r.n_equal, c.n_equal);

		if (r.key > c.key || (r.key == c.key && r.n_equal < c.n_equal)) {
			token[at] = from[r.index];
			value[at] = from_value[r.index];
		}
	});
}

template <typename V>
__device__ static __forceinline__ void
held_kernel(const struct held_task &t, float *score, uint64_t *status)
{
	CKV_SHARED(double, area);
	uint32_t dim = t.k.rows.dim, n_tokens = t.k.rows.n_tokens, next = t.n;
	uint32_t n_slots = keydiff_grid_of(t.n_access).n_slots;
	uint32_t *token = t.token + (size_t)blockIdx.x * 2 * t.room, *to = token + t.room;
	float *value = t.value + (size_t)blockIdx.x * 2 * t.room, *to_value = value + t.room;
	double *of_warp = area + n_slots * dim;
	float *anchor = (float *)(of_warp + THREADS / WARP), *inv = anchor + dim;
	struct select_room *room = (struct select_room *)(inv + TILE);
	float *row = score + (size_t)blockIdx.x * n_tokens;

	for (uint32_t i = threadIdx.x; i < t.n; i += THREADS)
		token[i] = i;
	while (next < n_tokens) {
		uint32_t n_new = min(t.block, n_tokens - next);
		struct held_head h = { &t, blockIdx.x / t.k.rows.n_heads * t.k.layer_step,
				       blockIdx.x % t.k.rows.n_heads, t.n + n_new, token,
				       value, area, of_warp, anchor, inv, status };

		for (uint32_t i = threadIdx.x; i < n_new; i += THREADS)
			token[t.n + i] = next + i;
		next += n_new;
		__syncthreads();
		make_anchor<V>(h);
		score_held<V>(h);
		let_stay(h, t.n, room, to, to_value);
		token = to;
		value = to_value;
		to = (uint32_t *)h.token;
		to_value = h.value;
	}
	for (uint32_t i = threadIdx.x; i < n_tokens; i += THREADS)
		row[i] = NAN;
	__syncthreads();
	for (uint32_t i = threadIdx.x; i < t.n; i += THREADS)
		row[token[i]] = value[i];
}

#define HELD(V)									\
	CKV_ENTRY(keydiff_held_##V, (THREADS, 2),				\
		  (const __grid_constant__ struct held_task t, float *score,	\
		   uint64_t *status),						\
		  held_kernel<V>(t, score, status))
CKV_EACH_NUMBERS(HELD)
