/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane.c - opening, moving and closing a lane.
 *
 * Any thread may read the reply that brings a lane's new segments; it puts them into
 * lane->fresh. Only the lane's own thread moves the lane to them. If the caller still has
 * pins or lent pages of the old maps, these go into the list `olds` (old.c).
 */
#include "client/lib.h"

#include <errno.h>

/* fds: C, D, kick. On success the kick descriptor is the segments'. */
int lib_segments_map(struct lib_maps *maps, const struct ckv_lane_opened *msg,
		     const int *fds, struct lib_segments *ret_seg)
{
	struct lib_segments seg = { .shape = msg->shape, .kick_fd = fds[2],
				    .id = msg->lane_id };
	const struct ckv_c_head *c;
	const struct ckv_d_head *d;
	struct ckv_lane_map at;
	void *base;
	int r;

	if (!ckv_lane_shape_ok(&seg.shape) ||
	    msg->c_offset % CKV_PIECE_BYTES != 0)
		return -EPROTO;
	at = ckv_lane_map(&seg.shape);
	r = lib_map(fds[0], msg->c_offset, at.c_bytes, 1, &base);
	if (r < 0)
		return r;
	seg.c_base = base;
	r = lib_map(fds[1], 0, at.d_bytes, 0, &base);
	if (r < 0)
		goto err_unmap;
	seg.d_base = base;
	c = (const void *)seg.c_base;
	d = (const void *)seg.d_base;
	r = -EPROTO;
	if (c->magic != CKV_C_MAGIC || c->layout_version != CKV_LAYOUT_VERSION ||
	    d->magic != CKV_D_MAGIC || d->layout_version != CKV_LAYOUT_VERSION)
		goto err_unmap;
	seg.maps = maps;
	maps->refs++;
	*ret_seg = seg;
	return 0;

err_unmap:
	lib_sys_unmap(seg.c_base, at.c_bytes);
	lib_sys_unmap(seg.d_base, at.d_bytes);
	return r;
}

/* Unmap them, and let the daemon close the lane. */
void lib_segments_leave(struct lib_segments *seg)
{
	struct ckv_lane_map at;

	if (seg->maps == NULL)
		return;
	at = ckv_lane_map(&seg->shape);
	lib_segment_end(seg->c_base, at.c_bytes);
	lib_sys_unmap(seg->d_base, at.d_bytes);
	lib_sys_close(seg->kick_fd);
	lib_session_bye(seg->maps->ckv, &seg->bye);
	lib_maps_put(seg->maps);
	*seg = (struct lib_segments){ .kick_fd = -1 };
}

/* Point everything that a lookup or a request touches at lane->seg. */
static void lane_aim(struct ckv_lane *lane)
{
	struct lib_segments *seg = &lane->seg;
	struct lib_maps *maps = seg->maps;
	struct ckv_lane_map at = ckv_lane_map(&seg->shape);

	lane->maps = maps;
	lane->world = maps->link->world;
	lane->epoch = maps->link->epoch;
	lane->index = maps->index;
	lane->read_base = maps->pool->read_base;
	lane->pool = maps->pool->shape;
	lane->n_pages_host = lane->pool.n_slabs * lane->pool.slab_pages;
	lane->at = at;
	lane->c = (struct ckv_c_head *)seg->c_base;
	lane->d = (struct ckv_d_head *)seg->d_base;
	lane->pins = (_Atomic uint64_t *)(seg->c_base + at.pins);
	lane->touches = (_Atomic uint32_t *)(seg->c_base + at.touches);
	lane->n_touches = seg->shape.n_touches;
	lane->tx = (struct ckv_ring_end){
		.slots = (struct ckv_slot *)(seg->c_base + at.requests),
		.credit = &lane->d->req_credit, .n_slots = seg->shape.n_slots };
	lane->rx = (struct ckv_ring_end){
		.slots = (struct ckv_slot *)(seg->d_base + at.completions),
		.credit = &lane->c->comp_credit, .n_slots = seg->shape.n_slots };
}

/* All pin words free, the lowest on top. */
static void pins_reset(struct ckv_lane *lane)
{
	uint32_t n = lane->shape.n_pins;

	for (uint32_t i = 0; i < n; i++)
		lane->pin_free[i] = n - 1 - i;
	lane->n_pin_free = n;
	lane->pin_high = 0;
	lane->n_pins_held = 0;
}

/*
 * Keep the maps in use in `olds` if the caller has pins or lent pages of them. The lane
 * is not closed at a daemon before, so one that has this memory reuses none of them.
 */
static void put_aside(struct ckv_lane *lane)
{
	struct lib_old *old = lane->spare_old;

	lib_lent_sweep(&lane->lent, &lane->index);
	if (lane->n_pins_held == 0 && lane->lent.n == 0)
		return;
	*old = (struct lib_old){ .next = lane->olds, .maps = lane->maps,
				 .bye = lane->seg.bye,
				 .c_base = lane->seg.c_base,
				 .c_bytes = lane->at.c_bytes,
				 .pins = lane->pins,
				 .n_pins = lane->n_pins_held,
				 .lent = lane->lent };
	lane->seg.bye = NULL;
	lane->seg.c_base = NULL;
	lane->lent = (struct lib_lent_set){ .n = 0 };
	old->maps->refs++;
	lane->olds = old;
	lane->spare_old = NULL;
}

/* Move to lane->fresh, on the lane's own thread. On failure nothing changes. */
int lib_lane_move(struct ckv_lane *lane)
{
	if (lane->spare_old == NULL)
		lane->spare_old = lib_sys_alloc(1, sizeof *lane->spare_old);
	if (lane->spare_old == NULL)
		return -ENOMEM;
	if (memcmp(&lane->fresh.shape, &lane->shape, sizeof lane->shape) != 0)
		return -EPROTO;
	if (lane->maps != NULL) {
		lib_requests_fail(lane, -ESTALE);
		put_aside(lane);
		lib_segments_leave(&lane->seg);
	}
	lane->seg = lane->fresh;
	lane->fresh = (struct lib_segments){ .kick_fd = -1 };
	lane_aim(lane);
	pins_reset(lane);
	lane->failed = 0;
	lane->ckv->lost_ns = 0;
	return 0;
}

/* The lane's memory alone; its mappings are not touched. */
void lib_lane_free(struct ckv_lane *lane)
{
	while (lane->olds != NULL) {
		struct lib_old *old = lane->olds;

		lane->olds = old->next;
		lib_lent_free(&old->lent);
		lib_sys_free(old->bye);
		lib_sys_free(old);
	}
	lib_lent_free(&lane->lent);
	lib_sys_free(lane->seg.bye);
	lib_sys_free(lane->fresh.bye);
	lib_sys_free(lane->spare_old);
	lib_sys_free(lane->pin_free);
	lib_sys_free(lane->requests);
	lib_args_free(&lane->args);
	lib_sys_free(lane);
}

/* Room for a lane of the shape that was granted. */
static int lane_room(struct ckv_lane *lane)
{
	const struct ckv_lane_shape *s = &lane->shape;
	int r;

	lane->pin_free = lib_sys_alloc(s->n_pins, sizeof *lane->pin_free);
	lane->requests = lib_sys_alloc(s->n_slots, sizeof *lane->requests);
	if (lane->pin_free == NULL || lane->requests == NULL)
		return -ENOMEM;
	r = lib_args_init(&lane->args, s->arg_bytes, s->n_slots);
	if (r < 0)
		return r;
	lib_requests_reset(lane);
	return 0;
}

static int lane_first(struct ckv_lane *lane)
{
	int64_t deadline = lib_now_ns() + lib_call_timeout_ns;
	struct lib_wait wait = { .done = 0 };
	int r = lib_refresh_wait(lane->space, deadline);

	if (r < 0)
		return r;
	r = lib_session_lane(lane, &wait);
	if (r == 0)
		r = lib_session_finish(lane->ckv, &wait, deadline);
	if (r < 0)
		return lib_refused(lane->ckv, &wait, r);
	lane->shape = lane->fresh.shape;
	r = lane_room(lane);
	if (r == 0)
		r = lib_lane_move(lane);
	return r < 0 ? lib_why(lane->ckv, r, "%s", ckv_strerror(r)) : 0;
}

/* Free the lane, and have the daemon close it. */
void lib_lane_end(struct ckv_lane *lane)
{
	struct ckv *ckv = lane->ckv;
	struct ckv_lane **at;

	lib_session_forget(ckv, NULL, lane);
	for (at = &lane->space->lanes; *at != NULL && *at != lane;
	     at = &(*at)->next)
		;
	if (*at == lane) {
		*at = lane->next;
		ckv->n_lanes--;
	}
	lib_event_taken(lane);
	lib_segments_leave(&lane->seg);
	lib_segments_leave(&lane->fresh);
	lib_lane_end_olds(lane);
	lib_lane_free(lane);
}

int ckv_lane_open(struct ckv_space *space, const struct ckv_lane_options *options,
		  struct ckv_lane **ret_lane)
{
	struct ckv *ckv = space->ckv;
	struct ckv_lane *lane;
	int r;

	if (lib_forked(ckv->mine))
		return lib_plain(ckv, -ECHILD);
	lane = lib_sys_alloc(1, sizeof *lane);
	if (lane == NULL)
		return lib_plain(ckv, -ENOMEM);
	lane->mine = ckv->mine;
	lane->ckv = ckv;
	lane->space = space;
	lane->seg.kick_fd = lane->fresh.kick_fd = -1;
	lane->spin_ns = LIB_SPIN_MIN_NS;
	if (options != NULL)
		lane->shape = (struct ckv_lane_shape){
			options->n_slots, options->n_pins, options->n_touches,
			options->arg_bytes };
	lib_call_enter(ckv, space);
	r = lane_first(lane);
	if (r < 0) {
		lib_lane_end(lane);
	} else {
		lane->next = space->lanes;
		space->lanes = lane;
		ckv->n_lanes++;
	}
	lib_call_leave(ckv, space);
	if (r < 0)
		return r;
	*ret_lane = lane;
	return 0;
}

struct ckv_lane *ckv_lane_close(struct ckv_lane *lane)
{
	struct ckv_space *space;
	struct ckv *ckv;
	int used;

	if (lane == NULL || lib_forked(lane->mine))
		return NULL;
	ckv = lane->ckv;
	space = lane->space;
	lib_call_enter(ckv, space);
	used = lib_lane_used(lane);
	if (!used) {
		lib_lane_end(lane);
		lib_session_idle(ckv, lib_now_ns() + lib_call_timeout_ns);
	}
	lib_call_leave(ckv, space);
	return used ? lane : NULL;
}
