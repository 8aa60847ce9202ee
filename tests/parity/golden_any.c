/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden_any.c - the cases of the selections that go through ckv_select().
 *
 * A case's arguments become a struct ckv_selection, its inputs a layer; what
 * is kept is compared, and the scores where a file has them.
 */
#include "tests/parity/golden.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* "0.35" as removed: the selection keeps 65/100. */
int golden_removed(struct golden *g, struct ckv_selection *s)
{
	double removed;

	if (golden_ratio(g, "compression_ratio", &removed) < 0)
		return -1;
	return golden_keep_of(g, removed, s);
}

int golden_keep_of(struct golden *g, double removed, struct ckv_selection *s)
{
	for (uint32_t den = 1; den <= 1000000000u; den *= 10) {
		double gone = rint(removed * den);

		if (!(gone >= 0.0 && gone < den) || gone / den != removed)
			continue;
		s->keep_den = den;
		s->keep_num = den - (uint32_t)gone;
		return 0;
	}
	return golden_fail(g, "compression_ratio %.17g is no short decimal",
			   removed);
}

/* The whole layer by `s` beside c<i>.kept; one set stands for all heads. */
int golden_select(struct golden *g, const struct ckv_selection *s,
		  const struct ckv_layer *in)
{
	const struct st_tensor *want = golden_expected(g, "kept");
	struct ckv_fault fault;
	struct ckv_kept kept;
	uint32_t *pos, n_want;
	size_t max = ckv_selection_max_kept(s, in);
	int r;

	if (want == NULL || want->n_dims == 0 || want->n_dims > 2)
		return golden_fail(g, "no tensor c%u.kept", g->index);
	pos = golden_alloc(g, max * sizeof *pos);
	r = ckv_select(s, in, golden_alloc(g, ckv_selection_scratch_bytes(s, in)),
		       pos, &kept, &fault);
	if (r < 0)
		return golden_fail(g, "select: %s", strerror(-r));
	n_want = want->n_dims == 2 ? (uint32_t)want->dim[0] : 1;
	if (kept.n != want->dim[want->n_dims - 1] ||
	    (kept.n_sets != n_want && kept.n_sets != 1))
		return golden_fail(g, "kept %u sets of %u, %s has %zu positions",
				   kept.n_sets, kept.n, want->name, want->n_elems);
	for (uint32_t i = 0; i < n_want; i++) {
		uint32_t set = kept.n_sets == 1 ? 0 : i;

		if (golden_same_positions(g, want, (size_t)i * kept.n,
					  pos + (size_t)set * kept.n, kept.n) < 0)
			return -1;
	}
	return 0;
}

/* Scores of all heads, if the case names some: negated where `sign` is -1. */
static int same_scores(struct golden *g, float *score, size_t n, float sign)
{
	const struct st_tensor *want;

	if (golden_named(g, "scores", &want) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		score[i] *= sign;
	return golden_same_scores(g, want, n, 0, score, n);
}

static int keys_layer(struct golden *g, struct ckv_layer *in)
{
	*in = (struct ckv_layer){ .layer = 0, .n_layers = 1 };
	return golden_keys(g, 0, &in->k);
}

/* KVCache-Factory: an absolute capacity, and "[0, 1]" for skipped layers. */
static int l2norm_capacity(struct golden *g, struct ckv_selection *s,
			   struct ckv_layer *in)
{
	const char *at = golden_arg(g, "skip_layers");

	s->mode = CKV_OF_OFFICIAL;
	for (unsigned layer; at != NULL && *at != '\0'; at++)
		if (sscanf(at, "%u", &layer) == 1 && layer < 64) {
			s->skip |= (uint64_t)1 << layer;
			at += strspn(at, "0123456789 ");
		}
	in->n_layers = 64;
	if (golden_count(g, "layer", &in->layer) < 0)
		return -1;
	return golden_count(g, "max_capacity_prompt", &s->n_keep);
}

int golden_l2norm(struct golden *g)
{
	struct ckv_selection s = { .kind = CKV_L2NORM, .mode = CKV_OF_KVPRESS };
	struct ckv_layer in;
	float *norm;
	size_t n;
	int r = keys_layer(g, &in);

	if (r != 0)
		return r;
	if (golden_arg(g, "max_capacity_prompt") != NULL)
		r = l2norm_capacity(g, &s, &in);
	else
		r = golden_removed(g, &s);
	if (r == 0 && golden_arg(g, "chunk_length") != NULL)
		r = golden_count(g, "chunk_length", &s.block);
	if (r < 0 || golden_select(g, &s, &in) < 0)
		return -1;
	n = (size_t)in.k.n_heads * in.k.n_tokens;
	norm = golden_alloc(g, n * sizeof *norm);
	if (ckv_norms(&in.k, 0, in.k.n_heads, norm, NULL) < 0)
		return golden_fail(g, "norms failed");
	return same_scores(g, norm, n, -1.0f);
}

int golden_keydiff(struct golden *g)
{
	struct ckv_selection s = { .kind = CKV_KEYDIFF };
	struct ckv_layer in;
	float *score;
	size_t n;
	int r = keys_layer(g, &in);

	if (r != 0)
		return r;
	if (golden_removed(g, &s) < 0 ||
	    (golden_arg(g, "block_size") != NULL &&
	     golden_count(g, "block_size", &s.block) < 0) ||
	    golden_select(g, &s, &in) < 0)
		return -1;
	n = (size_t)in.k.n_heads * in.k.n_tokens;
	score = golden_alloc(g, n * sizeof *score);
	if (ckv_keydiff(&in.k, 0, in.k.n_heads, score, NULL) < 0)
		return golden_fail(g, "keydiff failed");
	return same_scores(g, score, n, 1.0f);
}

/* The mean over query heads; the last token one above the others. */
static int tova_scores(struct golden *g, const struct ckv_window *in)
{
	uint32_t n = in->k.n_tokens;
	float *score = golden_alloc(g, (size_t)in->q.n_heads * n * sizeof *score);
	float *mean = golden_alloc(g, n * sizeof *mean);

	if (ckv_window_score(in, 0, in->k.n_heads,
			     golden_alloc(g, ckv_window_score_scratch_bytes(in)),
			     score, NULL) < 0 ||
	    ckv_reduce(CKV_REDUCE_MEAN, score, in->q.n_heads, n - 1, n - 1,
		       mean) < 0)
		return golden_fail(g, "window score failed");
	mean[n - 1] = ckv_window_pad(mean, n - 1);
	return same_scores(g, mean, n, 1.0f);
}

int golden_tova(struct golden *g)
{
	struct ckv_selection s = { .kind = CKV_TOVA };
	struct ckv_window window;
	struct ckv_layer in = { .n_layers = 1 };
	int r = golden_window(g, 0, 1, &window);

	if (r != 0)
		return r;
	in.k = window.k;
	in.q = window.q;
	if (golden_removed(g, &s) < 0 || golden_select(g, &s, &in) < 0)
		return -1;
	return tova_scores(g, &window);
}

/* Column sums of the causal softmax over all queries, [Hq, T]: the engine's part. */
static float *column_sums(struct golden *g, const struct ckv_window *in)
{
	uint32_t n = in->k.n_tokens, group = in->q.n_heads / in->k.n_heads;
	float *sums = golden_alloc(g, (size_t)in->q.n_heads * n * sizeof *sums);
	double *p = golden_alloc(g, n * sizeof *p);

	for (uint32_t h = 0; h < in->q.n_heads; h++)
		for (uint32_t i = 0; i < n; i++) {
			const float *q = ckv_rows_at(&in->q, h, i);
			double max = -INFINITY, sum = 0.0;

			for (uint32_t j = 0; j <= i; j++) {
				const float *k = ckv_rows_at(&in->k, h / group, j);

				p[j] = 0.0;
				for (uint32_t d = 0; d < in->k.dim; d++)
					p[j] += (double)q[d] * (double)k[d];
				p[j] /= sqrt((double)in->k.dim);
				max = fmax(max, p[j]);
			}
			for (uint32_t j = 0; j <= i; j++)
				sum += exp(p[j] - max);
			for (uint32_t j = 0; j <= i; j++)
				sums[(size_t)h * n + j] +=
					(float)(exp(p[j] - max) / sum);
		}
	return sums;
}

static int h2o_scores(struct golden *g, const struct ckv_selection *s,
		      const struct ckv_layer *in)
{
	const struct st_tensor *want = golden_expected(g, "scores");
	uint32_t n_tokens = in->k.n_tokens, n = n_tokens - s->n_recent;
	uint32_t n_heads = in->k.n_heads, group = in->n_sum_heads / n_heads;
	float *score = golden_alloc(g, (size_t)n_heads * n * sizeof *score);

	for (uint32_t h = 0; h < n_heads; h++)
		if (ckv_reduce(s->reduce, in->sums + (size_t)h * group * n_tokens,
			       group, n_tokens, n, score + (size_t)h * n) < 0)
			return golden_fail(g, "reduce failed");
	return golden_same_scores(g, want, (size_t)n_heads * n, 0, score,
				  (size_t)n_heads * n);
}

int golden_h2o(struct golden *g)
{
	struct ckv_selection s = { .kind = CKV_H2O };
	struct ckv_layer in = { .n_layers = 1 };
	struct ckv_window all = { 0 };
	const struct st_tensor *keys = st_file_find(g->file, "keys");

	/* The sums stand for the inputs: only one way to store them. */
	if (g->store != GOLDEN_AS_GIVEN)
		return 1;
	if (keys == NULL || keys->n_dims != 3 || keys->dim[1] > 4096)
		return golden_fail(g, "keys are not [Hkv, T <= 4096, D]");
	if (golden_window(g, 0, (uint32_t)keys->dim[1], &all) != 0)
		return -1;
	in.k = all.k;
	in.sums = column_sums(g, &all);
	in.n_sum_heads = all.q.n_heads;
	if (golden_count(g, "window_size", &s.n_recent) < 0 ||
	    golden_count(g, "max_capacity_prompt", &s.n_keep) < 0 ||
	    golden_reduce(g, &s.reduce) < 0)
		return -1;
	if (s.n_recent >= in.k.n_tokens)
		return golden_fail(g, "window_size %u of %u tokens", s.n_recent,
				   in.k.n_tokens);
	if (golden_select(g, &s, &in) < 0)
		return -1;
	return h2o_scores(g, &s, &in);
}

/* Either a ratio, or sinks and recent tokens by number. */
int golden_streamingllm(struct golden *g)
{
	struct ckv_selection s = { .kind = CKV_STREAMINGLLM };
	struct ckv_layer in = { .n_layers = 1, .k.n_heads = 1 };
	const char *mode = golden_arg(g, "mode");
	uint32_t n_recent = 0;

	if (g->store != GOLDEN_AS_GIVEN)
		return 1;
	if (golden_count(g, "T", &in.k.n_tokens) < 0 ||
	    golden_count(g, "n_sink", &s.n_sink) < 0)
		return -1;
	if (mode == NULL) {
		if (golden_removed(g, &s) < 0)
			return -1;
	} else if (strcmp(mode, "start_recent") == 0) {
		if (golden_count(g, "n_recent", &n_recent) < 0)
			return -1;
		s.n_keep = s.n_sink + n_recent;
	} else {
		return golden_fail(g, "mode %s is unknown", mode);
	}
	return golden_select(g, &s, &in);
}
