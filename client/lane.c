/*
 * lane.c - opening, moving and closing a lane.
 *
 * Opened segments are kept in lane->fresh by whichever thread reads the reply;
 * only the lane's own thread moves to them. What the old maps were asked to
 * keep (pins, lent pages) goes to the list of old ones, see old.c.
 */
#include "client/lib.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

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

	if (!ckv_lane_shape_ok(&seg.shape))
		return -EPROTO;
	at = ckv_lane_map(&seg.shape);
	r = lib_map(fds[0], at.c_bytes, 1, &base);
	if (r < 0)
		return r;
	seg.c_base = base;
	r = lib_map(fds[1], at.d_bytes, 0, &base);
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
	lib_unmap(seg.c_base, at.c_bytes);
	lib_unmap(seg.d_base, at.d_bytes);
	return r;
}

void lib_segments_unmap(struct lib_segments *seg)
{
	struct ckv_lane_map at;

	if (seg->maps == NULL)
		return;
	at = ckv_lane_map(&seg->shape);
	lib_unmap(seg->c_base, at.c_bytes);
	lib_unmap(seg->d_base, at.d_bytes);
	close(seg->kick_fd);
	lib_maps_put(seg->maps);
	seg->maps = NULL;
	seg->kick_fd = -1;
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
	lane->read_base = maps->read_base;
	lane->pool = maps->pool;
	lane->n_pages_host = maps->pool.n_slabs * maps->pool.slab_pages;
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
	lane->n_lent = 0;
}

/* Put aside the maps in use if something handed out lies in them. */
static void put_aside(struct ckv_lane *lane)
{
	struct lib_old *old = lane->spare_old;

	if (lane->n_pins_held == 0 && lane->n_lent == 0)
		return;
	*old = (struct lib_old){ .next = lane->olds, .maps = lane->maps,
				 .n_pins = lane->n_pins_held,
				 .n_lent = lane->n_lent };
	old->maps->refs++;
	lane->olds = old;
	lane->spare_old = NULL;
}

/* Move to lane->fresh, on the lane's own thread. On failure nothing changes. */
int lib_lane_move(struct ckv_lane *lane)
{
	if (lane->spare_old == NULL)
		lane->spare_old = malloc(sizeof *lane->spare_old);
	if (lane->spare_old == NULL)
		return -ENOMEM;
	if (memcmp(&lane->fresh.shape, &lane->shape, sizeof lane->shape) != 0)
		return -EPROTO;
	if (lane->maps != NULL) {
		lib_requests_fail(lane, -ESTALE);
		put_aside(lane);
		lib_segments_unmap(&lane->seg);
	}
	lane->seg = lane->fresh;
	lane->fresh = (struct lib_segments){ .kick_fd = -1 };
	lane_aim(lane);
	pins_reset(lane);
	lane->armed = 0;
	return 0;
}

/* The lane's memory alone; its mappings are not touched. */
void lib_lane_free(struct ckv_lane *lane)
{
	while (lane->olds != NULL) {
		struct lib_old *old = lane->olds;

		lane->olds = old->next;
		free(old);
	}
	free(lane->spare_old);
	free(lane->pin_free);
	free(lane->requests);
	lib_args_free(&lane->args);
	free(lane);
}

/* Room for a lane of the shape that was granted. */
static int lane_room(struct ckv_lane *lane)
{
	const struct ckv_lane_shape *s = &lane->shape;
	int r;

	lane->pin_free = calloc(s->n_pins, sizeof *lane->pin_free);
	lane->requests = calloc(s->n_slots, sizeof *lane->requests);
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
	struct ckv *ckv = lane->ckv;
	int r = lib_refresh_wait(lane->space);

	if (r < 0)
		return r;
	r = lib_session_lane(lane);
	if (r == 0)
		r = lib_session_finish(ckv);
	if (r < 0)
		return lib_refused(ckv, r);
	lane->shape = lane->fresh.shape;
	r = lane_room(lane);
	return r < 0 ? r : lib_lane_move(lane);
}

int ckv_lane_open(struct ckv_space *space, const struct ckv_lane_options *options,
		  struct ckv_lane **ret_lane)
{
	struct ckv *ckv = space->ckv;
	struct ckv_lane *lane;
	int r;

	if (lib_forked(ckv->mine))
		return -ECHILD;
	lane = calloc(1, sizeof *lane);
	if (lane == NULL)
		return -ENOMEM;
	lane->mine = ckv->mine;
	lane->ckv = ckv;
	lane->space = space;
	lane->seg.kick_fd = lane->fresh.kick_fd = -1;
	lane->spin_ns = LIB_SPIN_MIN_NS;
	if (options != NULL)
		lane->shape = (struct ckv_lane_shape){
			options->n_slots, options->n_pins, options->n_touches,
			options->arg_bytes };
	pthread_mutex_lock(&ckv->lock);
	r = lane_first(lane);
	if (r < 0) {
		lib_segments_unmap(&lane->fresh);
		ckv->pending_lane = NULL;
	} else {
		lane->next = space->lanes;
		space->lanes = lane;
	}
	pthread_mutex_unlock(&ckv->lock);
	if (r < 0) {
		lib_lane_free(lane);
		return r;
	}
	*ret_lane = lane;
	return 0;
}

static void close_at_daemon(struct ckv *ckv, const struct lib_segments *seg)
{
	if (seg->maps == NULL || ckv->link == NULL ||
	    seg->maps->link != ckv->link ||
	    !ckv_world_alive(ckv->link->world, ckv->link->epoch))
		return;
	if (lib_session_id(ckv, CKV_LANE_CLOSE, seg->id) == 0)
		lib_session_finish(ckv);
}

struct ckv_lane *ckv_lane_close(struct ckv_lane *lane)
{
	struct ckv_lane **at;
	struct ckv *ckv;

	if (lane == NULL || lib_forked(lane->mine))
		return NULL;
	ckv = lane->ckv;
	pthread_mutex_lock(&ckv->lock);
	lib_session_finish(ckv);
	close_at_daemon(ckv, &lane->seg);
	close_at_daemon(ckv, &lane->fresh);
	for (at = &lane->space->lanes; *at != lane; at = &(*at)->next)
		;
	*at = lane->next;
	lib_segments_unmap(&lane->seg);
	lib_segments_unmap(&lane->fresh);
	for (struct lib_old *old = lane->olds; old != NULL; old = old->next)
		lib_maps_put(old->maps);
	pthread_mutex_unlock(&ckv->lock);
	lib_lane_free(lane);
	return NULL;
}
