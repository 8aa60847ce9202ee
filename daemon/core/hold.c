/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.c - keep pages in place while a worker thread reads them.
 *
 * A hold counts as a child of its block at the work level, so that neither the block's page
 * there nor that of any of its ancestors is evicted. When the last hold ends, the block
 * counts as just used. A block whose checksum a worker computes is not held, as
 * that is no use of it: it is marked NODE_SUMMING, which is treated like a pin.
 */
#include "daemon/core/state.h"

#define SUMS_LOOK	256u	/* slots taken from the queue by one call */

void walk_begin(struct space_walk *walk, uint32_t deepest)
{
	*walk = (struct space_walk){ .slot = deepest, .part = CKV_NONE };
}

int space_walk_begin(struct space *s, const struct ckv_key *key,
		     struct space_walk *ret_walk)
{
	struct ckv_place place = ckv_index_place(&s->index, key);
	uint32_t deepest;

	if (table_find(s, &place, key, &deepest) != TABLE_PUBLISHED ||
	    node_is_view(s, deepest) || !copy_there(s, deepest, s->config.work_level))
		return -ENOENT;
	node_hold(s, deepest, s->config.work_level);
	walk_begin(ret_walk, deepest);
	return 0;
}

int space_walk_on(const struct space *s, struct space_walk *walk,
		  struct space_link *links, uint32_t n_links_max, int32_t *units)
{
	struct ckv_block block;

	for (; walk->slot != CKV_NONE; *units -= UNITS_FIND) {
		if (*units <= 0)
			return SPACE_MORE;
		if (walk->n == n_links_max)
			return -E2BIG;
		if (!copy_there(s, walk->slot, s->config.work_level))
			return -ENOENT;
		block_load(s, walk->slot, &block);
		if (walk->n > 0 &&
		    block.n_tokens != s->config.geometry.block_tokens)
			walk->part = walk->n;
		walk->n_tokens += block.n_tokens;
		links[n_links_max - ++walk->n] = (struct space_link){
			.page = work_page(s, walk->slot),
			.slot = walk->slot,
			.n_tokens = block.n_tokens,
			.checksum = block.checksum,
			.summed = (block.flags & CKV_ENTRY_SUMMED) != 0,
		};
		walk->slot = block.parent_slot;
	}
	return (int)walk->n;
}

int space_scratch_hold(struct space *s, int lane,
		       const struct ckv_page_name *name)
{
	uint32_t level;
	int r = lent_judge(s, lane, name, &level);

	if (r < 0)
		return r == -EPROTO ? r : -ESTALE;
	if (s->levels[level].records[name->page].slot != CKV_NONE)
		return -EINVAL;
	assert(level == s->config.work_level);
	page_of(s, level, name->page)->n_holds++;
	return 0;
}

void space_scratch_release(struct space *s, uint32_t page)
{
	struct page *p = page_of(s, s->config.work_level, page);

	assert(p->n_holds > 0);
	if (--p->n_holds == 0 && p->lane == NO_LANE && !p->rests)
		lent_free(s, s->config.work_level, page);
}

void space_release(struct space *s, uint32_t slot)
{
	assert(slot < s->n_slots && node_of(s, slot)->state == NODE_PUBLISHED);
	node_release(s, slot, s->config.work_level, POLICY_BACK);
}

/* ---- checksums ---- */

/*
 * The queue holds each slot at most once. If the slot is freed meanwhile it stays
 * queued: space_sum_next() skips it, or sums the block that is in it by then.
 */
void sum_enqueue(struct space *s, uint32_t slot, uint32_t level)
{
	ckv_count(&s->stats->unsummed, 1);
	if (level != s->config.work_level)
		return;		/* the move that copies it brings the checksum */
	if (node_of(s, slot)->mark & NODE_SUM_QUEUED)
		return;
	assert(s->n_sums < s->n_slots);
	node_of(s, slot)->mark |= NODE_SUM_QUEUED;
	s->sums[(s->sum_head + s->n_sums++) % s->n_slots] = slot;
}

static uint32_t sum_dequeue(struct space *s)
{
	uint32_t slot = s->sums[s->sum_head];

	s->sum_head = (s->sum_head + 1) % s->n_slots;
	s->n_sums--;
	node_of(s, slot)->mark &= (uint8_t)~NODE_SUM_QUEUED;
	return slot;
}

int space_sum_next(struct space *s, uint32_t *ret_page)
{
	for (uint32_t i = 0; s->n_sums > 0; i++) {
		struct node *node;
		uint32_t slot;

		if (i == SUMS_LOOK)
			return SPACE_MORE;
		slot = sum_dequeue(s);
		node = node_of(s, slot);
		if (node->state != NODE_PUBLISHED ||
		    !copy_there(s, slot, s->config.work_level) ||
		    (record_of(s, slot, s->config.work_level)->flags &
		     CKV_ENTRY_SUMMED))
			continue;
		node->mark |= NODE_SUMMING;
		*ret_page = work_page(s, slot);
		return 1;
	}
	return 0;
}

void space_sum_done(struct space *s, uint32_t page, bool sum_ok,
		    uint64_t checksum)
{
	struct ckv_record *record = &work_level(s)->records[page];
	uint32_t slot = record->slot;

	assert(node_of(s, slot)->mark & NODE_SUMMING);
	node_of(s, slot)->mark &= (uint8_t)~NODE_SUMMING;
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		candidates_of(s, slot, l)->search.full = false;
	if (record->state != CKV_RECORD_PUBLISHED)
		return;		/* PUBLISH has replaced it meanwhile */
	if (record->flags & CKV_ENTRY_SUMMED)
		return;		/* a move has found it meanwhile */
	gauge_sub(&s->stats->unsummed, 1);
	if (!sum_ok) {
		sum_enqueue(s, slot, s->config.work_level);
		return;
	}
	ckv_record_sum(record, s->fingerprint, page, checksum);
	table_set_sum(s, slot, checksum);
	ckv_count(&s->stats->summed, 1);
}

int space_sum_get(const struct space *s, uint32_t page, uint64_t *ret_checksum)
{
	const struct ckv_record *record;

	assert(page < ckv_pool_pages(work_pool(s)));
	record = &work_level(s)->records[page];
	if (!(record->flags & CKV_ENTRY_SUMMED))
		return 0;
	*ret_checksum = record->checksum;
	return 1;
}

void space_sum_failed(struct space *s)
{
	ckv_count(&s->stats->checksum_failed, 1);
}
