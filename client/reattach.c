/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reattach.c - finding the daemon again after it died, or after the connection to
 * it broke.
 *
 * Every call that uses a lane comes here first if the lane's daemon is gone. Each call
 * goes as far as it can without waiting: connect, be welcomed, attach the space, open the
 * lane; later calls read the replies. So a thread that looks up again and again is
 * attached as soon as the daemon has answered three times. A call that waits for the
 * daemon anyway waits for these answers, too (lib_lane_await()).
 *
 * The pause between two tries to connect grows with the time since the daemon was lost,
 * from 1 ms to 100 ms, until a lane is attached again. The other steps are tried at most
 * once in 100 ms on one connection, and after a refusal nothing is tried for 100 ms; a
 * lane that was refused lets the others go first. A daemon that refuses us (another
 * version, another geometry) leaves us where we are, and ckv_why() tells.
 */
#include "client/lib.h"

#include <errno.h>

enum {
	PAUSE_MIN_NS = 1000000,
	PAUSE_SHARE = 256,		/* a pause is this part of the time since then */
	AWAIT_NS = 100000000,		/* for answers of a daemon that is there */
	LOOK_MS = 5,
	POPULATE_NS = 1000000,		/* the first lookups find the rest of the index */
};

int64_t lib_reattach_ns = LIB_REATTACH_NS;

/* May this be tried now? Then not again for a while on this connection. */
static int may_try(struct ckv *ckv, struct lib_try *t, int64_t pause_ns)
{
	int64_t now = lib_now_ns();

	if (now < ckv->next_try_ns ||
	    (t->connection == ckv->n_connections && now < t->next_ns))
		return 0;
	*t = (struct lib_try){ now + pause_ns, ckv->n_connections };
	return 1;
}

/* The request could not be sent, for an error on this side. */
static void not_asked(struct ckv *ckv, int error, int64_t pause_ns)
{
	ckv->next_try_ns = lib_now_ns() + pause_ns;
	lib_why(ckv, -ESTALE, "%s: %s", ckv->path, ckv_strerror(error));
}

static int64_t connect_pause(struct ckv *ckv)
{
	int64_t now = lib_now_ns(), pause;

	if (ckv->lost_ns == 0)
		ckv->lost_ns = now;
	pause = (now - ckv->lost_ns) / PAUSE_SHARE;
	if (pause < PAUSE_MIN_NS)
		pause = PAUSE_MIN_NS;
	return pause < lib_reattach_ns ? pause : lib_reattach_ns;
}

/* 0: there is a session, and nothing is pending on it. */
static int refresh_session(struct ckv *ckv)
{
	int64_t now, pause;
	int r = lib_session_pump(ckv);

	if (r == 0 || r == -EAGAIN)
		return r;
	now = lib_now_ns();
	if (now < ckv->next_try_ns ||
	    (ckv->lost_ns != 0 && now < ckv->next_connect_ns))
		return -ESTALE;
	pause = connect_pause(ckv);
	ckv->next_connect_ns = now + pause;
	r = lib_session_connect(ckv, NULL);
	if (r < 0) {
		not_asked(ckv, r, pause);
		return r;
	}
	return lib_session_pump(ckv);
}

static int refresh_space(struct ckv_space *space)
{
	struct ckv *ckv = space->ckv;
	int r;

	if (space->maps->link == ckv->link)
		return 0;
	if (!may_try(ckv, &space->try, lib_reattach_ns))
		return -ESTALE;
	r = lib_session_attach(space, space->again, NULL);
	if (r < 0)
		not_asked(ckv, r, lib_reattach_ns);
	if (r == 0)
		r = lib_session_pump(ckv);
	return r == 0 && space->maps->link == ckv->link ? 0 : -ESTALE;
}

static int refresh_lane(struct ckv_lane *lane)
{
	struct ckv *ckv = lane->ckv;
	int r;

	if (lane->fresh.maps != NULL && lane->fresh.maps != lane->space->maps)
		lib_segments_leave(&lane->fresh);
	if (lane->fresh.maps == NULL) {
		if (!may_try(ckv, &lane->try,
			     lib_reattach_ns * (1 + (int64_t)ckv->n_lanes)))
			return -ESTALE;
		r = lib_session_lane(lane, NULL);
		if (r < 0)
			not_asked(ckv, r, lib_reattach_ns);
		if (r == 0)
			r = lib_session_pump(ckv);
	}
	if (lane->fresh.maps == NULL)
		return -ESTALE;
	r = lib_lane_move(lane);
	if (r == -EPROTO)	/* not what was asked for */
		lib_segments_leave(&lane->fresh);
	return r;
}

static int refresh(struct ckv_lane *lane)
{
	struct ckv *ckv = lane->ckv;
	int r = refresh_session(ckv);

	/* The daemon serves the lane no more, so it has ended the session, too. */
	if (r == 0 && lane->maps->link == ckv->link &&
	    ckv_lane_state(lane->d) == ESHUTDOWN) {
		lib_session_drop(ckv, -ESTALE);
		r = -ESTALE;
	}
	if (r == 0)
		r = refresh_space(lane->space);
	if (r == 0)
		r = refresh_lane(lane);
	if (lane->refusals_seen != ckv->n_refusals) {
		lane->refusals_seen = ckv->n_refusals;
		lib_why(ckv, -ESTALE, "%s", ckv->refusal);
	}
	return r;
}

static void fail_once(struct ckv_lane *lane, int error)
{
	if (!lane->failed)
		lib_requests_fail(lane, error);
	lane->failed = 1;
}

int lib_lane_recover(struct ckv_lane *lane)
{
	struct ckv *ckv = lane->ckv;
	uint32_t state = ckv_lane_state(lane->d);
	int r;

	if (lib_lane_alive(lane) && state != 0 && state != ESHUTDOWN) {
		fail_once(lane, -EPROTO);
		return lib_why(ckv, -EPROTO, "the daemon closed this lane for what was "
			       "sent over it; its log says what. Close the lane and "
			       "open another");
	}
	fail_once(lane, -ESTALE);
	if (pthread_mutex_trylock(&ckv->lock) != 0)
		return -ESTALE;
	r = refresh(lane);
	if (r == 0)
		lib_maps_populate(lane->maps, POPULATE_NS);
	lib_unlock(ckv);
	return r == 0 && lib_lane_alive(lane) && ckv_lane_state(lane->d) == 0 ?
	       0 : -ESTALE;
}

/* The socket, if an answer to what this lane needs is due over it, else -1. */
static int awaited(struct ckv *ckv)
{
	int sock;

	lib_lock(ckv);
	sock = ckv->call.pending != LIB_IDLE ? ckv->sock : -1;
	lib_unlock(ckv);
	return sock;
}

void lib_lane_await(struct ckv_lane *lane)
{
	int64_t deadline = lib_now_ns() + AWAIT_NS;
	int sock;

	while (lib_lane_recover(lane) == -ESTALE && lib_now_ns() < deadline) {
		sock = awaited(lane->ckv);
		if (sock < 0)
			return;
		lib_sys_wait_readable(sock, LOOK_MS);
	}
}

/*
 * See that a space is attached to the living daemon and nothing is pending,
 * waiting for it. ckv->turn and ckv->lock are held.
 */
int lib_refresh_wait(struct ckv_space *space, int64_t deadline_ns)
{
	struct ckv *ckv = space->ckv;

	for (;;) {
		struct lib_wait wait = { .done = 0 };
		int r = lib_conn_ready(ckv, deadline_ns);

		if (r < 0)
			return lib_gone(r);
		if (space->maps->link == ckv->link)
			return 0;
		r = lib_session_attach(space, space->again, &wait);
		if (r == 0)
			r = lib_session_finish(ckv, &wait, deadline_ns);
		if (r < 0)
			return lib_refused(ckv, &wait, r);
		lib_maps_populate(space->maps, POPULATE_NS);
	}
}
