/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.c - an index and a lane without a daemon.
 */
#include "tests/lib/index.h"

#include <assert.h>
#include <stdlib.h>

enum { N_TOUCHES = 64, N_PAGES = 64 };

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

struct ckv_key test_index_key(uint64_t chain, uint64_t i)
{
	struct ckv_key key;
	uint64_t k[4];

	for (uint64_t j = 0; j < 4; j++)
		k[j] = mix(mix(chain + 1) + i * 4 + j);
	memcpy(&key, k, sizeof key);
	return key;
}

static void lane_open(struct test_index *t, uint32_t n_pins)
{
	struct ckv_lane *lane = &t->lane;
	struct ckv_lane_shape shape = { 16, n_pins, N_TOUCHES, 4096 };
	struct ckv_lane_map at = ckv_lane_map(&shape);

	lane->mine = &t->mine;
	lane->ckv = &t->ckv;
	lane->space = &t->space;
	lane->shape = shape;
	lane->at = at;
	lane->maps = &t->maps;
	lane->world = &t->world;
	lane->epoch = t->world.epoch;
	lane->index = t->index;
	lane->pool = t->mapped.shape;
	lane->n_pages_host = t->n_pages;
	lane->read_base = t->pool;
	lane->seg.c_base = calloc(1, at.c_bytes);
	lane->seg.d_base = calloc(1, at.d_bytes);
	lane->c = (struct ckv_c_head *)lane->seg.c_base;
	lane->d = (struct ckv_d_head *)lane->seg.d_base;
	lane->pins = (_Atomic uint64_t *)(lane->seg.c_base + at.pins);
	lane->touches = (_Atomic uint32_t *)(lane->seg.c_base + at.touches);
	lane->n_touches = N_TOUCHES;
	lane->pin_free = calloc(n_pins, sizeof *lane->pin_free);
	for (uint32_t i = 0; i < n_pins; i++)
		lane->pin_free[i] = n_pins - 1 - i;
	lane->n_pin_free = n_pins;
	lane->requests = calloc(shape.n_slots, sizeof *lane->requests);
}

void test_index_open(struct test_index *t, uint32_t n_entries, uint32_t n_pins)
{
	uint32_t n = n_entries / 22 + 2;

	memset(t, 0, sizeof *t);
	t->mine = 1;
	t->n_pages = N_PAGES;
	t->pool = calloc(N_PAGES, CKV_PIECE_BYTES);
	t->index.n_buckets = n;
	t->index.buckets = aligned_alloc(4096, ckv_round_up(n * sizeof *t->index.buckets, 4096));
	assert(t->index.buckets != NULL && t->pool != NULL);
	memset(t->index.buckets, 0, n * sizeof *t->index.buckets);
	for (int i = 0; i < 4; i++)
		t->index.seed[i] = mix((uint64_t)i + 99);
	ckv_world_raise_epoch(&t->world, 7);
	ckv_world_set_life(&t->world, 1);
	t->link.world = &t->world;
	t->link.epoch = 7;
	t->maps.link = &t->link;
	t->maps.serial = 1;
	t->maps.pool = &t->mapped;
	t->mapped.shape = (struct ckv_pool_shape){
		.page_bytes = CKV_PIECE_BYTES, .slab_stride = CKV_HUGE_BYTES,
		.slab_pages = N_PAGES, .n_slabs = 1, .n_block_pages = N_PAGES };
	pthread_mutex_init(&t->ckv.lock, NULL);
	t->ckv.mine = &t->mine;
	t->ckv.sock = -1;
	t->ckv.path = (char *)(uintptr_t)"/nonexistent";
	t->space.ckv = &t->ckv;
	t->space.maps = &t->maps;
	lane_open(t, n_pins);
}

void test_index_close(struct test_index *t)
{
	free(t->index.buckets);
	free(t->pool);
	free(t->lane.seg.c_base);
	free(t->lane.seg.d_base);
	free(t->lane.requests);
	free(t->lane.pin_free);
}

uint32_t test_index_put(struct test_index *t, const struct ckv_key *key,
			uint8_t level, uint32_t page, uint32_t parent)
{
	struct ckv_place place = ckv_index_place(&t->index, key);
	struct ckv_block block = {
		.key = *key, .generation = CKV_GENERATION_FIRST, .level = level,
		.n_tokens = 16,
		.device_page = level == CKV_LEVEL_DEVICE ? page : CKV_NONE,
		.host_page = level == CKV_LEVEL_DEVICE ? CKV_NONE : page,
		.parent_slot = parent, .n_pages = 1,
	};
	struct ckv_bucket *b[2] = { &t->index.buckets[place.bucket[0]],
				    &t->index.buckets[place.bucket[1]] };
	uint32_t used[2] = { ckv_hint_load32(&b[0]->used),
			     ckv_hint_load32(&b[1]->used) };
	uint32_t no;
	int which = ckv_place_choose(&place, used, &no);

	assert(which >= 0);
	ckv_bucket_open(b[which]);
	ckv_entry_store(&b[which]->entry[no], &block);
	ckv_bucket_set_tag(b[which], no, place.tag);
	ckv_bucket_set_used(b[which], no, true);
	ckv_bucket_close(b[which]);
	return place.bucket[which] * CKV_BUCKET_ENTRIES + no;
}

void test_index_remove(struct test_index *t, uint32_t slot)
{
	struct ckv_bucket *bucket = &t->index.buckets[slot / CKV_BUCKET_ENTRIES];
	struct ckv_entry *entry = ckv_index_entry(&t->index, slot);

	ckv_bucket_open(bucket);
	ckv_bucket_set_tag(bucket, slot % CKV_BUCKET_ENTRIES, 0);
	ckv_bucket_set_used(bucket, slot % CKV_BUCKET_ENTRIES, false);
	ckv_entry_set_generation(entry, (ckv_entry_generation(entry) & ~1u) + 2);
	ckv_bucket_close(bucket);
}
