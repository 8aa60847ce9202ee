/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_blind.c - a pin of before on a block that was not found again.
 */
#include <errno.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

#include "daemon/core/state.h"

enum { PAGES = 24, B = 2 };

static struct core core;
static int a;			/* a lane of now */

static void setup(void)
{
	struct space_config config = core_config(PAGES, 0);

	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	(void)core_lane_open(&core, 1);
}

static void teardown(void)
{
	core_close(&core);
}

/* Of the two lanes the second one's client lives on. */
static struct space_adopted again(void)
{
	struct space_adopted adopted = core_again(&core, B);

	space_check(core.space);
	a = core_lane_open(&core, 2);
	return adopted;
}

static void put(uint32_t parent, uint32_t i)
{
	ck_assert_int_eq(core_put(&core, a, parent, i), 0);
}

static void break_seal(uint32_t page)
{
	ckv_hint_store64(&core.memory.records[0][page].seal,
			 ckv_hint_load64(&core.memory.records[0][page].seal) ^ 1);
}

/* Nothing leaves, however much room is wanted, and nobody looks for it. */
static void press(uint32_t first)
{
	uint64_t n_batches = CORE_STAT(&core, evict_batches);
	uint32_t i = first;

	while (i <= first + PAGES && core_put(&core, a, 0, i) == 0)
		i++;
	ck_assert_uint_le(i, first + PAGES);
	ck_assert_uint_eq(CORE_STAT(&core, evict_batches), n_batches);
	ck_assert(core_has(&core, 1));
	ck_assert_int_eq(core_drop(&core, 1), -EBUSY);
}

/*
 * A block is pinned, which holds its ancestors, and is not found again. Whose ancestors they
 * were nobody knows, also not later, when its slot has another block.
 */
START_TEST(a_pin_on_what_is_lost_holds_all)
{
	core.config.epoch = 1000;
	put(0, 1);
	put(1, 2);
	ck_assert(core_pin(&core, 1, 3, 2));
	break_seal(1);
	ck_assert_uint_eq(again().n_bad, 1);
	press(100);
	ck_assert_uint_eq(again().n_rested, 1);
	press(200);
	space_lane_close(core.space, core.lane[1].number);
	space_check(core.space);
	ck_assert_int_eq(core_drop(&core, 1), 0);
}
END_TEST

/*
 * The same, when the daemon was killed while it noted since when the page rests: that it
 * rested is all that is known then.
 */
START_TEST(what_is_not_known_any_more_holds_all)
{
	core.config.epoch = 1000;
	put(0, 1);
	put(1, 2);
	ck_assert(core_pin(&core, 1, 3, 2));
	break_seal(1);
	ck_assert_uint_eq(again().n_bad, 1);
	/* Its slot gets another block, which the pin seems to name. */
	put(1, 2);
	core.memory.records[0][1].checksum = 0;
	ck_assert_uint_eq(again().n_bad, 1);
	press(100);
	space_lane_close(core.space, core.lane[1].number);
	ck_assert_int_eq(core_drop(&core, 2), 0);
}
END_TEST

/* Without a pin on it, a lane of before holds what it has pinned only. */
START_TEST(a_lane_without_such_a_pin_holds_up_nobody)
{
	put(0, 1);
	put(0, 2);
	ck_assert(core_pin(&core, 1, 3, 1));
	break_seal(1);
	ck_assert_uint_eq(again().n_bad, 1);
	for (uint32_t i = 100; i < 100 + 2 * PAGES; i++)
		ck_assert_int_eq(core_put(&core, a, 0, i), 0);
	ck_assert(core_has(&core, 1));
}
END_TEST

CHECK_MAIN("core_blind",
	CASE("blind", .setup = setup, .teardown = teardown),
	TEST(a_pin_on_what_is_lost_holds_all),
	TEST(what_is_not_known_any_more_holds_all),
	TEST(a_lane_without_such_a_pin_holds_up_nobody))
