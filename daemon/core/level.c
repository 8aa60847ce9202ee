/* SPDX-License-Identifier: Apache-2.0 */
/*
 * level.c - where a block has copies, who needs them, and which may go.
 *
 * A block has at most one copy at each level. Its level is the nearest one with a
 * copy, and is never nearer than its parent's. A copy counts as a child of the
 * parent at its own level, whether or not the parent has a copy there. So one look at
 * a block's own counts tells which of its copies may go.
 */
#include "daemon/core/state.h"

bool copy_may_go(const struct space *s, uint32_t slot, uint32_t level)
{
	const struct copy *copy = node_of(s, slot)->copy;

	if (copy[level].n_children > 0)
		return false;
	if (level_of(s, slot) < level)
		return true;
	for (uint32_t l = level + 1; l < s->config.n_levels; l++) {
		if (copy[l].place != CKV_NONE)
			return true;
		if (copy[l].n_children > 0)
			return false;
	}
	return true;
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

void node_put(struct space *s, uint32_t slot, enum policy_origin origin)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		struct candidates *c = candidates_of(s, slot, l);

		if (copy_there(s, slot, l) && !is_candidate(copy_of(s, slot, l)) &&
		    copy_may_go(s, slot, l))
			put_in(c, slot, origin);
	}
}

void node_take_out(struct space *s, uint32_t slot)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (is_candidate(copy_of(s, slot, l)))
			take_out(s, slot, l);
}

void copy_new(struct space *s, uint32_t slot)
{
	struct copy *copy = copy_of(s, slot, LEND_LEVEL);
	struct candidates *c = candidates_of(s, slot, LEND_LEVEL);

	copy->heat = 0;
	copy->stamp = 0;
	if (copy_may_go(s, slot, LEND_LEVEL)) {
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
	for (uint32_t l = 0; l <= level; l++)
		if (is_candidate(copy_of(s, slot, l)) && !copy_may_go(s, slot, l))
			take_out(s, slot, l);
}

/* One less. A block in the batch is judged, so it is no candidate before it is restored. */
static void lose(struct space *s, uint32_t slot, uint32_t level,
		 enum policy_origin origin)
{
	struct copy *copy = copy_of(s, slot, level);

	assert(copy->n_children > 0);
	if (--copy->n_children > 0 || batch_has(s, slot) ||
	    node_of(s, slot)->state != NODE_PUBLISHED)
		return;
	node_put(s, slot, origin);
	if (origin == POLICY_BACK)
		tip_enqueue(s, slot);
}

void node_hold(struct space *s, uint32_t slot, uint32_t level)
{
	assert(copy_there(s, slot, level));
	gain(s, slot, level);
}

void node_release(struct space *s, uint32_t slot, uint32_t level,
		  enum policy_origin origin)
{
	lose(s, slot, level, origin);
}

void parent_gain(struct space *s, uint32_t slot)
{
	uint32_t parent = node_of(s, slot)->parent;

	for (uint32_t l = 0; parent != CKV_NONE && l < s->config.n_levels; l++)
		if (copy_there(s, slot, l))
			gain(s, parent, l);
}

void parent_lose(struct space *s, uint32_t slot, enum policy_origin origin)
{
	uint32_t parent = node_of(s, slot)->parent;

	for (uint32_t l = 0; parent != CKV_NONE && l < s->config.n_levels; l++)
		if (copy_there(s, slot, l))
			lose(s, parent, l, origin);
}

void node_take(struct space *s, uint32_t slot, uint32_t parent, uint32_t page)
{
	struct node *node = node_of(s, slot);

	assert(node->state == NODE_FREE && node_children(s, slot) == 0);
	node->state = NODE_LENT;
	node->parent = parent;
	node->copy[LEND_LEVEL].place = page;
}

void node_free(struct space *s, uint32_t slot)
{
	struct node *node = node_of(s, slot);

	assert(node->state != NODE_FREE && node_children(s, slot) == 0);
	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		assert(!is_candidate(&node->copy[l]));
		node->copy[l].place = CKV_NONE;
	}
	node->state = NODE_FREE;
	node->mark &= NODE_STAYS;
	table_give(s, slot);
}
