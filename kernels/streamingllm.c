/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streamingllm.c - keep the first tokens and the newest (arXiv 2309.17453).
 *
 * Nothing is scored. If fewer tokens are kept than there are sinks, they are the
 * first of the sinks.
 */
#include "kernels/select_any.h"

static uint32_t budget(const struct ckv_selection *s, uint32_t layer,
		       uint32_t n_layers, uint32_t n_tokens)
{
	(void)layer;
	(void)n_layers;
	return budget_kvpress(s, n_tokens);
}

static size_t scratch_bytes(const struct ckv_selection *s,
			    const struct ckv_layer *in)
{
	(void)s;
	return words_bytes(in->k.n_tokens);
}

/* Sinks rank first, the first of them best; then the newest. */
static int choose(const struct select_job *job, uint32_t *pos,
		  struct select_choice *ret_choice, struct ckv_fault *ret_fault)
{
	float *score = job->scratch;
	uint32_t n_sink = job->s->n_sink;

	(void)ret_fault;
	for (uint32_t t = 0; t < job->n_tokens; t++)
		score[t] = score_of_rank(t < n_sink ? t
					: n_sink + job->n_tokens - 1 - t);
	return choose_best(job, 1, score, pos, ret_choice);
}

const struct select_method select_streamingllm = {
	.one_set = 1,
	.budget = budget,
	.scratch_bytes = scratch_bytes,
	.choose = choose,
};
