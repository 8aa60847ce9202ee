/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keydiff_choose.c - keep the keys that differ most from the mean key
 * (arXiv 2504.15364).
 *
 * Without blocks there is one anchor, of the whole context. With blocks, the first
 * n tokens are kept to begin with; then one block after the other is added to what is
 * kept, and the best n of both stay. Each of these steps has an anchor of its own, of
 * the tokens that it chooses from.
 */
#include "kernels/keys.h"
#include "kernels/select_any.h"

#include <string.h>

static uint32_t budget(const struct ckv_selection *s, uint32_t layer,
		       uint32_t n_layers, uint32_t n_tokens)
{
	(void)layer;
	(void)n_layers;
	return budget_kvpress(s, n_tokens);
}

/* Scores of all heads; in blocks, a held set and a block, and their scores. */
static size_t scratch_bytes(const struct ckv_selection *s,
			    const struct ckv_layer *in)
{
	size_t bytes = words_bytes((size_t)in->k.n_heads * in->k.n_tokens);

	if (s->block > 0)
		bytes += 3 * words_bytes(in->k.n_tokens);
	return bytes;
}

struct held {			/* all in the scratch, T each */
	uint32_t *token, *chosen;
	float *score;
};

/* One head into pos; the scores of the kept by their last anchor into score. */
static int choose_head(const struct select_job *job, uint32_t head,
		       const struct held *held, float *score, uint32_t *pos,
		       struct ckv_fault *ret_fault)
{
	const struct keys_code *code = keys_code_best();
	uint32_t n = job->n, next = n, n_held;

	for (uint32_t i = 0; i < n; i++)
		held->token[i] = i;
	while (next < job->n_tokens) {
		int r;

		n_held = n;
		for (uint32_t i = 0;
		     i < job->s->block && next < job->n_tokens; i++)
			held->token[n_held++] = next++;
		r = code->keydiff(&job->in->k, head, held->token, n_held,
				  held->score, ret_fault);
		if (r == 0)
			r = ckv_select_top(held->score, n_held, n, 0,
					   held->chosen, NULL);
		if (r < 0)
			return r;
		for (uint32_t i = 0; i < n; i++) {
			uint32_t from = held->chosen[i];

			held->token[i] = held->token[from];
			score[held->token[i]] = held->score[from];
		}
	}
	memcpy(pos, held->token, n * sizeof *pos);
	return 0;
}

static int choose_in_blocks(const struct select_job *job, float *score,
			    uint32_t *pos, struct select_choice *ret_choice,
			    struct ckv_fault *ret_fault)
{
	const struct ckv_rows *k = &job->in->k;
	size_t row = words_bytes(k->n_tokens);
	char *rest = (char *)score +
		     words_bytes((size_t)k->n_heads * k->n_tokens);
	struct held held = { (uint32_t *)(void *)rest,
			     (uint32_t *)(void *)(rest + row),
			     (float *)(void *)(rest + 2 * row) };
	int r = keys_check(k, 0, k->n_heads);

	for (uint32_t h = 0; r == 0 && h < k->n_heads; h++)
		r = choose_head(job, h, &held, score + (size_t)h * k->n_tokens,
				pos + (size_t)h * job->n, ret_fault);
	if (r < 0)
		return r;
	*ret_choice = (struct select_choice){
		.kept = { .n_sets = k->n_heads, .n = job->n },
		.score = score, .stride = k->n_tokens, .n_scored = k->n_tokens };
	return 0;
}

static int choose(const struct select_job *job, uint32_t *pos,
		  struct select_choice *ret_choice, struct ckv_fault *ret_fault)
{
	const struct ckv_rows *k = &job->in->k;
	float *score = job->scratch;
	int r = need_keys(job->in);

	if (r < 0)
		return r;
	if (job->s->block > 0)
		return choose_in_blocks(job, score, pos, ret_choice, ret_fault);
	r = ckv_keydiff(k, 0, k->n_heads, score, ret_fault);
	return r < 0 ? r
		: choose_best(job, k->n_heads, score, pos, ret_choice);
}

const struct select_method select_keydiff = {
	.needs = CKV_NEED_KEYS,
	.budget = budget,
	.scratch_bytes = scratch_bytes,
	.choose = choose,
};
