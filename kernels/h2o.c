/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2o.c - keep heavy hitters and the newest tokens (arXiv 2306.14048).
 *
 * A token's score is the attention that it got from all queries so far. Only
 * the engine has seen these, so it brings the sums, for each kv head or for
 * each query head.
 */
#include "kernels/method.h"
#include "kernels/select_any.h"

#include <errno.h>
#include <math.h>

static int check(const struct ckv_selection *s)
{
	return s->reduce == CKV_REDUCE_MEAN || s->reduce == CKV_REDUCE_SUM ||
	       s->reduce == CKV_REDUCE_MAX ? 0 : -EINVAL;
}

static uint32_t budget(const struct ckv_selection *s, uint32_t layer,
		       uint32_t n_layers, uint32_t n_tokens)
{
	(void)layer;
	(void)n_layers;
	return budget_floor(s, n_tokens);
}

static size_t scratch_bytes(const struct ckv_selection *s,
			    const struct ckv_layer *in)
{
	(void)s;
	return words_bytes((size_t)in->k.n_heads * in->k.n_tokens);
}

static int sums_check(const struct ckv_layer *in, uint32_t n_tokens,
		      struct ckv_fault *ret_fault)
{
	if (in->sums == NULL)
		return -ENODATA;
	if (in->n_sum_heads == 0 || in->n_sum_heads > CKV_KERNEL_MAX_HEADS ||
	    in->n_sum_heads % in->k.n_heads != 0)
		return -EINVAL;
	for (uint32_t h = 0; h < in->n_sum_heads; h++)
		for (uint32_t t = 0; t < n_tokens; t++) {
			if (isfinite(in->sums[(size_t)h * n_tokens + t]))
				continue;
			if (ret_fault != NULL)
				*ret_fault = (struct ckv_fault){
					CKV_INPUT_SUM, h, t, 0 };
			return -EDOM;
		}
	return 0;
}

static int choose(const struct select_job *job, uint32_t *pos,
		  struct select_choice *ret_choice, struct ckv_fault *ret_fault)
{
	uint32_t n_heads = job->in->k.n_heads, n_recent = job->s->n_recent;
	uint32_t n_tokens = job->n_tokens, n_scored, group;
	float *score = job->scratch;
	int r = sums_check(job->in, n_tokens, ret_fault);

	if (r < 0)
		return r;
	if (n_recent >= job->n)
		return choose_newest(job, n_heads, pos, ret_choice);
	n_scored = n_tokens - n_recent;
	group = job->in->n_sum_heads / n_heads;
	for (uint32_t h = 0; h < n_heads; h++) {
		const float *from = job->in->sums + (size_t)h * group * n_tokens;
		float *to = score + (size_t)h * n_tokens;
		uint32_t *at = pos + (size_t)h * job->n;

		r = ckv_reduce(job->s->reduce, from, group, n_tokens, n_scored,
			       to);
		if (r == 0)
			r = ckv_select_top(to, n_scored, job->n - n_recent, 0,
					   at, NULL);
		if (r < 0)
			return r;
		keep_newest(n_tokens, n_recent, at + (job->n - n_recent));
	}
	*ret_choice = (struct select_choice){
		.kept = { .n_sets = n_heads, .n = job->n },
		.score = score, .stride = n_tokens, .n_scored = n_scored };
	return 0;
}

const struct select_method select_h2o = {
	.needs = CKV_NEED_SUMS,
	.check = check,
	.budget = budget,
	.scratch_bytes = scratch_bytes,
	.choose = choose,
};
