/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c - requests to the daemon and their completions.
 *
 * A request takes a place in lane->requests and a stretch of the argument area, and is
 * put on the request ring. Completions come in any order. Each request is collected once,
 * by the function that waits for it, or by ckv_poll() or ckv_wait(): only then its answers
 * are copied and place and stretch are free again. proto/request.md shows the whole way.
 *
 * When the daemon dies, or closes the lane, every request that is not completed ends with
 * that error. A completion that names no request of this lane ends them all with -EPROTO.
 */
#include "client/lib.h"

#include <errno.h>

enum {
	LOOKS = 64,			/* at the ring, between looks at the clock */
	SLEEP_MAX_NS = 100000000,	/* then see whether the daemon lives */
};

void lib_requests_reset(struct ckv_lane *lane)
{
	uint32_t n = lane->shape.n_slots;

	for (uint32_t i = 0; i < n; i++)
		lane->requests[i].next = i + 1 < n ? i + 1 : CKV_NONE;
	lane->free_request = 0;
	lane->done_first = lane->done_last = CKV_NONE;
}

static uint32_t number(const struct ckv_lane *lane,
		       const struct lib_request *request)
{
	return (uint32_t)(request - lane->requests);
}

static void give_back(struct ckv_lane *lane, struct lib_request *request)
{
	lib_args_give(&lane->args, request->arg_offset, request->area_bytes);
	request->op = 0;
	request->next = lane->free_request;
	lane->free_request = number(lane, request);
}

/*
 * A place for a request whose argument and answer fit in area_bytes. Until it
 * is sent, lib_request_collect() gives it back. NULL: *ret_error says why.
 */
struct lib_request *lib_request_new(struct ckv_lane *lane, uint8_t op,
				    uint32_t area_bytes, int *ret_error)
{
	struct lib_request *request;
	uint32_t offset = 0;
	int r = lib_forked(lane->mine) ? -ECHILD : lib_lane_ready(lane);

	if (r == 0 && area_bytes > lane->shape.arg_bytes)
		r = lib_why(lane->ckv, -EINVAL, "the request needs %u bytes of "
			    "arguments, the lane has %u; ask for less at once, or open "
			    "a lane with more arg_bytes", area_bytes,
			    lane->shape.arg_bytes);
	else if (r == 0 && lane->free_request == CKV_NONE)
		r = -EAGAIN;
	else if (r == 0 && area_bytes > 0)
		r = lib_args_take(&lane->args, area_bytes, &offset);
	if (r == -EAGAIN || r == -ECHILD || r == -ESTALE)
		lib_plain(lane->ckv, r);
	if (r < 0) {
		*ret_error = r;
		return NULL;
	}
	request = &lane->requests[lane->free_request];
	lane->free_request = request->next;
	*request = (struct lib_request){
		.op = op, .arg_offset = offset, .area_bytes = area_bytes,
		.next = CKV_NONE,
	};
	return request;
}

void *lib_request_args(const struct ckv_lane *lane,
		       const struct lib_request *request)
{
	return lane->seg.c_base + lane->at.args + request->arg_offset;
}

const void *lib_request_answers(const struct ckv_lane *lane,
				const struct lib_request *request)
{
	return lane->seg.d_base + lane->at.results + request->arg_offset;
}

static void kick(const struct ckv_lane *lane)
{
	if (ckv_wake_needed(&lane->world->reactor_sleeping))
		lib_sys_eventfd_add(lane->seg.kick_fd);
}

static int put(struct ckv_lane *lane, struct lib_request *request,
	       uint32_t arg_bytes, uint32_t n, uint8_t flags)
{
	struct ckv_req slot = {
		.op = request->op, .flags = flags,
		.arg_offset = request->arg_offset, .arg_bytes = arg_bytes,
		.n = n,
	};
	struct ckv_msg msg;
	int r;

	request->n = n;
	request->sent = (uint64_t)++lane->n_sent << 32 | number(lane, request);
	slot.tag = request->sent;
	memcpy(&msg, &slot, sizeof msg);
	r = ckv_ring_put(&lane->tx, &msg);
	if (r < 0)
		return r;
	lane->n_open++;
	kick(lane);
	return 0;
}

/* Put a filled request on the ring. On failure the place is given back. */
int lib_request_send(struct ckv_lane *lane, struct lib_request *request,
		     uint32_t arg_bytes, uint32_t n, uint8_t flags)
{
	int r = put(lane, request, arg_bytes, n, flags);

	if (r == 0)
		return 0;
	give_back(lane, request);
	return lib_plain(lane->ckv, r);
}

/*
 * Send another request, whose n items the caller wrote over the argument of the request
 * that it is collecting. It uses the place of that request, so it needs no new one, and
 * nobody waits for it. If the ring is full, it has room as soon as the daemon goes on,
 * because the request that is collected has left it.
 */
void lib_request_turn(struct ckv_lane *lane, struct lib_request *request,
		      uint8_t op, size_t arg_bytes, uint32_t n)
{
	int r;

	request->op = op;
	request->silent = 1;
	request->done = 0;
	while ((r = put(lane, request, (uint32_t)arg_bytes, n, 0)) < 0) {
		if (r == -EPROTO || !lib_lane_alive(lane) ||
		    ckv_lane_state(lane->d) != 0) {
			request->silent = 0;	/* the daemon hears nobody any more */
			return;
		}
		ckv_pause();
	}
	lane->n_silent++;
}

/* A request is over: for its waiter to see, or in the queue for ckv_poll(). */
static void finish(struct ckv_lane *lane, struct lib_request *request,
		   long result)
{
	uint32_t no = number(lane, request);

	request->done = 1;
	request->result = result;
	lane->n_open--;
	if (request->silent) {
		lane->n_silent--;
		give_back(lane, request);
		return;
	}
	if (request->waited)
		return;
	request->next = CKV_NONE;
	if (lane->done_last == CKV_NONE)
		lane->done_first = no;
	else
		lane->requests[lane->done_last].next = no;
	lane->done_last = no;
}

/* No answer will come about the pages of this request: the lane forgets them. */
static void pages_lost(struct ckv_lane *lane, const struct lib_request *request)
{
	if (request->op != CKV_OP_PUBLISH && request->op != CKV_OP_ABORT)
		return;
	for (uint32_t i = 0; i < request->n; i++)
		lib_page_answered(lane, request, i, -ESTALE);
}

/* No answers will come any more: every request that is not collected ends with `error`. */
void lib_requests_fail(struct ckv_lane *lane, int error)
{
	for (uint32_t i = 0; i < lane->shape.n_slots; i++) {
		struct lib_request *request = &lane->requests[i];

		if (request->op == 0 || request->lost || request->sent == 0)
			continue;
		pages_lost(lane, request);
		if (!request->done)
			finish(lane, request, error);
		else if (request->op != CKV_OP_NOP)
			request->result = error;
		request->lost = 1;
	}
}

/* Take all completions that have come. -EPROTO: one of them makes no sense. */
static int progress(struct ckv_lane *lane)
{
	struct lib_request *request;
	struct ckv_comp comp;
	struct ckv_msg msg;
	uint32_t no, before = lane->rx.pos;
	int r = 0;

	while (lane->n_open > 0 && (r = ckv_ring_take(&lane->rx, &msg)) == 0) {
		memcpy(&comp, &msg, sizeof comp);
		no = (uint32_t)comp.tag;
		request = no < lane->shape.n_slots ? &lane->requests[no] : NULL;
		if (request == NULL || request->op == 0 || request->done ||
		    request->sent != comp.tag ||
		    (comp.result > 0 && (uint32_t)comp.result > request->n)) {
			r = -EPROTO;
			break;
		}
		finish(lane, request, comp.result);
	}
	if (lane->rx.pos != before)
		ckv_ring_credit(&lane->rx);
	if (r == -EPROTO)
		lib_requests_fail(lane, r);
	return r == -EAGAIN ? 0 : r;
}

/* Is what is waited for there? One request, or anything for ckv_poll(). */
static int arrived(const struct ckv_lane *lane,
		   const struct lib_request *request)
{
	return request != NULL ? request->done : lane->done_first != CKV_NONE;
}

static void sleep_once(struct ckv_lane *lane,
		       const struct lib_request *request, int64_t most_ns)
{
	uint32_t value = ckv_futex_load(&lane->d->futex);

	ckv_sleep_prepare(&lane->c->need_wake);
	progress(lane);
	if (!arrived(lane, request))
		lib_sys_futex_wait(&lane->d->futex, value, most_ns);
	ckv_sleep_done(&lane->c->need_wake);
	/* The eventfd may not have been written; once more does no harm. */
	if (!arrived(lane, request))
		kick(lane);
}

static int64_t clamp(int64_t ns)
{
	return ns < LIB_SPIN_MIN_NS ? LIB_SPIN_MIN_NS :
	       ns > LIB_SPIN_MAX_NS ? LIB_SPIN_MAX_NS : ns;
}

/*
 * Wait until the request is done (NULL: any that ckv_poll() returns). When the daemon
 * dies, or closes the lane, it is done, too. Looks at the ring again and again for about
 * twice the time that the last answer took, 5 to 100 us, then sleeps. -ETIMEDOUT after
 * timeout_ns, unless that is negative.
 */
static int await(struct ckv_lane *lane, const struct lib_request *request,
		 int64_t timeout_ns)
{
	int64_t start = 0, now, left = SLEEP_MAX_NS;

	for (;;) {
		for (int i = 0; i < LOOKS; i++) {
			progress(lane);
			if (arrived(lane, request))
				goto out;
			ckv_pause();
		}
		now = lib_now_ns();
		start = start == 0 ? now : start;
		if (now - start < lane->spin_ns)
			continue;
		if (lib_lane_ready(lane) < 0 || arrived(lane, request))
			goto out;
		if (timeout_ns >= 0)
			left = timeout_ns - (now - start);
		if (left <= 0)
			return -ETIMEDOUT;
		sleep_once(lane, request,
			   left < SLEEP_MAX_NS ? left : SLEEP_MAX_NS - 1);
	}
out:
	if (start != 0) {
		now = lib_now_ns() - start;
		lane->spin_ns = now < LIB_SPIN_MAX_NS ? clamp(2 * now) :
							LIB_SPIN_MIN_NS;
	}
	return arrived(lane, request) ? 0 : -ESTALE;
}

/* Copy the answers of a done request and give its place back. */
long lib_request_collect(struct ckv_lane *lane, struct lib_request *request)
{
	long result = request->done ? request->result : 0;

	if (request->done)
		result = request->lost ? lib_answer_none(request) :
					 lib_answer(lane, request);
	if (!request->silent)
		give_back(lane, request);
	return result;
}

/* Wait for one request that was just sent, and collect it. */
long lib_request_wait(struct ckv_lane *lane, struct lib_request *request)
{
	int explains = request->op == CKV_OP_COMPRESS || request->op == CKV_OP_STAT;
	long r;

	request->waited = 1;
	await(lane, request, -1);
	/* A view's answer has words of its own, if it came. */
	explains = explains && request->done && !request->lost;
	r = lib_request_collect(lane, request);
	return r < 0 && !explains ? lib_plain(lane->ckv, (int)r) : r;
}

static int collect(struct ckv_lane *lane, struct ckv_event *ret_events, int max)
{
	int n = 0;

	while (n < max && lane->done_first != CKV_NONE) {
		struct lib_request *request = &lane->requests[lane->done_first];

		lane->done_first = request->next;
		if (lane->done_first == CKV_NONE)
			lane->done_last = CKV_NONE;
		ret_events[n].tag = request->tag;
		ret_events[n++].result = lib_request_collect(lane, request);
	}
	return n;
}

/*
 * ckv_event_fd() stays readable until this lane's event is taken. Its EVENT message may
 * still be in the socket, so read that first.
 */
static void take_events(struct ckv_lane *lane)
{
	if (!lane->armed)
		return;
	lib_lock(lane->ckv);
	lib_session_pump(lane->ckv);
	lib_event_taken(lane);
	lib_unlock(lane->ckv);
}

/* The oldest request with this tag that the caller has not collected. */
static struct lib_request *by_tag(struct ckv_lane *lane, uint64_t tag)
{
	struct lib_request *found = NULL;

	for (uint32_t i = 0; i < lane->shape.n_slots; i++) {
		struct lib_request *request = &lane->requests[i];

		if (request->op == 0 || request->sent == 0 || request->waited ||
		    request->silent || request->tag != tag)
			continue;
		if (found == NULL || request->sent < found->sent)
			found = request;
	}
	return found;
}

int ckv_cancel(struct ckv_lane *lane, uint64_t tag)
{
	LIB_INSIDE(lane);
	struct lib_request *request, *which;
	struct ckv_cancel_arg arg;
	int r;

	r = lib_forked(lane->mine) ? -ECHILD : lib_lane_ready(lane);
	if (r == 0)
		r = progress(lane);
	if (r < 0)
		return lib_plain(lane->ckv, r);
	which = by_tag(lane, tag);
	if (which == NULL)
		return lib_why(lane->ckv, -ENOENT, "no request with the tag %llu is "
			       "outstanding", (unsigned long long)tag);
	if (which->done)
		return lib_why(lane->ckv, -EALREADY, "the request with the tag %llu "
			       "has ended; collect its event",
			       (unsigned long long)tag);
	request = lib_request_new(lane, CKV_OP_CANCEL, sizeof arg, &r);
	if (request == NULL)
		return r;
	arg.tag = which->sent;
	memcpy(lib_request_args(lane, request), &arg, sizeof arg);
	request->silent = 1;
	r = lib_request_send(lane, request, sizeof arg, 0, 0);
	lane->n_silent += r == 0;
	return r;
}

int ckv_poll(struct ckv_lane *lane, struct ckv_event *ret_events, int max)
{
	LIB_INSIDE(lane);
	int r;

	if (lib_forked(lane->mine))
		return lib_plain(lane->ckv, -ECHILD);
	take_events(lane);
	r = lib_lane_ready(lane);
	if (r == 0)
		r = progress(lane);
	max = collect(lane, ret_events, max);
	return max > 0 || r == 0 ? max : lib_plain(lane->ckv, r);
}

int ckv_wait(struct ckv_lane *lane, int64_t timeout_ns,
	     struct ckv_event *ret_events, int max)
{
	LIB_INSIDE(lane);
	int r;

	if (lib_forked(lane->mine))
		return lib_plain(lane->ckv, -ECHILD);
	if (lane->n_open == lane->n_silent && lane->done_first == CKV_NONE)
		return 0;
	take_events(lane);
	r = await(lane, NULL, timeout_ns);
	max = collect(lane, ret_events, max);
	return max > 0 || r == 0 ? max : lib_plain(lane->ckv, r);
}
