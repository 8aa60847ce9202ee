/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front.c - the launchers as the harness' tests call them, run on a GPU.
 *
 * The tests of tests/simt hand over ordinary memory. Each function here has a launcher's
 * own name: it mirrors what the arguments point at, calls the launcher (names.h) and
 * brings the results back. How much they point at is what the arguments say, so first the
 * launcher itself is asked, with launches that do nothing: of arguments that it refuses,
 * or for which there is nothing to do, nothing is read.
 */
#include "front.h"
#include "mirror.h"
#include "kernels/cuda_args.h"
#include "kernels/cuda_launch.h"

#include <stdbool.h>
#include <stdlib.h>

#define LAUNCHER(name)	extern __typeof__(ckv_cuda_##name) gpu_##name
LAUNCHER(begin);
LAUNCHER(window_score);
LAUNCHER(norms);
LAUNCHER(keydiff);
LAUNCHER(pool);
LAUNCHER(reduce);
LAUNCHER(snapkv_score);
LAUNCHER(chunk_scores);
LAUNCHER(select_top);
LAUNCHER(chunkkv_keep);
LAUNCHER(select);
LAUNCHER(gather);
LAUNCHER(encode);
LAUNCHER(decode);
LAUNCHER(page_checksum);
LAUNCHER(chunkkv);

extern __typeof__(cuda_launch) gpu_launch;

uint64_t front_n_launches;

static struct {
	bool on;
	uint32_t n_launches;
} asking;

/* What the launchers call for cuda_launch(). */
int gpu_launch(uint32_t kernel, struct cuda_shape shape, void *stream, void *const *args)
{
	if (asking.on) {
		asking.n_launches++;
		return 0;
	}
	front_n_launches++;
	return cuda_launch(kernel, shape, stream, args);
}

static bool asking_begins(void)
{
	asking.n_launches = 0;
	return asking.on = true;
}

static bool asking_ends(int r)
{
	asking.on = false;
	return r == 0 && asking.n_launches > 0;
}

/* Is there something to launch? If not, *r is all that there is to say. */
#define WOULD_LAUNCH(r, call)	(asking_begins() && asking_ends(*(r) = (call)))

static uint64_t *status_of(struct mirror *m, uint64_t *status)
{
	return mirror_inout(m, status, sizeof *status);
}

int ckv_cuda_begin(uint64_t *status, void *stream)
{
	struct mirror *m = mirror_begin();
	int r;

	if (!WOULD_LAUNCH(&r, gpu_begin(status, stream)))
		return r;
	return mirror_finish(m, gpu_begin(status_of(m, status), stream));
}

/* ------------------------------------------------------------------- scores */

int ckv_cuda_window_score(const struct ckv_cuda_window *in, void *work, float *score,
			  uint64_t *status, void *stream)
{
	struct mirror *m = mirror_begin();
	struct ckv_cuda_window d;
	uint32_t n_heads, w, n_layers;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_window_score(in, work, score, status, stream)))
		return r;
	n_heads = in->q.rows.n_heads;
	w = in->q.rows.n_tokens;
	n_layers = (in->q.n_layers - 1) * in->q.layer_step + 1;
	d.k = mirror_rows(m, &in->k);
	d.q = mirror_rows(m, &in->q);
	d.lse = mirror_in(m, in->lse, (size_t)n_layers * n_heads * w * sizeof *in->lse);
	work = mirror_inout(m, work, ckv_cuda_window_score_work_bytes(in));
	score = mirror_inout(m, score, (size_t)in->q.n_layers * n_heads *
			     (in->k.rows.n_tokens - w) * sizeof *score);
	return mirror_finish(m, gpu_window_score(&d, work, score, status_of(m, status),
						 stream));
}

static size_t row_floats(const struct ckv_cuda_rows *k)
{
	return (size_t)k->n_layers * k->rows.n_heads * k->rows.n_tokens * sizeof(float);
}

int ckv_cuda_norms(const struct ckv_cuda_rows *k, float *norm, uint64_t *status,
		   void *stream)
{
	struct mirror *m = mirror_begin();
	struct ckv_cuda_rows d;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_norms(k, norm, status, stream)))
		return r;
	d = mirror_rows(m, k);
	norm = mirror_inout(m, norm, row_floats(k));
	return mirror_finish(m, gpu_norms(&d, norm, status_of(m, status), stream));
}

int ckv_cuda_keydiff(const struct ckv_cuda_rows *k, void *work, float *score,
		     uint64_t *status, void *stream)
{
	struct mirror *m = mirror_begin();
	struct ckv_cuda_rows d;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_keydiff(k, work, score, status, stream)))
		return r;
	d = mirror_rows(m, k);
	work = mirror_inout(m, work, ckv_cuda_keydiff_work_bytes(k));
	score = mirror_inout(m, score, row_floats(k));
	return mirror_finish(m, gpu_keydiff(&d, work, score, status_of(m, status), stream));
}

int ckv_cuda_pool(enum ckv_pool pool, uint32_t kernel, const float *in, uint32_t n_rows,
		  uint32_t n, float *out, void *stream)
{
	struct mirror *m = mirror_begin();
	size_t bytes = (size_t)n_rows * n * sizeof *in;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_pool(pool, kernel, in, n_rows, n, out, stream)))
		return r;
	in = mirror_in(m, in, bytes);
	out = mirror_inout(m, out, bytes);
	return mirror_finish(m, gpu_pool(pool, kernel, in, n_rows, n, out, stream));
}

int ckv_cuda_reduce(enum ckv_reduce reduce, const float *in, uint32_t n_groups,
		    uint32_t group, uint32_t n, float *out, void *stream)
{
	struct mirror *m = mirror_begin();
	int r;

	if (!WOULD_LAUNCH(&r, gpu_reduce(reduce, in, n_groups, group, n, out, stream)))
		return r;
	in = mirror_in(m, in, (size_t)n_groups * group * n * sizeof *in);
	out = mirror_inout(m, out, (size_t)n_groups * n * sizeof *out);
	return mirror_finish(m, gpu_reduce(reduce, in, n_groups, group, n, out, stream));
}

int ckv_cuda_snapkv_score(const struct ckv_snapkv *snapkv, const struct ckv_shape *shape,
			  uint32_t n_layers, const float *score, uint32_t *max, float *out,
			  void *stream)
{
	struct mirror *m = mirror_begin();
	size_t n;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_snapkv_score(snapkv, shape, n_layers, score, max, out,
			   stream)))
		return r;
	n = (size_t)n_layers * (shape->n_tokens - snapkv->window) * sizeof *score;
	score = mirror_in(m, score, shape->n_q_heads * n);
	max = mirror_inout(m, max, n_layers * sizeof *max);
	out = mirror_inout(m, out, shape->n_kv_heads * n);
	return mirror_finish(m, gpu_snapkv_score(snapkv, shape, n_layers, score, max, out,
						 stream));
}

int ckv_cuda_chunk_scores(const struct ckv_chunkkv *chunkkv, const struct ckv_shape *shape,
			  uint32_t n_layers, const float *in, const uint32_t *max,
			  float *chunk_score, void *stream)
{
	struct mirror *m = mirror_begin();
	uint32_t n_heads;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_chunk_scores(chunkkv, shape, n_layers, in, max,
			   chunk_score, stream)))
		return r;
	n_heads = chunkkv->mode == CKV_CHUNKKV_PAPER ? shape->n_q_heads : shape->n_kv_heads;
	in = mirror_in(m, in, (size_t)n_layers * n_heads *
		       (shape->n_tokens - chunkkv->window) * sizeof *in);
	max = mirror_in(m, max, n_layers * sizeof *max);
	chunk_score = mirror_inout(m, chunk_score, (size_t)n_layers *
				   ckv_chunkkv_n_chunks(chunkkv, shape->n_tokens) *
				   sizeof *chunk_score);
	return mirror_finish(m, gpu_chunk_scores(chunkkv, shape, n_layers, in, max,
						 chunk_score, stream));
}

/* ------------------------------------------------------------------ selects */

int ckv_cuda_select_top(const struct ckv_cuda_top *top, uint32_t *pos, uint32_t *n_nan,
			uint32_t *n_lost, void *stream)
{
	struct mirror *m = mirror_begin();
	struct ckv_cuda_top d = *top;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_select_top(top, pos, n_nan, n_lost, stream)))
		return r;
	if (top->n_scored > 0)
		d.score = mirror_in(m, top->score, ((top->n_rows - 1) * top->row_stride +
						    top->n_scored) * sizeof *top->score);
	d.row_k = mirror_in(m, top->row_k, top->n_rows * sizeof *top->row_k);
	pos = mirror_inout(m, pos, (size_t)top->n_rows * top->k * sizeof *pos);
	n_nan = mirror_inout(m, n_nan, top->n_rows * sizeof *n_nan);
	n_lost = mirror_inout(m, n_lost, top->n_rows * sizeof *n_lost);
	return mirror_finish(m, gpu_select_top(&d, pos, n_nan, n_lost, stream));
}

/* Survivors of n_layers layers. */
static struct ckv_cuda_kept kept_of(struct mirror *m, const struct ckv_cuda_kept *kept,
				    uint32_t n_layers)
{
	size_t n_sets = (n_layers + kept->reuse - 1) / kept->reuse;
	struct ckv_cuda_kept d = *kept;

	d.pos = mirror_inout(m, kept->pos,
			     n_sets * kept->n_sets * kept->max_n * sizeof *kept->pos);
	d.n = mirror_inout(m, kept->n, n_sets * sizeof *kept->n);
	return d;
}

int ckv_cuda_chunkkv_keep(const struct ckv_chunkkv *chunkkv, uint32_t n_tokens,
			  uint32_t n_layers, const float *chunk_score,
			  const struct ckv_cuda_kept *kept, void *stream)
{
	struct mirror *m = mirror_begin();
	struct ckv_cuda_kept one, d;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_chunkkv_keep(chunkkv, n_tokens, n_layers, chunk_score,
			   kept, stream)))
		return r;
	one = *kept;
	one.reuse = 1;		/* which is not read: one set for each layer */
	d = kept_of(m, &one, n_layers);
	chunk_score = mirror_in(m, chunk_score, (size_t)n_layers *
				ckv_chunkkv_n_chunks(chunkkv, n_tokens) *
				sizeof *chunk_score);
	return mirror_finish(m, gpu_chunkkv_keep(chunkkv, n_tokens, n_layers, chunk_score, &d,
						 stream));
}

/* Rows that a selection reads are mirrored, and others left as they are. */
int ckv_cuda_select(const struct ckv_selection *s, const struct ckv_cuda_layers *in,
		    void *work, const struct ckv_cuda_kept *kept, uint64_t *status,
		    void *stream)
{
	struct mirror *m = mirror_begin();
	struct ckv_cuda_layers d;
	struct ckv_cuda_kept d_kept;
	size_t n_layers;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_select(s, in, work, kept, status, stream)))
		return r;
	d = *in;
	n_layers = in->k.n_layers;
	if (cuda_rows_check(&in->k) == 0)
		d.k = mirror_rows(m, &in->k);
	if (cuda_rows_check(&in->q) == 0)
		d.q = mirror_rows(m, &in->q);
	d.lse = mirror_in(m, in->lse, n_layers * in->q.rows.n_heads * in->q.rows.n_tokens *
			  sizeof *in->lse);
	d.sums = mirror_in(m, in->sums, n_layers * in->n_sum_heads * in->k.rows.n_tokens *
			   sizeof *in->sums);
	d_kept = kept_of(m, kept, in->k.n_layers);
	work = mirror_inout(m, work, ckv_cuda_select_work_bytes(s, in));
	return mirror_finish(m, gpu_select(s, &d, work, &d_kept, status_of(m, status),
					   stream));
}

/* ------------------------------------------------------- survivors and codes */

static struct ckv_cuda_out rows_out(struct mirror *m, const struct ckv_cuda_out *out,
				    const struct ckv_cuda_rows *rows, size_t n)
{
	return mirror_out(m, out, rows->n_layers, rows->rows.n_heads,
			  n * cuda_row_bytes(rows));
}

int ckv_cuda_gather(const struct ckv_cuda_rows *k, const struct ckv_cuda_rows *v,
		    const struct ckv_cuda_kept *kept, uint32_t n_newest,
		    const struct ckv_cuda_out *out_k, const struct ckv_cuda_out *out_v,
		    uint64_t *status, void *stream)
{
	struct mirror *m = mirror_begin();
	struct ckv_cuda_rows d_k, d_v;
	struct ckv_cuda_kept d_kept;
	struct ckv_cuda_out d_out_k, d_out_v = { 0 };
	size_t n;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_gather(k, v, kept, n_newest, out_k, out_v, status, stream)))
		return r;
	n = kept->max_n < n_newest ? kept->max_n : n_newest;
	d_k = mirror_rows(m, k);
	d_kept = kept_of(m, kept, k->n_layers);
	d_out_k = rows_out(m, out_k, k, n);
	if (v != NULL) {
		d_v = mirror_rows(m, v);
		d_out_v = rows_out(m, out_v, v, n);
	}
	return mirror_finish(m, gpu_gather(&d_k, v == NULL ? NULL : &d_v, &d_kept, n_newest,
					   &d_out_k, &d_out_v, status_of(m, status),
					   stream));
}

static struct ckv_cuda_coded coded_of(struct mirror *m, const struct ckv_encode *e,
				      enum ckv_side side, const struct ckv_cuda_coded *coded,
				      const struct ckv_cuda_object *o)
{
	struct ckv_cuda_coded d;

	d.code = mirror_out(m, &coded->code, o->n_layers, o->n_heads,
			    ckv_code_bytes(e, o->elem, side, o->n, o->dim));
	d.scale = mirror_out(m, &coded->scale, o->n_layers, o->n_heads,
			     ckv_scale_bytes(e, o->elem, side, o->n, o->dim));
	return d;
}

int ckv_cuda_encode(const struct ckv_encode *e, enum ckv_side side,
		    const struct ckv_cuda_rows *rows, const struct ckv_cuda_kept *kept,
		    void *work, const struct ckv_cuda_coded *out, uint64_t *status,
		    void *stream)
{
	struct mirror *m = mirror_begin();
	struct ckv_cuda_object o;
	struct ckv_cuda_rows d;
	struct ckv_cuda_kept d_kept;
	struct ckv_cuda_coded d_out;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_encode(e, side, rows, kept, work, out, status, stream)))
		return r;
	o = (struct ckv_cuda_object){
		.n_layers = rows->n_layers, .n_heads = rows->rows.n_heads,
		.dim = rows->rows.dim, .elem = rows->rows.elem,
		.n = kept == NULL ? rows->rows.n_tokens : kept->max_n };
	d = mirror_rows(m, rows);
	if (kept != NULL)
		d_kept = kept_of(m, kept, rows->n_layers);
	work = mirror_inout(m, work, ckv_cuda_encode_work_bytes(e, rows));
	d_out = coded_of(m, e, side, out, &o);
	return mirror_finish(m, gpu_encode(e, side, &d, kept == NULL ? NULL : &d_kept, work,
					   &d_out, status_of(m, status), stream));
}

int ckv_cuda_decode(const struct ckv_encode *e, enum ckv_side side,
		    const struct ckv_cuda_object *object, const struct ckv_cuda_coded *in,
		    enum ckv_elem out_elem, const struct ckv_cuda_out *out, void *stream)
{
	struct mirror *m = mirror_begin();
	struct ckv_cuda_object d = *object;
	struct ckv_cuda_coded d_in;
	struct ckv_cuda_out d_out;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_decode(e, side, object, in, out_elem, out, stream)))
		return r;
	d.layer_n = mirror_in(m, object->layer_n, d.n_layers * sizeof *d.layer_n);
	d_in = coded_of(m, e, side, in, object);
	d_out = mirror_out(m, out, d.n_layers, d.n_heads,
			   (size_t)d.n * d.dim * ckv_elem_bytes(out_elem));
	return mirror_finish(m, gpu_decode(e, side, &d, &d_in, out_elem, &d_out, stream));
}

int ckv_cuda_page_checksum(const void *const *page, uint32_t n_pages, size_t page_bytes,
			   uint64_t *digest, uint64_t *sum, void *stream)
{
	struct mirror *m = mirror_begin();
	size_t n_pieces = (page_bytes + CKV_PIECE_BYTES - 1) / CKV_PIECE_BYTES;
	const void **d_page;
	const void *const *d;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_page_checksum(page, n_pages, page_bytes, digest, sum,
			   stream)))
		return r;
	d_page = malloc(n_pages * sizeof *d_page);
	if (d_page == NULL)
		exit(EXIT_FAILURE);
	for (uint32_t i = 0; i < n_pages; i++)
		d_page[i] = mirror_in(m, page[i], page_bytes);
	d = mirror_in(m, d_page, n_pages * sizeof *d_page);
	free(d_page);
	digest = mirror_inout(m, digest, n_pages * n_pieces * sizeof *digest);
	sum = mirror_inout(m, sum, n_pages * sizeof *sum);
	return mirror_finish(m, gpu_page_checksum(d, n_pages, page_bytes, digest, sum,
						  stream));
}

/* ----------------------------------------------------------------- together */

int ckv_cuda_chunkkv(const struct ckv_cuda_chunkkv *in, void *work,
		     const struct ckv_cuda_kept *kept, const struct ckv_cuda_coded out[2],
		     const struct ckv_cuda_out full[2], uint64_t *status, void *stream)
{
	struct mirror *m = mirror_begin();
	struct ckv_cuda_chunkkv d;
	struct ckv_cuda_kept d_kept;
	struct ckv_cuda_coded d_out[2];
	struct ckv_cuda_out d_full[2] = { { 0 }, { 0 } };
	struct ckv_cuda_window *w = &d.window;
	int r;

	if (!WOULD_LAUNCH(&r, gpu_chunkkv(in, work, kept, out, full, status, stream)))
		return r;
	d = *in;
	w->k = mirror_rows(m, &in->window.k);
	if (cuda_rows_check(&in->window.q) == 0)
		w->q = mirror_rows(m, &in->window.q);
	w->lse = mirror_in(m, in->window.lse, (size_t)w->k.n_layers * w->q.rows.n_heads *
			   w->q.rows.n_tokens * sizeof *w->lse);
	d.v = mirror_rows(m, &in->v);
	d_kept = kept_of(m, kept, w->k.n_layers);
	for (int side = 0; side < 2; side++) {
		const struct ckv_cuda_rows *rows = side == 0 ? &in->window.k : &in->v;
		const struct ckv_cuda_object o = {
			.n_layers = rows->n_layers, .n_heads = rows->rows.n_heads,
			.dim = rows->rows.dim, .elem = rows->rows.elem, .n = kept->max_n };

		d_out[side] = coded_of(m, &in->encode, (enum ckv_side)side, &out[side], &o);
		if (full != NULL)
			d_full[side] = rows_out(m, &full[side], rows, in->encode.n_full);
	}
	work = mirror_inout(m, work, ckv_cuda_chunkkv_work_bytes(in));
	return mirror_finish(m, gpu_chunkkv(&d, work, &d_kept, d_out,
					    full == NULL ? NULL : d_full,
					    status_of(m, status), stream));
}
