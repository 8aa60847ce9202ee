/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunkkv_choose.c - ChunkKV for ckv_select(): its budget, and the order in
 * which its tokens would be given up.
 */
#include "kernels/chunkkv.h"
#include "kernels/method.h"
#include "kernels/select_any.h"

#include <errno.h>

static int check(const struct ckv_selection *s)
{
	if (s->chunk == 0 || s->n_reuse == 0 || s->window == 0 ||
	    s->window > CKV_KERNEL_MAX_WINDOW)
		return -EINVAL;
	if (s->mode == CKV_OF_KVPRESS)
		return s->kernel % 2 == 0 ? -EINVAL : 0;
	return s->mode == CKV_OF_PAPER ? 0 : -EINVAL;
}

static uint32_t budget(const struct ckv_selection *s, uint32_t layer,
		       uint32_t n_layers, uint32_t n_tokens)
{
	(void)layer;
	(void)n_layers;
	return s->mode == CKV_OF_KVPRESS ? budget_kvpress(s, n_tokens)
					 : budget_floor(s, n_tokens);
}

/*
 * kvpress takes a ratio, so a number of tokens is turned into one. The ratio keeps as
 * many chunks as fit into that number, at least one; where tokens are kept singly, that
 * many tokens.
 */
static double removed_of(const struct ckv_selection *s, uint32_t n,
			 uint32_t n_tokens)
{
	uint32_t n_chunks = n_tokens / s->chunk + (n_tokens % s->chunk > 0);
	uint32_t n_fit = n / s->chunk;

	if (s->keep_den != 0 && budget_kvpress(s, n_tokens) > 0)
		return (double)(s->keep_den - s->keep_num) / s->keep_den;
	if (n_tokens <= s->window || n_tokens < s->chunk || n == n_tokens)
		return removed_keeping(n_tokens, n);
	/* A single chunk is kept with any fraction; but 0 would keep all without a choice. */
	return n_chunks == 1 ? 0.5
			     : removed_keeping(n_chunks, n_fit == 0 ? 1 : n_fit);
}

struct ckv_chunkkv chunkkv_keeping(const struct ckv_selection *s,
				   uint32_t n_tokens, uint32_t n)
{
	return (struct ckv_chunkkv){
		.mode = s->mode == CKV_OF_KVPRESS ? CKV_CHUNKKV_KVPRESS
						  : CKV_CHUNKKV_PAPER,
		.chunk = s->chunk,
		.window = s->window,
		.kernel = s->kernel,
		.n_keep = n,
		.n_reuse = s->n_reuse,
		.removed = removed_of(s, n, n_tokens),
	};
}

/* Ranks of chunks, and of tokens, besides what ckv_chunkkv_select() wants. */
static size_t scratch_bytes(const struct ckv_selection *s,
			    const struct ckv_layer *in)
{
	struct ckv_window window = window_of(in);

	(void)s;
	return 2 * words_bytes(in->k.n_tokens) +
	       ckv_select_scratch_bytes(&window);
}

static size_t max_kept(const struct ckv_selection *s, const struct ckv_layer *in)
{
	if (s->mode == CKV_OF_KVPRESS && in->k.n_tokens < s->chunk)
		return (size_t)in->k.n_tokens * in->k.n_heads;
	return in->k.n_tokens;
}

/*
 * A token ranks like its chunk. Chunks wholly in the window come first, in
 * order, where they are chunks at all.
 */
static void rank_tokens(const struct ckv_chunkkv *m, uint32_t n_tokens,
			const float *chunk_score, uint32_t *order, float *score)
{
	uint32_t n_chunked = chunkkv_n_chunked(m, n_tokens);
	uint32_t n_chunks = ckv_chunkkv_n_chunks(m, n_tokens);
	uint32_t n_other = n_chunks, n_first;

	if (m->mode == CKV_CHUNKKV_KVPRESS)
		n_other = chunkkv_n_scored(m, n_tokens);
	n_first = n_chunks - n_other;
	for (uint32_t i = 0; i < n_first; i++)
		order[i] = n_other + i;
	ckv_rank(chunk_score, n_other, order + n_first);
	for (uint32_t i = 0; i < n_chunks; i++) {
		uint32_t from = order[i] * m->chunk, len = n_chunked - from;

		for (uint32_t t = 0; t < len && t < m->chunk; t++)
			score[from + t] = score_of_rank(i);
	}
}

/* Nothing is scored: the newest tokens, or all. */
static int choose_unscored(const struct ckv_chunkkv *m, uint32_t n_tokens,
			   uint32_t *pos, struct select_choice *ret_choice)
{
	struct select_choice choice = { .kept.n_sets = 1 };
	int r = ckv_chunkkv_keep(m, n_tokens, NULL, NULL, pos, &choice.kept.n);

	if (r == 0)
		*ret_choice = choice;
	return r;
}

static int choose_chunks(const struct select_job *job,
			 const struct ckv_chunkkv *m, uint32_t *pos,
			 struct select_choice *ret_choice,
			 struct ckv_fault *ret_fault)
{
	struct ckv_window in = window_of(job->in);
	size_t row = words_bytes(job->n_tokens);
	float *score = job->scratch;
	uint32_t *order = (uint32_t *)(void *)((char *)job->scratch + row);
	void *rest = (char *)job->scratch + 2 * row;
	struct select_choice choice = {
		.score = score,
		.n_scored = chunkkv_n_chunked(m, job->n_tokens) };
	int r = need_queries(job->in, m->window);

	if (r == 0)
		r = ckv_chunkkv_select(m, &in, rest, pos, &choice.kept,
				       ret_fault);
	if (r < 0)
		return r;
	/* Nobody asks for the order where nothing is to be displaced. */
	if (always_of(&job->s->always, job->n_tokens).n_tokens > 0)
		rank_tokens(m, job->n_tokens, chunkkv_chosen_by(&in, rest), order,
			    score);
	*ret_choice = choice;
	return 0;
}

static int choose(const struct select_job *job, uint32_t *pos,
		  struct select_choice *ret_choice, struct ckv_fault *ret_fault)
{
	struct ckv_chunkkv m = chunkkv_keeping(job->s, job->n_tokens, job->n);
	/* Query heads may not be known yet, and do not decide. */
	struct ckv_shape shape = { job->in->k.n_heads, job->in->k.n_heads,
				   job->n_tokens };

	if (chunkkv_falls_back(&m, job->n_tokens)) {
		struct ckv_snapkv inner = chunkkv_inner(&m);

		return snapkv_choose(job, &inner, pos, ret_choice, ret_fault);
	}
	return ckv_chunkkv_needs_score(&m, &shape)
		? choose_chunks(job, &m, pos, ret_choice, ret_fault)
		: choose_unscored(&m, job->n_tokens, pos, ret_choice);
}

const struct select_method select_chunkkv = {
	.needs = CKV_NEED_KEYS | CKV_NEED_QUERIES,
	.always_runs = 1,
	.check = check,
	.budget = budget,
	.scratch_bytes = scratch_bytes,
	.max_kept = max_kept,
	.choose = choose,
};
