/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_tip.c - whose turn it is to get a view, once, and that nobody goes
 * without a page because of it.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

enum { PAGES = 32, LINKS = 64 };

static struct core core;
static int a;
static struct space_link links[LINKS];
static struct ckv_key key;
static uint32_t tip;

static void open_with(const struct policy_ops *policy)
{
	struct space_config config = core_config(PAGES, 8);

	config.level[0].policy = policy;
	core_open(&core, &config);
	a = core_lane_open(&core, 0);
}

static void setup(void)
{
	open_with(&policy_lru);
}

static void teardown(void)
{
	space_check(core.space);
	core_close(&core);
}

/* One chain of n keys from `first`, reserved and published as a whole. */
static void put_chain(uint32_t first, uint32_t n)
{
	struct ckv_publish_item items[PAGES];
	struct ckv_lent lent[PAGES];
	int32_t status[PAGES];

	ck_assert_int_eq(core_reserve_list(&core, a, 0, first, n, lent), n);
	for (uint32_t i = 0; i < n; i++)
		items[i] = (struct ckv_publish_item){
			.name = core_name(&lent[i]), .n_tokens = CORE_TOKENS,
		};
	ck_assert_int_eq(space_publish(core.space, a, items, n, status), n);
}

/* n chains of one block each, from key `first`. */
static void put_blocks(uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		ck_assert_int_eq(core_put(&core, a, 0, first + i), 0);
}

static int next(void)
{
	return space_tip_next(core.space, &tip, &key, links, LINKS);
}

/* The next turn is that of the chain of n blocks that ends in key i. */
static void expect_turn(uint32_t i, int n)
{
	struct ckv_key want = core_key(i);

	ck_assert_int_eq(next(), n);
	ck_assert_mem_eq(&key, &want, sizeof key);
	ck_assert(space_tip_held(core.space, tip));
}

static void done(int result)
{
	space_tip_done(core.space, tip, result);
	space_check(core.space);
}

static void set(enum space_auto automatic)
{
	space_set_auto(core.space, automatic, true);
}

#define STAT(name) CORE_STAT(&core, name)

/* Without being asked for, nothing has a turn. */
START_TEST(nothing_happens_unasked)
{
	put_blocks(1, PAGES);
	ck_assert_int_eq(next(), 0);
	put_blocks(101, 4);
	ck_assert_int_eq(next(), 0);
	ck_assert_uint_eq(STAT(auto_lost_busy), 0);
}
END_TEST

/* publish: the end of a published chain has one turn, with all of its blocks. */
START_TEST(a_published_chain_has_its_turn_once)
{
	set(SPACE_AUTO_PUBLISH);
	put_chain(1, 5);
	expect_turn(5, 5);
	for (uint32_t i = 0; i < 5; i++) {
		struct ckv_block block;
		uint32_t slot;

		ck_assert(core_find(&core, i + 1, &slot, &block));
		ck_assert_uint_eq(links[i].page, block.host_page);
		ck_assert_uint_eq(links[i].n_tokens, CORE_TOKENS);
	}
	ck_assert_uint_eq(STAT(auto_held), 1);
	done(0);
	ck_assert_uint_eq(STAT(auto_held), 0);
	ck_assert_uint_eq(STAT(auto_made), 1);
	ck_assert_int_eq(next(), 0);
}
END_TEST

/* publish: a chain that has grown has its turn as the longer chain, the short one none. */
START_TEST(a_tip_that_got_a_child_is_skipped)
{
	set(SPACE_AUTO_PUBLISH);
	put_blocks(1, 1);
	ck_assert_int_eq(core_put(&core, a, 1, 2), 0);
	expect_turn(2, 2);
	ck_assert_uint_eq(STAT(auto_skipped), 1);
	done(0);
	ck_assert_int_eq(next(), 0);
}
END_TEST

/* publish: a child that was only reserved, or a client's job, delays the turn. */
START_TEST(an_aborted_child_gives_the_turn_back)
{
	struct ckv_lent lent;
	struct ckv_key one = core_key(1);

	set(SPACE_AUTO_PUBLISH);
	put_blocks(1, 1);
	ck_assert_int_eq(core_reserve(&core, a, 1, 2, &lent), 0);
	ck_assert_int_eq(next(), 0);
	ck_assert_int_eq(core_abort(&core, a, &lent), 0);
	ck_assert_int_eq(space_chain_hold(core.space, &one, links, LINKS), 1);
	ck_assert_int_eq(next(), 0);
	space_release(core.space, links[0].slot);
	expect_turn(1, 1);
	done(0);
}
END_TEST

/* No more chains are held at once than the space was made for. */
START_TEST(turns_at_once_are_bounded)
{
	uint32_t held[CORE_TIPS];

	set(SPACE_AUTO_PUBLISH);
	put_blocks(1, CORE_TIPS + 1);
	for (uint32_t i = 0; i < CORE_TIPS; i++) {
		expect_turn(i + 1, 1);
		held[i] = tip;
	}
	ck_assert_int_eq(next(), 0);
	space_tip_done(core.space, held[1], 0);
	expect_turn(CORE_TIPS + 1, 1);
}
END_TEST

/* A chain that the worker has no place for is refused, and not tried again. */
START_TEST(a_chain_too_long_is_refused_once)
{
	set(SPACE_AUTO_PUBLISH);
	put_chain(1, 5);
	put_blocks(11, 1);
	ck_assert_int_eq(space_tip_next(core.space, &tip, &key, links, 4), 1);
	ck_assert_uint_eq(STAT(auto_refused), 1);
	done(0);
	ck_assert_int_eq(next(), 0);
}
END_TEST

/* Each result is counted as what it is. */
START_TEST(each_result_has_its_counter)
{
	static const int results[] = { 0, -EEXIST, -EINVAL, -EPERM, -E2BIG,
				       -ENOSPC, -EDOM, -ENOENT };

	set(SPACE_AUTO_PUBLISH);
	for (uint32_t i = 0; i < 8; i++) {
		put_blocks(1 + i, 1);
		expect_turn(1 + i, 1);
		done(results[i]);
	}
	ck_assert_uint_eq(STAT(auto_made), 1);
	ck_assert_uint_eq(STAT(auto_skipped), 1);
	ck_assert_uint_eq(STAT(auto_refused), 3);
	ck_assert_uint_eq(STAT(auto_failed), 3);
	ck_assert_int_eq(next(), 0);
}
END_TEST

/* pressure: with a sixteenth of the pages free there is none, with one page less there is. */
START_TEST(pressure_begins_below_a_sixteenth)
{
	set(SPACE_AUTO_PRESSURE);
	put_blocks(1, PAGES - PAGES / 16);
	ck_assert_int_eq(next(), 0);
	put_blocks(101, 1);
	expect_turn(1, 1);
	done(0);
}
END_TEST

/* pressure: a quota is what the free pages are counted in. */
START_TEST(pressure_is_that_of_the_quota)
{
	set(SPACE_AUTO_PRESSURE);
	space_set_limits(core.space, 0, PAGES, 16);
	put_blocks(1, 15);
	ck_assert_int_eq(next(), 0);
	put_blocks(101, 1);
	expect_turn(1, 1);
	done(0);
}
END_TEST

/*
 * pressure: the coldest go first, by either policy; who is not used keeps its place
 * among the victims, and what had its turn is not looked at again.
 */
START_TEST(pressure_takes_the_next_victims)
{
	core_close(&core);
	open_with(policy_at((uint32_t)_i));
	set(SPACE_AUTO_PRESSURE);
	put_blocks(1, PAGES);
	core_touch(&core, 0, 1);
	space_touch_drain(core.space, a);
	for (uint32_t i = 2; i < PAGES; i++) {
		expect_turn(i, 1);
		done(0);
	}
	put_blocks(101, 1);
	ck_assert(!core_has(&core, 2));
	ck_assert(core_has(&core, 3));
	ck_assert_uint_eq(STAT(auto_lost_busy), 0);
}
END_TEST

/* The order of next_victim() is that in which victim() takes them. */
START_TEST(the_next_victims_are_the_victims)
{
	uint32_t page = CKV_NONE, order[PAGES], n = 0;
	const struct policy_ops *ops = policy_at((uint32_t)_i);
	struct copy all[PAGES] = { 0 };
	struct copies copies = { (char *)all, sizeof all[0] };
	struct policy *policy;

	ck_assert_int_eq(ops->create(copies, &policy), 0);
	for (uint32_t i = 0; i < PAGES; i++)
		ops->insert(policy, i, POLICY_NEW);
	for (uint32_t i = 0; i < PAGES; i += 5)
		ops->touch(policy, i);
	while ((page = ops->next_victim(policy, page)) != CKV_NONE)
		order[n++] = page;
	ck_assert_uint_eq(n, PAGES);
	for (uint32_t i = 0; i < PAGES; i++)
		ck_assert_uint_eq(ops->victim(policy), order[i]);
	ck_assert_uint_eq(ops->next_victim(policy, CKV_NONE), CKV_NONE);
	ops->destroy(policy);
}
END_TEST

/* What a chain's end had counts for the rest of the chain: one chain, one view. */
START_TEST(what_is_left_of_a_chain_needs_no_view)
{
	set(SPACE_AUTO_PRESSURE);
	put_chain(1, PAGES);
	expect_turn(PAGES, PAGES);
	done(0);
	put_blocks(101, 4);
	ck_assert(!core_has(&core, PAGES - 3));
	while (next() > 0) {
		struct ckv_key left = core_key(PAGES - 4);

		ck_assert_mem_ne(&key, &left, sizeof key);
		done(0);
	}
	ck_assert_uint_eq(STAT(auto_lost_busy), 0);
}
END_TEST

/* A chain that leaves before its turn is counted once; what is left may have a turn. */
START_TEST(a_chain_lost_is_counted_once)
{
	set(SPACE_AUTO_PRESSURE);
	put_chain(1, PAGES);
	put_blocks(101, 4);
	ck_assert_uint_eq(STAT(auto_lost_busy), 1);
	expect_turn(PAGES - 4, PAGES - 4);
	done(0);
	put_blocks(111, 1);
	ck_assert_uint_eq(STAT(auto_lost_busy), 1);
}
END_TEST

/* demote: a victim waits for its view while another leaves; then it is the next to go. */
START_TEST(a_victim_waits_for_its_view)
{
	set(SPACE_AUTO_DEMOTE);
	put_blocks(1, PAGES);
	put_blocks(101, 1);
	for (uint32_t i = 1; i <= CORE_TIPS; i++)
		ck_assert(core_has(&core, i));
	ck_assert(!core_has(&core, CORE_TIPS + 1));
	ck_assert_uint_eq(STAT(auto_lost_busy), 1);
	expect_turn(1, 1);
	done(0);
	put_blocks(111, 1);
	ck_assert(!core_has(&core, 1));
	ck_assert(core_has(&core, 2));
	expect_turn(2, 1);
}
END_TEST

/* demote: when nothing else may go, those that wait go, then those that are read. */
START_TEST(who_waits_gives_way_to_a_writer)
{
	struct ckv_lent lent;

	set(SPACE_AUTO_DEMOTE);
	put_blocks(1, PAGES);
	put_blocks(101, 1);
	ck_assert_uint_eq(STAT(auto_held), CORE_TIPS);
	expect_turn(1, 1);
	for (uint32_t i = CORE_TIPS + 2; i <= PAGES; i++)
		ck_assert(core_pin(&core, 0, i, i));
	ck_assert(core_pin(&core, 0, 1, 101));
	/* One is enough, and the coldest is the first. */
	for (uint32_t i = 2; i <= CORE_TIPS; i++) {
		ck_assert_int_eq(core_reserve(&core, a, 0, 110 + i, &lent), 0);
		ck_assert_uint_eq(STAT(auto_lost_room), i - 1);
		ck_assert(!core_has(&core, i));
		ck_assert(i == CORE_TIPS || core_has(&core, i + 1));
	}
	ck_assert(space_tip_held(core.space, tip));
	ck_assert(core_has(&core, 1));
	done(0);
}
END_TEST

/* When the first that would give way is pinned, the others do. */
START_TEST(a_pinned_tip_is_not_the_last_to_ask)
{
	struct ckv_lent lent;

	set(SPACE_AUTO_DEMOTE);
	put_blocks(1, PAGES);
	put_blocks(101, 1);
	ck_assert_uint_eq(STAT(auto_held), CORE_TIPS);
	for (uint32_t i = CORE_TIPS + 2; i <= PAGES; i++)
		ck_assert(core_pin(&core, 0, i, i));
	ck_assert(core_pin(&core, 0, 1, 1));
	ck_assert(core_pin(&core, 0, 2, 101));
	ck_assert_int_eq(core_reserve(&core, a, 0, 111, &lent), 0);
	ck_assert(core_has(&core, 1));
	ck_assert(!core_has(&core, 2));
}
END_TEST

/* demote: a chain that gives way goes as far as is wanted, in one search. */
START_TEST(a_chain_gives_way_at_once)
{
	struct ckv_lent lent[8];

	set(SPACE_AUTO_DEMOTE);
	put_chain(1, PAGES);
	ck_assert_int_eq(core_reserve_list(&core, a, 0, 101, 8, lent), 8);
	ck_assert_uint_eq(STAT(evict_batches), 1);
	ck_assert_uint_eq(STAT(auto_lost_room), 1);
	ck_assert_uint_eq(STAT(auto_lost_busy), 0);
}
END_TEST

START_TEST(who_is_read_gives_way_last)
{
	struct ckv_lent lent;

	set(SPACE_AUTO_PUBLISH);
	put_blocks(1, PAGES);
	expect_turn(1, 1);
	for (uint32_t i = 3; i <= PAGES; i++)
		ck_assert(core_pin(&core, 0, i, i));
	ck_assert_int_eq(core_reserve(&core, a, 0, 101, &lent), 0);
	ck_assert(space_tip_held(core.space, tip));
	ck_assert(!core_has(&core, 2));
	ck_assert_int_eq(core_reserve(&core, a, 0, 102, &lent), 0);
	ck_assert(!space_tip_held(core.space, tip));
	ck_assert(!core_has(&core, 1));
	ck_assert_uint_eq(STAT(auto_lost_room), 1);
	ck_assert_int_eq(core_reserve(&core, a, 0, 103, &lent), -ENOSPC);
	done(0);
	ck_assert_uint_eq(STAT(auto_made), 0);
}
END_TEST

/* The same if the writer has pages, and its key no place in the index. */
START_TEST(who_is_read_gives_its_place)
{
	struct space_config config = core_config(64, 0);

	core_close(&core);
	config.n_buckets = 2;
	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	set(SPACE_AUTO_PUBLISH);
	put_blocks(1, 2 * CKV_BUCKET_ENTRIES);
	expect_turn(1, 1);
	for (uint32_t i = 2; i <= 2 * CKV_BUCKET_ENTRIES; i++)
		ck_assert(core_pin(&core, 0, i, i));
	for (int i = 0; i < 8 && core_put(&core, a, 0, 101) == -EXFULL; i++)
		ck_assert(space_tip_held(core.space, tip));
	ck_assert(core_has(&core, 101) && !core_has(&core, 1));
	ck_assert(!space_tip_held(core.space, tip));
	ck_assert_uint_eq(STAT(auto_lost_room), 1);
	ck_assert_uint_eq(STAT(auto_skipped), 0);
	done(0);
}
END_TEST

/* A pin keeps a block that gave way; it may have its turn later. */
START_TEST(a_pinned_block_survives_giving_way)
{
	struct ckv_key one = core_key(1);
	struct ckv_lent lent;

	set(SPACE_AUTO_PUBLISH);
	put_blocks(1, PAGES);
	expect_turn(1, 1);
	for (uint32_t i = 1; i <= PAGES; i++)
		ck_assert(core_pin(&core, 0, i, i));
	ck_assert_int_eq(core_reserve(&core, a, 0, 101, &lent), -ENOSPC);
	ck_assert(core_has(&core, 1));
	ck_assert(!space_tip_held(core.space, tip));
	done(0);
	space_set_auto(core.space, SPACE_AUTO_PRESSURE, false);
	ck_assert_int_eq(next(), 0);	/* what is pinned is no next victim */
	for (uint32_t i = 1; i <= PAGES; i++)
		core_unpin(&core, 0, i);
	do {
		ck_assert_int_eq(next(), 1);
		done(0);
	} while (memcmp(&key, &one, sizeof key) != 0);
}
END_TEST

/* DROP is not refused because a view is being made. */
START_TEST(a_drop_takes_what_is_read)
{
	set(SPACE_AUTO_PUBLISH);
	put_chain(1, 3);
	expect_turn(3, 3);
	ck_assert_int_eq(core_drop(&core, 3), 0);
	ck_assert(!space_tip_held(core.space, tip));
	ck_assert_uint_eq(STAT(auto_skipped), 1);
	done(0);
	ck_assert_uint_eq(STAT(auto_made), 0);
	expect_turn(2, 2);	/* the end of the chain now */
}
END_TEST

/* Another method: every chain may have its turn once more; what is read belongs to the old one. */
START_TEST(another_method_is_another_turn)
{
	set(SPACE_AUTO_PRESSURE);
	put_blocks(1, PAGES);
	expect_turn(1, 1);
	done(0);
	expect_turn(2, 1);
	set(SPACE_AUTO_PRESSURE);
	done(0);
	expect_turn(1, 1);
	done(0);
	expect_turn(2, 1);
	done(0);
	space_set_auto(core.space, SPACE_AUTO_DEMOTE, false);
	put_blocks(101, 1);
	ck_assert(!core_has(&core, 1));
}
END_TEST

/* Switched off, those that wait are ordinary victims again. */
START_TEST(switched_off_nothing_waits)
{
	set(SPACE_AUTO_DEMOTE);
	put_blocks(1, PAGES);
	put_blocks(101, 1);
	ck_assert_uint_eq(STAT(auto_held), CORE_TIPS);
	set(SPACE_AUTO_NONE);
	ck_assert_uint_eq(STAT(auto_held), 0);
	ck_assert_uint_eq(STAT(auto_skipped), CORE_TIPS);
	ck_assert_int_eq(next(), 0);
	put_blocks(111, 1);
	ck_assert(!core_has(&core, 1));
}
END_TEST

/* demote: who got a child or a client's job while waiting is not the end of a leaving chain. */
START_TEST(a_waiting_tip_with_a_child_is_skipped)
{
	set(SPACE_AUTO_DEMOTE);
	put_blocks(1, PAGES);
	put_blocks(101, 1);
	ck_assert_int_eq(core_put(&core, a, 1, 201), 0);
	expect_turn(2, 1);
	ck_assert_uint_eq(STAT(auto_skipped), 1);
	done(0);
}
END_TEST

CHECK_MAIN("core_tip",
	CASE("tip", .setup = setup, .teardown = teardown),
	TEST(nothing_happens_unasked),
	TEST(a_published_chain_has_its_turn_once),
	TEST(a_tip_that_got_a_child_is_skipped),
	TEST(an_aborted_child_gives_the_turn_back),
	TEST(turns_at_once_are_bounded),
	TEST(a_chain_too_long_is_refused_once),
	TEST(each_result_has_its_counter),
	TEST(pressure_begins_below_a_sixteenth),
	TEST(pressure_is_that_of_the_quota),
	LOOP(pressure_takes_the_next_victims, 2),
	LOOP(the_next_victims_are_the_victims, 2),
	TEST(what_is_left_of_a_chain_needs_no_view),
	TEST(a_chain_lost_is_counted_once),
	TEST(a_victim_waits_for_its_view),
	TEST(who_waits_gives_way_to_a_writer),
	TEST(a_pinned_tip_is_not_the_last_to_ask),
	TEST(a_chain_gives_way_at_once),
	TEST(who_is_read_gives_way_last),
	TEST(who_is_read_gives_its_place),
	TEST(a_pinned_block_survives_giving_way),
	TEST(a_drop_takes_what_is_read),
	TEST(another_method_is_another_turn),
	TEST(switched_off_nothing_waits),
	TEST(a_waiting_tip_with_a_child_is_skipped))
