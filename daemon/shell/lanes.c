/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lanes.c - make lanes, put completions into their rings, and end them.
 *
 * The lanes of a client form a ring, in whose order they are served. A lane that is
 * ENDING is in the daemon's queue instead: in each turn some of the pages that were
 * lent on it are taken back, and after the last one its memory is freed.
 */
#include "daemon/shell/arena.h"
#include "daemon/shell/keep.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define END_UNITS 128		/* work units per turn for ENDING lanes */

static struct lane *free_lane(struct daemon *d)
{
	/* The rows behind these were made for lanes of before. */
	for (uint32_t i = 0; i < d->n_lanes_max; i++)
		if (d->lane[i].state == LANE_FREE)
			return &d->lane[i];
	return NULL;
}

/* Take and map a part of an arena of the client. */
static int map_c(struct daemon *d, struct lane *lane)
{
	struct ckv_c_head head = { .magic = CKV_C_MAGIC,
				   .layout_version = CKV_LAYOUT_VERSION };
	struct client *client = &d->client[lane->client];
	ssize_t bytes = 2 * sizeof(uint32_t);
	uint64_t offset;
	int r;

	r = arena_take(d, client, lane->map.c_bytes, &lane->arena, &lane->part);
	if (r < 0)
		return r;
	offset = lane->part * lane->arena->part_bytes;
	r = sys_pwrite(lane->arena->fd, &head, (size_t)bytes, (off_t)offset) == bytes ?
	    memory_part(lane->arena->fd, offset, lane->map.c_bytes, &lane->c) : -ENOMEM;
	if (r < 0)
		arena_give(d, client, lane->arena, lane->part);
	return r;
}

static void unmap_c(struct daemon *d, struct lane *lane)
{
	memory_destroy(&lane->c);
	arena_give(d, &d->client[lane->client], lane->arena, lane->part);
}

/* Make and map both segments, and set up this side of the rings in them. */
static int map_segments(struct daemon *daemon, struct lane *lane)
{
	struct ckv_d_head d = { .magic = CKV_D_MAGIC,
				.layout_version = CKV_LAYOUT_VERSION };
	char *base;
	int r;

	r = map_c(daemon, lane);
	if (r < 0)
		return r;
	r = memory_create("ckv-lane-d", lane->map.d_bytes, MEMORY_OURS, &d,
			  2 * sizeof(uint32_t), &lane->d);
	if (r < 0) {
		unmap_c(daemon, lane);
		return r;
	}
	lane->c_head = lane->c.base;
	lane->d_head = lane->d.base;
	base = lane->c.base;
	lane->requests = (struct ckv_ring_end){
		.slots = (void *)(base + lane->map.requests),
		.credit = &lane->d_head->req_credit,
		.n_slots = lane->shape.n_slots,
	};
	base = lane->d.base;
	lane->completions = (struct ckv_ring_end){
		.slots = (void *)(base + lane->map.completions),
		.credit = &lane->c_head->comp_credit,
		.n_slots = lane->shape.n_slots,
	};
	return 0;
}

/* Make room for private copies of a request's argument and of its answers. */
static int map_areas(struct lane *lane)
{
	size_t bytes = lane->shape.arg_bytes;
	int r;

	if (bytes > ARGUMENT_BYTES)
		bytes = ARGUMENT_BYTES;
	r = sys_map_private(2 * bytes, PROT_READ | PROT_WRITE, &lane->argument);
	if (r < 0)
		return r;
	lane->answer = lane->argument + bytes;
	lane->area_bytes = bytes;
	return 0;
}

static void unmap(struct daemon *d, struct lane *lane)
{
	sys_unmap(lane->argument, 2 * lane->area_bytes);
	memory_destroy(&lane->d);
	unmap_c(d, lane);
}

/* Add a lane to its client's ring. With the first one the client enters d->serving. */
static void enter_ring(struct daemon *d, struct client *client, uint32_t index)
{
	struct lane *lane = &d->lane[index], *first;

	if (client->turn_lane == CKV_NONE) {
		lane->next = lane->prev = client->turn_lane = index;
		client->serving_place = d->n_serving;
		d->serving[d->n_serving++] = (uint32_t)(client - d->client);
		return;
	}
	first = &d->lane[client->turn_lane];
	lane->next = client->turn_lane;
	lane->prev = first->prev;
	d->lane[first->prev].next = index;
	first->prev = index;
}

static void leave_ring(struct daemon *d, struct client *client, uint32_t index)
{
	const struct lane *lane = &d->lane[index];
	uint32_t last;

	if (lane->next == index) {
		client->turn_lane = CKV_NONE;
		last = d->serving[--d->n_serving];
		d->serving[client->serving_place] = last;
		d->client[last].serving_place = client->serving_place;
		return;
	}
	d->lane[lane->next].prev = lane->prev;
	d->lane[lane->prev].next = lane->next;
	if (client->turn_lane == index)
		client->turn_lane = lane->next;
}

static int enter_space(struct daemon *d, struct lane *lane)
{
	char *base = lane->c.base;
	struct space_lane_memory memory = {
		.pins = (void *)(base + lane->map.pins),
		.pin_high = &lane->c_head->pin_high,
		.touches = (void *)(base + lane->map.touches),
		.touch_tail = &lane->c_head->touch_tail,
		.n_pins = lane->shape.n_pins,
		.n_touches = lane->shape.n_touches,
		.user = user_number(d, d->client[lane->client].user),
		.serial = lane->serial,
	};

	return space_lane_open(d->served[lane->space].core, lane->client, &memory);
}

int lane_create(struct daemon *d, struct client *client, uint32_t space,
		const struct ckv_lane_shape *shape)
{
	struct lane *lane = free_lane(d);
	uint32_t index, generation;
	int r;

	if (lane == NULL)
		return -EMFILE;
	index = (uint32_t)(lane - d->lane);
	generation = lane->generation + 1;
	*lane = (struct lane){
		.generation = generation, .space = space, .shape = *shape,
		.client = (uint32_t)(client - d->client),
		.access = client->attached[space].access, .first_wait = CKV_NONE,
		.map = ckv_lane_map(shape), .ledger_row = CKV_NONE,
		.serial = keep_serial(d),
	};
	r = map_segments(d, lane);
	if (r < 0)
		return r;
	r = map_areas(lane);
	if (r < 0)
		goto err_segments;
	lane->eventfd = sys_eventfd();
	if (lane->eventfd < 0) {
		r = lane->eventfd;
		goto err_unmap;
	}
	lane->number = enter_space(d, lane);
	if (lane->number < 0) {
		r = lane->number;
		goto err_close;
	}
	r = loop_watch(d->loop, lane->eventfd,
		       watch_token(WATCH_LANE, generation, index));
	if (r < 0)
		goto err_leave;
	lane->state = LANE_OPEN;
	enter_ring(d, client, index);
	user_count_lane(d, client, space, shape->n_pins);
	return (int)index;

err_leave:
	space_lane_close(d->served[space].core, lane->number);
err_close:
	sys_close(lane->eventfd);
err_unmap:
	unmap(d, lane);
	return r;
err_segments:
	memory_destroy(&lane->d);
	unmap_c(d, lane);
	return r;
}

int lane_adopt(struct daemon *d, struct client *client, struct lane *lane)
{
	int r = memory_part(lane->arena->fd, lane->part * lane->arena->part_bytes,
			    lane->map.c_bytes, &lane->c);

	if (r < 0)
		return r;
	lane->c_head = lane->c.base;
	lane->number = enter_space(d, lane);
	if (lane->number < 0) {
		memory_destroy(&lane->c);
		return lane->number;
	}
	space_lane_shut(d->served[lane->space].core, lane->number);
	lane->state = LANE_SHUT;
	lane->arena->used |= 1u << lane->part;
	lane->arena->n_lanes++;
	for (int i = 0; i < CKV_CLAIMS; i++)
		lane->claim[i] = ckv_hint_load64(&lane->c_head->count[i]);
	lane->n_pins_used = space_lane_pins(d->served[lane->space].core, lane->number,
					    0, lane->shape.n_pins);
	enter_ring(d, client, (uint32_t)(lane - d->lane));
	user_count_lane(d, client, lane->space, lane->shape.n_pins);
	return 0;
}

static void stop_serving(struct daemon *d, struct lane *lane)
{
	uint32_t index = (uint32_t)(lane - d->lane);

	lane_cancel(d, lane);
	loop_unwatch(d->loop, lane->eventfd,
		     watch_token(WATCH_LANE, lane->generation, index));
}

/* Send EVENT if the client has armed it since the last one. Returns the cost in units. */
static int32_t send_event(struct daemon *d, struct lane *lane)
{
	struct ckv_control_id event = {
		.id = (uint32_t)(lane - d->lane),
	};
	uint32_t arm = ckv_hint_load32(&lane->c_head->event_arm);

	if (arm == lane->event_seen)
		return 0;
	lane->event_seen = arm;
	if (control_send(d, &d->client[lane->client], &event, sizeof event,
			 CKV_EVENT, NULL, 0) < 0)
		ckv_count(&d->stats->events_dropped, 1);
	else
		ckv_count(&d->stats->events_sent, 1);
	return UNITS_MESSAGE;
}

void lane_shut(struct daemon *d, struct lane *lane, uint32_t why)
{
	if (lane->state != LANE_OPEN)
		return;
	stop_serving(d, lane);
	d->client[lane->client].owed +=
		space_lane_shut(d->served[lane->space].core, lane->number);
	lane->state = LANE_SHUT;
	ckv_lane_shut(lane->d_head, why);
	ckv_futex_bump(&lane->d_head->futex);
	sys_futex_wake(&lane->d_head->futex);
	(void)send_event(d, lane);
}

void lane_lied(struct daemon *d, struct lane *lane, const char *what)
{
	const struct client *client = &d->client[lane->client];

	log_limited(LOG_WARNING, d->now_ns, "client %d: %s; its lane is closed",
		    (int)client->pid, what);
	ckv_count(&d->stats->lanes_closed_lying, 1);
	lane_shut(d, lane, EPROTO);
}

void lane_end(struct daemon *d, struct lane *lane)
{
	uint32_t index = (uint32_t)(lane - d->lane);
	struct client *client = &d->client[lane->client];

	assert(lane->state == LANE_OPEN || lane->state == LANE_SHUT);
	lane_fold_claims(d, lane);
	if (lane->state == LANE_OPEN)
		stop_serving(d, lane);
	if (lane->d_head != NULL)
		ckv_lane_shut(lane->d_head, ESHUTDOWN);
	/* Its client needs it no more, whatever becomes of this daemon from here on. */
	keep_forget_lane(d, lane);
	leave_ring(d, client, index);
	space_lane_end(d->served[lane->space].core, lane->number);
	lane->state = LANE_ENDING;
	lane->generation++;
	client->n_ending++;
	lane->next_ending = lane->asker = CKV_NONE;
	if (d->ending_head == CKV_NONE)
		d->ending_head = index;
	else
		d->lane[d->ending_tail].next_ending = index;
	d->ending_tail = index;
}

void lane_await(struct daemon *d, struct lane *lane, struct client *client)
{
	assert(lane->state == LANE_ENDING && lane->asker == CKV_NONE);
	lane->asker = (uint32_t)(client - d->client);
	lane->asker_generation = client->generation;
	client->n_awaited++;
}

/* Tell the client that waits for the end of this lane. */
static void tell_asker(struct daemon *d, const struct lane *lane)
{
	struct client *asker;

	if (lane->asker == CKV_NONE)
		return;
	asker = &d->client[lane->asker];
	if (asker->state == CLIENT_ATTACHED &&
	    asker->generation == lane->asker_generation)
		client_awaited(d, asker);
}

/* Free a lane on which no page is lent any more. */
static void lane_free(struct daemon *d, struct lane *lane)
{
	struct client *client = &d->client[lane->client];

	d->ending_head = lane->next_ending;
	sys_close(lane->eventfd);
	unmap(d, lane);
	lane->state = LANE_FREE;
	client->n_ending--;
	user_uncount_lane(d, client, lane->space, lane->shape.n_pins);
	tell_asker(d, lane);
	client_lane_ended(d, client);
}

/*
 * The daemon stops. Nothing is taken back: records and ledger stay as they are, for a
 * successor, which finds the client with its pins and its pages as it was left.
 */
void lane_drop(struct lane *lane)
{
	if (lane->state == LANE_FREE)
		return;
	if (lane->d_head != NULL)
		ckv_lane_shut(lane->d_head, ESHUTDOWN);
	sys_close(lane->eventfd);
	sys_unmap(lane->argument, 2 * lane->area_bytes);
	memory_destroy(&lane->d);
	memory_destroy(&lane->c);
	lane->state = LANE_FREE;
}

bool lanes_end(struct daemon *d)
{
	int32_t units = END_UNITS;
	struct lane *lane;

	if (d->ending_head == CKV_NONE)
		return false;
	lane = &d->lane[d->ending_head];
	if (space_lane_take_back(d->served[lane->space].core, lane->number,
				 &units))
		lane_free(d, lane);
	return true;
}

/* The claimed_ counters of the stats are in the order of enum ckv_claim. */
_Static_assert(offsetof(struct ckv_space_stats, claimed_pin_retries) -
	       offsetof(struct ckv_space_stats, claimed_lookups) ==
	       8 * CKV_CLAIM_PIN_RETRIES, "claims and their counters differ");

void lane_fold_claims(struct daemon *d, struct lane *lane)
{
	_Atomic uint64_t *counter = &d->served[lane->space].stats->claimed_lookups;

	for (int i = 0; i < CKV_CLAIMS; i++) {
		uint64_t claim = ckv_hint_load64(&lane->c_head->count[i]);

		/* If a counter went back, count on from its new value. */
		if (claim > lane->claim[i])
			ckv_count(&counter[i], claim - lane->claim[i]);
		lane->claim[i] = claim;
	}
}

bool lane_has_room(const struct lane *lane)
{
	const struct ckv_ring_end *end = &lane->completions;
	uint32_t uncollected;

	/* If the credit read last suffices, the client's cache line is not read. */
	if (end->pos - end->credit_seen + lane->n_waits < lane->shape.n_slots)
		return true;
	uncollected = end->pos - ckv_hint_load32(end->credit);
	/* More than n_slots is a lie: say yes, and ckv_ring_put() finds it. */
	return uncollected > lane->shape.n_slots ||
	       uncollected + lane->n_waits < lane->shape.n_slots;
}

bool lane_ready(const struct lane *lane)
{
	return lane->run.on || (ckv_ring_ready(&lane->requests) && lane_has_room(lane));
}

void lane_complete(struct daemon *d, struct lane *lane,
		   const struct ckv_req *request, int32_t result)
{
	struct ckv_comp completion = {
		.result = result, .tag = request->tag,
		.arg_offset = request->arg_offset, .n = request->n,
	};
	struct ckv_msg message;
	int r;

	if (result < 0)
		ckv_count(&d->stats->requests_failed, 1);
	memcpy(&message, &completion, sizeof message);
	r = ckv_ring_put(&lane->completions, &message);
	if (r < 0)
		lane_lied(d, lane, "its count of collected completions went back");
	lane->completed = true;
}

/* Wake once for many completions. ckv_wake_needed() has the fence that event_arm needs. */
int32_t lane_flush(struct daemon *d, struct lane *lane)
{
	int32_t units = 0;

	if (!lane->completed || lane->state != LANE_OPEN)
		return 0;
	lane->completed = false;
	if (ckv_wake_needed(&lane->c_head->need_wake)) {
		ckv_futex_bump(&lane->d_head->futex);
		sys_futex_wake(&lane->d_head->futex);
		ckv_count(&d->stats->wakeups_sent, 1);
		units += UNITS_CALL;
	}
	return units + send_event(d, lane);
}
