/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compress.c - run a selection over the layers of a chain, in place.
 *
 * A page is an array [layer][K then V][kv head][token][dim]. So the keys of a layer are
 * at the same offset in every page, and so are its values.
 */
#include "daemon/shell/compress.h"
#include "daemon/shell/geometry.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert(CKV_METHOD_TEXT_BYTES == CKV_METHOD_BYTES, "one text, two headers");

struct ckv_rows compress_rows(const struct compress *c, uint32_t layer,
			      enum ckv_side side)
{
	const struct ckv_geometry *g = c->geometry;
	size_t width = ckv_dtype_bytes(g->dtype);
	size_t head_k = (size_t)g->block_tokens * g->dim_k * width;
	size_t head_v = (size_t)g->block_tokens * g->dim_v * width;
	bool values = side == CKV_SIDE_VALUE;
	struct ckv_rows rows = {
		.block = (const void *const *)c->page,
		.offset_bytes = layer * g->n_kv_heads * (head_k + head_v) +
				(values ? g->n_kv_heads * head_k : 0),
		.head_stride_bytes = values ? head_v : head_k,
		.block_tokens = g->block_tokens, .n_heads = g->n_kv_heads,
		.n_tokens = c->n_tokens,
		.dim = values ? g->dim_v : g->dim_k,
	};

	(void)inputs_elem(g->dtype, &rows.elem);
	return rows;
}

int compress_object(const struct ckv_geometry *g, uint32_t n_tokens,
		    struct ckv_object *ret_object)
{
	struct ckv_object o = {
		.n_layers = g->n_layers, .n_kv_heads = g->n_kv_heads,
		.n_tokens = n_tokens, .dim_k = g->dim_k, .dim_v = g->dim_v,
		.head_bytes = CKV_VIEW_HEAD_BYTES,
		.run_bytes = sizeof(struct ckv_view_run), .align = CKV_LINE,
	};

	if (!inputs_elem(g->dtype, &o.elem))
		return -EINVAL;
	*ret_object = o;
	return 0;
}

int compress_layout(const struct ckv_geometry *geometry,
		    char why[CKV_METHOD_WHY_BYTES])
{
	if (geometry->layout == CKV_LAYOUT_HEAD_MAJOR)
		return 0;
	snprintf(why, CKV_METHOD_WHY_BYTES, "layout %s cannot be compressed; "
		 "expected head-major", geometry_layout(geometry->layout));
	return -EINVAL;
}

int compress_check(struct compress *c, uint32_t n_query_heads,
		   char why[CKV_METHOD_WHY_BYTES])
{
	struct ckv_object object;

	if (compress_layout(c->geometry, why) < 0)
		return -EINVAL;
	if (compress_object(c->geometry, c->n_tokens, &object) < 0) {
		snprintf(why, CKV_METHOD_WHY_BYTES, "this space's element type "
			 "cannot be compressed; expected f32, f16 or bf16");
		return -EINVAL;
	}
	object.n_q_heads = n_query_heads;
	return ckv_method_settle(c->method, &object, &c->settled, why);
}

/* What the kernels read of one layer. They use *queries as long as the result lives. */
static struct ckv_layer layer_in(const struct compress *c, uint32_t layer,
				 const void *const *queries)
{
	const struct inputs *in = c->inputs;
	const float *lse = in->part[INPUT_LSE].data;
	const float *sums = in->part[INPUT_SUMS].data;
	size_t rows = (size_t)in->n_query_heads * in->n_window;
	size_t row = c->geometry->dim_k * ckv_dtype_bytes(in->query_dtype);
	struct ckv_layer l = {
		.layer = layer, .n_layers = c->geometry->n_layers,
		.k = compress_rows(c, layer, CKV_SIDE_KEY),
		.lse = lse ? lse + layer * rows : NULL,
		.sums = sums ? sums + (size_t)layer * in->n_sum_heads *
				      in->n_sum_tokens : NULL,
		.n_sum_heads = in->n_sum_heads,
	};

	if (*queries == NULL)
		return l;
	l.q = (struct ckv_rows){
		.block = queries, .offset_bytes = layer * rows * row,
		.head_stride_bytes = in->n_window * row,
		.block_tokens = in->n_window, .n_heads = in->n_query_heads,
		.n_tokens = in->n_window, .dim = c->geometry->dim_k,
	};
	(void)inputs_elem(in->query_dtype, &l.q.elem);
	return l;
}

static void say_fault(uint32_t layer, const struct ckv_fault *f,
		      char why[CKV_METHOD_WHY_BYTES])
{
	switch (f->input) {
	case CKV_INPUT_QUERY:
		snprintf(why, CKV_METHOD_WHY_BYTES, "layer %u: a query is NaN or "
			 "infinite: query head %u, window row %u, element %u",
			 layer, f->head, f->token, f->dim);
		break;
	case CKV_INPUT_LSE:
		snprintf(why, CKV_METHOD_WHY_BYTES, "layer %u: a log-sum-exp is "
			 "NaN, infinite or below its logits: query head %u, window "
			 "row %u", layer, f->head, f->token);
		break;
	case CKV_INPUT_SUM:
		snprintf(why, CKV_METHOD_WHY_BYTES, "layer %u: a column sum is NaN "
			 "or infinite: head %u, token %u", layer, f->head,
			 f->token);
		break;
	default:
		snprintf(why, CKV_METHOD_WHY_BYTES, "layer %u: a %s is NaN or "
			 "infinite: kv head %u, token %u, element %u", layer,
			 f->input == CKV_INPUT_KEY ? "key" : "value", f->head,
			 f->token, f->dim);
	}
}

/* Turn a kernel's error into the client's, and write `why`. */
static int say(const struct compress *c, uint32_t layer, int r,
	       const struct ckv_fault *fault, char why[CKV_METHOD_WHY_BYTES])
{
	const struct ckv_selection *s = &c->settled.select;

	switch (r) {
	case -EDOM:
		say_fault(layer, fault, why);
		return -EDOM;
	case -ERANGE:
		snprintf(why, CKV_METHOD_WHY_BYTES, "layer %u: keys or queries "
			 "are too large to score", layer);
		return -EDOM;
	case -ENODATA:
		if (ckv_selection_needs(s) & CKV_NEED_QUERIES)
			snprintf(why, CKV_METHOD_WHY_BYTES, "this needs the "
				 "queries of the last %u tokens, and none came",
				 ckv_selection_window(s));
		else
			snprintf(why, CKV_METHOD_WHY_BYTES, "this needs the "
				 "column sums of attention, and none came");
		return -EINVAL;
	case -EINVAL:
		snprintf(why, CKV_METHOD_WHY_BYTES, "layer %u: the method does "
			 "not fit %u tokens of %u kv heads", layer, c->n_tokens,
			 c->geometry->n_kv_heads);
		return -EINVAL;
	default:
		return r;
	}
}

/* Choose one layer's positions, into c->pos from index `at` on. */
static int select_layer(struct compress *c, uint32_t l, void *scratch, size_t at,
			char why[CKV_METHOD_WHY_BYTES])
{
	const void *queries = c->inputs->part[INPUT_QUERIES].data;
	struct ckv_layer in = layer_in(c, l, &queries);
	struct ckv_fault fault = { .input = CKV_INPUT_KEY };
	struct ckv_kept kept;
	int r = ckv_select(&c->settled.select, &in, scratch, c->pos + at, &kept,
			   &fault);

	if (r < 0)
		return say(c, l, r, &fault, why);
	c->layer[l] = (struct compress_layer){
		.source = l, .n_sets = kept.n_sets, .pos = at,
	};
	c->kept[l] = (struct ckv_layer_kept){ kept.n_sets, kept.n };
	if (kept.n_always_lost > c->head.n_always_lost)
		c->head.n_always_lost = kept.n_always_lost;
	return 0;
}

static int take_memory(struct compress *c, size_t *ret_bytes, void **ret_scratch)
{
	uint32_t n_layers = c->geometry->n_layers;
	const void *queries = c->inputs->part[INPUT_QUERIES].data;
	struct ckv_layer in = layer_in(c, 0, &queries);
	size_t n = ckv_selection_max_kept(&c->settled.select, &in);
	size_t bytes = ckv_selection_scratch_bytes(&c->settled.select, &in);
	int r;

	r = sys_alloc(n_layers, sizeof c->layer[0], &c->layer);
	if (r == 0)
		r = sys_alloc(n_layers, sizeof c->kept[0], &c->kept);
	if (r < 0)
		return r;
	/* Memory is taken only as far as positions are written. */
	c->pos_bytes = n_layers * n * sizeof c->pos[0] + CKV_PIECE_BYTES;
	r = sys_map_private(c->pos_bytes, PROT_READ | PROT_WRITE, &c->pos);
	if (r == 0)
		r = sys_map_private(bytes + 1, PROT_READ | PROT_WRITE,
				    ret_scratch);
	if (r == 0)
		*ret_bytes = bytes + 1;
	return r;
}

int compress_select(struct compress *c, char why[CKV_METHOD_WHY_BYTES])
{
	size_t at = 0, scratch_bytes = 0;
	void *scratch = NULL;
	int r = take_memory(c, &scratch_bytes, &scratch);

	if (r < 0)
		return r;
	for (uint32_t l = 0; l < c->geometry->n_layers && r == 0; l++) {
		uint32_t source = ckv_selection_source(&c->settled.select, l);

		if (c->stop && c->stop(c->context)) {
			r = -ECANCELED;
		} else if (source != l) {
			c->layer[l] = c->layer[source];
			c->layer[l].source = source;
			c->kept[l] = (struct ckv_layer_kept){ 0, c->kept[source].n };
		} else {
			r = select_layer(c, l, scratch, at, why);
			at += (size_t)c->kept[l].n_sets * c->kept[l].n;
		}
	}
	sys_unmap(scratch, scratch_bytes);
	if (r == 0)
		compress_lay_out(c);
	return r;
}

void compress_free(struct compress *c)
{
	sys_free(c->layer);
	sys_free(c->kept);
	sys_unmap(c->pos, c->pos_bytes);
	c->layer = NULL;
	c->kept = NULL;
	c->pos = NULL;
}
