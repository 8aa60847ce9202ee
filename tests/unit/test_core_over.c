/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_over.c - pages lent for what is farther away; levels that clients read; events.
 */
#include <errno.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core_levels.h"

static void setup(void)		/* the host's memory and a disk */
{
	open_levels(CKV_LEVEL_HOST, 2);
}

static void setup_device(void)	/* clients read at the first two */
{
	open_levels(CKV_LEVEL_DEVICE, 3);
}

static void teardown(void)
{
	space_check(levels.space);
	core_close(&levels);
}

/* ---- pages lent for what is farther away ---- */

START_TEST(a_page_is_lent_for_what_is_farther_away)
{
	struct ckv_lent lent, again;
	uint32_t generation;

	chain_far(2);
	ck_assert_int_eq(core_reserve(&levels, lane_a, 1, 2, &lent), -EXDEV);
	ck_assert_int_eq(core_reserve(&levels, lane_a, 1, 50, &lent), -EXDEV);
	ck_assert_int_eq(core_reserve(&levels, lane_a, 0, 1, &lent), 0);
	ck_assert_int_eq(core_reserve(&levels, lane_b, 0, 1, &again), -EALREADY);
	ck_assert_int_eq(core_reserve(&levels, lane_b, 1, 2, &again), -EXDEV);
	ck_assert_int_eq(core_drop(&levels, 1), -EBUSY);
	/* Until it is published, readers find it where it is. */
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DISK);
	generation = block_of(1).generation;
	ck_assert_uint_eq(lent.generation, generation);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_HOST);
	ck_assert_uint_eq(block_of(1).host_page, lent.page);
	ck_assert_uint_eq(block_of(1).generation, generation);
	ck_assert_int_eq(core_reserve(&levels, lane_b, 0, 1, &again), -EEXIST);
	ck_assert_uint_eq(CORE_STAT(&levels, blocks), 2);
}
END_TEST

/* A whole chain again, in one request, and given back: all is as it was. */
START_TEST(given_back_it_is_where_it_was)
{
	struct ckv_lent lent[4];

	chain_far(2);
	ck_assert_int_eq(core_reserve_list(&levels, lane_a, 0, 1, 4, lent), 4);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent[1]), -ENOENT);
	ck_assert_int_eq(core_abort(&levels, lane_a, &lent[0]), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, pages_lent), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, pages_free), NEAR);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_DISK);
	ck_assert_int_eq(core_drop(&levels, 2), 0);
	ck_assert_int_eq(core_drop(&levels, 1), 0);
}
END_TEST

/* PUBLISH is final: what is still read from the disk is not the block's any more. */
START_TEST(publish_cancels_what_is_under_way)
{
	struct space_move move;
	struct ckv_lent lent;

	chain_far(1);
	prefetch_waits(0, 1, 1, false);
	move = begin_move(1);
	ck_assert_int_eq(core_reserve(&levels, lane_a, 0, 1, &lent), 0);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	space_check(levels.space);
	ck_assert_int_eq(go_on(0), 1);
	done(&move, 0);
	ck_assert_uint_eq(block_of(1).host_page, lent.page);
	ck_assert_uint_eq(CORE_STAT(&levels, pages_free), NEAR - 1);
	ck_assert_uint_eq(save_all(), 1);	/* the new bytes were not saved yet */
}
END_TEST

/* A move that ends while the page is lent does not count: the writer's bytes will. */
START_TEST(a_lent_page_is_not_overtaken)
{
	struct space_move move;
	struct ckv_lent lent;

	chain_far(1);
	prefetch_waits(0, 1, 1, false);
	move = begin_move(1);
	ck_assert_int_eq(core_reserve(&levels, lane_a, 0, 1, &lent), 0);
	done(&move, 0);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DISK);
	go_on_waiting(0);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	ck_assert_int_eq(go_on(0), 1);
}
END_TEST

/* Its child was brought before it, and counts as soon as it does. */
START_TEST(a_child_that_came_first_counts_with_it)
{
	struct space_move move[2];
	struct ckv_lent lent;

	chain_far(2);
	prefetch_waits(0, 1, 2, false);
	move[0] = begin_move(1);
	move[1] = begin_move(2);
	done(&move[1], 0);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_DISK);
	ck_assert_int_eq(core_reserve(&levels, lane_a, 0, 1, &lent), 0);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_HOST);
	ck_assert_int_eq(go_on(0), 2);
	done(&move[0], 0);
}
END_TEST

/*
 * The parent was written anew while its child is on disk: the parent alone has no place
 * there, so it cannot leave the host before it is saved, and that comes first.
 */
START_TEST(a_tied_parent_is_saved_first)
{
	struct ckv_lent lent;
	struct space_move move;

	chain_far(2);
	ck_assert_int_eq(core_put(&levels, lane_a, 0, 30), 0);
	ck_assert_int_eq(core_reserve(&levels, lane_a, 0, 1, &lent), 0);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	make_room();
	ck_assert(!core_has(&levels, 30));
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_HOST);
	ck_assert_int_eq(core_put(&levels, lane_a, 0, 31), 0);
	move = begin_move(1);
	done(&move, 0);
	(void)save_all();
	ck_assert_uint_eq(core_unsaved(&levels, 0), 0);	/* nor is it tried again */
	make_room();
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DISK);
}
END_TEST

/* ---- levels that clients read ---- */

/* Both pages are in the index; the nearer one leaves with a new generation. */
START_TEST(the_index_names_both_pages)
{
	struct space_move move;
	uint32_t generation;

	put_chain(1, 1);
	generation = block_of(1).generation;
	move = begin_move(1);
	done(&move, 0);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DEVICE);
	ck_assert_uint_eq(block_of(1).device_page, move.from_place);
	ck_assert_uint_eq(block_of(1).host_page, move.to_place);
	ck_assert_uint_eq(block_of(1).generation, generation);
	make_room();
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_HOST);
	ck_assert_uint_eq(block_of(1).device_page, CKV_NONE);
	ck_assert_uint_eq(block_of(1).host_page, move.to_place);
	ck_assert_uint_gt(block_of(1).generation, generation);
}
END_TEST

/* Who reads the host's page when it is replaced goes on; its place is free after that. */
START_TEST(a_replaced_page_stays_for_who_reads_it)
{
	struct ckv_lent lent;
	uint32_t n_free, generation;

	put_chain(1, 1);
	(void)save_all();
	make_room();
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_HOST);
	ck_assert(core_pin(&levels, 1, 0, 1));
	generation = block_of(1).generation;
	ck_assert_int_eq(core_reserve(&levels, lane_a, 0, 1, &lent), 0);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	ck_assert_uint_eq(block_of(1).host_page, CKV_NONE);
	ck_assert_uint_eq(block_of(1).generation, generation);
	n_free = core_free(&levels, 1);
	ck_assert_uint_eq(n_free, FAR - 1);
	core_search(&levels, 1);
	ck_assert_uint_eq(core_free(&levels, 1), n_free);
	core_unpin(&levels, 1, 0);
	core_search(&levels, 1);
	ck_assert_uint_eq(core_free(&levels, 1), FAR);
	ck_assert_uint_gt(block_of(1).generation, generation);
}
END_TEST

/* The pin of a descendant protects it as well, replaced or not. */
START_TEST(a_replaced_page_stays_for_who_reads_below)
{
	struct ckv_lent lent;

	put_chain(1, 2);
	(void)save_all();
	make_room();
	ck_assert(core_pin(&levels, 1, 0, 2));
	for (uint32_t k = 1; k <= 2; k++) {
		ck_assert_int_eq(core_reserve(&levels, lane_a, k - 1, k, &lent), 0);
		ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
		core_search(&levels, 1);
		ck_assert_uint_eq(core_free(&levels, 1), FAR - 2);
	}
	core_unpin(&levels, 1, 0);
	core_search(&levels, 1);
	core_search(&levels, 1);
	ck_assert_uint_eq(core_free(&levels, 1), FAR);
}
END_TEST

/* A chain on the host, so long that what comes there is saved at once. */
static void fill_host(void)
{
	put_chain(40, NEAR);
	(void)save_all();
	make_room();
	ck_assert_int_eq(level_of_key(40), CKV_LEVEL_HOST);
}

/* Its place is not taken from it by who writes the block there again. */
START_TEST(a_replaced_page_is_not_lent_over)
{
	struct ckv_lent lent;

	put_chain(1, 2);
	(void)save_all();
	make_room();
	fill_host();
	while (level_of_key(2) == CKV_LEVEL_HOST)
		core_search(&levels, 1);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_HOST);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_DISK);
	ck_assert_int_eq(core_reserve(&levels, lane_a, 0, 1, &lent), 0);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	done(&(struct space_move){ .id = begin_move(1).id }, 0);
	make_room();
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DISK);
	ck_assert_uint_eq(core_free(&levels, 1), FAR - NEAR - 1);
	ck_assert(core_pin(&levels, 1, 0, 1));
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, 1, 0, 1, &lent), -ENOSPC);
	space_check(levels.space);
	core_unpin(&levels, 1, 0);
	core_search(&levels, 1);
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, 1, 0, 1, &lent), 0);
	space_check(levels.space);
	ck_assert_int_eq(core_abort(&levels, lane_a, &lent), 0);
}
END_TEST

/* ---- events ---- */

static void event_is(enum space_event_kind kind, uint32_t k, uint8_t from, uint8_t to)
{
	static uint64_t number;
	struct space_event e;

	ck_assert_int_eq(space_event_next(levels.space, &e), 1);
	ck_assert_int_eq(e.kind, kind);
	ck_assert(is_key(&e.key, k));
	ck_assert_uint_eq(e.from, from);
	ck_assert_uint_eq(e.to, to);
	ck_assert(number == 0 || e.number == number + 1);
	number = e.number;
}

START_TEST(who_listens_is_told)
{
	struct space_event e;

	put_chain(1, 1);
	ck_assert_int_eq(space_event_next(levels.space, &e), 0);
	space_events(levels.space, true);
	ck_assert_int_eq(core_put(&levels, lane_a, 1, 2), 0);
	event_is(SPACE_STORED, 2, CKV_LEVEL_NONE, CKV_LEVEL_HOST);
	(void)save_all();
	make_room();
	event_is(SPACE_MOVED, 2, CKV_LEVEL_HOST, CKV_LEVEL_DISK);
	event_is(SPACE_MOVED, 1, CKV_LEVEL_HOST, CKV_LEVEL_DISK);
	ck_assert_int_eq(core_drop(&levels, 2), 0);
	event_is(SPACE_REMOVED, 2, CKV_LEVEL_DISK, CKV_LEVEL_NONE);
	space_events(levels.space, false);
	ck_assert_int_eq(core_drop(&levels, 1), 0);
	ck_assert_int_eq(space_event_next(levels.space, &e), 0);
}
END_TEST

START_TEST(a_full_queue_leaves_a_gap)
{
	struct space_event e;
	uint64_t number = 0;

	space_events(levels.space, true);
	put_chain(1, EVENTS + 2);
	for (int i = 0; i < EVENTS; i++) {
		ck_assert_int_eq(space_event_next(levels.space, &e), 1);
		ck_assert(is_key(&e.key, 1 + (uint32_t)i));
		number = e.number;
	}
	ck_assert_int_eq(space_event_next(levels.space, &e), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, events_lost), 2);
	ck_assert_int_eq(core_put(&levels, lane_a, 0, 50), 0);
	ck_assert_int_eq(space_event_next(levels.space, &e), 1);
	ck_assert_uint_eq(e.number, number + 3);
}
END_TEST

/* The index is large enough for what is at any level: 80 % of its entries at most. */
START_TEST(the_index_has_room_for_all_levels)
{
	ck_assert_uint_eq(space_buckets_for(0), 2);
	for (uint64_t n = 1; n < 100000; n = n * 3 + 1) {
		uint64_t entries = (uint64_t)space_buckets_for(n) * CKV_BUCKET_ENTRIES;

		ck_assert_uint_ge(entries * 8, n * 10);
	}
}
END_TEST

CHECK_MAIN("core_over",
	CASE("over", .setup = setup, .teardown = teardown),
	TEST(a_page_is_lent_for_what_is_farther_away),
	TEST(given_back_it_is_where_it_was),
	TEST(publish_cancels_what_is_under_way),
	TEST(a_lent_page_is_not_overtaken),
	TEST(a_child_that_came_first_counts_with_it),
	TEST(a_tied_parent_is_saved_first),
	CASE("device", .setup = setup_device, .teardown = teardown),
	TEST(the_index_names_both_pages),
	TEST(a_replaced_page_stays_for_who_reads_it),
	TEST(a_replaced_page_stays_for_who_reads_below),
	TEST(a_replaced_page_is_not_lent_over),
	CASE("events", .setup = setup, .teardown = teardown),
	TEST(who_listens_is_told),
	TEST(a_full_queue_leaves_a_gap),
	TEST(the_index_has_room_for_all_levels))
