/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_chains.c - what a lookup returns is one chain, and summed if asked for; many
 * at once. Without a daemon.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/lib/check_main.h"
#include "tests/lib/index.h"

enum { N_PINS = 8, LONGEST = 60, N_CHAINS = 40 };

static struct test_index t;
static struct ckv_key keys[N_CHAINS][LONGEST];
static uint32_t slots[N_CHAINS][LONGEST];
static uint32_t stored[N_CHAINS];
static struct ckv_handle handles[LONGEST];

static void setup(void)
{
	test_index_open(&t, 20000, N_PINS);
}

static void teardown(void)
{
	test_index_close(&t);
}

static void put_chain(uint32_t c, uint32_t n)
{
	stored[c] = n;
	for (uint32_t i = 0; i < LONGEST; i++)
		keys[c][i] = test_index_key(c, i);
	for (uint32_t i = 0; i < n; i++)
		slots[c][i] = test_index_put(&t, &keys[c][i], CKV_HOST,
					     i % t.n_pages,
					     i == 0 ? CKV_NONE : slots[c][i - 1]);
}

static long look(const struct ckv_key *chain, uint32_t n, unsigned flags,
		 struct ckv_pin *pin)
{
	return ckv_lookup(&t.lane, chain[0].byte, n, flags, handles, pin);
}

static uint32_t n_held(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < N_PINS; i++)
		n += ckv_pin_slot(&t.lane.pins[i]) != CKV_NONE;
	return n;
}

/* A block stored under A is no continuation of B, and what is returned is what is pinned. */
START_TEST(other_parents_end_the_prefix)
{
	struct ckv_key pair[2];
	struct ckv_pin pin;

	put_chain(0, 2);
	put_chain(1, 1);
	pair[0] = keys[1][0];
	pair[1] = keys[0][1];
	ck_assert_int_eq(look(pair, 2, 0, &pin), 1);
	ck_assert_uint_eq(pin.n_blocks, 1);
	ck_assert_uint_eq(pin.n_at[CKV_HOST], 1);
	ck_assert_uint_eq(n_held(), 1);
	ck_assert_uint_eq(ckv_pin_slot(&t.lane.pins[0]), slots[1][0]);
	ckv_unpin(&t.lane, &pin);
	ck_assert_uint_eq(n_held(), 0);
	ck_assert_int_eq(look(pair, 2, CKV_EXISTS, &pin), 1);
	ck_assert_int_eq(look(keys[0], 2, 0, &pin), 2);
	ckv_unpin(&t.lane, &pin);
	/* Asked for from its middle, a chain is what it is. */
	ck_assert_int_eq(look(&keys[0][1], 1, 0, &pin), 1);
	ckv_unpin(&t.lane, &pin);
}
END_TEST

/* One key twice is a chain of one block. */
START_TEST(a_block_is_not_its_own_parent)
{
	struct ckv_key twice[2];
	struct ckv_pin pin;

	put_chain(0, 1);
	twice[0] = twice[1] = keys[0][0];
	ck_assert_int_eq(look(twice, 2, 0, &pin), 1);
	ckv_unpin(&t.lane, &pin);
	ck_assert_int_eq(look(twice, 2, CKV_EXISTS, &pin), 1);
}
END_TEST

/* A first key that only looks alike, and a view, are no blocks, however they are asked for. */
START_TEST(what_is_no_block_is_not_counted)
{
	const unsigned flags[] = { 0, CKV_EXISTS, CKV_VERIFY };
	struct ckv_key pair[2] = { test_index_key(N_CHAINS, 0) };
	struct ckv_place place = ckv_index_place(&t.index, &pair[0]);
	struct ckv_bucket *bucket = &t.index.buckets[place.bucket[0]];
	struct ckv_entry *entry;
	struct ckv_pin pin;

	put_chain(0, 1);
	pair[1] = keys[0][0];
	ckv_bucket_set_tag(bucket, 27, place.tag);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(look(pair, 2, flags[i], &pin), 0);
	entry = ckv_index_entry(&t.index, slots[0][0]);
	atomic_fetch_or(&entry->meta, (uint64_t)CKV_ENTRY_VIEW << 40);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(look(keys[0], 1, flags[i], &pin), 0);
	ck_assert_uint_eq(n_held(), 0);
}
END_TEST

/* Wherever the links break, the prefix ends there and its last block is pinned. */
START_TEST(any_break_is_seen)
{
	struct ckv_entry *entry;
	struct ckv_pin pin;

	put_chain(0, LONGEST);
	for (uint32_t i = 1; i < LONGEST; i++) {
		entry = ckv_index_entry(&t.index, slots[0][i]);
		atomic_store(&entry->chain, (uint64_t)(slots[0][0] + 1 + LONGEST) |
			     1ull << 32);
		ck_assert_int_eq(look(keys[0], LONGEST, 0, &pin), i);
		ck_assert_uint_eq(n_held(), 1);
		ck_assert_uint_eq(ckv_pin_slot(&t.lane.pins[0]), slots[0][i - 1]);
		ckv_unpin(&t.lane, &pin);
		atomic_store(&entry->chain, (uint64_t)slots[0][i - 1] | 1ull << 32);
	}
	ck_assert_int_eq(look(keys[0], LONGEST, 0, &pin), LONGEST);
}
END_TEST

static void set_sum(uint32_t c, uint32_t i, uint64_t sum, bool summed)
{
	struct ckv_entry *entry = ckv_index_entry(&t.index, slots[c][i]);
	uint64_t meta = atomic_load(&entry->meta) & ~((uint64_t)CKV_ENTRY_SUMMED << 40);

	atomic_store(&entry->checksum, sum);
	atomic_store(&entry->meta, meta | (uint64_t)(summed ? CKV_ENTRY_SUMMED :
						     0) << 40);
}

/* A page without a checksum is not vouched for; that is no failure of it. */
START_TEST(unsummed_blocks_are_not_vouched_for)
{
	uint64_t right = ckv_checksum(t.pool, CKV_PIECE_BYTES);
	const _Atomic uint64_t *failed = &t.lane.c->count[CKV_CLAIM_VERIFY_FAILED];
	struct ckv_pin pin;

	put_chain(0, 5);
	for (uint32_t i = 0; i < 5; i++)
		set_sum(0, i, right, i != 3);
	ck_assert_int_eq(look(keys[0], 5, 0, &pin), 5);
	ckv_unpin(&t.lane, &pin);
	ck_assert_int_eq(look(keys[0], 5, CKV_VERIFY, &pin), 3);
	ck_assert_uint_eq(ckv_pin_slot(&t.lane.pins[0]), slots[0][2]);
	ckv_unpin(&t.lane, &pin);
	ck_assert_int_eq(look(&keys[0][3], 1, CKV_VERIFY, &pin), 0);
	ckv_unpin(&t.lane, &pin);
	ck_assert_uint_eq(ckv_hint_load64(failed), 0);
	set_sum(0, 3, right, true);
	ck_assert_int_eq(look(keys[0], 5, CKV_VERIFY, &pin), 5);
	ckv_unpin(&t.lane, &pin);
	set_sum(0, 4, right + 1, true);
	ck_assert_int_eq(look(keys[0], 5, CKV_VERIFY, &pin), 4);
	ck_assert_uint_eq(ckv_hint_load64(failed), 1);
	ck_assert_uint_eq(ckv_pin_slot(&t.lane.pins[0]), slots[0][3]);
	ckv_unpin(&t.lane, &pin);
}
END_TEST

/* ---- many ---- */

static struct ckv_chain many[N_CHAINS];
static struct ckv_handle many_handles[N_CHAINS][LONGEST];

/* Ask for n of the chains, from their `first` block on. */
static void ask(uint32_t n, uint32_t n_keys, uint32_t first)
{
	memset(many, 0, sizeof many);
	for (uint32_t i = 0; i < n; i++) {
		many[i].keys = keys[i][first].byte;
		many[i].n_keys = n_keys;
		many[i].ret_handles = many_handles[i];
		many[i].result = 77;
		many[i].pin.n_blocks = 77;
	}
}

static void judge_as_alone(uint32_t i, unsigned flags)
{
	struct ckv_pin pin;
	long n = ckv_lookup(&t.lane, many[i].keys, many[i].n_keys, flags,
			    handles, &pin);

	ck_assert_int_eq(many[i].result, n);
	ck_assert_uint_eq(many[i].pin.n_blocks, (uint32_t)n);
	ck_assert_mem_eq(many[i].pin.n_at, pin.n_at, sizeof pin.n_at);
	if ((flags & CKV_EXISTS) == 0)
		ck_assert_mem_eq(many_handles[i], handles,
				 (size_t)n * sizeof handles[0]);
	ckv_unpin(&t.lane, &pin);
}

/* Many at once find what each finds alone: short and long, absent, broken, empty. */
START_TEST(many_are_as_one_by_one)
{
	srand((unsigned)_i);
	for (uint32_t c = 0; c < N_CHAINS; c++)
		put_chain(c, rand() % 4 == 0 ? 0 : (uint32_t)rand() % LONGEST + 1);
	for (uint32_t c = 0; c < N_CHAINS; c += 5)
		if (stored[c] > 1)
			atomic_store(&ckv_index_entry(&t.index,
				slots[c][stored[c] / 2])->chain, 1ull << 32);
	for (int round = 0; round < 50; round++) {
		uint32_t n = (uint32_t)rand() % (N_PINS - 1) + 1;
		unsigned flags = rand() % 4 == 0 ? CKV_EXISTS : 0;

		ask(n, (uint32_t)rand() % 40, (uint32_t)rand() % 20);
		for (uint32_t i = 0; i < n && rand() % 2; i++)
			many[i].n_keys = (size_t)rand() % 3;
		ck_assert_int_eq(ckv_lookup_many(&t.lane, many, n, flags), n);
		for (uint32_t i = 0; i < n; i++)
			judge_as_alone(i, flags);
		for (uint32_t i = 0; i < n; i++)
			ckv_unpin(&t.lane, &many[i].pin);
		ck_assert_uint_eq(n_held(), 0);
	}
	/* More than are looked up together. */
	ask(N_CHAINS, 10, 0);
	ck_assert_int_eq(ckv_lookup_many(&t.lane, many, N_CHAINS, CKV_EXISTS),
			 N_CHAINS);
	for (uint32_t i = 0; i < N_CHAINS; i++)
		judge_as_alone(i, CKV_EXISTS);
}
END_TEST

/* Those that get no pin word say so and are left as they were; the others are good. */
START_TEST(many_run_out_of_words)
{
	struct ckv_pin pin;
	uint32_t n = N_PINS + 4;

	for (uint32_t c = 0; c < n; c++)
		put_chain(c, c == 2 || c == n - 1 ? 0 : 3);
	ck_assert_int_eq(look(keys[0], 3, 0, &pin), 3);
	ask(n, 3, 0);
	ck_assert_int_eq(ckv_lookup_many(&t.lane, many, n, 0), N_PINS - 1 + 2);
	for (uint32_t i = 0; i < n; i++) {
		long want = stored[i];

		if (want > 0 && i >= N_PINS)
			want = -EAGAIN;
		ck_assert_int_eq(many[i].result, want);
		ck_assert_int_eq(many[i].pin.n_blocks, want < 0 ? 77 : want);
	}
	ck_assert_uint_eq(n_held(), N_PINS);
	ckv_unpin(&t.lane, &pin);
	for (uint32_t i = 0; i < n; i++)
		if (many[i].result >= 0)
			ckv_unpin(&t.lane, &many[i].pin);
	ck_assert_uint_eq(n_held(), 0);
	ck_assert_uint_eq(t.lane.n_pins_held, 0);
}
END_TEST

/* A leaf that is being judged is left out of its chain, and only of that. */
START_TEST(many_leave_out_what_is_judged)
{
	for (uint32_t c = 0; c < 4; c++)
		put_chain(c, 3);
	ckv_evict_mark(ckv_index_entry(&t.index, slots[1][2]));
	ask(4, 3, 0);
	ck_assert_int_eq(ckv_lookup_many(&t.lane, many, 4, 0), 4);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_int_eq(many[i].result, i == 1 ? 2 : 3);
	ck_assert_uint_eq(n_held(), 4);
	ck_assert_uint_eq(ckv_hint_load64(
		&t.lane.c->count[CKV_CLAIM_LOOKUPS]), 4);
}
END_TEST

/* What is wrong with one is wrong with the call; a dead daemon has nothing for any. */
START_TEST(many_fail_together)
{
	put_chain(0, 3);
	put_chain(1, 3);
	ask(2, 3, 0);
	many[1].ret_handles = NULL;
	ck_assert_int_eq(ckv_lookup_many(&t.lane, many, 2, 0), -EINVAL);
	ck_assert_int_eq(ckv_lookup_many(&t.lane, many, 2, 4), -EINVAL);
	ck_assert_int_eq(ckv_lookup_many(&t.lane, NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(ckv_lookup_many(&t.lane, NULL, 0, 0), 0);
	ck_assert_int_eq(many[0].result, 77);
	many[1].ret_handles = many_handles[1];
	ckv_lane_shut(t.lane.d, EPROTO);
	ck_assert_int_eq(ckv_lookup_many(&t.lane, many, 2, 0), -EPROTO);
	ckv_lane_shut(t.lane.d, 0);
	ckv_world_set_life(&t.world, 0);
	ck_assert_int_eq(ckv_lookup_many(&t.lane, many, 2, 0), 2);
	ck_assert_int_eq(many[0].result, 0);
	ck_assert_uint_eq(many[1].pin.n_blocks, 0);
	ckv_unpin(&t.lane, &many[1].pin);
	t.mine = 0;
	ck_assert_int_eq(ckv_lookup_many(&t.lane, many, 2, 0), -ECHILD);
}
END_TEST

/* A pin that nobody could give back is not taken. */
START_TEST(a_lookup_needs_a_pin_to_fill)
{
	put_chain(0, 3);
	ck_assert_int_eq(look(keys[0], 3, 0, NULL), -EINVAL);
	ck_assert_int_eq(look(keys[0], 3, CKV_EXISTS, NULL), 3);
	ck_assert_uint_eq(n_held(), 0);
}
END_TEST

CHECK_MAIN("lib_chains",
	CASE("chains", .setup = setup, .teardown = teardown),
	LOOP(many_are_as_one_by_one, 20),
	TEST(other_parents_end_the_prefix),
	TEST(a_block_is_not_its_own_parent),
	TEST(what_is_no_block_is_not_counted),
	TEST(any_break_is_seen),
	TEST(unsummed_blocks_are_not_vouched_for),
	TEST(many_run_out_of_words),
	TEST(many_leave_out_what_is_judged),
	TEST(many_fail_together),
	TEST(a_lookup_needs_a_pin_to_fill))
