/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_chunkkv.c - ChunkKV of an object from keys to encoded survivors, on one stream.
 *
 * Launches for all layers: begin; window scores of the layers that are scored; SnapKV's
 * scores with their maximum; chunk scores; positions; codes of K; codes of V. The
 * host decides only what follows from sizes and parameters, so it never waits. A prompt
 * shorter than one chunk is treated as SnapKV does, per head; where the newest tokens are
 * kept anyway, nothing is scored.
 */
#include "kernels/chunkkv.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_pick.h"
#include "kernels/cuda_task.h"

#include <errno.h>

/* Areas in the work; NULL where they are not needed. */
struct chunkkv_work {
	struct pick_chunks chunks;
	void *scratch;		/* of whichever launch is at hand */
};

static struct ckv_shape shape_of(const struct ckv_cuda_chunkkv *in)
{
	return (struct ckv_shape){ in->window.k.rows.n_heads, in->window.q.rows.n_heads,
				   in->window.k.rows.n_tokens };
}

/* The layers that are scored: every n_reuse-th. */
static struct ckv_cuda_window scored_of(const struct ckv_cuda_chunkkv *in)
{
	struct ckv_cuda_window w = in->window;

	w.k.layer_step = w.q.layer_step = in->method.n_reuse;
	w.k.n_layers = w.q.n_layers = (uint32_t)cuda_pieces(
		in->window.k.n_layers, in->method.n_reuse);
	return w;
}

static int chunkkv_in_check(const struct ckv_cuda_chunkkv *in)
{
	const struct ckv_cuda_rows *k, *q;
	struct ckv_shape shape;

	if (in == NULL || chunkkv_check(&in->method) < 0 ||
	    ckv_encode_check(&in->encode) < 0 ||
	    in->method.n_reuse > CKV_CUDA_MAX_LAYERS ||
	    cuda_rows_check(&in->window.k) < 0 || cuda_rows_check(&in->v) < 0 ||
	    cuda_rows_match(&in->window.k, &in->v) < 0)
		return -EINVAL;
	k = &in->window.k;
	q = &in->window.q;
	shape = shape_of(in);
	if (k->layer_step != 1 || q->rows.n_heads == 0 ||
	    q->rows.n_heads % k->rows.n_heads != 0)
		return -EINVAL;
	if (!ckv_chunkkv_needs_score(&in->method, &shape))
		return 0;
	if (cuda_rows_check(q) < 0 || q->layer_step != 1 ||
	    q->n_layers != k->n_layers || q->rows.dim != k->rows.dim ||
	    q->rows.n_tokens != in->method.window)
		return -EINVAL;
	return 0;
}

int ckv_cuda_chunkkv_shape(const struct ckv_cuda_chunkkv *in,
			   struct ckv_cuda_kept *kept)
{
	struct ckv_shape shape;
	int falls_back;

	if (chunkkv_in_check(in) < 0 || kept == NULL)
		return -EINVAL;
	shape = shape_of(in);
	falls_back = chunkkv_falls_back(&in->method, shape.n_tokens);
	kept->n_sets = falls_back ? shape.n_kv_heads : 1;
	kept->max_n = falls_back
		? ckv_budget_kvpress(shape.n_tokens, in->method.removed)
		: ckv_cuda_chunkkv_max_n(&in->method, shape.n_tokens);
	kept->reuse = in->method.n_reuse;
	return 0;
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

size_t pick_chunks_lay_out(const struct ckv_chunkkv *m, const struct ckv_shape *shape,
			   uint32_t n_layers, void *work, size_t used,
			   struct pick_chunks *ret)
{
	size_t n = (size_t)n_layers * (shape->n_tokens - m->window) * sizeof(float);

	ret->max = cuda_carve(work, &used, n_layers * sizeof(uint32_t));
	ret->score = cuda_carve(work, &used, n * shape->n_q_heads);
	ret->head_score = cuda_carve(work, &used, n * shape->n_kv_heads);
	ret->chunk_score = cuda_carve(work, &used,
				      (size_t)n_layers * sizeof(float) *
				      ckv_chunkkv_n_chunks(m, shape->n_tokens));
	return used;
}

static size_t lay_out(const struct ckv_cuda_chunkkv *in, void *work,
		      struct chunkkv_work *ret)
{
	struct ckv_cuda_window scored = scored_of(in);
	struct ckv_shape shape = shape_of(in);
	size_t used = 0, scratch, bytes;

	*ret = (struct chunkkv_work){ 0 };
	scratch = ckv_cuda_encode_work_bytes(&in->encode, &in->window.k);
	bytes = ckv_cuda_encode_work_bytes(&in->encode, &in->v);
	scratch = larger(scratch, bytes);
	if (ckv_chunkkv_needs_score(&in->method, &shape)) {
		bytes = ckv_cuda_window_score_work_bytes(&scored);
		scratch = larger(scratch, bytes);
		used = pick_chunks_lay_out(&in->method, &shape, scored.k.n_layers, work,
					   used, &ret->chunks);
	}
	ret->scratch = cuda_carve(work, &used, larger(scratch, 1));
	return used;
}

size_t ckv_cuda_chunkkv_work_bytes(const struct ckv_cuda_chunkkv *in)
{
	struct chunkkv_work w;

	return chunkkv_in_check(in) < 0 ? 0 : lay_out(in, NULL, &w);
}

/* Positions of a prompt shorter than one chunk: SnapKV's, per kv head. */
static int keep_fallback(const struct ckv_cuda_chunkkv *in,
			 const struct pick_chunks *w, uint32_t n_layers,
			 const struct ckv_cuda_kept *kept, void *stream)
{
	struct ckv_snapkv inner = chunkkv_inner(&in->method);
	struct ckv_shape shape = shape_of(in);
	struct ckv_cuda_top top = { 0 };
	int r = 0;

	top.n_rows = n_layers * shape.n_kv_heads;
	top.n = shape.n_tokens;
	top.k = kept->max_n;
	if (w->score != NULL) {
		top.n_scored = shape.n_tokens - in->method.window;
		top.row_stride = top.n_scored;
		top.score = w->head_score;
		r = ckv_cuda_snapkv_score(&inner, &shape, n_layers, w->score,
					  NULL, w->head_score, stream);
	}
	if (r == 0 && top.k > 0)
		r = ckv_cuda_select_top(&top, kept->pos, NULL, NULL, stream);
	return r;
}

int pick_chunks_keep(const struct ckv_chunkkv *m, const struct ckv_shape *shape,
		     uint32_t n_layers, const struct pick_chunks *w,
		     const struct ckv_cuda_kept *kept, void *stream)
{
	struct ckv_snapkv inner = chunkkv_inner(m);
	bool kvpress = m->mode == CKV_CHUNKKV_KVPRESS;
	int r = 0;

	if (w->score != NULL && kvpress)
		r = ckv_cuda_snapkv_score(&inner, shape, n_layers, w->score, w->max,
					  w->head_score, stream);
	if (r == 0 && w->score != NULL)
		r = ckv_cuda_chunk_scores(m, shape, n_layers,
					  kvpress ? w->head_score : w->score,
					  kvpress ? w->max : NULL, w->chunk_score,
					  stream);
	if (r == 0)
		r = ckv_cuda_chunkkv_keep(m, shape->n_tokens, n_layers, w->chunk_score,
					  kept, stream);
	return r;
}

static int encode_kept(const struct ckv_cuda_chunkkv *in, void *scratch,
		       const struct ckv_cuda_kept *kept,
		       const struct ckv_cuda_coded out[2],
		       const struct ckv_cuda_out *full, uint64_t *status,
		       void *stream)
{
	const struct ckv_cuda_rows *k = &in->window.k, *v = &in->v;
	int r;

	if (in->encode.kind == CKV_ENCODE_PLAIN)
		return ckv_cuda_gather(k, v, kept, UINT32_MAX, &out[0].code,
				       &out[1].code, status, stream);
	r = ckv_cuda_encode(&in->encode, CKV_SIDE_KEY, k, kept, scratch, &out[0],
			    status, stream);
	if (r == 0)
		r = ckv_cuda_encode(&in->encode, CKV_SIDE_VALUE, v, kept, scratch,
				    &out[1], status, stream);
	if (r == 0 && in->encode.n_full > 0)
		r = ckv_cuda_gather(k, v, kept, in->encode.n_full, &full[0],
				    &full[1], status, stream);
	return r;
}

int ckv_cuda_chunkkv(const struct ckv_cuda_chunkkv *in, void *work,
		     const struct ckv_cuda_kept *kept,
		     const struct ckv_cuda_coded out[2],
		     const struct ckv_cuda_out full[2], uint64_t *status,
		     void *stream)
{
	struct ckv_cuda_kept want;
	struct ckv_cuda_window scored;
	struct ckv_shape shape;
	struct chunkkv_work w;
	uint32_t *n_kept, max_n;
	void *const args[] = { &status, &w.chunks.max, &scored.k.n_layers, &n_kept, &max_n };
	int r;

	if (kept == NULL || cuda_work_check(work) < 0 || out == NULL ||
	    status == NULL || ckv_cuda_chunkkv_shape(in, &want) < 0 ||
	    kept->n == NULL || (kept->pos == NULL && want.max_n > 0) ||
	    kept->n_sets != want.n_sets ||
	    kept->max_n != want.max_n || kept->reuse != want.reuse ||
	    (in->encode.n_full > 0 && full == NULL))
		return -EINVAL;
	lay_out(in, work, &w);
	scored = scored_of(in);
	shape = shape_of(in);
	n_kept = kept->n;
	max_n = kept->max_n;
	r = cuda_launch(KERNEL_chunkkv_begin, (struct cuda_shape){ 1, CHUNK_THREADS, 0 },
			stream, args);
	if (r == 0 && w.chunks.score != NULL)
		r = ckv_cuda_window_score(&scored, w.scratch, w.chunks.score, status,
					  stream);
	if (r == 0)
		r = chunkkv_falls_back(&in->method, shape.n_tokens)
			? keep_fallback(in, &w.chunks, scored.k.n_layers, kept, stream)
			: pick_chunks_keep(&in->method, &shape, scored.k.n_layers,
					   &w.chunks, kept, stream);
	if (r == 0)
		r = encode_kept(in, w.scratch, kept, out, full, status, stream);
	return r;
}
