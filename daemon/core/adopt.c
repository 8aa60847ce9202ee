/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.c - build a space again from the records of an earlier daemon (proto/ckv_record.h).
 *
 * Nothing is believed that was not checked. A record counts if its seal is right and all
 * its numbers are possible: its slot is in one of the key's buckets, its generation is
 * even, and so on. If two records name one slot or one key, neither counts, as nobody
 * knows which is right. A block counts only if all its ancestors do. A page whose record
 * does not count rests (rest.c).
 *
 * This takes a few walks: over all records, to claim the slots that they name; over them
 * and over the claimed blocks, to see whose chains reach a root; over all slots, to sort what
 * was found by its age; and over the sorted slots, to fill the policies. In each of them
 * what is read at random is prefetched. Its memory is that of queues that are empty now.
 *
 * Copies at farther levels are not in the records: only pages come back, and what was at
 * farther levels alone is forgotten. Pages that a move was filling rest.
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

static void rests(struct adoption *a, uint32_t page, uint32_t *why)
{
	page_rest(a->space, page);
	a->n.n_resting++;
	(*why)++;
}

/* It did so already, and its record tells since when. */
static void rests_on(struct adoption *a, uint32_t page)
{
	uint64_t since = a->space->records[page].checksum;

	if (since > a->blind_below)
		a->blind_below = since;
	rests(a, page, &a->n.n_rested);
}

/*
 * Its record is not whole. If it rested before, a daemon was killed while it noted since
 * when, and nobody knows that any more: each lane of before may be blind.
 */
static void rests_broken(struct adoption *a, uint32_t page)
{
	if (a->space->records[page].state == CKV_RECORD_QUARANTINE)
		a->blind_below = UINT64_MAX;
	rests(a, page, &a->n.n_bad);
}

/* ---- 1. claim slots ---- */

static bool sealed(const struct space *s, uint32_t page)
{
	return ckv_record_ok(&s->records[page], s->fingerprint, page);
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

/*
 * Let the record of a page, which is the first of n_pages, have the slot that it names.
 * False: it does not count; *ret_why is the count to which that belongs.
 */
static bool claim(struct adoption *a, uint32_t page, uint32_t n_pages,
		  uint32_t **ret_why)
{
	struct space *s = a->space;
	const struct ckv_record *record = &s->records[page];
	struct ckv_place place = ckv_index_place(&s->index, &record->key);
	struct ckv_block block = ckv_block_none();
	struct node *node;
	uint32_t other;

	*ret_why = &a->n.n_bad;
	if (!is_possible(record, &place))
		return false;
	*ret_why = &a->n.n_doubles;
	node = node_of(s, record->slot);
	if (node->state != NODE_FREE) {
		node->state = NODE_DOUBLE;
		return false;
	}
	if (table_find(s, &place, &record->key, &other) != TABLE_ABSENT) {
		node_of(s, other)->state = NODE_DOUBLE;
		return false;
	}
	node->state = NODE_CLAIMED;
	node->parent = record->parent_slot;
	node->copy[LEND_LEVEL].place = page;
	node->copy[LEND_LEVEL].link = (struct link){ CKV_NONE, CKV_NONE };
	block.key = record->key;
	block.generation = record->generation;
	block.level = lend_level(s)->config.number;
	block.flags = record->flags;
	block.n_tokens = record->n_tokens;
	block.parent_slot = record->parent_slot;
	block.n_pages = n_pages;
	block.checksum = record->checksum;
	*ckv_block_page(&block, block.level) = page;
	table_restore(s, record->slot, &place, &block);
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
 * key is over. If the lane has ended, nobody writes the page any more.
 */
static void adopt_lent(struct adoption *a, uint32_t page)
{
	struct space *s = a->space;
	uint64_t serial = s->records[page].checksum;
	int lane = lane_find(s, serial);

	if (lane < 0) {
		a->n.n_given_up++;
		page_push(s, page);
		return;
	}
	ckv_record_blank(&s->records[page], s->fingerprint, page, CKV_RECORD_LENT,
			 serial);
	(void)lane_take(s, lane, page, CKV_NONE);
	a->n.n_lent++;
}

static void claimed(struct adoption *a, const struct ckv_record *record)
{
	a->n_claimed++;
	if (!(record->flags & CKV_ENTRY_SUMMED))
		node_of(a->space, record->slot)->mark |= NODE_SUM_QUEUED;
}

static void adopt_page(struct adoption *a, uint32_t page)
{
	struct space *s = a->space;
	struct ckv_record *record = &s->records[page];
	uint32_t *why = &a->n.n_bad;

	if (is_free(record))
		place_push(lend_level(s), page);
	else if (!sealed(s, page))
		rests_broken(a, page);
	else if (record->state == CKV_RECORD_LENT)
		adopt_lent(a, page);
	else if (record->state == CKV_RECORD_QUARANTINE)
		rests_on(a, page);
	else if (record->state != CKV_RECORD_PUBLISHED ||
		 !block_is_possible(s, record) || !claim(a, page, 1, &why))
		rests(a, page, why);
	else
		claimed(a, record);
}

/* Prefetch what claim() reads for a record, which is not checked yet. */
CKV_ASK claim_ahead(const struct space *s, uint32_t page)
{
	const struct ckv_record *record = &s->records[page];
	struct ckv_place place;

	if (record->state != CKV_RECORD_PUBLISHED || record->slot >= s->n_slots)
		return;
	place = ckv_index_place(&s->index, &record->key);
	ckv_index_prefetch(&s->index, &place);
	table_prefetch(s, record->slot);
}

/* From the last page to the first, so that the first one is on top of the free ones. */
static void claim_blocks(struct adoption *a)
{
	struct space *s = a->space;
	struct level *level = lend_level(s);

	level->free_head = CKV_NONE;
	level->n_free = 0;
	for (uint32_t page = level->config.n_places; page-- > 0; ) {
		if (page >= AHEAD)
			claim_ahead(s, page - AHEAD);
		adopt_page(a, page);
	}
}

/* ---- views ---- */

/* Is this row of a view right, and so are the records of all its pages? */
static bool view_is_whole(const struct space *s, uint32_t i)
{
	const struct ckv_pool_shape *p = &s->config.pool;
	const struct ckv_view_row *row = &s->view_rows[i];
	uint64_t seal = ckv_hint_load64(&row->seal);

	if (seal == 0 || seal != ckv_view_row_seal(row, s->fingerprint) ||
	    row->first_page != p->first_view_page + i || row->n_pages == 0 ||
	    row->n_pages > p->slab_pages - i % p->slab_pages ||
	    row->n_pages > p->n_view_pages - i ||
	    row->n_bytes > row->n_pages * p->page_bytes)
		return false;
	for (uint32_t n = 0; n < row->n_pages; n++) {
		const struct ckv_record *first = &s->records[row->first_page];
		const struct ckv_record *record = first + n;

		if (ckv_hint_load64(&record->seal) == 0 ||
		    !sealed(s, row->first_page + n) || view_page_used(s, i + n) ||
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
	uint32_t first = s->config.pool.first_view_page, *why;

	for (uint32_t i = 0; i < s->config.pool.n_view_pages; i++) {
		struct ckv_view_row *row = &s->view_rows[i];

		if (!view_is_whole(s, i) ||
		    !claim(a, first + i, row->n_pages, &why)) {
			ckv_hint_store64(&row->seal, 0);
			continue;
		}
		node_of(s, s->records[first + i].slot)->mark |= NODE_VIEW;
		view_run_set(s, i, row->n_pages, true);
		s->runs[i].n_pages = row->n_pages;
	}
}

/* A view that was claimed counts, if no other one named its slot or key after it. */
static void settle_view(struct adoption *a, uint32_t i)
{
	struct space *s = a->space;
	uint32_t page = s->config.pool.first_view_page + i;
	uint32_t slot = s->records[page].slot;

	if (node_of(s, slot)->state == NODE_DOUBLE) {
		ckv_hint_store64(&s->view_rows[i].seal, 0);
		ckv_kill_fence();
		for (uint32_t n = 0; n < s->runs[i].n_pages; n++)
			rests(a, page + n, &a->n.n_doubles);
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
	uint32_t page = s->config.pool.first_view_page + i;
	struct ckv_record *record = &s->records[page];

	if (is_free(record))
		return;
	if (sealed(s, page) && record->state == CKV_RECORD_LENT) {
		ckv_record_free(record);
		return;
	}
	view_run_set(s, i, 1, true);
	if (!sealed(s, page))
		rests_broken(a, page);
	else if (record->state == CKV_RECORD_QUARANTINE)
		rests_on(a, page);
	else
		rests(a, page, &a->n.n_bad);
}

static void settle_views(struct adoption *a)
{
	struct space *s = a->space;

	for (uint32_t i = 0; i < s->config.pool.n_view_pages; i++) {
		if (s->runs[i].n_pages > 0)
			settle_view(a, i);
		else if (!view_page_used(s, i))
			settle_view_page(a, i);
	}
}

/* ---- 2. chains ---- */

/*
 * Each claimed block is put into the list of its parent's children, or if it is a root into
 * a queue. Then the queue takes in the children of each block that it has, and all that
 * comes into it counts. What hangs on nothing, or on itself, never comes into it. (Going up
 * from each block instead would wait for memory at each step.)
 *
 * link.prev is a block's first child, link.next its next sibling.
 */
static void child_or_root(struct space *s, uint32_t slot, uint32_t *queue, uint32_t *n)
{
	struct copy *copy = copy_of(s, slot, LEND_LEVEL), *parent;
	uint32_t up = node_of(s, slot)->parent;

	if (up == CKV_NONE) {
		queue[(*n)++] = slot;
		return;
	}
	if (node_of(s, up)->state != NODE_CLAIMED || node_is_view(s, up))
		return;
	parent = copy_of(s, up, LEND_LEVEL);
	parent->n_children++;
	copy->link.next = parent->link.prev;
	parent->link.prev = slot;
}

CKV_ASK chain_ahead(const struct space *s, uint32_t page)
{
	const struct ckv_record *record = &s->records[page];

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

static void lost(struct adoption *a, uint32_t slot)
{
	struct space *s = a->space;
	struct node *node = node_of(s, slot);

	rests(a, page_in(s, slot), node->state == NODE_DOUBLE ? &a->n.n_doubles :
	      &a->n.n_orphans);
	node->copy[LEND_LEVEL].n_children = 0;
	node_free(s, slot);
}

static void settle_chains(struct adoption *a)
{
	struct space *s = a->space;
	uint32_t n_pages = lend_level(s)->config.n_places, n = 0;
	uint32_t *queue = s->sums;

	for (uint32_t page = 0; page < n_pages; page++) {
		const struct ckv_record *record = &s->records[page];

		if (page + AHEAD < n_pages)
			chain_ahead(s, page + AHEAD);
		if (record->state == CKV_RECORD_PUBLISHED &&
		    node_of(s, record->slot)->state == NODE_CLAIMED)
			child_or_root(s, record->slot, queue, &n);
	}
	for (uint32_t i = 0; i < n; i++) {
		struct node *node = node_of(s, queue[i]);

		node->state = NODE_PUBLISHED;
		save_enqueue(s, queue[i], LEND_LEVEL);
		queue_put(s, queue, &n, node->copy[LEND_LEVEL].link.prev);
		queue_put(s, queue, &n, node->copy[LEND_LEVEL].link.next);
	}
	a->n.n_blocks = n;
	for (uint32_t slot = 0; n < a->n_claimed && slot < s->n_slots; slot++)
		if (node_of(s, slot)->state > NODE_PUBLISHED && !node_is_view(s, slot)) {
			lost(a, slot);
			n++;
		}
	ckv_count(&s->stats->blocks, a->n.n_blocks);
	ckv_hint_store64(&s->stats->pages_free, lend_level(s)->n_free);
}

/* ---- 3. and 4. order ---- */

/* A sorted list is made of words with a 32-bit key in the high half. */
static uint64_t pair(uint32_t key, uint32_t value)
{
	return (uint64_t)key << 32 | value;
}

/*
 * Keys are times of a clock that wraps. Where between two digits there is the longest
 * gap without a key, there is the end of time: the oldest comes behind it. Returns the
 * first digit behind the gap.
 */
static uint32_t oldest_digit(const uint32_t *n_of, uint32_t n_digits)
{
	uint32_t best = 0, length = 0, first = 0;

	for (uint32_t i = 0; i < 2 * n_digits; i++) {
		length = n_of[i % n_digits] == 0 ? length + 1 : 0;
		if (length > best && length <= n_digits) {
			best = length;
			first = (i + 1) % n_digits;
		}
	}
	return first;
}

/* Sort by one digit of the key; `wraps`: it is the last one, so mind the clock's wrap. */
static void sort_by_digit(const uint64_t *from, uint64_t *to, uint32_t n,
			  uint32_t shift, bool wraps)
{
	enum { DIGITS = 1 << 11 };
	uint32_t n_of[DIGITS] = { 0 }, at[DIGITS], first, next = 0;

	for (uint32_t i = 0; i < n; i++)
		n_of[from[i] >> shift & (DIGITS - 1)]++;
	first = wraps ? oldest_digit(n_of, DIGITS / 2) : 0;
	for (uint32_t i = 0; i < DIGITS; i++) {
		uint32_t digit = wraps ? (first + i) % (DIGITS / 2) : i;

		at[digit] = next;
		next += n_of[digit];
		if (wraps && i == DIGITS / 2 - 1)
			break;
	}
	for (uint32_t i = 0; i < n; i++)
		to[at[from[i] >> shift & (DIGITS - 1)]++] = from[i];
}

/* Sort `a`, the oldest first; `b` is as long. Returns where the result is. */
static uint64_t *sort(uint64_t *a, uint64_t *b, uint32_t n)
{
	sort_by_digit(a, b, n, 32, false);
	sort_by_digit(b, a, n, 43, false);
	sort_by_digit(a, b, n, 54, true);
	return b;
}

/* Two lists as long as there are slots, in memory that nothing else uses yet. */
static uint64_t *list_a(const struct space *s)
{
	return (uint64_t *)(void *)s->witnesses;
}

static uint64_t *list_b(const struct space *s)
{
	return (uint64_t *)(void *)s->sums;
}

/*
 * Give all blocks, or views, to their policy in the order in which they were used, as
 * far as the nodes of before tell. Each gets a new time, also those that may not go.
 */
static void restore_order(struct space *s, bool views)
{
	uint64_t *list = list_a(s);
	uint32_t n = 0;

	for (uint32_t slot = 0; slot < s->n_slots; slot++)
		if (node_of(s, slot)->state == NODE_PUBLISHED &&
		    node_is_view(s, slot) == views)
			list[n++] = pair(copy_of(s, slot, LEND_LEVEL)->stamp, slot);
	list = sort(list, list_b(s), n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = (uint32_t)list[i];
		struct candidates *c = candidates_of(s, slot, LEND_LEVEL);

		if (i + AHEAD < n)
			__builtin_prefetch(node_of(s, (uint32_t)list[i + AHEAD]), 1);
		c->ops->insert(c->policy, slot, POLICY_KNOWN);
		if (!copy_may_go(s, slot, LEND_LEVEL))
			c->ops->remove(c->policy, slot);
	}
}

/* The names of views, each with its views in the order in which they were made. */
static void restore_names(struct space *s)
{
	uint64_t *list = list_a(s);
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->config.pool.n_view_pages; i++) {
		uint64_t number = s->view_rows[i].number;

		if (s->runs[i].n_pages == 0)
			continue;
		list[n++] = pair((uint32_t)number, i);
		if (number > s->view_number)
			s->view_number = number;
	}
	list = sort(list, list_b(s), n);
	for (uint32_t i = 0; i < n; i++)
		view_name(s, (uint32_t)list[i]);
}

/* Forget what nodes of before say of slots that are free, and fill the other queues. */
static void restore_queues(struct space *s)
{
	for (uint32_t slot = 0; slot < s->n_slots; slot++) {
		struct node *node = node_of(s, slot);

		if (node->state == NODE_FREE)
			node->mark = 0;
		if (node->mark & NODE_SUM_QUEUED)
			s->sums[s->n_sums++] = slot;
		if (node->state == NODE_PUBLISHED && node_children(s, slot) == 0)
			tip_enqueue(s, slot);
	}
	ckv_count(&s->stats->unsummed, s->n_sums);
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
	restore_order(s, false);
	restore_order(s, true);
	restore_names(s);
	restore_queues(s);
	if (a.n.n_resting > 0)
		blind_find(s, a.blind_below);
	*ret_n = a.n;
}
