/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - assert the invariants that hold between two calls (state.h).
 */
#include "daemon/core/state.h"

#include <stdlib.h>

struct tally {
	uint64_t n_free, n_lent, n_blocks, n_views, n_view_pages, n_unsummed;
	uint64_t n_queued_tips, n_held_tips, n_parked;
};

static void check_entry(const struct space *s, uint32_t page, uint8_t level)
{
	const struct ckv_record *record = &s->records[page];
	struct ckv_place place = ckv_index_place(&s->index, &record->key);
	struct ckv_block block, found;
	uint32_t slot;

	assert(record->slot < s->n_slots);
	ckv_entry_load(ckv_index_entry(&s->index, record->slot), &block);
	assert(block.host_page == page);
	assert(block.level == level);
	assert((block.generation & 1) == 0);
	assert(block.generation == record->generation);
	assert(memcmp(&block.key, &record->key, sizeof block.key) == 0);
	assert(record->fingerprint == s->fingerprint);
	assert(table_parent_page(s, record->slot) == record->parent_page);
	if (level == CKV_LEVEL_NONE) {
		assert(!ckv_index_find(&s->index, &place, &record->key, &slot,
				       &found));
		return;
	}
	assert(ckv_index_find(&s->index, &place, &record->key, &slot, &found));
	assert(slot == record->slot);
}

/* The parent is published, or lent to the same lane as its lent child. */
static void check_parent(const struct space *s, uint32_t page, uint32_t *n_kids)
{
	uint32_t parent = s->records[page].parent_page;
	bool lent = ckv_record_state(&s->records[page]) == CKV_RECORD_LENT;
	uint8_t state;

	if (parent == CKV_NONE)
		return;
	assert(parent < s->config.pool.n_block_pages);
	n_kids[parent]++;
	state = ckv_record_state(&s->records[parent]);
	assert(state == CKV_RECORD_PUBLISHED ||
	       (lent && state == CKV_RECORD_LENT &&
		s->nodes[parent].lane == s->nodes[page].lane));
}

static void check_page(const struct space *s, uint32_t page, uint32_t *n_kids,
		       struct tally *t)
{
	const struct ckv_record *record = &s->records[page];
	const struct node *node = &s->nodes[page];

	assert(!(node->mark & NODE_BATCH));
	assert(!node->parked ||
	       ckv_record_state(record) == CKV_RECORD_PUBLISHED);
	t->n_queued_tips += (node->mark & NODE_TIP_QUEUED) != 0;
	t->n_held_tips += (node->mark & NODE_TIP_HELD) != 0;
	switch (ckv_record_state(record)) {
	case CKV_RECORD_FREE:
		assert(node->lane == NODE_NO_LANE && node->queue == 0);
		assert(node->n_children == 0);
		assert(!(node->mark & (NODE_TIP_HELD | NODE_DONE | NODE_LOST)));
		t->n_free++;
		break;
	case CKV_RECORD_LENT:
		assert(node->queue == 0);
		t->n_lent++;
		if (record->slot == CKV_NONE)
			break;
		assert(node->lane != NODE_NO_LANE);
		check_entry(s, page, CKV_LEVEL_NONE);
		check_parent(s, page, n_kids);
		break;
	case CKV_RECORD_PUBLISHED:
		assert(node->lane == NODE_NO_LANE);
		assert((node->queue != 0) + node->parked ==
		       (node->n_children == 0));
		check_entry(s, page, CKV_LEVEL_HOST);
		check_parent(s, page, n_kids);
		t->n_parked += node->parked;
		t->n_unsummed += !(record->flags & CKV_ENTRY_SUMMED);
		t->n_blocks++;
		break;
	default:
		assert(!"a block page holds something else");
	}
}

/* Each tip WAITING or READING holds a block of its own; the queue names no page twice. */
static void check_tips(const struct space *s, uint32_t *n_kids, struct tally *t)
{
	uint64_t n_held = 0;

	for (uint32_t i = 0; i < s->config.n_tips_max; i++) {
		const struct tip *tip = &s->tips[i];

		if (tip->state != TIP_WAITING && tip->state != TIP_READING)
			continue;
		assert(ckv_record_state(&s->records[tip->page]) ==
		       CKV_RECORD_PUBLISHED);
		assert(s->nodes[tip->page].mark & NODE_TIP_HELD);
		n_kids[tip->page]++;
		n_held++;
	}
	assert(n_held == t->n_held_tips);
	assert(n_held == ckv_hint_load64(&s->stats->auto_held));
	assert(s->n_queued_tips == t->n_queued_tips);
	for (uint32_t i = 0; i < s->n_queued_tips; i++)
		assert(s->nodes[s->queued_tips[(s->queued_tip_head + i) %
			s->config.pool.n_block_pages]].mark & NODE_TIP_QUEUED);
}

static void check_views(const struct space *s, struct tally *t)
{
	const struct ckv_pool_shape *p = &s->config.pool;

	for (uint32_t i = 0; i < p->n_view_pages; i++) {
		uint32_t page = p->first_view_page + i;
		uint8_t state = ckv_record_state(&s->records[page]);
		bool used = s->view_used[i / 64] >> i % 64 & 1;

		assert(used == (state != CKV_RECORD_FREE));
		t->n_view_pages += used;
		if (state != CKV_RECORD_VIEW ||
		    s->rows[i].view.first_page != page ||
		    s->rows[i].view.n_pages == 0)
			continue;
		assert(i / p->slab_pages ==
		       (i + s->rows[i].view.n_pages - 1) / p->slab_pages);
		assert((s->nodes[page].queue != 0) + s->nodes[page].parked ==
		       (s->nodes[page].n_children == 0));
		t->n_parked += s->nodes[page].parked;
		check_entry(s, page, CKV_LEVEL_HOST);
		t->n_views++;
	}
}

static void check_lanes(const struct space *s)
{
	uint64_t n_lent = 0, n_claimed = 0, n_users = 0;
	uint32_t n_open = 0;

	for (uint32_t i = 0; i < s->config.n_lanes_max; i++) {
		const struct space_lane *lane = &s->lanes[i];
		uint32_t n = 0;

		if (lane->state == LANE_UNUSED)
			continue;
		if (lane->state == LANE_IN_USE) {
			assert(s->open_lanes[lane->place] == i);
			n_open++;
		}
		for (uint32_t page = lane->lent.head; page != CKV_NONE;
		     page = s->nodes[page].next, n++)
			assert(s->nodes[page].lane == i);
		assert(n == lane->lent.n);
		n_lent += n;
	}
	for (uint32_t i = 0; i < s->config.n_clients_max; i++)
		n_claimed += s->client_lent[i];
	for (uint32_t i = 0; i <= s->config.n_users_max; i++)
		n_users += s->user_lent[i];
	assert(n_lent == n_claimed && n_lent == n_users);
	assert(n_open == s->n_open);
}

/* A slot is taken exactly if a record names it or it is retired. */
static void check_slots(const struct space *s, const struct tally *t,
			uint64_t n_scratch)
{
	uint64_t n_taken = 0;

	for (uint32_t b = 0; b < s->index.n_buckets; b++)
		n_taken += (uint32_t)__builtin_popcount(
			ckv_hint_load32(&s->index.buckets[b].used));
	assert(n_taken == t->n_blocks + t->n_views + t->n_lent - n_scratch +
	       ckv_hint_load64(&s->stats->slots_retired));
}

void space_check(const struct space *s)
{
	const struct ckv_pool_shape *p = &s->config.pool;
	uint32_t *n_kids = calloc(p->n_block_pages, sizeof *n_kids);
	struct tally t = { 0 };
	uint64_t n_scratch = 0;
	uint32_t n = 0;

	assert(n_kids != NULL);
	for (uint32_t i = 0; i < p->n_block_pages; i++) {
		check_page(s, i, n_kids, &t);
		n_scratch += ckv_record_state(&s->records[i]) ==
			     CKV_RECORD_LENT && s->records[i].slot == CKV_NONE;
	}
	check_tips(s, n_kids, &t);
	for (uint32_t i = 0; i < p->n_block_pages; i++)
		assert(s->nodes[i].n_children >= n_kids[i]);
	free(n_kids);
	for (uint32_t i = s->free_head; i != CKV_NONE; i = s->nodes[i].next, n++)
		assert(n < p->n_block_pages);
	assert(n == s->n_free && n == t.n_free);
	check_views(s, &t);
	assert(s->parked[BLOCKS].n + s->parked[VIEWS].n == t.n_parked);
	assert(ckv_hint_load64(&s->stats->parked) == t.n_parked);
	assert(s->n_batch == 0 && s->n_chosen == 0);
	check_lanes(s);
	check_slots(s, &t, n_scratch);
	for (size_t i = 0; i < ((size_t)s->n_slots + 63) / 64; i++)
		assert(s->judged[i] == 0);
	assert(s->n_batch == 0);
	assert(t.n_free == ckv_hint_load64(&s->stats->pages_free));
	assert(t.n_lent == ckv_hint_load64(&s->stats->pages_lent));
	assert(t.n_blocks == ckv_hint_load64(&s->stats->blocks));
	assert(t.n_unsummed == ckv_hint_load64(&s->stats->unsummed));
	assert(t.n_views == ckv_hint_load64(&s->stats->views));
	assert(t.n_view_pages == ckv_hint_load64(&s->stats->view_pages_used));
}
