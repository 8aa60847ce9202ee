/* SPDX-License-Identifier: Apache-2.0 */
/*
 * l2norm.c - keep the keys with the smallest norms (arXiv 2406.11430).
 *
 * It reads nothing but keys, and has no window. kvpress rounds its budget down.
 * The official program rounds it up, and compresses neither some layers nor short
 * prompts. In blocks, every block keeps its own share, so that a block can be
 * compressed as soon as it is there.
 */
#include "kernels/select_any.h"

#include <errno.h>

static int check(const struct ckv_selection *s)
{
	return s->mode == CKV_OF_KVPRESS || s->mode == CKV_OF_OFFICIAL
		? 0 : -EINVAL;
}

static int is_skipped(const struct ckv_selection *s, uint32_t layer,
		      uint32_t n_tokens)
{
	if (s->mode != CKV_OF_OFFICIAL)
		return 0;
	return n_tokens <= s->prune_after ||
	       (layer < 64 && (s->skip >> layer & 1));
}

/* Share of n_tokens; a number of tokens is first that many of them all. */
static uint32_t share(const struct ckv_selection *s, uint32_t n_tokens)
{
	return s->mode == CKV_OF_KVPRESS ? budget_kvpress(s, n_tokens)
					 : budget_ceil(s, n_tokens);
}

/*
 * What block [from, to) keeps. An absolute number is shared out in proportion,
 * so that the blocks add up to it.
 */
uint32_t l2norm_block_share(const struct ckv_selection *s, uint32_t from,
			    uint32_t to, uint32_t n_tokens)
{
	uint32_t n;

	if (s->keep_den != 0) {
		n = share(s, to - from);
	} else {
		uint32_t all = share(s, n_tokens);

		n = ckv_budget_ratio(to, all, n_tokens) -
		    ckv_budget_ratio(from, all, n_tokens);
	}
	return n == 0 ? 1 : n;
}

static uint32_t block_end(const struct ckv_selection *s, uint32_t from,
			  uint32_t n_tokens)
{
	return n_tokens - from > s->block ? from + s->block : n_tokens;
}

/*
 * The sum of what all blocks keep, without a loop over them. A number of tokens that is
 * shared out gives each whole block floor(block * all / n_tokens) of them, or one more.
 * If that is at least 1, the shares of the whole blocks add up to a simple quotient; if
 * it is 0, each block keeps the one token that it must.
 */
static uint32_t sum_of_shares(const struct ckv_selection *s, uint32_t n_tokens)
{
	uint32_t n_whole = n_tokens / s->block, end = n_whole * s->block;
	uint32_t n = 0;

	if (n_whole > 0 && s->keep_den == 0 &&
	    (uint64_t)s->block * share(s, n_tokens) >= n_tokens)
		n = ckv_budget_ratio(end, share(s, n_tokens), n_tokens);
	else if (n_whole > 0)
		n = n_whole * l2norm_block_share(s, 0, s->block, n_tokens);
	if (end < n_tokens)
		n += l2norm_block_share(s, end, n_tokens, n_tokens);
	return n;
}

static uint32_t budget(const struct ckv_selection *s, uint32_t layer,
		       uint32_t n_layers, uint32_t n_tokens)
{
	(void)n_layers;
	if (is_skipped(s, layer, n_tokens))
		return n_tokens;
	return s->block == 0 ? share(s, n_tokens) : sum_of_shares(s, n_tokens);
}

static size_t scratch_bytes(const struct ckv_selection *s,
			    const struct ckv_layer *in)
{
	(void)s;
	return words_bytes((size_t)in->k.n_heads * in->k.n_tokens);
}

static int choose_in_blocks(const struct select_job *job, const float *score,
			    uint32_t *pos, struct select_choice *ret_choice)
{
	uint32_t n_heads = job->in->k.n_heads, n_tokens = job->n_tokens;

	for (uint32_t h = 0; h < n_heads; h++) {
		const float *row = score + (size_t)h * n_tokens;
		uint32_t to;

		for (uint32_t from = 0; from < n_tokens; from = to) {
			uint32_t n;
			int r;

			to = block_end(job->s, from, n_tokens);
			n = l2norm_block_share(job->s, from, to, n_tokens);
			r = ckv_select_top(row + from, to - from, n, from, pos,
					   NULL);
			if (r < 0)
				return r;
			pos += n;
		}
	}
	*ret_choice = (struct select_choice){
		.kept = { .n_sets = n_heads, .n = job->n },
		.score = score, .stride = n_tokens, .n_scored = n_tokens };
	return 0;
}

static int choose(const struct select_job *job, uint32_t *pos,
		  struct select_choice *ret_choice, struct ckv_fault *ret_fault)
{
	const struct ckv_rows *k = &job->in->k;
	float *score = job->scratch;
	int r = need_keys(job->in);

	if (r == 0)
		r = ckv_norms(k, 0, k->n_heads, score, ret_fault);
	if (r < 0)
		return r;
	for (size_t i = 0; i < (size_t)k->n_heads * k->n_tokens; i++)
		score[i] = -score[i];
	return job->s->block == 0
		? choose_best(job, k->n_heads, score, pos, ret_choice)
		: choose_in_blocks(job, score, pos, ret_choice);
}

const struct select_method select_l2norm = {
	.needs = CKV_NEED_KEYS,
	.check = check,
	.budget = budget,
	.scratch_bytes = scratch_bytes,
	.choose = choose,
};
