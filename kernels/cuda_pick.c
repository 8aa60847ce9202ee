/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_pick.c - every selection behind one call, on one stream.
 *
 * Launches for all layers: begin (counts, budgets); the method's scores, a run of layers
 * at a time; one top-k with the tokens that are always kept. The host decides only what
 * follows from sizes and parameters, with the functions that ckv_select() uses, so it
 * never waits.
 *
 * One top-k does what the host does in two steps, choosing and merging: the always-kept
 * have the first places, what has no score the next, and the others theirs by score.
 * Whatever the method would have chosen and lose again is behind all that stays. ChunkKV
 * is known as whole chunks only afterwards, so there the first step gives the counts; if
 * something is always kept, the second ranks tokens by their chunk's score.
 */
#include "kernels/chunkkv.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_pick.h"
#include "kernels/select_any.h"

#include <errno.h>

/* ------------------------------------------------------------------- settle */

static int layers_check(const struct ckv_selection *s, const struct ckv_cuda_layers *in)
{
	const struct ckv_cuda_rows *k = &in->k;
	bool reads_keys = (ckv_selection_needs(s) & CKV_NEED_KEYS) != 0;

	if (k->n_layers == 0 || k->n_layers > CKV_CUDA_MAX_LAYERS ||
	    (reads_keys && k->layer_step != 1) ||
	    in->of_layers < k->n_layers || in->first_layer > in->of_layers - k->n_layers)
		return -EINVAL;
	if (k->rows.n_heads == 0 || k->rows.n_heads > CKV_KERNEL_MAX_HEADS ||
	    k->rows.n_tokens == 0 || k->rows.n_tokens > CKV_KERNEL_MAX_TOKENS)
		return -EINVAL;
	return 0;
}

/* What the i-th of the layers with own sets is meant to keep. */
static uint32_t budget_of(const struct pick *p, uint32_t i)
{
	return ckv_selection_budget(p->s, p->in->first_layer + i * p->kept.reuse,
				    p->in->of_layers, p->shape.n_tokens);
}

/* ChunkKV chooses chunks, or does as SnapKV, or takes the newest. */
static void settle_chunkkv(struct pick *p)
{
	uint32_t n_tokens = p->shape.n_tokens, n = budget_of(p, 0);

	p->chunkkv = chunkkv_keeping(p->s, n_tokens, n);
	p->kept.n_sets = 1;
	if (chunkkv_falls_back(&p->chunkkv, n_tokens)) {
		p->method = pick_methods[CKV_SNAPKV];
		p->snapkv = chunkkv_inner(&p->chunkkv);
		p->kept.n_sets = p->shape.n_kv_heads;
		p->n = p->kept.max_n = n;
	} else if (chunkkv_keeps_newest(&p->chunkkv, n_tokens, &n)) {
		p->method = NULL;
		p->n = p->kept.max_n = n;
	} else {
		p->kept.max_n = ckv_cuda_chunkkv_max_n(&p->chunkkv, n_tokens);
	}
}

static void settle_budgets(struct pick *p)
{
	uint32_t least = UINT32_MAX, most = 0;

	for (uint32_t i = 0; i < p->n_layers; i++) {
		uint32_t n = budget_of(p, i);

		least = n < least ? n : least;
		most = n > most ? n : most;
	}
	p->n = least == most ? most : 0;
	p->kept.max_n = most;
	if (least == p->shape.n_tokens)
		p->method = NULL;
	p->kept.n_sets = p->method == NULL || p->method->one_set
		? 1 : p->shape.n_kv_heads;
	p->snapkv = snapkv_keeping(p->s, p->shape.n_tokens, most);
}

static bool is_chunks(const struct pick *p)
{
	return p->method != NULL && p->method == pick_methods[CKV_CHUNKKV];
}

/* Is a layer that keeps n of its tokens scored? */
static bool is_scored(const struct pick *p, uint32_t i)
{
	uint32_t n;

	if (p->method == NULL || is_chunks(p))
		return p->method != NULL;
	n = p->n > 0 ? p->n : budget_of(p, i);
	return n < p->shape.n_tokens && (p->s->kind == CKV_TOVA || n > p->window);
}

static int settle_runs(struct pick *p)
{
	for (uint32_t i = 0; i < p->n_layers; i++) {
		struct pick_run *last = &p->run[p->n_runs];

		if (!is_scored(p, i))
			continue;
		if (p->n_runs > 0 && last[-1].from + last[-1].n == i) {
			last[-1].n++;
			continue;
		}
		if (p->n_runs == PICK_RUNS)
			return -EINVAL;	/* more than `skip` has bits for */
		last->from = i;
		last->n = 1;
		p->n_runs++;
	}
	return 0;
}

/* Tokens of a row with a score, and how far rows are apart. */
static void settle_scores(struct pick *p)
{
	uint32_t n_tokens = p->shape.n_tokens;

	p->n_scored = n_tokens;
	p->row_stride = n_tokens;
	if (p->n_runs == 0) {
		p->n_scored = 0;
	} else if (is_chunks(p)) {
		uint64_t n = (uint64_t)chunkkv_n_scored(&p->chunkkv, n_tokens) *
			     p->chunkkv.chunk;

		if (p->chunkkv.mode == CKV_CHUNKKV_PAPER)
			n = n_tokens - p->window;
		p->n_scored = n < n_tokens ? (uint32_t)n : n_tokens;
		p->row_stride = p->n_scored;
	} else if (p->window > 0) {
		p->n_scored = n_tokens - p->window;
		p->row_stride = p->n_scored;
	} else if (p->s->kind == CKV_H2O) {
		p->n_scored = p->s->n_recent < n_tokens ? n_tokens - p->s->n_recent : 0;
	}
}

/* ------------------------------------------------------------------- inputs */

static int queries_check(const struct pick *p)
{
	const struct ckv_cuda_rows *k = &p->in->k, *q = &p->in->q;
	struct ckv_cuda_window w = { *k, *q, NULL };

	if (q->rows.block == NULL)
		return -ENODATA;
	if (q->n_layers != k->n_layers || q->layer_step != 1 ||
	    q->rows.n_tokens != p->window ||
	    (p->s->kind != CKV_TOVA && p->s->kernel > SNAPKV_MAX_KERNEL))
		return -EINVAL;
	return ckv_cuda_window_score_work_bytes(&w) > 0 ? 0 : -EINVAL;
}

static int sums_check(const struct pick *p)
{
	uint32_t n = p->in->n_sum_heads;

	if (p->in->sums == NULL)
		return -ENODATA;
	return n > 0 && n <= CKV_KERNEL_MAX_HEADS && n % p->shape.n_kv_heads == 0
		? 0 : -EINVAL;
}

static int inputs_check(const struct pick *p)
{
	unsigned needs = ckv_selection_needs(p->s);

	if (p->n_runs == 0)
		return 0;
	if (needs & CKV_NEED_SUMS)
		return sums_check(p);
	if (!(needs & CKV_NEED_KEYS))
		return 0;
	if (p->in->k.rows.block == NULL)
		return -ENODATA;
	if (cuda_rows_check(&p->in->k) < 0)
		return -EINVAL;
	return needs & CKV_NEED_QUERIES ? queries_check(p) : 0;
}

/* SnapKV's words, which ckv_select() judges when it scores. */
static int words_check(const struct ckv_selection *s)
{
	if (s->kind != CKV_SNAPKV && s->kind != CKV_PYRAMIDKV)
		return 0;
	return (s->pool == CKV_POOL_AVG || s->pool == CKV_POOL_MAX) &&
	       (s->reduce == CKV_REDUCE_MEAN || s->reduce == CKV_REDUCE_SUM ||
		s->reduce == CKV_REDUCE_MAX) ? 0 : -EINVAL;
}

static int settle(const struct ckv_selection *s, const struct ckv_cuda_layers *in,
		  struct pick *p)
{
	*p = (struct pick){ .s = s, .in = in };
	if (s == NULL || in == NULL || ckv_selection_budget(s, 0, 1, 1) == 0 ||
	    layers_check(s, in) < 0 || words_check(s) < 0)
		return -EINVAL;
	p->shape = (struct ckv_shape){ in->k.rows.n_heads, in->q.rows.n_heads,
				       in->k.rows.n_tokens };
	p->method = pick_methods[s->kind];
	p->window = ckv_selection_window(s);
	p->merges = always_of(&s->always, p->shape.n_tokens).n_tokens > 0;
	p->kept.reuse = s->kind == CKV_CHUNKKV ? s->n_reuse
		: s->kind == CKV_KEEP_ALL ? in->k.n_layers : 1;
	p->n_layers = (uint32_t)cuda_pieces(in->k.n_layers, p->kept.reuse);
	if (s->kind == CKV_CHUNKKV) {
		if (in->first_layer % s->n_reuse != 0)
			return -EINVAL;
		settle_chunkkv(p);
	} else {
		settle_budgets(p);
	}
	if (settle_runs(p) < 0)
		return -EINVAL;
	settle_scores(p);
	return inputs_check(p);
}

/* --------------------------------------------------------------------- work */

struct ckv_cuda_rows pick_rows(const struct pick *p, const struct ckv_cuda_rows *all,
			       const struct pick_run *run)
{
	struct ckv_cuda_rows rows = *all;

	rows.rows.offset_bytes += (size_t)run->from * p->kept.reuse *
				  all->layer_stride_bytes;
	rows.n_layers = run->n;
	rows.layer_step = run->n > 1 ? p->kept.reuse : 1;
	return rows;
}

struct ckv_cuda_window pick_window(const struct pick *p, const struct pick_run *run)
{
	struct ckv_cuda_window w = { pick_rows(p, &p->in->k, run),
				     pick_rows(p, &p->in->q, run), p->in->lse };

	if (w.lse != NULL)
		w.lse += (size_t)run->from * p->kept.reuse * p->shape.n_q_heads *
			 p->window;
	return w;
}

static size_t lay_out(struct pick *p, void *work)
{
	size_t n_rows = (size_t)p->n_layers * p->kept.n_sets, used = 0;

	p->fault = cuda_carve(work, &used, PICK_RUNS * sizeof *p->fault);
	if (p->n == 0 && !is_chunks(p))
		p->row_k = cuda_carve(work, &used, n_rows * sizeof *p->row_k);
	if (p->n_runs > 0 && (!is_chunks(p) || p->merges))
		p->score = cuda_carve(work, &used,
				      n_rows * p->row_stride * sizeof *p->score);
	if (p->n_runs > 0 && p->method->lay_out != NULL)
		used = p->method->lay_out(p, work, used);
	return used;
}

/* ----------------------------------------------------------------- launches */

/* Counts and budgets, as many as fit in an argument at a time; status words, maxima. */
static int begin(const struct pick *p, void *stream)
{
	struct pick_budgets b = { 0 };
	uint32_t n_sets = p->kept.n_sets;
	uint32_t *n = p->kept.n, *row_k = p->row_k, *max = p->chunks.max;
	uint64_t *fault = p->fault;
	void *const args[] = { &b, &n_sets, &n, &row_k, &max, &fault };
	int r = 0;

	for (uint32_t from = 0; r == 0 && from < p->n_layers; from += b.n_layers) {
		b.first = from;
		b.n_layers = p->n_layers - from < PICK_BUDGETS ? p->n_layers - from
							       : PICK_BUDGETS;
		for (uint32_t i = 0; i < b.n_layers; i++)
			b.n[i] = p->row_k != NULL ? budget_of(p, from + i) : p->n;
		r = cuda_launch(KERNEL_pick_begin,
				(struct cuda_shape){ 1, PICK_THREADS, 0 }, stream, args);
	}
	return r;
}

/* Faults of runs that do not begin with layer 0 get their layers' numbers. */
static int end(const struct pick *p, uint64_t *status, void *stream)
{
	struct pick_faults f = { .word = p->fault, .n_runs = p->n_runs };
	void *const args[] = { &f, &status };

	for (uint32_t i = 0; i < p->n_runs; i++)
		f.first[i] = p->run[i].from;
	return cuda_launch(KERNEL_pick_end, (struct cuda_shape){ 1, PICK_THREADS, 0 },
			   stream, args);
}

static int score(struct pick *p, uint64_t *status, void *stream)
{
	bool apart = false;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < p->n_runs; i++) {
		struct pick_run *run = &p->run[i];

		run->status = run->from == 0 ? status : p->fault + i;
		apart |= run->from > 0;
		r = p->method->score(p, run, stream);
	}
	return r == 0 && apart ? end(p, status, stream) : r;
}

/*
 * A row that keeps all, or no more than what has no score, is in no run: what is read as
 * its scores is of no consequence.
 */
static int top(const struct pick *p, void *stream)
{
	struct ckv_cuda_top t = {
		.score = p->score, .row_stride = p->row_stride,
		.n_rows = p->n_layers * p->kept.n_sets, .n_scored = p->n_scored,
		.n = p->shape.n_tokens, .k = p->kept.max_n, .row_k = p->row_k,
		.smallest = p->s->kind == CKV_L2NORM, .always = p->s->always };

	if (is_chunks(p)) {
		t.row_k = p->kept.n;
		t.lowest_first = p->chunkkv.mode == CKV_CHUNKKV_KVPRESS;
	}
	return ckv_cuda_select_top(&t, p->kept.pos, NULL, NULL, stream);
}

int ckv_cuda_select_shape(const struct ckv_selection *s,
			  const struct ckv_cuda_layers *in, struct ckv_cuda_kept *kept)
{
	struct pick p;
	int r = kept == NULL ? -EINVAL : settle(s, in, &p);

	if (r < 0)
		return r;
	kept->n_sets = p.kept.n_sets;
	kept->max_n = p.kept.max_n;
	kept->reuse = p.kept.reuse;
	return 0;
}

size_t ckv_cuda_select_work_bytes(const struct ckv_selection *s,
				  const struct ckv_cuda_layers *in)
{
	struct pick p;

	return settle(s, in, &p) < 0 ? 0 : lay_out(&p, NULL);
}

int ckv_cuda_select(const struct ckv_selection *s, const struct ckv_cuda_layers *in,
		    void *work, const struct ckv_cuda_kept *kept, uint64_t *status,
		    void *stream)
{
	struct pick p;
	int r = settle(s, in, &p);

	if (r < 0)
		return r;
	if (cuda_work_check(work) < 0 || kept == NULL || status == NULL ||
	    kept->pos == NULL || kept->n == NULL || kept->n_sets != p.kept.n_sets ||
	    kept->max_n != p.kept.max_n || kept->reuse != p.kept.reuse)
		return -EINVAL;
	p.kept = *kept;
	lay_out(&p, work);
	r = begin(&p, stream);
	if (r == 0)
		r = score(&p, status, stream);
	if (r == 0 && (!is_chunks(&p) || p.merges))
		r = top(&p, stream);
	return r;
}
