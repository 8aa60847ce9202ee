/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method_settle.c - a method for one object: does it fit, and what does bytes= come to?
 *
 * The size of a view follows from how many rows each layer keeps, so it is computed for
 * views that nobody makes, and the largest number of tokens that fits is found by halving
 * the interval. That takes it that more tokens are more bytes, which is wrong in two cases.
 * All tokens together need only one set of positions: they are tried first. Each layer of
 * pyramidkv rounds its own budget, so a few numbers above the first that does not fit may
 * fit again: these are tried afterwards.
 */
#include "kernels/method_table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define MILLION 1000000u

struct settle {
	struct ckv_method m;		/* as it becomes */
	const struct ckv_object *o;
	uint64_t plain_bytes, max_bytes;
	const char *name;		/* of the selection */
	char *why;
};

__attribute__((format(printf, 2, 3)))
static int fail(const struct settle *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->why, CKV_METHOD_WHY_BYTES, format, args);
	va_end(args);
	return -EINVAL;
}

/* ---- how large a view would be ---- */

/* Whole chunks: the last may be shorter, which nobody knows before the choice. */
static uint32_t chunkkv_most(const struct ckv_selection *s, uint32_t n,
			     uint32_t n_tokens)
{
	uint32_t n_chunks = n / s->chunk;
	uint64_t most;

	if (s->mode == CKV_OF_PAPER || n == n_tokens || n_tokens <= s->window ||
	    n_tokens < s->chunk)
		return n;
	most = (uint64_t)(n_chunks == 0 ? 1 : n_chunks) * s->chunk;
	return most < n_tokens ? (uint32_t)most : n_tokens;
}

static int has_one_set(const struct ckv_selection *s, uint32_t n_tokens)
{
	switch (s->kind) {
	case CKV_KEEP_ALL:
	case CKV_TOVA:
	case CKV_STREAMINGLLM:
	case CKV_RANDOM:
		return 1;
	case CKV_CHUNKKV:	/* shorter than a chunk: SnapKV */
		return s->mode == CKV_OF_PAPER || n_tokens <= s->window ||
		       n_tokens >= s->chunk;
	default:
		return 0;
	}
}

static struct ckv_layer_kept kept_of(const struct ckv_selection *s,
				     const struct ckv_object *o, uint32_t layer)
{
	struct ckv_layer_kept kept;

	kept.n = ckv_selection_budget(s, layer, o->n_layers, o->n_tokens);
	if (s->kind == CKV_CHUNKKV)
		kept.n = chunkkv_most(s, kept.n, o->n_tokens);
	if (ckv_selection_source(s, layer) != layer)
		kept.n_sets = 0;
	else if (kept.n == o->n_tokens || has_one_set(s, o->n_tokens))
		kept.n_sets = 1;
	else
		kept.n_sets = o->n_kv_heads;
	return kept;
}

static uint64_t layer_bytes(const struct settle *s, uint32_t layer)
{
	struct ckv_layer_kept kept = kept_of(&s->m.select, s->o, layer);
	struct ckv_layer_layout lay;

	ckv_layer_lay_out(s->o, &s->m.encode, &kept, 0, &lay);
	return lay.end;
}

/*
 * Layers of one class have the same size, so it is computed once for each class: one
 * request can ask for the size of thousands of layers. -1: a layer of pyramidkv, of which
 * each has a size of its own.
 */
static int class_of(const struct ckv_selection *s, uint32_t layer)
{
	if (s->kind == CKV_PYRAMIDKV)
		return -1;
	if (s->kind == CKV_L2NORM)
		return layer < 64 && (s->skip >> layer & 1);
	return ckv_selection_source(s, layer) == layer;
}

static uint64_t bytes_with(struct settle *s, uint32_t n_keep)
{
	uint64_t total = ckv_object_begin(s->o), known[2] = { 0, 0 };

	s->m.select.n_keep = n_keep;
	for (uint32_t l = 0; l < s->o->n_layers; l++) {
		int class = class_of(&s->m.select, l);
		uint64_t bytes = class < 0 ? 0 : known[class];

		if (bytes == 0)
			bytes = layer_bytes(s, l);
		if (class >= 0)
			known[class] = bytes;
		total += bytes;
	}
	return total;
}

static int fits(struct settle *s, uint32_t n_keep)
{
	return bytes_with(s, n_keep) <= s->max_bytes;
}

/* ---- bytes= ---- */

/* The most tokens that fit, 0 for none. The caller knows that all of them do not. */
static uint32_t search(struct settle *s)
{
	uint32_t low = 0, high = s->o->n_tokens, beyond;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (fits(s, middle))
			low = middle;
		else
			high = middle;
	}
	if (s->m.select.kind != CKV_PYRAMIDKV)
		return low;
	/*
	 * One token more can make the line of budgets steeper by one token a layer. Layer l
	 * then gets l tokens less, which is n_layers / 2 on the average, and the alignment of
	 * regions can add to that. So far above `low` a number may still fit.
	 */
	beyond = 2 * s->o->n_layers + s->o->align;
	for (high = low + beyond; high > low; high--)
		if (high < s->o->n_tokens && fits(s, high))
			return high;
	return low;
}

/* The smallest share with which anything fits, in words. */
static int too_small(struct settle *s)
{
	uint64_t one = bytes_with(s, 1);
	unsigned __int128 millions = (unsigned __int128)one * MILLION;
	unsigned __int128 share = (millions + s->plain_bytes - 1) /
				  s->plain_bytes;

	if (share > MILLION)
		return fail(s, "%s: bytes=%u/%u: the smallest view takes %llu bytes, "
			    "all tokens plain %llu; expected a longer context",
			    s->name, s->m.bytes_num, s->m.bytes_den,
			    (unsigned long long)one,
			    (unsigned long long)s->plain_bytes);
	return fail(s, "%s: bytes=%u/%u are %llu bytes, the smallest view takes "
		    "%llu; expected at least bytes=%u.%06u", s->name,
		    s->m.bytes_num, s->m.bytes_den,
		    (unsigned long long)s->max_bytes, (unsigned long long)one,
		    (unsigned)(share / MILLION), (unsigned)(share % MILLION));
}

static int settle_bytes(struct settle *s)
{
	struct ckv_selection *select = &s->m.select;
	uint32_t all = s->o->n_tokens, n;

	s->max_bytes = (uint64_t)((unsigned __int128)s->plain_bytes *
				  s->m.bytes_num / s->m.bytes_den);
	select->keep_num = select->keep_den = 0;
	if (s->m.bits_auto) {
		s->m.encode.bits = 8;
		if (!fits(s, all))
			s->m.encode.bits = 4;
	}
	n = fits(s, all) ? all : search(s);
	if (n == 0)
		return too_small(s);
	select->n_keep = n;
	if (select->kind == CKV_CHUNKKV)
		select->n_keep = chunkkv_most(select, n, all);
	s->m.bytes_num = s->m.bytes_den = 0;
	s->m.bits_auto = 0;
	return 0;
}

/* ---- does it fit the object? ---- */

static int check_object(const struct settle *s)
{
	const struct ckv_object *o = s->o;

	if (ckv_elem_bytes(o->elem) == 0)
		return fail(s, "elements of this type cannot be compressed; "
			    "expected f32, f16 or bf16");
	if (o->n_tokens == 0 || o->n_tokens > CKV_KERNEL_MAX_TOKENS)
		return fail(s, "the chain has %u tokens; expected 1 to %u",
			    o->n_tokens, CKV_KERNEL_MAX_TOKENS);
	if (o->n_layers == 0 || o->n_kv_heads == 0 ||
	    o->n_kv_heads > CKV_KERNEL_MAX_HEADS)
		return fail(s, "%u layers of %u kv heads; expected at least one "
			    "layer and 1 to %u kv heads", o->n_layers,
			    o->n_kv_heads, CKV_KERNEL_MAX_HEADS);
	if (o->dim_k == 0 || o->dim_k > CKV_KERNEL_MAX_DIM ||
	    o->dim_v > CKV_KERNEL_MAX_DIM)
		return fail(s, "dim_k=%u, dim_v=%u: expected at most %u, and keys",
			    o->dim_k, o->dim_v, CKV_KERNEL_MAX_DIM);
	return 0;
}

/* Queries that came are those that the selection can read. */
static int check_queries(const struct settle *s)
{
	const struct ckv_object *o = s->o;
	uint32_t window = ckv_selection_window(&s->m.select), group;

	if (window == 0 || o->n_q_heads == 0)
		return 0;
	if (o->n_q_heads % o->n_kv_heads != 0 ||
	    o->n_q_heads > CKV_KERNEL_MAX_HEADS)
		return fail(s, "%u query heads; expected a multiple of %u, at most "
			    "%u", o->n_q_heads, o->n_kv_heads,
			    CKV_KERNEL_MAX_HEADS);
	group = o->n_q_heads / o->n_kv_heads;
	if (window > CKV_KERNEL_MAX_ROWS / group)
		return fail(s, "%s: window=%u: expected at most %u with %u query "
			    "heads to a kv head", s->name, window,
			    CKV_KERNEL_MAX_ROWS / group, group);
	return 0;
}

static int check_skip(const struct settle *s)
{
	uint64_t beyond = s->o->n_layers < 64 ?
			  s->m.select.skip >> s->o->n_layers : 0;
	uint32_t layer = s->o->n_layers;

	if (beyond == 0)
		return 0;
	while ((beyond & 1) == 0) {
		beyond >>= 1;
		layer++;
	}
	return fail(s, "%s: skip=%u: expected layers 0 to %u", s->name, layer,
		    s->o->n_layers - 1);
}

int ckv_method_settle(const struct ckv_method *m, const struct ckv_object *o,
		      struct ckv_method *ret_settled,
		      char why[CKV_METHOD_WHY_BYTES])
{
	const struct method_row *row = method_row_of(STAGE_SELECTION,
						     m->select.kind);
	struct settle s = {
		.m = *m, .o = o, .why = why, .name = row ? row->info.name : "",
	};

	if (check_object(&s) < 0 || check_skip(&s) < 0)
		return -EINVAL;
	s.plain_bytes = (uint64_t)o->n_layers * o->n_kv_heads * o->n_tokens *
			((uint64_t)o->dim_k + o->dim_v) * ckv_elem_bytes(o->elem);
	if (m->bytes_den != 0 && settle_bytes(&s) < 0)
		return -EINVAL;
	/* Now that it has a budget, the selection says what it reads. */
	if (check_queries(&s) < 0)
		return -EINVAL;
	*ret_settled = s.m;
	return 0;
}
