/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keydiff.c - how much each key differs from the mean key: what it is, and the
 * choice of code.
 */
#include "kernels/elem.h"
#include "kernels/keys.h"

#include <errno.h>
#include <math.h>

struct anchor {
	double sum[CKV_KERNEL_MAX_DIM];	/* of all keys at length 1 */
	double length;			/* of that sum */
};

static int make_anchor(const struct ckv_rows *k, uint32_t head,
		       struct anchor *to, struct ckv_fault *ret_fault)
{
	for (uint32_t d = 0; d < k->dim; d++)
		to->sum[d] = 0.0;
	for (uint32_t t = 0; t < k->n_tokens; t++) {
		const void *row = ckv_rows_at(k, head, t);
		double squares;
		int r = keys_squares(k, head, t, &squares, ret_fault);

		if (r < 0)
			return r;
		for (uint32_t d = 0; d < k->dim && squares > 0.0; d++)
			to->sum[d] += (double)elem_at(row, d, k->elem) /
				      sqrt(squares);
	}
	to->length = 0.0;
	for (uint32_t d = 0; d < k->dim; d++)
		to->length += to->sum[d] * to->sum[d];
	to->length = sqrt(to->length);
	return 0;
}

static double score_of(const struct ckv_rows *k, const void *row,
		       const struct anchor *anchor)
{
	double squares = 0.0, dot = 0.0;

	for (uint32_t d = 0; d < k->dim; d++) {
		double x = (double)elem_at(row, d, k->elem);

		squares += x * x;
		dot += x * anchor->sum[d];
	}
	if (squares == 0.0 || anchor->length == 0.0)
		return 0.0;
	return -dot / (sqrt(squares) * anchor->length);
}

int ckv_keydiff_ref(const struct ckv_rows *k, uint32_t first_head,
		    uint32_t n_heads, double *score, struct ckv_fault *ret_fault)
{
	struct anchor anchor;
	int r = keys_check(k, first_head, n_heads);

	if (r < 0 || score == NULL)
		return -EINVAL;
	for (uint32_t h = first_head; h < first_head + n_heads; h++) {
		r = make_anchor(k, h, &anchor, ret_fault);
		if (r < 0)
			return r;
		for (uint32_t t = 0; t < k->n_tokens; t++)
			score[(size_t)h * k->n_tokens + t] =
				score_of(k, ckv_rows_at(k, h, t), &anchor);
	}
	return 0;
}

int ckv_keydiff(const struct ckv_rows *k, uint32_t first_head, uint32_t n_heads,
		float *score, struct ckv_fault *ret_fault)
{
	const struct keys_code *code = keys_code_best();
	int r = keys_check(k, first_head, n_heads);

	if (r < 0 || score == NULL)
		return -EINVAL;
	for (uint32_t h = first_head; h < first_head + n_heads; h++) {
		r = code->keydiff(k, h, NULL, k->n_tokens,
				  score + (size_t)h * k->n_tokens, ret_fault);
		if (r < 0)
			return r;
	}
	return 0;
}
