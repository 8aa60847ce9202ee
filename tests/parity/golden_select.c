/* SPDX-License-Identifier: Apache-2.0 */
/* golden_select.c - the cases of the methods that choose tokens. */
#include "tests/parity/golden.h"

#include <string.h>

struct run {			/* one layer of a case, computed */
	struct ckv_window in;
	struct ckv_shape shape;
	float *score;		/* [Hq, T-w]; NULL where T <= w */
	void *scratch;
};

/* Window scores of all heads of run->in, where there are any. */
static int run_score(struct golden *g, uint32_t window, struct run *run)
{
	struct ckv_fault fault;
	int r;

	run->shape = (struct ckv_shape){ run->in.k.n_heads, run->in.q.n_heads,
					 run->in.k.n_tokens };
	run->score = NULL;
	run->scratch = golden_alloc(g, ckv_select_scratch_bytes(&run->in));
	if (run->shape.n_tokens <= window)
		return 0;
	run->score = golden_alloc(g, (size_t)run->shape.n_q_heads *
				     run->shape.n_tokens * sizeof(float));
	r = ckv_window_score(&run->in, 0, run->shape.n_kv_heads, run->scratch,
			     run->score, &fault);
	return r == 0 ? 0 : golden_fail(g, "window score: %s", strerror(-r));
}

/* As golden_window(), and the window scores of all heads. */
static int start(struct golden *g, uint32_t layer, uint32_t window,
		 struct run *run)
{
	int r = golden_window(g, layer, window, &run->in);

	return r != 0 ? r : run_score(g, window, run);
}

/* Scores of SnapKV beside those expected; in kvpress's way with the window. */
static int compare_snapkv(struct golden *g, const struct ckv_snapkv *m,
			  const struct run *run, const char *arg)
{
	uint32_t n_tokens = run->shape.n_tokens;
	uint32_t n_heads = run->shape.n_kv_heads, n, row;
	const struct st_tensor *want;
	float *score, *padded;
	int r;

	if (golden_named(g, arg, &want) < 0)
		return -1;
	if (want == NULL || run->score == NULL)
		return 0;
	n = n_tokens - m->window;
	row = m->mode == CKV_SNAPKV_KVPRESS ? n_tokens : n;
	score = golden_alloc(g, (size_t)n_heads * n * sizeof *score);
	padded = golden_alloc(g, n_tokens * sizeof *padded);
	r = ckv_snapkv_score(m, &run->shape, 0, n_heads, run->score,
			     run->scratch, score);
	if (r < 0)
		return golden_fail(g, "score: %s", strerror(-r));
	for (uint32_t j = n; j < n_tokens; j++)
		padded[j] = ckv_window_pad(score, (size_t)n_heads * n);
	for (uint32_t h = 0; h < n_heads; h++) {
		memcpy(padded, score + (size_t)h * n, n * sizeof *padded);
		if (golden_same_scores(g, want, (size_t)n_heads * row,
				       (size_t)h * row, padded, row) < 0)
			return -1;
	}
	return 0;
}

static int same_kept(struct golden *g, const struct st_tensor *want,
		     const uint32_t *pos, const struct ckv_kept *kept)
{
	size_t n = (size_t)kept->n_sets * kept->n;

	if (want == NULL)
		return golden_fail(g, "no tensor c%u.kept", g->index);
	if (want->n_dims == 0 || want->dim[want->n_dims - 1] != kept->n ||
	    want->n_elems != n)
		return golden_fail(g, "kept %u sets of %u, %s has %zu positions",
				   kept->n_sets, kept->n, want->name, want->n_elems);
	return golden_same_positions(g, want, 0, pos, n);
}

int golden_pool(struct golden *g, enum ckv_pool *ret_pool)
{
	const char *pool = golden_arg(g, "pooling");

	if (pool != NULL && strcmp(pool, "maxpool") == 0)
		*ret_pool = CKV_POOL_MAX;
	else if (pool != NULL && strcmp(pool, "avgpool") == 0)
		*ret_pool = CKV_POOL_AVG;
	else
		return golden_fail(g, "pooling %s is unknown",
				   pool == NULL ? "(none)" : pool);
	return 0;
}

int golden_reduce(struct golden *g, enum ckv_reduce *ret_reduce)
{
	const char *reduce = golden_arg(g, "gqa_score_agg");

	if (reduce != NULL && strcmp(reduce, "sum") == 0)
		*ret_reduce = CKV_REDUCE_SUM;
	else if (reduce != NULL && strcmp(reduce, "max") == 0)
		*ret_reduce = CKV_REDUCE_MAX;
	else if (reduce != NULL && strcmp(reduce, "mean") == 0)
		*ret_reduce = CKV_REDUCE_MEAN;
	else
		return golden_fail(g, "gqa_score_agg %s is unknown",
				   reduce == NULL ? "(none)" : reduce);
	return 0;
}

int golden_snapkv_official(struct golden *g, struct ckv_snapkv *m)
{
	m->mode = CKV_SNAPKV_OFFICIAL;
	if (golden_pool(g, &m->pool) < 0 || golden_reduce(g, &m->reduce) < 0)
		return -1;
	return golden_count(g, "max_capacity_prompt", &m->n_keep);
}

int golden_snapkv_scores(struct golden *g, const struct ckv_selection *s,
			 const struct ckv_window *in)
{
	const struct ckv_snapkv m = {
		.mode = s->mode == CKV_OF_KVPRESS ? CKV_SNAPKV_KVPRESS
						  : CKV_SNAPKV_OFFICIAL,
		.pool = s->pool, .reduce = s->reduce, .window = s->window,
		.kernel = s->kernel, .n_keep = in->k.n_tokens };
	struct run run = { .in = *in };
	int r = run_score(g, s->window, &run);

	return r < 0 ? r : compare_snapkv(g, &m, &run, "scores");
}

int golden_snapkv(struct golden *g)
{
	const char *mode = golden_arg(g, "mode");
	struct ckv_snapkv m = { .mode = CKV_SNAPKV_KVPRESS };
	struct ckv_kept kept = { 0 };
	struct run run;
	uint32_t *pos;
	int r;

	if (golden_count(g, "window_size", &m.window) < 0 ||
	    golden_count(g, "kernel_size", &m.kernel) < 0)
		return -1;
	if (mode != NULL && strcmp(mode, "official") == 0)
		r = golden_snapkv_official(g, &m);
	else if (mode != NULL && strcmp(mode, "kvpress") != 0)
		r = golden_fail(g, "mode %s is unknown", mode);
	else
		r = golden_ratio(g, "compression_ratio", &m.removed);
	if (r == 0)
		r = start(g, 0, m.window, &run);
	if (r != 0)
		return r;
	pos = golden_alloc(g, ckv_snapkv_max_kept(&m, &run.shape) * sizeof *pos);
	r = ckv_snapkv_select(&m, &run.in, run.scratch, pos, &kept, NULL);
	if (r < 0)
		return golden_fail(g, "select: %s", strerror(-r));
	if (same_kept(g, golden_expected(g, "kept"), pos, &kept) < 0)
		return -1;
	return compare_snapkv(g, &m, &run, "scores");
}

/* The numbers of the chunks that any position of a shared set lies in. */
static uint32_t chunks_of(const uint32_t *pos, uint32_t n, uint32_t chunk,
			  uint32_t *to)
{
	uint32_t n_chunks = 0;

	for (uint32_t i = 0; i < n; i++)
		if (n_chunks == 0 || to[n_chunks - 1] != pos[i] / chunk)
			to[n_chunks++] = pos[i] / chunk;
	return n_chunks;
}

static int same_chunks(struct golden *g, const struct ckv_chunkkv *m,
		       const struct run *run, const uint32_t *pos,
		       const struct ckv_kept *kept)
{
	const struct st_tensor *want = golden_expected(g, "kept_chunks");
	uint32_t *chunks, n, n_chunks;
	float *score;
	int r;

	if (kept->n_sets != 1 || run->score == NULL)
		return 0;
	chunks = golden_alloc(g, (kept->n + 1) * sizeof *chunks);
	n = chunks_of(pos, kept->n, m->chunk, chunks);
	if (want != NULL && want->n_elems != n)
		return golden_fail(g, "kept %u chunks, expected %zu", n,
				   want->n_elems);
	if (want != NULL && golden_same_positions(g, want, 0, chunks, n) < 0)
		return -1;
	n_chunks = ckv_chunkkv_n_chunks(m, run->shape.n_tokens);
	score = golden_alloc(g, n_chunks * sizeof *score);
	r = ckv_chunkkv_score(m, &run->shape, run->score, run->scratch, score);
	if (r < 0)
		return golden_fail(g, "chunk score: %s", strerror(-r));
	return golden_same_scores(g, golden_expected(g, "chunk_scores"),
				  n_chunks, 0, score, n_chunks);
}

static int chunkkv_kvpress(struct golden *g, struct ckv_chunkkv *m)
{
	struct ckv_kept kept = { 0 };
	struct ckv_snapkv inner;
	struct run run;
	uint32_t *pos;
	int r;

	m->n_reuse = 1;
	if (golden_count(g, "kernel_size", &m->kernel) < 0 ||
	    golden_ratio(g, "compression_ratio", &m->removed) < 0)
		return -1;
	r = start(g, 0, m->window, &run);
	if (r != 0)
		return r;
	pos = golden_alloc(g, ckv_chunkkv_max_kept(m, &run.shape) * sizeof *pos);
	r = ckv_chunkkv_select(m, &run.in, run.scratch, pos, &kept, NULL);
	if (r < 0)
		return golden_fail(g, "select: %s", strerror(-r));
	if (same_kept(g, golden_expected(g, "kept"), pos, &kept) < 0 ||
	    same_chunks(g, m, &run, pos, &kept) < 0)
		return -1;
	inner = (struct ckv_snapkv){
		.mode = CKV_SNAPKV_KVPRESS,
		.window = m->window,
		.kernel = m->kernel,
		.removed = m->removed,
	};
	return compare_snapkv(g, &inner, &run, "token_scores");
}

/* Where a layer's positions lie in `want`: equal rows, or by kept_offset. */
static int paper_span(struct golden *g, const struct st_tensor *want,
		      uint32_t layer, uint32_t n_layers, size_t *ret_first,
		      size_t *ret_n)
{
	const struct st_tensor *offset = golden_expected(g, "kept_offset");
	const int32_t *at;

	if (offset == NULL) {
		*ret_n = want->n_elems / n_layers;
		*ret_first = layer * *ret_n;
		return want->n_elems % n_layers == 0 ? 0
			: golden_fail(g, "%s: rows of unequal length",
				      want->name);
	}
	if (offset->dtype != ST_I32 || offset->n_elems != (size_t)n_layers + 1)
		return golden_fail(g, "%s is not %u I32", offset->name,
				   n_layers + 1);
	at = (const int32_t *)(const void *)offset->data;
	if (at[layer] < 0 || at[layer + 1] < at[layer] ||
	    (size_t)at[layer + 1] > want->n_elems)
		return golden_fail(g, "%s does not fit %s", offset->name,
				   want->name);
	*ret_first = (size_t)at[layer];
	*ret_n = (size_t)(at[layer + 1] - at[layer]);
	return 0;
}

/* Scores that layer l itself would have: reuse does not change them. */
static int paper_scores(struct golden *g, const struct ckv_chunkkv *m,
			const struct run *run, uint32_t layer,
			uint32_t n_layers)
{
	uint32_t n = run->shape.n_tokens - m->window;
	uint32_t n_chunks = ckv_chunkkv_n_chunks(m, run->shape.n_tokens);
	float *token = golden_alloc(g, n * sizeof *token);
	float *chunk = golden_alloc(g, n_chunks * sizeof *chunk);
	int r;

	r = ckv_reduce(CKV_REDUCE_SUM, run->score, run->shape.n_q_heads, n, n,
		       token);
	if (r == 0)
		r = ckv_chunkkv_score(m, &run->shape, run->score, run->scratch,
				      chunk);
	if (r < 0)
		return golden_fail(g, "score: %s", strerror(-r));
	if (golden_same_scores(g, golden_expected(g, "token_scores"),
			       (size_t)n_layers * n, (size_t)layer * n, token,
			       n) < 0)
		return -1;
	return golden_same_scores(g, golden_expected(g, "chunk_scores"),
				  (size_t)n_layers * n_chunks,
				  (size_t)layer * n_chunks, chunk, n_chunks);
}

static int paper_layer(struct golden *g, const struct ckv_chunkkv *m,
		       const struct st_tensor *want, uint32_t layer,
		       uint32_t n_layers)
{
	struct ckv_kept kept = { 0 };
	struct run run;
	size_t first = 0, n = 0;
	uint32_t *pos;
	int r;

	r = start(g, ckv_chunkkv_source_layer(m, layer), m->window, &run);
	if (r != 0)
		return r;
	if (paper_span(g, want, layer, n_layers, &first, &n) < 0)
		return -1;
	pos = golden_alloc(g, ckv_chunkkv_max_kept(m, &run.shape) * sizeof *pos);
	r = ckv_chunkkv_select(m, &run.in, run.scratch, pos, &kept, NULL);
	if (r < 0)
		return golden_fail(g, "select: %s", strerror(-r));
	if (kept.n_sets != 1 || kept.n != n)
		return golden_fail(g, "layer %u keeps %u, expected %zu", layer,
				   kept.n, n);
	if (golden_same_positions(g, want, first, pos, n) < 0)
		return -1;
	if (start(g, layer, m->window, &run) < 0)
		return -1;
	return run.score == NULL ? 0
		: paper_scores(g, m, &run, layer, n_layers);
}

static int chunkkv_paper(struct golden *g, struct ckv_chunkkv *m)
{
	const struct st_tensor *want = golden_expected(g, "kept");
	uint32_t n_layers = golden_n_layers(g);
	int r = 0;

	m->mode = CKV_CHUNKKV_PAPER;
	if (golden_count(g, "n", &m->n_keep) < 0 ||
	    golden_count(g, "n_reuse", &m->n_reuse) < 0)
		return -1;
	if (want == NULL)
		want = golden_expected(g, "kept_cut_by_rank");
	if (want == NULL || n_layers == 0)
		return golden_fail(g, "no tensor c%u.kept", g->index);
	for (uint32_t l = 0; r == 0 && l < n_layers; l++)
		r = paper_layer(g, m, want, l, n_layers);
	return r;
}

int golden_chunkkv(struct golden *g)
{
	const char *mode = golden_arg(g, "mode");
	struct ckv_chunkkv m = { .mode = CKV_CHUNKKV_KVPRESS };

	if (golden_count(g, "chunk_length", &m.chunk) < 0 ||
	    golden_count(g, "window_size", &m.window) < 0)
		return -1;
	if (m.chunk == 0)
		return golden_fail(g, "chunk_length is 0");
	if (mode != NULL && strcmp(mode, "paper") == 0)
		return chunkkv_paper(g, &m);
	if (mode != NULL && strcmp(mode, "kvpress") != 0)
		return golden_fail(g, "mode %s is unknown", mode);
	return chunkkv_kvpress(g, &m);
}
