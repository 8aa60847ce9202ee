/*
 * compress.c - run a method over the layers of a chain, in place.
 *
 * A page is [layer][K then V][kv head][token][dim], so K of a layer is one set of
 * rows with a fixed offset in every page, and V another.
 */
#include "daemon/shell/compress.h"
#include "daemon/shell/sys.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert(CKV_METHOD_TEXT_BYTES == CKV_METHOD_BYTES, "one text, two headers");

static struct ckv_shape shape_of(const struct compress *c)
{
	return (struct ckv_shape){
		.n_kv_heads = c->geometry->n_kv_heads,
		.n_q_heads = c->inputs->n_query_heads ? c->inputs->n_query_heads :
			     c->geometry->n_kv_heads,
		.n_tokens = c->n_tokens,
	};
}

/* With n_keep, which mode=paper counts in tokens. */
static struct ckv_chunkkv method_of(const struct compress *c)
{
	const struct ckv_selection *s = &c->method->select;

	return (struct ckv_chunkkv){
		.mode = s->mode == CKV_OF_PAPER ? CKV_CHUNKKV_PAPER :
						  CKV_CHUNKKV_KVPRESS,
		.chunk = s->chunk, .window = s->window, .kernel = s->kernel,
		.n_reuse = s->n_reuse,
		.n_keep = ckv_budget_ratio(c->n_tokens, s->keep_num, s->keep_den),
		.removed = (double)(s->keep_den - s->keep_num) / s->keep_den,
	};
}

/* ChunkKV by a share of the tokens, rows as they are. */
static bool is_made_here(const struct ckv_method *m)
{
	return m->select.kind == CKV_CHUNKKV && m->select.keep_den != 0 &&
	       m->encode.kind == CKV_ENCODE_PLAIN &&
	       m->select.always.n_sink == 0 && m->select.always.n_recent == 0 &&
	       m->select.always.n_ranges == 0;
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

int compress_check(const struct compress *c, char why[CKV_METHOD_WHY_BYTES])
{
	const struct ckv_geometry *g = c->geometry;
	struct ckv_shape shape = shape_of(c);
	struct ckv_chunkkv m;
	enum ckv_elem elem;

	why[0] = 0;
	if (!is_made_here(c->method)) {
		snprintf(why, CKV_METHOD_WHY_BYTES, "this daemon makes views by "
			 "chunkkv(keep=...) only");
		return -EINVAL;
	}
	m = method_of(c);
	if (!inputs_elem(g->dtype, &elem))
		snprintf(why, CKV_METHOD_WHY_BYTES, "this space's element type "
			 "cannot be scored; expected f32, f16 or bf16");
	else if (g->dim_k > CKV_KERNEL_MAX_DIM)
		snprintf(why, CKV_METHOD_WHY_BYTES, "keys have %u elements; at most "
			 "%u can be scored", g->dim_k, CKV_KERNEL_MAX_DIM);
	else if (c->n_tokens == 0 || c->n_tokens > CKV_KERNEL_MAX_TOKENS)
		snprintf(why, CKV_METHOD_WHY_BYTES, "the chain has %u tokens; 1 to %u "
			 "can be scored", c->n_tokens, CKV_KERNEL_MAX_TOKENS);
	else if (c->inputs->n_window == 0 && ckv_chunkkv_needs_score(&m, &shape))
		snprintf(why, CKV_METHOD_WHY_BYTES, "this needs the queries of the "
			 "last %u tokens, and none came", m.window);
	return why[0] ? -EINVAL : 0;
}

static struct ckv_rows layer_rows(const struct compress *c, uint32_t layer,
				  bool values)
{
	const struct ckv_geometry *g = c->geometry;
	size_t width = ckv_dtype_bytes(g->dtype);
	size_t head_k = (size_t)g->block_tokens * g->dim_k * width;
	size_t head_v = (size_t)g->block_tokens * g->dim_v * width;
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

/* The queries of one layer; *block must live as long as they are used. */
static struct ckv_rows query_rows(const struct compress *c, uint32_t layer,
				  const void *const *block)
{
	size_t head = (size_t)c->inputs->n_window * c->geometry->dim_k *
		      ckv_dtype_bytes(c->inputs->query_dtype);
	struct ckv_rows rows = {
		.block = block, .offset_bytes = layer * c->inputs->n_query_heads * head,
		.head_stride_bytes = head, .block_tokens = c->inputs->n_window,
		.n_heads = c->inputs->n_query_heads, .n_tokens = c->inputs->n_window,
		.dim = c->geometry->dim_k,
	};

	(void)inputs_elem(c->inputs->query_dtype, &rows.elem);
	return rows;
}

static void say_fault(uint32_t layer, const struct ckv_fault *fault,
		      char why[CKV_METHOD_WHY_BYTES])
{
	snprintf(why, CKV_METHOD_WHY_BYTES, "layer %u: a %s is NaN or infinite: %s "
		 "head %u, %s %u, element %u", layer,
		 fault->input == CKV_INPUT_KEY ? "key" : "query",
		 fault->input == CKV_INPUT_KEY ? "kv" : "query", fault->head,
		 fault->input == CKV_INPUT_KEY ? "token" : "window row",
		 fault->token, fault->dim);
}

/* One layer's set into c->pos, from its first free place. */
static int select_layer(struct compress *c, uint32_t layer, void *scratch,
			size_t at, char why[CKV_METHOD_WHY_BYTES])
{
	struct ckv_chunkkv m = method_of(c);
	struct ckv_shape shape = shape_of(c);
	struct ckv_window in = { .k = layer_rows(c, layer, false) };
	struct ckv_kept kept;
	struct ckv_fault fault;
	int r;

	if (!ckv_chunkkv_needs_score(&m, &shape)) {
		r = ckv_chunkkv_pick(&m, &shape, NULL, scratch, c->pos + at,
				     &kept);
	} else {
		in.q = query_rows(c, layer, &c->inputs->part[INPUT_QUERIES].data);
		r = ckv_chunkkv_select(&m, &in, scratch, c->pos + at, &kept,
				       &fault);
		if (r == -EDOM)
			say_fault(layer, &fault, why);
		if (r == -ERANGE) {
			snprintf(why, CKV_METHOD_WHY_BYTES, "layer %u: keys and "
				 "queries are too large to score", layer);
			r = -EDOM;
		}
	}
	if (r < 0)
		return r;
	c->layer[layer] = (struct compress_layer){
		.source = layer, .n_sets = kept.n_sets, .n = kept.n, .pos = at,
	};
	return 0;
}

/* What the view's head says, before anything is laid out. */
static struct ckv_view_head head_of(const struct compress *c)
{
	const struct ckv_geometry *g = c->geometry;
	uint64_t plain = ckv_dtype_bytes(g->dtype) *
			 ((uint64_t)g->dim_k + g->dim_v);
	struct ckv_view_head head = {
		.magic = CKV_VIEW_MAGIC, .format = CKV_VIEW_FORMAT,
		.n_tokens = c->n_tokens, .n_layers = g->n_layers,
		.n_kv_heads = g->n_kv_heads, .dim_k = g->dim_k,
		.dim_v = g->dim_v, .dtype = g->dtype,
		.encoding = CKV_ENCODING_PLAIN, .n_window = c->inputs->n_window,
		.inputs = c->inputs->n_window != 0 ? CKV_VIEW_QUERIES : 0,
		.n_kept_min = UINT32_MAX,
		.sizes = {
			.heads = ckv_view_table_bytes(g),
			.plain = plain * g->n_layers * g->n_kv_heads *
				 c->n_tokens,
		},
	};

	memcpy(head.method, c->method->text, sizeof head.method);
	return head;
}

/* Where everything lies in the view: heads, runs, then 64-byte aligned pieces. */
static void lay_out(struct compress *c)
{
	const struct ckv_geometry *g = c->geometry;
	struct ckv_view_head *head = &c->head;
	uint64_t at, bytes[2];

	*head = head_of(c);
	at = head->sizes.heads;
	for (uint32_t l = 0; l < g->n_layers; l++) {
		struct compress_layer *layer = &c->layer[l];

		layer->offset = at;
		if (layer->source == l) {
			at += layer->n_sets *
			      ckv_round_up(4ull * layer->n, CKV_LINE);
			head->sizes.positions += 4ull * layer->n * layer->n_sets;
		} else {
			layer->offset = c->layer[layer->source].offset;
		}
		for (int v = CKV_VIEW_K; v <= CKV_VIEW_V; v++) {
			bytes[v] = ckv_view_code_bytes(head, v, layer->n);
			head->sizes.codes += g->n_kv_heads * bytes[v];
			at += g->n_kv_heads * ckv_round_up(bytes[v], CKV_LINE);
		}
		head->n_kept_total += (uint64_t)layer->n * g->n_kv_heads;
		if (layer->n > head->n_kept_max)
			head->n_kept_max = layer->n;
		if (layer->n < head->n_kept_min)
			head->n_kept_min = layer->n;
	}
	head->n_bytes = at;
	head->sizes.padding = at - head->sizes.heads - head->sizes.positions -
			      head->sizes.codes;
}

static size_t scratch_bytes(const struct compress *c)
{
	struct ckv_chunkkv m = method_of(c);
	struct ckv_shape shape = shape_of(c);
	struct ckv_window in = { .k = layer_rows(c, 0, false) };

	if (!ckv_chunkkv_needs_score(&m, &shape))
		return ckv_pick_scratch_bytes(&shape);
	in.q = query_rows(c, 0, &c->inputs->part[INPUT_QUERIES].data);
	return ckv_select_scratch_bytes(&in);
}

int compress_select(struct compress *c, char why[CKV_METHOD_WHY_BYTES])
{
	const struct ckv_geometry *g = c->geometry;
	struct ckv_chunkkv m = method_of(c);
	struct ckv_shape shape = shape_of(c);
	size_t bytes = scratch_bytes(c), at = 0;
	void *scratch;
	int r;

	r = sys_alloc(g->n_layers, sizeof c->layer[0], &c->layer);
	if (r < 0)
		return r;
	c->pos_bytes = g->n_layers * ckv_chunkkv_max_kept(&m, &shape) *
		       sizeof c->pos[0] + CKV_PIECE_BYTES;
	r = sys_map_private(c->pos_bytes, PROT_READ | PROT_WRITE, &c->pos);
	if (r < 0)
		return r;
	r = sys_map_private(bytes + 1, PROT_READ | PROT_WRITE, &scratch);
	if (r < 0)
		return r;
	for (uint32_t l = 0; l < g->n_layers && r == 0; l++) {
		uint32_t source = ckv_chunkkv_source_layer(&m, l);

		if (c->stop && c->stop(c->context)) {
			r = -ECANCELED;
		} else if (source != l) {
			c->layer[l] = c->layer[source];
			c->layer[l].source = source;
		} else {
			r = select_layer(c, l, scratch, at, why);
			at += (size_t)c->layer[l].n_sets * c->layer[l].n;
		}
	}
	sys_unmap(scratch, bytes + 1);
	if (r == 0)
		lay_out(c);
	return r;
}

/* The rows of one (layer, head) that were kept, gap zeroed: the bytes written. */
static size_t write_rows(const struct ckv_rows *rows, uint32_t head,
			 const uint32_t *pos, uint32_t n, char *to)
{
	size_t bytes = (size_t)n * rows->dim * ckv_elem_bytes(rows->elem);
	int r = 0;

	if (rows->dim > 0 && n > 0)
		r = ckv_gather(rows, head, pos, n, to);
	assert(r == 0);
	memset(to + bytes, 0, ckv_round_up(bytes, CKV_LINE) - bytes);
	return ckv_round_up(bytes, CKV_LINE);
}

static uint64_t write_layer(const struct compress *c, uint32_t l, uint64_t at,
			    char *view, struct ckv_view_run *run)
{
	const struct compress_layer *layer = &c->layer[l];
	const struct ckv_rows k = layer_rows(c, l, false);
	const struct ckv_rows v = layer_rows(c, l, true);
	uint64_t set_bytes = ckv_round_up(4ull * layer->n, CKV_LINE);

	if (layer->source == l) {
		memset(view + layer->offset, 0, layer->n_sets * set_bytes);
		for (uint32_t s = 0; s < layer->n_sets; s++)
			memcpy(view + layer->offset + s * set_bytes,
			       c->pos + layer->pos + (size_t)s * layer->n,
			       4ull * layer->n);
		at += layer->n_sets * set_bytes;
	}
	for (uint32_t h = 0; h < c->geometry->n_kv_heads; h++) {
		uint32_t set = layer->n_sets == 1 ? 0 : h;
		const uint32_t *pos = c->pos + layer->pos + (size_t)set * layer->n;

		run[h] = (struct ckv_view_run){
			.n_kept = layer->n,
			.positions = layer->offset + set * set_bytes,
			.code = { [CKV_VIEW_K] = at },
		};
		at += write_rows(&k, h, pos, layer->n, view + at);
		run[h].scale[CKV_VIEW_K] = at;
		run[h].code[CKV_VIEW_V] = at;
		at += write_rows(&v, h, pos, layer->n, view + at);
		run[h].scale[CKV_VIEW_V] = at;
		run[h].full[CKV_VIEW_K] = at;
		run[h].full[CKV_VIEW_V] = at;
	}
	return at;
}

void compress_write(const struct compress *c, const struct ckv_key *chain,
		    const struct ckv_key *digest, void *view)
{
	const struct ckv_geometry *g = c->geometry;
	struct ckv_view_head head = c->head;
	struct ckv_view_run *run = (void *)((char *)view + CKV_VIEW_HEAD_BYTES);
	uint64_t at = ckv_view_table_bytes(g);

	head.chain = *chain;
	head.input_digest = *digest;
	memcpy(view, &head, sizeof head);
	for (uint32_t l = 0; l < g->n_layers; l++)
		at = write_layer(c, l, at, view,
				 run + (size_t)l * g->n_kv_heads);
	assert(at == head.n_bytes);
}

void compress_free(struct compress *c)
{
	sys_free(c->layer);
	sys_unmap(c->pos, c->pos_bytes);
	c->layer = NULL;
	c->pos = NULL;
}
