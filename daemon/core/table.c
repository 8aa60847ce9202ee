/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - write the index of a space, and find keys in it.
 *
 * ckv_place_choose() says which slot a key gets; an entry never moves. The entry of a
 * reserved key has tag 0, so that readers do not find it. Its real tag, which PUBLISH
 * shows, is in `reserved_tags`, private to the daemon, so that a lookup compares the keys
 * of few reserved entries: a client that reserves much and publishes nothing slows nobody.
 *
 * A slot that is freed gets a new generation. When its generations are used up it is
 * retired: it stays taken, with tag 0 and no key, for as long as the daemon runs.
 */
#include "daemon/core/state.h"

static struct ckv_bucket *bucket_of(const struct space *s, uint32_t slot)
{
	return &s->index.buckets[slot / CKV_BUCKET_ENTRIES];
}

static bool key_equal(const struct ckv_entry *entry, const struct ckv_key *key)
{
	struct ckv_block block;

	ckv_entry_load(entry, &block);
	return memcmp(&block.key, key, sizeof *key) == 0;
}

/* Of the bucket's entries in the bit set `hits`, find the one with this key. */
static bool hit_has(const struct space *s, uint32_t bucket_no, uint32_t hits,
		    const struct ckv_key *key, uint32_t *ret_slot)
{
	for (; hits; hits &= hits - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(hits);

		if (key_equal(&s->index.buckets[bucket_no].entry[i], key)) {
			*ret_slot = bucket_no * CKV_BUCKET_ENTRIES + i;
			return true;
		}
	}
	return false;
}

/* Taken entries of the bucket with this tag, as a bit set. */
static uint32_t of_tag(const struct space *s, uint32_t bucket_no, uint16_t tag)
{
	const struct ckv_bucket *bucket = &s->index.buckets[bucket_no];

	return ckv_bucket_match(bucket, tag) & ckv_hint_load32(&bucket->used);
}

/* Entries of the bucket that are reserved for a key with this tag, as a bit set. */
static uint32_t reserved(const struct space *s, uint32_t bucket_no, uint16_t tag)
{
	const uint16_t *tags = &s->reserved_tags[bucket_no * CKV_BUCKET_ENTRIES];
	uint32_t hits = of_tag(s, bucket_no, 0), same = 0;

	for (; hits; hits &= hits - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(hits);

		same |= (uint32_t)(tags[i] == tag) << i;
	}
	return same;
}

enum table_state table_find(const struct space *s, const struct ckv_place *place,
			    const struct ckv_key *key, uint32_t *ret_slot)
{
	for (int b = 0; b < 2; b++)
		if (hit_has(s, place->bucket[b],
			    of_tag(s, place->bucket[b], place->tag), key, ret_slot))
			return TABLE_PUBLISHED;
	for (int b = 0; b < 2; b++)
		if (hit_has(s, place->bucket[b],
			    reserved(s, place->bucket[b], place->tag), key, ret_slot))
			return TABLE_RESERVED;
	return TABLE_ABSENT;
}

uint32_t table_choose(const struct space *s, const struct ckv_place *place)
{
	const struct ckv_bucket *buckets = s->index.buckets;
	uint32_t used[2] = {
		ckv_hint_load32(&buckets[place->bucket[0]].used),
		ckv_hint_load32(&buckets[place->bucket[1]].used),
	};
	uint32_t i;
	int b = ckv_place_choose(place, used, &i);

	return b < 0 ? CKV_NONE : place->bucket[b] * CKV_BUCKET_ENTRIES + i;
}

CKV_ASK ask_slot(const struct space *s, uint32_t slot)
{
	__builtin_prefetch(bucket_of(s, slot), 1);
	__builtin_prefetch(ckv_index_entry(&s->index, slot), 1);
	__builtin_prefetch(node_of(s, slot), 1);
}

void table_prefetch(const struct space *s, uint32_t slot)
{
	ask_slot(s, slot);
}

void table_prefetch_room(const struct space *s, const struct ckv_place *place)
{
	uint32_t slot = table_choose(s, place);

	if (slot != CKV_NONE)
		ask_slot(s, slot);
}

void table_take(struct space *s, uint32_t slot, uint16_t tag,
		struct ckv_block *block)
{
	struct ckv_bucket *bucket = bucket_of(s, slot);
	uint32_t i = slot % CKV_BUCKET_ENTRIES;

	block->generation = ckv_entry_generation(&bucket->entry[i]);
	if (block->generation < CKV_GENERATION_FIRST)
		block->generation = CKV_GENERATION_FIRST;
	assert((block->generation & 1) == 0);
	block->level = CKV_LEVEL_NONE;
	ckv_bucket_open(bucket);
	ckv_entry_store(&bucket->entry[i], block);
	ckv_bucket_set_used(bucket, i, true);
	ckv_bucket_close(bucket);
	s->reserved_tags[slot] = tag;
}

void table_show(struct space *s, uint32_t slot, uint8_t flags,
		uint16_t n_tokens, uint64_t checksum)
{
	struct ckv_bucket *bucket = bucket_of(s, slot);
	uint32_t i = slot % CKV_BUCKET_ENTRIES;
	uint8_t level = s->levels[level_of(s, slot)].config.number;

	assert(node_of(s, slot)->state != NODE_FREE);
	ckv_bucket_open(bucket);
	ckv_entry_show(&bucket->entry[i], level, flags, n_tokens, checksum);
	ckv_bucket_set_tag(bucket, i, s->reserved_tags[slot]);
	ckv_bucket_close(bucket);
}

void table_set_sum(struct space *s, uint32_t slot, uint64_t checksum)
{
	struct ckv_bucket *bucket = bucket_of(s, slot);
	struct ckv_entry *entry = ckv_index_entry(&s->index, slot);
	struct ckv_block block;

	ckv_entry_load(entry, &block);
	block.flags |= CKV_ENTRY_SUMMED;
	block.checksum = checksum;
	ckv_bucket_open(bucket);
	ckv_entry_store(entry, &block);
	ckv_bucket_close(bucket);
}

void table_rewrite(struct space *s, uint32_t slot, struct ckv_block *block)
{
	struct ckv_bucket *bucket = bucket_of(s, slot);

	assert((block->generation & 1) == 0);
	for (uint32_t l = 0; l < s->config.n_levels; l++) {
		uint32_t *page = ckv_block_page(block, s->levels[l].config.number);

		if (page != NULL)
			*page = copy_there(s, slot, l) ?
				copy_of(s, slot, l)->place : CKV_NONE;
	}
	block->level = s->levels[level_of(s, slot)].config.number;
	ckv_bucket_open(bucket);
	ckv_entry_store(ckv_index_entry(&s->index, slot), block);
	ckv_bucket_close(bucket);
}

void table_give(struct space *s, uint32_t slot)
{
	struct ckv_bucket *bucket = bucket_of(s, slot);
	uint32_t i = slot % CKV_BUCKET_ENTRIES;
	struct ckv_block none = ckv_block_none();
	bool retired;

	none.generation = (ckv_entry_generation(&bucket->entry[i]) | 1) + 1;
	retired = none.generation >= CKV_GENERATION_LAST;
	ckv_bucket_open(bucket);
	ckv_bucket_set_tag(bucket, i, 0);
	ckv_entry_store(&bucket->entry[i], &none);
	ckv_bucket_set_used(bucket, i, retired);
	ckv_bucket_close(bucket);
	if (!retired)
		return;
	s->reserved_tags[slot] = 0;	/* no key has it: a retired slot is not found */
	ckv_count(&s->stats->slots_retired, 1);
}

void table_restore(struct space *s, uint32_t slot, const struct ckv_place *place,
		   const struct ckv_block *block)
{
	struct ckv_bucket *bucket = bucket_of(s, slot);
	uint32_t i = slot % CKV_BUCKET_ENTRIES;

	ckv_bucket_open(bucket);
	ckv_entry_store(&bucket->entry[i], block);
	ckv_bucket_set_tag(bucket, i, place->tag);
	ckv_bucket_set_used(bucket, i, true);
	ckv_bucket_close(bucket);
}

uint32_t table_generation(const struct space *s, uint32_t slot)
{
	return ckv_entry_generation(ckv_index_entry(&s->index, slot));
}
