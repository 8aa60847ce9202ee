/*
 * reply.c - what a packet of the daemon means.
 *
 * One request is pending at a time. Its reply, or its refusal, ends it; an event
 * and a slab for writing may come in between. A packet that fits nothing is
 * -EPROTO, and the caller gives the connection up.
 */
#include "client/lib.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void end(struct ckv *ckv, int error)
{
	ckv->pending = LIB_IDLE;
	ckv->pending_error = error;
}

static int map_world(const struct ckv_welcome *msg, int fd,
		     struct lib_link **ret_link)
{
	struct lib_link *link = calloc(1, sizeof *link);
	void *base;
	int r;

	if (link == NULL)
		return -ENOMEM;
	r = lib_map(fd, CKV_WORLD_BYTES, 0, &base);
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
	lib_unmap(base, CKV_WORLD_BYTES);
err_free:
	free(link);
	return r;
}

static int on_welcome(struct ckv *ckv, const struct lib_packet *packet)
{
	if (packet->truncated)
		return -EMFILE;
	if (packet->head.n_bytes != sizeof packet->welcome ||
	    packet->n_fds != 2)
		return -EPROTO;
	if (packet->welcome.layout_version != CKV_LAYOUT_VERSION) {
		snprintf(ckv->pending_text, sizeof ckv->pending_text,
			 "the daemon's layout is version %u, the library's %u",
			 packet->welcome.layout_version, CKV_LAYOUT_VERSION);
		return -EPROTONOSUPPORT;
	}
	return map_world(&packet->welcome, packet->fds[0], &ckv->link);
}

static int on_attached(struct ckv *ckv, const struct lib_packet *packet)
{
	if (packet->truncated)
		return -EMFILE;
	if (packet->head.n_bytes != sizeof packet->attached ||
	    packet->n_fds != 2)
		return -EPROTO;
	return lib_maps_new(ckv, &packet->attached, packet->fds,
			    &ckv->pending_maps);
}

/* The pool has no room here: the daemon is told, then the attach has failed. */
static void unmappable(struct ckv *ckv, struct lib_maps *maps)
{
	ckv->undo_error = maps->error;
	if (lib_session_id(ckv, CKV_DETACH, maps->space_id) == 0)
		snprintf(ckv->pending_text, sizeof ckv->pending_text,
			 "space %s: its pool could not be mapped",
			 ckv->pending_space->name);
	lib_maps_put(maps);
}

/* All slabs are there: the space lives in its new maps from now on. */
static void adopt(struct ckv *ckv)
{
	struct lib_maps *maps = ckv->pending_maps;
	struct ckv_space *space = ckv->pending_space;

	ckv->pending_maps = NULL;
	if (maps->error != 0) {
		unmappable(ckv, maps);
		return;
	}
	lib_maps_put(space->maps);
	space->maps = maps;
	pthread_mutex_lock(&space->lock);
	space->geometry = maps->geometry;
	space->pool = maps->pool;
	memcpy(space->secret, maps->secret, sizeof space->secret);
	pthread_mutex_unlock(&space->lock);
	end(ckv, 0);
}

static int on_slabs(struct ckv *ckv, const struct lib_packet *packet)
{
	struct lib_maps *maps = ckv->pending_maps;
	int r;

	if (packet->head.n_bytes != sizeof packet->slabs)
		return -EPROTO;
	r = lib_maps_add_slabs(maps, &packet->slabs,
			       packet->truncated ? NULL : packet->fds);
	if (r == 0 && maps->n_slabs_mapped == maps->pool.n_slabs)
		adopt(ckv);
	return r;
}

static int on_lane(struct ckv *ckv, struct lib_packet *packet)
{
	struct ckv_lane *lane = ckv->pending_lane;
	int r;

	if (packet->truncated)
		return -EMFILE;
	if (packet->head.n_bytes != sizeof packet->lane || packet->n_fds != 3)
		return -EPROTO;
	lib_segments_unmap(&lane->fresh);
	r = lib_segments_map(lane->space->maps, &packet->lane, packet->fds,
			     &lane->fresh);
	if (r == 0)
		packet->fds[2] = -1;	/* the kick descriptor stays open */
	return r;
}

static int on_slab_write(struct ckv *ckv, const struct lib_packet *packet)
{
	struct ckv_space *space = ckv->spaces;

	if (packet->head.n_bytes != sizeof packet->slabs)
		return -EPROTO;
	if (packet->n_fds != 1)
		return packet->truncated ? 0 : -EPROTO;
	for (; space != NULL; space = space->next)
		if (space->maps != NULL && space->maps->link == ckv->link &&
		    space->maps->space_id == packet->slabs.space_id)
			break;
	if (space == NULL)
		return 0;	/* detached while this was under way */
	/* Without room to map it, its lent pages are given back by answer.c. */
	return lib_maps_add_write(space->maps, packet->slabs.first_slab,
				  packet->fds[0]) == -EPROTO ? -EPROTO : 0;
}

static int on_refused(struct ckv *ckv, const struct lib_packet *packet)
{
	const struct ckv_refused *msg = &packet->refused;

	if (packet->head.n_bytes != sizeof *msg || ckv->pending == LIB_IDLE ||
	    msg->error == 0 || msg->error > 4095)
		return -EPROTO;
	snprintf(ckv->pending_text, sizeof ckv->pending_text, "%.*s",
		 (int)sizeof msg->text, msg->text);
	end(ckv, -(int)msg->error);
	return 0;
}

static int on_reply(struct ckv *ckv, struct lib_packet *packet)
{
	static const uint16_t expected[] = {
		[LIB_HELLO] = CKV_WELCOME, [LIB_ATTACH] = CKV_ATTACHED,
		[LIB_SLABS] = CKV_SLABS, [LIB_LANE] = CKV_LANE_OPENED,
		[LIB_DONE] = CKV_DONE,
	};
	int r = 0;

	if (ckv->pending == LIB_IDLE ||
	    packet->head.type != expected[ckv->pending])
		return -EPROTO;
	switch (ckv->pending) {
	case LIB_HELLO:
		r = on_welcome(ckv, packet);
		break;
	case LIB_ATTACH:
		r = on_attached(ckv, packet);
		if (r < 0)	/* its slabs still come: no way to skip them */
			return r;
		ckv->pending = LIB_SLABS;
		return 0;
	case LIB_SLABS:
		return on_slabs(ckv, packet);
	case LIB_LANE:
		r = on_lane(ckv, packet);
		break;
	case LIB_DONE:
		r = ckv->undo_error;
		ckv->undo_error = 0;
		break;
	case LIB_IDLE:
		break;
	}
	if (r == -EPROTO)
		return r;
	end(ckv, r);
	return 0;
}

/* Act on one packet. -EPROTO or another error: this connection is of no more use. */
int lib_reply(struct ckv *ckv, struct lib_packet *packet)
{
	switch (packet->head.type) {
	case CKV_EVENT:
		return 0;
	case CKV_SLAB_WRITE:
		return on_slab_write(ckv, packet);
	case CKV_REFUSED:
		return on_refused(ckv, packet);
	default:
		return on_reply(ckv, packet);
	}
}
