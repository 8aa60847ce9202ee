/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_ref.c - what window scoring means, in double and without any trick.
 *
 * Every logit is computed three times: for the largest, for the sum, and for its
 * share of the sum. So no array of logits is needed. It is slow, and it is the
 * definition.
 */
#include "kernels/window.h"
#include "kernels/elem.h"

#include <errno.h>
#include <math.h>
#include <string.h>

struct row {
	const struct ckv_window *in;
	const void *q;
	uint32_t kv_head;
	uint32_t n_seen;	/* keys the row may see: positions 0 .. n_seen-1 */
};

static double logit(const struct row *row, uint32_t token)
{
	const struct ckv_rows *k = &row->in->k;
	const void *key = ckv_rows_at(k, row->kv_head, token);
	double sum = 0.0;

	for (uint32_t d = 0; d < k->dim; d++)
		sum += (double)elem_at(row->q, d, row->in->q.elem) *
		       (double)elem_at(key, d, k->elem);
	return sum / sqrt((double)k->dim);
}

/* Natural logarithm of the row's softmax denominator. */
static double row_lse(const struct row *row)
{
	double max = -INFINITY, sum = 0.0;

	for (uint32_t j = 0; j < row->n_seen; j++)
		max = fmax(max, logit(row, j));
	for (uint32_t j = 0; j < row->n_seen; j++)
		sum += exp(logit(row, j) - max);
	return max + log(sum);
}

static int find_fault(const struct ckv_rows *rows, uint32_t first, uint32_t n,
		      enum ckv_input input, struct ckv_fault *ret_fault)
{
	for (uint32_t h = first; h < first + n; h++) {
		for (uint32_t t = 0; t < rows->n_tokens; t++) {
			uint32_t d = window_row_fault(ckv_rows_at(rows, h, t),
						      rows->dim, rows->elem);

			if (d == rows->dim)
				continue;
			if (ret_fault != NULL)
				*ret_fault = (struct ckv_fault){ input, h, t, d };
			return -EDOM;
		}
	}
	return 0;
}

static void score_query_head(const struct ckv_window *in, uint32_t head,
			     double *score)
{
	uint32_t w = in->q.n_tokens, n_scored = in->k.n_tokens - w;
	struct row row = {
		.in = in,
		.kv_head = head / (in->q.n_heads / in->k.n_heads),
	};

	for (uint32_t j = 0; j < n_scored; j++)
		score[j] = 0.0;
	for (uint32_t i = 0; i < w; i++) {
		double lse;

		row.q = ckv_rows_at(&in->q, head, i);
		row.n_seen = n_scored + i + 1;
		lse = in->lse != NULL ? (double)in->lse[(size_t)head * w + i]
				      : row_lse(&row);
		for (uint32_t j = 0; j < n_scored; j++)
			score[j] += exp(logit(&row, j) - lse);
	}
}

int ckv_window_score_ref(const struct ckv_window *in, uint32_t first_head,
			 uint32_t n_heads, double *score,
			 struct ckv_fault *ret_fault)
{
	uint32_t group, n_scored;
	int r;

	r = window_check(in, first_head, n_heads);
	if (r < 0)
		return r;
	group = in->q.n_heads / in->k.n_heads;
	n_scored = in->k.n_tokens - in->q.n_tokens;
	r = find_fault(&in->q, first_head * group, n_heads * group,
		       CKV_INPUT_QUERY, ret_fault);
	if (r < 0)
		return r;
	r = find_fault(&in->k, first_head, n_heads, CKV_INPUT_KEY, ret_fault);
	if (r < 0)
		return r;
	for (uint32_t h = first_head * group;
	     h < (first_head + n_heads) * group; h++)
		score_query_head(in, h, score + (size_t)h * n_scored);
	return 0;
}
