/* SPDX-License-Identifier: Apache-2.0 */
/*
 * press.c - see press.h. The same calls as a daemon's compression job, in one
 * thread and without pages: parse, settle, select a layer, gather a head, encode it,
 * decode it.
 */
#include "tests/quality/press.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ckv_view.h"

enum { MAX_LAYERS = 256, REGION_ALIGN = 64 };

static void *aligned(size_t bytes)
{
	return aligned_alloc(CKV_SCRATCH_ALIGN, (bytes / CKV_SCRATCH_ALIGN + 1) *
			     CKV_SCRATCH_ALIGN);
}

int press_open(struct press *p, const struct shape *shape, uint32_t room)
{
	size_t heads = (size_t)shape->n_layers * shape->n_kv_heads;
	size_t head = (size_t)room * shape->dim * sizeof(float);

	*p = (struct press){ .shape = *shape, .room = room };
	p->pos = calloc(heads * room, sizeof(*p->pos));
	p->n_sets = calloc(shape->n_layers, sizeof(*p->n_sets));
	p->n = calloc(shape->n_layers, sizeof(*p->n));
	p->k = calloc(heads * room * shape->dim, sizeof(*p->k));
	p->v = calloc(heads * room * shape->dim, sizeof(*p->v));
	p->run = calloc(heads, sizeof(*p->run));
	p->rows = aligned(head);
	p->code = aligned(head);
	p->scale = aligned(2 * head);
	if (p->pos && p->n_sets && p->n && p->k && p->v && p->run && p->rows &&
	    p->code && p->scale && shape->n_layers <= MAX_LAYERS)
		return 0;
	return -ENOMEM;
}

void press_close(struct press *p)
{
	void *all[] = { p->pos, p->n_sets, p->n, p->k, p->v, p->run, p->scratch,
			p->rows, p->code, p->scale };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
	memset(p, 0, sizeof(*p));
}

/* What a method is settled for: the container is the daemon's view. */
static struct ckv_object object_of(const struct press_input *in)
{
	const struct shape *shape = &in->c->shape;

	return (struct ckv_object){
		.n_layers = shape->n_layers, .n_kv_heads = shape->n_kv_heads,
		.n_q_heads = shape->n_q_heads, .n_tokens = in->n_tokens,
		.dim_k = shape->dim, .dim_v = shape->dim,
		.elem = CKV_ELEM_BF16,
		.head_bytes = CKV_VIEW_HEAD_BYTES,
		.run_bytes = sizeof(struct ckv_view_run),
		.align = REGION_ALIGN,
	};
}

/* One layer's rows, as one block. */
static struct ckv_rows rows_of(const struct press_input *in, uint32_t layer,
			       const uint16_t *from, const void *block[1])
{
	const struct context *c = in->c;
	size_t head_bytes = (size_t)c->room * c->shape.dim * sizeof(*from);

	block[0] = from + (size_t)layer * c->shape.n_kv_heads * c->room *
			  c->shape.dim;
	return (struct ckv_rows){
		.block = block, .head_stride_bytes = head_bytes,
		.block_tokens = c->room, .n_heads = c->shape.n_kv_heads,
		.n_tokens = in->n_tokens, .dim = c->shape.dim,
		.elem = CKV_ELEM_BF16,
	};
}

static struct ckv_rows queries_of(const struct press_input *in, uint32_t layer,
				  uint32_t window, const void *block[1])
{
	const struct shape *shape = &in->c->shape;
	size_t head = (size_t)in->q_rows * shape->dim;

	block[0] = in->q + layer * shape->n_q_heads * head +
		   (size_t)(in->n_q - window) * shape->dim;
	return (struct ckv_rows){
		.block = block, .head_stride_bytes = head * sizeof(float),
		.block_tokens = in->q_rows, .n_heads = shape->n_q_heads,
		.n_tokens = window, .dim = shape->dim, .elem = CKV_ELEM_F32,
	};
}

/* The sums of one layer without the room between heads, for ckv_layer.sums. */
static float *tight_sums(const struct press_input *in, uint32_t layer)
{
	const struct context *c = in->c;
	float *tight = malloc((size_t)c->shape.n_q_heads * in->n_tokens *
			      sizeof(*tight));

	for (size_t h = 0; tight != NULL && h < c->shape.n_q_heads; h++)
		memcpy(tight + h * in->n_tokens, in->sums +
		       ((size_t)layer * c->shape.n_q_heads + h) * c->room,
		       in->n_tokens * sizeof(*tight));
	return tight;
}

static int make_scratch(struct press *p, size_t bytes)
{
	if (bytes <= p->scratch_bytes)
		return 0;
	free(p->scratch);
	p->scratch = aligned(bytes);
	p->scratch_bytes = p->scratch != NULL ? bytes : 0;
	return p->scratch != NULL ? 0 : -ENOMEM;
}

static int select_layer(struct press *p, const struct ckv_selection *sel,
			const struct press_input *in, uint32_t layer,
			struct ckv_kept *ret)
{
	const void *k_block[1], *q_block[1];
	unsigned needs = ckv_selection_needs(sel);
	uint32_t window = ckv_selection_window(sel);
	struct ckv_layer l = { .layer = layer, .n_layers = p->shape.n_layers };
	struct ckv_fault fault;
	float *sums = NULL;
	int r = -ENOMEM;

	l.k = rows_of(in, layer, in->c->k, k_block);
	if (window > in->n_q)
		return -EINVAL;
	if (needs & CKV_NEED_QUERIES)
		l.q = queries_of(in, layer, window, q_block);
	if (needs & CKV_NEED_SUMS) {
		l.sums = sums = tight_sums(in, layer);
		l.n_sum_heads = p->shape.n_q_heads;
		if (sums == NULL)
			return -ENOMEM;
	}
	if (make_scratch(p, ckv_selection_scratch_bytes(sel, &l)) == 0)
		r = ckv_select(sel, &l, p->scratch, p->pos + (size_t)layer *
			       p->shape.n_kv_heads * p->room, ret, &fault);
	free(sums);
	return r;
}

/* Positions of all layers; a layer that shares another's set has n_sets 0. */
static int select_all(struct press *p, const struct ckv_selection *sel,
		      const struct press_input *in)
{
	size_t stride = (size_t)p->shape.n_kv_heads * p->room;

	for (uint32_t l = 0; l < p->shape.n_layers; l++) {
		uint32_t source = ckv_selection_source(sel, l);
		struct ckv_kept kept = { 0 };
		int r = 0;

		if (source == l)
			r = select_layer(p, sel, in, l, &kept);
		if (r < 0)
			return r;
		p->n[l] = source == l ? kept.n : p->n[source];
		p->n_sets[l] = kept.n_sets;
		if (source != l)
			memcpy(p->pos + l * stride, p->pos + source * stride,
			       stride * sizeof(*p->pos));
	}
	return 0;
}

const uint32_t *press_kept(const struct press *p, uint32_t layer, uint32_t head,
			   uint32_t *ret_n)
{
	size_t stride = (size_t)p->shape.n_kv_heads * p->room;
	const uint32_t *pos = p->pos + layer * stride;
	uint32_t source = layer;

	while (p->n_sets[source] == 0)
		source--;
	if (p->n_sets[source] > 1)
		pos += (size_t)head * p->n[layer];
	*ret_n = p->run[layer * p->shape.n_kv_heads + head].n;
	return pos;
}

/* Keys or values of one layer. */
struct side {
	enum ckv_side side;
	const uint16_t *from;	/* of the context */
	uint16_t *to;		/* [layer][kv_head][room][dim] */
	struct ckv_rows rows;
	const void *block[1];
	float amax;		/* of all heads; fp8 scaled by tensor */
};

static const uint32_t *positions(const struct press *p, uint32_t layer, uint32_t head)
{
	uint32_t n;

	return press_kept(p, layer, head, &n);
}

static int code_head(struct press *p, const struct ckv_encode *e, struct side *s,
		     uint32_t layer, uint32_t head, int as_value)
{
	size_t at = ((size_t)layer * p->shape.n_kv_heads + head) * p->room;
	enum ckv_side side = as_value ? CKV_SIDE_VALUE : s->side;
	uint32_t n = p->n[layer], dim = p->shape.dim;
	struct ckv_fault fault;
	float amax = s->amax;
	int r = ckv_gather(&s->rows, head, positions(p, layer, head), n, p->rows);

	if (r == 0 && e->kind == CKV_ENCODE_PLAIN)
		memcpy(s->to + at * dim, p->rows, (size_t)n * dim *
		       sizeof(*s->to));
	if (r < 0 || e->kind == CKV_ENCODE_PLAIN)
		return r;
	if (e->kind == CKV_ENCODE_FP8 && e->scale == CKV_FP8_HEAD)
		r = ckv_amax(CKV_ELEM_BF16, p->rows, n, dim, &amax, &fault);
	if (r == 0)
		r = ckv_encode_rows(e, CKV_ELEM_BF16, side, p->rows, 0, n, n,
				    dim, amax, p->code, p->scale, &fault);
	if (r == 0)
		r = ckv_decode_rows(e, CKV_ELEM_BF16, side, p->code, p->scale,
				    0, n, n, dim, CKV_ELEM_BF16,
				    s->to + at * dim);
	return r;
}

static int code_side(struct press *p, const struct ckv_encode *e, struct side *s,
		     const struct press_input *in, uint32_t layer, int as_value)
{
	struct ckv_fault fault;
	int r = 0;

	s->rows = rows_of(in, layer, s->from, s->block);
	for (uint32_t h = 0; r == 0 && h < p->shape.n_kv_heads; h++) {
		float amax = 0;

		if (e->kind != CKV_ENCODE_FP8 || e->scale != CKV_FP8_TENSOR)
			break;
		r = ckv_gather(&s->rows, h, positions(p, layer, h), p->n[layer],
			       p->rows);
		if (r == 0)
			r = ckv_amax(CKV_ELEM_BF16, p->rows, p->n[layer],
				     p->shape.dim, &amax, &fault);
		s->amax = amax > s->amax ? amax : s->amax;
	}
	for (uint32_t h = 0; r == 0 && h < p->shape.n_kv_heads; h++)
		r = code_head(p, e, s, layer, h, as_value);
	return r;
}

static int code_layer(struct press *p, const struct ckv_encode *e,
		      const struct press_input *in, uint32_t layer,
		      int key_per_token)
{
	struct side k = { .side = CKV_SIDE_KEY, .from = in->c->k, .to = p->k };
	struct side v = { .side = CKV_SIDE_VALUE, .from = in->c->v, .to = p->v };
	int r = code_side(p, e, &k, in, layer, key_per_token);

	return r < 0 ? r : code_side(p, e, &v, in, layer, 0);
}

/* Runs of the rows that are the context's own, without the question's. */
static void list_runs(struct press *p, const struct press_input *in)
{
	for (uint32_t i = 0; i < p->shape.n_layers * p->shape.n_kv_heads; i++) {
		uint32_t layer = i / p->shape.n_kv_heads, n = p->n[layer];
		const uint32_t *pos = positions(p, layer, i % p->shape.n_kv_heads);
		size_t at = (size_t)i * p->room * p->shape.dim;

		while (n > 0 && pos[n - 1] >= in->n_context)
			n--;
		p->run[i] = (struct kv_run){
			.k = (const uint8_t *)(p->k + at),
			.v = (const uint8_t *)(p->v + at), .n = n };
	}
}

int press(struct press *p, const char *method, int key_per_token,
	  const struct press_input *in, char why[CKV_METHOD_WHY_BYTES])
{
	struct ckv_object object = object_of(in);
	struct ckv_layer_kept kept[MAX_LAYERS];
	struct ckv_method asked, m;
	int r;

	if (in->n_tokens > p->room)
		return -EINVAL;
	r = ckv_method_parse(method, &asked, why);
	if (r == 0)
		r = ckv_method_settle(&asked, &object, &m, why);
	if (r < 0)
		return r;
	r = select_all(p, &m.select, in);
	for (uint32_t l = 0; r == 0 && l < p->shape.n_layers; l++)
		r = code_layer(p, &m.encode, in, l, key_per_token);
	if (r < 0) {
		snprintf(why, CKV_METHOD_WHY_BYTES, "%s", strerror(-r));
		return r;
	}
	for (uint32_t l = 0; l < p->shape.n_layers; l++)
		kept[l] = (struct ckv_layer_kept){ p->n_sets[l], p->n[l] };
	ckv_object_sizes(&object, &m.encode, kept, &p->sizes);
	list_runs(p, in);
	return 0;
}
