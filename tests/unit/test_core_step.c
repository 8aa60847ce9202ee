/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_step.c - requests that go on in later turns, and the steps that they wait
 * for: what one call costs, counted in items, pin words and scans.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

enum { PAGES = 24 };

static struct core core;
static struct space_pace pace;
static int a, b;
static struct ckv_key keys[PAGES];
static struct ckv_lent lent[4][PAGES];
static int32_t status[4][PAGES];

#define STAT(name) CORE_STAT(&core, name)

static void setup(void)
{
	struct space_config config = core_config(PAGES, 8);

	pace.debt = 0;
	config.pace = &pace;
	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	b = core_lane_open(&core, 1);
}

static void teardown(void)
{
	space_check(core.space);
	core_close(&core);
}

static int run(struct space_task *t, int32_t units)
{
	int r = space_run(core.space, t, &units);

	space_check(core.space);
	return r;
}

static void step(void)
{
	ck_assert(space_waits(core.space));
	space_step(core.space);
	space_check(core.space);
}

/* keys[i] is key `first` + i; a RESERVE of n of them on answers w. */
static struct space_task reserve(int lane, uint32_t parent, uint32_t first,
				 uint32_t n, int w)
{
	for (uint32_t i = 0; i < n; i++)
		keys[first % PAGES + i] = core_key(first + i);
	return (struct space_task){
		.op = SPACE_RESERVE, .lane = lane, .n = n,
		.parent = core_key(parent), .items = &keys[first % PAGES],
		.answers = lent[w],
	};
}

static struct space_task drop(uint32_t first, uint32_t n, int w)
{
	for (uint32_t i = 0; i < n; i++)
		keys[first % PAGES + i] = core_key(first + i);
	return (struct space_task){
		.op = SPACE_DROP, .n = n, .items = &keys[first % PAGES],
		.answers = status[w],
	};
}

/* n roots from `first`, each pinned in word `first` + i of lane memory 1, if asked. */
static void put_roots(uint32_t first, uint32_t n, bool pinned)
{
	for (uint32_t i = first; i < first + n; i++) {
		ck_assert_int_eq(core_put(&core, a, 0, i), 0);
		ck_assert(!pinned || core_pin(&core, 1, i, i));
	}
}

/* A request does no more items than it has units for, and goes on where it left off. */
START_TEST(a_request_goes_on_item_by_item)
{
	struct space_task t = reserve(a, 0, 1, 6, 0);
	int n = 0, r;

	while ((r = run(&t, 1)) == SPACE_MORE) {
		ck_assert_uint_le(t.next, (uint32_t)n);
		ck_assert_uint_eq(STAT(pages_lent), t.next);
		n++;
	}
	ck_assert_int_eq(r, 6);
	ck_assert_int_eq(n, 6);
}
END_TEST

/* Between two turns a request holds the parent of its next key, and lets go in the end. */
START_TEST(a_paused_request_keeps_its_parent)
{
	struct space_task t;

	put_roots(1, 1, false);
	t = reserve(a, 1, 2, 3, 0);
	ck_assert_int_eq(run(&t, 1), SPACE_MORE);
	ck_assert_int_eq(core_drop(&core, 1), -EBUSY);
	for (uint32_t i = 0; i < 2 * PAGES; i++)
		ck_assert_int_eq(core_put(&core, b, 0, 100 + i), 0);
	ck_assert(core_has(&core, 1));
	space_cancel(core.space, &t);
	ck_assert_int_eq(core_drop(&core, 1), 0);
}
END_TEST

/* One that has pages already is cancelled, and its lane ends: nothing is left of it. */
START_TEST(a_cancelled_request_leaves_nothing)
{
	struct space_task t;

	put_roots(1, 1, false);
	t = reserve(b, 1, 2, 5, 0);
	ck_assert_int_eq(run(&t, 5), SPACE_MORE);
	ck_assert_uint_ge(STAT(pages_lent), 1);
	space_cancel(core.space, &t);
	space_lane_close(core.space, b);
	ck_assert_uint_eq(STAT(pages_lent), 0);
	ck_assert_int_eq(core_drop(&core, 1), 0);
}
END_TEST

/* What happens to a key while a request is paused is what it is answered. */
START_TEST(a_paused_request_sees_what_others_did)
{
	struct space_task t = reserve(a, 0, 1, 3, 0);
	struct ckv_lent other;

	/* Key 3 is a root for somebody else. */
	ck_assert_int_eq(run(&t, 3), SPACE_MORE);
	ck_assert_int_eq(core_reserve(&core, b, 0, 3, &other), 0);
	while (run(&t, 1) == SPACE_MORE)
		;
	ck_assert_int_eq(t.n_done, 2);
	ck_assert_int_eq(lent[0][2].status, -EALREADY);
}
END_TEST

/* All who wait are served by one batch and one scan. */
START_TEST(one_scan_serves_all_who_wait)
{
	struct space_task t[4];
	uint64_t n;

	put_roots(1, PAGES, false);
	n = STAT(evict_batches);
	t[0] = reserve(a, 0, 101, 2, 0);
	t[1] = reserve(b, 0, 104, 2, 1);
	t[2] = drop(20, 1, 2);
	t[3] = drop(21, 2, 3);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(run(&t[i], 100), SPACE_WAIT);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(run(&t[i], 100), SPACE_WAIT);
	step();
	ck_assert_uint_eq(STAT(evict_batches), n + 1);
	ck_assert_int_eq(run(&t[0], 100), 2);
	ck_assert_int_eq(run(&t[1], 100), 2);
	ck_assert_int_eq(run(&t[2], 100), 1);
	ck_assert_int_eq(run(&t[3], 100), 2);
	ck_assert_uint_eq(STAT(evict_batches), n + 1);
	ck_assert(!space_waits(core.space));
}
END_TEST

/* A block that two DROPs name in one step goes once, and both hear the truth. */
START_TEST(a_block_is_dropped_once)
{
	struct space_task t[3];

	put_roots(1, 2, false);
	ck_assert(core_pin(&core, 1, 0, 2));
	t[0] = drop(1, 2, 0);
	t[1] = drop(1, 2, 1);
	t[2] = drop(1, 2, 2);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(run(&t[i], 100), SPACE_WAIT);
	space_cancel(core.space, &t[1]);
	step();
	ck_assert_int_eq(run(&t[0], 100), 1);
	ck_assert_int_eq(run(&t[2], 100), 0);
	ck_assert_int_eq(status[0][1], -EBUSY);
	ck_assert_int_eq(status[2][0], -ENOENT);
	ck_assert_int_eq(status[2][1], -EBUSY);
	ck_assert_uint_eq(STAT(dropped), 1);
}
END_TEST

/* DROPs that wait are cancelled in any order; who is left is served. */
START_TEST(waiting_drops_are_cancelled)
{
	struct space_task t[3];

	put_roots(1, 3, false);
	for (int i = 0; i < 3; i++) {
		t[i] = drop(1 + (uint32_t)i, 1, i);
		ck_assert_int_eq(run(&t[i], 100), SPACE_WAIT);
	}
	space_cancel(core.space, &t[(_i + 1) % 3]);
	space_cancel(core.space, &t[_i]);
	step();
	ck_assert_int_eq(run(&t[(_i + 2) % 3], 100), 1);
	ck_assert_uint_eq(STAT(dropped), 1);
	ck_assert(!space_waits(core.space));
}
END_TEST

/* A DROP of what is known to be pinned costs no scan, until the pin has gone. */
START_TEST(a_known_pin_costs_no_scan)
{
	uint64_t n;

	put_roots(1, 3, true);
	ck_assert_int_eq(core_drop(&core, 2), -EBUSY);
	n = STAT(pins_scanned);
	ck_assert_uint_gt(n, 0);
	for (int i = 0; i < 9; i++)
		ck_assert_int_eq(core_drop(&core, 2), -EBUSY);
	ck_assert_uint_eq(STAT(pins_scanned), n);
	core_unpin(&core, 1, 2);
	ck_assert_int_eq(core_drop(&core, 2), 0);
	ck_assert_int_eq(core_drop(&core, 3), -EBUSY);
}
END_TEST

/* What a witness says is true only of a lane that counts, and of words that count. */
START_TEST(a_witness_is_seen_again)
{
	put_roots(1, 3, true);
	ck_assert_int_eq(core_drop(&core, 1), -EBUSY);
	ck_assert_int_eq(core_drop(&core, 3), -EBUSY);
	ckv_hint_store32(&core.lane[1].pin_high, 3);
	ck_assert_int_eq(core_drop(&core, 3), 0);
	ck_assert_int_eq(core_drop(&core, 1), -EBUSY);
	space_lane_close(core.space, b);
	ck_assert_int_eq(core_drop(&core, 1), 0);
}
END_TEST

/* A pool of pinned blocks is searched once; after that the answer costs no scan. */
START_TEST(a_fruitless_search_is_remembered)
{
	struct ckv_lent one;
	uint64_t n;

	put_roots(1, PAGES, true);
	ck_assert_int_eq(core_put(&core, a, 0, 101), -ENOSPC);
	ck_assert_uint_eq(STAT(parked), PAGES);
	n = STAT(pins_scanned);
	for (int i = 0; i < 9; i++)
		ck_assert_int_eq(core_put(&core, a, 0, 101), -ENOSPC);
	ck_assert_uint_eq(STAT(pins_scanned), n);
	/* Any of them that is let go is found. */
	core_unpin(&core, 1, 1 + (uint32_t)_i);
	ck_assert_int_eq(core_reserve(&core, a, 0, 101, &one), 0);
	ck_assert(!core_has(&core, 1 + (uint32_t)_i));
	ck_assert_uint_eq(STAT(parked), PAGES - 1);
}
END_TEST

/* However many are parked: the one that is let go is found, wherever it stands. */
START_TEST(a_search_looks_at_all_that_is_parked)
{
	enum { MANY = 200 };
	struct space_config config = core_config(MANY, 0);
	uint32_t freed = 1 + (uint32_t)_i * 13;

	core_close(&core);
	core_open(&core, &config);
	for (int l = 0; l < 4; l++)
		ck_assert_int_eq(core_lane_open(&core, l), l);
	for (uint32_t i = 1; i <= MANY; i++) {
		ck_assert_int_eq(core_put(&core, 0, 0, i), 0);
		ck_assert(core_pin(&core, (int)(i / CORE_PINS), i % CORE_PINS, i));
	}
	ck_assert_int_eq(core_put(&core, 0, 0, 1001), -ENOSPC);
	ck_assert_uint_eq(STAT(parked), MANY);
	core_unpin(&core, (int)(freed / CORE_PINS), freed % CORE_PINS);
	ck_assert_int_eq(core_put(&core, 0, 0, 1001), 0);
	ck_assert(!core_has(&core, freed));
}
END_TEST

/* Move each pin of lane memory 1 into the other of its two words; the block stays pinned. */
static void move_pins(uint32_t n, bool back)
{
	for (uint32_t i = 1; i <= n; i++) {
		ck_assert(core_pin(&core, 1, back ? i : n + i, i));
		core_unpin(&core, 1, back ? n + i : i);
	}
}

/* Whoever waits for blocks whose pins move about waits for no more than some steps. */
START_TEST(moved_pins_keep_nobody_waiting)
{
	struct space_task t;
	int n_steps = 0, r;

	put_roots(1, PAGES, true);
	t = reserve(a, 0, 101, 1, 0);
	while ((r = run(&t, 100)) == SPACE_WAIT && n_steps < 100000) {
		step();
		move_pins(PAGES, n_steps++ % 2);
	}
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(lent[0][0].status, -ENOSPC);
	ck_assert_uint_eq(STAT(evicted), 0);
	/* What has been in vain counts no more when one was found. */
	core_unpin(&core, 1, 1);
	core_unpin(&core, 1, PAGES + 1);
	ck_assert_int_eq(core_put(&core, a, 0, 101), 0);
}
END_TEST

/* The same with views. */
START_TEST(moved_pins_of_views_keep_nobody_waiting)
{
	struct space_wait wait = { .waits = false };
	int64_t r;
	int n_steps = 0;

	for (uint32_t i = 1; i <= 8; i++) {
		struct space_view view = { .key = core_key(i), .name = core_key(i) };

		r = space_view_alloc(core.space, 1);
		ck_assert_int_ge(r, 0);
		view.first_page = (uint32_t)r;
		ck_assert_int_eq(space_view_publish(core.space, &view), 0);
		ck_assert(core_pin(&core, 1, i, i));
	}
	while ((r = space_view_get(core.space, 1, &wait)) == SPACE_WAIT &&
	       n_steps < 100000) {
		step();
		move_pins(8, n_steps++ % 2);
	}
	ck_assert_int_eq(r, -ENOSPC);
}
END_TEST

/* The end of a hold, too, leaves something to find. */
START_TEST(memory_forgets_at_the_end_of_a_hold)
{
	struct ckv_key key = core_key(1);
	struct space_link link;
	struct space_task t;

	put_roots(2, PAGES - 1, true);
	ck_assert_int_eq(core_put(&core, a, 0, 1), 0);
	ck_assert_int_eq(space_chain_hold(core.space, &key, &link, 1), 1);
	ck_assert_int_eq(core_put(&core, a, 0, 101), -ENOSPC);
	pace.debt += 2 * SPACE_PACE_FREE;
	t = reserve(a, 0, 101, 1, 0);
	ck_assert_int_eq(run(&t, 100), 0);
	ck_assert_int_eq(lent[0][0].status, -ENOSPC);
	space_release(core.space, link.slot);
	t = reserve(a, 0, 101, 1, 0);
	ck_assert_int_eq(run(&t, 100), SPACE_WAIT);
	step();
	ck_assert_int_eq(run(&t, 100), 1);
	ck_assert(!core_has(&core, 1));
}
END_TEST

/* While a long scan is not paid for, a search that found nothing is answered at once. */
START_TEST(memory_answers_while_scans_are_paced)
{
	struct space_task t;

	put_roots(1, PAGES, true);
	ck_assert_int_eq(core_put(&core, a, 0, 101), -ENOSPC);
	ck_assert_uint_gt(pace.debt, 0);
	ck_assert(space_pace_ready(&pace));
	pace.debt += SPACE_PACE_FREE;
	ck_assert(!space_pace_ready(&pace));
	t = reserve(a, 0, 101, 1, 0);
	ck_assert_int_eq(run(&t, 100), 0);
	ck_assert_int_eq(lent[0][0].status, -ENOSPC);
	space_pace_pay(&pace, 10 * SPACE_PACE_FREE);
	t = reserve(a, 0, 101, 1, 0);
	ck_assert_int_eq(run(&t, 100), SPACE_WAIT);
	step();
	ck_assert_int_eq(run(&t, 100), 0);
	/* The end of a lane is the end of its pins: memory is no answer. */
	pace.debt = 2 * SPACE_PACE_FREE;
	space_lane_close(core.space, b);
	t = reserve(a, 0, 101, 1, 0);
	ck_assert_int_eq(run(&t, 100), SPACE_WAIT);
	step();
	ck_assert_int_eq(run(&t, 100), 1);
}
END_TEST

/*
 * With every pin word in use one step reads each once and no more; what it owes is a
 * known multiple of that.
 */
START_TEST(a_step_is_bounded)
{
	struct space_task t[3];
	uint64_t n;

	for (int l = 2; l < CORE_LANES; l++)
		core_lane_open(&core, l);
	put_roots(1, PAGES, false);
	for (int l = 0; l < CORE_LANES; l++) {
		ckv_hint_store32(&core.lane[l].pin_high, UINT32_MAX);
		for (int w = 0; w < CORE_PINS; w++)
			ckv_pin_set(&core.lane[l].pins[w], 1u << 30, 2);
	}
	n = STAT(pins_scanned);
	pace.debt = 0;
	t[0] = reserve(a, 0, 101, 9, 0);
	t[1] = reserve(b, 0, 110, 6, 1);
	t[2] = drop(20, 3, 2);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(run(&t[i], 100), SPACE_WAIT);
	step();
	ck_assert_uint_eq(STAT(pins_scanned) - n, CORE_LANES * CORE_PINS);
	ck_assert_uint_ge(pace.debt, CORE_LANES * CORE_PINS / 64 * 3);
	ck_assert_uint_le(pace.debt, 3 * (CORE_LANES * CORE_PINS / 64 + 2 * PAGES));
	for (int i = 0; i < 3; i++)
		ck_assert_int_ge(run(&t[i], 100), 3);
}
END_TEST

/* What a step did for a DROP is charged to the one who asked. */
START_TEST(a_drop_pays_for_its_step)
{
	struct space_task t;
	int32_t units = 1;

	put_roots(1, 6, false);
	t = drop(1, 6, 0);
	ck_assert_int_eq(space_run(core.space, &t, &units), SPACE_WAIT);
	step();
	units = 1000;
	ck_assert_int_eq(space_run(core.space, &t, &units), 6);
	ck_assert_int_le(units, 1000 - 6);
}
END_TEST

/* A lane that has ended is taken down in pieces; meanwhile its number is not used. */
START_TEST(a_lane_ends_in_pieces)
{
	struct space_task t = reserve(b, 0, 1, 8, 0);
	int32_t units = 1000;
	int n = 0, c;

	ck_assert_int_eq(space_run(core.space, &t, &units), 8);
	put_roots(11, 1, true);
	space_lane_end(core.space, b);
	ck_assert_int_eq(core_drop(&core, 11), 0);	/* its pins count no more */
	for (units = 4; !space_lane_take_back(core.space, b, &units); units = 4) {
		space_check(core.space);
		c = core_lane_open(&core, 3);
		ck_assert_int_ne(c, b);
		space_lane_close(core.space, c);
		ck_assert_uint_gt(STAT(pages_lent), 0);
		n++;
	}
	ck_assert_int_ge(n, 3);
	ck_assert_uint_eq(STAT(pages_lent), 0);
	ck_assert_int_eq(core_lane_open(&core, 1), b);
}
END_TEST

/* A tree of reservations is taken back piece by piece, the deepest first, and no more. */
START_TEST(an_abort_goes_on_piece_by_piece)
{
	static const uint32_t up[] = { 0, 1, 2, 2, 4, 1, 0 };	/* of key i + 1 */
	struct ckv_page_name names[2];
	struct space_task t = {
		.op = SPACE_ABORT, .lane = a, .n = 2, .items = names,
		.answers = status[0],
	};
	struct ckv_lent one;
	uint32_t n_left = 7;
	int r;

	for (uint32_t i = 0; i < 7; i++) {
		ck_assert_int_eq(core_reserve(&core, a, up[i], i + 1, &one), 0);
		if (i == 1)
			names[0] = core_name(&one);
		if (i == 3)
			names[1] = core_name(&one);
	}
	while ((r = run(&t, 1)) == SPACE_MORE) {
		ck_assert_uint_ge(STAT(pages_lent), n_left - 1);
		n_left = (uint32_t)STAT(pages_lent);
	}
	ck_assert_int_eq(r, 1);
	ck_assert_int_eq(status[0][1], -ECANCELED);
	ck_assert_uint_eq(STAT(pages_lent), 3);	/* keys 1, 6, 7 */
	ck_assert_uint_eq(STAT(aborted), 4);
}
END_TEST

/* Touches are taken from all lanes by turns, whatever one of them claims. */
START_TEST(touches_are_taken_by_turns)
{
	uint32_t n = 0;

	for (int l = 2; l < CORE_LANES; l++)
		core_lane_open(&core, l);
	put_roots(1, 2, false);
	for (int l = 0; l < CORE_LANES; l++)
		for (int i = 0; i < CORE_TOUCHES; i++)
			core_touch(&core, l, 1);
	while (space_touches_drain(core.space) > 0)
		n++;
	ck_assert_int_ge(n, 1);
	ck_assert_uint_eq(STAT(touches), CORE_LANES * CORE_TOUCHES);
}
END_TEST

CHECK_MAIN("core_step",
	CASE("step", .setup = setup, .teardown = teardown),
	TEST(a_request_goes_on_item_by_item),
	TEST(a_paused_request_keeps_its_parent),
	TEST(a_cancelled_request_leaves_nothing),
	TEST(a_paused_request_sees_what_others_did),
	TEST(one_scan_serves_all_who_wait),
	TEST(a_block_is_dropped_once),
	LOOP(waiting_drops_are_cancelled, 3),
	TEST(a_known_pin_costs_no_scan),
	TEST(a_witness_is_seen_again),
	LOOP(a_fruitless_search_is_remembered, PAGES),
	LOOP(a_search_looks_at_all_that_is_parked, 15),
	TEST(moved_pins_keep_nobody_waiting),
	TEST(moved_pins_of_views_keep_nobody_waiting),
	TEST(memory_forgets_at_the_end_of_a_hold),
	TEST(memory_answers_while_scans_are_paced),
	TEST(a_step_is_bounded),
	TEST(a_drop_pays_for_its_step),
	TEST(a_lane_ends_in_pieces),
	TEST(an_abort_goes_on_piece_by_piece),
	TEST(touches_are_taken_by_turns))
