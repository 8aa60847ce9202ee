/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pinned.c - what was found pinned is remembered, with the place of its pin.
 *
 * A childless block or view that a scan found pinned is no candidate until its pin
 * goes: it is parked, outside of its policy, with a witness, the pin word that names
 * it. One load tells whether it still does. So a block that stays pinned is judged
 * once; searches and DROPs meet it without a scan; and a search that has looked at all
 * parked ones, and has no others, knows that nothing may leave.
 *
 * A witness is a hint about where to look, and what it says is seen again each time: the
 * word names this slot now, in a table that counts. A stale one misleads nobody.
 */
#include "daemon/core/state.h"

bool pinned_still(const struct space *s, uint32_t page)
{
	const struct node *node = &s->nodes[page];
	const struct space_lane *lane;

	if (node->mark & NODE_SUMMING)
		return true;
	if (node->witness_lane == NODE_NO_LANE)
		return false;
	lane = &s->lanes[node->witness_lane];
	return lane->state == LANE_IN_USE &&
	       node->witness_word < lane_pin_high(lane) &&
	       ckv_pin_slot(&lane->memory.pins[node->witness_word]) ==
	       s->records[page].slot;
}

void pinned_seen(struct space *s, uint32_t page, uint32_t lane, uint32_t word)
{
	s->nodes[page].witness_lane = (uint16_t)lane;
	s->nodes[page].witness_word = word;
}

static uint32_t kind_of(const struct space *s, uint32_t page)
{
	return space_is_view(s, page) ? VIEWS : BLOCKS;
}

void park(struct space *s, uint32_t page)
{
	struct node *node = &s->nodes[page];

	assert(node->queue == 0 && !node->parked && node->n_children == 0);
	node->parked = 1;
	queue_put_head(&s->parked[kind_of(s, page)], s->nodes, page);
	ckv_count(&s->stats->parked, 1);
}

void unpark(struct space *s, uint32_t page)
{
	assert(s->nodes[page].parked);
	s->nodes[page].parked = 0;
	queue_remove(&s->parked[kind_of(s, page)], s->nodes, page);
	gauge_sub(&s->stats->parked, 1);
}

uint32_t parked_look(struct space *s, uint32_t kind, uint32_t n)
{
	struct queue *queue = &s->parked[kind];
	uint32_t n_free = 0, page;

	if (n > queue->n)
		n = queue->n;
	for (uint32_t i = 0; i < n; i++) {
		page = queue->tail;
		if (pinned_still(s, page)) {
			queue_remove(queue, s->nodes, page);
			queue_put_head(queue, s->nodes, page);
			continue;
		}
		unpark(s, page);
		policy_put(s, page, POLICY_BACK);
		n_free++;
	}
	s->cost.n_looks += n;
	return n_free;
}
