/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_two.c - two levels of pages, which both lend: the device's and the host's, before a
 * disk.
 */
#include <errno.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core_levels.h"

enum { DEVICE, HOST };		/* indexes */

static void setup(void)
{
	open_levels(CKV_LEVEL_DEVICE, 3);
}

static void teardown(void)
{
	space_check(levels.space);
	core_close(&levels);
}

static int put_at(uint32_t level, uint32_t parent, uint32_t k)
{
	struct ckv_lent lent;
	int r = core_reserve_at(&levels, lane_a, level, parent, k, &lent);

	return r < 0 ? r : core_publish(&levels, lane_a, &lent);
}

static int ask(int lane, uint32_t level, uint32_t parent, uint32_t k)
{
	struct ckv_lent lent;

	return core_reserve_at(&levels, lane, level, parent, k, &lent);
}

/* ---- RESERVE ---- */

START_TEST(each_level_lends_its_own)
{
	struct ckv_lent lent;

	ck_assert_int_eq(core_reserve_at(&levels, lane_a, HOST, 0, 1, &lent), 0);
	ck_assert_uint_eq(lent.level, CKV_LEVEL_HOST);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR - 1);
	ck_assert_uint_eq(core_free(&levels, DEVICE), NEAR);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_HOST);
	ck_assert_uint_eq(block_of(1).host_page, lent.page);
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, DEVICE, 0, 2, &lent), 0);
	ck_assert_uint_eq(lent.level, CKV_LEVEL_DEVICE);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	ck_assert_uint_eq(block_of(2).device_page, lent.page);
	ck_assert_uint_eq(block_of(2).host_page, CKV_NONE);
}
END_TEST

/* A block that is there or nearer exists; one that is farther is lent a page, and replaced. */
START_TEST(what_is_farther_is_lent_a_page)
{
	struct ckv_lent lent;

	ck_assert_int_eq(put_at(DEVICE, 0, 1), 0);
	ck_assert_int_eq(ask(lane_b, HOST, 0, 1), -EEXIST);
	ck_assert_int_eq(ask(lane_b, DEVICE, 0, 1), -EEXIST);
	ck_assert_int_eq(put_at(HOST, 0, 2), 0);
	ck_assert_int_eq(ask(lane_b, HOST, 0, 2), -EEXIST);
	ck_assert_int_eq(core_reserve_at(&levels, lane_b, DEVICE, 0, 2, &lent), 0);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_HOST);
	ck_assert_int_eq(ask(lane_a, HOST, 0, 2), -EEXIST);
	ck_assert_int_eq(core_publish(&levels, lane_b, &lent), 0);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_DEVICE);
	ck_assert_uint_eq(block_of(2).host_page, CKV_NONE);
}
END_TEST

START_TEST(a_key_is_reserved_at_one_level)
{
	ck_assert_int_eq(ask(lane_a, HOST, 0, 1), 0);
	ck_assert_int_eq(ask(lane_b, DEVICE, 0, 1), -EALREADY);
	ck_assert_int_eq(ask(lane_a, DEVICE, 0, 1), -EALREADY);
	ck_assert_int_eq(put_at(HOST, 0, 2), 0);
	ck_assert_int_eq(ask(lane_a, DEVICE, 0, 2), 0);
	ck_assert_int_eq(ask(lane_b, DEVICE, 0, 2), -EALREADY);
}
END_TEST

START_TEST(a_child_may_be_farther_than_its_parent)
{
	ck_assert_int_eq(put_at(DEVICE, 0, 1), 0);
	ck_assert_int_eq(put_at(HOST, 1, 2), 0);
	ck_assert_int_eq(ask(lane_a, DEVICE, 2, 3), -EXDEV);
	ck_assert_int_eq(put_at(HOST, 2, 3), 0);
	/* The same if the parents are lent. */
	ck_assert_int_eq(ask(lane_a, DEVICE, 0, 11), 0);
	ck_assert_int_eq(ask(lane_a, HOST, 11, 12), 0);
	ck_assert_int_eq(ask(lane_a, DEVICE, 12, 13), -EXDEV);
	ck_assert_int_eq(ask(lane_b, DEVICE, 12, 13), -ENOENT);
	ck_assert_int_eq(ask(lane_a, HOST, 12, 13), 0);
}
END_TEST

START_TEST(parents_are_published_at_that_level)
{
	struct ckv_lent up, down;

	ck_assert_int_eq(put_at(HOST, 0, 1), 0);
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, DEVICE, 0, 1, &up), 0);
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, DEVICE, 1, 2, &down), 0);
	ck_assert_int_eq(core_publish(&levels, lane_a, &down), -ENOENT);
	ck_assert_int_eq(core_publish(&levels, lane_a, &up), 0);
	ck_assert_int_eq(core_publish(&levels, lane_a, &down), 0);
}
END_TEST

/* What was reserved because its parent was lent goes with it; what was not, stays. */
START_TEST(what_hangs_on_a_page_goes_with_it)
{
	struct ckv_lent up, device, host;

	ck_assert_int_eq(put_at(HOST, 0, 1), 0);
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, DEVICE, 0, 1, &up), 0);
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, HOST, 1, 2, &host), 0);
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, DEVICE, 1, 3, &device), 0);
	ck_assert_int_eq(ask(lane_a, HOST, 3, 4), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, pages_lent), 4);
	space_check(levels.space);
	ck_assert_int_eq(core_abort(&levels, lane_a, &up), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, pages_lent), 1);
	ck_assert_int_eq(core_publish(&levels, lane_a, &device), -ECANCELED);
	ck_assert_int_eq(core_publish(&levels, lane_a, &host), 0);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_HOST);
}
END_TEST

START_TEST(a_name_has_its_level)
{
	struct ckv_publish_item item = { .n_tokens = CORE_TOKENS };
	struct ckv_lent lent;
	int32_t status;

	ck_assert_int_eq(core_reserve_at(&levels, lane_a, HOST, 0, 1, &lent), 0);
	lent.level = CKV_LEVEL_DEVICE;
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), -ESTALE);
	lent.level = CKV_LEVEL_DISK;
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), -EPROTO);
	lent.level = CKV_LEVELS;
	ck_assert_int_eq(core_abort(&levels, lane_a, &lent), -EPROTO);
	lent.level = CKV_LEVEL_HOST;
	item.name = core_name(&lent);
	item.name.zero = 1;
	ck_assert_int_eq(space_publish(levels.space, lane_a, &item, 1, &status),
			 -EPROTO);
	item.name.zero = 0;
	item.name.page = FAR;		/* there is none at either level */
	ck_assert_int_eq(space_publish(levels.space, lane_a, &item, 1, &status),
			 -EPROTO);
	ck_assert_int_eq(core_abort(&levels, lane_a, &lent), 0);
}
END_TEST

START_TEST(each_level_has_its_limits)
{
	space_set_limits(levels.space, HOST, 1, 2);
	ck_assert_int_eq(ask(lane_a, HOST, 0, 1), 0);
	ck_assert_int_eq(ask(lane_a, HOST, 0, 2), -EDQUOT);
	ck_assert_int_eq(ask(lane_a, DEVICE, 0, 3), 0);
	ck_assert_uint_eq(space_client_lent(levels.space, 0), 2);
	ck_assert_int_eq(ask(lane_b, HOST, 0, 4), 0);
	space_set_limits(levels.space, HOST, 2, 2);
	ck_assert_int_eq(ask(lane_a, HOST, 0, 5), -ENOSPC);
	space_set_user_limit(levels.space, DEVICE, 1);	/* both clients' user */
	ck_assert_int_eq(ask(lane_b, DEVICE, 0, 6), -EDQUOT);
}
END_TEST

/* The writer's bytes are awaited; so what hangs on its page does not change. */
START_TEST(no_move_comes_nearer_while_a_page_is_lent)
{
	struct space_move move;
	struct ckv_lent lent;
	int32_t units = 1000;
	struct ckv_key key = core_key(1);
	struct space_task t = { .op = SPACE_PREFETCH, .items = &key, .n = 1, .level = HOST };

	ck_assert_int_eq(put_at(HOST, 0, 1), 0);
	for (uint32_t k = 30; k < 39; k++)
		ck_assert_int_eq(put_at(HOST, 0, k), 0);
	move = begin_move(1);		/* places run short: it is saved on disk */
	done(&move, 0);
	core_search(&levels, HOST);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DISK);
	ck_assert_int_eq(space_run(levels.space, &t, &units), SPACE_LATER);
	space_await(levels.space, &t);
	move = begin_move(1);
	ck_assert_uint_eq(move.to, HOST);
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, DEVICE, 0, 1, &lent), 0);
	done(&move, 0);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DISK);
	ck_assert_ptr_eq(space_ready(levels.space), &t);
	ck_assert_int_eq(space_run(levels.space, &t, &units), SPACE_LATER);
	space_await(levels.space, &t);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	ck_assert_ptr_eq(space_ready(levels.space), &t);
	ck_assert_int_eq(space_run(levels.space, &t, &units), 1);
}
END_TEST

/* ---- restarts ---- */

static void put_saved(uint32_t n)
{
	put_chain(1, n);
	ck_assert_uint_ge(save_all(), n);
	for (uint32_t k = 1; k <= n; k++)
		ck_assert_uint_ne(block_of(k).host_page, CKV_NONE);
}

static struct ckv_record *record(uint32_t level, uint32_t page)
{
	return &levels.memory.records[level][page];
}

START_TEST(both_copies_come_back)
{
	struct ckv_block was[4];
	struct space_adopted n;

	put_saved(3);
	ck_assert_int_eq(put_at(HOST, 3, 4), 0);
	for (uint32_t k = 1; k <= 4; k++)
		was[k - 1] = block_of(k);
	n = core_again(&levels, 0);
	ck_assert_uint_eq(n.n_blocks, 4);
	ck_assert_uint_eq(n.n_resting, 0);
	space_check(levels.space);
	for (uint32_t k = 1; k <= 4; k++) {
		ck_assert_uint_eq(block_of(k).device_page, was[k - 1].device_page);
		ck_assert_uint_eq(block_of(k).host_page, was[k - 1].host_page);
		ck_assert_uint_eq(block_of(k).generation, was[k - 1].generation);
	}
}
END_TEST

/* Without its parent's nearer copy a block has none. */
START_TEST(a_copy_nearer_than_the_parent_does_not_count)
{
	struct space_adopted n;

	put_saved(3);
	ckv_hint_store64(&record(DEVICE, block_of(2).device_page)->seal, 77);
	n = core_again(&levels, 0);
	ck_assert_uint_eq(n.n_blocks, 3);
	ck_assert_uint_eq(n.n_bad, 1);
	ck_assert_uint_eq(n.n_orphans, 1);
	space_check(levels.space);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DEVICE);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_HOST);
	ck_assert_int_eq(level_of_key(3), CKV_LEVEL_HOST);
}
END_TEST

START_TEST(a_child_of_what_is_lost_at_both_is_lost)
{
	struct space_adopted n;

	put_saved(3);
	ckv_hint_store64(&record(DEVICE, block_of(2).device_page)->seal, 77);
	ckv_hint_store64(&record(HOST, block_of(2).host_page)->seal, 77);
	n = core_again(&levels, 0);
	ck_assert_uint_eq(n.n_blocks, 1);
	ck_assert_uint_eq(n.n_orphans, 2);
	ck_assert_uint_eq(n.n_resting, 4);
	space_check(levels.space);
}
END_TEST

/* Killed while PUBLISH replaced a copy: the nearer one counts, and the other one rests. */
START_TEST(of_copies_that_differ_the_nearest_counts)
{
	struct ckv_record *far;
	struct space_adopted n;

	put_saved(2);
	far = record(HOST, block_of(2).host_page);
	if (_i == 0)
		far->checksum++;
	else if (_i == 1)
		far->generation += 2;
	else
		far->n_tokens--;
	ckv_record_close(far, levels.fingerprint, block_of(2).host_page);
	n = core_again(&levels, 0);
	ck_assert_uint_eq(n.n_blocks, 2);
	ck_assert_uint_eq(n.n_doubles, 1);
	space_check(levels.space);
	ck_assert_int_eq(level_of_key(2), CKV_LEVEL_DEVICE);
	ck_assert_uint_eq(block_of(2).host_page, CKV_NONE);
}
END_TEST

/* Two pages of one block at one level: nobody knows which, so it has none. */
START_TEST(two_pages_at_one_level_are_none)
{
	struct space_adopted n;
	uint32_t page;

	put_saved(1);
	page = block_of(1).host_page + 1;
	memcpy(record(HOST, page), record(HOST, page - 1), sizeof(struct ckv_record));
	ckv_record_close(record(HOST, page), levels.fingerprint, page);
	n = core_again(&levels, 0);
	ck_assert_uint_eq(n.n_blocks, 0);
	ck_assert_uint_eq(n.n_doubles, 3);
	space_check(levels.space);
}
END_TEST

/* Who reads what was replaced is not known to the next daemon: the page rests. */
START_TEST(a_replaced_page_rests_after_a_restart)
{
	struct space_adopted n;
	int32_t units = 1000;

	ck_assert_int_eq(put_at(HOST, 0, 1), 0);
	ck_assert(core_pin(&levels, 1, 0, 1));
	ck_assert_int_eq(put_at(DEVICE, 0, 1), 0);
	n = core_again(&levels, 1u << 1);
	ck_assert_uint_eq(n.n_blocks, 1);
	ck_assert_uint_eq(n.n_rested, 1);
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DEVICE);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR - 1);
	space_lane_close(levels.space, levels.lane[1].number);
	ck_assert(space_rest_end(levels.space, &units));
	ck_assert_uint_eq(core_free(&levels, HOST), FAR);
}
END_TEST

START_TEST(lent_pages_of_both_levels_stay_lent)
{
	struct space_adopted n;

	ck_assert_int_eq(ask(lane_a, DEVICE, 0, 1), 0);
	ck_assert_int_eq(ask(lane_a, HOST, 1, 2), 0);
	ck_assert_int_eq(ask(lane_b, HOST, 0, 3), 0);
	n = core_again(&levels, 1);
	ck_assert_uint_eq(n.n_lent, 2);
	ck_assert_uint_eq(n.n_given_up, 1);
	ck_assert_uint_eq(core_free(&levels, DEVICE), NEAR - 1);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR - 1);
	space_check(levels.space);
}
END_TEST

/* ---- the work level ---- */

static void setup_work(void)
{
	struct space_config config = core_config(NEAR, 0);

	config.level[1] = core_config(FAR, 8).level[0];
	config.level[0].number = CKV_LEVEL_DEVICE;
	config.n_levels = 2;
	config.work_level = HOST;
	config.n_moves_max = MOVES;
	config.level[0].n_ahead = NEAR + 1;
	config.n_buckets = space_buckets_for(NEAR + FAR + 8);
	core_open(&levels, &config);
	lane_a = core_lane_open(&levels, 0);
	lane_b = core_lane_open(&levels, 1);
}

START_TEST(scratch_is_where_the_daemon_works)
{
	struct ckv_lent lent;
	struct ckv_page_name name;

	ck_assert_int_eq(space_reserve_scratch(levels.space, lane_a, 1, &lent), 1);
	ck_assert_uint_eq(lent.level, CKV_LEVEL_HOST);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR - 1);
	name = core_name(&lent);
	ck_assert_int_eq(space_scratch_hold(levels.space, lane_a, &name), 0);
	ck_assert_int_eq(core_abort(&levels, lane_a, &lent), 0);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR - 1);
	space_scratch_release(levels.space, lent.page);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR);
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, DEVICE, 0, 1, &lent), 0);
	name = core_name(&lent);
	ck_assert_int_eq(space_scratch_hold(levels.space, lane_a, &name), -EINVAL);
}
END_TEST

/* A chain that is nearer in part is not there as a whole. */
START_TEST(a_chain_is_read_at_the_work_level)
{
	struct space_link links[4];
	struct ckv_key key = core_key(2);

	ck_assert_int_eq(put_at(DEVICE, 0, 1), 0);
	ck_assert_int_eq(put_at(HOST, 1, 2), 0);
	ck_assert_int_eq(space_chain_hold(levels.space, &key, links, 4), -ENOENT);
	ck_assert_int_eq(core_drop(&levels, 2), 0);	/* nothing is held */
	ck_assert_int_eq(put_at(HOST, 1, 2), 0);
	ck_assert_uint_ge(save_all(), 1);
	ck_assert_int_eq(space_chain_hold(levels.space, &key, links, 4), 2);
	ck_assert_uint_eq(links[0].page, block_of(1).host_page);
	space_release(levels.space, links[1].slot);
}
END_TEST

/* A view whose key gets this slot, if there is one among some hundred. */
static bool put_view_at(uint32_t slot)
{
	for (uint32_t k = 1000; k < 1400; k++) {
		struct space_view view = { .key = core_key(k), .name = core_key(k) };
		struct ckv_block block;
		uint32_t found;

		view.first_page = (uint32_t)space_view_alloc(levels.space, 1);
		ck_assert_int_eq(space_view_publish(levels.space, &view), 0);
		ck_assert(core_find(&levels, k, &found, &block));
		if (found == slot)
			return true;
		ck_assert_int_eq(core_drop(&levels, k), 0);
	}
	return false;
}

/* Its block was wanted nearer, and has left. */
START_TEST(a_view_in_the_slot_of_a_wanted_block_stays)
{
	struct ckv_key key = core_key(1);
	struct space_task t = { .op = SPACE_PREFETCH, .items = &key, .n = 1, .level = DEVICE };
	struct ckv_block block;
	int32_t units = 1000;
	uint32_t slot;

	ck_assert_int_eq(put_at(HOST, 0, 1), 0);
	ck_assert(core_find(&levels, 1, &slot, &block));
	ck_assert_int_eq(space_run(levels.space, &t, &units), SPACE_LATER);
	ck_assert_int_eq(space_prefetch_stop(levels.space, &t), 0);
	ck_assert_int_eq(core_drop(&levels, 1), 0);
	ck_assert(put_view_at(slot));
	no_move();
}
END_TEST

/* Only where the daemon works it sums; a move brings the checksum of the others. */
START_TEST(what_is_elsewhere_is_summed_when_it_moves)
{
	struct ckv_publish_item item = { .n_tokens = CORE_TOKENS };
	struct ckv_lent lent;
	struct space_move move;
	int32_t status;
	uint32_t page;

	ck_assert_int_eq(core_reserve_at(&levels, lane_a, DEVICE, 0, 1, &lent), 0);
	item.name = core_name(&lent);
	ck_assert_int_eq(space_publish(levels.space, lane_a, &item, 1, &status), 1);
	ck_assert_uint_eq(CORE_STAT(&levels, unsummed), 1);
	ck_assert_int_eq(space_sum_next(levels.space, &page), 0);
	move = begin_move(1);
	ck_assert(!move.summed);
	done(&move, 0);
	ck_assert_uint_eq(CORE_STAT(&levels, unsummed), 0);
	ck_assert_uint_eq(block_of(1).checksum, 99);
}
END_TEST

/* PUBLISH may replace a page while it is summed. */
START_TEST(a_page_is_replaced_while_it_is_summed)
{
	struct ckv_publish_item item = { .n_tokens = CORE_TOKENS };
	struct ckv_lent lent;
	int32_t status;
	uint32_t page;

	ck_assert_int_eq(core_reserve_at(&levels, lane_a, HOST, 0, 1, &lent), 0);
	item.name = core_name(&lent);
	ck_assert_int_eq(space_publish(levels.space, lane_a, &item, 1, &status), 1);
	ck_assert_int_eq(space_sum_next(levels.space, &page), 1);
	ck_assert_int_eq(put_at(DEVICE, 0, 1), 0);
	ck_assert_uint_eq(CORE_STAT(&levels, unsummed), 0);
	space_check(levels.space);
	core_search(&levels, HOST);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR - 1);
	space_sum_done(levels.space, page, true, 5);
	ck_assert_uint_eq(block_of(1).checksum, 99);
	core_search(&levels, HOST);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR);
}
END_TEST

CHECK_MAIN("core_two",
	CASE("reserve", .setup = setup, .teardown = teardown),
	TEST(each_level_lends_its_own),
	TEST(what_is_farther_is_lent_a_page),
	TEST(a_key_is_reserved_at_one_level),
	TEST(a_child_may_be_farther_than_its_parent),
	TEST(parents_are_published_at_that_level),
	TEST(what_hangs_on_a_page_goes_with_it),
	TEST(a_name_has_its_level),
	TEST(each_level_has_its_limits),
	TEST(no_move_comes_nearer_while_a_page_is_lent),
	CASE("restart", .setup = setup, .teardown = teardown),
	TEST(both_copies_come_back),
	TEST(a_copy_nearer_than_the_parent_does_not_count),
	TEST(a_child_of_what_is_lost_at_both_is_lost),
	LOOP(of_copies_that_differ_the_nearest_counts, 3),
	TEST(two_pages_at_one_level_are_none),
	TEST(a_replaced_page_rests_after_a_restart),
	TEST(lent_pages_of_both_levels_stay_lent),
	CASE("work", .setup = setup_work, .teardown = teardown),
	TEST(scratch_is_where_the_daemon_works),
	TEST(a_chain_is_read_at_the_work_level),
	TEST(a_view_in_the_slot_of_a_wanted_block_stays),
	TEST(what_is_elsewhere_is_summed_when_it_moves),
	TEST(a_page_is_replaced_while_it_is_summed))
