/*
 * lanes.c - a lane's memory, its completions and its end.
 */
#include "daemon/shell/daemon.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static struct lane *free_lane(struct daemon *d)
{
	for (uint32_t i = 0; i < d->n_lanes_max; i++)
		if (d->lane[i].state == LANE_FREE)
			return &d->lane[i];
	return NULL;
}

/* Both segments, and the ends of the rings in them. */
static int map_segments(struct lane *lane)
{
	struct ckv_c_head c = { .magic = CKV_C_MAGIC,
				.layout_version = CKV_LAYOUT_VERSION };
	struct ckv_d_head d = { .magic = CKV_D_MAGIC,
				.layout_version = CKV_LAYOUT_VERSION };
	char *base;
	int r;

	r = memory_create("ckv-lane-c", lane->map.c_bytes, MEMORY_THEIRS, &c,
			  2 * sizeof(uint32_t), &lane->c);
	if (r < 0)
		return r;
	r = memory_create("ckv-lane-d", lane->map.d_bytes, MEMORY_OURS, &d,
			  2 * sizeof(uint32_t), &lane->d);
	if (r < 0) {
		memory_destroy(&lane->c);
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
	};

	return space_lane_open(d->host[lane->space].space, lane->client, &memory);
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
		.access = client->attached[space].access,
		.map = ckv_lane_map(shape),
	};
	r = map_segments(lane);
	if (r < 0)
		return r;
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
	d->open_lane[d->n_open++] = index;
	d->n_lanes++;
	client->n_lanes++;
	ckv_hint_store64(&d->stats->lanes, d->n_lanes);
	return (int)index;

err_leave:
	space_lane_close(d->host[space].space, lane->number);
err_close:
	sys_close(lane->eventfd);
err_unmap:
	memory_destroy(&lane->d);
	memory_destroy(&lane->c);
	return r;
}

static void stop_serving(struct daemon *d, struct lane *lane)
{
	uint32_t index = (uint32_t)(lane - d->lane);

	for (uint32_t i = 0; i < d->n_open; i++)
		if (d->open_lane[i] == index) {
			d->open_lane[i] = d->open_lane[--d->n_open];
			break;
		}
	loop_unwatch(d->loop, lane->eventfd,
		     watch_token(WATCH_LANE, lane->generation, index));
}

/* If the client asked for it since the last one. */
static void send_event(struct daemon *d, struct lane *lane)
{
	struct ckv_control_id event = {
		.id = (uint32_t)(lane - d->lane),
	};
	uint32_t arm = ckv_hint_load32(&lane->c_head->event_arm);

	if (arm == lane->event_seen)
		return;
	lane->event_seen = arm;
	if (control_send(d, &d->client[lane->client], &event, sizeof event,
			 CKV_EVENT, NULL, 0) < 0)
		ckv_count(&d->stats->events_dropped, 1);
	else
		ckv_count(&d->stats->events_sent, 1);
}

void lane_shut(struct daemon *d, struct lane *lane, uint32_t why)
{
	if (lane->state != LANE_OPEN)
		return;
	stop_serving(d, lane);
	lane->state = LANE_SHUT;
	ckv_lane_shut(lane->d_head, why);
	ckv_futex_bump(&lane->d_head->futex);
	sys_futex_wake(&lane->d_head->futex);
	send_event(d, lane);
}

void lane_lied(struct daemon *d, struct lane *lane, const char *what)
{
	const struct client *client = &d->client[lane->client];

	log_limited(LOG_WARNING, d->now_ns, "client %d: %s; its lane is closed",
		    (int)client->pid, what);
	ckv_count(&d->stats->lanes_closed_lying, 1);
	lane_shut(d, lane, EPROTO);
}

void lane_destroy(struct daemon *d, struct lane *lane)
{
	assert(lane->state != LANE_FREE);
	lane_fold_claims(d, lane);
	if (lane->state == LANE_OPEN)
		stop_serving(d, lane);
	ckv_lane_shut(lane->d_head, ESHUTDOWN);
	space_lane_close(d->host[lane->space].space, lane->number);
	sys_close(lane->eventfd);
	memory_destroy(&lane->d);
	memory_destroy(&lane->c);
	lane->state = LANE_FREE;
	lane->generation++;
	d->client[lane->client].n_lanes--;
	d->n_lanes--;
	ckv_hint_store64(&d->stats->lanes, d->n_lanes);
}

/* The counters of the stats table follow enum ckv_claim. */
_Static_assert(offsetof(struct ckv_space_stats, claimed_pin_retries) -
	       offsetof(struct ckv_space_stats, claimed_lookups) ==
	       8 * CKV_CLAIM_PIN_RETRIES, "claims and their counters differ");

void lane_fold_claims(struct daemon *d, struct lane *lane)
{
	_Atomic uint64_t *counter = &d->host[lane->space].stats->claimed_lookups;

	for (int i = 0; i < CKV_CLAIMS; i++) {
		uint64_t claim = ckv_hint_load64(&lane->c_head->count[i]);

		/* A counter that went back is believed from there on. */
		if (claim > lane->claim[i])
			ckv_count(&counter[i], claim - lane->claim[i]);
		lane->claim[i] = claim;
	}
}

bool lane_has_room(const struct lane *lane)
{
	const struct ckv_ring_end *end = &lane->completions;
	uint32_t uncollected;

	/* Enough by the credit seen last: no look at the client's line. */
	if (end->pos - end->credit_seen + lane->n_jobs < lane->shape.n_slots)
		return true;
	uncollected = end->pos - ckv_hint_load32(end->credit);
	/* A credit that lies is found by ckv_ring_put(). */
	return uncollected > lane->shape.n_slots ||
	       uncollected + lane->n_jobs < lane->shape.n_slots;
}

bool lane_ready(const struct lane *lane)
{
	return ckv_ring_ready(&lane->requests) && lane_has_room(lane);
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
		lane_lied(d, lane, "it took back completions it had collected");
	lane->completed = true;
}

/* One word for many completions. The fence before event_arm is the wake-up's. */
void lane_flush(struct daemon *d, struct lane *lane)
{
	if (!lane->completed || lane->state != LANE_OPEN)
		return;
	lane->completed = false;
	if (ckv_wake_needed(&lane->c_head->need_wake)) {
		ckv_futex_bump(&lane->d_head->futex);
		sys_futex_wake(&lane->d_head->futex);
		ckv_count(&d->stats->wakeups_sent, 1);
	}
	send_event(d, lane);
}
