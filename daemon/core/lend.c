/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lend.c - RESERVE: pages are lent to clients. publish.c takes them back.
 *
 * A lent page is in its lane's queue. If its parent is lent, too, the page comes right
 * behind the parent, so all descendants of a page follow it in the queue without a
 * gap. A lane may reserve under lent pages of its own only, so aborting one lane's
 * page never takes a page of another lane.
 */
#include "daemon/core/state.h"

/* Prefetched are the buckets of the key so far ahead, and the slot of a nearer one. */
#define FAR	16u
#define NEAR	8u

uint32_t page_pop(struct space *s)
{
	struct level *level = lend_level(s);
	uint32_t page = place_pop(level);

	assert(page_of(s, page)->n_holds == 0 && page_of(s, page)->lane == NO_LANE);
	if (level->free_head != CKV_NONE)
		page_prefetch(s, level->free_head);
	ckv_hint_store64(&s->stats->pages_free, level->n_free);
	return page;
}

void page_push(struct space *s, uint32_t page)
{
	struct level *level = lend_level(s);

	ckv_record_free(&s->records[page]);
	place_push(level, page);
	ckv_hint_store64(&s->stats->pages_free, level->n_free);
}

void lent_free(struct space *s, uint32_t page)
{
	assert(page_of(s, page)->n_holds == 0);
	gauge_sub(&s->stats->pages_lent, 1);
	page_push(s, page);
}

uint32_t place_get(struct space *s, uint32_t level)
{
	return level == LEND_LEVEL ? page_pop(s) : place_pop(&s->levels[level]);
}

void place_put(struct space *s, uint32_t level, uint32_t place)
{
	if (level == LEND_LEVEL)
		page_push(s, place);
	else
		place_push(&s->levels[level], place);
}

/* Only a block with a page may be without a checksum: a move brings it (move.c). */
static void page_is_left(struct space *s, uint32_t slot)
{
	const struct ckv_record *record = record_of(s, slot);

	assert(record->state == CKV_RECORD_PUBLISHED);
	assert(record->slot == slot);
	if (!(record->flags & CKV_ENTRY_SUMMED))
		gauge_sub(&s->stats->unsummed, 1);
}

void block_free(struct space *s, uint32_t slot)
{
	event_note(s, SPACE_REMOVED, slot, level_of(s, slot), ALL_LEVELS);
	if (page_in(s, slot) != CKV_NONE) {
		page_is_left(s, slot);
		page_push(s, page_in(s, slot));
	}
	gauge_sub(&s->stats->blocks, 1);
	for (uint32_t l = LEND_LEVEL + 1; l < s->config.n_levels; l++)
		if (copy_of(s, slot, l)->place != CKV_NONE)
			place_put(s, l, copy_of(s, slot, l)->place);
	node_free(s, slot);
}

/* ---- RESERVE ---- */

/* Fill the record of a page that is about to be lent to a lane. */
static void record_lent(struct space *s, int lane, uint32_t page, uint32_t slot,
			const struct ckv_block *block)
{
	struct ckv_record *record = &s->records[page];

	record->key = block->key;
	record->checksum = s->lanes[lane].memory.serial;
	record->parent_slot = block->parent_slot;
	record->slot = slot;
	record->generation = block->generation;
	record->n_tokens = 0;
	record->flags = 0;
	record->state = CKV_RECORD_LENT;
	ckv_record_close(record, s->fingerprint, page);
}

uint32_t lane_take(struct space *s, int number, uint32_t page, uint32_t parent)
{
	struct space_lane *lane = lane_of(s, number);
	struct page *p = page_of(s, page);
	bool under_lent = parent != CKV_NONE && node_lent(s, parent);

	p->lane = p->last_lane = (uint16_t)number;
	p->published = false;
	if (++p->lending == 0)
		p->lending = 1;
	queue_put_after(&lane->lent, page_links(s), page,
			under_lent ? page_in(s, parent) : lane->lent.tail);
	s->client_lent[lane->client]++;
	s->user_lent[lane->memory.user]++;
	ckv_count(&s->stats->pages_lent, 1);
	ckv_count(&s->stats->reserved, 1);
	return p->lending;
}

static uint32_t left(uint32_t lent, uint32_t most)
{
	return lent < most ? most - lent : 0;
}

/* How many pages more may be lent to the lane's client: its own and its user's limit. */
static uint32_t lent_left(const struct space *s, const struct space_lane *lane)
{
	uint32_t user = s->config.n_user_lent_max;
	uint32_t n = left(s->client_lent[lane->client], s->config.n_lent_max);

	if (user == 0)
		return n;
	user = left(s->user_lent[lane->memory.user], user);
	return n < user ? n : user;
}

/* May one page more be lent to the task's lane? 0; SPACE_WAIT; -EDQUOT, -ENOSPC. */
static int lend_page(struct space *s, struct space_task *t)
{
	uint32_t may = lent_left(s, lane_of(s, t->lane));
	uint32_t wanted = t->n - t->next;

	if (may == 0)
		return -EDQUOT;
	if (wanted > may)
		wanted = may;
	if (pages_to_lend(s) == 0)
		return room_wait(s, &t->wait, &lend_level(s)->blocks, wanted);
	t->wait.searches = false;
	return 0;
}

/*
 * Find the block with this key, under which the lane may reserve. False: there is none;
 * *ret_far: it is there, but at a farther level.
 */
static bool find_parent(struct space *s, int lane, const struct ckv_key *key,
			uint32_t *ret_slot, bool *ret_far)
{
	struct ckv_place place = ckv_index_place(&s->index, key);
	uint32_t slot;

	*ret_far = false;
	if (table_find(s, &place, key, &slot) == TABLE_ABSENT ||
	    node_is_view(s, slot))
		return false;
	if (node_lent(s, slot) ? page_of(s, page_in(s, slot))->lane != lane :
				 !copy_there(s, slot, LEND_LEVEL)) {
		*ret_far = node_of(s, slot)->state == NODE_PUBLISHED;
		return false;
	}
	*ret_slot = slot;
	return true;
}

/*
 * Hold the parent of the next key while the task pauses or waits for room, so that the
 * parent is not evicted meanwhile.
 */
static void parent_hold(struct space *s, struct space_task *t)
{
	if (t->held_slot != CKV_NONE || t->parent_slot == CKV_NONE ||
	    !t->parent_ok)
		return;
	node_hold(s, t->parent_slot, LEND_LEVEL);
	t->held_slot = t->parent_slot;
}

static void parent_release(struct space *s, struct space_task *t)
{
	uint32_t slot = t->held_slot;

	t->held_slot = CKV_NONE;
	if (slot != CKV_NONE)
		node_release(s, slot, LEND_LEVEL, POLICY_BACK);
}

/* Lend a page for a key that is not in the index, and whose parent is. */
static int reserve_absent(struct space *s, struct space_task *t,
			  const struct ckv_key *key,
			  const struct ckv_place *place, struct ckv_lent *ret)
{
	uint32_t parent = t->parent_slot;
	struct ckv_block block = ckv_block_none();
	uint32_t slot = table_choose(s, place);
	int r;

	r = slot != CKV_NONE ? lend_page(s, t) : bucket_wait(s, t, place);
	if (r < 0)
		return r;
	ret->page = page_pop(s);
	block.key = *key;
	block.parent_slot = parent;
	block.n_pages = 1;
	*ckv_block_page(&block, lend_level(s)->config.number) = ret->page;
	table_take(s, slot, place->tag, &block);
	ret->slot = slot;
	ret->generation = block.generation;
	node_take(s, ret->slot, parent, ret->page);
	record_lent(s, t->lane, ret->page, ret->slot, &block);
	ret->lending = lane_take(s, t->lane, ret->page, parent);
	parent_gain(s, ret->slot);
	parent_release(s, t);
	t->parent_slot = ret->slot;
	return 0;
}

/*
 * Lend a page for a block that is there, but only farther away: its writer did not wait
 * until it is brought. Until PUBLISH, readers find it where it is.
 */
static int reserve_over(struct space *s, struct space_task *t, uint32_t slot,
			struct ckv_lent *ret)
{
	struct copy *copy = copy_of(s, slot, LEND_LEVEL);
	uint32_t parent = t->parent_slot;
	struct ckv_block block;
	int r;

	if (node_lent(s, slot))
		return -EALREADY;
	r = lend_page(s, t);
	if (r < 0)
		return r;
	ret->page = page_pop(s);
	ret->slot = slot;
	ret->generation = table_generation(s, slot);
	node_take_out(s, slot);
	copy->place = ret->page;
	copy->mark |= COPY_LENT;
	block_load(s, slot, &block);
	record_lent(s, t->lane, ret->page, slot, &block);
	ret->lending = lane_take(s, t->lane, ret->page, parent);
	parent_gain_at(s, slot, LEND_LEVEL);
	parent_release(s, t);
	t->parent_slot = slot;
	return 0;
}

static int reserve_key(struct space *s, struct space_task *t,
		       const struct ckv_key *key,
		       const struct ckv_place *place, struct ckv_lent *ret)
{
	uint32_t slot;

	switch (table_find(s, place, key, &slot)) {
	case TABLE_PUBLISHED:
		/*
		 * Refuse a block whose parent is not the one that the client
		 * named: the keys after it would be stored under a block of
		 * another chain. A published block's parent is always in the
		 * index, so a parent that is not there cannot be its parent.
		 */
		if (!t->parent_ok || node_of(s, slot)->parent != t->parent_slot)
			return -EXDEV;
		if (!copy_there(s, slot, LEND_LEVEL))
			return reserve_over(s, t, slot, ret);
		ret->slot = slot;
		ret->generation = table_generation(s, slot);
		parent_release(s, t);
		t->parent_slot = slot;
		t->parent_ok = !node_is_view(s, slot);
		return -EEXIST;
	case TABLE_RESERVED:
		return -EALREADY;
	default:
		break;
	}
	if (!t->parent_ok)
		return t->parent_far ? -EXDEV : -ENOENT;
	return reserve_absent(s, t, key, place, ret);
}

static void count_refusal(struct space *s, int status)
{
	switch (status) {
	case -EEXIST:	ckv_count(&s->stats->refused_exists, 1); break;
	case -EALREADY:	ckv_count(&s->stats->refused_busy, 1); break;
	case -EXDEV:
	case -ENOENT:	ckv_count(&s->stats->refused_parent, 1); break;
	case -ENOSPC:	ckv_count(&s->stats->refused_space, 1); break;
	case -EXFULL:	ckv_count(&s->stats->refused_index, 1); break;
	case -EDQUOT:	ckv_count(&s->stats->refused_quota, 1); break;
	}
}

static const struct ckv_lent lent_none = {
	.page = CKV_NONE, .slot = CKV_NONE,
};

static bool key_zero(const struct ckv_key *key)
{
	static const struct ckv_key zero;

	return memcmp(key, &zero, sizeof zero) == 0;
}

/* Where the next keys may be: number i at i % FAR. */
struct places {
	struct ckv_place at[FAR];
};

/* Work out where key number i may be, and prefetch its buckets. */
static void place_ahead(const struct space *s, const struct space_task *t,
			uint32_t i, struct places *places)
{
	const struct ckv_key *keys = t->items;

	if (i >= t->n)
		return;
	places->at[i % FAR] = ckv_index_place(&s->index, &keys[i]);
	ckv_index_prefetch(&s->index, &places->at[i % FAR]);
}

static int reserve_begin(struct space_task *t, int32_t *units)
{
	const struct ckv_key *keys = t->items;

	for (uint32_t i = 0; i < t->n; i++)
		if (key_zero(&keys[i]))
			return -EINVAL;
	*units -= UNITS_FIND + (int32_t)t->n / 16;
	t->parent_known = key_zero(&t->parent);
	t->parent_ok = true;
	t->begun_keys = true;
	return 0;
}

/* Look the parent up. A task that paused before its first key looks again if it must. */
static void reserve_find(struct space *s, struct space_task *t)
{
	t->parent_ok = find_parent(s, t->lane, &t->parent, &t->parent_slot,
				   &t->parent_far);
	t->parent_known = t->parent_ok;
}

/* Pause before an item that is not answered yet. */
static int reserve_pause(struct space *s, struct space_task *t, int why)
{
	parent_hold(s, t);
	return why;
}

/* End the task. Items after a key that failed (-EEXIST is no failure) are cancelled. */
static int reserve_end(struct space *s, struct space_task *t, int32_t *units)
{
	struct ckv_lent *lent = t->answers;

	parent_release(s, t);
	*units -= (int32_t)(t->n - t->next) / 16;
	for (; t->next < t->n; t->next++) {
		lent[t->next] = lent_none;
		lent[t->next].status = -ECANCELED;
	}
	return t->n_done;
}

int reserve_run(struct space *s, struct space_task *t, int32_t *units)
{
	const struct ckv_key *keys = t->items;
	struct ckv_lent *lent = t->answers;
	struct places places;
	int r;

	if (!t->begun_keys && reserve_begin(t, units) < 0)
		return -EINVAL;
	if (!t->parent_known && t->next == 0)
		reserve_find(s, t);
	for (uint32_t i = t->next; i < t->next + FAR; i++)
		place_ahead(s, t, i, &places);
	while (t->next < t->n) {
		uint32_t i = t->next;
		struct ckv_place place = places.at[i % FAR];

		if (*units <= 0)
			return reserve_pause(s, t, SPACE_MORE);
		place_ahead(s, t, i + FAR, &places);
		if (i + NEAR < t->n)
			table_prefetch_room(s, &places.at[(i + NEAR) % FAR]);
		*units -= UNITS_LEND;
		lent[i] = lent_none;
		r = reserve_key(s, t, &keys[i], &place, &lent[i]);
		*units -= (int32_t)t->owed;
		t->owed = 0;
		if (r == SPACE_WAIT)
			return reserve_pause(s, t, r);
		t->next++;
		t->n_wishes = 0;
		lent[i].status = r;
		count_refusal(s, r);
		t->n_done += r == 0;
		if (r != 0 && r != -EEXIST)
			break;
	}
	return reserve_end(s, t, units);
}

void reserve_cancel(struct space *s, struct space_task *t)
{
	parent_release(s, t);
}

int scratch_run(struct space *s, struct space_task *t, int32_t *units)
{
	static const struct ckv_block block = { .parent_slot = CKV_NONE };
	struct ckv_lent *lent = t->answers;
	uint32_t page;
	int r;

	while (t->next < t->n) {
		if (*units <= 0)
			return SPACE_MORE;
		*units -= UNITS_LEND;
		r = lend_page(s, t);
		if (r == SPACE_WAIT)
			return r;
		lent[t->next] = lent_none;
		lent[t->next].status = r;
		count_refusal(s, r);
		if (r != 0) {
			t->next++;
			break;
		}
		lent[t->next].page = page = page_pop(s);
		record_lent(s, t->lane, page, CKV_NONE, &block);
		lent[t->next].lending = lane_take(s, t->lane, page, CKV_NONE);
		t->next++;
		t->n_done++;
	}
	return reserve_end(s, t, units);
}
