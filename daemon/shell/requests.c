/* SPDX-License-Identifier: Apache-2.0 */
/*
 * requests.c - serve requests: from a slot of a request ring to its completion.
 *
 * ckv_ring_take() copies the slot and take_argument() the argument; only the copies
 * are judged. -EPROTO, from here or from the core, means that only a broken client
 * sends this: the lane is shut and the request gets no completion.
 *
 * A lane does one request at a time, in the order in which they came: lane->run. The
 * request may need several turns, because its units are used up or it waits for a step
 * of its space. Its argument and answers are in the lane's private copies meanwhile. If
 * the lane is served no longer, lane_cancel() ends the request.
 */
#include "daemon/shell/daemon.h"
#include "daemon/shell/jobs.h"
#include "daemon/shell/log.h"
#include "daemon/shell/waits.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Sizes of an operation's argument and answers. */
struct op_shape {
	uint32_t head_bytes, item_bytes;	/* of the argument */
	uint32_t answer_bytes;			/* of the answer to each item */
	uint32_t reply_bytes;			/* of the answer to the request */
	bool write;				/* it needs CKV_ACCESS_WRITE */
	bool known;				/* false: there is no such operation */
};

static const struct op_shape op_shape[] = {
	[CKV_OP_NOP] = { .known = true },
	[CKV_OP_RESERVE] = { sizeof(struct ckv_reserve_arg),
		sizeof(struct ckv_key), sizeof(struct ckv_lent), 0, true, true },
	[CKV_OP_PUBLISH] = { 0, sizeof(struct ckv_publish_item),
		sizeof(int32_t), 0, true, true },
	[CKV_OP_ABORT] = { 0, sizeof(struct ckv_page_name), sizeof(int32_t), 0,
		true, true },
	[CKV_OP_PREFETCH] = { sizeof(struct ckv_prefetch_arg),
		sizeof(struct ckv_key), 0, 0, false, true },
	[CKV_OP_CANCEL] = { sizeof(struct ckv_cancel_arg), 0, 0, 0, false, true },
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

/* Judge the slot: 0; an error to answer with; or -EPROTO. */
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

/* Copy the argument once. Nothing after this reads the client's memory. */
static void take_argument(struct lane *lane, const struct ckv_req *request)
{
	const char *area = (const char *)lane->c.base + lane->map.args;

	assert(request->arg_bytes <= lane->area_bytes);
	memcpy(lane->argument, area + request->arg_offset, request->arg_bytes);
	__asm__ volatile("" : : "r"(lane->argument) : "memory");
}

/*
 * Take back the pages that the request was lent from the i-th answer on, the deepest
 * first. At most one turn lent them. The client pays for this work in units, as for
 * any other.
 */
static void take_back(struct daemon *d, const struct lane *lane,
		      struct ckv_lent *lent, uint32_t i, uint32_t n,
		      int32_t *units)
{
	while (n-- > i) {
		struct ckv_page_name name = {
			.page = lent[n].page, .lending = lent[n].lending,
			.epoch = d->epoch, .level = lent[n].level,
		};
		int32_t status, left = INT32_MAX;
		struct space_task abort = {
			.op = SPACE_ABORT, .lane = lane->number, .n = 1,
			.items = &name, .answers = &status,
		};

		if (lent[n].status != 0)
			continue;
		(void)space_run(d->served[lane->space].core, &abort, &left);
		*units -= INT32_MAX - left;
		lent[n] = (struct ckv_lent){ .status = -ECANCELED,
					     .page = CKV_NONE, .slot = CKV_NONE };
	}
}

/* The slab of the i-th answer cannot be sent: end the request with that answer. */
static int stop_lending(struct daemon *d, struct lane *lane, uint32_t i,
			int32_t *units)
{
	struct run *run = &lane->run;
	struct ckv_lent *lent = (void *)lane->answer;
	int n_lent = 0;

	space_cancel(d->served[lane->space].core, &run->task);
	take_back(d, lane, lent, i, run->task.next, units);
	lent[i].status = -EAGAIN;
	for (uint32_t j = run->task.next; j < run->request.n; j++)
		lent[j] = (struct ckv_lent){ .status = -ECANCELED,
					     .page = CKV_NONE, .slot = CKV_NONE };
	for (uint32_t j = 0; j < i; j++)
		n_lent += lent[j].status == 0;
	return n_lent;
}

/*
 * The client must map the slab of each page that it is lent. If a slab cannot be sent
 * now, its page is taken back, with all pages that were lent after it.
 */
static int send_slabs(struct daemon *d, struct lane *lane, int32_t *units)
{
	struct client *client = &d->client[lane->client];
	const struct ckv_lent *lent = (const void *)lane->answer;
	struct run *run = &lane->run;
	uint32_t slab, slab_pages = d->served[lane->space].pool.shape.slab_pages;

	for (; run->n_sent < run->task.next; run->n_sent++) {
		if (lent[run->n_sent].status != 0)
			continue;
		slab = lent[run->n_sent].page / slab_pages;
		if (client->attached[lane->space].slab_sent[slab / 64] >>
		    slab % 64 & 1)
			continue;
		if (*units <= 0)
			return SPACE_MORE;
		*units -= UNITS_MESSAGE;
		if (control_send_slab(d, client, lane->space, slab) < 0)
			return stop_lending(d, lane, run->n_sent, units);
	}
	return run->result;
}

static int stat_view(struct daemon *d, const struct lane *lane)
{
	const struct ckv_view_query *query = (const void *)lane->argument;
	struct ckv_view_reply *reply = (void *)lane->answer;

	memset(reply, 0, sizeof *reply);
	return jobs_find_view(d->served[lane->space].core, query, reply);
}

static void answer(struct daemon *d, struct lane *lane, int32_t result)
{
	const struct ckv_req *request = &lane->run.request;
	const struct op_shape *shape = shape_of(request);
	char *area = (char *)lane->d.base + lane->map.results;
	size_t bytes = shape->reply_bytes +
		       (size_t)shape->answer_bytes * request->n;

	/* A failed list has no answers: lane->answer still has those of an older request. */
	if (bytes > 0 && (result >= 0 || shape->reply_bytes > 0))
		memcpy(area + request->arg_offset, lane->answer, bytes);
	lane_complete(d, lane, request, result);
}

/* The level that a RESERVE or PREFETCH names, as the core's index; -EINVAL; -ENODEV. */
static int find_level(const struct daemon *d, const struct lane *lane, uint32_t number)
{
	if (number != CKV_LEVEL_HOST && number != CKV_LEVEL_DEVICE)
		return -EINVAL;
	return space_level_find(d->served[lane->space].core, number);
}

/* 0; what the head of a request's argument is refused with; or -EPROTO. */
static int judge_head(const struct daemon *d, struct lane *lane)
{
	const struct ckv_prefetch_arg *prefetch = (const void *)lane->argument;
	const struct ckv_reserve_arg *reserve = (const void *)lane->argument;
	const struct ckv_req *request = &lane->run.request;
	int r = 0;

	if (request->op == CKV_OP_RESERVE && !is_scratch(request))
		r = reserve->zero != 0 ? -EPROTO : find_level(d, lane, reserve->level);
	else if (request->op == CKV_OP_PREFETCH)
		r = prefetch->flags & ~(uint32_t)CKV_PREFETCH_PIN ? -EINVAL :
		    find_level(d, lane, prefetch->level);
	if (r < 0)
		return r;
	lane->run.task.level = (uint32_t)r;
	return 0;
}

/* Set up the core's task for a request that has items. */
static void begin_task(struct lane *lane)
{
	const struct ckv_prefetch_arg *prefetch = (const void *)lane->argument;

	static const enum space_op ops[] = {
		[CKV_OP_RESERVE] = SPACE_RESERVE, [CKV_OP_PUBLISH] = SPACE_PUBLISH,
		[CKV_OP_ABORT] = SPACE_ABORT, [CKV_OP_PREFETCH] = SPACE_PREFETCH,
		[CKV_OP_DROP] = SPACE_DROP,
	};
	const struct ckv_reserve_arg *arg = (const void *)lane->argument;
	const struct ckv_req *request = &lane->run.request;
	struct space_task *task = &lane->run.task;

	task->op = is_scratch(request) ? SPACE_SCRATCH : ops[request->op];
	task->lane = lane->number;
	task->n = request->n;
	task->items = lane->argument;
	task->answers = lane->answer;
	if (task->op == SPACE_RESERVE) {
		task->parent = arg->parent;
		task->items = arg + 1;
	} else if (task->op == SPACE_PREFETCH) {
		task->keep = prefetch->flags & CKV_PREFETCH_PIN;
		task->items = prefetch + 1;
	}
}

/* Work on the lane's request: its result; SPACE_MORE or SPACE_WAIT, it has not ended. */
static int go_on(struct daemon *d, struct lane *lane, int32_t *units)
{
	struct run *run = &lane->run;

	switch (run->request.op) {
	case CKV_OP_NOP:
		return 0;
	case CKV_OP_STAT:
		*units -= UNITS_METHOD;
		return stat_view(d, lane);
	case CKV_OP_CANCEL:
		return wait_cancel(d, lane, ((const struct ckv_cancel_arg *)
					     (const void *)lane->argument)->tag,
				   units);
	case CKV_OP_COMPRESS:
		return jobs_compress(d, lane, &run->request,
				     (void *)lane->answer, units);
	default:
		break;
	}
	if (!run->ended)
		run->result = space_run(d->served[lane->space].core, &run->task,
					units);
	run->ended = run->result != SPACE_MORE && run->result != SPACE_WAIT;
	if (run->ended && run->request.op == CKV_OP_PREFETCH)
		return wait_prefetch(d, lane, run->result);
	return run->request.op == CKV_OP_RESERVE ? send_slabs(d, lane, units) :
	       run->result;
}

/* Work on the lane's request and answer it. False: it has not ended. */
static bool serve_run(struct daemon *d, struct lane *lane, int32_t *units)
{
	int r = go_on(d, lane, units);

	if (r == SPACE_WAIT)
		d->step_wanted = true;
	if (r == SPACE_WAIT || r == SPACE_MORE)
		return false;
	lane->run.on = false;
	if (r == -EPROTO)
		lane_lied(d, lane, "a request's items are malformed");
	else if (r != WAIT_TAKEN && lane->state == LANE_OPEN)
		answer(d, lane, r);
	return true;
}

void lane_cancel(struct daemon *d, struct lane *lane)
{
	struct run *run = &lane->run;

	waits_end(d, lane);
	if (!run->on)
		return;
	run->on = false;
	if (run->task.begun && !run->ended)
		space_cancel(d->served[lane->space].core, &run->task);
	/* When the daemon stops, the jobs are destroyed before the lanes. */
	if (run->job != NULL && d->jobs != NULL)
		jobs_cancel(run->job);
}

static void refuse(struct daemon *d, struct lane *lane, const struct ckv_req *request,
		   int why)
{
	lane->run.on = false;
	if (why == -EPROTO)
		lane_lied(d, lane, "a request is malformed");
	else
		lane_complete(d, lane, request, why);
}

static void begin(struct daemon *d, struct lane *lane,
		  const struct ckv_req *request)
{
	int r = judge(lane, request);

	if (r < 0) {
		refuse(d, lane, request, r);
		return;
	}
	lane->run = (struct run){ .on = true, .request = *request };
	if (request->op == CKV_OP_NOP)
		return;
	take_argument(lane, request);
	r = judge_head(d, lane);
	if (r < 0) {
		refuse(d, lane, request, r);
		return;
	}
	if (request->op != CKV_OP_COMPRESS && request->op != CKV_OP_STAT &&
	    request->op != CKV_OP_CANCEL)
		begin_task(lane);
}

/* Begin the next request of the ring: 1; 0: there is none, or no room for a completion. */
static uint32_t take_request(struct daemon *d, struct lane *lane)
{
	struct ckv_req request;
	struct ckv_msg message;
	int r;

	if (!lane_has_room(lane))
		return 0;
	r = ckv_ring_take(&lane->requests, &message);
	if (r == -EPROTO)
		lane_lied(d, lane, "a sequence number of its request "
			  "ring is wrong");
	if (r < 0)
		return 0;
	memcpy(&request, &message, sizeof request);
	begin(d, lane, &request);
	return 1;
}

void lane_serve(struct daemon *d, struct lane *lane, int32_t *units)
{
	int32_t before = *units;
	uint32_t n = 0, taken;

	while (*units > 0 && lane->state == LANE_OPEN) {
		if (!lane->run.on) {
			taken = take_request(d, lane);
			if (taken == 0)
				break;
			n += taken;
			*units -= UNITS_REQUEST;
			if (lane->run.on)
				*units -= (int32_t)(lane->run.request.arg_bytes /
						    BYTES_PER_UNIT);
		}
		if (lane->run.on && !serve_run(d, lane, units))
			break;
	}
	if (n > 0) {
		ckv_ring_credit(&lane->requests);
		ckv_count(&d->stats->requests, n);
		d->client[lane->client].n_requests += n;
	}
	*units -= lane_flush(d, lane);
	ckv_count(&d->stats->work_units, (uint64_t)(before - *units));
}
