/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan.h - walking a whole index without holding anything.
 *
 * The daemon goes on changing the index meanwhile. Each block is copied whole (its
 * bucket's sequence says so), but two blocks may be of different moments.
 */
#ifndef CKV_CLI_SCAN_H
#define CKV_CLI_SCAN_H

#include "proto/ckv_index.h"

/* 1: *ret is the block at `slot`, whole; 0: nothing published there. */
int scan_slot(const struct ckv_index *index, uint32_t slot,
	      struct ckv_block *ret);

enum { SCAN_DEPTHS = 24 };	/* depth d counts in class log2(d) rounded up */

struct scan_summary {
	uint64_t n_slots, n_blocks, n_views, n_taken; /* taken: reserved too */
	uint64_t at_level[CKV_LEVELS];
	uint64_t n_tokens, n_summed, n_roots, n_leaves, n_orphans;
	uint64_t depth_max;
	uint64_t at_depth[SCAN_DEPTHS];
};

/* Count everything. Allocates 5 bytes a slot while it runs. */
void scan_summarise(const struct ckv_index *index, struct scan_summary *ret);

/* 1 -> 0, 2 -> 1, 3..4 -> 2, 5..8 -> 3, ... */
unsigned scan_depth_class(uint64_t depth);

#endif
