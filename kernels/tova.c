/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tova.c - keep what the last query attends to most (arXiv 2401.06104): the
 * mean over all query heads, one set for all kv heads, and the last token.
 */
#include "kernels/method.h"
#include "kernels/select_any.h"

static uint32_t budget(const struct ckv_selection *s, uint32_t layer,
		       uint32_t n_layers, uint32_t n_tokens)
{
	(void)layer;
	(void)n_layers;
	return budget_kvpress(s, n_tokens);
}

/* Window scores [Hq, T-1], their mean, and the room that scoring needs. */
static size_t scratch_bytes(const struct ckv_selection *s,
			    const struct ckv_layer *in)
{
	struct ckv_window window = window_of(in);

	(void)s;
	return words_bytes((size_t)in->q.n_heads * in->k.n_tokens) +
	       words_bytes(in->k.n_tokens) +
	       ckv_window_score_scratch_bytes(&window);
}

static int choose(const struct select_job *job, uint32_t *pos,
		  struct select_choice *ret_choice, struct ckv_fault *ret_fault)
{
	struct ckv_window in = window_of(job->in);
	uint32_t n_scored = job->n_tokens - 1, n_nan;
	float *score = job->scratch, *mean;
	char *rest;
	int r = need_queries(job->in, 1);

	if (r < 0)
		return r;
	rest = (char *)score + words_bytes((size_t)in.q.n_heads * in.k.n_tokens);
	mean = (float *)(void *)rest;
	rest += words_bytes(in.k.n_tokens);
	r = ckv_window_score(&in, 0, in.k.n_heads, rest, score, ret_fault);
	if (r == 0)
		r = ckv_reduce(CKV_REDUCE_MEAN, score, in.q.n_heads, n_scored,
			       n_scored, mean);
	if (r == 0)
		r = ckv_select_top(mean, n_scored, job->n - 1, 0, pos, &n_nan);
	if (r < 0)
		return r;
	pos[job->n - 1] = n_scored;
	*ret_choice = (struct select_choice){
		.kept = { .n_sets = 1, .n = job->n, .n_nan = n_nan },
		.score = mean, .n_scored = n_scored };
	return 0;
}

const struct select_method select_tova = {
	.one_set = 1,
	.needs = CKV_NEED_KEYS | CKV_NEED_QUERIES,
	.budget = budget,
	.scratch_bytes = scratch_bytes,
	.choose = choose,
};
