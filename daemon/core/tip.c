/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tip.c - automatic views: choose the chains to compress, and when.
 *
 * A tip is the last block of a chain that shall get a view which no client asked for.
 * enum space_auto says when the chain's turn comes. Then the tip is held, like the
 * chain of a job, until the view is made. Unlike a job's hold this one gives way: it
 * ends if a writer needs the page or a DROP names it. A worker that reads the chain at
 * that time reads pages which others may fill, so the view is thrown away.
 *
 * A struct tip is one such hold. Its states:
 *
 *   FREE       not used
 *   WAITING    (DEMOTE only) a victim, held until it is its turn
 *   READING    space_tip_begin() handed it out, and a worker reads the chain
 *   REVOKED    the hold gave way while READING; FREE after space_tip_done()
 *
 * A chain has one turn. NODE_DONE on its tip records that the turn is over. When the
 * tip is evicted the mark goes to its parent, because what is left of the chain needs
 * no view of its own. When a tip is evicted before its turn, that is counted once for
 * the chain: NODE_LOST goes to the parent, which may still have a turn.
 */
#include "daemon/core/state.h"

#define QUEUE_LOOK	1024u	/* slots that one call takes from the queue */
#define VICTIMS_LOOK	64u	/* next victims that PRESSURE looks at */
#define PRESSURE_SHARE	16u	/* pages run short when less than 1/16 may be lent */

/* Children at the work level, or nearer, and holds: a chain's view is made of what is there. */
static uint32_t near_children(const struct space *s, uint32_t slot)
{
	uint32_t n = 0;

	for (uint32_t l = 0; l <= s->config.work_level; l++)
		n += copy_of(s, slot, l)->n_children;
	return n;
}

/* ---- PUBLISH: the queue of tips; a slot is in it at most once, as in hold.c ---- */

void tip_enqueue(struct space *s, uint32_t slot)
{
	if (s->automatic != SPACE_AUTO_PUBLISH || node_is_view(s, slot) ||
	    (node_of(s, slot)->mark & (NODE_TIP_QUEUED | NODE_DONE)) ||
	    node_children(s, slot) > 0)
		return;
	assert(s->n_queued_tips < s->n_slots);
	node_of(s, slot)->mark |= NODE_TIP_QUEUED;
	s->queued_tips[(s->queued_tip_head + s->n_queued_tips++) % s->n_slots] = slot;
}

static uint32_t tip_dequeue(struct space *s)
{
	uint32_t slot = s->queued_tips[s->queued_tip_head];

	s->queued_tip_head = (s->queued_tip_head + 1) % s->n_slots;
	s->n_queued_tips--;
	node_of(s, slot)->mark &= (uint8_t)~NODE_TIP_QUEUED;
	return slot;
}

/* ---- holding ---- */

static uint32_t tip_free_slot(const struct space *s)
{
	for (uint32_t i = 0; i < s->config.n_tips_max; i++)
		if (s->tips[i].state == TIP_FREE)
			return i;
	return CKV_NONE;
}

void tip_may_yield(struct space *s)
{
	for (uint32_t l = 0; l <= s->config.work_level; l++) {
		s->levels[l].blocks.search.full = false;
		s->levels[l].blocks.search.stage = 0;
	}
}

static void tip_hold(struct space *s, uint32_t i, uint32_t slot,
		     enum tip_state state)
{
	assert(!(node_of(s, slot)->mark & (NODE_TIP_HELD | NODE_DONE)));
	node_hold(s, slot, s->config.work_level);
	node_of(s, slot)->mark |= NODE_TIP_HELD;
	tip_may_yield(s);
	s->tips[i] = (struct tip){
		.state = state, .slot = slot, .serial = s->tip_serial++,
	};
	ckv_count(&s->stats->auto_held, 1);
}

static bool tip_holds(const struct tip *tip)
{
	return tip->state == TIP_WAITING || tip->state == TIP_READING;
}

/* Remove the hold's marks; the caller changes the tip's state and the block's count. */
static void tip_unhold(struct space *s, struct tip *tip)
{
	node_of(s, tip->slot)->mark &= (uint8_t)~NODE_TIP_HELD;
	gauge_sub(&s->stats->auto_held, 1);
}

/* The tip in this state with the lowest serial, CKV_NONE if there is none. */
static uint32_t oldest_tip(const struct space *s, enum tip_state state)
{
	uint32_t best = CKV_NONE;

	for (uint32_t i = 0; i < s->config.n_tips_max; i++)
		if (s->tips[i].state == state &&
		    (best == CKV_NONE ||
		     (int32_t)(s->tips[i].serial - s->tips[best].serial) < 0))
			best = i;
	return best;
}

bool tip_defer(struct space *s, uint32_t slot)
{
	uint32_t i;

	if (s->automatic != SPACE_AUTO_DEMOTE || near_children(s, slot) > 0 ||
	    (node_of(s, slot)->mark & NODE_DONE))
		return false;
	i = tip_free_slot(s);
	if (i == CKV_NONE)
		return false;
	tip_hold(s, i, slot, TIP_WAITING);
	return true;
}

/* ---- giving way ---- */

/* End a tip's hold. False: it has none, or its block has others at the work level, or children. */
static bool tip_revoke(struct space *s, struct tip *tip)
{
	struct copy *copy = copy_of(s, tip->slot, s->config.work_level);

	if (!tip_holds(tip) || copy->n_children > 1)
		return false;
	tip_unhold(s, tip);
	copy->n_children = 0;
	tip->state = tip->state == TIP_READING ? TIP_REVOKED : TIP_FREE;
	return true;
}

/* Is it a tip's hold alone that keeps the copy at this level? */
static bool keeps(const struct space *s, const struct tip *tip, uint32_t level)
{
	return copy_there(s, tip->slot, level) && !batch_has(s, tip->slot) &&
	       (level == s->config.work_level ||
		copy_of(s, tip->slot, level)->n_children == 0);
}

uint32_t tips_give_way(struct space *s, uint32_t level, enum tip_state state,
		       uint32_t n_max)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->config.n_tips_max && n < n_max; i++) {
		uint32_t oldest = oldest_tip(s, state);
		struct tip *tip;

		if (oldest == CKV_NONE)
			break;
		tip = &s->tips[oldest];
		/* If its block has children, it is looked at again after all others. */
		tip->serial = s->tip_serial++;
		if (!keeps(s, tip, level) || !tip_revoke(s, tip))
			continue;
		node_of(s, tip->slot)->mark |= NODE_LOST;
		ckv_count(&s->stats->auto_lost_room, 1);
		if (pinned_still(s, tip->slot) ||
		    !copy_may_go(s, tip->slot, level))
			node_park(s, tip->slot);
		else
			batch_add(s, tip->slot, level, POLICY_HEIR);
		n++;
	}
	return n;
}

/* End the tip's hold of this block, if there is one and it may end. */
static bool revoke_at(struct space *s, uint32_t slot)
{
	if (!(node_of(s, slot)->mark & NODE_TIP_HELD) || near_children(s, slot) > 1)
		return false;
	for (uint32_t i = 0; i < s->config.n_tips_max; i++) {
		if (s->tips[i].slot != slot || !tip_revoke(s, &s->tips[i]))
			continue;
		node_put(s, slot, POLICY_KEPT);
		return true;
	}
	return false;
}

void tip_drop(struct space *s, uint32_t slot)
{
	if (revoke_at(s, slot))
		ckv_count(&s->stats->auto_skipped, 1);
}

void tip_yield(struct space *s, uint32_t slot)
{
	if (!revoke_at(s, slot))
		return;
	node_of(s, slot)->mark |= NODE_LOST;
	ckv_count(&s->stats->auto_lost_room, 1);
}

void tips_leave(struct space *s, uint32_t first)
{
	if (s->automatic == SPACE_AUTO_NONE)
		return;
	for (uint32_t i = first; i < s->n_batch; i++) {
		uint32_t slot = s->batch[i], parent;
		uint8_t mark = node_of(s, slot)->mark;

		if (!batch_has(s, slot))
			continue;
		if (!(mark & (NODE_DONE | NODE_LOST)))
			ckv_count(&s->stats->auto_lost_busy, 1);
		parent = node_of(s, slot)->parent;
		if (parent != CKV_NONE)
			node_of(s, parent)->mark |= mark & NODE_DONE ? NODE_DONE :
						 NODE_LOST;
	}
}

/* ---- whose turn it is: the slot of the next tip, or CKV_NONE ---- */

static uint32_t next_published(struct space *s)
{
	for (uint32_t i = 0; i < QUEUE_LOOK && s->n_queued_tips > 0; i++) {
		uint32_t slot = tip_dequeue(s);

		if (node_of(s, slot)->state != NODE_PUBLISHED ||
		    !copy_there(s, slot, s->config.work_level) ||
		    (node_of(s, slot)->mark & (NODE_DONE | NODE_VIEW)))
			continue;
		if (near_children(s, slot) == 0)
			return slot;
		ckv_count(&s->stats->auto_skipped, 1);
	}
	return CKV_NONE;
}

static uint32_t next_cold(struct space *s)
{
	struct level *level = work_level(s);
	struct candidates *blocks = &level->blocks;
	uint32_t n = level->config.n_places, slot = CKV_NONE;

	if (level->config.n_places_max < n)
		n = level->config.n_places_max;
	if (places_left(level) * (uint64_t)PRESSURE_SHARE >= n)
		return CKV_NONE;
	(void)parked_look(s, blocks, VICTIMS_LOOK);
	for (uint32_t i = 0; i < VICTIMS_LOOK; i++) {
		slot = blocks->ops->next_victim(blocks->policy, slot);
		if (slot == CKV_NONE || (near_children(s, slot) == 0 &&
		    !(node_of(s, slot)->mark & NODE_DONE)))
			return slot;
	}
	return CKV_NONE;
}

/* End a hold that did not give way; the block returns to its old place in the policy. */
static void tip_release(struct space *s, struct tip *tip)
{
	tip->state = TIP_FREE;
	tip_unhold(s, tip);
	node_release(s, tip->slot, s->config.work_level, POLICY_KEPT);
}

/*
 * The next waiting tip, now READING. A tip whose block has got a child is no chain's
 * end any more, so it is released without a view.
 */
static uint32_t next_waiting(struct space *s)
{
	uint32_t i;

	while ((i = oldest_tip(s, TIP_WAITING)) != CKV_NONE) {
		struct tip *tip = &s->tips[i];
		const struct node *node = node_of(s, tip->slot);

		if (near_children(s, tip->slot) == 1 && !(node->mark & NODE_DONE)) {
			tip->state = TIP_READING;
			return i;
		}
		ckv_count(&s->stats->auto_skipped, 1);
		tip_release(s, tip);
	}
	return CKV_NONE;
}

/* Choose the next tip, now READING; CKV_NONE if there is none. */
static uint32_t tip_begin(struct space *s)
{
	uint32_t i, slot;

	if (s->automatic == SPACE_AUTO_NONE)
		return CKV_NONE;
	if (s->automatic == SPACE_AUTO_DEMOTE)
		return next_waiting(s);
	i = tip_free_slot(s);
	if (i == CKV_NONE)
		return CKV_NONE;
	slot = s->automatic == SPACE_AUTO_PUBLISH ? next_published(s) :
	       next_cold(s);
	if (slot == CKV_NONE)
		return CKV_NONE;
	tip_hold(s, i, slot, TIP_READING);
	return i;
}

int space_tip_begin(struct space *s, uint32_t *ret_tip, struct ckv_key *ret_key,
		    struct space_walk *ret_walk)
{
	uint32_t tip = tip_begin(s);
	struct ckv_block block;

	if (tip == CKV_NONE)
		return 0;
	block_load(s, s->tips[tip].slot, &block);
	*ret_tip = tip;
	*ret_key = block.key;
	walk_begin(ret_walk, s->tips[tip].slot);
	return 1;
}

bool space_tip_held(const struct space *s, uint32_t tip)
{
	assert(tip < s->config.n_tips_max);
	return s->tips[tip].state == TIP_READING;
}

static void count_result(struct space *s, int result)
{
	switch (result) {
	case 0:
		ckv_count(&s->stats->auto_made, 1);
		break;
	case -EEXIST:
		ckv_count(&s->stats->auto_skipped, 1);
		break;
	case -EINVAL:
	case -EPERM:
	case -E2BIG:
		ckv_count(&s->stats->auto_refused, 1);
		break;
	default:
		ckv_count(&s->stats->auto_failed, 1);
	}
}

void space_tip_done(struct space *s, uint32_t i, int result)
{
	struct tip *tip = &s->tips[i];

	assert(i < s->config.n_tips_max);
	assert(tip->state == TIP_READING || tip->state == TIP_REVOKED);
	if (tip->state == TIP_READING) {
		count_result(s, result);
		if (!tip->outdated)
			node_of(s, tip->slot)->mark |= NODE_DONE;
		tip_release(s, tip);
	}
	tip->state = TIP_FREE;
}

void space_set_auto(struct space *s, enum space_auto automatic, bool anew)
{
	if (automatic == s->automatic && !anew)
		return;
	while (s->n_queued_tips > 0)
		(void)tip_dequeue(s);
	for (uint32_t i = 0; i < s->config.n_tips_max; i++) {
		struct tip *tip = &s->tips[i];

		tip->outdated |= anew;
		if (tip->state != TIP_WAITING)
			continue;
		ckv_count(&s->stats->auto_skipped, 1);
		tip_release(s, tip);
	}
	for (uint32_t i = 0; anew && i < s->n_slots; i++)
		node_of(s, i)->mark &= (uint8_t)~(NODE_DONE | NODE_LOST);
	s->automatic = automatic;
}
