/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_name.c - what a name of a lent page is worth, now and later.
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

/* Publish, abort and hold by this name: what they answer to lane a. */
static void expect_name(const struct ckv_page_name *name, int want)
{
	struct ckv_publish_item item = { .name = *name, .n_tokens = 1 };
	int32_t status;
	void *before = core_snapshot(&core);

	ck_assert_int_eq(space_publish(core.space, a, &item, 1, &status), 0);
	ck_assert_int_eq(status, want);
	ck_assert_int_eq(space_abort(core.space, a, name, 1, &status), 0);
	ck_assert_int_eq(status, want);
	ck_assert_int_eq(space_scratch_hold(core.space, a, name), -ESTALE);
	ck_assert(core_same(&core, before));
	free(before);
}

/* A page that another daemon lent is nobody's, whatever it is lent for here. */
START_TEST(another_daemons_page_is_stale)
{
	struct ckv_page_name name;
	struct ckv_lent lent;

	core_reserve(&core, a, 0, 1, &lent);
	name = core_name(&lent);
	name.epoch--;
	expect_name(&name, -ESTALE);
	name.page = 8;			/* of a larger pool */
	expect_name(&name, -ESTALE);
	name = core_name(&lent);
	name.lending = 0;
	expect_name(&name, -ESTALE);
	ck_assert_int_eq(core_publish(&core, a, &lent), 0);
}
END_TEST

/* Only the lane that a page is lent to may name it, then and afterwards. */
START_TEST(another_lanes_page_is_stale)
{
	struct ckv_page_name name, free_page = { 5, 1, CORE_EPOCH, CKV_LEVEL_HOST, 0 };
	struct ckv_lent lent;

	core_reserve(&core, b, 0, 2, &lent);
	name = core_name(&lent);
	expect_name(&name, -ESTALE);
	ck_assert_int_eq(core_publish(&core, b, &lent), 0);
	expect_name(&name, -ESTALE);
	expect_name(&free_page, -ESTALE);
}
END_TEST

/* A lending that is over says how it ended, until its page is lent anew. */
START_TEST(an_ended_lending_says_how)
{
	struct ckv_page_name name;
	struct ckv_lent lent, next;

	core_reserve(&core, a, 0, 1, &lent);
	name = core_name(&lent);
	ck_assert_int_eq(core_publish(&core, a, &lent), 0);
	expect_name(&name, -EEXIST);
	ck_assert_int_eq(core_drop(&core, 1), 0);
	expect_name(&name, -EEXIST);
	core_reserve(&core, a, 0, 1, &next);
	ck_assert_uint_eq(next.page, lent.page);
	ck_assert_uint_ne(next.lending, lent.lending);
	expect_name(&name, -ESTALE);
	name = core_name(&next);
	ck_assert_int_eq(core_abort(&core, a, &next), 0);
	expect_name(&name, -ECANCELED);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 1, &next), 1);
	ck_assert_uint_eq(next.page, lent.page);
	expect_name(&name, -ESTALE);
	ck_assert_int_eq(core_abort(&core, a, &next), 0);
}
END_TEST

/* Each item is judged by itself, after those before it. */
START_TEST(items_are_judged_in_order)
{
	static const int publish[] = { 2, 0, 0, 1, 1, 2, 3 };
	static const int published[] = { -ENOENT, 0, -EEXIST, 0, -EEXIST, 0,
					 0 };
	static const int abort_[] = { 6, 4, 5, 4, 0 };
	static const int aborted[] = { 0, 0, -ECANCELED, -ECANCELED, -EEXIST };
	struct ckv_publish_item items[7];
	struct ckv_page_name names[5];
	struct ckv_lent lent[7];
	int32_t status[7];

	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 7, lent), 7);
	for (int i = 0; i < 7; i++)
		items[i] = (struct ckv_publish_item){
			.name = core_name(&lent[publish[i]]), .n_tokens = 1 };
	ck_assert_int_eq(space_publish(core.space, a, items, 7, status), 4);
	for (int i = 0; i < 7; i++)
		ck_assert_int_eq(status[i], published[i]);
	for (int i = 0; i < 5; i++)
		names[i] = core_name(&lent[abort_[i]]);
	ck_assert_int_eq(space_abort(core.space, a, names, 5, status), 2);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(status[i], aborted[i]);
	ck_assert_uint_eq(CORE_STAT(&core, aborted), 3);
	ck_assert_uint_eq(CORE_STAT(&core, pages_lent), 0);
}
END_TEST

/* A lie ends a list; what came before it was done, and nothing after it. */
START_TEST(a_lie_ends_a_list)
{
	struct ckv_publish_item items[3];
	struct ckv_lent lent[2];
	int32_t status[3];

	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 2, lent), 2);
	for (int i = 0; i < 3; i++)
		items[i] = (struct ckv_publish_item){
			.name = core_name(&lent[i / 2]), .n_tokens = 1 };
	items[1].name.page = 8;
	ck_assert_int_eq(space_publish(core.space, a, items, 3, status),
			 -EPROTO);
	ck_assert(core_has(&core, 1));
	ck_assert(!core_has(&core, 2));
}
END_TEST

/* Aborting a page takes back what was reserved under it, and nothing else. */
START_TEST(abort_takes_descendants)
{
	struct ckv_lent lent[3], fork, other, again;

	core_reserve_list(&core, a, 0, 1, 3, lent);
	core_reserve(&core, a, 0, 5, &other);
	core_reserve(&core, a, 2, 9, &fork);
	space_check(core.space);
	ck_assert_int_eq(core_abort(&core, a, &lent[1]), 0);
	ck_assert_uint_eq(CORE_STAT(&core, aborted), 3);
	ck_assert_uint_eq(CORE_STAT(&core, pages_lent), 2);
	ck_assert_int_eq(core_publish(&core, a, &lent[0]), 0);
	ck_assert_int_eq(core_publish(&core, a, &other), 0);
	ck_assert_int_eq(core_publish(&core, a, &lent[2]), -ECANCELED);
	ck_assert_int_eq(core_publish(&core, a, &fork), -ECANCELED);
	ck_assert_int_eq(core_reserve(&core, b, 1, 2, &again), 0);
	/* Its page is lent again: the old name is not the new lending's. */
	ck_assert_int_eq(core_publish(&core, a, &fork), again.page ==
			 fork.page ? -ESTALE : -ECANCELED);
}
END_TEST

/* What was reserved under a page is found between what was reserved elsewhere. */
START_TEST(abort_takes_a_whole_tree)
{
	struct ckv_lent lent[8];

	core_reserve(&core, a, 0, 1, &lent[0]);
	core_reserve(&core, a, 0, 2, &lent[1]);
	core_reserve(&core, a, 1, 3, &lent[2]);
	core_reserve(&core, a, 2, 4, &lent[3]);
	core_reserve(&core, a, 3, 5, &lent[4]);
	core_reserve(&core, a, 1, 6, &lent[5]);
	core_reserve(&core, a, 4, 7, &lent[6]);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 1, &lent[7]), 1);
	ck_assert_int_eq(core_abort(&core, a, &lent[0]), 0);
	ck_assert_uint_eq(CORE_STAT(&core, aborted), 4);
	for (int i = 0; i < 8; i++) {
		bool gone = i == 2 || i == 4 || i == 5 || i == 0;

		ck_assert_int_eq(core_abort(&core, a, &lent[i]),
				 gone || i == 3 || i == 6 ? -ECANCELED : 0);
	}
	ck_assert_uint_eq(CORE_STAT(&core, pages_lent), 0);
}
END_TEST

CHECK_MAIN("core_name",
	CASE("name", .setup = setup, .teardown = teardown),
	TEST(another_daemons_page_is_stale),
	TEST(another_lanes_page_is_stale),
	TEST(an_ended_lending_says_how),
	TEST(items_are_judged_in_order),
	TEST(a_lie_ends_a_list),
	TEST(abort_takes_descendants),
	TEST(abort_takes_a_whole_tree))
