/*
 * requests.c - from a slot of a request ring to a completion.
 *
 * A slot is copied by the ring, its argument by take_argument(); only the
 * copies are judged. -EPROTO from here or from the core means that only a
 * broken client sends this: the lane is closed and nothing completes.
 */
#include "daemon/shell/daemon.h"
#include "daemon/shell/jobs.h"
#include "daemon/shell/log.h"

#include <errno.h>
#include <string.h>

/* What an operation's argument and answer look like. */
struct op_shape {
	uint32_t head_bytes, item_bytes;	/* of the argument */
	uint32_t answer_bytes;			/* per item */
	uint32_t reply_bytes;			/* per request */
	bool write;				/* needs CKV_ACCESS_WRITE */
	bool known;
};

static const struct op_shape op_shape[] = {
	[CKV_OP_NOP] = { .known = true },
	[CKV_OP_RESERVE] = { sizeof(struct ckv_reserve_arg),
		sizeof(struct ckv_key), sizeof(struct ckv_lent), 0, true, true },
	[CKV_OP_PUBLISH] = { 0, sizeof(struct ckv_publish_item),
		sizeof(int32_t), 0, true, true },
	[CKV_OP_ABORT] = { 0, sizeof(struct ckv_page_name), sizeof(int32_t), 0,
		true, true },
	[CKV_OP_PREFETCH] = { 0, sizeof(struct ckv_key), 0, 0, false, true },
	[CKV_OP_COMPRESS] = { sizeof(struct ckv_compress_arg),
		sizeof(struct ckv_page_name), 0, sizeof(struct ckv_view_reply),
		true, true },
	[CKV_OP_DROP] = { 0, sizeof(struct ckv_key), sizeof(int32_t), 0, true,
		true },
	[CKV_OP_STAT] = { sizeof(struct ckv_view_query), 0, 0,
		sizeof(struct ckv_view_reply), false, true },
};

static const struct op_shape *shape_of(const struct ckv_req *request)
{
	return request->op < sizeof op_shape / sizeof op_shape[0] &&
	       op_shape[request->op].known ? &op_shape[request->op] : NULL;
}

static bool is_scratch(const struct ckv_req *request)
{
	return request->op == CKV_OP_RESERVE &&
	       (request->flags & CKV_REQ_SCRATCH) != 0;
}

/* The slot alone: 0, an answer, or -EPROTO. */
static int judge(const struct lane *lane, const struct ckv_req *request)
{
	const struct op_shape *shape = shape_of(request);
	uint64_t area = lane->shape.arg_bytes;
	uint64_t want, answer;

	for (size_t i = 0; i < sizeof request->zero1 / sizeof(uint32_t); i++)
		if (request->zero1[i] != 0)
			return -EPROTO;
	if (request->zero0 != 0 || request->arg_offset % 8 != 0 ||
	    (uint64_t)request->arg_offset + request->arg_bytes > area)
		return -EPROTO;
	if (shape == NULL)
		return -EOPNOTSUPP;
	if (request->flags != 0 && !is_scratch(request))
		return -EINVAL;
	if (request->flags & ~CKV_REQ_SCRATCH)
		return -EINVAL;
	if (request->n > CKV_BATCH_MAX)
		return -EINVAL;
	want = shape->head_bytes + (uint64_t)shape->item_bytes * request->n;
	if (is_scratch(request))
		want = 0;
	if (request->arg_bytes != want)
		return -EINVAL;
	answer = shape->reply_bytes + (uint64_t)shape->answer_bytes * request->n;
	if (request->arg_offset + answer > area)
		return -EPROTO;
	return shape->write && lane->access != CKV_ACCESS_WRITE ? -EACCES : 0;
}

/* Copy once. Nothing after this looks at the client's memory. */
static void take_argument(struct daemon *d, const struct lane *lane,
			  const struct ckv_req *request)
{
	const char *area = (const char *)lane->c.base + lane->map.args;

	memcpy(d->argument, area + request->arg_offset, request->arg_bytes);
	__asm__ volatile("" : : "r"(d->argument) : "memory");
}

/* Take back what was just lent from the i-th answer on, the deepest first. */
static void take_back(struct daemon *d, const struct lane *lane,
		      struct ckv_lent *lent, uint32_t i, uint32_t n)
{
	int32_t status;

	while (n-- > i) {
		struct ckv_page_name name = { lent[n].page, lent[n].lending,
					      d->epoch };

		if (lent[n].status != 0)
			continue;
		(void)space_abort(d->host[lane->space].space, lane->number,
				  &name, 1, &status);
		lent[n] = (struct ckv_lent){ .status = -ECANCELED,
					     .page = CKV_NONE, .slot = CKV_NONE };
	}
}

/*
 * Every page that is lent needs its slab mapped for writing. A page whose slab
 * cannot be sent now is taken back, with all that was lent after it.
 */
static int send_slabs(struct daemon *d, struct lane *lane,
		      const struct ckv_req *request, struct ckv_lent *lent,
		      int n_lent)
{
	struct client *client = &d->client[lane->client];
	struct host *host = &d->host[lane->space];
	int n_sent = 0;

	for (uint32_t i = 0; i < request->n && n_sent < n_lent; i++) {
		if (lent[i].status != 0)
			continue;
		if (control_send_slab(d, client, lane->space,
				lent[i].page / host->pool.shape.slab_pages) < 0) {
			take_back(d, lane, lent, i, request->n);
			lent[i].status = -EAGAIN;
			break;
		}
		n_sent++;
	}
	return n_sent;
}

/* Recency of the readers, before something of theirs is evicted. */
static void drain_touches(struct daemon *d, uint32_t space)
{
	struct host *host = &d->host[space];

	if (host->drained_turn == d->turn)
		return;
	host->drained_turn = d->turn;
	for (uint32_t i = 0; i < d->n_open; i++)
		if (d->lane[d->open_lane[i]].space == space)
			space_touch_drain(host->space,
					  d->lane[d->open_lane[i]].number);
}

static int reserve(struct daemon *d, struct lane *lane,
		   const struct ckv_req *request)
{
	struct space *space = d->host[lane->space].space;
	const struct ckv_reserve_arg *arg = (const void *)d->argument;
	struct ckv_lent *lent = (void *)d->answer;
	int r;

	drain_touches(d, lane->space);
	if (is_scratch(request))
		r = space_reserve_scratch(space, lane->number, request->n, lent);
	else
		r = space_reserve(space, lane->number, &arg->parent,
				  (const struct ckv_key *)(arg + 1), request->n,
				  lent);
	return r <= 0 ? r : send_slabs(d, lane, request, lent, r);
}

static int stat_view(struct daemon *d, const struct lane *lane)
{
	const struct ckv_view_query *query = (const void *)d->argument;
	struct ckv_view_reply *reply = (void *)d->answer;

	memset(reply, 0, sizeof *reply);
	return jobs_find_view(d->host[lane->space].space, query, reply);
}

/* The operation itself: its result, or -EPROTO. d->answer is filled. */
static int perform(struct daemon *d, struct lane *lane,
		   const struct ckv_req *request)
{
	struct space *space = d->host[lane->space].space;
	void *answer = d->answer;

	switch (request->op) {
	case CKV_OP_RESERVE:
		return reserve(d, lane, request);
	case CKV_OP_PUBLISH:
		return space_publish(space, lane->number,
				     (const void *)d->argument, request->n,
				     answer);
	case CKV_OP_ABORT:
		return space_abort(space, lane->number,
				   (const void *)d->argument, request->n,
				   answer);
	case CKV_OP_PREFETCH:
		return space_prefetch(space, (const void *)d->argument,
				      request->n);
	case CKV_OP_DROP:
		return space_drop(space, (const void *)d->argument, request->n,
				  answer);
	case CKV_OP_STAT:
		return stat_view(d, lane);
	default:
		return 0;
	}
}

static void answer(struct daemon *d, struct lane *lane,
		   const struct ckv_req *request, int32_t result)
{
	const struct op_shape *shape = shape_of(request);
	char *area = (char *)lane->d.base + lane->map.results;
	size_t bytes = shape == NULL ? 0 : shape->reply_bytes +
		       (size_t)shape->answer_bytes * request->n;

	/* An answer that was not worked out would show an older one. */
	if (bytes > 0 && (result >= 0 || shape->reply_bytes > 0))
		memcpy(area + request->arg_offset, d->answer, bytes);
	lane_complete(d, lane, request, result);
}

static void serve_one(struct daemon *d, struct lane *lane,
		      const struct ckv_req *request)
{
	int r = judge(lane, request);

	if (r == -EPROTO) {
		lane_lied(d, lane, "a request is malformed");
		return;
	}
	if (r < 0) {
		lane_complete(d, lane, request, r);
		return;
	}
	take_argument(d, lane, request);
	if (request->op == CKV_OP_COMPRESS) {
		memset(d->answer, 0, sizeof(struct ckv_view_reply));
		r = jobs_compress(d, lane, request, (void *)d->answer);
		if (r > 0)
			return;		/* completes later */
	} else {
		r = perform(d, lane, request);
	}
	if (r == -EPROTO) {
		lane_lied(d, lane, "a request's items are malformed");
		return;
	}
	answer(d, lane, request, r);
}

uint32_t lane_serve(struct daemon *d, struct lane *lane)
{
	uint32_t n = 0, max = (uint32_t)d->config->daemon.requests_per_turn;
	struct ckv_req request;
	struct ckv_msg message;
	int r;

	while (n < max && lane->state == LANE_OPEN) {
		if (!lane_has_room(lane))
			break;
		r = ckv_ring_take(&lane->requests, &message);
		if (r == -EPROTO)
			lane_lied(d, lane, "a sequence number of its request "
				  "ring is wrong");
		if (r < 0)
			break;
		n++;
		memcpy(&request, &message, sizeof request);
		serve_one(d, lane, &request);
	}
	if (n > 0) {
		ckv_ring_credit(&lane->requests);
		ckv_count(&d->stats->requests, n);
		d->client[lane->client].n_requests += n;
		lane_flush(d, lane);
	}
	return n;
}
