/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - the descriptor that becomes readable.
 *
 * It is an epoll set of two descriptors: the control socket, over which the daemon says on
 * which lane something completed (EVENT), and an eventfd. A thread that reads the socket
 * may find EVENTs of other lanes there. It marks those lanes, and the eventfd is readable
 * while a lane is marked that has not been polled since.
 *
 * Answers to byes are read by whichever call reads the socket next. That may be long after,
 * so while they are due and no lane asks for an event the socket is quiet: what comes over
 * it does not make the descriptor readable.
 */
#include "client/lib.h"

#include <errno.h>

static void mark(struct ckv_lane *lane)
{
	if (!lane->armed || lane->ready)
		return;
	lane->ready = 1;
	if (lane->ckv->n_ready++ == 0)
		lib_sys_eventfd_add(lane->ckv->ready_fd);
}

void lib_event_came(struct ckv *ckv, uint32_t lane_id)
{
	struct ckv_space *space;
	struct ckv_lane *lane;

	for (space = ckv->spaces; space != NULL; space = space->next)
		for (lane = space->lanes; lane != NULL; lane = lane->next)
			if (lane->seg.maps != NULL && lane->seg.id == lane_id &&
			    lane->seg.maps->link == ckv->link)
				mark(lane);
}

/* The session has ended: every lane has an answer to collect, and it is -ESTALE. */
void lib_event_all(struct ckv *ckv)
{
	struct ckv_space *space;
	struct ckv_lane *lane;

	for (space = ckv->spaces; space != NULL; space = space->next)
		for (lane = space->lanes; lane != NULL; lane = lane->next)
			mark(lane);
}

void lib_event_taken(struct ckv_lane *lane)
{
	if (!lane->ready)
		return;
	lane->ready = lane->armed = 0;
	if (--lane->ckv->n_ready == 0)
		lib_sys_eventfd_clear(lane->ckv->ready_fd);
}

static int any_armed(const struct ckv *ckv)
{
	const struct ckv_space *space;
	const struct ckv_lane *lane;

	for (space = ckv->spaces; space != NULL; space = space->next)
		for (lane = space->lanes; lane != NULL; lane = lane->next)
			if (lane->armed)
				return 1;
	return 0;
}

/* A bye was sent. */
void lib_event_quiet(struct ckv *ckv)
{
	if (ckv->quiet || any_armed(ckv))
		return;
	ckv->quiet = 1;
	lib_sys_epoll_change(ckv->event_fd, ckv->sock, 0);
}

/* All of them are answered, or a lane asks for an event. */
void lib_event_loud(struct ckv *ckv)
{
	if (!ckv->quiet)
		return;
	ckv->quiet = 0;
	lib_sys_epoll_change(ckv->event_fd, ckv->sock, 1);
}

int ckv_event_fd(const struct ckv *ckv)
{
	return lib_forked(ckv->mine) ? lib_plain(ckv, -ECHILD) : ckv->event_fd;
}

int ckv_event_arm(struct ckv_lane *lane)
{
	LIB_INSIDE(lane);
	int r = lib_forked(lane->mine) ? -ECHILD : lib_lane_ready(lane);

	if (r < 0)
		return lib_plain(lane->ckv, r);
	lib_lock(lane->ckv);
	ckv_event_raise(&lane->c->event_arm);
	lane->armed = 1;
	lib_event_loud(lane->ckv);
	/* Its connection is over, though its daemon has not shut it yet: nobody will tell. */
	if (lane->maps->link != lane->ckv->link)
		mark(lane);
	lib_unlock(lane->ckv);
	return 0;
}
