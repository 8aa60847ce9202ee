/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_lookup.c - the prefix search and the pins of a lookup, without a daemon.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/check_main.h"
#include "tests/lib/index.h"

enum { CHAIN = 3000 };

static struct test_index t;
static struct ckv_key keys[CHAIN];
static uint32_t slots[CHAIN];
static struct ckv_handle handles[CHAIN];
static struct lib_search search;

static void setup(void)
{
	test_index_open(&t, 100000, 8);
}

static void teardown(void)
{
	test_index_close(&t);
}

/* A chain of n_at[4] device, then host, disk and remote blocks, up to n_at[1]. */
static void put_chain(uint64_t chain, const uint32_t n_at[CKV_LEVELS])
{
	for (uint32_t i = 0; i < CHAIN; i++)
		keys[i] = test_index_key(chain, i);
	for (uint32_t i = 0; i < n_at[1]; i++) {
		uint8_t level = 1;

		while (level < 4 && i < n_at[level + 1])
			level++;
		slots[i] = test_index_put(&t, &keys[i], level, i % t.n_pages,
					  i == 0 ? CKV_NONE : slots[i - 1]);
	}
}

static uint64_t claimed(enum ckv_claim what)
{
	return ckv_hint_load64(&t.lane.c->count[what]);
}

static long lookup(uint32_t n_keys, unsigned flags, struct ckv_pin *pin)
{
	return ckv_lookup(&t.lane, keys[0].byte, n_keys, flags, handles, pin);
}

/* Every boundary between levels is found, wherever it is, also among odd entries. */
START_TEST(boundaries_equal_a_walk)
{
	struct lib_found found;
	uint32_t n_at[CKV_LEVELS] = { 0 };

	srand((unsigned)_i);
	for (int l = 1; l < CKV_LEVELS; l++)
		n_at[l] = l == 1 ? (uint32_t)rand() % (CHAIN + 1) :
			  rand() % 3 == 0 ? n_at[l - 1] :
			  (uint32_t)rand() % (n_at[l - 1] + 1);
	put_chain((uint64_t)_i, n_at);
	for (uint32_t i = 0; i < n_at[1]; i += 1 + (uint32_t)rand() % 5)
		ckv_evict_mark(ckv_index_entry(&t.index, slots[i]));
	for (int round = 0; round < 20; round++) {
		uint32_t n = round == 0 ? CHAIN : (uint32_t)rand() % CHAIN;

		lib_search(&search, &t.index, keys, n, &found);
		for (int l = 1; l < CKV_LEVELS; l++)
			ck_assert_uint_eq(found.n_at[l],
					  n < n_at[l] ? n : n_at[l]);
		if (found.n_at[1] > 0)
			ck_assert_uint_eq(found.last.slot,
					  slots[found.n_at[1] - 1]);
	}
}
END_TEST

/* Tags that only look alike mislead the search no further than one more round. */
START_TEST(alike_tags_do_not_mislead)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 100, 100, 100, 0 };
	struct lib_found found;

	put_chain(1, n_at);
	/* Backwards, so that the first key after the chain is surely alike. */
	for (uint32_t i = 100 + 7 * 400; i >= 100; i -= 7) {
		struct ckv_place place = ckv_index_place(&t.index, &keys[i]);
		struct ckv_bucket *b = &t.index.buckets[place.bucket[0]];

		if (ckv_hint_load32(&b->used) >> 27 == 0)
			ckv_bucket_set_tag(b, 27, place.tag);
	}
	lib_search(&search, &t.index, keys, CHAIN, &found);
	ck_assert_uint_eq(found.n_at[1], 100);
}
END_TEST

/* A lookup holds the deepest host block and the deepest device block, no more. */
START_TEST(two_words_hold_a_chain)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 50, 40, 30, 10 };
	struct ckv_pin pin;

	put_chain(2, n_at);
	for (uint32_t i = 0; i < 10; i++) {
		struct ckv_entry *e = ckv_index_entry(&t.index, slots[i]);

		atomic_store(&e->pages, (uint64_t)i | (uint64_t)i << 32);
	}
	ck_assert_int_eq(lookup(60, 0, &pin), 50);
	ck_assert_uint_eq(ckv_pin_slot(&t.lane.pins[0]), slots[29]);
	ck_assert_uint_eq(ckv_pin_slot(&t.lane.pins[1]), slots[9]);
	ck_assert_uint_eq(ckv_hint_load32(&t.lane.c->pin_high), 2);
	for (int l = 1; l < CKV_LEVELS; l++)
		ck_assert_uint_eq(pin.n_at[l], n_at[l]);
	ck_assert_uint_eq(handles[9].level, CKV_DEVICE);
	ck_assert_uint_eq(handles[9].page, 9);
	ck_assert_ptr_eq(handles[29].data, t.pool + 29 * CKV_PIECE_BYTES);
	ck_assert_ptr_null(handles[30].data);
	ckv_unpin(&t.lane, &pin);
	ck_assert_uint_eq(ckv_pin_slot(&t.lane.pins[0]), CKV_NONE);
	ck_assert_uint_eq(ckv_pin_slot(&t.lane.pins[1]), CKV_NONE);
	ckv_unpin(&t.lane, &pin);	/* again: nothing */
	ck_assert_uint_eq(t.lane.n_pin_free, 8);
}
END_TEST

/* A block that came nearer after the search: its handle is of the copy that the pin covers. */
START_TEST(handles_are_of_the_level_that_is_pinned)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 6, 6, 6, 0 };
	struct ckv_entry *e;
	struct ckv_block block;
	struct ckv_pin pin;

	put_chain(13, n_at);
	e = ckv_index_entry(&t.index, slots[2]);
	ckv_entry_load(e, &block);
	block.level = CKV_DEVICE;
	block.device_page = 77;
	ckv_entry_store(e, &block);
	ck_assert_int_eq(lookup(6, 0, &pin), 6);
	ck_assert_uint_eq(handles[2].level, CKV_HOST);
	ck_assert_uint_eq(handles[2].page, 2);
	ck_assert_ptr_eq(handles[2].data, t.pool + 2 * CKV_PIECE_BYTES);
	ckv_unpin(&t.lane, &pin);
	/* One that has lost the copy is no hit, and is not passed over either. */
	block.host_page = CKV_NONE;
	ckv_entry_store(e, &block);
	ck_assert_int_eq(lookup(6, 0, &pin), 0);
	ck_assert_uint_eq(t.lane.n_pin_free, 8);
}
END_TEST

/* A pin is of a block that has a copy at the level that it shall cover. */
START_TEST(a_pin_covers_a_copy)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 9, 9, 9, 3 };
	struct ckv_entry *e;
	struct ckv_block block;
	struct ckv_pin pin;

	put_chain(14, n_at);
	e = ckv_index_entry(&t.index, slots[2]);
	ckv_entry_load(e, &block);
	block.device_page = CKV_NONE;
	ckv_entry_store(e, &block);
	ck_assert_int_eq(lookup(2, 0, &pin), 2);
	ckv_unpin(&t.lane, &pin);
	ck_assert_int_eq(lookup(9, 0, &pin), 0);
	ck_assert_uint_eq(claimed(CKV_CLAIM_PIN_RETRIES), 64);
	ck_assert_uint_eq(t.lane.n_pin_free, 8);
}
END_TEST

/* The deepest device block is being judged: it is what is waited for and left out. */
START_TEST(a_judged_boundary_is_left_out)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 50, 40, 30, 10 };
	struct ckv_pin pin;

	put_chain(15, n_at);
	ckv_evict_mark(ckv_index_entry(&t.index, slots[9]));
	ck_assert_int_eq(lookup(50, 0, &pin), 9);
	ck_assert_uint_eq(claimed(CKV_CLAIM_PIN_RETRIES), 1);
	ckv_unpin(&t.lane, &pin);
	ckv_evict_restore(ckv_index_entry(&t.index, slots[9]));
	ck_assert_int_eq(lookup(50, 0, &pin), 50);
}
END_TEST

static void *guarded;
static uint32_t high_then;

/* The first write to the pin words: what does the daemon's scan go by now? */
static void on_write(int signal_number)
{
	(void)signal_number;
	high_then = ckv_hint_load32(&t.lane.c->pin_high);
	mprotect(guarded, 4096, PROT_READ | PROT_WRITE);
}

/* The daemon scans up to pin_high: it covers a word before the word is set. */
START_TEST(pin_high_is_raised_before_the_pin)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 3, 3, 3, 0 };
	_Atomic uint64_t *pins = t.lane.pins;
	struct ckv_pin pin;

	put_chain(9, n_at);
	guarded = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(guarded, MAP_FAILED);
	memcpy(guarded, (void *)pins, 8 * sizeof *pins);
	ck_assert_int_eq(mprotect(guarded, 4096, PROT_READ), 0);
	t.lane.pins = guarded;
	signal(SIGSEGV, on_write);
	ck_assert_int_eq(lookup(3, 0, &pin), 3);
	signal(SIGSEGV, SIG_DFL);
	ck_assert_uint_eq(high_then, 1);
	ckv_unpin(&t.lane, &pin);
	t.lane.pins = pins;
	munmap(guarded, 4096);
}
END_TEST

/* What is claimed adds up exactly: asked = device + host + disk + remote + missed. */
START_TEST(claims_add_up)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 50, 40, 30, 10 };
	struct ckv_pin pin;

	put_chain(3, n_at);
	for (uint32_t n = 0; n < 70; n++) {
		ck_assert_int_eq(lookup(n, n % 2 ? CKV_EXISTS : 0, &pin),
				 n < 50 ? n : 50);
		ckv_unpin(&t.lane, &pin);
	}
	ck_assert_uint_eq(claimed(CKV_CLAIM_LOOKUPS), 70);
	ck_assert_uint_eq(claimed(CKV_CLAIM_BLOCKS_ASKED), 70 * 69 / 2);
	ck_assert_uint_eq(claimed(CKV_CLAIM_BLOCKS_MISSED), 19 * 20 / 2);
	ck_assert_uint_eq(claimed(CKV_CLAIM_BLOCKS_ASKED),
			  claimed(CKV_CLAIM_BLOCKS_DEVICE) +
			  claimed(CKV_CLAIM_BLOCKS_HOST) +
			  claimed(CKV_CLAIM_BLOCKS_DISK) +
			  claimed(CKV_CLAIM_BLOCKS_REMOTE) +
			  claimed(CKV_CLAIM_BLOCKS_MISSED));
}
END_TEST

/* The deepest block found is reported as touched; asking whether it exists is not a use. */
START_TEST(deepest_is_touched)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 5, 5, 5, 0 };
	struct ckv_pin pin;

	put_chain(4, n_at);
	ck_assert_int_eq(lookup(9, 0, &pin), 5);
	ck_assert_uint_eq(ckv_hint_load32(&t.lane.c->touch_tail), 1);
	ck_assert_uint_eq(ckv_hint_load32(&t.lane.touches[0]), slots[4]);
	ck_assert_int_eq(lookup(9, CKV_EXISTS, &pin), 5);
	ck_assert_uint_eq(ckv_hint_load32(&t.lane.c->touch_tail), 1);
}
END_TEST

/* A leaf that the daemon does not decide about is left out after a moment. */
START_TEST(judged_leaf_is_left_out)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 6, 6, 6, 0 };
	struct ckv_pin pin;

	put_chain(5, n_at);
	ckv_evict_mark(ckv_index_entry(&t.index, slots[5]));
	ckv_evict_mark(ckv_index_entry(&t.index, slots[4]));
	ck_assert_int_eq(lookup(6, 0, &pin), 4);
	ck_assert_uint_eq(ckv_pin_slot(&t.lane.pins[0]), slots[3]);
	ck_assert_uint_eq(claimed(CKV_CLAIM_PIN_RETRIES), 2);
	ckv_unpin(&t.lane, &pin);
	test_index_remove(&t, slots[5]);
	ckv_evict_restore(ckv_index_entry(&t.index, slots[4]));
	ck_assert_int_eq(lookup(6, 0, &pin), 5);
}
END_TEST

static void *evict(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000; i++) {
		struct ckv_entry *e = ckv_index_entry(&t.index, slots[5]);

		ckv_evict_mark(e);
		ckv_evict_fence();
		ckv_evict_restore(e);
		if (i % 16 == 0) {
			test_index_remove(&t, slots[5]);
			slots[5] = test_index_put(&t, &keys[5], CKV_HOST, 5,
						  slots[4]);
		}
	}
	return NULL;
}

/* While the deepest block comes and goes, a lookup finds it, or its parent. */
START_TEST(lookups_outlive_eviction)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 6, 6, 6, 0 };
	struct ckv_pin pin;
	pthread_t thread;

	put_chain(6, n_at);
	pthread_create(&thread, NULL, evict, NULL);
	for (int i = 0; i < 20000; i++) {
		long n = lookup(6, 0, &pin);

		ck_assert_int_ge(n, 4);
		ck_assert_ptr_eq(handles[n - 1].data,
				 t.pool + (n - 1) * CKV_PIECE_BYTES);
		ckv_unpin(&t.lane, &pin);
	}
	pthread_join(thread, NULL);
}
END_TEST

/* With every word in use the answer is -EAGAIN, and nothing was counted or changed. */
START_TEST(words_run_out)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 3, 3, 3, 0 };
	struct ckv_pin pin[9];

	put_chain(7, n_at);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(lookup(3, 0, &pin[i]), 3);
	pin[8].n_blocks = 77;
	ck_assert_int_eq(lookup(3, 0, &pin[8]), -EAGAIN);
	ck_assert_uint_eq(pin[8].n_blocks, 77);
	ck_assert_uint_eq(claimed(CKV_CLAIM_LOOKUPS), 8);
	ckv_unpin(&t.lane, &pin[3]);
	ck_assert_int_eq(lookup(3, 0, &pin[8]), 3);
}
END_TEST

/* A dead daemon, or one that shut the lane, gives nothing any more. */
START_TEST(dead_or_shut_is_a_miss)
{
	uint32_t n_at[CKV_LEVELS] = { 0, 3, 3, 3, 0 };
	struct ckv_pin pin;

	put_chain(8, n_at);
	ckv_lane_shut(t.lane.d, EPROTO);
	ck_assert_int_eq(lookup(3, 0, &pin), -EPROTO);
	ckv_lane_shut(t.lane.d, 0);
	ckv_world_set_life(&t.world, 1 | CKV_LIFE_DIED);
	ck_assert_int_eq(lookup(3, 0, &pin), 0);
	ckv_world_set_life(&t.world, 0);
	ck_assert_int_eq(lookup(3, 0, &pin), 0);
	ckv_world_set_life(&t.world, 1);
	ck_assert_int_eq(lookup(3, 0, &pin), 3);
	ckv_world_raise_epoch(&t.world, 8);
	ck_assert_int_eq(ckv_pin_valid(&t.lane, &pin), -ESTALE);
	ck_assert_int_eq(lookup(3, 0, &pin), 0);
}
END_TEST

CHECK_MAIN("lib_lookup",
	CASE("lookup", .setup = setup, .teardown = teardown),
	LOOP(boundaries_equal_a_walk, 60),
	TEST(alike_tags_do_not_mislead),
	TEST(two_words_hold_a_chain),
	TEST(handles_are_of_the_level_that_is_pinned),
	TEST(a_pin_covers_a_copy),
	TEST(a_judged_boundary_is_left_out),
	TEST(pin_high_is_raised_before_the_pin),
	TEST(claims_add_up),
	TEST(deepest_is_touched),
	TEST(judged_leaf_is_left_out),
	TEST(lookups_outlive_eviction),
	TEST(words_run_out),
	TEST(dead_or_shut_is_a_miss))
