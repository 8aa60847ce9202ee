/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_body.h - window scoring of one kv head, once per instruction set.
 *
 * Whoever includes this has defined
 *
 *   LANES        floats in a vector
 *   PANEL_ROWS   4 or 8: query rows held in registers against one tile
 *   PACK         4 or 8: numbers transposed at a time
 *   TARGET       attribute that switches the instruction set on
 *   FMA(a,b,c)   a * b + c on vectors
 *   MAX(a,b)     the larger, lane by lane
 *   ANY(mask)    is any lane of an integer mask set?
 *   UMAX(a,b)    the larger, on PACK unsigned words
 *   WIDEN(p)     PACK 16-bit words at p as 32-bit words
 *
 * and gets `static const struct window_code code`.
 *
 * A tile is three vectors of tokens wide. Its keys become float, transposed,
 * once, and stay in L1 while every panel of queries passes: PANEL_ROWS * 3
 * sums in registers, one multiply-add each per dimension. The logits of a
 * panel are turned into exponentials at once. What they are divided by is only
 * known after the last tile, so exponentials are kept (they lie in L2 and L3,
 * and reading them back costs a tenth of computing them again).
 *
 * exp(logit - reference) with any reference near the row's maximum serves as
 * well as with the maximum itself. So the reference moves only when a logit
 * exceeds it by WINDOW_SLACK, which is rare, and no reduction across lanes
 * stands between the logits and their exponentials.
 */
#include "kernels/window.h"
#include "kernels/window_lanes.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static const float zero_row[CKV_KERNEL_MAX_DIM];

static int key_fault(const struct window_head *w, uint32_t first)
{
	const struct ckv_rows *k = &w->in->k;

	for (uint32_t t = first; t < k->n_tokens; t++) {
		uint32_t d = window_row_fault(ckv_rows_at(k, w->head, t),
					      k->dim, k->elem);

		if (d < k->dim) {
			*w->fault = (struct ckv_fault){
				CKV_INPUT_KEY, w->head, t, d };
			return -EDOM;
		}
	}
	return 0;
}

/* Tokens from `first` on, as floats and transposed, into w->k; zeros past T. */
static TARGET int pack_tile(const struct window_head *w, uint32_t first,
			    float query_norm)
{
	const struct ckv_rows *k = &w->in->k;
	uint32_t top = 0;

	for (uint32_t t = 0; t < TILE_TOKENS; t += PACK) {
		const void *row[PACK];
		uint32_t bits;

		for (uint32_t i = 0; i < PACK; i++)
			row[i] = first + t + i < k->n_tokens
				? ckv_rows_at(k, w->head, first + t + i)
				: zero_row;
		bits = pack_any(row, k->dim, k->elem, w->k + t);
		top = bits > top ? bits : top;
	}
	if (top >= 0x7f800000u)
		return key_fault(w, first);
	if (elem_from_bits(top) > WINDOW_LOGIT_LIMIT / query_norm)
		return -ERANGE;
	return 0;
}

/* Queries into panels. *ret_norm: the largest sum of magnitudes of a row. */
static int pack_queries(const struct window_head *w, float *ret_norm)
{
	const struct ckv_rows *q = &w->in->q;
	uint32_t n_panel_rows = (w->n_rows + PANEL_ROWS - 1) / PANEL_ROWS *
				PANEL_ROWS;
	float norm = 0.0f;

	for (uint32_t r = 0; r < n_panel_rows; r++) {
		uint32_t head = w->head * w->group + r / w->window;
		uint32_t token = r % w->window;
		float *to = w->q + (size_t)(r / PANEL_ROWS) * PANEL_ROWS *
			    q->dim + r % PANEL_ROWS;
		const void *row = r < w->n_rows ? ckv_rows_at(q, head, token)
						: zero_row;
		float sum = 0.0f;

		for (uint32_t d = 0; d < q->dim; d++) {
			float x = elem_at(row, d, q->elem);

			to[(size_t)d * PANEL_ROWS] = x;
			sum += fabsf(x);
		}
		if (!(sum < INFINITY)) {
			uint32_t d = window_row_fault(row, q->dim, q->elem);

			if (d == q->dim)
				return -ERANGE;
			*w->fault = (struct ckv_fault){
				CKV_INPUT_QUERY, head, token, d };
			return -EDOM;
		}
		norm = sum > norm ? sum : norm;
	}
	*ret_norm = norm > 1.0f ? norm : 1.0f;
	return 0;
}

#if PANEL_ROWS == 4
#define EACH_ROW(do) do(0) do(1) do(2) do(3)
#else
#define EACH_ROW(do) do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7)
#endif
#define ZERO(r) vf a##r = { 0 }, b##r = { 0 }, c##r = { 0 };
#define STEP(r) {					\
		vf s = splat(q[r]);			\
		a##r = FMA(s, k0, a##r);		\
		b##r = FMA(s, k1, b##r);		\
		c##r = FMA(s, k2, c##r);		\
	}
#define STORE(r)					\
	store(x + (r) * TILE_TOKENS, a##r);		\
	store(x + (r) * TILE_TOKENS + LANES, b##r);	\
	store(x + (r) * TILE_TOKENS + 2 * LANES, c##r);

/* x[PANEL_ROWS][TILE_TOKENS] = q[dim][PANEL_ROWS] . k[dim][TILE_TOKENS] */
static TARGET __attribute__((noinline))
void dot_panel(const float *q, const float *k, uint32_t dim, float *x)
{
	EACH_ROW(ZERO)

#pragma GCC unroll 4
	for (uint32_t d = 0; d < dim; d++) {
		vf k0 = load(k), k1 = load(k + LANES), k2 = load(k + 2 * LANES);

		EACH_ROW(STEP)
		q += PANEL_ROWS;
		k += TILE_TOKENS;
	}
	EACH_ROW(STORE)
}

/* A query does not see later tokens: take those after its own out of row `r` of a tile. */
static void mask_row(const struct window_head *w, uint32_t r, uint32_t first,
		     float *x)
{
	uint32_t n_seen = w->n_scored + r % w->window + 1;

	for (uint32_t t = 0; t < TILE_TOKENS; t++)
		if (first + t >= n_seen)
			x[t] = -INFINITY;
}

/*
 * The row's largest logit is too far above its reference: raise the reference to
 * it, and scale what was summed so far to the new one. -EDOM if the reference is an
 * lse that the engine gave, which a logit cannot be above.
 */
static int raise_reference(const struct window_head *w, uint32_t r, float max)
{
	double *sum = w->row_sum + (size_t)r * LANES;
	double by;

	if (w->in->lse != NULL) {
		*w->fault = (struct ckv_fault){
			CKV_INPUT_LSE, w->head * w->group + r / w->window,
			r % w->window, 0 };
		return -EDOM;
	}
	by = exp((double)w->row_ref[r] - (double)max);
	for (int i = 0; i < LANES; i++)
		sum[i] *= by;
	w->row_ref[r] = max;
	return 0;
}

/* Dot products x of row r become exponentials e, and join the row's sum. */
INLINE int exp_row(const struct window_head *w, uint32_t r, float slack,
		   const float *x, float *e)
{
	vf a = load(x), b = load(x + LANES), c = load(x + 2 * LANES);
	vf max = MAX(MAX(a, b), c), scale = splat(w->scale), ref;
	double *sum = w->row_sum + (size_t)r * LANES;

	if (ANY(max * scale > splat(w->row_ref[r] + slack))) {
		int bad = raise_reference(w, r, largest_lane(max * scale));

		if (bad < 0)
			return bad;
	}
	ref = splat(-w->row_ref[r]);
	a = FMA(a, scale, ref);
	b = FMA(b, scale, ref);
	c = FMA(c, scale, ref);
	exp_three(&a, &b, &c);
	store(e, a);
	store(e + LANES, b);
	store(e + 2 * LANES, c);
	*(vd *)sum += __builtin_convertvector(a + b + c, vd);
	return 0;
}

/*
 * Prefetch a token's row, one of the next tile's. Always inline, because gcc takes a
 * function that only prefetches for one without effect and deletes the calls.
 */
INLINE void prefetch_row(const struct ckv_rows *k, uint32_t head,
				uint32_t token)
{
	size_t row_bytes = k->dim * ckv_elem_bytes(k->elem);
	const char *row;

	if (token >= k->n_tokens)
		return;
	row = ckv_rows_at(k, head, token);
	for (size_t at = 0; at < row_bytes; at += 64)
		__builtin_prefetch(row + at);
}

/* Rows [first, first + n) of one panel. */
static TARGET int exp_panel(const struct window_head *w, uint32_t first,
			    uint32_t n, float slack, const float *x, float *e)
{
	for (uint32_t i = 0; i < n; i++) {
		int r = exp_row(w, first + i, slack, x + i * TILE_TOKENS,
				e + i * TILE_TOKENS);

		if (r < 0)
			return r;
	}
	return 0;
}

/* All rows against the tile in w->k, which begins at token `first`. */
static TARGET int exp_tile(const struct window_head *w, uint32_t first,
			   float *e)
{
	float x[PANEL_ROWS * TILE_TOKENS] __attribute__((aligned(64)));
	uint32_t dim = w->in->k.dim;
	float slack = w->in->lse != NULL ? WINDOW_LSE_SLACK : WINDOW_SLACK;
	int masked = first + TILE_TOKENS > w->n_scored;

	for (uint32_t r = 0; r < w->n_rows; r += PANEL_ROWS) {
		uint32_t n = w->n_rows - r < PANEL_ROWS ? w->n_rows - r
							: PANEL_ROWS;
		int bad;

		dot_panel(w->q + (size_t)r * dim, w->k, dim, x);
		for (uint32_t i = 0; masked && i < n; i++)
			mask_row(w, r + i, first, x + i * TILE_TOKENS);
		/* The next tile, a token at a time while there are panels. */
		if (r / PANEL_ROWS < TILE_TOKENS)
			prefetch_row(&w->in->k, w->head,
				     first + TILE_TOKENS + r / PANEL_ROWS);
		bad = exp_panel(w, r, n, slack, x,
				e + (size_t)r * TILE_TOKENS);
		if (bad < 0)
			return bad;
	}
	return 0;
}

/* Write the scores of a tile: its exponentials, weighted, summed over rows. */
static TARGET void reduce_tile(const struct window_head *w, uint32_t first,
			       const float *e)
{
	float out[TILE_TOKENS] __attribute__((aligned(64)));
	uint32_t n = w->n_scored - first;

	if (n > TILE_TOKENS)
		n = TILE_TOKENS;
	for (uint32_t g = 0; g < w->group; g++) {
		const float *factor = w->factor + (size_t)g * w->window;
		vf a = { 0 }, b = { 0 }, c = { 0 };

		for (uint32_t i = 0; i < w->window; i++, e += TILE_TOKENS) {
			vf f = splat(factor[i]);

			a = FMA(load(e), f, a);
			b = FMA(load(e + LANES), f, b);
			c = FMA(load(e + 2 * LANES), f, c);
		}
		store(out, a);
		store(out + LANES, b);
		store(out + 2 * LANES, c);
		memcpy(w->score + (size_t)g * w->n_scored + first, out,
		       n * sizeof *out);
	}
}

/*
 * For each row, what turns exponentials of a tile that subtracted `ref` into
 * probabilities.
 */
static TARGET void set_factors(const struct window_head *w, const float *ref)
{
	for (uint32_t r = 0; r < w->rows_pad; r += LANES)
		store(w->factor + r,
		      exp_lanes(load(ref + r) - load(w->row_ref + r)) *
		      load(w->row_inv + r));
}

static int start_rows(const struct window_head *w)
{
	const float *lse = w->in->lse;

	for (uint32_t r = 0; r < w->rows_pad; r++) {
		uint32_t head = w->head * w->group + r / w->window;
		uint32_t i = r % w->window;

		w->row_ref[r] = r < w->n_rows ? -1e38f : 0.0f;
		w->row_inv[r] = 1.0f;
		w->factor[r] = 1.0f;
		if (lse == NULL || r >= w->n_rows)
			continue;
		w->row_ref[r] = lse[(size_t)head * w->window + i];
		if (!isfinite(w->row_ref[r])) {
			*w->fault = (struct ckv_fault){
				CKV_INPUT_LSE, head, i, 0 };
			return -EDOM;
		}
	}
	memset(w->row_sum, 0, (size_t)w->rows_pad * LANES * sizeof(double));
	return 0;
}

static void finish_rows(const struct window_head *w)
{
	for (uint32_t r = 0; r < w->n_rows; r++) {
		double sum = 0.0;

		for (int i = 0; i < LANES; i++)
			sum += w->row_sum[(size_t)r * LANES + (size_t)i];
		w->row_inv[r] = (float)(1.0 / sum);
	}
}

/* Pass over all tiles; with a given lse it also reduces them. */
static int first_pass(const struct window_head *w, float query_norm)
{
	size_t tile_floats = (size_t)w->rows_pad * TILE_TOKENS;

	for (uint32_t i = 0; i < w->n_tiles; i++) {
		uint32_t first = i * TILE_TOKENS;
		uint32_t slot = i < w->n_kept ? i : w->n_kept;
		float *e = w->kept + slot * tile_floats;
		int r;

		r = pack_tile(w, first, query_norm);
		if (r < 0)
			return r;
		r = exp_tile(w, first, e);
		if (r < 0)
			return r;
		if (i < w->n_kept)
			memcpy(w->ref + (size_t)i * w->rows_pad, w->row_ref,
			       w->rows_pad * sizeof(float));
		else if (w->in->lse != NULL && first < w->n_scored)
			reduce_tile(w, first, e);
	}
	return 0;
}

/* Reduce what was kept; compute again, and reduce, what was not. */
static int second_pass(const struct window_head *w, float query_norm)
{
	size_t tile_floats = (size_t)w->rows_pad * TILE_TOKENS;
	float *spare = w->kept + w->n_kept * tile_floats;

	/* Backwards: the tiles written last are still in the cache. */
	for (uint32_t i = w->n_kept; i-- > 0;) {
		set_factors(w, w->ref + (size_t)i * w->rows_pad);
		reduce_tile(w, i * TILE_TOKENS, w->kept + i * tile_floats);
	}
	set_factors(w, w->row_ref);
	for (uint32_t first = w->n_kept * TILE_TOKENS; first < w->n_scored;
	     first += TILE_TOKENS) {
		int r = pack_tile(w, first, query_norm);

		if (r < 0)
			return r;
		r = exp_tile(w, first, spare);
		if (r < 0)
			return r;
		reduce_tile(w, first, spare);
	}
	return 0;
}

static int score_head(struct window_head *w)
{
	float query_norm;
	int r;

	r = pack_queries(w, &query_norm);
	if (r < 0)
		return r;
	r = start_rows(w);
	if (r < 0)
		return r;
	r = first_pass(w, query_norm);
	if (r < 0 || w->in->lse != NULL)
		return r;
	finish_rows(w);
	return second_pass(w, query_norm);
}

static const struct window_code code = {
	.tile_tokens = TILE_TOKENS,
	.panel_rows = PANEL_ROWS,
	.lanes = LANES,
	.score_head = score_head,
};
