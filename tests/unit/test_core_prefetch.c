/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_prefetch.c - PREFETCH waits for what is being written, and for nothing else.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

enum { PAGES = 24, TASKS = 8, KEYS = 12 };

static struct core core;
static int a, b;		/* lanes of clients 0 and 1 */
static struct space_task task[TASKS];
static struct ckv_key keys[TASKS][KEYS];

static void setup(void)
{
	struct space_config config = core_config(PAGES, 8);

	core_open(&core, &config);
	memset(task, 0, sizeof task);
	a = core_lane_open(&core, 0);
	b = core_lane_open(&core, 1);
}

static void teardown(void)
{
	space_check(core.space);
	core_close(&core);
}

/* Task t for the n keys from `first`: a chain, if they were stored as one. */
static int begin(int t, uint32_t first, uint32_t n, bool keep)
{
	int32_t units = 1000;

	for (uint32_t i = 0; i < n; i++)
		keys[t][i] = core_key(first + i);
	task[t] = (struct space_task){
		.op = SPACE_PREFETCH, .items = keys[t], .n = n, .keep = keep,
	};
	return space_run(core.space, &task[t], &units);
}

/* It has to wait, and does. */
static void begin_waiting(int t, uint32_t first, uint32_t n, bool keep)
{
	ck_assert_int_eq(begin(t, first, n, keep), SPACE_LATER);
	space_await(core.space, &task[t]);
	space_check(core.space);
}

/* What the next task that can go on says then. */
static int run_ready(struct space_task *wanted)
{
	int32_t units = 1000;
	struct space_task *t = space_ready(core.space);

	ck_assert_ptr_eq(t, wanted);
	return space_run(core.space, t, &units);
}

static struct ckv_lent reserve(int lane, uint32_t parent, uint32_t i)
{
	struct ckv_lent lent;

	ck_assert_int_eq(core_reserve(&core, lane, parent, i, &lent), 0);
	return lent;
}

static void put_chain(uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		ck_assert_int_eq(core_put(&core, a, i ? first + i - 1 : 0,
					  first + i), 0);
}

START_TEST(what_is_there_is_counted_from_the_front)
{
	put_chain(1, 3);
	ck_assert_int_eq(begin(0, 1, 3, false), 3);
	ck_assert_int_eq(begin(0, 1, 5, false), 3);
	ck_assert_int_eq(begin(0, 2, 5, false), 2);
	ck_assert_int_eq(begin(0, 4, 2, false), 0);
	ck_assert_int_eq(begin(0, 1, 0, false), -EINVAL);
}
END_TEST

/* Keys that are stored, but not under each other, are no chain. */
START_TEST(another_parent_ends_the_chain)
{
	put_chain(1, 2);
	ck_assert_int_eq(core_put(&core, a, 0, 3), 0);
	ck_assert_int_eq(begin(0, 1, 3, false), 2);
	reserve(b, 0, 4);
	ck_assert_int_eq(begin(0, 3, 2, false), 1);
}
END_TEST

START_TEST(a_view_is_no_block_of_a_chain)
{
	struct space_view view = { .key = core_key(1), .name = core_key(2) };
	int64_t page = space_view_alloc(core.space, 1);

	ck_assert_int_ge(page, 0);
	view.first_page = (uint32_t)page;
	ck_assert_int_eq(space_view_publish(core.space, &view), 0);
	ck_assert_int_eq(begin(0, 1, 1, false), 0);
}
END_TEST

START_TEST(a_block_being_written_is_waited_for)
{
	struct ckv_lent one, two;

	put_chain(1, 1);
	one = reserve(b, 1, 2);
	two = reserve(b, 2, 3);
	begin_waiting(0, 1, 4, false);
	ck_assert_ptr_null(space_ready(core.space));
	ck_assert_int_eq(core_publish(&core, b, &one), 0);
	ck_assert_int_eq(run_ready(&task[0]), SPACE_LATER);
	space_await(core.space, &task[0]);
	ck_assert_int_eq(core_publish(&core, b, &two), 0);
	ck_assert_int_eq(run_ready(&task[0]), 3);
	ck_assert_ptr_null(space_ready(core.space));
}
END_TEST

START_TEST(what_is_given_back_is_waited_for_no_longer)
{
	struct ckv_lent one = reserve(b, 0, 1);

	begin_waiting(0, 1, 2, false);
	ck_assert_int_eq(core_abort(&core, b, &one), 0);
	ck_assert_int_eq(run_ready(&task[0]), 0);
}
END_TEST

START_TEST(a_dead_writer_is_waited_for_no_longer)
{
	reserve(b, 0, 1);
	begin_waiting(0, 1, 2, false);
	begin_waiting(1, 1, 1, false);
	space_lane_close(core.space, b);
	ck_assert_int_eq(run_ready(&task[1]), 0);
	ck_assert_int_eq(run_ready(&task[0]), 0);
}
END_TEST

/* Its client may live on and keep the page: it cannot publish it any more. */
START_TEST(a_writer_that_is_not_served_is_waited_for_no_longer)
{
	struct ckv_lent two = reserve(a, 0, 2);

	reserve(b, 0, 1);
	begin_waiting(0, 1, 2, false);
	begin_waiting(1, 1, 1, true);
	begin_waiting(2, 2, 1, false);
	/* The lane pays for all that wait; one to which nothing is lent looks at none. */
	ck_assert_uint_eq(space_lane_shut(core.space, core_lane_open(&core, 2)), 0);
	ck_assert_uint_eq(space_lane_shut(core.space, b), 3);
	ck_assert_int_eq(run_ready(&task[1]), 0);
	ck_assert_int_eq(run_ready(&task[0]), 0);
	ck_assert_ptr_null(space_ready(core.space));
	ck_assert_int_eq(begin(3, 1, 1, false), 0);
	ck_assert_int_eq(core_publish(&core, a, &two), 0);
	ck_assert_int_eq(run_ready(&task[2]), 1);
	space_lane_close(core.space, b);
}
END_TEST

/* All that wait for one block go on with it; those that wait for another do not. */
START_TEST(each_waits_for_its_own_block)
{
	struct ckv_lent lent[TASKS / 2];
	struct space_task *x, *y;

	for (uint32_t i = 0; i < TASKS / 2; i++)
		lent[i] = reserve(b, 0, 1 + i);
	for (uint32_t i = 0; i < TASKS; i++)
		begin_waiting((int)i, 1 + i / 2, 1, false);
	for (int i = TASKS / 2; i-- > 0; ) {
		ck_assert_int_eq(core_publish(&core, b, &lent[i]), 0);
		x = space_ready(core.space);
		y = space_ready(core.space);
		ck_assert(x != y && x >= &task[2 * i] && x <= &task[2 * i + 1] &&
			  y >= &task[2 * i] && y <= &task[2 * i + 1]);
		ck_assert(!space_has_ready(core.space));
		space_check(core.space);
	}
}
END_TEST

START_TEST(a_cancelled_task_is_in_no_list)
{
	struct ckv_lent one = reserve(b, 0, 1);

	for (int i = 0; i < 4; i++)
		begin_waiting(i, 1, 1, false);
	space_cancel(core.space, &task[1]);
	space_check(core.space);
	ck_assert_int_eq(core_publish(&core, b, &one), 0);
	/* From the middle of those that can go on, and their end. */
	space_cancel(core.space, &task[2]);
	space_check(core.space);
	ck_assert_int_eq(space_prefetch_stop(core.space, &task[0]), 0);
	space_check(core.space);
	ck_assert_int_eq(run_ready(&task[3]), 1);
	ck_assert_ptr_null(space_ready(core.space));
}
END_TEST

/* Fill the pool with other blocks: whatever may leave does. */
static void crowd_out(void)
{
	for (uint32_t i = 0; i < 2 * PAGES; i++)
		ck_assert_int_eq(core_put(&core, a, 0, 1000 + i), 0);
}

START_TEST(what_has_come_may_leave_unless_it_is_kept)
{
	put_chain(1, 3);
	ck_assert_int_eq(begin(0, 1, 3, _i != 0), 3);
	crowd_out();
	for (uint32_t i = 1; i <= 3; i++)
		ck_assert(core_has(&core, i) == (_i != 0));
	if (_i != 0)
		ck_assert_int_eq(core_drop(&core, 3), -EBUSY);
	space_cancel(core.space, &task[0]);
	if (_i != 0)
		ck_assert_int_eq(core_drop(&core, 3), 0);
}
END_TEST

/* The first part is kept while the rest is being written, and let go with the whole. */
START_TEST(a_part_is_kept_while_the_rest_is_waited_for)
{
	struct ckv_lent two;

	put_chain(1, 1);
	two = reserve(b, 1, 2);
	begin_waiting(0, 1, 3, true);
	/* Its writer gives up: nothing but the task keeps block 1. */
	ck_assert_int_eq(core_abort(&core, b, &two), 0);
	crowd_out();
	ck_assert(core_has(&core, 1));
	ck_assert_int_eq(run_ready(&task[0]), 1);
	crowd_out();
	ck_assert(core_has(&core, 1));
	space_cancel(core.space, &task[0]);
	crowd_out();
	ck_assert(!core_has(&core, 1));
}
END_TEST

START_TEST(a_task_works_for_its_units_only)
{
	int32_t units = 3;
	int r;

	put_chain(1, KEYS);
	begin(0, 1, KEYS, true);
	space_cancel(core.space, &task[0]);
	task[0] = (struct space_task){ .op = SPACE_PREFETCH, .items = keys[0],
				       .n = KEYS, .keep = true };
	while ((r = space_run(core.space, &task[0], &units)) == SPACE_MORE) {
		ck_assert_int_le(units, 0);
		ck_assert_int_gt(units, -3);
		space_again(core.space, &task[0]);
		space_check(core.space);
		ck_assert_ptr_eq(space_ready(core.space), &task[0]);
		units = 3;
	}
	ck_assert_int_eq(r, KEYS);
	space_cancel(core.space, &task[0]);
}
END_TEST

static void end_task(struct space_task *t, int *n_waiting)
{
	space_cancel(core.space, t);
	t->n = 0;
	(*n_waiting)--;
}


static void run_all_ready(int *n_waiting)
{
	struct space_task *t;

	while ((t = space_ready(core.space)) != NULL) {
		int32_t units = 5;
		int r = space_run(core.space, t, &units);

		if (r == SPACE_LATER)
			space_await(core.space, t);
		else if (r == SPACE_MORE)
			space_again(core.space, t);
		else
			end_task(t, n_waiting);
	}
}

/* Writers write, give up and die; tasks come and are cancelled: nobody waits in vain. */
START_TEST(nobody_waits_in_vain)
{
	struct ckv_lent lent[PAGES];
	int n_lent = 0, n_waiting = 0, lane = b;

	srand((unsigned)_i + 1);
	for (int step = 0; step < 2000; step++) {
		uint32_t i = 1 + (uint32_t)rand() % KEYS;
		int t = rand() % TASKS;

		switch (rand() % 5) {
		case 0:
		case 1:
			if (n_lent < PAGES / 2 &&
			    core_reserve(&core, lane, i - 1, i, &lent[n_lent]) == 0)
				n_lent++;
			break;
		case 2:
			if (n_lent == 0)
				break;
			if (core_publish(&core, lane, &lent[0]) != 0)
				(void)core_abort(&core, lane, &lent[0]);
			lent[0] = lent[--n_lent];
			break;
		case 3:
			if (task[t].n > 0) {
				end_task(&task[t], &n_waiting);
			} else if (begin(t, 1, i, rand() & 1) == SPACE_LATER) {
				space_await(core.space, &task[t]);
				n_waiting++;
			} else {
				space_cancel(core.space, &task[t]);
				task[t].n = 0;
			}
			break;
		default:
			if (rand() % 8 == 0) {
				space_lane_close(core.space, lane);
				lane = core_lane_open(&core, 1);
				n_lent = 0;
			}
			(void)core_drop(&core, i);
		}
		run_all_ready(&n_waiting);
		space_check(core.space);
	}
	space_lane_close(core.space, lane);
	run_all_ready(&n_waiting);
	ck_assert_int_eq(n_waiting, 0);
}
END_TEST

/* Whoever publishes a block or gives it back pays for those who wait for it. */
START_TEST(who_wakes_many_pays_for_them)
{
	int32_t status, units, alone;

	for (int n = 0; n < 2 * TASKS; n += TASKS) {
		struct ckv_lent lent = reserve(b, 0, 1);
		struct ckv_page_name name = core_name(&lent);
		struct space_task abort = {
			.op = SPACE_ABORT, .lane = b, .n = 1, .items = &name,
			.answers = &status,
		};

		for (int t = 0; t < n; t++)
			begin_waiting(t, 1, 1, false);
		units = 1000;
		ck_assert_int_eq(space_run(core.space, &abort, &units), 1);
		if (n == 0)
			alone = units;
	}
	ck_assert_int_ge(alone - units, TASKS);
	for (int t = 0; t < TASKS; t++)
		space_cancel(core.space, &task[t]);
}
END_TEST

/* Whatever its slots' numbers are, they were never set. */
START_TEST(a_task_that_was_not_begun_holds_nothing)
{
	put_chain(1, 3);
	task[0] = (struct space_task){
		.op = SPACE_PREFETCH, .items = keys[0], .n = 1, .keep = true,
	};
	space_cancel(core.space, &task[0]);
	ck_assert_int_eq(begin(0, 1, 3, true), 3);
	space_cancel(core.space, &task[0]);
}
END_TEST

CHECK_MAIN("core_prefetch",
	CASE("prefetch", .setup = setup, .teardown = teardown),
	TEST(what_is_there_is_counted_from_the_front),
	TEST(another_parent_ends_the_chain),
	TEST(a_view_is_no_block_of_a_chain),
	TEST(a_block_being_written_is_waited_for),
	TEST(what_is_given_back_is_waited_for_no_longer),
	TEST(a_dead_writer_is_waited_for_no_longer),
	TEST(a_writer_that_is_not_served_is_waited_for_no_longer),
	TEST(each_waits_for_its_own_block),
	TEST(a_cancelled_task_is_in_no_list),
	TEST(who_wakes_many_pays_for_them),
	TEST(a_task_that_was_not_begun_holds_nothing),
	TEST(a_part_is_kept_while_the_rest_is_waited_for),
	TEST(a_task_works_for_its_units_only),
	LOOP(what_has_come_may_leave_unless_it_is_kept, 2),
	LOOP(nobody_waits_in_vain, 8))
