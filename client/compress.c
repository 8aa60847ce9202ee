/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compress.c - asking for views.
 *
 * What the engine brings lies in scratch pages, its parts one after the other, each at
 * a multiple of 64.
 */
#include "client/lib.h"

#include <errno.h>

#define INPUTS_MAX	(1ull << 62)	/* bytes: far beyond what any space has room for */

static int method_ok(const struct ckv_lane *lane, const char *method)
{
	size_t n = strlen(method);

	if (lib_forked(lane->mine))
		return lib_plain(lane->ckv, -ECHILD);
	return n < CKV_METHOD_BYTES ? 0 :
	       lib_why(lane->ckv, -EINVAL, "the method has %zu characters; at most "
		       "%u", n, CKV_METHOD_BYTES - 1);
}

static int queries_ok(const struct ckv_lane *lane,
		      const struct ckv_queries *queries)
{
	if (queries == NULL)
		return 0;
	if (queries->n_pages > CKV_BATCH_MAX)
		return lib_why(lane->ckv, -EINVAL, "the queries have %u pages; at most "
			       "%u", queries->n_pages, CKV_BATCH_MAX);
	for (uint32_t i = 0; i < queries->n_pages; i++)
		if (queries->pages[i].status != 0)
			return lib_why(lane->ckv, -EINVAL, "page %u of the queries is "
				       "not lent; its status is %d", i,
				       (int)queries->pages[i].status);
	return 0;
}

/* A part of a * b * c items begins at *at; false: it would end beyond INPUTS_MAX. */
static bool lay_part(uint64_t a, uint64_t b, uint64_t c, uint64_t item_bytes,
		     uint64_t *at)
{
	uint64_t n;

	if (__builtin_mul_overflow(a, b, &n) || __builtin_mul_overflow(n, c, &n) ||
	    __builtin_mul_overflow(n, item_bytes, &n) || *at > INPUTS_MAX ||
	    n > INPUTS_MAX - *at)
		return false;
	*at += ckv_round_up(n, CKV_LINE);
	return true;
}

int ckv_queries_lay_out(const struct ckv_space *space,
			const struct ckv_queries *queries,
			struct ckv_queries_layout *ret_layout)
{
	const struct ckv_geometry *g = &space->geometry;
	const struct ckv_queries *q = queries;
	uint64_t width = ckv_dtype_bytes(q->type), at = 0;
	struct ckv_queries_layout l = { .queries = 0 };

	if ((q->n_window > 0 && width == 0) ||
	    g->layout != CKV_LAYOUT_HEAD_MAJOR)
		return lib_plain(space->ckv, -EINVAL);
	if (!lay_part(g->n_layers, q->n_query_heads, q->n_window, g->dim_k * width,
		      &at))
		return lib_plain(space->ckv, -EINVAL);
	l.lse = at;
	if (q->with_lse &&
	    !lay_part(g->n_layers, q->n_query_heads, q->n_window, sizeof(float), &at))
		return lib_plain(space->ckv, -EINVAL);
	l.sums = at;
	if (!lay_part(g->n_layers, q->n_sum_heads, q->n_sum_tokens, sizeof(float), &at))
		return lib_plain(space->ckv, -EINVAL);
	l.bytes = at;
	*ret_layout = l;
	return 0;
}

int ckv_queries_write(const struct ckv_space *space,
		      const struct ckv_queries *queries, uint64_t offset,
		      const void *from, size_t bytes)
{
	size_t page_bytes = space->pool.page_bytes;
	uint64_t room = queries->n_pages * (uint64_t)page_bytes;

	if (lib_forked(space->ckv->mine))
		return lib_plain(space->ckv, -ECHILD);
	if (offset > room || bytes > room - offset)
		return lib_plain(space->ckv, -EINVAL);
	while (bytes > 0) {
		size_t skip = offset % page_bytes, n = page_bytes - skip;

		n = n < bytes ? n : bytes;
		memcpy((char *)queries->pages[offset / page_bytes].data + skip,
		       from, n);
		from = (const char *)from + n;
		offset += n;
		bytes -= n;
	}
	return 0;
}

static void fill_compress(const struct ckv_lane *lane, struct ckv_compress_arg *arg,
			  const uint8_t *chain, const char *method,
			  const struct ckv_queries *queries)
{
	struct ckv_page_name *names = (struct ckv_page_name *)(arg + 1);

	memset(arg, 0, sizeof *arg);
	memcpy(&arg->chain, chain, sizeof arg->chain);
	strcpy(arg->method, method);
	if (queries == NULL)
		return;
	arg->n_query_heads = queries->n_query_heads;
	arg->n_window = queries->n_window;
	arg->query_dtype = queries->type;
	arg->inputs = queries->with_lse ? CKV_VIEW_LSE : 0;
	arg->n_sum_heads = queries->n_sum_heads;
	arg->n_sum_tokens = queries->n_sum_tokens;
	for (uint32_t i = 0; i < queries->n_pages; i++)
		names[i] = lib_page_name(lane, &queries->pages[i]);
}

static int send_compress(struct ckv_lane *lane, const uint8_t *chain,
			 const char *method, const struct ckv_queries *queries,
			 struct ckv_view_info *ret_info,
			 struct lib_request **ret_request)
{
	uint32_t n = queries != NULL ? queries->n_pages : 0;
	uint32_t bytes = (uint32_t)(sizeof(struct ckv_compress_arg) +
				    n * sizeof(struct ckv_page_name));
	struct lib_request *request;
	int r = method_ok(lane, method);

	if (r == 0)
		r = lib_space_writable(lane);
	if (r == 0)
		r = queries_ok(lane, queries);
	if (r < 0)
		return r;
	request = lib_request_new(lane, CKV_OP_COMPRESS, bytes, &r);
	if (request == NULL)
		return r;
	fill_compress(lane, lib_request_args(lane, request), chain, method, queries);
	request->ret = ret_info;
	*ret_request = request;
	return lib_request_send(lane, request, bytes, n, 0);
}

int ckv_submit_compress(struct ckv_lane *lane, const uint8_t *chain,
			const char *method, const struct ckv_queries *queries,
			struct ckv_view_info *ret_info, uint64_t tag)
{
	LIB_INSIDE(lane);
	struct lib_request *request;
	int r = send_compress(lane, chain, method, queries, ret_info, &request);

	if (r == 0)
		request->tag = tag;
	return r;
}

int ckv_compress(struct ckv_lane *lane, const uint8_t *chain, const char *method,
		 const struct ckv_queries *queries, struct ckv_view_info *ret_info)
{
	LIB_INSIDE(lane);
	struct lib_request *request;
	int r;

	lib_lane_settle(lane);
	r = send_compress(lane, chain, method, queries, ret_info, &request);
	return r < 0 ? r : (int)lib_request_wait(lane, request);
}

int ckv_view_find(struct ckv_lane *lane, const uint8_t *chain,
		  const char *method, struct ckv_view_info *ret_info)
{
	LIB_INSIDE(lane);
	struct lib_request *request;
	struct ckv_view_query *query;
	int r = method_ok(lane, method);

	if (r < 0)
		return r;
	lib_lane_settle(lane);
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
