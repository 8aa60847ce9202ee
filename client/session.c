/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - requests on the control socket, one pending at a time.
 *
 * A request is sent without waiting. Either a thread that has ckv->turn waits for its
 * reply (lib_session_finish()), or some later call reads what has come, whatever it is
 * (lib_session_pump()). So a lookup can attach again without ever waiting.
 *
 * If the waiting thread gives up, the request stays pending. Replies come in order, so the
 * late one is known when it comes, and what it opened is closed again. The session ends
 * only when the socket is broken or brings what makes no sense; then each lane attaches
 * again by itself (reattach.c).
 */
#include "client/lib.h"

#include <errno.h>

enum {
	LOOK_MS = 20,		/* then look again: another thread may have read the reply */
	BYES_MAX = 64,		/* under way at once: the socket has room for their answers */
};

int64_t lib_call_timeout_ns = LIB_CALL_TIMEOUT_NS;

/* The pending request is over. Its waiter is told, or lanes that look in. */
void lib_call_end(struct ckv *ckv, int error, const char *text)
{
	struct lib_call *call = &ckv->call;

	if (call->wait != NULL) {
		call->wait->done = 1;
		call->wait->error = error;
		strncpy(call->wait->text, text, sizeof call->wait->text - 1);
	} else if (error < 0 && call->pending != LIB_DONE) {
		ckv->next_try_ns = lib_now_ns() + lib_reattach_ns;
		ckv->n_refusals++;
		strncpy(ckv->refusal, text, sizeof ckv->refusal - 1);
	}
	lib_maps_put(call->maps);
	lib_sys_free(call->bye);
	*call = (struct lib_call){ .pending = LIB_IDLE };
}

/* Send a request; nothing else is pending, but byes. On failure nothing was sent. */
static int start(struct ckv *ckv, void *msg, size_t bytes, uint16_t type, int fd,
		 struct lib_call call)
{
	int r;

	if (ckv->sock < 0)
		return -ESTALE;
	r = lib_control_send(ckv->sock, msg, bytes, type, fd);
	/* The daemon closed the socket; what it sent before, perhaps why, can still be read. */
	if (r < 0 && r != -EPIPE && r != -ECONNRESET)
		return r == -EAGAIN ? -ETIMEDOUT : r;
	ckv->call = call;
	return 0;
}

static int send_hello(struct ckv *ckv, struct lib_wait *wait)
{
	struct ckv_hello msg = { .layout_version = CKV_LAYOUT_VERSION,
				 .pid = (uint32_t)lib_sys_pid() };
	struct lib_call call = { .pending = LIB_HELLO, .wait = wait };
	int fd, r;

	memcpy(msg.name, ckv->program, sizeof msg.name);
	/* Before Linux 6.5 the daemon needs this pidfd to learn when this process dies. */
	fd = lib_sys_own_pidfd();
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
		return fd;
	r = start(ckv, &msg, sizeof msg, CKV_HELLO, fd < 0 ? -1 : fd, call);
	/* The daemon refuses descriptors now; then its kernel gives it the pidfd. */
	if (r == -EPERM)
		r = start(ckv, &msg, sizeof msg, CKV_HELLO, -1, call);
	lib_sys_close(fd);
	return r;
}

/* Connect and greet, without waiting for the answer. -EAGAIN: others are before us. */
int lib_session_connect(struct ckv *ckv, struct lib_wait *wait)
{
	int sock, r;

	r = lib_control_connect(ckv->path, &sock);
	if (r < 0)
		return r;
	r = lib_sys_epoll_add(ckv->event_fd, sock);
	if (r < 0) {
		lib_sys_close(sock);
		return r;
	}
	ckv->sock = sock;
	ckv->n_connections++;
	r = send_hello(ckv, wait);
	if (r < 0)
		lib_session_drop(ckv, r);
	return r;
}

/* Put `bye` behind the last of a list. */
static void append(struct lib_bye **list, struct lib_bye *bye)
{
	while (*list != NULL)
		list = &(*list)->next;
	*list = bye;
}

/*
 * The session ended: lanes still have to be closed, over the next session. That is also
 * so if LANE_CLOSE was sent and not answered: the daemon may have ended before it came to
 * it, and the next one takes over the lane with its pins.
 */
static void keep_lane_byes(struct ckv *ckv)
{
	struct lib_bye **at, *bye;

	append(&ckv->call.sent, ckv->byes);
	ckv->byes = ckv->call.sent;
	ckv->call.sent = NULL;
	at = &ckv->byes;
	while ((bye = *at) != NULL) {
		if (bye->type == CKV_LANE_CLOSE) {
			at = &bye->next;
			continue;
		}
		*at = bye->next;
		lib_sys_free(bye);
	}
}

/* End the session; what was pending ends with `error`. */
void lib_session_drop(struct ckv *ckv, int error)
{
	if (ckv->sock >= 0) {
		lib_sys_epoll_remove(ckv->event_fd, ckv->sock);
		lib_sys_close(ckv->sock);
	}
	ckv->sock = -1;
	ckv->quiet = 0;
	lib_link_put(ckv->link);
	ckv->link = NULL;
	keep_lane_byes(ckv);
	if (ckv->call.pending != LIB_IDLE)
		lib_call_end(ckv, error, "");
	lib_event_all(ckv);
}

/* Take one packet. -EAGAIN: none. On any other failure the session has ended. */
static int step(struct ckv *ckv)
{
	struct lib_packet packet;
	int r;

	if (ckv->sock < 0)
		return -ESTALE;
	if (ckv->link != NULL &&
	    !ckv_world_alive(ckv->link->world, ckv->link->epoch)) {
		lib_session_drop(ckv, -ESTALE);
		return -ESTALE;
	}
	r = lib_control_receive(ckv->sock, &packet);
	if (r == -EAGAIN)
		return r;
	if (r == 0) {
		r = lib_reply(ckv, &packet);
		lib_packet_close(&packet);
	}
	if (r < 0)
		lib_session_drop(ckv, r == -ECONNRESET ? -ESTALE : r);
	return r;
}

int lib_bye_new(struct ckv *ckv, uint16_t type, struct lib_bye **ret_bye)
{
	struct lib_bye *bye = lib_sys_alloc(1, sizeof *bye);

	if (bye == NULL)
		return -ENOMEM;
	bye->epoch = ckv->link != NULL ? ckv->link->epoch : 0;
	bye->type = type;
	*ret_bye = bye;
	return 0;
}

static int send_bye(struct ckv *ckv, const struct lib_bye *bye)
{
	struct ckv_lane_close close = { .serial = bye->id };
	struct ckv_control_id detach = { .id = (uint32_t)bye->id };
	struct lib_call call = { .pending = LIB_DONE, .sent = ckv->call.sent,
				 .n_byes = ckv->call.n_byes + 1 };

	return bye->type == CKV_LANE_CLOSE ?
	       start(ckv, &close, sizeof close, bye->type, -1, call) :
	       start(ckv, &detach, sizeof detach, bye->type, -1, call);
}

/*
 * Send byes; nobody waits for one, so several may be under way. A DETACH is sent once: it
 * may have been acted on even if its reply never comes, and then its number may belong to
 * something else. The serial of a lane never does.
 */
static void send_byes(struct ckv *ckv)
{
	while (ckv->byes != NULL && ckv->link != NULL &&
	       (ckv->call.pending == LIB_IDLE ||
		ckv->call.pending == LIB_DONE) &&
	       ckv->call.n_byes < BYES_MAX) {
		struct lib_bye *bye = ckv->byes;
		int stale = bye->type == CKV_DETACH &&
			    bye->epoch != ckv->link->epoch;

		if (!stale && send_bye(ckv, bye) < 0)
			return;
		ckv->byes = bye->next;
		bye->next = NULL;
		if (stale) {
			lib_sys_free(bye);
			continue;
		}
		append(&ckv->call.sent, bye);
		lib_event_quiet(ckv);
	}
}

/* Give something up at the daemon now, or when the socket is free; takes *bye. */
void lib_session_bye(struct ckv *ckv, struct lib_bye **bye)
{
	if (*bye == NULL)
		return;
	(*bye)->next = NULL;
	append(&ckv->byes, *bye);
	*bye = NULL;
	send_byes(ckv);
}

/*
 * Take what has come, without waiting. 0: the session lives and nothing is pending;
 * -EAGAIN: something is; else there is no session.
 */
int lib_session_pump(struct ckv *ckv)
{
	int r;

	do
		r = step(ckv);
	while (r == 0);
	if (r != -EAGAIN)
		return r;
	send_byes(ckv);
	return ckv->call.pending == LIB_IDLE && ckv->byes == NULL ? 0 : -EAGAIN;
}

static void look_away(struct ckv *ckv)
{
	int sock = ckv->sock;

	lib_unlock(ckv);
	lib_sys_wait_readable(sock, LOOK_MS);
	lib_lock(ckv);
}

/* Wait until nothing is pending: as lib_session_pump(), or -ETIMEDOUT. */
int lib_session_idle(struct ckv *ckv, int64_t deadline_ns)
{
	int r;

	while ((r = lib_session_pump(ckv)) == -EAGAIN) {
		if (lib_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		look_away(ckv);
	}
	return r;
}

/* Wait for the end of a request; how it ended. */
int lib_session_finish(struct ckv *ckv, struct lib_wait *wait,
		       int64_t deadline_ns)
{
	while (!wait->done) {
		lib_session_pump(ckv);
		if (wait->done)
			break;
		if (lib_now_ns() >= deadline_ns) {
			ckv->call.wait = NULL;
			ckv->call.space = NULL;
			ckv->call.lane = NULL;
			return -ETIMEDOUT;
		}
		look_away(ckv);
	}
	return wait->error;
}

/* A space or a lane is about to go; a reply for it will find nobody. */
void lib_session_forget(struct ckv *ckv, const struct ckv_space *space,
			const struct ckv_lane *lane)
{
	struct lib_call *call = &ckv->call;

	if (space != NULL && call->space == space)
		call->space = NULL;
	if (lane != NULL && call->lane == lane)
		call->lane = NULL;
}

/* Ask for a space; `want` says what of space->geometry must be equal. */
int lib_session_attach(struct ckv_space *space, enum ckv_want want,
		       struct lib_wait *wait)
{
	struct ckv_attach msg = { .access = space->access,
				  .any_geometry = want };
	struct lib_call call = { .pending = LIB_ATTACH, .space = space,
				 .wait = wait };
	struct ckv *ckv = space->ckv;
	int r = lib_bye_new(ckv, CKV_DETACH, &call.bye);

	if (r < 0)
		return r;
	memcpy(msg.space, space->name, sizeof msg.space);
	if (want != CKV_WANT_ANY)
		msg.geometry = space->geometry;
	r = start(ckv, &msg, sizeof msg, CKV_ATTACH, -1, call);
	if (r < 0)
		lib_sys_free(call.bye);
	return r;
}

/* Ask for a lane of the shape it wants; it appears in lane->fresh. */
int lib_session_lane(struct ckv_lane *lane, struct lib_wait *wait)
{
	struct ckv_lane_open msg = { .space_id = lane->space->maps->space_id,
				     .shape = lane->shape };
	struct lib_call call = { .pending = LIB_LANE, .lane = lane,
				 .wait = wait };
	int r = lib_bye_new(lane->ckv, CKV_LANE_CLOSE, &call.bye);

	if (r < 0)
		return r;
	r = start(lane->ckv, &msg, sizeof msg, CKV_LANE_OPEN, -1, call);
	if (r < 0)
		lib_sys_free(call.bye);
	return r;
}

void lib_byes_free(struct ckv *ckv)
{
	append(&ckv->byes, ckv->call.sent);
	ckv->call.sent = NULL;
	while (ckv->byes != NULL) {
		struct lib_bye *bye = ckv->byes;

		ckv->byes = bye->next;
		lib_sys_free(bye);
	}
}

/*
 * Nothing of this connection is used any more: the daemon is told, so that it
 * keeps nothing for this process, and the socket is closed. A daemon that does not
 * answer in time reads it when it can.
 */
void lib_session_end(struct ckv *ckv, int64_t deadline_ns)
{
	struct ckv_control_id msg = { .id = CKV_NONE };

	if (ckv->sock >= 0 && lib_session_idle(ckv, deadline_ns) == 0 &&
	    start(ckv, &msg, sizeof msg, CKV_DETACH, -1,
		  (struct lib_call){ .pending = LIB_DONE, .n_byes = 1 }) == 0)
		lib_session_idle(ckv, deadline_ns);
	else if (ckv->sock >= 0)
		(void)lib_control_send(ckv->sock, &msg, sizeof msg, CKV_DETACH,
				       -1);
	lib_session_drop(ckv, -ESTALE);
	lib_byes_free(ckv);
}
