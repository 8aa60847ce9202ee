/* SPDX-License-Identifier: Apache-2.0 */
/* views.c - see views.h. */
#include "client/examples/engine/views.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIRST_TOKENS	4u	/* that "first and last" keeps at the front */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int explain(const struct share *share, const char *what, int r,
		   struct err *e)
{
	const char *means = ckv_strerror(r), *why = ckv_why(share->ckv);
	bool more = why[0] != '\0' && strcmp(why, means) != 0;

	return err_set(e, r, "%s: %s%s%s", what, means, more ? ": " : "",
		       more ? why : "");
}

uint32_t view_chain_tokens(const struct session *s, uint32_t n_ids)
{
	return n_ids / s->kv.geo.block_tokens * s->kv.geo.block_tokens;
}

uint32_t view_own_tokens(const struct session *s, const struct options *o,
			 uint32_t n_ids)
{
	uint32_t own = n_ids - view_chain_tokens(s, n_ids) + o->window;

	return own < n_ids ? own : n_ids;
}

static void method_name(const struct options *o, uint32_t i,
			char text[CKV_METHOD_SIZE])
{
	if (o->keep_method[i])
		snprintf(text, CKV_METHOD_SIZE, "%s", o->keep[i]);
	else
		snprintf(text, CKV_METHOD_SIZE, "chunkkv(keep=%s, chunk=%u, "
			 "window=%u)", o->keep[i], o->block_tokens, o->window);
}

/* ---- making ----------------------------------------------------------- */

/* Bring the queries into pages that the daemon reads them from. */
static int lend_queries(struct session *s, const uint8_t *queries,
			size_t bytes, struct ckv_page *pages,
			const struct ckv_queries *q)
{
	int r = ckv_reserve_scratch(s->share->lane, q->n_pages, pages);

	return r < 0 ? r : ckv_queries_write(s->share->space, q, 0, queries,
					     bytes);
}

static int compress_each(struct session *s, const struct options *o,
			 const struct ckv_queries *q, const uint8_t *chain,
			 struct view_made *made, struct err *e)
{
	for (uint32_t i = 0; i < o->n_keeps; i++) {
		struct ckv_view_info info;
		uint64_t from = now_ns();
		char method[CKV_METHOD_SIZE];
		int r;

		method_name(o, i, method);
		r = ckv_compress(s->share->lane, chain, method, q, &info);
		if (r < 0)
			return explain(s->share, method, r, e);
		made[i] = (struct view_made){
			.bytes = info.bytes,
			.n_kept = info.n_kept_max,
			.n_tokens = info.n_tokens,
			.took_ns = now_ns() - from,
		};
	}
	return 0;
}

static int compress(struct session *s, const struct options *o,
		    const uint8_t *queries, size_t bytes,
		    struct view_made *made, struct err *e)
{
	size_t page_bytes = s->share->info.page_bytes;
	uint32_t n_pages = (uint32_t)((bytes + page_bytes - 1) / page_bytes);
	struct ckv_page *pages = calloc(n_pages, sizeof(*pages));
	const uint8_t *chain = s->claim.keys +
			       (s->claim.n_keys - 1) * (size_t)CKV_KEY_SIZE;
	struct ckv_queries q = {
		.pages = pages, .n_pages = n_pages,
		.n_query_heads = s->eng.m->cfg.n_heads,
		.n_window = o->window, .type = s->share->info.model.type,
	};
	int r;

	if (pages == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	r = lend_queries(s, queries, bytes, pages, &q);
	if (r < 0) {
		explain(s->share, "pages for the queries", r, e);
	} else {
		r = compress_each(s, o, &q, chain, made, e);
		ckv_abort(s->share->lane, pages, n_pages, NULL);
	}
	free(pages);
	return r;
}

int view_make(struct session *s, const struct options *o,
	      struct view_made *ret_made, struct err *e)
{
	const struct config *c = &s->eng.m->cfg;
	uint32_t chain = view_chain_tokens(s, s->n_ids);
	size_t bytes = (size_t)c->n_layers * c->n_heads * o->window *
		       c->head_dim * kv_value_bytes(s->kv.geo.dtype);
	uint8_t *queries;
	int r;

	if (chain < o->window || chain == 0)
		return err_set(e, -EINVAL, "the text is too short for a "
			       "window of %u tokens", o->window);
	queries = malloc(bytes);
	if (queries == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	s->eng.capture = (struct capture){ .to = queries,
					   .first = chain - o->window,
					   .n = o->window,
					   .dtype = s->kv.geo.dtype };
	r = session_read(s, s->n_ids, e);
	s->eng.capture.n = 0;
	if (r == 0)
		r = session_publish(s, e);
	if (r == 0 && !s->claimed)
		r = err_set(e, -ESTALE, "the daemon is gone");
	if (r == 0)
		r = compress(s, o, queries, bytes, ret_made, e);
	free(queries);
	return r;
}

/* ---- reading ---------------------------------------------------------- */

static uint32_t rows_before(const struct ckv_run *run, uint32_t before)
{
	uint32_t n = run->n_kept;

	while (n > 0 && run->positions[n - 1] >= before)
		n--;
	return n;
}

static size_t row_bytes(const struct share *share)
{
	return share->info.model.dim_k *
	       kv_value_bytes(share->info.model.type == CKV_BF16 ? VEC_BF16 :
								   VEC_F32);
}

/* Both halves of a run as numbers, at `rows`. */
static int decode_run(struct share *share, const struct ckv_view *open,
		      uint32_t layer, uint32_t head, uint8_t *rows,
		      struct kv_run *run)
{
	enum ckv_type type = (enum ckv_type)share->info.model.type;
	uint8_t *v = rows + run->n * row_bytes(share);
	int r = ckv_view_decode(share->lane, open, layer, head, CKV_K, 0, run->n,
				type, rows);

	if (r == 0)
		r = ckv_view_decode(share->lane, open, layer, head, CKV_V, 0,
				    run->n, type, v);
	run->k = rows;
	run->v = v;
	return r;
}

/* One run, where the cache has it; of a view that is encoded only its length. */
static int list_run(struct share *share, const struct ckv_view *open, uint32_t i,
		    uint32_t before, struct kv_run *ret_run)
{
	uint32_t n_heads = share->info.model.n_kv_heads;
	struct ckv_run run;
	int r = ckv_view_run(share->lane, open, i / n_heads, i % n_heads, &run);

	if (r == 0)
		*ret_run = (struct kv_run){ .k = run.k, .v = run.v,
					    .n = rows_before(&run, before) };
	return r;
}

/* The runs of a view, and the memory of those that are decoded. */
static int list_runs(struct share *share, struct view *v, uint32_t before)
{
	uint32_t n_heads = share->info.model.n_kv_heads;
	uint32_t n = share->info.model.n_layers * n_heads;
	struct kv_run *runs = calloc(n, sizeof(*runs));
	int r = runs == NULL ? -ENOMEM : 0;
	uint8_t *rows = NULL, *at;
	size_t n_rows = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		r = list_run(share, &v->open, i, before, &runs[i]);
		n_rows += runs[i].n;
	}
	if (r == 0 && v->open.coding != CKV_CODED_PLAIN) {
		rows = malloc(2 * n_rows * row_bytes(share) + 1);
		r = rows == NULL ? -ENOMEM : 0;
		at = rows;
		for (uint32_t i = 0; r == 0 && i < n; i++) {
			r = decode_run(share, &v->open, i / n_heads, i % n_heads,
				       at, &runs[i]);
			at += 2 * runs[i].n * row_bytes(share);
		}
	}
	if (r < 0) {
		free(runs);
		free(rows);
		return r;
	}
	v->runs = runs;
	v->rows = rows;
	return 0;
}

static int chain_key(struct share *share, const uint32_t *ids, uint32_t n_ids,
		     uint8_t **ret_keys, uint32_t *ret_n)
{
	uint32_t n = n_ids / share->info.model.block_tokens;
	uint8_t *keys = calloc(n + 1, CKV_KEY_SIZE);
	long made;

	if (keys == NULL)
		return -ENOMEM;
	made = ckv_keys(share->space, NULL, ids, n_ids, NULL, 0, keys);
	if (made <= 0) {
		free(keys);
		return made < 0 ? (int)made : -ENOENT;
	}
	*ret_keys = keys;
	*ret_n = (uint32_t)made;
	return 0;
}

int view_open(struct share *share, const struct options *o, const uint32_t *ids,
	      uint32_t n_ids, uint32_t before, struct view *ret_view,
	      struct err *e)
{
	struct ckv_view_info info;
	struct view v = { 0 };
	char method[CKV_METHOD_SIZE];
	uint8_t *keys = NULL;
	uint32_t n = 0;
	int r;

	method_name(o, 0, method);
	r = chain_key(share, ids, n_ids, &keys, &n);
	if (r == 0) {
		r = ckv_view_find(share->lane, keys + (n - 1) *
				  (size_t)CKV_KEY_SIZE, method, &info);
		free(keys);
	}
	if (r == 0)
		r = ckv_view_open(share->lane, info.key, &v.open);
	if (r < 0)
		return explain(share, method, r, e);
	v.what = (struct view_made){ .bytes = info.bytes,
				     .n_kept = info.n_kept_max,
				     .n_tokens = info.n_tokens };
	r = list_runs(share, &v, before);
	if (r < 0) {
		ckv_unpin(share->lane, &v.open.pin);
		return explain(share, method, r, e);
	}
	*ret_view = v;
	return 0;
}

void view_close(struct share *share, struct view *v)
{
	ckv_unpin(share->lane, &v->open.pin);
	free(v->rows);
	memset(v, 0, sizeof(*v));
}

/* ---- first and last --------------------------------------------------- */

/* The kept rows of one half of one layer and head, one after the other. */
static uint8_t *gather(const struct kv *kv, const struct kv_run *pages,
		       bool values, uint32_t n_tokens, uint32_t n_kept,
		       uint8_t *to)
{
	size_t row = kv->geo.head_dim * kv_value_bytes(kv->geo.dtype);

	for (uint32_t pos = 0; pos < n_tokens; pos++) {
		const struct kv_run *p = &pages[pos / kv->geo.block_tokens];

		if (pos >= FIRST_TOKENS &&
		    pos < n_tokens - (n_kept - FIRST_TOKENS))
			continue;
		memcpy(to, (values ? p->v : p->k) +
		       pos % kv->geo.block_tokens * row, row);
		to += row;
	}
	return to;
}

static int gather_all(const struct kv *kv, uint32_t n_tokens, uint32_t n_kept,
		      struct kv_run **ret_runs, void **ret_rows)
{
	uint32_t n = kv->geo.n_layers * kv->geo.n_kv_heads;
	size_t row = kv->geo.head_dim * kv_value_bytes(kv->geo.dtype);
	struct kv_run *runs = calloc(n, sizeof(*runs));
	struct kv_run *pages = calloc(kv->n_pages + 1, sizeof(*pages));
	uint8_t *rows = malloc(2 * row * n_kept * n), *at = rows;

	if (runs == NULL || rows == NULL || pages == NULL) {
		free(runs);
		free(rows);
		free(pages);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++) {
		kv_runs(kv, i / kv->geo.n_kv_heads, i % kv->geo.n_kv_heads,
			n_tokens, pages);
		runs[i].n = n_kept;
		runs[i].k = at;
		at = gather(kv, pages, false, n_tokens, n_kept, at);
		runs[i].v = at;
		at = gather(kv, pages, true, n_tokens, n_kept, at);
	}
	free(pages);
	*ret_runs = runs;
	*ret_rows = rows;
	return 0;
}

int view_first_last(struct session *s, const uint32_t *ids, uint32_t n_text,
		    uint32_t n_kept, struct kv_run **ret_runs, void **ret_rows,
		    struct err *e)
{
	uint32_t chain = view_chain_tokens(s, n_text);
	int r;

	if (n_kept < FIRST_TOKENS || n_kept > chain)
		return err_set(e, -EINVAL, "%u is not a number of tokens that "
			       "can be kept of %u", n_kept, chain);
	r = session_begin(s, ids, chain + 1, 1, e);
	if (r < 0)
		return r;
	if (s->n_done < chain)
		return err_set(e, -ENOENT, "the text is not stored whole");
	r = gather_all(&s->kv, chain, n_kept, ret_runs, ret_rows);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}
