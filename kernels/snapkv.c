/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapkv.c - SnapKV (arXiv 2404.14469): smooth the window's attention, keep
 * the best tokens of every kv head, and the window itself.
 *
 * The two programs in use differ in what they call the budget, and in whether they pool
 * first or reduce the group first. With averages the order makes no difference, with
 * maxima it does.
 */
#include "kernels/method.h"
#include "kernels/select_any.h"

#include <errno.h>
#include <string.h>

static int snapkv_check(const struct ckv_snapkv *m,
			const struct ckv_shape *shape)
{
	if (m == NULL || m->window == 0 || m->window > CKV_KERNEL_MAX_WINDOW ||
	    m->kernel % 2 == 0)
		return -EINVAL;
	if (m->mode == CKV_SNAPKV_KVPRESS && removed_check(m->removed) < 0)
		return -EINVAL;
	if (m->mode != CKV_SNAPKV_KVPRESS && m->mode != CKV_SNAPKV_OFFICIAL)
		return -EINVAL;
	return shape_check(shape);
}

static uint32_t n_kept(const struct ckv_snapkv *m, uint32_t n_tokens)
{
	if (m->mode == CKV_SNAPKV_KVPRESS)
		return ckv_budget_kvpress(n_tokens, m->removed);
	return m->n_keep < n_tokens ? m->n_keep : n_tokens;
}

size_t ckv_snapkv_max_kept(const struct ckv_snapkv *m,
			   const struct ckv_shape *shape)
{
	if (snapkv_check(m, shape) < 0)
		return 0;
	return (size_t)n_kept(m, shape->n_tokens) * shape->n_kv_heads;
}

int ckv_snapkv_needs_score(const struct ckv_snapkv *m,
			   const struct ckv_shape *shape)
{
	uint32_t n;

	if (snapkv_check(m, shape) < 0)
		return 0;
	n = n_kept(m, shape->n_tokens);
	return n > m->window && n < shape->n_tokens;
}

/* One query head: the mean over the window, pooled. */
static int pool_mean(const struct ckv_snapkv *m, const float *score, uint32_t n,
		     float *mean, float *out)
{
	for (uint32_t j = 0; j < n; j++)
		mean[j] = score[j] / (float)m->window;
	return ckv_pool(m->pool, m->kernel, mean, n, out);
}

/* One kv head: pool each query head's mean, then reduce the group. */
static int score_kvpress(const struct ckv_snapkv *m, uint32_t group, uint32_t n,
			 const float *score, float *tmp, float *out)
{
	float *mean = tmp, *pooled = tmp + n;
	float part = m->reduce == CKV_REDUCE_MEAN ? 1.0f / (float)group : 1.0f;

	for (uint32_t g = 0; g < group; g++) {
		int r = pool_mean(m, score + (size_t)g * n, n, mean, pooled);

		if (r < 0)
			return r;
		if (g == 0)
			memcpy(out, pooled, n * sizeof *out);
		else if (m->reduce == CKV_REDUCE_MAX)
			for (uint32_t j = 0; j < n; j++)
				out[j] = pooled[j] > out[j] ? pooled[j] : out[j];
		else
			for (uint32_t j = 0; j < n; j++)
				out[j] += pooled[j];
	}
	for (uint32_t j = 0; j < n; j++)
		out[j] *= part;
	return 0;
}

/* One kv head: reduce the group, then pool. */
static int score_official(const struct ckv_snapkv *m, uint32_t group, uint32_t n,
			  const float *score, float *tmp, float *out)
{
	int r = ckv_reduce(m->reduce, score, group, n, n, tmp);

	if (r < 0)
		return r;
	return ckv_pool(m->pool, m->kernel, tmp, n, out);
}

int ckv_snapkv_score(const struct ckv_snapkv *m, const struct ckv_shape *shape,
		     uint32_t first_head, uint32_t n_heads, const float *score,
		     void *scratch, float *out)
{
	uint32_t group, n;
	int r;

	r = snapkv_check(m, shape);
	if (r == 0)
		r = scratch_check(scratch);
	if (r < 0)
		return r;
	if (shape->n_tokens <= m->window || first_head > shape->n_kv_heads ||
	    n_heads > shape->n_kv_heads - first_head)
		return -EINVAL;
	group = shape->n_q_heads / shape->n_kv_heads;
	n = shape->n_tokens - m->window;
	for (uint32_t h = first_head; h < first_head + n_heads; h++) {
		const float *from = score + (size_t)h * group * n;
		float *to = out + (size_t)h * n;

		r = m->mode == CKV_SNAPKV_KVPRESS
			? score_kvpress(m, group, n, from, scratch, to)
			: score_official(m, group, n, from, scratch, to);
		if (r < 0)
			return r;
	}
	return 0;
}

/* One kv head's set: the best n - w scored tokens, then the window. */
static int pick_head(uint32_t n_scored, uint32_t window, uint32_t n,
		     const float *score, uint32_t *pos, uint32_t *n_nan)
{
	uint32_t nan = 0;
	int r;

	r = ckv_select_top(score, n_scored, n - window, 0, pos, &nan);
	if (r < 0)
		return r;
	keep_newest(n_scored + window, window, pos + (n - window));
	*n_nan += nan;
	return 0;
}

int ckv_snapkv_pick(const struct ckv_snapkv *m, const struct ckv_shape *shape,
		    const float *score, void *scratch, uint32_t *pos,
		    struct ckv_kept *ret_kept)
{
	struct ckv_kept kept = { 0 };
	float *tmp = scratch, *head_score;
	int r;

	r = snapkv_check(m, shape);
	if (r == 0)
		r = scratch_check(scratch);
	if (r < 0)
		return r;
	kept.n_sets = shape->n_kv_heads;
	kept.n = n_kept(m, shape->n_tokens);
	if (!ckv_snapkv_needs_score(m, shape)) {
		for (uint32_t h = 0; h < kept.n_sets; h++)
			keep_newest(shape->n_tokens, kept.n,
				    pos + (size_t)h * kept.n);
		*ret_kept = kept;
		return 0;
	}
	head_score = tmp + 2 * (size_t)shape->n_tokens;
	r = ckv_snapkv_score(m, shape, 0, shape->n_kv_heads, score, tmp,
			     head_score);
	for (uint32_t h = 0; r == 0 && h < kept.n_sets; h++) {
		uint32_t n_scored = shape->n_tokens - m->window;

		r = pick_head(n_scored, m->window, kept.n,
			      head_score + (size_t)h * n_scored,
			      pos + (size_t)h * kept.n, &kept.n_nan);
	}
	if (r == 0)
		*ret_kept = kept;
	return r;
}

/* ------------------------------------------------------ for ckv_select() */

struct ckv_snapkv snapkv_keeping(const struct ckv_selection *s,
				 uint32_t n_tokens, uint32_t n)
{
	return (struct ckv_snapkv){
		.mode = s->mode == CKV_OF_KVPRESS ? CKV_SNAPKV_KVPRESS
						  : CKV_SNAPKV_OFFICIAL,
		.pool = s->pool,
		.reduce = s->reduce,
		.window = s->window,
		.kernel = s->kernel,
		.n_keep = n,
		.removed = removed_keeping(n_tokens, n),
	};
}

size_t snapkv_scratch_bytes(const struct ckv_selection *s,
			    const struct ckv_layer *in)
{
	struct ckv_window window = window_of(in);

	(void)s;
	return ckv_select_scratch_bytes(&window);
}

int snapkv_choose(const struct select_job *job, const struct ckv_snapkv *m,
		  uint32_t *pos, struct select_choice *ret_choice,
		  struct ckv_fault *ret_fault)
{
	struct select_choice choice = { .n_scored = job->n_tokens - m->window };
	struct ckv_window in = window_of(job->in);
	int r;

	if (job->n <= m->window)
		return choose_newest(job, in.k.n_heads, pos, ret_choice);
	r = need_queries(job->in, m->window);
	if (r == 0)
		r = ckv_snapkv_select(m, &in, job->scratch, pos, &choice.kept,
				      ret_fault);
	if (r < 0)
		return r;
	choice.score = snapkv_chosen_by(&in, job->scratch);
	choice.stride = choice.n_scored;
	*ret_choice = choice;
	return 0;
}

static int check(const struct ckv_selection *s)
{
	return s->mode == CKV_OF_KVPRESS || s->mode == CKV_OF_OFFICIAL
		? window_params_check(s) : -EINVAL;
}

static uint32_t budget(const struct ckv_selection *s, uint32_t layer,
		       uint32_t n_layers, uint32_t n_tokens)
{
	(void)layer;
	(void)n_layers;
	return s->mode == CKV_OF_KVPRESS ? budget_kvpress(s, n_tokens)
					 : budget_floor(s, n_tokens);
}

static int choose(const struct select_job *job, uint32_t *pos,
		  struct select_choice *ret_choice, struct ckv_fault *ret_fault)
{
	struct ckv_snapkv m = snapkv_keeping(job->s, job->n_tokens, job->n);

	return snapkv_choose(job, &m, pos, ret_choice, ret_fault);
}

const struct select_method select_snapkv = {
	.needs = CKV_NEED_KEYS | CKV_NEED_QUERIES,
	.check = check,
	.budget = budget,
	.scratch_bytes = snapkv_scratch_bytes,
	.choose = choose,
};
