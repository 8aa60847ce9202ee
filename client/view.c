/*
 * view.c - asking for views and reading them.
 *
 * A view is pinned like a block. Its header and its table of runs lie in pages
 * that whoever may write to the space could change, so what is judged is a copy,
 * taken again each time a run is asked for; a wrong number leads to wrong
 * rows at worst, never outside the view.
 */
#include "client/lib.h"

#include "proto/ckv_view.h"

#include <errno.h>
#include <stdlib.h>

enum { PIN_TRIES = 64 };

static int method_ok(const struct ckv_lane *lane, const char *method)
{
	return strlen(method) < CKV_METHOD_BYTES ? 0 :
	       lib_why(lane->ckv, -EINVAL, "a method has at most %u characters",
		       CKV_METHOD_BYTES - 1);
}

static int queries_ok(const struct ckv_lane *lane,
		      const struct ckv_queries *queries)
{
	if (queries == NULL)
		return 0;
	if (queries->n_pages > CKV_BATCH_MAX)
		return lib_why(lane->ckv, -EINVAL, "queries in %u pages; at most "
			       "%u", queries->n_pages, CKV_BATCH_MAX);
	for (uint32_t i = 0; i < queries->n_pages; i++)
		if (queries->pages[i].status != 0)
			return lib_why(lane->ckv, -EINVAL,
				       "page %u of the queries is not lent", i);
	return 0;
}

static void fill_compress(void *area, const uint8_t *chain, const char *method,
			  const struct ckv_queries *queries)
{
	struct ckv_compress_arg *arg = area;
	uint32_t *pages = (uint32_t *)(arg + 1);

	memset(arg, 0, sizeof *arg);
	memcpy(&arg->chain, chain, sizeof arg->chain);
	strcpy(arg->method, method);
	if (queries == NULL)
		return;
	arg->n_query_heads = queries->n_query_heads;
	arg->n_window = queries->n_window;
	arg->query_dtype = queries->type;
	for (uint32_t i = 0; i < queries->n_pages; i++)
		pages[i] = queries->pages[i].page;
}

static int send_compress(struct ckv_lane *lane, const uint8_t *chain,
			 const char *method, const struct ckv_queries *queries,
			 struct ckv_view_info *ret_info,
			 struct lib_request **ret_request)
{
	uint32_t n = queries != NULL ? queries->n_pages : 0;
	uint32_t bytes = (uint32_t)(sizeof(struct ckv_compress_arg) + n * 4);
	struct lib_request *request;
	int r = lib_forked(lane->mine) ? -ECHILD : method_ok(lane, method);

	if (r == 0)
		r = queries_ok(lane, queries);
	if (r < 0)
		return r;
	request = lib_request_new(lane, CKV_OP_COMPRESS, bytes, &r);
	if (request == NULL)
		return r;
	fill_compress(lib_request_args(lane, request), chain, method, queries);
	request->ret = ret_info;
	*ret_request = request;
	return lib_request_send(lane, request, bytes, n, 0);
}

int ckv_submit_compress(struct ckv_lane *lane, const uint8_t *chain,
			const char *method, const struct ckv_queries *queries,
			struct ckv_view_info *ret_info, uint64_t tag)
{
	struct lib_request *request;
	int r = send_compress(lane, chain, method, queries, ret_info, &request);

	if (r == 0)
		request->tag = tag;
	return r;
}

int ckv_compress(struct ckv_lane *lane, const uint8_t *chain, const char *method,
		 const struct ckv_queries *queries, struct ckv_view_info *ret_info)
{
	struct lib_request *request;
	int r = send_compress(lane, chain, method, queries, ret_info, &request);

	return r < 0 ? r : (int)lib_request_wait(lane, request);
}

int ckv_view_find(struct ckv_lane *lane, const uint8_t *chain,
		  const char *method, struct ckv_view_info *ret_info)
{
	struct lib_request *request;
	struct ckv_view_query *query;
	int r = lib_forked(lane->mine) ? -ECHILD : method_ok(lane, method);

	if (r < 0)
		return r;
	request = lib_request_new(lane, CKV_OP_STAT,
				  sizeof(struct ckv_view_reply), &r);
	if (request == NULL)
		return r;
	query = lib_request_args(lane, request);
	memset(query, 0, sizeof *query);
	memcpy(&query->chain, chain, sizeof query->chain);
	strcpy(query->method, method);
	request->ret = ret_info;
	r = lib_request_send(lane, request, sizeof *query, 1, 0);
	return r < 0 ? r : (int)lib_request_wait(lane, request);
}

/* Pin the entry of a view and copy it. -ENOENT, -EAGAIN. */
static int view_pin(struct ckv_lane *lane, const struct ckv_key *key,
		    struct lib_pin *pin, struct ckv_block *ret_block)
{
	struct ckv_place place = ckv_index_place(&lane->index, key);
	uint32_t slot;
	int r = -ENOENT;

	for (int i = 0; i < PIN_TRIES; i++) {
		if (!ckv_index_find(&lane->index, &place, key, &slot,
				    ret_block) ||
		    (ret_block->flags & CKV_ENTRY_VIEW) == 0)
			return -ENOENT;
		r = lib_pin_take(lane, slot, ret_block->generation,
				 &pin->word[0]);
		if (r != -ESTALE)
			break;
		if (!lib_pin_settled(lane, slot))
			return -ENOENT;
	}
	if (r == 0)
		pin->serial = lane->maps->serial;
	return r == -ESTALE ? -ENOENT : r;
}

/* Is the view sound, and where? Its pages lie in one slab, one after the other. */
static const struct ckv_view_head *view_at(const struct ckv_lane *lane,
					   const struct ckv_block *block)
{
	const struct ckv_pool_shape *pool = &lane->pool;
	const struct ckv_geometry *g = &lane->maps->geometry;
	uint64_t bytes = block->n_pages * pool->page_bytes;
	uint64_t table = ckv_view_table_bytes(g);
	struct ckv_view_head *copy;
	const char *data;
	int ok;

	if (block->host_page >= lane->n_pages_host || block->n_pages == 0 ||
	    block->n_pages > pool->slab_pages -
			     block->host_page % pool->slab_pages)
		return NULL;
	data = lane->read_base + ckv_page_offset(pool, block->host_page);
	if (table > bytes)
		return NULL;
	copy = malloc(table);
	if (copy == NULL)
		return NULL;
	memcpy(copy, data, table);
	ok = ckv_view_ok(copy, bytes, g);
	free(copy);
	return ok ? (const void *)data : NULL;
}

int ckv_view_open(struct ckv_lane *lane, const uint8_t *key,
		  struct ckv_view *ret_view)
{
	struct lib_pin pin = { .word = { CKV_NONE, CKV_NONE } };
	const struct ckv_view_head *head;
	struct ckv_block block;
	struct ckv_view view = { .pin = { .n_blocks = 1 } };
	int r;

	if (lib_forked(lane->mine))
		return -ECHILD;
	if (!lib_lane_alive(lane) && lib_refresh(lane) < 0)
		return -ENOENT;
	r = view_pin(lane, (const struct ckv_key *)key, &pin, &block);
	if (r < 0)
		return r;
	head = view_at(lane, &block);
	if (head == NULL) {
		lib_pin_give(lane, pin.word[0]);
		return -EBADMSG;
	}
	lane->n_pins_held++;
	view.data = head;
	view.bytes = block.n_pages * lane->pool.page_bytes;
	view.n_tokens = head->n_tokens;
	memcpy(view.pin.private_, &pin, sizeof pin);
	*ret_view = view;
	return 0;
}

int ckv_view_run(const struct ckv_lane *lane, const struct ckv_view *view,
		 uint32_t layer, uint32_t kv_head, struct ckv_run *ret_run)
{
	const struct ckv_geometry *g = &lane->space->geometry;
	const char *data = view->data;
	struct ckv_view_head head;
	struct ckv_view_run run;

	if (lib_forked(lane->mine))
		return -ECHILD;
	if (layer >= g->n_layers || kv_head >= g->n_kv_heads)
		return -EINVAL;
	memcpy(&head, data, sizeof head);
	memcpy(&run, data + CKV_VIEW_HEAD_BYTES +
		     ((uint64_t)layer * g->n_kv_heads + kv_head) * sizeof run,
	       sizeof run);
	if (!ckv_view_head_ok(&head, view->bytes, g) ||
	    head.encoding != CKV_ENCODING_PLAIN || head.n_full != 0 ||
	    head.n_tokens != view->n_tokens ||
	    !ckv_view_run_ok(&head, &run, view->bytes))
		return -EBADMSG;
	ret_run->positions = (const void *)(data + run.positions);
	ret_run->k = data + run.code[CKV_VIEW_K];
	ret_run->v = data + run.code[CKV_VIEW_V];
	ret_run->n_kept = run.n_kept;
	return 0;
}
