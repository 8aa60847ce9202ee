/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compress_write.c - encode the selected tokens into the pages of a view.
 *
 * Rows are gathered into a small buffer, a tile at a time, and encoded from there, so
 * there is never a second copy of all rows. A tile consists of whole groups, so the
 * encoded bytes are the same as if all rows were encoded at once.
 */
#include "daemon/shell/compress.h"
#include "daemon/shell/sys.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TILE_ROWS	256u	/* about so many rows in a tile: see tile_rows() */

_Static_assert((int)CKV_ENCODING_PLAIN == CKV_ENCODE_PLAIN &&
	       (int)CKV_ENCODING_BF16 == CKV_ENCODE_BF16 &&
	       (int)CKV_ENCODING_F16 == CKV_ENCODE_F16 &&
	       (int)CKV_ENCODING_FP8 == CKV_ENCODE_FP8 &&
	       (int)CKV_ENCODING_KIVI == CKV_ENCODE_KIVI &&
	       (int)CKV_VIEW_SCALE_ONE == CKV_FP8_ONE &&
	       (int)CKV_VIEW_SCALE_TENSOR == CKV_FP8_TENSOR &&
	       (int)CKV_VIEW_SCALE_HEAD == CKV_FP8_HEAD &&
	       (int)CKV_VIEW_SCALE_BLOCK == CKV_FP8_BLOCK &&
	       (int)CKV_VIEW_K == CKV_SIDE_KEY && (int)CKV_VIEW_V == CKV_SIDE_VALUE,
	       "proto and kernels number alike");

/* ---- the head ---- */

static void head_encoding(const struct ckv_encode *e, struct ckv_view_head *head)
{
	head->encoding = e->kind;
	if (e->kind == CKV_ENCODE_PLAIN)
		return;
	head->n_full = e->n_full;
	if (e->kind == CKV_ENCODE_KIVI) {
		head->bits = e->bits;
		head->group = e->group;
	}
	if (e->kind == CKV_ENCODE_FP8) {
		head->scale = e->scale;
		head->block = e->scale == CKV_FP8_BLOCK ? e->block : 0;
	}
}

static void head_counts(const struct compress *c, struct ckv_view_head *head)
{
	head->n_kept_min = UINT32_MAX;
	for (uint32_t l = 0; l < c->geometry->n_layers; l++) {
		uint32_t n = c->kept[l].n;

		head->n_kept_total += (uint64_t)n * c->geometry->n_kv_heads;
		if (n > head->n_kept_max)
			head->n_kept_max = n;
		if (n < head->n_kept_min)
			head->n_kept_min = n;
	}
}

void compress_lay_out(struct compress *c)
{
	const struct ckv_geometry *g = c->geometry;
	const struct ckv_encode *e = &c->settled.encode;
	struct ckv_view_head *head = &c->head;
	struct ckv_object object;
	struct ckv_sizes sizes;
	uint64_t at;
	int r = compress_object(g, c->n_tokens, &object);

	assert(r == 0);
	at = ckv_object_begin(&object);
	ckv_object_sizes(&object, e, c->kept, &sizes);
	for (uint32_t l = 0; l < g->n_layers; l++) {
		ckv_layer_lay_out(&object, e, &c->kept[l], at, &c->layer[l].at);
		at = c->layer[l].at.end;
	}
	assert(at == sizes.total);
	*head = (struct ckv_view_head){
		.magic = CKV_VIEW_MAGIC, .format = CKV_VIEW_FORMAT,
		.n_bytes = sizes.total, .n_tokens = c->n_tokens,
		.n_layers = g->n_layers, .n_kv_heads = g->n_kv_heads,
		.dim_k = g->dim_k, .dim_v = g->dim_v, .dtype = g->dtype,
		.n_window = c->inputs->n_window, .inputs = inputs_read(c->inputs),
		.n_always_lost = head->n_always_lost,
		.sizes = {
			.heads = sizes.heads, .positions = sizes.positions,
			.codes = sizes.codes, .scales = sizes.scales,
			.padding = sizes.padding, .plain = sizes.plain,
		},
	};
	head_encoding(e, head);
	head_counts(c, head);
	memcpy(head->method, c->method->text, sizeof head->method);
}

/* ---- rows ---- */

/* Writing one side (K or V) of one layer. */
struct writing {
	const struct compress *c;
	uint32_t layer;
	enum ckv_side side;
	struct ckv_rows rows;
	uint32_t tile_rows;
	void *tile;
	float amax;		/* largest magnitude of the head, or of all heads */
	char *why;
};

/* Rows of a tile: at most TILE_ROWS in whole groups or blocks, but at least one of these. */
static uint32_t tile_rows(const struct ckv_encode *e)
{
	uint32_t step = e->kind == CKV_ENCODE_KIVI ? e->group :
			e->kind == CKV_ENCODE_FP8 &&
			e->scale == CKV_FP8_BLOCK ? e->block : 1;

	return step >= TILE_ROWS ? step : TILE_ROWS / step * step;
}

static const uint32_t *positions_of(const struct compress *c, uint32_t layer,
				    uint32_t head)
{
	const struct compress_layer *l = &c->layer[layer];
	uint32_t set = l->n_sets == 1 ? 0 : head;

	return c->pos + l->pos + (size_t)set * c->kept[layer].n;
}

static int say_fault(const struct writing *w, uint32_t head, int r,
		     const struct ckv_fault *fault)
{
	const uint32_t *pos = positions_of(w->c, w->layer, head);

	if (r != -EDOM && r != -ERANGE)
		return r;
	snprintf(w->why, CKV_METHOD_WHY_BYTES, "layer %u: a %s is %s: kv head %u, "
		 "token %u, element %u", w->layer,
		 w->side == CKV_SIDE_KEY ? "key" : "value",
		 r == -EDOM ? "NaN or infinite" : "too large to encode",
		 head, pos[fault->token], fault->dim);
	return -EDOM;
}

static void gather(const struct writing *w, uint32_t head, uint32_t first,
		   uint32_t n, void *to)
{
	int r = 0;

	if (n > 0)
		r = ckv_gather(&w->rows, head,
			       positions_of(w->c, w->layer, head) + first, n, to);
	assert(r == 0);
}

/* Raise w->amax to the largest magnitude of the encoded rows of one head. */
static int find_amax(struct writing *w, uint32_t head)
{
	uint32_t n_coded = w->c->layer[w->layer].at.n_coded, n;
	struct ckv_fault fault;
	float amax;

	for (uint32_t i = 0; i < n_coded; i += n) {
		int r;

		n = n_coded - i < w->tile_rows ? n_coded - i : w->tile_rows;
		gather(w, head, i, n, w->tile);
		r = ckv_amax(w->rows.elem, w->tile, n, w->rows.dim, &amax, &fault);
		if (r < 0) {
			fault.token += i;
			return say_fault(w, head, r, &fault);
		}
		w->amax = amax > w->amax ? amax : w->amax;
	}
	return 0;
}

static int encode_head(struct writing *w, uint32_t head, char *code, char *scale)
{
	const struct ckv_encode *e = &w->c->settled.encode;
	uint32_t n_coded = w->c->layer[w->layer].at.n_coded, n;
	struct ckv_fault fault;
	int r = 0;

	if (e->kind == CKV_ENCODE_PLAIN) {
		gather(w, head, 0, n_coded, code);
		return 0;
	}
	if (e->kind == CKV_ENCODE_FP8 && e->scale == CKV_FP8_HEAD) {
		w->amax = 0;
		r = find_amax(w, head);
	}
	for (uint32_t i = 0; i < n_coded && r == 0; i += n) {
		n = n_coded - i < w->tile_rows ? n_coded - i : w->tile_rows;
		gather(w, head, i, n, w->tile);
		r = ckv_encode_rows(e, w->rows.elem, w->side, w->tile, i, n,
				    n_coded, w->rows.dim, w->amax, code, scale,
				    &fault);
		if (r < 0)
			r = say_fault(w, head, r, &fault);
	}
	return r;
}

/* ---- layers ---- */

static int write_side(struct writing *w, char *view)
{
	const struct compress *c = w->c;
	const struct ckv_layer_layout *at = &c->layer[w->layer].at;
	const struct ckv_encode *e = &c->settled.encode;
	bool keys = w->side == CKV_SIDE_KEY;
	uint32_t n_heads = c->geometry->n_kv_heads;
	int r = 0;

	w->rows = compress_rows(c, w->layer, w->side);
	if (w->rows.dim == 0)
		return 0;
	w->amax = 0;
	if (e->kind == CKV_ENCODE_FP8 && e->scale == CKV_FP8_TENSOR)
		for (uint32_t h = 0; h < n_heads && r == 0; h++)
			r = find_amax(w, h);
	for (uint32_t h = 0; h < n_heads && r == 0; h++) {
		char *to = view + at->heads + h * at->head_stride;

		r = encode_head(w, h, to + at->part[keys ? CKV_PART_K_CODE :
						CKV_PART_V_CODE].offset,
				to + at->part[keys ? CKV_PART_K_SCALE :
						CKV_PART_V_SCALE].offset);
		gather(w, h, at->n_coded, at->n_full,
		       to + at->part[keys ? CKV_PART_K_FULL :
				     CKV_PART_V_FULL].offset);
	}
	return r;
}

/* Write a layer's positions and runs, and zeros where nothing else is written. */
static void write_table(const struct compress *c, uint32_t l, char *view)
{
	const struct compress_layer *layer = &c->layer[l];
	const struct ckv_layer_layout *at = &layer->at;
	const struct ckv_layer_layout *sets = &c->layer[layer->source].at;
	uint32_t n = c->kept[l].n, n_heads = c->geometry->n_kv_heads;
	struct ckv_view_run *run = (void *)(view + CKV_VIEW_HEAD_BYTES);

	memset(view + at->positions, 0, at->heads - at->positions);
	for (uint32_t s = 0; s < c->kept[l].n_sets; s++)
		memcpy(view + at->positions + s * at->set_stride,
		       c->pos + layer->pos + (size_t)s * n, n * sizeof c->pos[0]);
	run += (size_t)l * n_heads;
	for (uint32_t h = 0; h < n_heads; h++) {
		uint64_t base = at->heads + h * at->head_stride;
		uint32_t set = layer->n_sets == 1 ? 0 : h;

		run[h] = (struct ckv_view_run){
			.n_kept = n, .n_full = at->n_full,
			.positions = sets->positions + set * sets->set_stride,
			.code = { base + at->part[CKV_PART_K_CODE].offset,
				  base + at->part[CKV_PART_V_CODE].offset },
			.scale = { base + at->part[CKV_PART_K_SCALE].offset,
				   base + at->part[CKV_PART_V_SCALE].offset },
			.full = { base + at->part[CKV_PART_K_FULL].offset,
				  base + at->part[CKV_PART_V_FULL].offset },
		};
		for (int p = 0; p < CKV_N_PARTS; p++) {
			uint64_t end = at->part[p].offset + at->part[p].bytes;
			uint64_t next = p + 1 < CKV_N_PARTS ?
					at->part[p + 1].offset : at->head_stride;

			memset(view + base + end, 0, next - end);
		}
	}
}

int compress_write(const struct compress *c, const struct ckv_key *chain,
		   const struct ckv_key *digest, void *view,
		   char why[CKV_METHOD_WHY_BYTES])
{
	const struct ckv_geometry *g = c->geometry;
	struct ckv_view_head head = c->head;
	struct writing w = { .c = c, .why = why };
	uint32_t dim = g->dim_k > g->dim_v ? g->dim_k : g->dim_v;
	int r;

	w.tile_rows = tile_rows(&c->settled.encode);
	if (w.tile_rows > head.n_kept_max)
		w.tile_rows = head.n_kept_max > 0 ? head.n_kept_max : 1;
	r = sys_alloc(w.tile_rows, dim * ckv_dtype_bytes(g->dtype), &w.tile);
	if (r < 0)
		return r;
	head.chain = *chain;
	head.input_digest = *digest;
	memcpy(view, &head, sizeof head);
	for (w.layer = 0; w.layer < g->n_layers && r == 0; w.layer++) {
		if (c->stop && c->stop(c->context)) {
			r = -ECANCELED;
			break;
		}
		write_table(c, w.layer, view);
		w.side = CKV_SIDE_KEY;
		r = write_side(&w, view);
		w.side = CKV_SIDE_VALUE;
		if (r == 0)
			r = write_side(&w, view);
	}
	sys_free(w.tile);
	return r;
}
