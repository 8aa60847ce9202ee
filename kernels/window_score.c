/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_score.c - window scoring: choice of code, layout of the scratch.
 *
 * The code for one kv head is in window_body.h, compiled once per instruction
 * set; here the heads of a range are put through it one after another.
 */
#include "kernels/window.h"

#include <errno.h>
#include <math.h>

static size_t padded(size_t bytes)
{
	return (bytes + CKV_SCRATCH_ALIGN - 1) / CKV_SCRATCH_ALIGN *
	       CKV_SCRATCH_ALIGN;
}

/* Hand out the next piece of the scratch; with scratch NULL only measure. */
static void *carve(char *scratch, size_t *used, size_t bytes)
{
	void *piece = scratch == NULL ? NULL : scratch + *used;

	*used += padded(bytes);
	return piece;
}

/* Lay out one head's scratch into *w. Returns its bytes. */
static size_t lay_out(const struct window_code *code,
		      const struct ckv_window *in, void *scratch,
		      struct window_head *w)
{
	size_t dim = in->k.dim, used = 0, row_bytes, tile_bytes;

	w->in = in;
	w->group = in->q.n_heads / in->k.n_heads;
	w->window = in->q.n_tokens;
	w->n_rows = w->group * w->window;
	w->rows_pad = (w->n_rows + WINDOW_ROW_ALIGN - 1) / WINDOW_ROW_ALIGN *
		      WINDOW_ROW_ALIGN;
	w->n_scored = in->k.n_tokens - in->q.n_tokens;
	w->n_tiles = (in->k.n_tokens + code->tile_tokens - 1) /
		     code->tile_tokens;
	w->scale = (float)(1.0 / sqrt((double)dim));
	row_bytes = w->rows_pad * sizeof(float);
	tile_bytes = row_bytes * code->tile_tokens;

	w->n_kept = (w->n_scored + code->tile_tokens - 1) / code->tile_tokens;
	if (w->n_kept > WINDOW_KEEP_BYTES / tile_bytes)
		w->n_kept = (uint32_t)(WINDOW_KEEP_BYTES / tile_bytes);
	if (in->lse != NULL)
		w->n_kept = 0;

	w->q = carve(scratch, &used, row_bytes * dim);
	w->k = carve(scratch, &used, code->tile_tokens * dim * sizeof(float));
	w->kept = carve(scratch, &used, (w->n_kept + 1) * tile_bytes);
	w->ref = carve(scratch, &used, w->n_kept * row_bytes);
	w->row_ref = carve(scratch, &used, row_bytes);
	w->row_inv = carve(scratch, &used, row_bytes);
	w->factor = carve(scratch, &used, row_bytes);
	w->row_sum = carve(scratch, &used,
			   w->rows_pad * code->lanes * sizeof(double));
	return used;
}

size_t window_scratch_bytes(const struct window_code *code,
			    const struct ckv_window *in)
{
	struct window_head w = { 0 };

	if (window_check(in, 0, 0) < 0)
		return 0;
	return lay_out(code, in, NULL, &w);
}

int window_score(const struct window_code *code, const struct ckv_window *in,
		 uint32_t first_head, uint32_t n_heads, void *scratch,
		 float *score, struct ckv_fault *ret_fault)
{
	struct window_head w = { 0 };
	struct ckv_fault fault = { 0 };
	int r;

	r = window_check(in, first_head, n_heads);
	if (r < 0)
		return r;
	if (scratch == NULL || (uintptr_t)scratch % CKV_SCRATCH_ALIGN != 0 ||
	    score == NULL)
		return -EINVAL;
	lay_out(code, in, scratch, &w);
	w.fault = &fault;
	for (w.head = first_head; w.head < first_head + n_heads; w.head++) {
		w.score = score + (size_t)w.head * w.group * w.n_scored;
		r = code->score_head(&w);
		if (r == -EDOM && ret_fault != NULL)
			*ret_fault = fault;
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct window_code *best_code(void)
{
	const struct window_code *code = window_code_avx512();

	if (code == NULL)
		code = window_code_avx2();
	return code == NULL ? window_code_base() : code;
}

size_t ckv_window_score_scratch_bytes(const struct ckv_window *in)
{
	return window_scratch_bytes(best_code(), in);
}

int ckv_window_score(const struct ckv_window *in, uint32_t first_head,
		     uint32_t n_heads, void *scratch, float *score,
		     struct ckv_fault *ret_fault)
{
	return window_score(best_code(), in, first_head, n_heads, scratch,
			    score, ret_fault);
}
