/*
 * reattach.c - finding the daemon again after it died.
 *
 * Called by whatever finds its daemon dead, such as every lookup. Each call goes
 * as far as it can without waiting: connect, be welcomed, attach the space, open
 * the lane; replies are picked up by later calls. A try that failed is followed
 * by a pause of 100 ms. A daemon that refuses us (another version, another
 * geometry) leaves us where we are, and ckv_why() tells.
 */
#include "client/lib.h"

#include <errno.h>

static int link_alive(const struct ckv *ckv)
{
	return ckv->link != NULL &&
	       ckv_world_alive(ckv->link->world, ckv->link->epoch);
}

static int may_try(int64_t *last_try_ns)
{
	int64_t now = lib_now_ns();

	if (*last_try_ns != 0 && now - *last_try_ns < LIB_REATTACH_NS)
		return 0;
	*last_try_ns = now;
	return 1;
}

/* Take what has come; a refusal among it is for this thread to be told of. */
static int pump(struct ckv *ckv)
{
	int r = lib_session_pump(ckv);

	if (ckv->pending == LIB_IDLE && ckv->pending_text[0] != 0) {
		lib_why(ckv, -ESTALE, "%s", ckv->pending_text);
		ckv->pending_text[0] = 0;
	}
	return r;
}

/* -ESTALE until there is a living session. */
static int refresh_session(struct ckv *ckv)
{
	int r;

	if (ckv->link != NULL && !link_alive(ckv))
		lib_session_drop(ckv, -ESTALE);
	if (ckv->sock < 0) {
		if (!may_try(&ckv->last_try_ns))
			return -ESTALE;
		r = lib_session_connect(ckv);
		if (r < 0)
			return lib_why(ckv, -ESTALE, "%s: %s", ckv->path,
				       ckv_strerror(r));
	}
	r = pump(ckv);
	if (r == -EAGAIN)
		return -ESTALE;
	if (r == 0 && link_alive(ckv))
		return 0;
	lib_session_drop(ckv, -ESTALE);
	return -ESTALE;
}

static int refresh_space(struct ckv_space *space)
{
	struct ckv *ckv = space->ckv;
	int r;

	if (space->maps->link == ckv->link)
		return 0;
	if (!may_try(&space->last_try_ns))
		return -ESTALE;
	r = lib_session_attach(space, space->again);
	if (r == 0)
		r = pump(ckv);
	return r == 0 && space->maps->link == ckv->link ? 0 : -ESTALE;
}

static int refresh_lane(struct ckv_lane *lane)
{
	struct ckv *ckv = lane->ckv;

	if (lane->fresh.maps != NULL && lane->fresh.maps != lane->space->maps)
		lib_segments_unmap(&lane->fresh);
	if (lane->fresh.maps == NULL) {
		if (lib_session_lane(lane) < 0 || pump(ckv) < 0)
			return -ESTALE;
	}
	if (lane->fresh.maps == NULL)
		return -ESTALE;
	return lib_lane_move(lane) < 0 ? -ESTALE : 0;
}

static int refresh(struct ckv_lane *lane)
{
	int r = refresh_session(lane->ckv);

	if (r == 0)
		r = refresh_space(lane->space);
	if (r == 0)
		r = refresh_lane(lane);
	return r;
}

/*
 * Bring a lane whose daemon is dead to the one that lives now. 0 when it is
 * there, -ESTALE while it is not. Never waits.
 */
int lib_refresh(struct ckv_lane *lane)
{
	struct ckv *ckv = lane->ckv;
	int r;

	if (pthread_mutex_trylock(&ckv->lock) != 0)
		return -ESTALE;
	r = refresh(lane);
	pthread_mutex_unlock(&ckv->lock);
	return r == 0 && lib_lane_alive(lane) ? 0 : -ESTALE;
}

/* See that a space is attached to the living daemon, waiting for it. ckv->lock is held. */
int lib_refresh_wait(struct ckv_space *space)
{
	struct ckv *ckv = space->ckv;
	int r = lib_conn_ready(ckv);

	if (r < 0 || space->maps->link == ckv->link)
		return r;
	r = lib_session_attach(space, space->again);
	if (r == 0)
		r = lib_session_finish(ckv);
	return r < 0 ? lib_refused(ckv, r) : 0;
}
