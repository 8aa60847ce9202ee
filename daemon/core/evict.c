/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evict.c - judge a batch of blocks, and choose blocks to evict for writers.
 *
 * To judge a batch is to find out which of its blocks are pinned: proto/ckv_pin.h
 * tells how. A pinned block is restored, that is taken out of the batch, together
 * with its ancestors there; the rest is freed. A block in the batch counts no longer
 * as its parent's child, so the parent may be the next victim. Hence a chain is
 * evicted from its end, and the batch holds a block only with all its descendants.
 *
 * A search makes room for the writers that wait, over several steps if it must:
 *
 *   1. It evicts the policy's victims: first those that have a copy at a farther level,
 *      which lose their copy at this one (leave.c). Those found pinned are parked (pinned.c), so
 *      it meets none of them again while its pin word names it.
 *   2. If the policy has no victims left, it looks once at all parked slots.
 *   3. If all are still pinned, tips give way: holds for automatic views end.
 *   4. If that frees nothing, too, the writers get -ENOSPC.
 *
 * A client could move its pins from word to word and so keep a search busy with the
 * same blocks for ever. search_in_vain() notices, and the search goes on with 3.
 *
 * While a lane is blind (blind.c) no block may leave, so a search ends at once: it would
 * judge all blocks several times, and each would count as just used.
 */
#include "daemon/core/state.h"

#define AHEAD		8u	/* entries prefetched before they are used */
/* Pages freed beyond what is wanted, see surplus(). */
#define SURPLUS_MAX	256u	/* at most so many ... */
#define SURPLUS_SHARE	128u	/* ... and one of so many pages of the pool; or more: */
#define WORDS_PER_PAGE	48u	/* one for so many pin words to scan, ... */
#define SHARE_LONG	8u	/* ... but at most one of so many pages of the pool */
#define VAIN_AT_LEAST	4096u	/* see search_in_vain() */
#define LOOK_EACH	64u	/* parked slots looked at by each step ... */
#define LOOK_PASS	1024u	/* ... and by a step that has nothing else to look at */

static void judged_set(struct space *s, uint32_t slot, bool on)
{
	if (on)
		s->judged[slot / 64] |= 1ull << slot % 64;
	else
		s->judged[slot / 64] &= ~(1ull << slot % 64);
}

static bool judged(const struct space *s, uint32_t slot)
{
	return slot < s->n_slots && batch_has(s, slot);
}

/* Has the block a copy at another level? */
static bool there_without(const struct space *s, uint32_t slot, uint32_t level)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (l != level && copy_there(s, slot, l))
			return true;
	return false;
}

/* Note what of a slot of the batch leaves; it counts no longer as its parent's child. */
static void leaves(struct space *s, uint32_t slot, uint32_t level,
		   enum policy_origin heir)
{
	node_take_out(s, slot);
	if (!there_without(s, slot, level))
		level = ALL_LEVELS;
	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		struct copy *copy = copy_of(s, slot, l);

		if (copy->place == CKV_NONE || (level != ALL_LEVELS && l != level))
			continue;
		assert(copy->n_children == 0);
		copy->mark |= COPY_LEAVING;
		parent_lose_at(s, slot, l, heir);
	}
}

void batch_add(struct space *s, uint32_t slot, uint32_t level,
	       enum policy_origin heir)
{
	const struct copy *only = copy_of(s, slot, 0);

	assert(s->n_batch < BATCH_MAX);
	assert(!batch_has(s, slot));
	judged_set(s, slot, true);
	s->batch[s->n_batch++] = slot;
	table_prefetch(s, slot);
	if (s->config.n_levels > 1) {
		leaves(s, slot, level, heir);
		return;
	}
	/* With one level it is clear what leaves. */
	assert(only->n_children == 0);
	if (only->queue != 0 || only->parked)
		node_take_out(s, slot);
	parent_lose_at(s, slot, 0, heir);
}

void batch_forget(struct space *s, uint32_t slot)
{
	judged_set(s, slot, false);
	for (uint32_t l = 0; s->config.n_levels > 1 && l < s->config.n_levels; l++)
		copy_of(s, slot, l)->mark &= (uint8_t)~COPY_LEAVING;
}

/* A slot's copies leave no more: they count as its parent's children again. */
static void parent_regain(struct space *s, uint32_t slot)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (s->config.n_levels == 1 ||
		    (copy_of(s, slot, l)->mark & COPY_LEAVING))
			parent_gain_at(s, slot, l);
}

uint32_t batch_restore(struct space *s, uint32_t slot)
{
	uint32_t n = 0;

	while (slot != CKV_NONE && batch_has(s, slot)) {
		ckv_evict_restore(ckv_index_entry(&s->index, slot));
		n++;
		parent_regain(s, slot);
		batch_forget(s, slot);
		slot = node_of(s, slot)->parent;
	}
	return n;
}

/* If the pin word names a block of the batch, remember the word and restore the block. */
static void judge_word(struct space *s, uint32_t number, uint32_t i)
{
	uint32_t slot = ckv_pin_slot(&s->lanes[number].memory.pins[i]);

	if (slot == CKV_NONE || !judged(s, slot))
		return;
	pinned_seen(s, slot, number, i);
	s->cost.n_restored += batch_restore(s, slot);
}

/* Most pin words are empty, so several are tested at once. */
static void scan_lane(struct space *s, uint32_t number)
{
	const struct space_lane *lane = &s->lanes[number];
	uint32_t high = lane_pin_high(lane), i = 0;

	s->cost.n_words += high;
	while (i < high) {
		if (i + CKV_PINS_AT_ONCE <= high &&
		    ckv_pins_empty(&lane->memory.pins[i])) {
			i += CKV_PINS_AT_ONCE;
			continue;
		}
		s->cost.n_full += CKV_PINS_AT_ONCE;
		for (uint32_t end = i + CKV_PINS_AT_ONCE; i < end && i < high; i++)
			judge_word(s, number, i);
	}
}

/* Make the batch's generations odd. batch_add() has prefetched the entries. */
static void batch_mark(struct space *s)
{
	for (uint32_t i = 0; i < s->n_batch; i++)
		ckv_evict_mark(ckv_index_entry(&s->index, s->batch[i]));
}

/* Any block may be one that a blind lane has pinned; views have no ancestors. */
static void spare_blocks(struct space *s)
{
	for (uint32_t i = 0; i < s->n_batch; i++)
		if (batch_has(s, s->batch[i]) && !node_is_view(s, s->batch[i]))
			s->cost.n_restored += batch_restore(s, s->batch[i]);
}

void batch_judge(struct space *s)
{
	batch_mark(s);
	ckv_evict_fence();
	for (uint32_t i = 0; i < s->n_open; i++)
		scan_lane(s, s->open_lanes[i]);
	if (s->n_blind > 0)
		spare_blocks(s);
	ckv_count(&s->stats->evict_batches, 1);
	ckv_count(&s->stats->evict_pinned, s->cost.n_restored);
	ckv_count(&s->stats->pins_scanned, s->cost.n_words);
}

void batch_park(struct space *s)
{
	for (uint32_t i = 0; i < s->n_batch; i++)
		if (!batch_has(s, s->batch[i]))
			node_park(s, s->batch[i]);
}

/* ---- eviction ---- */

/* Pages that may be lent; below 0 if the quota was lowered to less than is in use. */
static int64_t room(const struct level *level)
{
	int64_t left = (int64_t)level->config.n_places_max - level_n_used(level);

	return left < level->n_free ? left : level->n_free;
}

uint32_t places_left(const struct level *level)
{
	int64_t n = room(level);

	return n > 0 ? (uint32_t)n : 0;
}

/*
 * How many pages a step frees beyond what is wanted: each may save the next writer a
 * scan. The longer scans are, the more pages each must free.
 */
static uint32_t surplus(const struct space *s, const struct level *level)
{
	uint32_t n_pages = level->config.n_places;
	uint32_t n = n_pages / SURPLUS_SHARE, n_long = 0;

	for (uint32_t i = 0; i < s->n_open; i++)
		n_long += lane_pin_high(&s->lanes[s->open_lanes[i]]);
	n_long /= WORDS_PER_PAGE;
	if (n_long > n_pages / SHARE_LONG)
		n_long = n_pages / SHARE_LONG;
	if (n > SURPLUS_MAX)
		n = SURPLUS_MAX;
	return n > n_long ? n : n_long;
}

/* How many places are wanted, and not free. */
static uint32_t n_lacking(const struct level *level)
{
	int64_t n = (int64_t)level->blocks.search.wanted - room(level);

	return n < 0 ? 0 : n < EVICT_MAX ? (uint32_t)n : EVICT_MAX;
}

/* How many blocks one step chooses, when there is less room than is wanted. */
static uint32_t n_victims(const struct space *s, const struct level *level)
{
	int64_t n = (int64_t)level->blocks.search.wanted - room(level) +
		    surplus(s, level);

	return n < EVICT_MAX ? (uint32_t)n : EVICT_MAX;
}

/*
 * Prefetch the nodes of coming victims. One victim names the next only when its own
 * node is there, so this guesses: who was written before and after it has a page
 * near its page, and is about as old.
 */
CKV_ASK victims_ahead(const struct space *s, uint32_t l, uint32_t slot)
{
	const struct level *level = &s->levels[l];
	uint32_t page = copy_of(s, slot, l)->place, near;

	if (page < 2 * AHEAD || page + 2 * AHEAD >= level->config.n_places)
		return;
	__builtin_prefetch(&level->records[page - 2 * AHEAD]);
	__builtin_prefetch(&level->records[page + 2 * AHEAD]);
	near = level->records[page - AHEAD].slot;
	if (near < s->n_slots)
		__builtin_prefetch(node_of(s, near), 1);
	near = level->records[page + AHEAD].slot;
	if (near < s->n_slots)
		__builtin_prefetch(node_of(s, near), 1);
}

/*
 * Put a victim of a level, just taken out of its policy, into the batch. With may_defer
 * one that shall get an automatic view first is held instead.
 */
static inline void victim_add(struct space *s, uint32_t level, uint32_t slot, bool may_defer)
{
	s->cost.n_looks++;
	if (pinned_still(s, slot))
		park(s, &s->levels[level].blocks, slot);
	else if (!may_defer || level != s->config.work_level || !tip_defer(s, slot))
		batch_add(s, slot, level, POLICY_HEIR);
}

/*
 * Put the coldest blocks that have a copy farther away into the batch, up to index `end`:
 * nothing is lost with them. Where such a block leaves, its ancestors may follow.
 */
static void saved_choose(struct space *s, uint32_t l, uint32_t end, bool may_defer)
{
	struct candidates *blocks = &s->levels[l].blocks;
	uint32_t slot = blocks->ops->next_victim(blocks->policy, CKV_NONE);
	uint32_t n_looks = 2 * end + LOOK_EACH, next;

	for (; slot != CKV_NONE && n_looks > 0 && s->n_batch < end; slot = next) {
		next = blocks->ops->next_victim(blocks->policy, slot);
		s->cost.n_looks++;
		n_looks--;
		while (slot != CKV_NONE && copy_of(s, slot, l)->queue != 0 &&
		       copy_is_saved(s, slot, l) && s->n_batch < end) {
			blocks->ops->take(blocks->policy, slot);
			victim_add(s, l, slot, may_defer);
			slot = node_of(s, slot)->parent;
		}
	}
}

/*
 * Put victims into the batch until it holds n_victims() from index `first` on. If there is
 * a farther level, those that are saved there go first; others only as far as they must,
 * since they are lost.
 */
static void victims_choose(struct space *s, uint32_t l, uint32_t first, bool may_defer)
{
	struct level *level = &s->levels[l];
	struct candidates *blocks = &level->blocks;
	uint32_t n_max = n_victims(s, level), slot;

	if (l + 1 < s->config.n_levels) {
		saved_choose(s, l, first + n_max, may_defer);
		n_max = n_lacking(level) < n_max ? n_lacking(level) : n_max;
	}
	for (uint32_t i = 0; i < EVICT_MAX && s->n_batch < first + n_max &&
	     (slot = blocks->ops->victim(blocks->policy)) != CKV_NONE; i++) {
		if (level_has_pages(s, l))
			victims_ahead(s, l, slot);
		victim_add(s, l, slot, may_defer);
	}
}

/*
 * No writer is refused for the sake of an automatic view: tips give way. Those whose
 * view is not begun go first; one alone is tried before all, as it may suffice.
 */
static bool tips_choose(struct space *s, uint32_t l, uint32_t first)
{
	static const struct {
		enum tip_state state;
		uint32_t n_max;
	} stage[] = {
		{ TIP_WAITING, 1 }, { TIP_WAITING, UINT32_MAX },
		{ TIP_READING, 1 }, { TIP_READING, UINT32_MAX },
	};
	struct search *search = &s->levels[l].blocks.search;

	if (l > s->config.work_level)
		return false;	/* their holds keep nothing there */
	for (uint32_t i = search->stage; i < sizeof stage / sizeof stage[0]; i++) {
		search->stage = i + 1;
		if (tips_give_way(s, l, stage[i].state, stage[i].n_max) == 0)
			continue;
		victims_choose(s, l, first, false);
		return true;
	}
	return false;
}

/*
 * Are there blocks of this level in the batch, up to index `end`, of which another search
 * wants another copy? They may be candidates here after the step.
 */
static bool others_judge(struct space *s, uint32_t l, uint32_t end)
{
	if (s->config.n_levels == 1)
		return false;
	s->cost.n_looks += end;
	for (uint32_t i = 0; i < end; i++)
		if (copy_there(s, s->batch[i], l) &&
		    !(copy_of(s, s->batch[i], l)->mark & COPY_LEAVING))
			return true;
	return false;
}

bool evict_choose(struct space *s, uint32_t l)
{
	struct level *level = &s->levels[l];
	struct candidates *blocks = &level->blocks;
	struct search *search = &blocks->search;
	uint32_t first = s->n_batch, n_max, n;

	if (places_left(level) >= search->wanted) {
		search->passing = false;
		search->n_vain = 0;
		return true;
	}
	if (s->n_blind > 0)
		return false;
	n_max = n_victims(s, level);
	if (search_in_vain(search, n_max, level->config.n_places))
		return tips_choose(s, l, first);
	(void)parked_look(s, blocks, LOOK_EACH);
	stale_choose(s, l, n_max);
	victims_choose(s, l, first, true);
	if (s->n_batch > first || candidates_any(blocks)) {
		search->passing = false;
		return true;
	}
	if (!search->passing) {
		search->passing = true;
		search->n_unseen = blocks->parked.n;
		search->stage = 0;
	}
	n = search->n_unseen < LOOK_PASS ? search->n_unseen : LOOK_PASS;
	search->n_unseen -= n;
	if (parked_look(s, blocks, n) > 0) {
		search->passing = false;
		victims_choose(s, l, first, true);
		return true;
	}
	return search->n_unseen > 0 || places_left(level) > 0 ||
	       others_judge(s, l, first) || tips_choose(s, l, first);
}

/* A search found something at each level of the bit set `which`. */
static void searches_found(struct space *s, uint32_t which)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		struct search *search = &s->levels[l].blocks.search;

		if (!(which >> l & 1))
			continue;
		search->passing = false;
		search->n_vain = 0;
	}
}

/* One slot of the batch that is not pinned leaves, or some of its copies do. */
static void leave_far(struct space *s, uint32_t slot)
{
	uint32_t level = level_of(s, slot), which = batch_leave(s, slot);

	searches_found(s, which);
	if (which == 0)
		return;
	if (node_of(s, slot)->state != NODE_FREE) {
		ckv_count(&s->stats->evict_saved, 1);
		return;
	}
	ckv_count(&s->stats->evicted, 1);
	if (level + 1 < s->config.n_levels)
		ckv_count(&s->stats->evict_unsaved, 1);
}

void evict_free(struct space *s, uint32_t first)
{
	struct search *search = &s->levels[0].blocks.search;
	uint32_t n = 0;

	for (uint32_t i = first; i < s->n_batch; i++) {
		uint32_t slot = s->batch[i], ahead = CKV_NONE;

		if (i + AHEAD < s->n_batch)
			ahead = work_page(s, s->batch[i + AHEAD]);
		if (ahead != CKV_NONE && ahead < work_level(s)->config.n_places)
			page_prefetch(work_level(s), ahead);
		if (!batch_has(s, slot))
			continue;
		if (s->config.n_levels > 1) {
			leave_far(s, slot);
			continue;
		}
		batch_forget(s, slot);
		block_free(s, slot);
		n++;
	}
	s->n_batch = first;
	if (n == 0)
		return;
	search->passing = false;
	search->n_vain = 0;
	ckv_count(&s->stats->evicted, n);
}

/* ---- tasks that wait for room ---- */

void search_fruitless(struct search *search)
{
	search->n_fruitless++;
	search->full = true;
	search->passing = false;
	search->n_vain = 0;
}

bool search_in_vain(struct search *search, uint32_t n, uint32_t n_all)
{
	if (search->n_vain > 4 * (uint64_t)n_all + VAIN_AT_LEAST)
		return true;
	search->n_vain += n;
	return false;
}

int room_wait(struct space *s, struct space_wait *wait, struct candidates *c,
	      uint32_t wanted)
{
	struct search *search = &c->search;

	if (wait->searches && wait->n_fruitless != search->n_fruitless) {
		wait->searches = false;
		return -ENOSPC;
	}
	if (!wait->searches && search->full && !space_pace_ready(s->pace))
		return -ENOSPC;
	if (!wait->searches)
		wait->n_fruitless = search->n_fruitless;
	wait->searches = true;
	if (c == &s->views)
		search->wanted = wanted > search->wanted ? wanted :
				 search->wanted;
	else
		search->wanted += wanted < EVICT_MAX - search->wanted ? wanted :
				  EVICT_MAX - search->wanted;
	return task_wait(s, wait);
}
