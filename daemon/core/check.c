/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - assert the invariants that hold between two calls (state.h).
 */
#include "daemon/core/state.h"

#include <stdlib.h>

struct tally {
	uint64_t n_free, n_lent, n_blocks, n_views, n_view_pages, n_unsummed;
	uint64_t n_queued_tips, n_queued_sums, n_held_tips, n_parked;
	uint64_t n_scratch, n_reserved, n_resting;
};

static void check_entry(const struct space *s, uint32_t slot, uint8_t level)
{
	const struct node *node = node_of(s, slot);
	const struct ckv_record *record = record_of(s, slot);
	struct ckv_place place = ckv_index_place(&s->index, &record->key);
	struct ckv_block block, found;
	uint32_t found_slot = CKV_NONE;

	assert(record->slot == slot);
	ckv_entry_load(ckv_index_entry(&s->index, slot), &block);
	assert(*ckv_block_page(&block, lend_level(s)->config.number) ==
	       page_in(s, slot));
	assert(block.level == level);
	assert(((block.flags & CKV_ENTRY_VIEW) != 0) == node_is_view(s, slot));
	assert((block.generation & 1) == 0);
	assert(block.generation == record->generation);
	assert(memcmp(&block.key, &record->key, sizeof block.key) == 0);
	assert(block.parent_slot == node->parent);
	assert(record->parent_slot == node->parent);
	if (level != CKV_LEVEL_NONE) {
		assert(record->n_tokens == block.n_tokens);
		assert(record->flags == block.flags);
		assert(record->checksum == block.checksum);
	}
	assert(ckv_index_find(&s->index, &place, &record->key, &found_slot,
			      &found) == (level != CKV_LEVEL_NONE));
	assert(level == CKV_LEVEL_NONE || found_slot == slot);
}

/* The parent is published, or lent to the same lane as its lent child. */
static void check_parent(const struct space *s, uint32_t slot, uint32_t *n_kids)
{
	const struct node *node = node_of(s, slot), *parent;

	if (node->parent == CKV_NONE)
		return;
	assert(node->parent < s->n_slots);
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		n_kids[node->parent * s->config.n_levels + l] +=
			copy_there(s, slot, l);
	parent = node_of(s, node->parent);
	assert(!(parent->mark & NODE_VIEW));
	assert(level_of(s, node->parent) <= level_of(s, slot));
	assert(parent->state == NODE_PUBLISHED ||
	       (node->state == NODE_LENT && parent->state == NODE_LENT &&
		page_of(s, page_in(s, node->parent))->lane ==
		page_of(s, page_in(s, slot))->lane));
}

/* A copy that may go is in its policy or parked; no other one is. */
static void check_copies(const struct space *s, uint32_t slot, struct tally *t)
{
	const struct node *node = node_of(s, slot);

	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		const struct copy *copy = &node->copy[l];
		bool there = copy->place != CKV_NONE;

		t->n_parked += copy->parked;
		assert(!there || node->state != NODE_FREE);
		assert(node->state != NODE_FREE || copy->n_children == 0);
		assert((copy->queue != 0) + copy->parked ==
		       (node->state == NODE_PUBLISHED && there &&
			copy_may_go(s, slot, l)));
	}
}

static void check_slot(const struct space *s, uint32_t slot, uint32_t *n_kids,
		       struct tally *t)
{
	const struct node *node = node_of(s, slot);

	assert(!batch_has(s, slot));
	t->n_queued_tips += (node->mark & NODE_TIP_QUEUED) != 0;
	t->n_queued_sums += (node->mark & NODE_SUM_QUEUED) != 0;
	t->n_held_tips += (node->mark & NODE_TIP_HELD) != 0;
	check_copies(s, slot, t);
	switch (node->state) {
	case NODE_FREE:
		assert((node->mark & (uint8_t)~NODE_STAYS) == 0);
		break;
	case NODE_LENT:
		t->n_reserved++;
		assert(record_of(s, slot)->state == CKV_RECORD_LENT);
		assert(page_of(s, page_in(s, slot))->lane != NO_LANE);
		check_entry(s, slot, CKV_LEVEL_NONE);
		check_parent(s, slot, n_kids);
		break;
	case NODE_PUBLISHED:
		assert(record_of(s, slot)->state ==
		       (node_is_view(s, slot) ? CKV_RECORD_VIEW :
			CKV_RECORD_PUBLISHED));
		check_entry(s, slot, s->levels[level_of(s, slot)].config.number);
		check_parent(s, slot, n_kids);
		break;
	default:
		assert(!"a slot is something else");
	}
}

/* A later daemon would believe the record. */
static void check_seal(const struct space *s, uint32_t page)
{
	const struct ckv_record *record = &s->records[page];

	assert(ckv_hint_load64(&record->seal) ==
	       (record->state == CKV_RECORD_FREE ? 0 :
		ckv_record_seal(record, s->fingerprint, page)));
}

static void check_page(const struct space *s, uint32_t page, struct tally *t)
{
	const struct ckv_record *record = &s->records[page];
	const struct page *p = page_of(s, page);

	check_seal(s, page);
	switch (record->state) {
	case CKV_RECORD_FREE:
		assert(p->lane == NO_LANE && p->n_holds == 0);
		t->n_free++;
		break;
	case CKV_RECORD_LENT:
		t->n_lent++;
		t->n_scratch += record->slot == CKV_NONE;
		assert(p->lane != NO_LANE || p->n_holds > 0);
		assert(record->slot == CKV_NONE ||
		       page_in(s, record->slot) == page);
		assert(record->checksum == (p->lane == NO_LANE ? 0 :
					    s->lanes[p->lane].memory.serial));
		break;
	case CKV_RECORD_PUBLISHED:
		assert(p->lane == NO_LANE && p->n_holds == 0);
		assert(page_in(s, record->slot) == page);
		t->n_unsummed += !(record->flags & CKV_ENTRY_SUMMED);
		t->n_blocks++;
		break;
	case CKV_RECORD_QUARANTINE:
		assert(p->lane == NO_LANE && p->n_holds == 0);
		t->n_resting++;
		break;
	default:
		assert(!"a block page holds something else");
	}
}

/* Each tip WAITING or READING holds a block of its own; queues name no slot twice. */
static void check_tips(const struct space *s, uint32_t *n_kids,
		       const struct tally *t)
{
	uint64_t n_held = 0;

	for (uint32_t i = 0; i < s->config.n_tips_max; i++) {
		const struct tip *tip = &s->tips[i];

		if (tip->state != TIP_WAITING && tip->state != TIP_READING)
			continue;
		assert(node_of(s, tip->slot)->state == NODE_PUBLISHED);
		assert(node_of(s, tip->slot)->mark & NODE_TIP_HELD);
		n_kids[tip->slot * s->config.n_levels + LEND_LEVEL]++;
		n_held++;
	}
	assert(n_held == t->n_held_tips);
	assert(n_held == ckv_hint_load64(&s->stats->auto_held));
	assert(s->n_queued_tips == t->n_queued_tips);
	for (uint32_t i = 0; i < s->n_queued_tips; i++)
		assert(node_of(s, s->queued_tips[(s->queued_tip_head + i) %
			s->n_slots])->mark & NODE_TIP_QUEUED);
	assert(s->n_sums == t->n_queued_sums);
	for (uint32_t i = 0; i < s->n_sums; i++)
		assert(node_of(s, s->sums[(s->sum_head + i) % s->n_slots])->mark &
		       NODE_SUM_QUEUED);
}

static void check_views(const struct space *s, struct tally *t)
{
	const struct ckv_pool_shape *p = &s->config.pool;

	for (uint32_t i = 0; i < p->n_view_pages; i++) {
		uint32_t page = p->first_view_page + i;
		const struct ckv_view_row *row = &s->view_rows[i];
		uint8_t state = s->records[page].state;
		bool used = s->view_used[i / 64] >> i % 64 & 1;

		check_seal(s, page);
		assert(used == (state != CKV_RECORD_FREE));
		t->n_view_pages += used;
		t->n_resting += state == CKV_RECORD_QUARANTINE;
		if (state != CKV_RECORD_VIEW || s->runs[i].n_pages == 0) {
			assert(ckv_hint_load64(&row->seal) == 0);
			continue;
		}
		assert(ckv_hint_load64(&row->seal) ==
		       ckv_view_row_seal(row, s->fingerprint));
		assert(row->first_page == page);
		assert(row->n_pages == s->runs[i].n_pages);
		assert(i / p->slab_pages ==
		       (i + s->runs[i].n_pages - 1) / p->slab_pages);
		assert(page_in(s, s->records[page].slot) == page);
		t->n_views++;
	}
}

static void check_lanes(const struct space *s)
{
	uint64_t n_lent = 0, n_claimed = 0, n_users = 0;
	uint32_t n_open = 0, n_before = 0, n_blind = 0;

	for (uint32_t i = 0; i < s->config.n_lanes_max; i++) {
		const struct space_lane *lane = &s->lanes[i];
		uint32_t n = 0;

		if (lane->state == LANE_UNUSED)
			continue;
		if (lane->state == LANE_IN_USE) {
			assert(s->open_lanes[lane->place] == i);
			n_open++;
			n_before += lane->before;
			n_blind += lane->blind;
		}
		for (uint32_t page = lane->lent.head; page != CKV_NONE;
		     page = page_of(s, page)->link.next, n++)
			assert(page_of(s, page)->lane == i);
		assert(n == lane->lent.n);
		n_lent += n;
	}
	for (uint32_t i = 0; i < s->config.n_clients_max; i++)
		n_claimed += s->client_lent[i];
	for (uint32_t i = 0; i <= s->config.n_users_max; i++)
		n_users += s->user_lent[i];
	assert(n_lent == n_claimed && n_lent == n_users);
	assert(n_open == s->n_open && n_before == s->n_before &&
	       n_blind == s->n_blind);
}

/* A slot is taken exactly if it has a block, a view or a reservation, or is retired. */
static void check_taken(const struct space *s, const struct tally *t)
{
	uint64_t n_taken = 0;

	for (uint32_t b = 0; b < s->index.n_buckets; b++)
		n_taken += (uint32_t)__builtin_popcount(
			ckv_hint_load32(&s->index.buckets[b].used));
	assert(t->n_reserved == t->n_lent - t->n_scratch);
	assert(n_taken == t->n_blocks + t->n_views + t->n_reserved +
	       ckv_hint_load64(&s->stats->slots_retired));
}

/* A level's stack names as many places as are free. */
static void check_levels(const struct space *s)
{
	for (uint32_t i = 0; i < s->config.n_levels; i++) {
		const struct level *level = &s->levels[i];
		uint32_t n = 0;

		if (level->pages == NULL)
			continue;
		for (uint32_t at = level->free_head; at != CKV_NONE;
		     at = level->pages[at].link.next, n++)
			assert(n < level->config.n_places);
		assert(n == level->n_free);
	}
}

/* Who waits, waits for a block that is lent: nobody would wake it else. */
static void check_awaits(const struct space *s)
{
	const struct space_task *t, *const *at;
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_awaiting; i++)
		for (t = s->awaiting[i]; t != NULL; t = t->after, n++) {
			assert((t->awaited_slot & (s->n_awaiting - 1)) == i);
			assert(!t->ready && *t->at == t);
			assert(node_of(s, t->awaited_slot)->state == NODE_LENT);
		}
	assert(n == s->n_awaited && n <= s->config.n_awaits_max);
	at = (const struct space_task *const *)&s->ready_head;
	for (t = s->ready_head; t != NULL; t = t->after) {
		assert(t->ready && *t->at == t);
		at = (const struct space_task *const *)&t->after;
	}
	assert((const void *)at == (const void *)s->ready_end);
}

void space_check(const struct space *s)
{
	uint32_t *n_kids = calloc((size_t)s->n_slots * s->config.n_levels,
				  sizeof *n_kids);
	struct tally t = { 0 };
	uint64_t n_parked;

	assert(n_kids != NULL);
	for (uint32_t i = 0; i < s->n_slots; i++)
		check_slot(s, i, n_kids, &t);
	for (uint32_t i = 0; i < lend_level(s)->config.n_places; i++)
		check_page(s, i, &t);
	check_tips(s, n_kids, &t);
	for (uint32_t i = 0; i < s->n_slots; i++)
		for (uint32_t l = 0; l < s->config.n_levels; l++)
			assert(copy_of(s, i, l)->n_children >=
			       n_kids[i * s->config.n_levels + l]);
	free(n_kids);
	check_levels(s);
	assert(lend_level(s)->n_free == t.n_free);
	check_views(s, &t);
	n_parked = s->views.parked.n;
	for (uint32_t i = 0; i < s->config.n_levels; i++)
		n_parked += s->levels[i].blocks.parked.n;
	assert(n_parked == t.n_parked);
	assert(ckv_hint_load64(&s->stats->parked) == t.n_parked);
	assert(s->n_batch == 0 && s->n_chosen == 0);
	check_lanes(s);
	check_awaits(s);
	check_taken(s, &t);
	for (size_t i = 0; i < ((size_t)s->n_slots + 63) / 64; i++)
		assert(s->judged[i] == 0);
	assert(s->n_batch == 0);
	assert(t.n_free == ckv_hint_load64(&s->stats->pages_free));
	assert(t.n_resting == s->n_resting);
	assert(t.n_resting == ckv_hint_load64(&s->stats->pages_resting));
	assert(t.n_lent == ckv_hint_load64(&s->stats->pages_lent));
	assert(t.n_blocks == ckv_hint_load64(&s->stats->blocks));
	assert(t.n_unsummed == ckv_hint_load64(&s->stats->unsummed));
	assert(t.n_views == ckv_hint_load64(&s->stats->views));
	assert(t.n_view_pages == ckv_hint_load64(&s->stats->view_pages_used));
}
