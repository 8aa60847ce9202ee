/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pinned.c - remember which blocks are pinned, and by which pin word.
 *
 * When a scan finds a childless block or view pinned, the space parks it: it leaves
 * its policy, so it is no victim, and the pin word that names it is kept as its
 * witness. Later one load of that word tells whether the block is still pinned. So a
 * block that stays pinned is judged once, and searches and DROPs that meet it need no
 * scan. A search that finds the policy empty, and has looked at all parked slots,
 * knows that nothing can be evicted.
 *
 * The witness only says where to look. pinned_still() reads the word anew each time
 * and checks that the lane is in use and the word names this block's slot, so an
 * outdated witness does no harm.
 */
#include "daemon/core/state.h"

bool pinned_still(const struct space *s, uint32_t slot)
{
	const struct node *node = node_of(s, slot);
	struct witness witness;
	const struct space_lane *lane;

	if ((node->mark & NODE_SUMMING) || node->move != 0 || node_lent_over(s, slot))
		return true;
	if (!(node->mark & NODE_SEEN))
		return false;
	witness = s->witnesses[slot];
	lane = &s->lanes[witness.lane];
	return lane->state == LANE_IN_USE && witness.word < lane_pin_high(lane) &&
	       ckv_pin_slot(&lane->memory.pins[witness.word]) == slot;
}

void pinned_seen(struct space *s, uint32_t slot, uint32_t lane, uint32_t word)
{
	node_of(s, slot)->mark |= NODE_SEEN;
	s->witnesses[slot] = (struct witness){ .word = word, .lane = lane };
}

void park(struct space *s, struct candidates *c, uint32_t slot)
{
	struct copy *copy = copy_in(c->copies, slot);

	assert(copy->queue == 0 && !copy->parked && copy->n_children == 0);
	copy->parked = 1;
	queue_put_head(&c->parked, copy_links(c->copies), slot);
	ckv_count(&s->stats->parked, 1);
}

void unpark(struct space *s, struct candidates *c, uint32_t slot)
{
	assert(copy_in(c->copies, slot)->parked);
	copy_in(c->copies, slot)->parked = 0;
	queue_remove(&c->parked, copy_links(c->copies), slot);
	gauge_sub(&s->stats->parked, 1);
}

uint32_t parked_look(struct space *s, struct candidates *c, uint32_t n)
{
	struct queue *queue = &c->parked;
	uint32_t n_free = 0, slot;

	if (n > queue->n)
		n = queue->n;
	for (uint32_t i = 0; i < n; i++) {
		slot = queue->tail;
		if (pinned_still(s, slot)) {
			queue_remove(queue, copy_links(c->copies), slot);
			queue_put_head(queue, copy_links(c->copies), slot);
			continue;
		}
		unpark(s, c, slot);
		c->ops->insert(c->policy, slot, POLICY_BACK);
		n_free++;
	}
	s->cost.n_looks += n;
	return n_free;
}
