/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lend.c - RESERVE: pages are lent to clients. publish.c takes them back.
 *
 * A page is lent at the level that the client asks for, if the block is not there or nearer.
 * Its parent is at that level or nearer, or was lent there to the same lane. In that case the
 * page hangs on the parent's page, and is taken back with it.
 *
 * A lent page is in its lane's queue. One that hangs on another comes right behind that, so
 * all that hangs on a page follows it in the queue without a gap. A lane may reserve under
 * lent pages of its own only, so aborting one lane's page never takes a page of another
 * lane. While a page is lent for a block that is there, farther away, the block's level does
 * not change (move.c); so what hangs on the page stays known.
 */
#include "daemon/core/state.h"

/* Prefetched are the buckets of the key so far ahead, and the slot of a nearer one. */
#define FAR	16u
#define NEAR	8u

/* The pages of all levels, or the work level's, are counted together. */
uint32_t place_get(struct space *s, uint32_t l)
{
	struct level *level = &s->levels[l];
	uint32_t place = place_pop(level);

	if (level->records == NULL)
		return place;
	assert(level->pages[place].n_holds == 0 && level->pages[place].lane == NO_LANE);
	if (level->free_head != CKV_NONE)
		page_prefetch(level, level->free_head);
	gauge_sub(&s->stats->pages_free, 1);
	return place;
}

void place_put(struct space *s, uint32_t l, uint32_t place)
{
	struct level *level = &s->levels[l];

	if (level->records != NULL) {
		ckv_record_free(&level->records[place]);
		ckv_count(&s->stats->pages_free, 1);
	}
	place_push(level, place);
}

void lent_free(struct space *s, uint32_t level, uint32_t page)
{
	assert(page_of(s, level, page)->n_holds == 0);
	gauge_sub(&s->stats->pages_lent, 1);
	place_put(s, level, page);
}

/* Only a block with one copy may be without a checksum: a move brings it (move.c). */
static void page_is_left(struct space *s, uint32_t slot, uint32_t level)
{
	const struct ckv_record *record = record_of(s, slot, level);

	assert(record->state == CKV_RECORD_PUBLISHED);
	assert(record->slot == slot);
	if (!(record->flags & CKV_ENTRY_SUMMED))
		gauge_sub(&s->stats->unsummed, 1);
}

void block_free(struct space *s, uint32_t slot)
{
	event_note(s, SPACE_REMOVED, slot, level_of(s, slot), ALL_LEVELS);
	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		uint32_t place = copy_of(s, slot, l)->place;

		if (place == CKV_NONE)
			continue;
		if (level_has_pages(s, l) && copy_there(s, slot, l))
			page_is_left(s, slot, l);
		place_put(s, l, place);
	}
	gauge_sub(&s->stats->blocks, 1);
	node_free(s, slot);
}

/* ---- RESERVE ---- */

/* Fill the record of a page that is about to be lent to a lane. */
static void record_lent(struct space *s, int lane, uint32_t level, uint32_t page,
			uint32_t slot, const struct ckv_block *block)
{
	struct ckv_record *record = &s->levels[level].records[page];

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

/* The sheet on which one at this level under this parent hangs; or the lane's last one. */
static uint32_t sheet_before(const struct space *s, const struct space_lane *lane,
			     uint32_t parent, uint32_t level)
{
	const struct node *node;

	if (parent == CKV_NONE)
		return lane->lent.tail;
	node = node_of(s, parent);
	if (node->state == NODE_LENT && node->copy[level].place != CKV_NONE)
		return sheet_of(s, level, node->copy[level].place);	/* mostly */
	if (is_near(s, parent, level))
		return lane->lent.tail;
	return (uint32_t)(page_lent(s, parent) - s->pages);
}

uint32_t lane_take(struct space *s, int number, uint32_t l, uint32_t page,
		   uint32_t parent)
{
	struct space_lane *lane = lane_of(s, number);
	struct level *level = &s->levels[l];
	struct page *p = &level->pages[page];

	p->lane = p->last_lane = (uint16_t)number;
	p->published = false;
	if (++p->lending == 0)
		p->lending = 1;
	queue_put_after(&lane->lent, sheet_links(s), level->first_sheet + page,
			sheet_before(s, lane, parent, l));
	level->client_lent[lane->client]++;
	level->user_lent[lane->memory.user]++;
	ckv_count(&s->stats->pages_lent, 1);
	ckv_count(&s->stats->reserved, 1);
	return p->lending;
}

static uint32_t left(uint32_t lent, uint32_t most)
{
	return lent < most ? most - lent : 0;
}

/* How many pages more may be lent to the lane's client: its own and its user's limit. */
static uint32_t lent_left(const struct level *level, const struct space_lane *lane)
{
	uint32_t user = level->config.n_user_lent_max;
	uint32_t n = left(level->client_lent[lane->client], level->config.n_lent_max);

	if (user == 0)
		return n;
	user = left(level->user_lent[lane->memory.user], user);
	return n < user ? n : user;
}

/* May one page more be lent to the task's lane? 0; SPACE_WAIT; -EDQUOT, -ENOSPC. */
static int lend_page(struct space *s, struct space_task *t)
{
	struct level *level = &s->levels[t->level];
	uint32_t may = lent_left(level, lane_of(s, t->lane));
	uint32_t wanted = t->n - t->next;

	if (may == 0)
		return -EDQUOT;
	if (wanted > may)
		wanted = may;
	if (places_left(level) == 0)
		return room_wait(s, &t->wait, &level->blocks, wanted);
	t->wait.searches = false;
	return 0;
}

/*
 * Find the task's parent, under which its lane may reserve at its level. False: there is none;
 * t->parent_far: it is there, or lent to the lane, but at a farther level.
 */
static bool find_parent(const struct space *s, struct space_task *t)
{
	struct ckv_place place = ckv_index_place(&s->index, &t->parent);
	uint32_t slot;
	bool ours;

	t->parent_far = false;
	if (table_find(s, &place, &t->parent, &slot) == TABLE_ABSENT ||
	    node_is_view(s, slot))
		return false;
	t->parent_slot = slot;
	if (is_near(s, slot, t->level))
		return true;
	ours = node_lent(s, slot) && page_lent(s, slot)->lane == t->lane;
	if (ours && lent_level(s, slot) <= t->level)
		return true;
	t->parent_far = ours || node_of(s, slot)->state == NODE_PUBLISHED;
	return false;
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
	node_hold(s, t->parent_slot, t->level);
	t->held_slot = t->parent_slot;
}

static void parent_release(struct space *s, struct space_task *t)
{
	uint32_t slot = t->held_slot;

	t->held_slot = CKV_NONE;
	if (slot != CKV_NONE)
		node_release(s, slot, t->level, POLICY_BACK);
}

/* Lend a page of the task's level for this slot. */
static void lend(struct space *s, const struct space_task *t, uint32_t slot,
		 const struct ckv_block *block, struct ckv_lent *ret)
{
	ret->slot = slot;
	ret->generation = block->generation;
	ret->level = s->levels[t->level].config.number;
	record_lent(s, t->lane, t->level, ret->page, slot, block);
	ret->lending = lane_take(s, t->lane, t->level, ret->page, t->parent_slot);
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
	ret->page = place_get(s, t->level);
	block.key = *key;
	block.parent_slot = parent;
	block.n_pages = 1;
	*ckv_block_page(&block, s->levels[t->level].config.number) = ret->page;
	table_take(s, slot, place->tag, &block);
	node_take(s, slot, parent, t->level, ret->page);
	lend(s, t, slot, &block, ret);
	parent_gain_at(s, slot, t->level);
	parent_release(s, t);
	t->parent_slot = slot;
	return 0;
}

/*
 * The block has a copy at the task's level that was replaced and may still be read (leave.c).
 * A step lets go of it if it is not. SPACE_WAIT; -ENOSPC: it was looked at, and is read.
 */
static int wait_for_stale(struct space *s, struct space_task *t)
{
	bool looked = t->wait.searches;

	t->wait.searches = false;
	return looked ? -ENOSPC :
	       room_wait(s, &t->wait, &s->levels[t->level].blocks, 1);
}

/*
 * Lend a page for a block that is there, but only farther away: its writer did not wait
 * until it is brought. Until PUBLISH, readers find it where it is.
 */
static int reserve_over(struct space *s, struct space_task *t, uint32_t slot,
			struct ckv_lent *ret)
{
	struct copy *copy = copy_of(s, slot, t->level);
	struct ckv_block block;
	int r;

	if (node_lent(s, slot))
		return -EALREADY;
	r = copy->place == CKV_NONE ? lend_page(s, t) : wait_for_stale(s, t);
	if (r < 0)
		return r;
	ret->page = place_get(s, t->level);
	node_take_out(s, slot);
	copy->place = ret->page;
	copy->mark |= COPY_LENT;
	block_load(s, slot, &block);
	lend(s, t, slot, &block, ret);
	parent_gain_at(s, slot, t->level);
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
		if (!node_is_view(s, slot) && !is_near(s, slot, t->level))
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
	t->parent_ok = find_parent(s, t);
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

	assert(t->level < s->config.n_levels && level_has_pages(s, t->level));
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
	int r;

	t->level = s->config.work_level;
	t->parent_slot = CKV_NONE;
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
		lent[t->next].page = place_get(s, t->level);
		lend(s, t, CKV_NONE, &block, &lent[t->next]);
		t->next++;
		t->n_done++;
	}
	return reserve_end(s, t, units);
}
