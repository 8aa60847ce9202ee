/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pinned.c - remember which blocks are pinned, and by which pin word.
 *
 * When a scan finds a childless block or view pinned, the space parks it: it leaves
 * its policy, so it is no victim, and the pin word that names it is kept as its
 * witness. Later one load of that word tells whether the block is still pinned. So a
 * block that stays pinned is judged once, and searches and DROPs that meet it need no
 * scan. A search that finds the policy empty, and has looked at all parked pages,
 * knows that nothing can be evicted.
 *
 * The witness only says where to look. pinned_still() reads the word anew each time
 * and checks that the lane is in use and the word names this block's slot, so an
 * outdated witness does no harm.
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
