/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prefetch.c - PREFETCH: follow a chain, bring what is farther away, and wait for blocks
 * that are being written.
 *
 * The task passes its keys from the first one on. A block at its level, or nearer, is
 * passed. A block that is reserved will be published or given back, and one that is
 * farther away is asked for (move.c) together with some that follow it, and will come or
 * not. So the task stops there and says
 * SPACE_LATER; its owner keeps it in a place of its own and calls space_await(). PUBLISH,
 * ABORT, the end of the move, and that a lane is shut or ends, then move it to the list of
 * those that can go on, from which space_ready() hands it back. A key that is not there,
 * that is stored under another parent, that was asked for and did not come, or that is
 * reserved by a lane that is shut, ends the chain: nothing is coming there.
 *
 * With `keep`, the last block that was passed is held, and so are all its ancestors
 * (hold.c): the block stays until its reader has pinned it.
 */
#include "daemon/core/state.h"

#define ASKED_AHEAD 32u		/* blocks that one task asks for before they have come */

/* ---- who awaits which block ---- */

static struct space_task **bucket_of(const struct space *s, uint32_t slot)
{
	return &s->awaiting[slot & (s->n_awaiting - 1)];
}

static void link_at(struct space_task **at, struct space_task *t)
{
	t->at = at;
	t->after = *at;
	if (*at != NULL)
		(*at)->at = &t->after;
	*at = t;
}

static void unlink_at(struct space_task *t)
{
	*t->at = t->after;
	if (t->after != NULL)
		t->after->at = t->at;
	t->at = NULL;
	t->after = NULL;
}

static void ready_put(struct space *s, struct space_task *t)
{
	t->ready = true;
	link_at(s->ready_end, t);
	s->ready_end = &t->after;
}

/* Out of whichever list it is in. */
static void await_end(struct space *s, struct space_task *t)
{
	if (t->at == NULL)
		return;
	if (t->ready && s->ready_end == &t->after)
		s->ready_end = t->at;
	else if (!t->ready)
		s->n_awaited--;
	t->ready = false;
	unlink_at(t);
}

void await_settle(struct space *s, uint32_t slot, int32_t *units)
{
	struct space_task *t, *next;

	if (s->n_awaited == 0)
		return;
	for (t = *bucket_of(s, slot); t != NULL; t = next) {
		next = t->after;
		*units -= UNITS_LOOK;
		if (t->awaited_slot != slot)
			continue;
		await_end(s, t);
		ready_put(s, t);
	}
}

static bool is_lent_to(const struct space *s, uint32_t slot, int lane)
{
	return node_lent(s, slot) && page_lent(s, slot)->lane == lane;
}

uint32_t space_lane_shut(struct space *s, int number)
{
	struct space_task *t, *next;
	uint32_t n_looks = 0;

	lane_of(s, number)->shut = true;
	if (lane_of(s, number)->lent.n == 0)
		return 0;	/* nobody waits for it */
	for (uint32_t i = 0; s->n_awaited > 0 && i < s->n_awaiting; i++)
		for (t = s->awaiting[i]; t != NULL; t = next) {
			n_looks++;
			next = t->after;
			if (!is_lent_to(s, t->awaited_slot, number))
				continue;
			await_end(s, t);
			ready_put(s, t);
		}
	return n_looks * UNITS_LOOK;
}

void space_await(struct space *s, struct space_task *t)
{
	assert(t->op == SPACE_PREFETCH && t->at == NULL);
	assert(t->awaited_slot < s->n_slots);
	link_at(bucket_of(s, t->awaited_slot), t);
	s->n_awaited++;
}

void space_again(struct space *s, struct space_task *t)
{
	assert(t->op == SPACE_PREFETCH && t->at == NULL);
	ready_put(s, t);
}

struct space_task *space_ready(struct space *s)
{
	struct space_task *t = s->ready_head;

	if (t != NULL)
		await_end(s, t);
	return t;
}

bool space_has_ready(const struct space *s)
{
	return s->ready_head != NULL;
}

/* ---- the chain ---- */

/* Does the block of key i, in this slot, follow the key before it? */
static bool follows(const struct space *s, const struct space_task *t, uint32_t i,
		    uint32_t slot)
{
	const struct ckv_key *keys = t->items;
	uint32_t parent = node_of(s, slot)->parent;
	struct ckv_block block;

	if (i == 0)
		return true;		/* the first one may be anywhere */
	if (parent == CKV_NONE)
		return false;
	block_load(s, parent, &block);
	return memcmp(&block.key, &keys[i - 1], sizeof keys[0]) == 0;
}

/* The slot of the block of key i of the chain, if it is in the index; or CKV_NONE. */
static uint32_t link_find(const struct space *s, const struct space_task *t, uint32_t i)
{
	const struct ckv_key *key = (const struct ckv_key *)t->items + i;
	struct ckv_place place = ckv_index_place(&s->index, key);
	uint32_t slot;

	if (table_find(s, &place, key, &slot) == TABLE_ABSENT ||
	    node_is_view(s, slot) || !follows(s, t, i, slot))
		return CKV_NONE;
	return slot;
}

/* Hold the block that was passed instead of the one before it. */
static void keep(struct space *s, struct space_task *t, uint32_t slot)
{
	uint32_t before = t->held_slot, before_level = t->held_level;

	t->held_slot = slot;
	t->held_level = level_of(s, slot);
	node_hold(s, slot, t->held_level);
	if (before != CKV_NONE)
		node_release(s, before, before_level, POLICY_BACK);
}

/* Ask for the next blocks of the chain that are farther away, root first. */
static void ask_ahead(struct space *s, struct space_task *t, int32_t *units)
{
	uint32_t end = t->n - t->next < ASKED_AHEAD ? t->n : t->next + ASKED_AHEAD;

	if (t->n_asked < t->next)
		t->n_asked = t->next;
	for (; t->n_asked < end; t->n_asked++) {
		uint32_t slot = link_find(s, t, t->n_asked);

		*units -= UNITS_FIND;
		if (slot == CKV_NONE || node_lent(s, slot))
			return;
		if (!is_near(s, slot, t->level))
			want(s, slot, t->level);
	}
}

/* The next block is farther away. SPACE_LATER: it is coming; 0: it is not. */
static int bring(struct space *s, struct space_task *t, uint32_t slot, int32_t *units)
{
	/* It was asked for, and did not come. */
	if (t->next < t->n_asked && !is_coming(s, slot, t->level))
		return 0;
	if (t->n_asked < t->next + ASKED_AHEAD / 2)
		ask_ahead(s, t, units);
	if (!is_coming(s, slot, t->level))
		return 0;
	t->awaited_slot = slot;
	return SPACE_LATER;
}

/* The next key: 1 it is there, 0 the chain ends, SPACE_LATER it is being written or brought. */
static int pass_key(struct space *s, struct space_task *t, int32_t *units)
{
	uint32_t slot = link_find(s, t, t->next);

	if (slot == CKV_NONE)
		return 0;
	if (is_near(s, slot, t->level)) {
		if (t->keep)
			keep(s, t, slot);
		return 1;
	}
	if (!node_lent(s, slot))
		return bring(s, t, slot, units);
	if (s->lanes[page_lent(s, slot)->lane].shut)
		return 0;
	t->awaited_slot = slot;
	return SPACE_LATER;
}

int prefetch_run(struct space *s, struct space_task *t, int32_t *units)
{
	int r;

	assert(t->level < s->config.n_levels);
	while (t->next < t->n) {
		if (*units <= 0)
			return SPACE_MORE;
		*units -= UNITS_FIND;
		r = pass_key(s, t, units);
		if (r == SPACE_LATER)
			return r;
		if (r == 0)
			break;
		t->next++;
	}
	return (int)t->next;
}

int space_prefetch_stop(struct space *s, struct space_task *t)
{
	assert(t->op == SPACE_PREFETCH);
	await_end(s, t);
	return (int)t->next;
}

void prefetch_cancel(struct space *s, struct space_task *t)
{
	uint32_t slot = t->held_slot;

	await_end(s, t);
	t->held_slot = CKV_NONE;
	if (slot != CKV_NONE)
		node_release(s, slot, t->held_level, POLICY_BACK);
}
