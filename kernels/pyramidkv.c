/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pyramidkv.c - more tokens for the lower layers, fewer for the upper ones
 * (arXiv 2406.02069); within a layer SnapKV chooses.
 *
 * Budgets fall in a straight line from layer 0 to the last layer. The two published
 * programs compute it differently. The official one uses integers and adds the window
 * to each budget, so the sum is a little more than was asked for. kvpress uses binary64,
 * with the window as part of the budget, and gives all layers the same where the last one
 * would get less than the window. A single layer gets the average.
 */
#include "kernels/select_any.h"

#include <errno.h>
#include <math.h>

static int check(const struct ckv_selection *s)
{
	if (s->beta == 0 ||
	    (s->mode != CKV_OF_KVPRESS && s->mode != CKV_OF_OFFICIAL))
		return -EINVAL;
	return window_params_check(s);
}

static uint32_t budget_official(const struct ckv_selection *s, uint32_t layer,
				uint32_t n_layers, uint32_t n_tokens)
{
	uint32_t cap = budget_floor(s, n_tokens), w = s->window;
	uint32_t line, min, max;

	if (cap <= w || n_layers == 1 || cap == n_tokens)
		return cap;
	line = cap - w;
	if (n_tokens < 2 * line)
		return cap;
	min = line / s->beta;
	max = 2 * line - min;
	if (max >= n_tokens - w) {
		max = n_tokens - w;
		min = 2 * line - max;
	}
	return max - layer * ((max - min) / (n_layers - 1)) + w;
}

static uint32_t budget_float(const struct ckv_selection *s, uint32_t layer,
			     uint32_t n_layers, uint32_t n_tokens)
{
	double all = n_tokens, w = s->window, min, max, share, line;

	if (s->keep_den == 0)
		share = s->n_keep < n_tokens ? s->n_keep : n_tokens;
	else
		share = all * (1.0 - (double)(s->keep_den - s->keep_num) /
					     s->keep_den);
	/* What kvpress calls the capacity, less the window again: it rounds. */
	line = w + share - w;
	min = line / s->beta;
	max = line * 2.0 - min;
	if (max >= all - w) {
		max = all - w;
		min = line * 2.0 - max;
	}
	if (n_layers == 1 || !(all >= max && max >= min && min >= w))
		return (uint32_t)rint(share);
	return (uint32_t)rint(max - layer * ((max - min) / (n_layers - 1)));
}

static uint32_t budget(const struct ckv_selection *s, uint32_t layer,
		       uint32_t n_layers, uint32_t n_tokens)
{
	return s->mode == CKV_OF_OFFICIAL
		? budget_official(s, layer, n_layers, n_tokens)
		: budget_float(s, layer, n_layers, n_tokens);
}

static int choose(const struct select_job *job, uint32_t *pos,
		  struct select_choice *ret_choice, struct ckv_fault *ret_fault)
{
	struct ckv_snapkv m = snapkv_keeping(job->s, job->n_tokens, job->n);

	return snapkv_choose(job, &m, pos, ret_choice, ret_fault);
}

const struct select_method select_pyramidkv = {
	.needs = CKV_NEED_KEYS | CKV_NEED_QUERIES,
	.check = check,
	.budget = budget,
	.scratch_bytes = snapkv_scratch_bytes,
	.choose = choose,
};
