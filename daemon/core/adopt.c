/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.c - build a space again from the records of an earlier daemon (proto/ckv_record.h).
 *
 * Nothing is believed that was not checked. A record counts if its seal is right and all
 * its numbers are possible: its slot is in one of the key's buckets, its generation is
 * even, and so on. If two records of one level name one slot or one key, neither counts, as
 * nobody knows which is right. Of several levels, records of one block are its copies if they
 * agree in everything. If they do not, a daemon was killed while PUBLISH replaced the farther
 * copy, or while they got a new generation: the nearest one counts. A block counts only if
 * all its ancestors do, and a copy only if the block's parent is there at its level or nearer.
 * A page whose record does not count rests (rest.c).
 *
 * This takes a few walks: over all records, to claim the slots that they name; over them
 * and over the claimed blocks, to see whose chains reach a root; over all slots, to sort what
 * was found by its age; and over the sorted slots, to fill the policies. In each of them
 * what is read at random is prefetched. Its memory is that of queues that are empty now.
 *
 * Copies at levels without pages are not in the records: only pages come back, and what was
 * at other levels alone is forgotten. Pages that a move was filling rest.
 *
 * A daemon that is killed meanwhile leaves records that count for the next one or rest.
 */
#include "daemon/core/state.h"

#define AHEAD	16u		/* records, slots: prefetched so far ahead */

/* More states of a node, while its space is adopted. */
enum {
	NODE_CLAIMED = NODE_PUBLISHED + 1, /* a record names this slot */
	NODE_DOUBLE,			/* two do, or another slot has the same key */
};

struct adoption {
	struct space *space;
	uint64_t blind_below;		/* lanes of before with a lower serial may be blind */
	struct space_adopted n;		/* counts for the caller */
	uint32_t n_claimed;		/* slots, by blocks */
};

static void rests_written(struct adoption *a, uint32_t level, uint32_t page,
			  uint64_t writer, uint32_t *why)
{
	page_rest(a->space, level, page, writer);
	a->n.n_resting++;
	(*why)++;
}

static void rests(struct adoption *a, uint32_t level, uint32_t page, uint32_t *why)
{
	rests_written(a, level, page, 0, why);
}

/* It may be written by nobody knows whom, if the level has such memory. */
static void rests_unknown(struct adoption *a, uint32_t level, uint32_t page,
			  uint32_t *why)
{
	const struct space_level *config = &a->space->levels[level].config;

	rests_written(a, level, page,
		      config->rests_after_death && page < config->n_places ?
		      CKV_WRITER_UNKNOWN : 0, why);
}

/* It did so already, and its record tells since when. */
static void rests_on(struct adoption *a, uint32_t level, uint32_t page)
{
	uint64_t since = a->space->levels[level].records[page].checksum;

	if (since > a->blind_below)
		a->blind_below = since;
	rests(a, level, page, &a->n.n_rested);
}

/*
 * Its record is not whole. If it rested before, a daemon was killed while it noted since
 * when, and nobody knows that any more: each lane of before may be blind.
 */
static void rests_broken(struct adoption *a, uint32_t level, uint32_t page)
{
	if (a->space->levels[level].records[page].state == CKV_RECORD_QUARANTINE)
		a->blind_below = UINT64_MAX;
	rests_unknown(a, level, page, &a->n.n_bad);
}

/* ---- 1. claim slots ---- */

static bool sealed(const struct space *s, uint32_t level, uint32_t page)
{
	return ckv_record_ok(&s->levels[level].records[page], s->fingerprint, page);
}

/* A seal of 0 says so; a state may be left of a kill. A page that was never used stays so. */
static bool is_free(struct ckv_record *record)
{
	if (ckv_hint_load64(&record->seal) != 0)
		return false;
	if (record->state != CKV_RECORD_FREE)
		record->state = CKV_RECORD_FREE;
	return true;
}

/* Could the index have had this block in its slot? */
static bool is_possible(const struct ckv_record *record, const struct ckv_place *place)
{
	static const struct ckv_key zero;
	uint32_t bucket = record->slot / CKV_BUCKET_ENTRIES;

	return (bucket == place->bucket[0] || bucket == place->bucket[1]) &&
	       record->generation % 2 == 0 &&
	       record->generation >= CKV_GENERATION_FIRST &&
	       record->generation < CKV_GENERATION_LAST &&
	       memcmp(&record->key, &zero, sizeof zero) != 0;
}

/* Do the records of two pages tell of the same bytes? Without a checksum nobody knows. */
static bool is_same(const struct ckv_record *a, const struct ckv_record *b)
{
	return memcmp(&a->key, &b->key, sizeof a->key) == 0 && a->slot == b->slot &&
	       a->parent_slot == b->parent_slot && a->generation == b->generation &&
	       a->n_tokens == b->n_tokens && a->checksum == b->checksum &&
	       (a->flags & b->flags & CKV_ENTRY_SUMMED) != 0;
}

/* Is this slot that of a block with the record's key, which only nearer levels have claimed? */
static bool is_claimed_nearer(const struct space *s, uint32_t level,
			      const struct ckv_record *record)
{
	struct ckv_block block;

	if (record->state != CKV_RECORD_PUBLISHED ||
	    node_of(s, record->slot)->state != NODE_CLAIMED ||
	    copy_of(s, record->slot, level)->place != CKV_NONE)
		return false;
	block_load(s, record->slot, &block);
	return memcmp(&block.key, &record->key, sizeof block.key) == 0;
}

/* One copy more of a block. False: it is not, so its page rests and the block stays. */
static bool claim_copy(struct space *s, uint32_t level, uint32_t page)
{
	const struct ckv_record *record = &s->levels[level].records[page];
	uint32_t slot = record->slot;
	struct ckv_block block;

	if (!is_same(record, record_of(s, slot, level_of(s, slot))))
		return false;
	copy_of(s, slot, level)->place = page;
	block_load(s, slot, &block);
	table_rewrite(s, slot, &block);
	return true;
}

static void claim_slot(struct space *s, uint32_t level, uint32_t page, uint32_t n_pages,
		       const struct ckv_place *place)
{
	const struct ckv_record *record = &s->levels[level].records[page];
	struct node *node = node_of(s, record->slot);
	struct ckv_block block = ckv_block_none();

	node->state = NODE_CLAIMED;
	node->parent = record->parent_slot;
	node->copy[level].place = page;
	node->copy[0].link = (struct link){ CKV_NONE, CKV_NONE };
	block.key = record->key;
	block.generation = record->generation;
	block.level = s->levels[level].config.number;
	block.flags = record->flags;
	block.n_tokens = record->n_tokens;
	block.parent_slot = record->parent_slot;
	block.n_pages = n_pages;
	block.checksum = record->checksum;
	*ckv_block_page(&block, block.level) = page;
	table_restore(s, record->slot, place, &block);
}

/*
 * Let the record of a page, which is the first of n_pages, have the slot that it names.
 * False: it does not count; *ret_why is the count to which that belongs.
 */
static bool claim(struct adoption *a, uint32_t level, uint32_t page, uint32_t n_pages,
		  uint32_t **ret_why)
{
	struct space *s = a->space;
	const struct ckv_record *record = &s->levels[level].records[page];
	struct ckv_place place = ckv_index_place(&s->index, &record->key);
	uint32_t other;

	*ret_why = &a->n.n_bad;
	if (!is_possible(record, &place))
		return false;
	*ret_why = &a->n.n_doubles;
	if (is_claimed_nearer(s, level, record))
		return claim_copy(s, level, page);
	if (node_of(s, record->slot)->state != NODE_FREE) {
		node_of(s, record->slot)->state = NODE_DOUBLE;
		return false;
	}
	if (table_find(s, &place, &record->key, &other) != TABLE_ABSENT) {
		node_of(s, other)->state = NODE_DOUBLE;
		return false;
	}
	claim_slot(s, level, page, n_pages, &place);
	a->n_claimed += record->state == CKV_RECORD_PUBLISHED;
	return true;
}

static bool block_is_possible(const struct space *s, const struct ckv_record *record)
{
	return record->n_tokens > 0 &&
	       record->n_tokens <= s->config.geometry.block_tokens &&
	       (record->flags & ~CKV_ENTRY_SUMMED) == 0 &&
	       (record->parent_slot == CKV_NONE || record->parent_slot < s->n_slots);
}

/* The number of the lane with this serial, by which open_lanes is sorted; or -1. */
static int lane_find(const struct space *s, uint64_t serial)
{
	uint32_t low = 0, high = s->n_open, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (s->lanes[s->open_lanes[middle]].memory.serial < serial)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == s->n_open ||
	    s->lanes[s->open_lanes[low]].memory.serial != serial)
		return -1;
	return (int)s->open_lanes[low];
}

/*
 * A page that is lent stays with its lane, as scratch, because the reservation of its
 * key is over. If the lane has ended, nobody writes the page any more; at a level with
 * rests_after_death something may.
 */
static void adopt_lent(struct adoption *a, uint32_t level, uint32_t page)
{
	struct space *s = a->space;
	struct ckv_record *record = &s->levels[level].records[page];
	uint64_t serial = record->checksum;
	int lane = lane_find(s, serial);

	if (lane < 0 && serial != 0 && s->levels[level].config.rests_after_death) {
		rests_written(a, level, page, serial, &a->n.n_written);
		return;
	}
	if (lane < 0) {
		a->n.n_given_up++;
		ckv_record_free(record);
		place_push(&s->levels[level], page);
		return;
	}
	ckv_record_blank(record, s->fingerprint, page, CKV_RECORD_LENT, serial);
	(void)lane_take(s, lane, level, page, CKV_NONE);
	a->n.n_lent++;
}

/* Blocks without a checksum are queued for one (hold.c), if they are where that is done. */
static void claimed(struct space *s, uint32_t level, const struct ckv_record *record)
{
	if (level == s->config.work_level && !(record->flags & CKV_ENTRY_SUMMED))
		node_of(s, record->slot)->mark |= NODE_SUM_QUEUED;
}

static void adopt_page(struct adoption *a, uint32_t level, uint32_t page)
{
	struct space *s = a->space;
	struct ckv_record *record = &s->levels[level].records[page];
	uint32_t *why = &a->n.n_bad;

	if (is_free(record))
		place_push(&s->levels[level], page);
	else if (!sealed(s, level, page))
		rests_broken(a, level, page);
	else if (record->state == CKV_RECORD_LENT)
		adopt_lent(a, level, page);
	else if (record->state == CKV_RECORD_QUARANTINE)
		rests_on(a, level, page);
	else if (record->state == CKV_RECORD_LOADING)
		rests_unknown(a, level, page, why);
	else if (record->state != CKV_RECORD_PUBLISHED ||
		 !block_is_possible(s, record) || !claim(a, level, page, 1, &why))
		rests(a, level, page, why);
	else
		claimed(s, level, record);
}

/* Prefetch what claim() reads for a record, which is not checked yet. */
CKV_ASK claim_ahead(const struct space *s, const struct ckv_record *record)
{
	struct ckv_place place;

	if (record->state != CKV_RECORD_PUBLISHED || record->slot >= s->n_slots)
		return;
	place = ckv_index_place(&s->index, &record->key);
	ckv_index_prefetch(&s->index, &place);
	table_prefetch(s, record->slot);
}

/* From the last page to the first, so that the first one is on top of the free ones. */
static void claim_level(struct adoption *a, uint32_t l)
{
	struct level *level = &a->space->levels[l];

	level->free_head = CKV_NONE;
	level->n_free = 0;
	for (uint32_t page = level->config.n_places; page-- > 0; ) {
		if (page >= AHEAD)
			claim_ahead(a->space, &level->records[page - AHEAD]);
		adopt_page(a, l, page);
	}
}

static void claim_blocks(struct adoption *a)
{
	for (uint32_t l = 0; l < a->space->config.n_levels; l++)
		if (level_has_pages(a->space, l))
			claim_level(a, l);
}

/* ---- views ---- */

/* Is this row of a view right, and so are the records of all its pages? */
static bool view_is_whole(const struct space *s, uint32_t i)
{
	const struct ckv_pool_shape *p = work_pool(s);
	const struct ckv_view_row *row = &s->view_rows[i];
	uint64_t seal = ckv_hint_load64(&row->seal);

	if (seal == 0 || seal != ckv_view_row_seal(row, s->fingerprint) ||
	    row->first_page != p->first_view_page + i || row->n_pages == 0 ||
	    row->n_pages > p->slab_pages - i % p->slab_pages ||
	    row->n_pages > p->n_view_pages - i ||
	    row->n_bytes > row->n_pages * p->page_bytes)
		return false;
	for (uint32_t n = 0; n < row->n_pages; n++) {
		const struct ckv_record *first = &work_level(s)->records[row->first_page];
		const struct ckv_record *record = first + n;

		if (ckv_hint_load64(&record->seal) == 0 ||
		    !sealed(s, s->config.work_level, row->first_page + n) ||
		    view_page_used(s, i + n) ||
		    record->state != CKV_RECORD_VIEW ||
		    record->flags != (CKV_ENTRY_VIEW | CKV_ENTRY_SUMMED) ||
		    record->parent_slot != CKV_NONE ||
		    record->slot != first->slot ||
		    record->generation != first->generation ||
		    record->checksum != row->checksum ||
		    memcmp(&record->key, &row->key, sizeof row->key) != 0)
			return false;
	}
	return true;
}

static void claim_views(struct adoption *a)
{
	struct space *s = a->space;
	uint32_t first = work_pool(s)->first_view_page, *why;

	for (uint32_t i = 0; i < work_pool(s)->n_view_pages; i++) {
		struct ckv_view_row *row = &s->view_rows[i];

		if (!view_is_whole(s, i) ||
		    !claim(a, s->config.work_level, first + i, row->n_pages, &why)) {
			ckv_hint_store64(&row->seal, 0);
			continue;
		}
		node_of(s, work_level(s)->records[first + i].slot)->mark |= NODE_VIEW;
		view_run_set(s, i, row->n_pages, true);
		s->runs[i].n_pages = row->n_pages;
	}
}

/* A view that was claimed counts, if no other one named its slot or key after it. */
static void settle_view(struct adoption *a, uint32_t i)
{
	struct space *s = a->space;
	uint32_t page = work_pool(s)->first_view_page + i;
	uint32_t slot = work_level(s)->records[page].slot;

	if (node_of(s, slot)->state == NODE_DOUBLE) {
		ckv_hint_store64(&s->view_rows[i].seal, 0);
		ckv_kill_fence();
		for (uint32_t n = 0; n < s->runs[i].n_pages; n++)
			rests(a, s->config.work_level, page + n, &a->n.n_doubles);
		s->runs[i].n_pages = 0;
		node_free(s, slot);
		return;
	}
	node_of(s, slot)->state = NODE_PUBLISHED;
	ckv_count(&s->stats->views, 1);
	a->n.n_views++;
}

/* What is no view: a run that was being made is free, as its worker is gone. */
static void settle_view_page(struct adoption *a, uint32_t i)
{
	struct space *s = a->space;
	uint32_t work = s->config.work_level, page = work_pool(s)->first_view_page + i;
	struct ckv_record *record = &work_level(s)->records[page];

	if (is_free(record))
		return;
	if (sealed(s, work, page) && record->state == CKV_RECORD_LENT) {
		ckv_record_free(record);
		return;
	}
	view_run_set(s, i, 1, true);
	if (!sealed(s, work, page))
		rests_broken(a, work, page);
	else if (record->state == CKV_RECORD_QUARANTINE)
		rests_on(a, work, page);
	else
		rests(a, work, page, &a->n.n_bad);
}

static void settle_views(struct adoption *a)
{
	struct space *s = a->space;

	for (uint32_t i = 0; i < work_pool(s)->n_view_pages; i++) {
		if (s->runs[i].n_pages > 0)
			settle_view(a, i);
		else if (!view_page_used(s, i))
			settle_view_page(a, i);
	}
}

/* ---- 2. chains ---- */

/*
 * Each claimed block is put into the list of its parent's children, or if it is a root into
 * a queue. Then the queue takes in the children of each block that it has and that counts. What
 * hangs on nothing, or on itself, never comes into it. (Going up from each block instead would
 * wait for memory at each step.)
 *
 * copy[0].link.prev names a block's first child, copy[0].link.next its next sibling.
 */
static void child_or_root(struct space *s, uint32_t slot, uint32_t *queue, uint32_t *n)
{
	struct copy *copy = copy_of(s, slot, 0), *parent;
	uint32_t up = node_of(s, slot)->parent;

	if (up == CKV_NONE) {
		queue[(*n)++] = slot;
		return;
	}
	if (node_of(s, up)->state != NODE_CLAIMED || node_is_view(s, up))
		return;
	parent = copy_of(s, up, 0);
	copy->link.next = parent->link.prev;
	parent->link.prev = slot;
}

CKV_ASK chain_ahead(const struct space *s, const struct ckv_record *record)
{
	if (record->slot < s->n_slots)
		__builtin_prefetch(node_of(s, record->slot), 1);
	if (record->parent_slot < s->n_slots)
		__builtin_prefetch(node_of(s, record->parent_slot), 1);
}

static void queue_put(const struct space *s, uint32_t *queue, uint32_t *n, uint32_t slot)
{
	if (slot == CKV_NONE)
		return;
	__builtin_prefetch(node_of(s, slot), 1);
	queue[(*n)++] = slot;
}

/* The blocks whose nearest copy is at this level. */
static void list_level(struct space *s, uint32_t l, uint32_t *queue, uint32_t *n)
{
	const struct level *level = &s->levels[l];
	uint32_t n_pages = level->config.n_places;

	for (uint32_t page = 0; page < n_pages; page++) {
		const struct ckv_record *record = &level->records[page];

		if (page + AHEAD < n_pages)
			chain_ahead(s, &level->records[page + AHEAD]);
		if (record->state == CKV_RECORD_PUBLISHED &&
		    node_of(s, record->slot)->state == NODE_CLAIMED &&
		    level_of(s, record->slot) == l)
			child_or_root(s, record->slot, queue, n);
	}
}

/* A copy nearer than the block's parent does not count: its page rests. */
static void trim(struct adoption *a, uint32_t slot, uint32_t level)
{
	struct space *s = a->space;
	struct ckv_block block;
	uint32_t n = 0, n_left = 0;

	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		struct copy *copy = copy_of(s, slot, l);

		n_left += l >= level && copy->place != CKV_NONE;
		if (l >= level || copy->place == CKV_NONE)
			continue;
		rests(a, l, copy->place, &a->n.n_orphans);
		copy->place = CKV_NONE;
		n++;
	}
	if (n == 0 || n_left == 0)
		return;
	block_load(s, slot, &block);
	table_rewrite(s, slot, &block);
}

/* The block counts if it has a copy at its parent's level or farther, with its copies there. */
static bool block_settle(struct adoption *a, uint32_t slot)
{
	struct space *s = a->space;
	uint32_t up = node_of(s, slot)->parent, level = up == CKV_NONE ? 0 : level_of(s, up);
	bool counts = false;

	if (level > 0)
		trim(a, slot, level);
	for (uint32_t l = level; l < s->config.n_levels; l++) {
		if (copy_of(s, slot, l)->place == CKV_NONE)
			continue;
		if (up != CKV_NONE)
			copy_of(s, up, l)->n_children++;
		counts = true;
	}
	if (!counts)
		return false;
	node_of(s, slot)->state = NODE_PUBLISHED;
	for (uint32_t l = level; l < s->config.n_levels; l++)
		if (copy_of(s, slot, l)->place != CKV_NONE && !copy_is_saved(s, slot, l))
			save_enqueue(s, slot, l);
	return true;
}

static void lost(struct adoption *a, uint32_t slot)
{
	struct space *s = a->space;
	bool is_double = node_of(s, slot)->state == NODE_DOUBLE;

	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (copy_of(s, slot, l)->place != CKV_NONE)
			rests(a, l, copy_of(s, slot, l)->place,
			      is_double ? &a->n.n_doubles : &a->n.n_orphans);
	node_free(s, slot);
}

static void settle_chains(struct adoption *a)
{
	struct space *s = a->space;
	uint32_t n = 0, n_queued = 0;
	uint32_t *queue = s->sums;

	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (level_has_pages(s, l))
			list_level(s, l, queue, &n_queued);
	for (uint32_t i = 0; i < n_queued; i++) {
		struct link link = copy_of(s, queue[i], 0)->link;

		if (block_settle(a, queue[i])) {
			queue_put(s, queue, &n_queued, link.prev);
			n++;
		}
		queue_put(s, queue, &n_queued, link.next);
	}
	a->n.n_blocks = n;
	for (uint32_t slot = 0; n < a->n_claimed && slot < s->n_slots; slot++)
		if (node_of(s, slot)->state > NODE_PUBLISHED && !node_is_view(s, slot)) {
			lost(a, slot);
			n++;
		}
	ckv_count(&s->stats->blocks, a->n.n_blocks);
	n = 0;
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		n += level_has_pages(s, l) ? s->levels[l].n_free : 0;
	ckv_hint_store64(&s->stats->pages_free, n);
}

/* ---- all ---- */

void space_adopt(struct space *s, struct space_adopted *ret_n)
{
	struct adoption a = { .space = s };

	assert(space_is_empty(s) && s->n_before == 0);
	lanes_before(s);
	claim_blocks(&a);
	claim_views(&a);
	settle_chains(&a);
	settle_views(&a);
	adopt_order(s);
	if (a.n.n_resting > 0)
		blind_find(s, a.blind_below);
	*ret_n = a.n;
}
