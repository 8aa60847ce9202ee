/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_stage.cuh - window scoring: the rows that a block holds, the keys of a warp.
 *
 * When a block gets to another kv head, its query rows are put into shared memory, each
 * with the reference that is subtracted from its logits. Keys come tile after tile, and
 * each lane looks up the address of a row one tile ahead. NaN, infinity and numbers too
 * large for a product are noticed on the way: in queries when they are put into shared
 * memory, in keys by the largest magnitude in the registers. Only then is the row read
 * again to find which number it was.
 */
#ifndef CKV_KERNELS_WINDOW_STAGE_CUH
#define CKV_KERNELS_WINDOW_STAGE_CUH

#include "kernels/window.h"
#include "kernels/window_mma.cuh"
#include "kernels/window_task.cuh"

#include <float.h>

struct stage {			/* in shared memory, of the rows at hand */
	char *query;		/* [rows] of M::ROW_BYTES */
	float *ref;		/* [rows]: log2 of the denominator; infinity: padding */
	float *norm;		/* [rows]: sum of magnitudes */
	float4 *sums;		/* PASS_SUMS: [warps][rows / 16][lanes] */
};

template <class M>
static __device__ __forceinline__ struct stage stage_in(const struct window_task &t,
							char *shared)
{
	uint32_t rows = t.unit_heads * t.head_rows;
	struct stage s;

	s.query = shared;
	s.ref = (float *)(s.query + rows * M::ROW_BYTES);
	s.norm = s.ref + rows;
	s.sums = (float4 *)(s.norm + rows);
	return s;
}

static __device__ void report(const struct window_task &t, enum cuda_fault kind,
			      const struct window_unit &u, enum ckv_input input,
			      uint32_t head, uint32_t token, uint32_t dim)
{
	fault_report(t.status, cuda_fault_word(kind, u.layer, input, head, token, dim));
}

/* ---------------------------------------------------------- rows of a unit */

static __device__ const char *query_at(const struct window_task &t,
				       const struct window_unit &u, struct window_row r)
{
	return r.there ? row_at(t.in.q, u.layer, r.head, r.query, t.q_bytes) : NULL;
}

template <class M>
static __device__ void stage_queries(const struct window_task &t,
				     const struct window_unit &u, uint32_t chunk,
				     const struct stage &s)
{
	const uint32_t AT_ONCE = 8;
	uint32_t n = t.unit_heads * t.head_rows * M::parts();

	for (uint32_t i = threadIdx.x; i < n; i += AT_ONCE * blockDim.x) {
		typename M::part part[AT_ONCE];

#pragma unroll
		for (uint32_t k = 0; k < AT_ONCE; k++) {
			uint32_t at = min(i + k * blockDim.x, n - 1), row = at / M::parts();

			part[k] = M::get(query_at(t, u, window_row_at(t, u, chunk, row)),
					 at % M::parts(), t.in.q.rows.dim);
		}
#pragma unroll
		for (uint32_t k = 0; k < AT_ONCE; k++) {
			uint32_t at = i + k * blockDim.x;

			if (at < n)
				M::put(s.query, at / M::parts(), at % M::parts(), part[k]);
		}
	}
}

/* Logarithm of a row's denominator, in base 2, from its maxima and sums. */
static __device__ float join_partials(const struct window_task &t, uint32_t layer,
				      struct window_row r)
{
	const float2 *from = window_partial_at(t, layer, r, 0);
	float max = -INFINITY;
	double sum = 0.0;

	for (uint32_t i = 0; i < t.n_segments; i++)
		max = fmaxf(max, from[(size_t)i * t.window].x);
	for (uint32_t i = 0; i < t.n_segments; i++) {
		float2 part = from[(size_t)i * t.window];

		sum += (double)(part.y * exp2_fast(part.x - max));
	}
	return max + log2f((float)sum);
}

/* What is subtracted from the row's logits; an engine's lse that is not finite is reported. */
template <enum pass PASS>
static __device__ float row_reference(const struct window_task &t,
				      const struct window_unit &u, struct window_row r)
{
	float lse;

	if (!r.there)
		return INFINITY;
	if (PASS == PASS_SUMS)
		return 0.0f;
	if (PASS == PASS_SCORES)
		return join_partials(t, u.index, r);
	lse = t.in.lse[((size_t)u.layer * t.in.q.rows.n_heads + r.head) * t.window +
		       r.query];
	if (!is_finite(lse))
		report(t, CUDA_FAULT_DOM, u, CKV_INPUT_LSE, r.head, r.query, 0);
	return lse * LOG2_E;
}

/* Sum of magnitudes, added as the CPU adds them; infinity if one is broken, or too large. */
template <class M>
static __device__ float query_norm(const struct window_task &t,
				   const struct window_unit &u, struct window_row r)
{
	const char *row = query_at(t, u, r);
	enum ckv_elem elem = t.in.q.rows.elem;
	uint32_t dim = t.in.q.rows.dim, d = 0;
	float sum;

	if (row == NULL)
		return 0.0f;
	sum = M::magnitudes(row, dim, elem);
	if (sum < INFINITY)
		return sum;
	while (d < dim && is_finite(elem_load(row, d, elem)))
		d++;
	if (d < dim)
		report(t, CUDA_FAULT_DOM, u, CKV_INPUT_QUERY, r.head, r.query, d);
	else
		report(t, CUDA_FAULT_RANGE, u, CKV_INPUT_QUERY, r.head, r.query, 0);
	return INFINITY;
}

/*
 * Put the rows of a unit in the stage. Returns the largest magnitude that a key may
 * have; with a larger one a product could overflow. FLT_MAX if a query is broken, so that
 * of the keys only those that are not finite are reported as well.
 */
template <class M, enum pass PASS>
static __device__ float enter_rows(const struct window_task &t,
				   const struct window_unit &u, uint32_t chunk,
				   const struct stage &s)
{
	uint32_t rows = t.unit_heads * t.head_rows;
	float norm = 1.0f;

	__syncthreads();	/* everybody is done with the rows before */
	stage_queries<M>(t, u, chunk, s);
	for (uint32_t i = threadIdx.x; i < rows; i += blockDim.x) {
		struct window_row r = window_row_at(t, u, chunk, i);

		s.ref[i] = row_reference<PASS>(t, u, r);
		s.norm[i] = PASS == PASS_SCORES ? 0.0f : query_norm<M>(t, u, r);
	}
	__syncthreads();
	for (uint32_t i = 0; PASS != PASS_SCORES && i < rows; i++)
		norm = fmaxf(norm, s.norm[i]);
	return norm < INFINITY ? WINDOW_LOGIT_LIMIT / norm : FLT_MAX;
}

/* ------------------------------------------------------------ keys of a tile */

/* The row of a key that this lane asked for ahead of its time. */
struct ahead {
	const char *row;
	uint32_t layer, head, first;	/* of the tile that it belongs to */
};

template <class M>
static __device__ __forceinline__ struct ahead look_ahead(
	const struct window_task &t, const struct window_unit &u, uint32_t first,
	struct lane_place at)
{
	struct ahead a = { NULL, u.layer, u.head, first };
	uint32_t token = first + at.lane;

	if (at.lane < 8 * M::TILES && token < t.in.k.rows.n_tokens) {
		a.row = row_at(t.in.k, u.layer, u.head, token, t.k_bytes);
		for (uint32_t i = 0; i < t.k_bytes; i += 128)
			prefetch_l2(a.row + i);
	}
	return a;
}

/* Report the first number of a token's key that is not finite, or is too large. */
static __device__ void report_key(const struct window_task &t,
				  const struct window_unit &u, uint32_t token, float limit)
{
	const char *row;

	if (token >= t.in.k.rows.n_tokens)
		return;
	row = row_at(t.in.k, u.layer, u.head, token, t.k_bytes);
	for (uint32_t d = 0; d < t.in.k.rows.dim; d++) {
		float x = elem_load(row, d, t.in.k.rows.elem);

		if (fabsf(x) <= limit)
			continue;
		report(t, is_finite(x) ? CUDA_FAULT_RANGE : CUDA_FAULT_DOM, u,
		       CKV_INPUT_KEY, u.head, token, d);
	}
}

/*
 * The keys of the tile at `first` into registers; the one `step` further is next.
 * True if logits mean anything: no key of the tile and no query is broken.
 */
template <class M, enum pass PASS>
static __device__ __forceinline__ bool load_tile(
	const struct window_task &t, const struct window_unit &u, uint32_t first,
	uint32_t step, float limit, struct lane_place at, struct ahead *next, M *keys)
{
	const char *row[M::KEYS];
	bool sound;

	if (next->first != first || next->head != u.head || next->layer != u.layer)
		*next = look_ahead<M>(t, u, first, at);
#pragma unroll
	for (uint32_t i = 0; i < M::KEYS; i++)
		row[i] = shuffle_address(next->row, M::token(i, at));
	keys->load(t.in, at, row);
	*next = look_ahead<M>(t, u, first + step, at);
	sound = PASS == PASS_SCORES || __all_sync(ALL_LANES, keys->top() <= limit);
	for (uint32_t i = 0; !sound && i < M::KEYS; i++)
		report_key(t, u, first + M::token(i, at), limit);
	return sound && limit < FLT_MAX;
}

/* The sixteen rows from `row` on, which begin with query `query`, against the keys. */
template <class M>
static __device__ __forceinline__ void dot_rows(
	const struct window_task &t, const struct stage &s, const M &keys, uint32_t row,
	uint32_t query, uint32_t first, struct lane_place at, float dots[M::TILES][4])
{
#pragma unroll
	for (int n = 0; n < M::TILES; n++)
		dots[n][0] = dots[n][1] = dots[n][2] = dots[n][3] = 0.0f;
	keys.dot(s.query, row, at, dots);
	if (first + 8 * M::TILES <= t.n_scored)
		return;
#pragma unroll
	for (uint32_t i = 0; i < 4 * M::TILES; i++) {
		uint32_t token = first + 8 * (i / 4) + 2 * at.q + i % 2;

		/* A query sees the keys up to its own. */
		if (token > t.n_scored + query + at.g + 8 * (i % 4 / 2))
			dots[i / 4][i % 4] = -INFINITY;
	}
}

#endif
