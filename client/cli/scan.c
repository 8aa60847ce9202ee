/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan.c - walking a whole index without holding anything.
 */
#include "client/cli/scan.h"
#include "client/cli/cli.h"

#include <stdlib.h>

int scan_slot(const struct ckv_index *index, uint32_t slot,
	      struct ckv_block *ret)
{
	uint32_t bucket = slot / CKV_BUCKET_ENTRIES, found;
	struct ckv_block block;
	struct ckv_place place;
	int r;

	if (!(ckv_hint_load32(&index->buckets[bucket].used) >>
	      slot % CKV_BUCKET_ENTRIES & 1))
		return 0;
	for (int tries = 0; tries < CKV_INDEX_READ_TRIES; tries++) {
		/* The key says where to look; the search says if it was whole. */
		ckv_entry_load(ckv_index_entry(index, slot), &block);
		place = ckv_index_place(index, &block.key);
		r = ckv_bucket_find(index, bucket, place.tag, &block.key, &found,
				    &block);
		if (r == 0 || (r > 0 && found != slot))
			return 0;
		if (r > 0) {
			*ret = block;
			return 1;
		}
	}
	return 0;
}

unsigned scan_depth_class(uint64_t depth)
{
	unsigned class = 0;

	while (class + 1 < SCAN_DEPTHS && ((uint64_t)1 << class) < depth)
		class++;
	return class;
}

/* What the walk up a chain needs, per slot. */
struct links {
	uint32_t *parent;	/* CKV_NONE: a root, or nothing here */
	uint8_t	 *here;		/* 0 nothing, 1 a block, 2 a block with children */
	uint32_t  n_slots;
};

static void count_block(const struct ckv_block *block, struct scan_summary *ret)
{
	ret->at_level[block->level < CKV_LEVELS ? block->level : 0]++;
	ret->n_summed += (block->flags & CKV_ENTRY_SUMMED) != 0;
	if (block->flags & CKV_ENTRY_VIEW) {
		ret->n_views++;
		return;
	}
	ret->n_blocks++;
	ret->n_tokens += block->n_tokens;
}

/*
 * Blocks from this one up to its root. Parents that changed while they were
 * copied may point anywhere, in a circle too: the count is bounded.
 */
static uint64_t depth_of(const struct links *links, uint32_t slot,
			 uint64_t most, bool *ret_orphan)
{
	uint64_t depth = 1;

	*ret_orphan = false;
	while (links->parent[slot] != CKV_NONE && depth < most) {
		slot = links->parent[slot];
		if (slot >= links->n_slots || !links->here[slot]) {
			*ret_orphan = true;
			break;
		}
		depth++;
	}
	return depth;
}

/* Chains are counted from their leaves, each once. */
static void count_chains(const struct links *links, struct scan_summary *ret)
{
	for (uint32_t slot = 0; slot < links->n_slots; slot++) {
		uint64_t depth;
		bool orphan;

		if (links->here[slot] != 1)
			continue;
		depth = depth_of(links, slot, ret->n_blocks, &orphan);
		ret->n_leaves++;
		ret->n_orphans += orphan;
		ret->at_depth[scan_depth_class(depth)]++;
		if (depth > ret->depth_max)
			ret->depth_max = depth;
	}
}

void scan_summarise(const struct ckv_index *index, struct scan_summary *ret)
{
	struct links links = { .n_slots = index->n_buckets * CKV_BUCKET_ENTRIES };

	memset(ret, 0, sizeof *ret);
	ret->n_slots = links.n_slots;
	links.parent = cli_alloc(links.n_slots, sizeof *links.parent);
	links.here = cli_alloc(links.n_slots, sizeof *links.here);
	for (uint32_t slot = 0; slot < links.n_slots; slot++) {
		struct ckv_block block;

		links.parent[slot] = CKV_NONE;
		ret->n_taken += ckv_hint_load32(
			&index->buckets[slot / CKV_BUCKET_ENTRIES].used) >>
			slot % CKV_BUCKET_ENTRIES & 1;
		if (!scan_slot(index, slot, &block))
			continue;
		count_block(&block, ret);
		if (block.flags & CKV_ENTRY_VIEW)
			continue;
		links.here[slot] = 1;
		links.parent[slot] = block.parent_slot;
		ret->n_roots += block.parent_slot == CKV_NONE;
	}
	for (uint32_t slot = 0; slot < links.n_slots; slot++)
		if (links.here[slot] && links.parent[slot] < links.n_slots &&
		    links.here[links.parent[slot]])
			links.here[links.parent[slot]] = 2;
	count_chains(&links, ret);
	free(links.parent);
	free(links.here);
}
