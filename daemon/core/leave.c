/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leave.c - what leaves: blocks, and copies of blocks that are kept at another level.
 *
 * A copy leaves like a block, in a batch of space_step(): its block's generation was made
 * odd, and no pin names it (evict.c). If it lies where clients read it, its place may get
 * other bytes from now on, so the block gets a new generation: who found it before and
 * has not pinned it yet finds it anew. Of a copy that no client reads nobody needs to
 * know, and the generation is as before.
 *
 * PUBLISH of a block that was at a farther level only replaces its copies there, as the
 * writer's bytes and checksum may be others. Where clients read, such a copy may be
 * pinned, by a pin of the block or of a descendant at that level. So it is stale: the index
 * names it no more, but it counts as its parent's child there as before, and it leaves in
 * a later step, when it has no children there and no pin names it.
 */
#include "daemon/core/state.h"

static uint32_t leaving(const struct space *s, uint32_t slot)
{
	uint32_t which = 0;

	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (copy_of(s, slot, l)->mark & COPY_LEAVING)
			which |= 1u << l;
	return which;
}

/* Has it a copy that does not leave? */
static bool stays(const struct space *s, uint32_t slot, uint32_t which)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (copy_there(s, slot, l) && !(which >> l & 1))
			return true;
	return false;
}

static bool are_read(const struct space *s, uint32_t which)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if ((which >> l & 1) && level_has_pages(s, l))
			return true;
	return false;
}

/* The pages that stay: their records say what the index says. */
static void records_published(struct space *s, uint32_t slot)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (level_has_pages(s, l) && copy_there(s, slot, l))
			record_published(s, slot, l);
}

/* Free these copies of a block that has another one. */
static void copies_drop(struct space *s, uint32_t slot, uint32_t which,
			uint32_t generation)
{
	uint32_t before = level_of(s, slot), after;
	struct ckv_block block;

	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		uint32_t place = copy_of(s, slot, l)->place;

		if (!(which >> l & 1))
			continue;
		copy_remove(s, slot, l);
		place_put(s, l, place);
	}
	block_load(s, slot, &block);
	block.generation = generation;
	table_rewrite(s, slot, &block);
	records_published(s, slot);
	node_put(s, slot, POLICY_KEPT);
	after = level_of(s, slot);
	if (after != before)
		event_note(s, SPACE_MOVED, slot, before, after);
}

uint32_t batch_leave(struct space *s, uint32_t slot)
{
	uint32_t which = leaving(s, slot), generation;

	if (!stays(s, slot, which)) {
		batch_forget(s, slot);
		block_free(s, slot);
		return which;
	}
	generation = table_generation(s, slot);
	generation = are_read(s, which) ? (generation | 1) + 1 : generation & ~1u;
	if (generation >= CKV_GENERATION_LAST) {
		uint32_t n = batch_restore(s, slot);

		for (; n > 0; n--, slot = node_of(s, slot)->parent)
			node_park(s, slot);
		return 0;
	}
	batch_forget(s, slot);
	copies_drop(s, slot, which, generation);
	return which;
}

/* ---- replaced copies ---- */

/*
 * The record of a page that was replaced. A later daemon has the page rest, as who has it
 * pinned still reads it. It keeps its slot, for space_sum_done().
 */
static void record_replaced(struct space *s, uint32_t slot, uint32_t level)
{
	struct ckv_record *record = record_of(s, slot, level);

	if (!(record->flags & CKV_ENTRY_SUMMED))
		gauge_sub(&s->stats->unsummed, 1);
	ckv_record_rest(record, s->fingerprint, copy_of(s, slot, level)->place, slot, 0,
			0);
}

/* The copies of a block that are farther away than this level. */
static void copies_replace(struct space *s, uint32_t slot, uint32_t level)
{
	for (uint32_t l = level + 1; l < s->config.n_levels; l++) {
		struct copy *copy = copy_of(s, slot, l);
		uint32_t place = copy->place;

		if (!copy_there(s, slot, l))
			continue;
		if (level_has_pages(s, l)) {
			record_replaced(s, slot, l);
			copy->mark |= COPY_STALE;
			queue_put_head(&s->levels[l].stale,
				       copy_links(s->levels[l].blocks.copies), slot);
			continue;
		}
		parent_lose_at(s, slot, l, POLICY_BACK);
		copy_remove(s, slot, l);
		if (!move_reads(s, slot, l))
			place_put(s, l, place);
	}
	move_cancel(s, slot);
}

/*
 * The block was there, farther away. Its page is one copy more, so the generation stays;
 * the copies that are replaced leave as leave.c tells.
 */
void block_replace(struct space *s, uint32_t slot, uint32_t level,
		   const struct ckv_publish_item *item)
{
	struct ckv_block block;

	copy_of(s, slot, level)->mark &= (uint8_t)~COPY_LENT;
	copies_replace(s, slot, level);
	block_load(s, slot, &block);
	block.flags = (uint8_t)item->flags;
	block.n_tokens = item->n_tokens;
	block.checksum = item->flags & CKV_ENTRY_SUMMED ? item->checksum : 0;
	table_rewrite(s, slot, &block);
}

void stale_choose(struct space *s, uint32_t l, uint32_t n)
{
	struct queue *queue = &s->levels[l].stale;
	struct links links = copy_links(s->levels[l].blocks.copies);

	if (n > queue->n)
		n = queue->n;
	s->cost.n_looks += n;
	for (; n > 0; n--) {
		uint32_t slot = queue->tail;

		queue_remove(queue, links, slot);
		queue_put_head(queue, links, slot);
		if (!batch_has(s, slot) && !pinned_still(s, slot) &&
		    copy_of(s, slot, l)->n_children == 0)
			batch_add(s, slot, l, POLICY_KEPT);
	}
}
