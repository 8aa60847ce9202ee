/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - the functions of table.c, for the core's files: they write the index, as only
 * the daemon does, and find keys in it. A part of state.h.
 */
#ifndef CKV_CORE_TABLE_H
#define CKV_CORE_TABLE_H

#include "daemon/core/space.h"
#include "proto/ckv_index.h"

enum table_state { TABLE_ABSENT, TABLE_RESERVED, TABLE_PUBLISHED };

enum table_state table_find(const struct space *s, const struct ckv_place *place,
			    const struct ckv_key *key, uint32_t *ret_slot);
/* The slot that a new key would get; CKV_NONE: its two buckets are full. */
uint32_t table_choose(const struct space *s, const struct ckv_place *place);
/*
 * Give that slot to the block's key, which has this tag. Readers do not find it yet. Sets
 * the block's generation and level.
 */
void table_take(struct space *s, uint32_t slot, uint16_t tag,
		struct ckv_block *block);
/* Show a taken slot: readers find it from now on. Its generation stays. */
void table_show(struct space *s, uint32_t slot, uint8_t flags,
		uint16_t n_tokens, uint64_t checksum);
void table_set_sum(struct space *s, uint32_t slot, uint64_t checksum);
/*
 * Write a published entry anew in one go: flags, tokens, checksum and generation from
 * *block, pages and level as the block's copies are now.
 */
void table_rewrite(struct space *s, uint32_t slot, struct ckv_block *block);
/* Free a slot with a new generation; retire it if there is no new generation left. */
void table_give(struct space *s, uint32_t slot);
/* Prefetch the entry and the node of a slot, or of the one that a key will get. */
void table_prefetch(const struct space *s, uint32_t slot);
void table_prefetch_room(const struct space *s, const struct ckv_place *place);
/* Put a block of an earlier daemon back into its slot, for readers to find. */
void table_restore(struct space *s, uint32_t slot, const struct ckv_place *place,
		   const struct ckv_block *block);
uint32_t table_generation(const struct space *s, uint32_t slot);

#endif
