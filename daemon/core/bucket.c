/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket.c - a key whose two buckets are full takes the place of another one.
 *
 * The index is so large that this hardly ever happens. But a key that finds no place
 * would be refused as long as the 56 blocks in its buckets stay, and so would all that
 * follow it in its chain. Therefore the task wishes for a place. Of the blocks without
 * children in the two buckets the next step judges one: at the farthest level, the one
 * that was used longest ago. It is evicted like any other block, or parked if it is
 * pinned, and then the task wishes again. After some wishes the key is refused.
 */
#include "daemon/core/state.h"

#define WISHES_EACH	8u	/* one key's */
#define UNITS_BUCKETS	(2 * CKV_BUCKET_ENTRIES * UNITS_LOOK)

/* Might evicting this slot's block make room, as far as is known? */
static bool may_leave(const struct space *s, uint32_t slot)
{
	const struct node *node = node_of(s, slot);
	uint32_t n_tips = (node->mark & NODE_TIP_HELD) != 0;	/* they give way */

	return s->n_blind == 0 && node->state == NODE_PUBLISHED &&
	       !(node->mark & NODE_VIEW) &&
	       node_children(s, slot) == n_tips && !batch_has(s, slot) &&
	       !pinned_still(s, slot);
}

/* Should `slot` leave rather than `other`? */
static bool goes_first(const struct space *s, uint32_t slot, uint32_t other)
{
	uint32_t level = level_of(s, slot), other_level = level_of(s, other);

	if (level != other_level)
		return level > other_level;
	return (int32_t)(copy_of(s, slot, level)->stamp -
			 copy_of(s, other, level)->stamp) < 0;
}

static uint32_t first_to_go(const struct space *s, const struct ckv_place *place)
{
	uint32_t best = CKV_NONE;

	for (uint32_t i = 0; i < 2 * CKV_BUCKET_ENTRIES; i++) {
		uint32_t slot = place->bucket[i / CKV_BUCKET_ENTRIES] *
				CKV_BUCKET_ENTRIES + i % CKV_BUCKET_ENTRIES;

		if (may_leave(s, slot) &&
		    (best == CKV_NONE || goes_first(s, slot, best)))
			best = slot;
	}
	return best;
}

int bucket_wait(struct space *s, struct space_task *t, const struct ckv_place *place)
{
	t->owed += UNITS_BUCKETS;
	t->wait.searches = false;	/* what others' searches find is not its business now */
	if (t->n_wishes == WISHES_EACH || first_to_go(s, place) == CKV_NONE)
		return -EXFULL;
	if (s->n_wishes < WISHES_MAX) {
		t->n_wishes++;
		s->wishes[s->n_wishes++] = *place;
	}
	return task_wait(s, &t->wait);
}

void buckets_choose(struct space *s)
{
	for (uint32_t i = 0; i < s->n_wishes; i++) {
		uint32_t slot = first_to_go(s, &s->wishes[i]);

		s->cost.n_looks += 2 * CKV_BUCKET_ENTRIES;
		if (slot == CKV_NONE)
			continue;
		tip_yield(s, slot);
		batch_add(s, slot, ALL_LEVELS, POLICY_KEPT);
	}
	s->n_wishes = 0;
}
