/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply.c - what a packet of the daemon means.
 *
 * One request is pending at a time. Its reply, or REFUSED, ends it; EVENT and SLAB_WRITE
 * may come in between. A reply that cannot be used (no descriptors, no address space), or
 * whose caller has given up, ends the request, too, and what it opened is closed at the
 * daemon. A packet that does not fit is -EPROTO, and the caller ends the connection.
 */
#include "client/lib.h"

#include <errno.h>
#include <stdio.h>

static int map_world(const struct ckv_welcome *msg, int fd,
		     struct lib_link **ret_link)
{
	struct lib_link *link = lib_sys_alloc(1, sizeof *link);
	void *base;
	int r;

	if (link == NULL)
		return -ENOMEM;
	r = lib_map(fd, 0, CKV_WORLD_BYTES, 0, &base);
	if (r < 0)
		goto err_free;
	link->refs = 1;
	link->world = base;
	link->epoch = msg->epoch;
	if (link->world->magic != CKV_WORLD_MAGIC ||
	    link->world->layout_version != CKV_LAYOUT_VERSION) {
		r = -EPROTO;
		goto err_unmap;
	}
	*ret_link = link;
	return 0;

err_unmap:
	lib_sys_unmap(base, CKV_WORLD_BYTES);
err_free:
	lib_sys_free(link);
	return r;
}

/* Nothing hangs on the session yet, so whatever fails here ends it. */
static int on_welcome(struct ckv *ckv, const struct lib_packet *packet)
{
	char text[100];
	int r;

	if (packet->head.n_bytes != sizeof packet->welcome)
		return -EPROTO;
	if (packet->welcome.layout_version != CKV_LAYOUT_VERSION) {
		snprintf(text, sizeof text,
			 "the daemon has memory layout version %u, this library "
			 "version %u", packet->welcome.layout_version,
			 CKV_LAYOUT_VERSION);
		lib_call_end(ckv, -EPROTONOSUPPORT, text);
		return -EPROTONOSUPPORT;
	}
	if (packet->truncated)
		return -EMFILE;
	if (packet->n_fds != 2)
		return -EPROTO;
	r = map_world(&packet->welcome, packet->fds[0], &ckv->link);
	if (r == 0)
		lib_call_end(ckv, 0, "");
	return r;
}

/* Its slabs still come, whatever happens here. */
static int on_attached(struct ckv *ckv, const struct lib_packet *packet)
{
	struct lib_call *call = &ckv->call;
	int r = 0;

	if (packet->head.n_bytes != sizeof packet->attached ||
	    (!packet->truncated && packet->n_fds != 2) ||
	    !lib_attached_ok(&packet->attached))
		return -EPROTO;
	if (packet->truncated)
		r = -EMFILE;
	else if (call->space != NULL)
		r = lib_maps_new(ckv, &packet->attached, packet->fds,
				 call->space->maps != NULL ?
				 call->space->maps->pool : NULL, &call->maps);
	if (r == -EPROTO)
		return r;
	call->pending = LIB_SLABS;
	call->error = r;
	call->space_id = packet->attached.space_id;
	call->bye->id = call->space_id;
	call->n_slabs = packet->attached.pool.n_slabs;
	return 0;
}

/* All slabs are there: the space lives in its new maps from now on. */
static void adopt(struct ckv_space *space, struct lib_maps *maps)
{
	pthread_mutex_lock(&space->lock);
	/* Attached again its shape is the same, and lanes read that; it was compared. */
	if (space->maps == NULL)
		space->geometry = maps->geometry;
	else
		memcpy(space->geometry.weights, maps->geometry.weights,
		       sizeof space->geometry.weights);
	space->pool = maps->pool->shape;
	memcpy(space->secret, maps->secret, sizeof space->secret);
	pthread_mutex_unlock(&space->lock);
	lib_maps_put(space->maps);
	space->maps = maps;
}

static void attach_ends(struct ckv *ckv)
{
	struct lib_call *call = &ckv->call;
	int error = call->error;
	char text[200] = "";

	if (error == 0 && call->space != NULL) {
		call->maps->bye = call->bye;
		call->bye = NULL;
		adopt(call->space, call->maps);
		call->maps = NULL;
	} else {
		if (call->space != NULL)
			snprintf(text, sizeof text,
				 "space %s: its memory could not be mapped: %s",
				 call->space->name, ckv_strerror(error));
		lib_session_bye(ckv, &call->bye);
	}
	lib_call_end(ckv, error, text);
}

static int on_slabs(struct ckv *ckv, const struct lib_packet *packet)
{
	struct lib_call *call = &ckv->call;
	uint32_t n = packet->head.n_fds;

	if (packet->head.n_bytes != sizeof packet->slabs ||
	    packet->slabs.space_id != call->space_id || n == 0 ||
	    packet->slabs.first_slab != call->n_slabs_seen ||
	    n > call->n_slabs - call->n_slabs_seen)
		return -EPROTO;
	if (call->error == 0 && packet->truncated)
		call->error = -EMFILE;
	if (call->error == 0 && call->maps != NULL)
		call->error = lib_maps_add_slabs(call->maps,
						 call->n_slabs_seen, n,
						 packet->fds);
	call->n_slabs_seen += n;
	if (call->n_slabs_seen == call->n_slabs)
		attach_ends(ckv);
	return 0;
}

static int on_lane(struct ckv *ckv, struct lib_packet *packet)
{
	struct lib_call *call = &ckv->call;
	struct ckv_lane *lane = call->lane;
	char text[100] = "";
	int r = 0;

	if (packet->head.n_bytes != sizeof packet->lane ||
	    (!packet->truncated && packet->n_fds != 3))
		return -EPROTO;
	call->bye->id = packet->lane.serial;
	if (packet->truncated) {
		r = -EMFILE;
	} else if (lane != NULL) {
		lib_segments_leave(&lane->fresh);
		r = lib_segments_map(lane->space->maps, &packet->lane,
				     packet->fds, &lane->fresh);
	}
	if (r == -EPROTO)
		return r;
	if (r == 0 && lane != NULL) {
		packet->fds[2] = -1;	/* the kick descriptor stays open */
		lane->fresh.bye = call->bye;
		call->bye = NULL;
	} else {
		if (r < 0)
			snprintf(text, sizeof text, "the lane could not be "
				 "mapped: %s", ckv_strerror(r));
		lib_session_bye(ckv, &call->bye);
	}
	lib_call_end(ckv, r, text);
	return 0;
}

/* If it cannot be mapped it is asked for again when a page in it is lent. */
static int on_slab_write(struct ckv *ckv, const struct lib_packet *packet)
{
	uint32_t slab = packet->slabs.first_slab;
	struct ckv_space *space = ckv->spaces;

	if (packet->head.n_bytes != sizeof packet->slabs ||
	    (!packet->truncated && packet->n_fds != 1))
		return -EPROTO;
	for (; space != NULL; space = space->next)
		if (space->maps != NULL && space->maps->link == ckv->link &&
		    space->maps->space_id == packet->slabs.space_id)
			break;
	if (space == NULL)
		return 0;	/* detached while this was under way */
	if (slab >= space->maps->pool->shape.n_slabs)
		return -EPROTO;
	space->maps->told[slab] = 1;
	return lib_pool_add_write(space->maps->pool, slab,
				  packet->n_fds == 1 ? packet->fds[0] : -1);
}

/* DONE of a bye, or a refusal of it: the daemon holds nothing of it any more. */
static void on_done(struct ckv *ckv)
{
	struct lib_bye *bye = ckv->call.sent;

	if (bye != NULL) {
		ckv->call.sent = bye->next;
		lib_sys_free(bye);
	}
	if (--ckv->call.n_byes > 0)
		return;
	lib_event_loud(ckv);
	lib_call_end(ckv, 0, "");
}

static int on_refused(struct ckv *ckv, const struct lib_packet *packet)
{
	const struct ckv_refused *msg = &packet->refused;
	char text[sizeof msg->text + 1];

	if (packet->head.n_bytes != sizeof *msg ||
	    ckv->call.pending == LIB_IDLE || ckv->call.pending == LIB_SLABS ||
	    msg->error == 0 || msg->error > 4095)
		return -EPROTO;
	if (ckv->call.pending == LIB_DONE) {
		on_done(ckv);
		return 0;
	}
	snprintf(text, sizeof text, "%.*s", (int)sizeof msg->text, msg->text);
	lib_call_end(ckv, -(int)msg->error, text);
	return 0;
}

static int on_reply(struct ckv *ckv, struct lib_packet *packet)
{
	static const uint16_t expected[] = {
		[LIB_HELLO] = CKV_WELCOME, [LIB_ATTACH] = CKV_ATTACHED,
		[LIB_SLABS] = CKV_SLABS, [LIB_LANE] = CKV_LANE_OPENED,
		[LIB_DONE] = CKV_DONE,
	};

	if (ckv->call.pending == LIB_IDLE ||
	    packet->head.type != expected[ckv->call.pending])
		return -EPROTO;
	switch (ckv->call.pending) {
	case LIB_HELLO:
		return on_welcome(ckv, packet);
	case LIB_ATTACH:
		return on_attached(ckv, packet);
	case LIB_SLABS:
		return on_slabs(ckv, packet);
	case LIB_LANE:
		return on_lane(ckv, packet);
	default:
		on_done(ckv);
		return 0;
	}
}

/* Act on one packet. Any error: this connection is of no more use. */
int lib_reply(struct ckv *ckv, struct lib_packet *packet)
{
	switch (packet->head.type) {
	case CKV_EVENT:
		if (packet->head.n_bytes != sizeof packet->id)
			return -EPROTO;
		lib_event_came(ckv, packet->id.id);
		return 0;
	case CKV_SLAB_WRITE:
		return on_slab_write(ckv, packet);
	case CKV_REFUSED:
		return on_refused(ckv, packet);
	default:
		return on_reply(ckv, packet);
	}
}
