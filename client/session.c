/*
 * session.c - requests on the control socket, one pending at a time.
 *
 * A request is sent without waiting; its reply is then either waited for
 * (lib_session_finish) or picked up by later calls (lib_session_pump), which is
 * how a lookup can reattach and never block. Whatever goes wrong with the
 * socket ends the session: it is closed and the pending request has failed.
 */
#include "client/lib.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

static int send_pending(struct ckv *ckv, void *msg, size_t bytes, uint16_t type,
			int fd, enum lib_pending pending)
{
	int r;

	if (ckv->sock < 0)
		return -ESTALE;
	ckv->pending_text[0] = 0;
	r = lib_control_send(ckv->sock, msg, bytes, type, fd);
	if (r < 0) {
		lib_session_drop(ckv, -ESTALE);
		return -ESTALE;
	}
	ckv->pending = pending;
	return 0;
}

static int send_hello(struct ckv *ckv)
{
	struct ckv_hello msg = { .layout_version = CKV_LAYOUT_VERSION,
				 .pid = (uint32_t)getpid() };
	int fd, r;

	memcpy(msg.name, ckv->program, sizeof msg.name);
	/* By this the daemon learns of our death; -1 where the kernel has none. */
	fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	r = send_pending(ckv, &msg, sizeof msg, CKV_HELLO, fd, LIB_HELLO);
	if (fd >= 0)
		close(fd);
	return r;
}

/* Connect and greet, without waiting for the answer. */
int lib_session_connect(struct ckv *ckv)
{
	struct epoll_event event = { .events = EPOLLIN };
	int sock, r;

	r = lib_control_connect(ckv->path, &sock);
	if (r < 0)
		return r;
	if (epoll_ctl(ckv->event_fd, EPOLL_CTL_ADD, sock, &event) < 0) {
		r = -errno;
		close(sock);
		return r;
	}
	ckv->sock = sock;
	return send_hello(ckv);
}

/* End the session; what was pending ends with `error`. */
void lib_session_drop(struct ckv *ckv, int error)
{
	if (ckv->sock >= 0)
		close(ckv->sock);
	ckv->sock = -1;
	lib_link_put(ckv->link);
	ckv->link = NULL;
	lib_maps_put(ckv->pending_maps);
	ckv->pending_maps = NULL;
	ckv->pending_lane = NULL;
	ckv->pending_space = NULL;
	if (ckv->pending != LIB_IDLE)
		ckv->pending_error = error;
	ckv->pending = LIB_IDLE;
}

/* Take one packet. -EAGAIN: none. On any other failure the session has ended. */
static int step(struct ckv *ckv, int wait_ms)
{
	struct lib_packet packet;
	int r;

	if (ckv->sock < 0)
		return -ESTALE;
	r = lib_control_receive(ckv->sock, wait_ms, &packet);
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

/* Take what has come, without waiting. -EAGAIN: a request is still pending. */
int lib_session_pump(struct ckv *ckv)
{
	int r;

	do
		r = step(ckv, 0);
	while (r == 0);
	if (r != -EAGAIN)
		return r;
	return ckv->pending == LIB_IDLE ? 0 : -EAGAIN;
}

/* Wait until nothing is pending; how it ended. */
int lib_session_finish(struct ckv *ckv)
{
	int r;

	while (ckv->pending != LIB_IDLE) {
		r = step(ckv, LIB_CALL_TIMEOUT_MS);
		if (r == -EAGAIN)
			lib_session_drop(ckv, -ETIMEDOUT);
	}
	return ckv->pending_error;
}

/* Ask for a space; `want` says what of space->geometry must be equal. */
int lib_session_attach(struct ckv_space *space, enum ckv_want want)
{
	struct ckv_attach msg = { .access = space->access,
				  .any_geometry = want };
	struct ckv *ckv = space->ckv;

	memcpy(msg.space, space->name, sizeof msg.space);
	if (want != CKV_WANT_ANY)
		msg.geometry = space->geometry;
	ckv->pending_space = space;
	return send_pending(ckv, &msg, sizeof msg, CKV_ATTACH, -1, LIB_ATTACH);
}

/* Ask for a lane of the shape it wants; it appears in lane->fresh. */
int lib_session_lane(struct ckv_lane *lane)
{
	struct ckv_lane_open msg = { .space_id = lane->space->maps->space_id,
				     .shape = lane->shape };

	lane->ckv->pending_lane = lane;
	return send_pending(lane->ckv, &msg, sizeof msg, CKV_LANE_OPEN, -1,
			    LIB_LANE);
}

/* LANE_CLOSE or DETACH. */
int lib_session_id(struct ckv *ckv, uint16_t type, uint32_t id)
{
	struct ckv_control_id msg = { .id = id };

	return send_pending(ckv, &msg, sizeof msg, type, -1, LIB_DONE);
}
