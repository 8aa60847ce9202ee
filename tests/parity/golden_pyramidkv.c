/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden_pyramidkv.c - PyramidKV's cases: tables of budgets, and sets of
 * single layers.
 */
#include "tests/parity/golden.h"

#include <string.h>

static int read_mode(struct golden *g, struct ckv_selection *s)
{
	const char *mode = golden_arg(g, "mode");

	if (mode != NULL && strcmp(mode, "official") == 0)
		s->mode = CKV_OF_OFFICIAL;
	else if (mode != NULL && strcmp(mode, "kvpress") == 0)
		s->mode = CKV_OF_KVPRESS;
	else
		return golden_fail(g, "mode %s is unknown",
				   mode == NULL ? "(none)" : mode);
	return 0;
}

/* A column of n_rows whole numbers, none negative. NULL with the reason. */
static const int32_t *column(struct golden *g, const char *name, size_t n_rows)
{
	const struct st_tensor *t = st_file_find(g->file, name);
	const int32_t *at;

	if (t == NULL || t->dtype != ST_I32 || t->n_elems != n_rows) {
		golden_fail(g, "%s is not %zu I32", name, n_rows);
		return NULL;
	}
	at = (const int32_t *)(const void *)t->data;
	for (size_t i = 0; i < n_rows; i++)
		if (at[i] < 0) {
			golden_fail(g, "%s[%zu] is %d", name, i, at[i]);
			return NULL;
		}
	return at;
}

struct table {
	uint32_t n_rows;
	const int32_t *n_tokens, *window, *beta, *n_layers, *offset, *budget;
	const int32_t *capacity;	/* official */
	const double *removed;		/* kvpress */
};

static int read_table(struct golden *g, const struct ckv_selection *s,
		      struct table *to)
{
	const struct st_tensor *ratio = st_file_find(g->file, "compression_ratio");
	size_t n;

	if (golden_count(g, "rows", &to->n_rows) < 0)
		return -1;
	n = to->n_rows;
	to->n_tokens = column(g, "T", n);
	to->window = column(g, "window_size", n);
	to->beta = column(g, "beta", n);
	to->n_layers = column(g, "n_layers", n);
	to->offset = column(g, "offset", n + 1);
	if (n == 0 || to->n_tokens == NULL || to->window == NULL ||
	    to->beta == NULL || to->n_layers == NULL || to->offset == NULL)
		return -1;
	to->budget = column(g, "budget", (size_t)to->offset[n]);
	if (to->budget == NULL)
		return -1;
	if (s->mode == CKV_OF_OFFICIAL) {
		to->capacity = column(g, "max_capacity_prompt", n);
		return to->capacity == NULL ? -1 : 0;
	}
	if (ratio == NULL || ratio->dtype != ST_F64 || ratio->n_elems != n)
		return golden_fail(g, "compression_ratio is not %zu F64", n);
	to->removed = (const double *)(const void *)ratio->data;
	return 0;
}

static int compare_row(struct golden *g, const struct table *t, uint32_t i,
		       struct ckv_selection *s)
{
	uint32_t n_layers = (uint32_t)t->n_layers[i];

	s->window = (uint32_t)t->window[i];
	s->beta = (uint32_t)t->beta[i];
	s->kernel = 5;
	if (t->capacity != NULL)
		s->n_keep = (uint32_t)t->capacity[i];
	else if (golden_keep_of(g, t->removed[i], s) < 0)
		return -1;
	if (t->offset[i + 1] - t->offset[i] != t->n_layers[i] ||
	    t->offset[i + 1] > t->offset[t->n_rows])
		return golden_fail(g, "offset[%u] does not fit", i);
	for (uint32_t l = 0; l < n_layers; l++) {
		uint32_t got = ckv_selection_budget(s, l, n_layers,
						    (uint32_t)t->n_tokens[i]);
		int32_t want = t->budget[(uint32_t)t->offset[i] + l];

		if ((int64_t)got != want)
			return golden_fail(g, "row %u layer %u: %u, expected %d",
					   i, l, got, want);
	}
	return 0;
}

static int compare_table(struct golden *g, struct ckv_selection *s)
{
	struct table table = { 0 };

	if (g->store != GOLDEN_AS_GIVEN)
		return 1;
	if (read_table(g, s, &table) < 0)
		return -1;
	for (uint32_t i = 0; i < table.n_rows; i++)
		if (compare_row(g, &table, i, s) < 0)
			return -1;
	return 0;
}

int golden_pyramidkv(struct golden *g)
{
	struct ckv_selection s = { .kind = CKV_PYRAMIDKV };
	struct ckv_window window;
	struct ckv_layer in = { 0 };
	int r;

	if (read_mode(g, &s) < 0)
		return -1;
	if (golden_arg(g, "rows") != NULL)
		return compare_table(g, &s);
	if (golden_count(g, "window_size", &s.window) < 0 ||
	    golden_count(g, "kernel_size", &s.kernel) < 0 ||
	    golden_count(g, "beta", &s.beta) < 0 ||
	    golden_count(g, "layer", &in.layer) < 0 ||
	    golden_count(g, "n_layers", &in.n_layers) < 0)
		return -1;
	if (s.mode == CKV_OF_KVPRESS)
		r = golden_removed(g, &s);
	else if (golden_pool(g, &s.pool) < 0 || golden_reduce(g, &s.reduce) < 0)
		r = -1;
	else
		r = golden_count(g, "max_capacity_prompt", &s.n_keep);
	if (r == 0)
		r = golden_window(g, 0, s.window, &window);
	if (r != 0)
		return r;
	in.k = window.k;
	in.q = window.q;
	if (golden_select(g, &s, &in) < 0)
		return -1;
	return golden_snapkv_scores(g, &s, &window);
}
