/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_lend.c - reserve, publish, abort, drop: every answer they give.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

static struct core core;
static int a, b;		/* lanes of clients 0 and 1 */

static void setup(void)
{
	struct space_config config = core_config(8, 0);

	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	b = core_lane_open(&core, 1);
}

static void teardown(void)
{
	space_check(core.space);
	core_close(&core);
}

/* A chain is lent page by page, invisible, and found once it is published. */
START_TEST(chain_becomes_visible_at_publish)
{
	struct ckv_lent lent[3];
	struct ckv_block block;
	uint32_t slot;

	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 3, lent), 3);
	ck_assert(!core_has(&core, 1));
	space_check(core.space);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(core_publish(&core, a, &lent[i]), 0);
	ck_assert(core_find(&core, 3, &slot, &block));
	ck_assert_uint_eq(slot, lent[2].slot);
	ck_assert_uint_eq(block.generation, lent[2].generation);
	ck_assert_uint_eq(block.host_page, lent[2].page);
	ck_assert_uint_eq(block.parent_slot, lent[1].slot);
	ck_assert_uint_eq(block.n_tokens, CORE_TOKENS);
	ck_assert_uint_eq(block.checksum, 99);
	ck_assert_uint_eq(CORE_STAT(&core, published), 3);
}
END_TEST

/* A published key says where it is; one being written says so, to everybody. */
START_TEST(taken_keys_are_refused)
{
	struct ckv_lent lent, again;

	ck_assert_int_eq(core_reserve(&core, a, 0, 1, &lent), 0);
	ck_assert_int_eq(core_reserve(&core, a, 0, 1, &again), -EALREADY);
	ck_assert_int_eq(core_reserve(&core, b, 0, 1, &again), -EALREADY);
	ck_assert_uint_eq(again.page, CKV_NONE);
	ck_assert_int_eq(core_publish(&core, a, &lent), 0);
	ck_assert_int_eq(core_reserve(&core, b, 0, 1, &again), -EEXIST);
	ck_assert_uint_eq(again.slot, lent.slot);
	ck_assert_uint_eq(again.generation, lent.generation);
	ck_assert_uint_eq(CORE_STAT(&core, refused_busy), 2);
	ck_assert_uint_eq(CORE_STAT(&core, refused_exists), 1);
}
END_TEST

/* A list goes on after what exists and stops at the first other refusal. */
START_TEST(list_stops_at_first_refusal)
{
	struct ckv_lent lent[4], other;

	ck_assert_int_eq(core_put(&core, a, 0, 1), 0);
	ck_assert_int_eq(core_reserve(&core, b, 1, 3, &other), 0);
	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 4, lent), 1);
	ck_assert_int_eq(lent[0].status, -EEXIST);
	ck_assert_int_eq(lent[1].status, 0);
	ck_assert_int_eq(lent[2].status, -EALREADY);
	ck_assert_int_eq(lent[3].status, -ECANCELED);
}
END_TEST

/* What is stored under another parent is no block of this chain, nor is what follows. */
START_TEST(another_parent_ends_the_list)
{
	struct ckv_lent lent[3];

	ck_assert_int_eq(core_put(&core, a, 0, 1), 0);
	ck_assert_int_eq(core_put(&core, a, 0, 4), 0);
	ck_assert_int_eq(core_put(&core, a, 4, 2), 0);
	ck_assert_int_eq(core_reserve_list(&core, b, 0, 1, 3, lent), 0);
	ck_assert_int_eq(lent[0].status, -EEXIST);
	ck_assert_int_eq(lent[1].status, -EXDEV);
	ck_assert_uint_eq(lent[1].page, CKV_NONE);
	ck_assert_uint_eq(lent[1].slot, CKV_NONE);
	ck_assert_int_eq(lent[2].status, -ECANCELED);
	ck_assert_int_eq(core_reserve(&core, b, 0, 2, lent), -EXDEV);
	ck_assert_int_eq(core_reserve(&core, b, 7, 2, lent), -EXDEV);
	ck_assert_int_eq(core_reserve(&core, b, 1, 4, lent), -EXDEV);
	ck_assert_int_eq(core_reserve(&core, b, 4, 2, lent), -EEXIST);
	ck_assert_uint_eq(CORE_STAT(&core, refused_parent), 4);
}
END_TEST

/* A parent must be there: published, or lent to this very lane. */
START_TEST(parent_must_be_there)
{
	struct ckv_lent lent, child;

	ck_assert_int_eq(core_reserve(&core, a, 7, 8, &lent), -ENOENT);
	ck_assert_int_eq(core_reserve(&core, a, 0, 1, &lent), 0);
	ck_assert_int_eq(core_reserve(&core, b, 1, 2, &child), -ENOENT);
	ck_assert_int_eq(core_reserve(&core, a, 1, 2, &child), 0);
	ck_assert_uint_eq(CORE_STAT(&core, refused_parent), 2);
}
END_TEST

/* A child published before its parent is refused and stays lent. */
START_TEST(parents_are_published_first)
{
	struct ckv_lent lent[2];

	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 2, lent), 2);
	ck_assert_int_eq(core_publish(&core, a, &lent[1]), -ENOENT);
	ck_assert(!core_has(&core, 2));
	ck_assert_int_eq(core_publish(&core, a, &lent[0]), 0);
	ck_assert_int_eq(core_publish(&core, a, &lent[1]), 0);
	ck_assert(core_has(&core, 2));
}
END_TEST

/* Token counts and flags that cannot be are refused per item. */
START_TEST(impossible_items_are_refused)
{
	static const uint16_t n_tokens[] = { 0, CORE_TOKENS + 1, 1 };
	static const uint16_t flags[] = { 0, 0, CKV_ENTRY_VIEW };
	struct ckv_publish_item item = { 0 };
	struct ckv_lent lent, scratch;
	int32_t status;

	ck_assert_int_eq(core_reserve(&core, a, 0, 1, &lent), 0);
	for (int i = 0; i < 3; i++) {
		item.name = core_name(&lent);
		item.n_tokens = n_tokens[i];
		item.flags = flags[i];
		ck_assert_int_eq(space_publish(core.space, a, &item, 1,
					       &status), 0);
		ck_assert_int_eq(status, -EINVAL);
	}
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 1, &scratch), 1);
	ck_assert_int_eq(core_publish(&core, a, &scratch), -EINVAL);
}
END_TEST

/* What only a liar sends is refused and changes nothing. */
START_TEST(lies_change_nothing)
{
	struct ckv_publish_item item = { .n_tokens = 1 };
	struct ckv_page_name name;
	struct ckv_lent lent;
	int32_t status;
	void *before;

	core_reserve(&core, a, 0, 1, &lent);
	before = core_snapshot(&core);
	for (int i = 0; i < 2; i++) {
		name = core_name(&lent);
		name.page = i == 0 ? 8 : CKV_NONE;
		item.name = name;
		ck_assert_int_eq(space_publish(core.space, a, &item, 1, &status),
				 -EPROTO);
		ck_assert_int_eq(space_abort(core.space, a, &name, 1, &status),
				 -EPROTO);
		ck_assert_int_eq(space_scratch_hold(core.space, a, &name),
				 -EPROTO);
	}
	item.name = core_name(&lent);
	item.zero = 1;
	ck_assert_int_eq(space_publish(core.space, a, &item, 1, &status),
			 -EPROTO);
	ck_assert(core_same(&core, before));
	free(before);
}
END_TEST

/* Counts out of range and all-zero keys are refused and change nothing. */
START_TEST(impossible_requests_change_nothing)
{
	static struct ckv_key keys[CKV_BATCH_MAX + 1];
	static struct ckv_lent lent[CKV_BATCH_MAX + 1];
	static int32_t status[CKV_BATCH_MAX + 1];
	static struct ckv_publish_item items[CKV_BATCH_MAX + 1];
	static struct ckv_page_name names[CKV_BATCH_MAX + 1];
	void *before = core_snapshot(&core);
	const uint32_t counts[] = { 0, CKV_BATCH_MAX + 1 };
	struct ckv_key root = core_key(0);

	for (int i = 0; i < 2; i++) {
		uint32_t n = counts[i];

		ck_assert_int_eq(space_reserve(core.space, a, 0, &root, keys, n,
					       lent), -EINVAL);
		ck_assert_int_eq(space_reserve_scratch(core.space, a, n, lent),
				 -EINVAL);
		ck_assert_int_eq(space_publish(core.space, a, items, n, status),
				 -EINVAL);
		ck_assert_int_eq(space_abort(core.space, a, names, n, status),
				 -EINVAL);
		ck_assert_int_eq(space_drop(core.space, keys, n, status),
				 -EINVAL);
		ck_assert_int_eq(space_prefetch(core.space, keys, n), -EINVAL);
	}
	keys[0] = core_key(1);
	ck_assert_int_eq(space_reserve(core.space, a, 0, &root, keys, 2, lent),
			 -EINVAL);
	ck_assert(core_same(&core, before));
	free(before);
}
END_TEST

/* A lane's end takes its reservations back; another lane may write the keys. */
START_TEST(death_frees_reservations)
{
	struct ckv_lent lent[8];

	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 7, lent), 7);
	ck_assert_int_eq(core_publish(&core, a, &lent[0]), 0);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 1, lent), 1);
	space_lane_close(core.space, a);
	ck_assert_uint_eq(CORE_STAT(&core, aborted_by_death), 7);
	ck_assert_uint_eq(CORE_STAT(&core, pages_lent), 0);
	ck_assert_uint_eq(space_client_lent(core.space, 0), 0);
	ck_assert_int_eq(core_reserve_list(&core, b, 1, 2, 7, lent), 7);
	ck_assert(core_has(&core, 1));
}
END_TEST

/* A client holds at most its share of lent pages, over all its lanes. */
START_TEST(lent_pages_are_limited)
{
	struct ckv_lent lent[8];

	space_set_limits(core.space, 0, 3, 8);
	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 5, lent), 3);
	ck_assert_int_eq(lent[3].status, -EDQUOT);
	ck_assert_int_eq(lent[4].status, -ECANCELED);
	ck_assert_int_eq(core_reserve_list(&core, b, 0, 10, 3, lent), 3);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 2, lent), 0);
	ck_assert_int_eq(lent[0].status, -EDQUOT);
	ck_assert_int_eq(lent[1].status, -ECANCELED);
	space_set_limits(core.space, 0, 4, 8);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 1, lent), 1);
}
END_TEST

/* And so does a user, over all clients: another connection gives no more. */
START_TEST(lent_pages_of_a_user_are_limited)
{
	int other = core_lane_open(&core, 2);	/* of another user than a and b */
	struct ckv_lent lent[8];

	space_set_limits(core.space, 0, 3, 8);
	space_set_user_limit(core.space, 0, 4);
	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 3, lent), 3);
	ck_assert_int_eq(core_reserve_list(&core, b, 0, 10, 2, lent), 1);
	ck_assert_int_eq(lent[1].status, -EDQUOT);
	ck_assert_int_eq(space_reserve_scratch(core.space, b, 1, lent + 2), 0);
	ck_assert_int_eq(lent[2].status, -EDQUOT);
	ck_assert_uint_eq(space_user_lent(core.space, 0), 4);
	ck_assert_int_eq(core_reserve_list(&core, other, 0, 20, 3, lent + 3), 3);
	/* What b gives back, a does not get: its own limit holds as well. */
	ck_assert_int_eq(core_abort(&core, b, &lent[0]), 0);
	ck_assert_int_eq(core_reserve_list(&core, a, 0, 30, 1, lent), 0);
	ck_assert_int_eq(core_reserve_list(&core, b, 0, 10, 1, lent), 1);
	space_lane_close(core.space, a);
	ck_assert_uint_eq(space_user_lent(core.space, 0), 1);
	space_lane_close(core.space, other);
}
END_TEST

/* When every page is lent there is no space; one given back is enough. */
START_TEST(full_of_reservations)
{
	struct ckv_lent lent[9], more;

	space_set_limits(core.space, 0, 16, 8);
	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 9, lent), 8);
	ck_assert_int_eq(lent[8].status, -ENOSPC);
	ck_assert_int_eq(core_reserve(&core, b, 0, 20, &more), -ENOSPC);
	ck_assert_int_eq(core_abort(&core, a, &lent[7]), 0);
	ck_assert_int_eq(core_reserve(&core, b, 0, 20, &more), 0);
}
END_TEST

/* A smaller quota is obeyed by evicting what exceeds it. */
START_TEST(quota_is_obeyed)
{
	for (uint32_t i = 1; i <= 8; i++)
		ck_assert_int_eq(core_put(&core, a, 0, i), 0);
	space_set_limits(core.space, 0, 8, 4);
	ck_assert_int_eq(core_put(&core, a, 0, 9), 0);
	ck_assert_uint_le(CORE_STAT(&core, blocks), 4);
	ck_assert(core_has(&core, 9));
}
END_TEST

/* A space with pages for more blocks than its two buckets have places. */
static void open_tight(void)
{
	struct space_config config = core_config(64, 0);

	core_close(&core);
	config.n_buckets = 2;
	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	b = core_lane_open(&core, 1);
}

enum { PLACES = 2 * CKV_BUCKET_ENTRIES };

/* A key whose two buckets are full takes the place of the block used longest ago. */
START_TEST(a_full_bucket_evicts)
{
	struct ckv_lent lent[16];

	open_tight();
	for (uint32_t i = 1; i <= PLACES; i++)
		ck_assert_int_eq(core_put(&core, a, 0, i), 0);
	core_touch(&core, 0, 1);
	space_touch_drain(core.space, a);
	ck_assert(core_pin(&core, 1, 0, 2));
	ck_assert_int_eq(core_put(&core, a, 0, 101), 0);
	ck_assert(core_has(&core, 1) && core_has(&core, 2));
	ck_assert(!core_has(&core, 3));
	ck_assert_uint_eq(CORE_STAT(&core, evicted), 1);
	ck_assert_int_eq(core_put(&core, a, 0, 102), 0);
	ck_assert(!core_has(&core, 4));
	/* Each key of a list has wishes of its own. */
	ck_assert_int_eq(core_reserve_list(&core, a, 0, 201, 16, lent), 16);
	ck_assert_uint_eq(CORE_STAT(&core, evicted), 18);
	ck_assert_uint_eq(CORE_STAT(&core, refused_index), 0);
}
END_TEST

/* What is needed stays: the key is refused, in a bounded number of steps. */
START_TEST(full_buckets_of_pinned_blocks_refuse)
{
	uint64_t n;

	open_tight();
	for (uint32_t i = 1; i <= PLACES; i++) {
		ck_assert_int_eq(core_put(&core, a, 0, i), 0);
		ck_assert(core_pin(&core, 1, i, i));
	}
	for (uint32_t i = 0; i < PLACES; i++) {
		n = CORE_STAT(&core, evict_batches);
		ck_assert_int_eq(core_put(&core, a, 0, 101), -EXFULL);
		ck_assert_uint_le(CORE_STAT(&core, evict_batches) - n, 8);
	}
	ck_assert_uint_eq(CORE_STAT(&core, evict_batches), n);
	ck_assert_uint_eq(CORE_STAT(&core, refused_index), PLACES);
	core_unpin(&core, 1, 33);
	ck_assert_int_eq(core_put(&core, a, 0, 101), 0);
	ck_assert(!core_has(&core, 33));
	ck_assert_uint_eq(CORE_STAT(&core, evicted), 1);
}
END_TEST

/* A chain that fills its buckets gives no place to its next block. */
START_TEST(a_full_bucket_keeps_chains_whole)
{
	open_tight();
	for (uint32_t i = 1; i <= PLACES; i++)
		ck_assert_int_eq(core_put(&core, a, i - 1, i), 0);
	ck_assert_int_eq(core_put(&core, a, PLACES, 101), -EXFULL);
	ck_assert_uint_eq(CORE_STAT(&core, evicted), 0);
	ck_assert_int_eq(core_put(&core, a, 0, 102), 0);
	ck_assert(!core_has(&core, PLACES));
}
END_TEST

/* Drop takes leaves, parents after them, and says why it cannot take others. */
START_TEST(drop_takes_leaves_first)
{
	struct ckv_key keys[5] = { core_key(1), core_key(3), core_key(2),
				   core_key(9), core_key(3) };
	struct ckv_lent lent;
	int32_t status[5];

	for (uint32_t i = 1; i <= 3; i++)
		core_put(&core, a, i - 1, i);
	ck_assert_int_eq(space_drop(core.space, keys, 5, status), 2);
	ck_assert_int_eq(status[0], -EBUSY);
	ck_assert_int_eq(status[1], 0);
	ck_assert_int_eq(status[2], 0);
	ck_assert_int_eq(status[3], -ENOENT);
	ck_assert_int_eq(status[4], -ENOENT);
	ck_assert(!core_has(&core, 2));
	core_reserve(&core, a, 1, 4, &lent);
	ck_assert_int_eq(core_drop(&core, 1), -EBUSY);
	ck_assert_int_eq(core_drop(&core, 4), -ENOENT);
	ck_assert_uint_eq(CORE_STAT(&core, dropped), 2);
}
END_TEST

static int begin_prefetch(const struct ckv_key *key)
{
	struct space_task task = { .op = SPACE_PREFETCH, .items = key, .n = 1 };
	int32_t units = 100;

	return space_run(core.space, &task, &units);
}

/* A slot that is used again has a new generation; at the last one it retires. */
START_TEST(generations_end_in_retirement)
{
	struct ckv_entry *entry;
	struct ckv_lent lent, next;

	core_reserve(&core, a, 0, 1, &lent);
	ck_assert_uint_eq(lent.generation, CKV_GENERATION_FIRST);
	core_abort(&core, a, &lent);
	entry = ckv_index_entry(&core.index, lent.slot);
	ck_assert_uint_eq(ckv_entry_generation(entry), lent.generation + 2);
	ckv_entry_set_generation(entry, CKV_GENERATION_LAST - 2);
	core_reserve(&core, a, 0, 1, &next);
	ck_assert_uint_eq(next.slot, lent.slot);
	ck_assert_uint_eq(next.generation, CKV_GENERATION_LAST - 2);
	ck_assert_int_eq(core_publish(&core, a, &next), 0);
	ck_assert_int_eq(core_drop(&core, 1), 0);
	ck_assert_uint_eq(CORE_STAT(&core, slots_retired), 1);
	core_reserve(&core, a, 0, 1, &next);
	ck_assert_uint_ne(next.slot, lent.slot);
}
END_TEST

/* A retired slot stays taken, and no key is its key: not even the one that is all zero. */
START_TEST(a_retired_slot_is_nobodys)
{
	struct ckv_key zero = core_key(0), key;
	struct ckv_place want = ckv_index_place(&core.index, &zero), place;
	struct ckv_lent lent;
	uint32_t i = 0;

	/* A key with the same tag; in two buckets all are of the same two. */
	ck_assert_uint_eq(core.index.n_buckets, 2);
	do {
		key = core_key(++i);
		place = ckv_index_place(&core.index, &key);
	} while (place.tag != want.tag);
	ck_assert_int_eq(core_reserve(&core, a, 0, i, &lent), 0);
	ckv_entry_set_generation(ckv_index_entry(&core.index, lent.slot),
				 CKV_GENERATION_LAST - 2);
	core_abort(&core, a, &lent);
	ck_assert_uint_eq(CORE_STAT(&core, slots_retired), 1);
	ck_assert_int_eq(begin_prefetch(&zero), 0);
}
END_TEST

/* PREFETCH counts what is at the nearest level: here, what is published. */
START_TEST(prefetch_counts_published)
{
	struct ckv_key keys[3] = { core_key(1), core_key(2), core_key(3) };
	struct ckv_lent lent;

	core_put(&core, a, 0, 1);
	core_reserve(&core, a, 1, 2, &lent);
	ck_assert_int_eq(space_prefetch(core.space, keys, 3), 1);
}
END_TEST

/* Lanes are limited, and a number is used again after its lane is closed. */
START_TEST(lanes_are_limited)
{
	for (int i = 2; i < CORE_LANES; i++)
		ck_assert_int_eq(core_lane_open(&core, i), i);
	ck_assert_int_eq(core_lane_open(&core, 0), -EMFILE);
	space_lane_close(core.space, 3);
	ck_assert_int_eq(core_lane_open(&core, 3), 3);
}
END_TEST

/* What a block costs besides its page: index, record and the daemon's own memory. */
START_TEST(a_block_costs_little)
{
	enum { BLOCKS = 1000000, MOST = 256 };
	struct space_config config = core_config(BLOCKS, 0);
	size_t bytes = ckv_index_bytes(config.n_buckets) +
		       ckv_records_bytes(&config.level[0].pool) +
		       space_private_bytes(&config);

	ck_assert_uint_le(bytes, (size_t)BLOCKS * MOST);
	ck_assert_uint_ge(bytes, (size_t)BLOCKS * MOST * 3 / 4);
}
END_TEST

/* Impossible configurations are refused. */
START_TEST(impossible_spaces_are_refused)
{
	struct space_config config[11];
	struct space *space = NULL;

	for (int i = 0; i < 11; i++)
		config[i] = core.config;
	config[0].level[0].n_places = 0;
	config[1].level[0].pool.first_view_page = 3;
	config[2].n_buckets = 1;
	config[3].level[0].pool.n_view_pages = 1;
	config[4].n_lanes_max = 65535;
	config[5].n_levels = 0;
	config[6].n_levels = SPACE_LEVELS_MAX + 1;
	config[7].n_levels = 2;		/* the nearest comes first, and none twice */
	config[7].level[1] = config[7].level[0];
	config[7].level[1].pool = core_pool(8, 0);
	config[8].work_level = 1;
	config[9].level[0].pool.slab_pages = 0;	/* nobody can work there */
	config[10].n_levels = 2;	/* views are where the daemon works */
	config[10].level[1] = config[10].level[0];
	config[10].level[1].number--;
	config[10].level[1].pool = core_pool(8, 8);
	for (int i = 0; i < 11; i++)
		ck_assert_int_eq(space_create(&config[i], &core.memory, &space),
				 -EINVAL);
	ck_assert_ptr_null(space);
}
END_TEST

CHECK_MAIN("core_lend",
	CASE("lend", .setup = setup, .teardown = teardown),
	TEST(chain_becomes_visible_at_publish),
	TEST(taken_keys_are_refused),
	TEST(list_stops_at_first_refusal),
	TEST(another_parent_ends_the_list),
	TEST(parent_must_be_there),
	TEST(parents_are_published_first),
	TEST(impossible_items_are_refused),
	TEST(lies_change_nothing),
	TEST(impossible_requests_change_nothing),
	TEST(death_frees_reservations),
	TEST(lent_pages_are_limited),
	TEST(lent_pages_of_a_user_are_limited),
	TEST(full_of_reservations),
	TEST(quota_is_obeyed),
	TEST(a_full_bucket_evicts),
	TEST(full_buckets_of_pinned_blocks_refuse),
	TEST(a_full_bucket_keeps_chains_whole),
	TEST(drop_takes_leaves_first),
	TEST(generations_end_in_retirement),
	TEST(a_retired_slot_is_nobodys),
	TEST(prefetch_counts_published),
	TEST(lanes_are_limited),
	TEST(a_block_costs_little),
	TEST(impossible_spaces_are_refused))
