/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_rest.c - pages that rest because something may still write them: a level with
 * rests_after_death before one without.
 */
#include <errno.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core_levels.h"

enum { DEVICE, HOST, LENT = 3 };

static struct space_config config_of(uint32_t work_level)
{
	struct space_config config = core_config(NEAR, work_level == DEVICE ? 8 : 0);

	config.level[HOST] = core_config(FAR, work_level == HOST ? 8 : 0).level[0];
	config.level[DEVICE].number = CKV_LEVEL_DEVICE;
	config.level[DEVICE].rests_after_death = true;
	config.n_levels = 2;
	config.work_level = work_level;
	config.n_buckets = space_buckets_for(NEAR + FAR + 8);
	return config;
}

static void open_at(uint32_t work_level)
{
	struct space_config config = config_of(work_level);

	core_open(&levels, &config);
	lane_a = core_lane_open(&levels, 0);
	lane_b = core_lane_open(&levels, 1);
}

static void setup(void)
{
	open_at(HOST);
}

static void setup_near(void)
{
	open_at(DEVICE);
}

static void teardown(void)
{
	space_check(levels.space);
	core_close(&levels);
}

/* LENT pages of the device are lent on lane a, and one of the host. */
static void lend(struct ckv_lent *lent)
{
	ck_assert_int_eq(core_reserve_list(&levels, lane_a, 0, 1, LENT, lent), LENT);
	ck_assert_int_eq(core_reserve_at(&levels, lane_a, HOST, LENT, 9, &lent[LENT]), 0);
}

static uint64_t serial_of(int memory)
{
	return levels.lane[memory].serial;
}

static bool quiet(uint64_t serial)
{
	int32_t units = 1000;

	return space_quiet(levels.space, serial, &units);
}

static void expect_resting(uint32_t n)
{
	space_check(levels.space);
	ck_assert_uint_eq(CORE_STAT(&levels, pages_resting), n);
	ck_assert_uint_eq(core_free(&levels, DEVICE), NEAR - n);
}

START_TEST(pages_of_an_ended_lane_rest_until_it_is_quiet)
{
	struct ckv_lent lent[LENT + 1];

	lend(lent);
	space_lane_close(levels.space, lane_a);
	expect_resting(LENT);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR);
	ck_assert_uint_eq(CORE_STAT(&levels, pages_lent), 0);
	ck_assert_uint_eq(space_written(levels.space), LENT);
	ck_assert_uint_eq(space_resting(levels.space), 0);
	ck_assert_int_eq(levels.memory.records[DEVICE][lent[0].page].state,
			 CKV_RECORD_QUARANTINE);
	/* The keys are free at once. */
	ck_assert_int_eq(core_put(&levels, lane_b, 0, 1), 0);
	ck_assert_int_eq(core_drop(&levels, 1), 0);
	ck_assert(quiet(serial_of(1)));
	expect_resting(LENT);
	ck_assert(quiet(serial_of(0)));
	expect_resting(0);
}
END_TEST

/* Who gives a page back says that it writes it no more. */
START_TEST(what_is_given_back_is_free)
{
	struct ckv_lent lent[LENT + 1];

	lend(lent);
	ck_assert_int_eq(core_abort(&levels, lane_a, &lent[0]), 0);
	expect_resting(0);
}
END_TEST

START_TEST(all_that_have_ended_may_be_quiet)
{
	struct ckv_lent lent[LENT + 1], other;

	lend(lent);
	ck_assert_int_eq(core_reserve(&levels, lane_b, 0, 20, &other), 0);
	space_lane_close(levels.space, lane_a);
	space_lane_close(levels.space, lane_b);
	expect_resting(LENT + 1);
	ck_assert(quiet(0));
	expect_resting(0);
}
END_TEST

START_TEST(a_call_is_bounded)
{
	struct ckv_lent lent[LENT + 1];
	int n = 0;

	lend(lent);
	space_lane_close(levels.space, lane_a);
	for (int32_t units = 1; !space_quiet(levels.space, serial_of(0), &units); units = 1) {
		n++;
		ck_assert_int_ge(units, -8);
		ck_assert_uint_eq(space_written(levels.space), LENT - (uint32_t)n);
	}
	ck_assert_int_ge(n, LENT - 1);
	expect_resting(0);
}
END_TEST

START_TEST(they_rest_after_a_restart)
{
	struct ckv_lent lent[LENT + 1];
	struct space_adopted n;

	lend(lent);
	space_lane_close(levels.space, lane_a);
	for (int i = 0; i < 2; i++) {
		n = core_again(&levels, 0);
		ck_assert_uint_eq(n.n_rested, LENT);
		expect_resting(LENT);
	}
	ck_assert(quiet(serial_of(1)));
	expect_resting(LENT);
	ck_assert(quiet(serial_of(0)));
	expect_resting(0);
}
END_TEST

/* The process died while there was no daemon; or after the next one had come. */
START_TEST(the_process_may_die_at_any_time)
{
	struct ckv_lent lent[LENT + 1];
	struct space_adopted n;

	lend(lent);
	n = core_again(&levels, _i == 1);
	ck_assert_uint_eq(n.n_written, _i == 1 ? 0 : LENT);
	ck_assert_uint_eq(n.n_lent, _i == 1 ? LENT + 1 : 0);
	if (_i == 1)
		space_lane_close(levels.space, levels.lane[0].number);
	expect_resting(LENT);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR);
	ck_assert(quiet(serial_of(0)));
	expect_resting(0);
}
END_TEST

/* It is not known who writes it: the last lane of before must have ended, and all be quiet. */
START_TEST(an_unknown_writer_is_awaited)
{
	struct ckv_lent lent[LENT + 1];
	int32_t units = 1000;
	struct space_adopted n;

	lend(lent);
	ckv_hint_store64(&levels.memory.records[DEVICE][lent[0].page].seal, 77);
	n = core_again(&levels, 1u << 1);
	ck_assert_uint_eq(n.n_bad, 1);
	ck_assert_uint_eq(n.n_written, LENT - 1);
	ck_assert(quiet(serial_of(0)));
	expect_resting(1);
	ck_assert(quiet(0));
	expect_resting(1);
	ck_assert_uint_eq(space_resting(levels.space), 1);
	space_lane_close(levels.space, levels.lane[1].number);
	ck_assert(space_rest_end(levels.space, &units));
	expect_resting(1);
	ck_assert(quiet(serial_of(0)));
	expect_resting(1);
	ck_assert(quiet(0));
	expect_resting(0);
}
END_TEST

/* What rests for the readers of before is free without them; what may be written is not. */
START_TEST(each_rests_for_its_own_reason)
{
	struct ckv_lent lent[LENT + 1];
	int32_t units = 1000;
	struct space_adopted n;

	ck_assert_int_eq(core_put(&levels, lane_b, 0, 20), 0);
	ck_assert_int_eq(core_put(&levels, lane_b, 20, 21), 0);
	lend(lent);
	ckv_hint_store64(&levels.memory.records[DEVICE][block_of(20).device_page].seal, 77);
	n = core_again(&levels, 0);
	ck_assert_uint_eq(n.n_bad, 1);
	ck_assert_uint_eq(n.n_orphans, 1);
	ck_assert_uint_eq(n.n_written, LENT);
	ck_assert(space_rest_end(levels.space, &units));
	expect_resting(LENT + 1);
	ck_assert(quiet(serial_of(0)));
	expect_resting(1);
}
END_TEST

static void put_at_host(int lane, uint32_t k)
{
	struct ckv_lent lent;

	ck_assert_int_eq(core_reserve_at(&levels, lane, HOST, 0, k, &lent), 0);
	ck_assert_int_eq(core_publish(&levels, lane, &lent), 0);
}

/* A page that was replaced has a record of the same kind, and is somebody's who reads it. */
START_TEST(what_is_read_does_not_end_with_it)
{
	struct ckv_lent lent;
	int32_t units = 1000;

	put_at_host(lane_b, 30);
	put_at_host(lane_b, 20);
	ckv_hint_store64(&levels.memory.records[HOST][block_of(20).host_page].seal, 77);
	ck_assert_uint_eq(core_again(&levels, 1u << 1).n_bad, 1);
	lane_a = core_lane_open(&levels, 0);
	ck_assert(core_pin(&levels, 0, 0, 30));
	ck_assert_int_eq(core_reserve(&levels, lane_a, 0, 30, &lent), 0);
	ck_assert_int_eq(core_publish(&levels, lane_a, &lent), 0);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR - 2);
	space_lane_close(levels.space, levels.lane[1].number);
	ck_assert(space_rest_end(levels.space, &units));
	space_check(levels.space);
	ck_assert_uint_eq(core_free(&levels, HOST), FAR - 1);
}
END_TEST

/* A job reads a page whose lane has ended: it is free after both. */
START_TEST(a_job_and_a_writer_keep_it)
{
	struct ckv_page_name name;
	struct ckv_lent lent;

	ck_assert_int_eq(space_reserve_scratch(levels.space, lane_a, 1, &lent), 1);
	name = core_name(&lent);
	ck_assert_int_eq(space_scratch_hold(levels.space, lane_a, &name), 0);
	space_lane_close(levels.space, lane_a);
	expect_resting(1);
	if (_i == 0) {
		space_scratch_release(levels.space, lent.page);
		expect_resting(1);
		ck_assert(quiet(serial_of(0)));
	} else {
		ck_assert(quiet(serial_of(0)));
		space_check(levels.space);
		ck_assert_uint_eq(core_free(&levels, DEVICE), NEAR - 1);
		ck_assert_uint_eq(CORE_STAT(&levels, pages_lent), 1);
		space_scratch_release(levels.space, lent.page);
	}
	expect_resting(0);
}
END_TEST

CHECK_MAIN("core_rest",
	CASE("rest", .setup = setup, .teardown = teardown),
	TEST(pages_of_an_ended_lane_rest_until_it_is_quiet),
	TEST(what_is_given_back_is_free),
	TEST(all_that_have_ended_may_be_quiet),
	TEST(a_call_is_bounded),
	TEST(they_rest_after_a_restart),
	LOOP(the_process_may_die_at_any_time, 2),
	TEST(an_unknown_writer_is_awaited),
	TEST(each_rests_for_its_own_reason),
	TEST(what_is_read_does_not_end_with_it),
	CASE("work", .setup = setup_near, .teardown = teardown),
	LOOP(a_job_and_a_writer_keep_it, 2))
