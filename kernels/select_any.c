/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select_any.c - every selection behind one call.
 *
 * What the methods have in common: budgets, checks, a choice by score, and
 * the tokens that are always kept.
 */
#include "kernels/elem.h"
#include "kernels/method.h"
#include "kernels/select_any.h"

#include <errno.h>

static const struct select_method *const methods[CKV_N_SELECTORS] = {
	[CKV_CHUNKKV] = &select_chunkkv,
	[CKV_SNAPKV] = &select_snapkv,
	[CKV_PYRAMIDKV] = &select_pyramidkv,
	[CKV_L2NORM] = &select_l2norm,
	[CKV_KEYDIFF] = &select_keydiff,
	[CKV_TOVA] = &select_tova,
	[CKV_H2O] = &select_h2o,
	[CKV_STREAMINGLLM] = &select_streamingllm,
	[CKV_RANDOM] = &select_random,
};

/* ------------------------------------------------------------- budgets */

static uint32_t at_most(uint32_t n, uint32_t n_tokens)
{
	return n < n_tokens ? n : n_tokens;
}

uint32_t budget_kvpress(const struct ckv_selection *s, uint32_t n_tokens)
{
	if (s->keep_den == 0)
		return at_most(s->n_keep, n_tokens);
	return ckv_budget_kvpress(n_tokens, (double)(s->keep_den - s->keep_num) /
						    s->keep_den);
}

uint32_t budget_floor(const struct ckv_selection *s, uint32_t n_tokens)
{
	if (s->keep_den == 0)
		return at_most(s->n_keep, n_tokens);
	return ckv_budget_ratio(n_tokens, s->keep_num, s->keep_den);
}

uint32_t budget_ceil(const struct ckv_selection *s, uint32_t n_tokens)
{
	if (s->keep_den == 0)
		return at_most(s->n_keep, n_tokens);
	return n_tokens - ckv_budget_ratio(n_tokens, s->keep_den - s->keep_num,
					   s->keep_den);
}

double removed_keeping(uint32_t n_all, uint32_t n)
{
	/* In the middle between the fractions for n and n + 1, so rounding changes nothing. */
	return n >= n_all ? 0.0 : ((double)(n_all - n) - 0.5) / n_all;
}

int window_params_check(const struct ckv_selection *s)
{
	return s->window == 0 || s->window > CKV_KERNEL_MAX_WINDOW ||
	       s->kernel % 2 == 0 ? -EINVAL : 0;
}

static uint32_t budget_of(const struct ckv_selection *s, uint32_t layer,
			  uint32_t n_layers, uint32_t n_tokens)
{
	uint32_t n;

	if (s->kind == CKV_KEEP_ALL)
		return n_tokens;
	n = methods[s->kind]->budget(s, layer, n_layers, n_tokens);
	return n == 0 ? 1 : at_most(n, n_tokens);
}

/* ------------------------------------------------------- inputs, scores */

int need_keys(const struct ckv_layer *in)
{
	return in->k.block == NULL ? -ENODATA : 0;
}

int need_queries(const struct ckv_layer *in, uint32_t window)
{
	if (in->q.block == NULL || in->k.block == NULL)
		return -ENODATA;
	return in->q.n_tokens == window ? 0 : -EINVAL;
}

struct ckv_window window_of(const struct ckv_layer *in)
{
	return (struct ckv_window){ in->k, in->q, in->lse };
}

size_t words_bytes(size_t n)
{
	return (n * 4 + CKV_SCRATCH_ALIGN - 1) / CKV_SCRATCH_ALIGN *
	       CKV_SCRATCH_ALIGN;
}

float score_of_rank(uint32_t rank)
{
	/* Positive floats order like their bits. */
	return elem_from_bits(0x7f000000u - rank);
}

int choose_best(const struct select_job *job, uint32_t n_sets,
		const float *score, uint32_t *pos,
		struct select_choice *ret_choice)
{
	struct select_choice choice = {
		.kept = { .n_sets = n_sets, .n = job->n },
		.score = score,
		.stride = job->n_tokens,
		.n_scored = job->n_tokens,
	};

	for (uint32_t i = 0; i < n_sets; i++) {
		uint32_t n_nan;
		int r = ckv_select_top(score + i * choice.stride, job->n_tokens,
				       job->n, 0, pos + (size_t)i * job->n,
				       &n_nan);

		if (r < 0)
			return r;
		choice.kept.n_nan += n_nan;
	}
	*ret_choice = choice;
	return 0;
}

int choose_newest(const struct select_job *job, uint32_t n_sets, uint32_t *pos,
		  struct select_choice *ret_choice)
{
	for (uint32_t i = 0; i < n_sets; i++)
		keep_newest(job->n_tokens, job->n, pos + (size_t)i * job->n);
	*ret_choice = (struct select_choice){
		.kept = { .n_sets = n_sets, .n = job->n } };
	return 0;
}

/* ---------------------------------------------------------------- the call */

static int selection_check(const struct ckv_selection *s)
{
	if (s == NULL || (unsigned)s->kind >= CKV_N_SELECTORS)
		return -EINVAL;
	if (s->kind == CKV_KEEP_ALL)
		return 0;
	if (s->keep_den == 0 ? s->n_keep == 0
			     : s->keep_num == 0 || s->keep_num > s->keep_den)
		return -EINVAL;
	if (always_check(&s->always) < 0)
		return -EINVAL;
	return methods[s->kind]->check == NULL ? 0 : methods[s->kind]->check(s);
}

static int layer_check(const struct ckv_layer *in)
{
	if (in == NULL || in->layer >= in->n_layers || in->k.n_heads == 0 ||
	    in->k.n_heads > CKV_KERNEL_MAX_HEADS || in->k.n_tokens == 0 ||
	    in->k.n_tokens > CKV_KERNEL_MAX_TOKENS)
		return -EINVAL;
	return 0;
}

unsigned ckv_selection_needs(const struct ckv_selection *s)
{
	if (selection_check(s) < 0 || s->kind == CKV_KEEP_ALL)
		return 0;
	return methods[s->kind]->needs;
}

uint32_t ckv_selection_window(const struct ckv_selection *s)
{
	if (!(ckv_selection_needs(s) & CKV_NEED_QUERIES))
		return 0;
	return s->kind == CKV_TOVA ? 1 : s->window;
}

uint32_t ckv_selection_source(const struct ckv_selection *s, uint32_t layer)
{
	if (selection_check(s) < 0)
		return layer;
	if (s->kind == CKV_KEEP_ALL)	/* every set is the same */
		return 0;
	return s->kind == CKV_CHUNKKV ? layer - layer % s->n_reuse : layer;
}

uint32_t ckv_selection_budget(const struct ckv_selection *s, uint32_t layer,
			      uint32_t n_layers, uint32_t n_tokens)
{
	if (selection_check(s) < 0 || layer >= n_layers || n_tokens == 0)
		return 0;
	return budget_of(s, layer, n_layers, n_tokens);
}

/* The merge wants a set twice. */
static size_t merge_bytes(const struct ckv_layer *in)
{
	return words_bytes(2 * (size_t)in->k.n_tokens);
}

size_t ckv_selection_scratch_bytes(const struct ckv_selection *s,
				   const struct ckv_layer *in)
{
	if (selection_check(s) < 0 || layer_check(in) < 0)
		return 0;
	if (s->kind == CKV_KEEP_ALL)
		return CKV_SCRATCH_ALIGN;
	return merge_bytes(in) +
	       words_bytes((methods[s->kind]->scratch_bytes(s, in) + 3) / 4);
}

size_t ckv_selection_max_kept(const struct ckv_selection *s,
			      const struct ckv_layer *in)
{
	size_t most = 0;

	if (selection_check(s) < 0 || layer_check(in) < 0)
		return 0;
	if (s->kind == CKV_KEEP_ALL)
		return in->k.n_tokens;
	if (methods[s->kind]->max_kept != NULL)
		return methods[s->kind]->max_kept(s, in);
	for (uint32_t l = 0; l < in->n_layers; l++) {
		size_t n = budget_of(s, l, in->n_layers, in->k.n_tokens);

		most = n > most ? n : most;
	}
	return methods[s->kind]->one_set ? most : most * in->k.n_heads;
}

static int keep_all(uint32_t n_tokens, uint32_t *pos, struct ckv_kept *ret_kept)
{
	keep_newest(n_tokens, n_tokens, pos);
	*ret_kept = (struct ckv_kept){ .n_sets = 1, .n = n_tokens };
	return 0;
}

int ckv_select(const struct ckv_selection *s, const struct ckv_layer *in,
	       void *scratch, uint32_t *pos, struct ckv_kept *ret_kept,
	       struct ckv_fault *ret_fault)
{
	struct select_choice choice;
	struct select_job job = { .s = s, .in = in };
	struct always_set always;
	int r;

	if (selection_check(s) < 0 || layer_check(in) < 0 ||
	    scratch_check(scratch) < 0 || pos == NULL || ret_kept == NULL)
		return -EINVAL;
	job.n_tokens = in->k.n_tokens;
	job.n = budget_of(s, in->layer, in->n_layers, job.n_tokens);
	if (s->kind == CKV_KEEP_ALL ||
	    (job.n == job.n_tokens && !methods[s->kind]->always_runs))
		return keep_all(job.n_tokens, pos, ret_kept);
	job.scratch = (char *)scratch + merge_bytes(in);
	r = methods[s->kind]->choose(&job, pos, &choice, ret_fault);
	if (r < 0)
		return r;
	always = always_of(&s->always, job.n_tokens);
	for (uint32_t i = 0; i < choice.kept.n_sets && always.n_tokens > 0; i++)
		choice.kept.n_always_lost =
			always_merge(&always, &choice, i, scratch,
				     pos + (size_t)i * choice.kept.n);
	*ret_kept = choice.kept;
	return 0;
}
