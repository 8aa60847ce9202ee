/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - assert the invariants that hold between two calls (state.h).
 */
#include "daemon/core/state.h"

#include <stdlib.h>

struct tally {
	uint64_t n_lent, n_blocks, n_views, n_view_pages, n_unsummed;
	uint64_t n_queued_tips, n_queued_sums, n_held_tips, n_parked;
	uint64_t n_scratch, n_reserved, n_over, n_resting;
	uint64_t n_tied, n_stale, n_queued, n_wanted, n_free;
};

static bool wanted_somewhere(const struct space *s, uint32_t slot)
{
	uint8_t marks = 0;

	for (uint32_t l = 0; l < s->config.n_levels; l++)
		marks |= copy_of(s, slot, l)->mark;
	return (marks & COPY_WANTED) != 0;
}

/* The record of a block's page says what the index says, unless the page was replaced. */
static void check_record(const struct space *s, uint32_t slot, uint32_t level,
			 const struct ckv_block *block)
{
	const struct ckv_record *record = record_of(s, slot, level);

	assert(record->slot == slot);
	assert((record->state == CKV_RECORD_QUARANTINE) ==
	       ((copy_of(s, slot, level)->mark & COPY_STALE) != 0));
	if (record->state == CKV_RECORD_QUARANTINE)
		return;
	assert(block->generation == record->generation);
	assert(memcmp(&block->key, &record->key, sizeof block->key) == 0);
	assert(record->parent_slot == block->parent_slot);
	if (record->state == CKV_RECORD_LENT)
		return;
	assert(record->checksum == block->checksum);
	assert(record->flags == block->flags);
	assert(record->n_tokens == block->n_tokens);
}

static void check_entry(const struct space *s, uint32_t slot, uint8_t level)
{
	const struct node *node = node_of(s, slot);
	struct ckv_block block, found;
	struct ckv_place place;
	uint32_t found_slot = CKV_NONE, n_there = 0;

	block_load(s, slot, &block);
	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		const uint32_t *page = ckv_block_page(&block,
						      s->levels[l].config.number);

		if (page != NULL)
			assert(*page == (copy_there(s, slot, l) ?
					 copy_of(s, slot, l)->place : CKV_NONE));
	}
	assert(block.level == level);
	assert(((block.flags & CKV_ENTRY_VIEW) != 0) == node_is_view(s, slot));
	assert((block.generation & 1) == 0);
	assert(block.parent_slot == node->parent);
	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		n_there += copy_there(s, slot, l);
		if (level_has_pages(s, l) && copy_of(s, slot, l)->place != CKV_NONE)
			check_record(s, slot, l, &block);
	}
	assert((block.flags & CKV_ENTRY_SUMMED) ||
	       (n_there == 1 && level_has_pages(s, level_of(s, slot))));
	place = ckv_index_place(&s->index, &block.key);
	assert(ckv_index_find(&s->index, &place, &block.key, &found_slot,
			      &found) == (level != CKV_LEVEL_NONE));
	assert(level == CKV_LEVEL_NONE || found_slot == slot);
}

/*
 * The parent is there at each level at which the child has a copy, or a page, or nearer; or it
 * was lent there to the same lane as its lent child. Each of those counts as the parent's
 * child at its level.
 */
static void check_parent(const struct space *s, uint32_t slot, uint32_t *n_kids)
{
	uint32_t up = node_of(s, slot)->parent;

	if (up == CKV_NONE)
		return;
	assert(up < s->n_slots);
	assert(!node_is_view(s, up));
	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		if (copy_of(s, slot, l)->place == CKV_NONE)
			continue;
		n_kids[up * s->config.n_levels + l]++;
		if (is_near(s, up, l))
			continue;
		assert(node_lent(s, slot) && lent_level(s, slot) == l);
		assert(node_lent(s, up) && lent_level(s, up) <= l);
		assert(page_lent(s, up)->lane == page_lent(s, slot)->lane);
	}
}

/* A copy that may go is in its policy or parked; no other one is. Those tied are known. */
static void check_copies(const struct space *s, uint32_t slot, struct tally *t)
{
	const struct node *node = node_of(s, slot);
	bool published = node->state == NODE_PUBLISHED;
	uint32_t n_over = 0;

	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		const struct copy *copy = &node->copy[l];
		bool there = copy_there(s, slot, l);

		t->n_parked += copy->parked;
		t->n_tied += (copy->mark & COPY_TIED) != 0;
		t->n_stale += (copy->mark & COPY_STALE) != 0;
		t->n_queued += (copy->mark & COPY_QUEUED) != 0;
		assert(!(copy->mark & COPY_LEAVING));
		assert(copy->place == CKV_NONE || node->state != NODE_FREE);
		assert(node->state != NODE_FREE || copy->n_children == 0);
		assert((copy->queue != 0) + copy->parked ==
		       (published && there && copy_may_go(s, slot, l)));
		assert(((copy->mark & COPY_TIED) != 0) ==
		       (published && there && copy_is_tied(s, slot, l)));
		assert(!(copy->mark & COPY_STALE) ||
		       (published && level_has_pages(s, l)));
		n_over += (copy->mark & COPY_LENT) != 0;
		assert(!(copy->mark & COPY_LENT) ||
		       (published && l < level_of(s, slot) && level_has_pages(s, l)));
	}
	assert(n_over <= 1);
	t->n_wanted += wanted_somewhere(s, slot);
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
		assert(record_of(s, slot, level_of(s, slot))->state == CKV_RECORD_LENT);
		assert(page_lent(s, slot)->lane != NO_LANE);
		check_entry(s, slot, CKV_LEVEL_NONE);
		check_parent(s, slot, n_kids);
		break;
	case NODE_PUBLISHED:
		t->n_blocks += !node_is_view(s, slot);
		t->n_over += node_lent(s, slot);
		if (node_lent(s, slot))
			assert(record_of(s, slot, lent_level(s, slot))->state ==
			       CKV_RECORD_LENT);
		for (uint32_t l = 0; l < s->config.n_levels; l++)
			if (level_has_pages(s, l) && copy_there(s, slot, l))
				assert(record_of(s, slot, l)->state ==
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
static void check_seal(const struct space *s, uint32_t level, uint32_t page)
{
	const struct ckv_record *record = &s->levels[level].records[page];

	assert(ckv_hint_load64(&record->seal) ==
	       (record->state == CKV_RECORD_FREE ? 0 :
		ckv_record_seal(record, s->fingerprint, page)));
}

static void check_page(const struct space *s, uint32_t level, uint32_t page,
		       struct tally *t)
{
	const struct ckv_record *record = &s->levels[level].records[page];
	const struct page *p = page_of(s, level, page);

	check_seal(s, level, page);
	assert(!p->rests || record->state == CKV_RECORD_QUARANTINE);
	switch (record->state) {
	case CKV_RECORD_FREE:
		assert(p->lane == NO_LANE && p->n_holds == 0);
		break;
	case CKV_RECORD_LOADING:	/* a move's: check_places() */
		assert(p->lane == NO_LANE && p->n_holds == 0);
		break;
	case CKV_RECORD_LENT:
		t->n_lent++;
		t->n_scratch += record->slot == CKV_NONE;
		assert(p->lane != NO_LANE || p->n_holds > 0);
		assert(record->slot == CKV_NONE ||
		       copy_of(s, record->slot, level)->place == page);
		assert(record->checksum == (p->lane == NO_LANE ? 0 :
					    s->lanes[p->lane].memory.serial));
		break;
	case CKV_RECORD_PUBLISHED:
		assert(p->lane == NO_LANE && p->n_holds == 0);
		assert(copy_of(s, record->slot, level)->place == page);
		t->n_unsummed += !(record->flags & CKV_ENTRY_SUMMED);
		break;
	case CKV_RECORD_QUARANTINE:
		assert(p->lane == NO_LANE);
		assert(p->n_holds == 0 || ckv_record_writer(record) != 0);
		assert(p->rests || copy_of(s, record->slot, level)->place == page);
		t->n_resting += p->rests;
		break;
	default:
		assert(!"a block page holds something else");
	}
}

static void check_pages(const struct space *s, uint32_t level, struct tally *t)
{
	if (!level_has_pages(s, level))
		return;
	t->n_free += s->levels[level].n_free;
	for (uint32_t page = 0; page < s->levels[level].config.n_places; page++)
		check_page(s, level, page, t);
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
		n_kids[tip->slot * s->config.n_levels + s->config.work_level]++;
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
	const struct ckv_pool_shape *p = work_pool(s);
	const struct ckv_record *records = work_level(s)->records;

	for (uint32_t i = 0; i < p->n_view_pages; i++) {
		uint32_t page = p->first_view_page + i;
		const struct ckv_view_row *row = &s->view_rows[i];
		uint8_t state = records[page].state;
		bool used = s->view_used[i / 64] >> i % 64 & 1;

		check_seal(s, s->config.work_level, page);
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
		assert(work_page(s, records[page].slot) == page);
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
		for (uint32_t sheet = lane->lent.head; sheet != CKV_NONE;
		     sheet = s->pages[sheet].link.next, n++)
			assert(s->pages[sheet].lane == i);
		assert(n == lane->lent.n);
		n_lent += n;
	}
	for (uint32_t i = 0; i < s->config.n_clients_max; i++)
		n_claimed += space_client_lent(s, i);
	for (uint32_t i = 0; i <= s->config.n_users_max; i++)
		n_users += space_user_lent(s, i);
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
	assert(t->n_reserved + t->n_over == t->n_lent - t->n_scratch);
	assert(n_taken == t->n_blocks + t->n_views + t->n_reserved +
	       ckv_hint_load64(&s->stats->slots_retired));
}

/* Each place of a level is somebody's, and nobody else's. */
static void claim(bool *claimed, const struct space *s, uint32_t level, uint32_t place)
{
	assert(place < s->levels[level].config.n_places && !claimed[place]);
	claimed[place] = true;
}

static void claim_free(bool *claimed, const struct space *s, uint32_t l)
{
	const struct level *level = &s->levels[l];
	uint32_t n = 0;

	for (uint32_t i = 0; level->free_places && i < level->n_free; i++, n++)
		claim(claimed, s, l, level->free_places[i]);
	for (uint32_t at = level->free_head; level->pages && at != CKV_NONE;
	     at = level->pages[at].link.next, n++) {
		claim(claimed, s, l, at);
		assert(level->records[at].state == CKV_RECORD_FREE);
	}
	assert(n == level->n_free);
}

static void claim_moves(bool *claimed, const struct space *s, uint32_t l)
{
	for (uint32_t i = 0; i < s->config.n_moves_max; i++) {
		const struct move *m = &s->moves[i];

		if (m->state == MOVE_FREE)
			continue;
		if (m->to == l)
			claim(claimed, s, l, m->to_place);
		if (m->to == l && level_has_pages(s, l))
			assert(s->levels[l].records[m->to_place].state ==
			       CKV_RECORD_LOADING);
		if (m->from == l && copy_of(s, m->slot, l)->place != m->from_place)
			claim(claimed, s, l, m->from_place);
	}
}

/* Lent without a slot, or it rests. */
static bool is_scratch(const struct level *level, uint32_t page)
{
	const struct ckv_record *record = &level->records[page];

	return level->pages[page].rests ||
	       (record->state == CKV_RECORD_LENT && record->slot == CKV_NONE);
}

static void check_places(const struct space *s, uint32_t l)
{
	const struct level *level = &s->levels[l];
	bool *claimed = calloc(level->config.n_places, sizeof *claimed);

	assert(claimed != NULL);
	claim_free(claimed, s, l);
	claim_moves(claimed, s, l);
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (copy_of(s, i, l)->place != CKV_NONE && !node_is_view(s, i))
			claim(claimed, s, l, copy_of(s, i, l)->place);
	for (uint32_t i = 0; i < level->config.n_places; i++)
		assert(claimed[i] || (level_has_pages(s, l) && is_scratch(level, i)));
	free(claimed);
}

/* A move under way has a block, whose copy it reads unless that was replaced. */
static void check_moves(const struct space *s)
{
	uint32_t n = 0, n_nodes = 0, n_landed = 0;

	for (uint32_t i = 0; i < s->config.n_moves_max; i++) {
		const struct move *m = &s->moves[i];

		if (m->state == MOVE_FREE)
			continue;
		n++;
		n_landed += m->state == MOVE_LANDED;
		assert(node_of(s, m->slot)->move == i + 1);
		assert(node_of(s, m->slot)->state == NODE_PUBLISHED);
		assert(m->cancelled || !copy_there(s, m->slot, m->to));
		assert(m->cancelled || (copy_there(s, m->slot, m->from) &&
		       copy_of(s, m->slot, m->from)->place == m->from_place));
		assert(m->state != MOVE_LANDED || !m->cancelled);
	}
	for (uint32_t i = 0; i < s->n_slots; i++)
		n_nodes += node_of(s, i)->move != 0;
	assert(n == n_nodes && n_landed == s->n_landed);
	assert(n == ckv_hint_load64(&s->stats->moves));
}

static void check_levels(const struct space *s, const struct tally *t)
{
	uint64_t n_tied = 0, n_stale = 0, n_queued = 0;

	for (uint32_t i = 0; i < s->config.n_levels; i++) {
		const struct level *level = &s->levels[i];

		check_places(s, i);
		n_tied += level->tied.n;
		n_stale += level->stale.n;
		n_queued += level->n_unsaved;
		for (uint32_t k = 0; k < level->n_unsaved; k++)
			assert(copy_of(s, level->unsaved[(level->unsaved_head + k) %
				       s->n_slots], i)->mark & COPY_QUEUED);
	}
	assert(n_tied == t->n_tied && n_stale == t->n_stale);
	assert(n_queued == t->n_queued && s->n_wanted == t->n_wanted);
	for (uint32_t k = 0; k < s->n_wanted; k++)
		assert(wanted_somewhere(s, s->wanted[(s->wanted_head + k) %
						     s->n_slots]));
}

/* Who waits, waits for a block that is lent, or coming: nobody would wake it else. */
static void check_awaits(const struct space *s)
{
	const struct space_task *t, *const *at;
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_awaiting; i++)
		for (t = s->awaiting[i]; t != NULL; t = t->after, n++) {
			assert((t->awaited_slot & (s->n_awaiting - 1)) == i);
			assert(!t->ready && *t->at == t);
			assert(node_lent(s, t->awaited_slot) ||
			       node_of(s, t->awaited_slot)->move != 0 ||
			       wanted_somewhere(s, t->awaited_slot));
		}
	assert(n == s->n_awaited && n <= s->config.n_awaits_max);
	at = (const struct space_task *const *)&s->ready_head;
	for (t = s->ready_head; t != NULL; t = t->after) {
		assert(t->ready && *t->at == t);
		at = (const struct space_task *const *)&t->after;
	}
	assert((const void *)at == (const void *)s->ready_end);
}

/* Those that rest since somebody may write them are in the queue, the others are counted. */
static void check_written(const struct space *s, uint64_t n_resting)
{
	uint32_t n_unknown = 0, n = 0;

	for (uint32_t sheet = s->written.head; sheet != CKV_NONE;
	     sheet = s->pages[sheet].link.next, n++) {
		uint64_t writer = ckv_record_writer(sheet_record(s, sheet));

		assert(s->pages[sheet].rests && writer != 0);
		n_unknown += writer == CKV_WRITER_UNKNOWN;
	}
	assert(n == s->written.n && n_unknown == s->n_unknown);
	assert(s->n_unquiet <= n);
	assert(n_resting == space_resting(s) - n_unknown + n);
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
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		check_pages(s, l, &t);
	check_tips(s, n_kids, &t);
	for (uint32_t i = 0; i < s->n_slots; i++)
		for (uint32_t l = 0; l < s->config.n_levels; l++)
			assert(copy_of(s, i, l)->n_children >=
			       n_kids[i * s->config.n_levels + l]);
	free(n_kids);
	check_levels(s, &t);
	check_moves(s);
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
	check_written(s, t.n_resting);
	assert(t.n_resting == ckv_hint_load64(&s->stats->pages_resting));
	assert(t.n_lent == ckv_hint_load64(&s->stats->pages_lent));
	assert(t.n_blocks == ckv_hint_load64(&s->stats->blocks));
	assert(t.n_unsummed == ckv_hint_load64(&s->stats->unsummed));
	assert(t.n_views == ckv_hint_load64(&s->stats->views));
	assert(t.n_view_pages == ckv_hint_load64(&s->stats->view_pages_used));
}
