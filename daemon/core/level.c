/* SPDX-License-Identifier: Apache-2.0 */
/*
 * level.c - where a block has copies, who needs them, and which may go.
 *
 * A block has at most one copy at each level. Its level is the nearest one with a
 * copy, and is never nearer than its parent's. A copy counts as a child of the
 * parent at its own level, whether or not the parent has a copy there. So one look at
 * a block's own counts tells which of its copies may go.
 *
 * A copy is tied if the block has no farther copy, and no child at its level any more, but
 * one farther away. It may go when the block was copied to where that child is (move.c),
 * or the child has left.
 *
 * While a page is lent for a block that is there, farther away, nothing of it may go.
 */
#include "daemon/core/state.h"

bool copy_may_go(const struct space *s, uint32_t slot, uint32_t level)
{
	const struct copy *copy = node_of(s, slot)->copy;

	if (copy[level].n_children > 0)
		return false;
	if (node_lent_over(s, slot))
		return false;
	if (level_of(s, slot) < level)
		return true;
	for (uint32_t l = level + 1; l < s->config.n_levels; l++) {
		if (copy_there(s, slot, l))
			return true;
		if (copy[l].n_children > 0)
			return false;
	}
	return true;
}

bool copy_is_tied(const struct space *s, uint32_t slot, uint32_t level)
{
	const struct copy *copy = copy_of(s, slot, level);

	return copy->n_children == 0 && !node_lent(s, slot) &&
	       !copy_may_go(s, slot, level);
}

bool copy_is_saved(const struct space *s, uint32_t slot, uint32_t level)
{
	for (uint32_t l = level + 1; l < s->config.n_levels; l++)
		if (copy_there(s, slot, l))
			return true;
	return false;
}

static bool is_candidate(const struct copy *copy)
{
	return copy->queue != 0 || copy->parked;
}

static void take_out(struct space *s, uint32_t slot, uint32_t level)
{
	struct candidates *c = candidates_of(s, slot, level);

	if (copy_of(s, slot, level)->parked)
		unpark(s, c, slot);
	else
		c->ops->remove(c->policy, slot);
}

/* The copy may go: who searched before, and found nothing, may find this one. */
static void put_in(struct candidates *c, uint32_t slot, enum policy_origin origin)
{
	c->ops->insert(c->policy, slot, origin);
	c->search.full = false;
}

static void tie(struct space *s, uint32_t slot, uint32_t l, bool on)
{
	struct level *level = &s->levels[l];
	struct links links = copy_links(level->blocks.copies);

	if (on)
		queue_put_head(&level->tied, links, slot);
	else
		queue_remove(&level->tied, links, slot);
	copy_of(s, slot, l)->mark ^= COPY_TIED;
}

/* Put a copy that may go into its policy, or park it; tie one that is tied. */
static inline void enter(struct space *s, uint32_t slot, uint32_t l, bool parks,
		  enum policy_origin origin)
{
	struct copy *copy = copy_of(s, slot, l);

	if (!copy_there(s, slot, l) || is_candidate(copy))
		return;
	if (!copy_may_go(s, slot, l)) {
		if (!(copy->mark & COPY_TIED) && copy_is_tied(s, slot, l))
			tie(s, slot, l, true);
		return;
	}
	if (copy->mark & COPY_TIED)
		tie(s, slot, l, false);
	if (parks)
		park(s, candidates_of(s, slot, l), slot);
	else
		put_in(candidates_of(s, slot, l), slot, origin);
}

void copy_put(struct space *s, uint32_t slot, uint32_t level, enum policy_origin origin)
{
	enter(s, slot, level, false, origin);
}

void node_put(struct space *s, uint32_t slot, enum policy_origin origin)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		enter(s, slot, l, false, origin);
}

void node_park(struct space *s, uint32_t slot)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		enter(s, slot, l, true, POLICY_KEPT);
}

static void copy_take_out(struct space *s, uint32_t slot, uint32_t l)
{
	struct copy *copy = copy_of(s, slot, l);

	if (is_candidate(copy))
		take_out(s, slot, l);
	else if (copy->mark & COPY_TIED)
		tie(s, slot, l, false);
}

void node_take_out(struct space *s, uint32_t slot)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		copy_take_out(s, slot, l);
}

void copy_add(struct space *s, uint32_t slot, uint32_t level, uint32_t place)
{
	struct copy *copy = copy_of(s, slot, level);

	assert(!copy_there(s, slot, level) && !(copy->mark & COPY_STALE));
	copy->place = place;
	copy->heat = 0;
	copy->stamp = 0;
	copy->mark &= (uint8_t)~COPY_LENT;
}

static inline void take_away(struct space *s, uint32_t slot, uint32_t level)
{
	struct copy *copy = copy_of(s, slot, level);

	assert(!is_candidate(copy));
	copy->place = CKV_NONE;
	if (copy->mark == 0)
		return;
	assert(!(copy->mark & COPY_TIED));
	if (copy->mark & COPY_STALE)
		queue_remove(&s->levels[level].stale,
			     copy_links(s->levels[level].blocks.copies), slot);
	copy->mark &= COPY_QUEUED | COPY_WANTED;
}

void copy_remove(struct space *s, uint32_t slot, uint32_t level)
{
	take_away(s, slot, level);
}

void copy_new(struct space *s, uint32_t slot, uint32_t level)
{
	struct copy *copy = copy_of(s, slot, level);
	struct candidates *c = candidates_of(s, slot, level);

	copy->heat = 0;
	copy->stamp = 0;
	if (copy_may_go(s, slot, level)) {
		put_in(c, slot, POLICY_NEW);
		return;
	}
	/* It has got a child before: what counts is when that was, and no use. */
	c->ops->touch(c->policy, slot);
	copy->heat = 0;
}

/* One more needs the block at this level: what may not go any more is no candidate. */
static void gain(struct space *s, uint32_t slot, uint32_t level)
{
	copy_of(s, slot, level)->n_children++;
	for (uint32_t l = 0; l <= level; l++) {
		struct copy *copy = copy_of(s, slot, l);

		if (is_candidate(copy) && !copy_may_go(s, slot, l)) {
			take_out(s, slot, l);
			enter(s, slot, l, false, POLICY_KEPT);
		} else if ((copy->mark & COPY_TIED) && !copy_is_tied(s, slot, l)) {
			tie(s, slot, l, false);
		}
	}
}

/* One less. A block in the batch is judged, so it is no candidate before it is restored. */
static void lose(struct space *s, uint32_t slot, uint32_t level,
		 enum policy_origin origin)
{
	struct copy *copy = copy_of(s, slot, level);

	assert(copy->n_children > 0);
	/* Only a tip's hold may be left, which can give way now. */
	if (node_of(s, slot)->mark & NODE_TIP_HELD)
		tip_may_yield(s);
	if (--copy->n_children > 0 || batch_has(s, slot) ||
	    node_of(s, slot)->state != NODE_PUBLISHED)
		return;
	node_put(s, slot, origin);
	if (origin == POLICY_BACK)
		tip_enqueue(s, slot);
}

void node_hold(struct space *s, uint32_t slot, uint32_t level)
{
	assert(is_near(s, slot, level) || lent_level(s, slot) <= level);
	gain(s, slot, level);
}

void node_release(struct space *s, uint32_t slot, uint32_t level,
		  enum policy_origin origin)
{
	lose(s, slot, level, origin);
}

void parent_gain_at(struct space *s, uint32_t slot, uint32_t level)
{
	uint32_t parent = node_of(s, slot)->parent;

	if (parent != CKV_NONE)
		gain(s, parent, level);
}

void parent_lose_at(struct space *s, uint32_t slot, uint32_t level,
		    enum policy_origin origin)
{
	uint32_t parent = node_of(s, slot)->parent;

	if (parent != CKV_NONE)
		lose(s, parent, level, origin);
}

void parent_gain(struct space *s, uint32_t slot)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (copy_of(s, slot, l)->place != CKV_NONE)
			parent_gain_at(s, slot, l);
}

void parent_lose(struct space *s, uint32_t slot, enum policy_origin origin)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (copy_of(s, slot, l)->place != CKV_NONE)
			parent_lose_at(s, slot, l, origin);
}

void node_take(struct space *s, uint32_t slot, uint32_t parent, uint32_t level,
	       uint32_t page)
{
	struct node *node = node_of(s, slot);

	assert(node->state == NODE_FREE && node_children(s, slot) == 0);
	node->state = NODE_LENT;
	node->parent = parent;
	node->copy[level].place = page;
}

void node_free(struct space *s, uint32_t slot)
{
	struct node *node = node_of(s, slot);

	assert(node->state != NODE_FREE && node_children(s, slot) == 0);
	assert(node->move == 0);
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		take_away(s, slot, l);
	node->state = NODE_FREE;
	node->mark &= NODE_STAYS;
	table_give(s, slot);
}
