/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_move.c - copies between levels: which are made, and when they count.
 */
#include <errno.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core_levels.h"

static void setup(void)		/* the host's memory and a disk */
{
	open_levels(CKV_LEVEL_HOST, 2);
}

static void teardown(void)
{
	space_check(levels.space);
	core_close(&levels);
}

/* ---- farther ---- */

/* What was saved leaves its level when room is needed, and is found farther away. */
START_TEST(what_is_saved_stays_farther_away)
{
	uint32_t before;

	put_chain(1, NEAR);
	before = block_of(1).generation;
	ck_assert_uint_eq(save_all(), MOVES + 2);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_HOST);
	ck_assert_uint_eq(block_of(1).generation, before);
	make_room();
	for (uint32_t k = 1; k <= NEAR; k++) {
		ck_assert_int_eq(level_of_key(k), CKV_LEVEL_DISK);
		ck_assert_uint_eq(block_of(k).host_page, CKV_NONE);
	}
	/* Who found it before must not read its page any more. */
	ck_assert_uint_eq(block_of(1).generation, before + 2);
	ck_assert_uint_eq(CORE_STAT(&levels, evict_saved), NEAR);
	ck_assert_uint_eq(CORE_STAT(&levels, evict_unsaved), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, evicted), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, pages_free), NEAR);
}
END_TEST

/* A writer gets its page at once; what was not saved in time is lost, and counted. */
START_TEST(no_writer_waits_for_a_move)
{
	struct ckv_lent lent;

	put_chain(1, NEAR);
	for (int l = 0; l < 2; l++) {	/* with many pins to read, a step takes more than one */
		ck_assert(core_pin(&levels, l, CORE_PINS - 1, 1));
		core_unpin(&levels, l, CORE_PINS - 1);
	}
	ck_assert_int_eq(core_reserve(&levels, lane_b, 0, 100, &lent), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, evict_unsaved), 1);
	ck_assert(!core_has(&levels, NEAR));
}
END_TEST

/* One that is colder, but would be lost, does not go before one that is saved. */
START_TEST(saved_ones_go_first)
{
	struct space_move move;

	for (uint32_t k = 1; k <= NEAR; k++)
		ck_assert_int_eq(core_put(&levels, lane_a, 0, k), 0);
	for (uint32_t k = 1; k <= 3; k++) {
		move = begin_move(k);
		done(&move, k < 3 ? -EIO : 0);
	}
	ck_assert_int_eq(core_put(&levels, lane_b, 0, 100), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, evict_saved), 1);
	ck_assert_int_eq(level_of_key(3), CKV_LEVEL_DISK);
	ck_assert_uint_eq(CORE_STAT(&levels, evict_unsaved), 0);
}
END_TEST

/* Blocks are saved in the order in which they came, when places get few; and only once. */
START_TEST(saving_begins_when_places_get_few)
{
	struct space_config config = levels.config;
	struct space_move move[2];

	core_close(&levels);
	config.level[0].n_ahead = 3;
	core_open(&levels, &config);
	lane_a = core_lane_open(&levels, 0);
	put_chain(1, NEAR - 3);
	no_move();
	ck_assert_int_eq(core_put(&levels, lane_a, 0, 100), 0);
	move[0] = begin_move(1);
	move[1] = begin_move(2);
	ck_assert(is_key(&move[1].parent, 1));
	ck_assert_uint_eq(move[0].from, 0);
	ck_assert_uint_eq(move[0].to, 1);
	ck_assert_uint_eq(move[0].from_place, block_of(1).host_page);
	done(&move[1], 0);
	done(&move[0], 0);
	ck_assert_uint_eq(save_all(), NEAR - 4);
	no_move();
}
END_TEST

/* A later daemon saves what it has taken over, too, parent first. */
START_TEST(what_was_taken_over_is_saved)
{
	put_chain(1, NEAR);
	ck_assert_uint_eq(core_again(&levels, 0).n_blocks, NEAR);
	lane_b = core_lane_open(&levels, 1);
	for (uint32_t k = 1; k <= 2; k++) {
		struct space_move move = begin_move(k);

		done(&move, 0);
	}
	ck_assert_uint_eq(save_all(), NEAR - 2);
	make_room();
	ck_assert_int_eq(level_of_key(NEAR), CKV_LEVEL_DISK);
}
END_TEST

START_TEST(few_are_under_way)
{
	struct space_move move[MOVES];

	put_chain(1, NEAR);
	for (uint32_t i = 0; i < MOVES; i++)
		move[i] = begin_move(1 + i);
	no_move();
	done(&move[2], 0);
	move[2] = begin_move(1 + MOVES);
	ck_assert_uint_eq(CORE_STAT(&levels, moves), MOVES);
	for (uint32_t i = 0; i < MOVES; i++)
		done(&move[i], 0);
}
END_TEST

/* A failed move frees its target, and the block is tried again later. */
START_TEST(a_failed_move_changes_nothing)
{
	struct space_move move;
	struct ckv_block before, after;

	put_chain(1, 2);
	before = block_of(1);
	move = begin_move(1);
	done(&move, -EIO);
	after = block_of(1);
	ck_assert_mem_eq(&before, &after, sizeof before);
	ck_assert_uint_eq(CORE_STAT(&levels, moves_failed), 1);
	ck_assert_uint_eq(save_all(), 2);
}
END_TEST

/* While its page is read, a block is neither dropped nor evicted. */
START_TEST(what_is_read_stays)
{
	struct space_move move;

	put_chain(1, 1);
	move = begin_move(1);
	ck_assert_int_eq(core_drop(&levels, 1), -EBUSY);
	make_room();
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_HOST);
	done(&move, 0);
	ck_assert_int_eq(core_drop(&levels, 1), 0);
	ck_assert_uint_eq(save_all(), 0);
}
END_TEST

/* Pins do not hinder a move; but what is pinned does not leave. */
START_TEST(what_is_pinned_is_saved_and_stays)
{
	uint32_t page;

	put_chain(1, 2);
	ck_assert(core_pin(&levels, 1, 0, 2));
	page = block_of(2).host_page;
	ck_assert_uint_eq(save_all(), 2);
	make_room();
	for (uint32_t k = 1; k <= 2; k++)
		ck_assert_int_eq(level_of_key(k), CKV_LEVEL_HOST);
	ck_assert_uint_eq(block_of(2).host_page, page);
	core_unpin(&levels, 1, 0);
	make_room();
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DISK);
}
END_TEST

/* The shell reads the bytes anyhow, so nobody else need sum them. */
START_TEST(a_move_brings_the_checksum)
{
	struct ckv_lent lent;
	struct ckv_publish_item item = { .n_tokens = 3 };
	struct space_move move;
	int32_t status;
	uint32_t page;

	ck_assert_int_eq(core_reserve(&levels, lane_a, 0, 1, &lent), 0);
	item.name = core_name(&lent);
	ck_assert_int_eq(space_publish(levels.space, lane_a, &item, 1, &status), 1);
	ck_assert_int_eq(space_sum_next(levels.space, &page), 1);
	no_move();		/* not while a worker sums it */
	space_sum_done(levels.space, page, false, 0);
	move = begin_move(1);
	ck_assert(!move.summed);
	ck_assert_uint_eq(move.n_tokens, 3);
	ck_assert_int_eq(space_sum_next(levels.space, &page), 1);
	done(&move, 0);
	ck_assert_uint_eq(block_of(1).checksum, 99);
	ck_assert(block_of(1).flags & CKV_ENTRY_SUMMED);
	space_sum_done(levels.space, page, true, 99);
	ck_assert_uint_eq(CORE_STAT(&levels, summed), 1);
	ck_assert_uint_eq(CORE_STAT(&levels, unsummed), 0);
}
END_TEST

/* A farther level that is full lets go of what was used there longest ago. */
START_TEST(a_full_level_evicts_its_own)
{
	for (uint32_t k = 1; k <= 3 * FAR; k++) {
		ck_assert_int_eq(core_put(&levels, lane_a, 0, k), 0);
		while (save_all() == 0 && space_waits(levels.space))
			space_step(levels.space);
	}
	make_room();
	ck_assert_uint_eq(CORE_STAT(&levels, evict_unsaved), 0);
	ck_assert(!core_has(&levels, 1) && core_has(&levels, 3 * FAR));
	ck_assert_uint_ge(CORE_STAT(&levels, evicted), 2 * FAR - 2);
}
END_TEST

/* Save what may be saved, with as many steps as are asked for: how many were. */
static uint32_t save_and_step(void)
{
	uint32_t n = save_all();

	for (int i = 0; space_waits(levels.space); i++) {
		ck_assert_msg(i < 100, "it searches for ever");
		space_step(levels.space);
		n += save_all();
	}
	return n;
}

/* After a search that found nothing there, saving rests until something may go. */
START_TEST(nothing_is_searched_for_ever)
{
	struct space_move move;

	put_chain(1, NEAR);
	(void)save_all();
	make_room();
	put_chain(20, NEAR);
	(void)save_all();
	make_room();
	ck_assert(core_pin(&levels, 1, 0, NEAR) && core_pin(&levels, 1, 1, 20 + NEAR - 1));
	ck_assert_int_eq(core_put(&levels, lane_a, 0, 50), 0);
	ck_assert_uint_eq(save_and_step(), 0);
	for (int i = 0; i < 3; i++) {
		no_move();
		ck_assert(!space_waits(levels.space));
	}
	core_unpin(&levels, 1, 0);
	prefetch_waits(0, 1, 1, false);
	move = begin_move(1);
	done(&move, 0);		/* a move that ends may be what kept something there */
	(void)save_and_step();	/* hears of the search before */
	ck_assert_uint_eq(save_and_step(), 1);
	ck_assert(!core_has(&levels, NEAR));
	ck_assert_int_eq(go_on(0), 1);
}
END_TEST

/* A child that was saved before its parent keeps it where nobody needs it: that is first. */
START_TEST(what_is_tied_is_saved_first)
{
	static const int results[] = { -EIO, -EIO, 0 };
	static const uint32_t keys[] = { 100, 1, 2 };
	struct space_move move;

	ck_assert_int_eq(core_put(&levels, lane_a, 0, 100), 0);
	put_chain(1, 2);
	for (uint32_t i = 0; i < COUNT(keys); i++) {
		move = begin_move(keys[i]);
		done(&move, results[i]);
	}
	ck_assert(core_pin(&levels, 1, 0, 100));
	make_room();
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_HOST);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_DISK);
	move = begin_move(1);
	done(&move, 0);
	move = begin_move(100);
	done(&move, 0);
	make_room();
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DISK);
}
END_TEST

/* A block that has used up its slot's generations loses no copy: only all of it can leave. */
START_TEST(the_last_generation_stays)
{
	struct ckv_lent lent;

	ck_assert_int_eq(core_put(&levels, lane_a, 0, 1), 0);
	ck_assert_int_eq(core_reserve(&levels, lane_a, 1, 2, &lent), 0);
	ck_assert_int_eq(core_abort(&levels, lane_a, &lent), 0);
	ckv_entry_set_generation(ckv_index_entry(&levels.index, lent.slot),
				 CKV_GENERATION_LAST - 2);
	ck_assert_int_eq(core_put(&levels, lane_a, 1, 2), 0);
	ck_assert_uint_eq(save_all(), 2);
	make_room();
	for (uint32_t k = 1; k <= 2; k++)	/* the parent left with it, so it is back, too */
		ck_assert_int_eq(level_of_key(k), CKV_LEVEL_HOST);
	ck_assert_uint_eq(block_of(2).generation, CKV_GENERATION_LAST - 2);
	ck_assert_uint_eq(CORE_STAT(&levels, evict_saved), 0);
	ck_assert_int_eq(core_drop(&levels, 2), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, slots_retired), 1);
	make_room();
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DISK);
}
END_TEST

/* ---- nearer ---- */

START_TEST(prefetch_brings_a_chain_root_first)
{
	struct space_move move[3];
	uint32_t generation;

	chain_far(3);
	generation = block_of(1).generation;
	ck_assert(core_pin(&levels, 1, 0, 3));	/* it can be brought all the same */
	prefetch_waits(0, 1, 4, false);
	for (uint32_t i = 0; i < 3; i++) {
		move[i] = begin_move(1 + i);
		ck_assert_uint_eq(move[i].from, 1);
		ck_assert_uint_eq(move[i].to, 0);
		ck_assert(move[i].summed);
	}
	no_move();
	done(&move[0], 0);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_HOST);
	ck_assert_uint_eq(block_of(1).host_page, move[0].to_place);
	ck_assert_uint_eq(block_of(1).generation, generation);
	go_on_waiting(0);
	done(&move[1], 0);
	go_on_waiting(0);
	done(&move[2], 0);
	ck_assert_int_eq(go_on(0), 3);
	ck_assert_uint_eq(CORE_STAT(&levels, moved_near), 3);
	/* They are still on disk as well, so nothing is to be saved. */
	no_move();
}
END_TEST

/* A block is never nearer than its parent: what came first waits. */
START_TEST(a_move_lands_before_its_parents)
{
	struct space_move move[3];

	chain_far(3);
	prefetch_waits(0, 1, 3, false);
	for (uint32_t i = 0; i < 3; i++)
		move[i] = begin_move(1 + i);
	done(&move[2], 0);
	done(&move[1], 0);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_DISK);
	done(&move[0], 0);
	for (uint32_t k = 1; k <= 3; k++)
		ck_assert_int_eq(level_of_key(k), CKV_LEVEL_HOST);
	ck_assert_int_eq(go_on(0), 3);
}
END_TEST

START_TEST(without_its_parent_it_does_not_count)
{
	struct space_move move[2];

	chain_far(2);
	prefetch_waits(0, 1, 2, false);
	move[0] = begin_move(1);
	move[1] = begin_move(2);
	done(&move[1], 0);
	done(&move[0], -EIO);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_DISK);
	ck_assert_uint_eq(CORE_STAT(&levels, pages_free), NEAR);
	/* It ends with what came, and asks for nothing twice. */
	ck_assert_int_eq(go_on(0), 0);
	no_move();
}
END_TEST

START_TEST(a_second_prefetch_joins)
{
	struct space_move move;

	chain_far(1);
	prefetch_waits(0, 1, 1, true);
	prefetch_waits(1, 1, 1, false);
	move = begin_move(1);
	no_move();
	space_cancel(levels.space, &task[1]);	/* what is under way goes on */
	done(&move, 0);
	ck_assert_int_eq(go_on(0), 1);
	ck_assert_int_eq(core_drop(&levels, 1), -EBUSY);
	space_cancel(levels.space, &task[0]);
	ck_assert_int_eq(core_drop(&levels, 1), 0);
}
END_TEST

/* Both end with a move that fails, and it is not begun again for the second one. */
START_TEST(a_second_prefetch_joins_what_is_under_way)
{
	struct space_move move;

	chain_far(1);
	prefetch_waits(0, 1, 1, false);
	move = begin_move(1);
	prefetch_waits(1, 1, 1, false);
	done(&move, -EIO);
	for (int i = 0; i < 2; i++) {
		struct space_task *ready = space_ready(levels.space);
		int32_t units = 1000;

		ck_assert_ptr_nonnull(ready);
		ck_assert_int_eq(space_run(levels.space, ready, &units), 0);
	}
	ck_assert(!space_has_ready(levels.space));
	no_move();
}
END_TEST

/* What did not come ends it: no more of the chain is looked for. The last key is nowhere. */
START_TEST(what_did_not_come_ends_it)
{
	int32_t left[2] = { 1000, 1000 };
	struct space_move move;

	chain_far(2);
	prefetch_waits(0, 1, 2, false);
	prefetch_waits(1, 1, 3, false);
	move = begin_move(1);
	done(&move, -EIO);
	for (int i = 0; i < 2; i++) {
		struct space_task *ready = space_ready(levels.space);

		ck_assert_ptr_nonnull(ready);
		ck_assert_int_eq(space_run(levels.space, ready, &left[ready - task]), 0);
	}
	ck_assert_int_eq(left[0], left[1]);
	ck_assert_int_lt(left[0], 1000);
	no_move();
}
END_TEST

/* There is room for it if anything may go; else it ends, and nothing is searched again. */
START_TEST(prefetch_makes_room_or_ends)
{
	struct space_move move;

	chain_far(2);
	put_chain(20, NEAR);
	prefetch_waits(0, 1, 2, false);
	ck_assert_int_eq(space_move_next(levels.space, &move), 1);	/* of 20: saved */
	done(&move, 0);
	ck_assert(space_waits(levels.space));
	space_step(levels.space);
	move = begin_move(1);
	done(&move, 0);
	go_on_waiting(0);
	for (uint32_t k = 20; k < 20 + NEAR; k++)
		(void)core_pin(&levels, 1, k - 20, k);
	ck_assert(core_pin(&levels, 1, NEAR, 1));
	for (int i = 0; i < 100 && !space_has_ready(levels.space); i++) {
		if (space_move_next(levels.space, &move) > 0)
			done(&move, is_key(&move.key, 2) ? -EIO : 0);
		space_step(levels.space);
	}
	ck_assert_int_eq(go_on(0), 1);
}
END_TEST

/* A want whose block is gone by then is forgotten, and who waited goes on. */
START_TEST(what_is_gone_is_not_waited_for)
{
	chain_far(1);
	prefetch_waits(0, 1, 1, false);
	ck_assert_int_eq(core_drop(&levels, 1), 0);
	no_move();
	ck_assert_int_eq(go_on(0), 0);
}
END_TEST

CHECK_MAIN("core_move",
	CASE("farther", .setup = setup, .teardown = teardown),
	TEST(what_is_saved_stays_farther_away),
	TEST(no_writer_waits_for_a_move),
	TEST(saved_ones_go_first),
	TEST(saving_begins_when_places_get_few),
	TEST(what_was_taken_over_is_saved),
	TEST(few_are_under_way),
	TEST(a_failed_move_changes_nothing),
	TEST(what_is_read_stays),
	TEST(what_is_pinned_is_saved_and_stays),
	TEST(a_move_brings_the_checksum),
	TEST(a_full_level_evicts_its_own),
	TEST(nothing_is_searched_for_ever),
	TEST(what_is_tied_is_saved_first),
	TEST(the_last_generation_stays),
	CASE("nearer", .setup = setup, .teardown = teardown),
	TEST(prefetch_brings_a_chain_root_first),
	TEST(a_move_lands_before_its_parents),
	TEST(without_its_parent_it_does_not_count),
	TEST(a_second_prefetch_joins),
	TEST(a_second_prefetch_joins_what_is_under_way),
	TEST(what_did_not_come_ends_it),
	TEST(prefetch_makes_room_or_ends),
	TEST(what_is_gone_is_not_waited_for))
