/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.h - the functions by which the core's files handle holds, automatic views, checksums
 * and views: a part of state.h.
 */
#ifndef CKV_CORE_HOLD_H
#define CKV_CORE_HOLD_H

#include "daemon/core/space.h"

enum tip_state { TIP_FREE, TIP_WAITING, TIP_READING, TIP_REVOKED };	/* tip.c */

/* ---- tip.c ---- */

/* SPACE_AUTO_PUBLISH: queue a block if it is the last of its chain now. */
void tip_enqueue(struct space *s, uint32_t slot);
/* SPACE_AUTO_DEMOTE: hold a victim instead of evicting it. False: it is not held. */
bool tip_defer(struct space *s, uint32_t slot);
/*
 * End the holds of at most n_max tips in this state, the oldest first, whose blocks
 * have a copy at this level, no other hold and no child. The copies go into the batch; of one
 * that is known to be pinned the block is parked. Returns how many holds ended.
 */
uint32_t tips_give_way(struct space *s, uint32_t level, enum tip_state state,
		       uint32_t n_max);
/* A search that found nothing may find something: a tip's hold can give way now. */
void tip_may_yield(struct space *s);
/* A DROP names this block: end a tip's hold of it. */
void tip_drop(struct space *s, uint32_t slot);
/* A writer needs this block's place: end a tip's hold of it. */
void tip_yield(struct space *s, uint32_t slot);
/* Note what the batch from index `first` on, which is about to be evicted, means for tips. */
void tips_leave(struct space *s, uint32_t first);

/* ---- hold.c, view.c ---- */

/* Begin to list the chain that ends in a published block, which is held. */
void walk_begin(struct space_walk *walk, uint32_t deepest);
/* A block was published at a level without a checksum: count it, and queue it. */
void sum_enqueue(struct space *s, uint32_t slot, uint32_t level);
/* Does a view page belong to a run, or rest? Take n of them, or give them back. */
bool view_page_used(const struct space *s, uint32_t row);
void view_run_set(struct space *s, uint32_t row, uint32_t n, bool used);
/* Make a view, whose row is written, the newest of its name. */
void view_name(struct space *s, uint32_t row);
/* Free a published view, which is in no policy. */
void view_free(struct space *s, uint32_t slot);
/* Put views to evict into the batch. False: there are none left. */
bool views_choose(struct space *s);
/* Evict those of batch[first, end) that are not pinned, until the wanted run fits. */
void views_spend(struct space *s, uint32_t first, uint32_t end);

#endif
