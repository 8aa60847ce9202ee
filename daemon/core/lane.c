/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane.c - the lanes of a space: open and end them, read their pins and touches.
 */
#include "daemon/core/state.h"

/* At most so much is read by one space_touches_drain(). */
#define TOUCHES_PER_DRAIN 512u	/* a lane that is begun is read to its own limit */
#define LANES_PER_DRAIN	32u
#define TOUCHES_OF_LANE	128u

int space_lane_open(struct space *s, uint32_t client,
		    const struct space_lane_memory *memory)
{
	uint32_t i = s->unused_lane;

	assert(client < s->config.n_clients_max);
	assert(memory->user <= s->config.n_users_max);
	assert((memory->n_touches & (memory->n_touches - 1)) == 0);
	if (i == CKV_NONE)
		return -EMFILE;
	s->unused_lane = s->lanes[i].place;
	s->lanes[i] = (struct space_lane){
		.memory = *memory,
		.client = client,
		.touch_pos = ckv_hint_load32(memory->touch_tail),
		.place = s->n_open,
		.state = LANE_IN_USE,
	};
	queue_init(&s->lanes[i].lent);
	s->open_lanes[s->n_open++] = i;
	return (int)i;
}

/* Sorted by Shell's method: there are few lanes. */
void lanes_before(struct space *s)
{
	uint32_t *open = s->open_lanes;

	for (uint32_t gap = s->n_open / 2; gap > 0; gap /= 2)
		for (uint32_t i = gap; i < s->n_open; i++) {
			uint32_t lane = open[i], at = i;

			for (; at >= gap && s->lanes[open[at - gap]].memory.serial >
			       s->lanes[lane].memory.serial; at -= gap)
				open[at] = open[at - gap];
			open[at] = lane;
		}
	for (uint32_t i = 0; i < s->n_open; i++) {
		s->lanes[open[i]].place = i;
		s->lanes[open[i]].before = true;
	}
	s->n_before = s->n_open;
}

struct space_lane *lane_of(const struct space *s, int lane)
{
	assert(lane >= 0 && (uint32_t)lane < s->config.n_lanes_max);
	assert(s->lanes[lane].state == LANE_IN_USE);
	return &s->lanes[lane];
}

void space_lane_end(struct space *s, int number)
{
	struct space_lane *lane = lane_of(s, number);
	uint32_t last = s->open_lanes[--s->n_open];

	s->open_lanes[lane->place] = last;
	s->lanes[last].place = lane->place;
	lane->state = LANE_ENDING;
	s->n_before -= lane->before;
	s->n_blind -= lane->blind;
	/* Its pins count no longer, so a new search may find something to evict. */
	s->views.search.full = false;
	for (uint32_t i = 0; i < s->config.n_levels; i++)
		s->levels[i].blocks.search.full = false;
}

bool space_lane_take_back(struct space *s, int number, int32_t *units)
{
	struct space_lane *lane = &s->lanes[number];

	assert(lane->state == LANE_ENDING);
	while (lane->lent.tail != CKV_NONE) {
		if (*units <= 0)
			return false;
		*units -= UNITS_ABORT;
		ckv_count(&s->stats->aborted_by_death, 1);
		lent_abort(s, lane->lent.tail, true, units);
	}
	assert(lane->lent.n == 0);
	lane->state = LANE_UNUSED;
	lane->place = s->unused_lane;
	s->unused_lane = (uint32_t)number;
	return true;
}

void space_lane_close(struct space *s, int number)
{
	int32_t units = INT32_MAX;

	space_lane_end(s, number);
	while (!space_lane_take_back(s, number, &units))
		units = INT32_MAX;
}

uint32_t space_client_lent(const struct space *s, uint32_t client)
{
	uint32_t n = 0;

	assert(client < s->config.n_clients_max);
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (level_has_pages(s, l))
			n += s->levels[l].client_lent[client];
	return n;
}

uint32_t space_user_lent(const struct space *s, uint32_t user)
{
	uint32_t n = 0;

	assert(user <= s->config.n_users_max);
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (level_has_pages(s, l))
			n += s->levels[l].user_lent[user];
	return n;
}

uint32_t space_lane_lent(const struct space *s, int number)
{
	return lane_of(s, number)->lent.n;
}

uint32_t space_lane_pins(const struct space *s, int number, uint32_t first,
			 uint32_t n_words)
{
	const struct space_lane *lane = lane_of(s, number);
	uint32_t high = lane_pin_high(lane), n = 0;

	for (uint32_t i = first; i < high && i - first < n_words; i++)
		n += ckv_pin_slot(&lane->memory.pins[i]) != CKV_NONE;
	return n;
}

/* ---- recency ---- */

void space_touch(struct space *s, uint32_t slot)
{
	const struct candidates *c;

	if (slot >= s->n_slots)
		return;
	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		c = candidates_of(s, slot, l);
		if (copy_there(s, slot, l))
			c->ops->touch(c->policy, slot);
	}
}

/* Read at most n_max touches; those that the ring has overwritten are skipped. */
static uint32_t lane_drain(struct space *s, struct space_lane *lane, uint32_t n_max)
{
	const struct space_lane_memory *m = &lane->memory;
	uint32_t tail = ckv_hint_load32(m->touch_tail), n;

	if (tail - lane->touch_pos > m->n_touches)
		lane->touch_pos = tail - m->n_touches;
	n = tail - lane->touch_pos;
	if (n > n_max)
		n = n_max;
	for (uint32_t i = 0; i < n; i++, lane->touch_pos++)
		space_touch(s, ckv_hint_load32(&m->touches[lane->touch_pos &
							   (m->n_touches - 1)]));
	ckv_count(&s->stats->touches, n);
	return n;
}

uint32_t space_touch_drain(struct space *s, int number)
{
	return lane_drain(s, lane_of(s, number), UINT32_MAX);
}

uint32_t space_touches_drain(struct space *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_open && i < LANES_PER_DRAIN &&
	     n < TOUCHES_PER_DRAIN; i++) {
		s->drain_place = s->drain_place + 1 < s->n_open ?
				 s->drain_place + 1 : 0;
		n += lane_drain(s, &s->lanes[s->open_lanes[s->drain_place]],
				TOUCHES_OF_LANE);
	}
	return n;
}
