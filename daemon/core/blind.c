/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blind.c - lanes of before with a pin on a block that was not found again.
 *
 * A pin holds a block with its ancestors. If its block was not found again, they are not
 * known, and may be any: while such a blind lane is in use, no block leaves (evict.c). The
 * records of the pages that rest tell a later daemon since when.
 */
#include "daemon/core/state.h"

/*
 * Does a pin of the lane name what is not there? Under a later daemon its slot may have
 * another block, so there any pin of a lane of that time counts.
 */
static bool is_blind(const struct space *s, const struct space_lane *lane, uint64_t below)
{
	bool any = lane->memory.serial < below;
	uint32_t high = lane_pin_high(lane);

	for (uint32_t i = 0; i < high; i++) {
		uint32_t slot = ckv_pin_slot(&lane->memory.pins[i]);

		if (slot != CKV_NONE &&
		    (any || slot >= s->n_slots ||
		     node_of(s, slot)->state != NODE_PUBLISHED))
			return true;
	}
	return false;
}

/* Note on the pages of a level that rest since when lanes are blind. */
static void note_since(struct space *s, const struct level *level)
{
	for (uint32_t page = 0; page < ckv_pool_pages(&level->config.pool); page++)
		if (level->records[page].state == CKV_RECORD_QUARANTINE)
			ckv_record_rest(&level->records[page], s->fingerprint, page,
					CKV_NONE, s->config.epoch,
					ckv_record_writer(&level->records[page]));
}

void blind_find(struct space *s, uint64_t below)
{
	for (uint32_t i = 0; i < s->n_open; i++) {
		struct space_lane *lane = &s->lanes[s->open_lanes[i]];

		lane->blind = is_blind(s, lane, below);
		s->n_blind += lane->blind;
	}
	for (uint32_t l = 0; s->n_blind > 0 && l < s->config.n_levels; l++)
		note_since(s, &s->levels[l]);
}
