/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_adopt.c - a daemon ends, and another one builds the space again from the
 * records. What a kill in the middle leaves is in test_core_kill.c, and records that are
 * wrong in test_core_forged.c.
 */
#include <errno.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

#include "daemon/core/state.h"

enum { PAGES = 24, VIEW_PAGES = 16, FIRST_VIEW = 24, A = 1, B = 2, NAME = 500 };

static struct core core;
static int a, b;		/* lanes */

static void open_space(const struct policy_ops *policy)
{
	struct space_config config = core_config(PAGES, VIEW_PAGES);

	config.level[0].policy = policy;
	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	b = core_lane_open(&core, 1);
}

static void setup(void)
{
	open_space(&policy_lru);
}

static void teardown(void)
{
	core_close(&core);
}

/* Both lanes' clients live on (A, B), or one, or none; lane 2 is a new one then. */
static struct space_adopted again(uint32_t alive)
{
	struct space_adopted adopted = core_again(&core, alive);

	space_check(core.space);
	a = core_lane_open(&core, 2);
	return adopted;
}

/* Publish key i with what tells it from others. */
static void put(uint32_t parent, uint32_t i, bool summed)
{
	struct ckv_publish_item item = {
		.n_tokens = (uint16_t)(1 + i % CORE_TOKENS),
		.flags = summed ? CKV_ENTRY_SUMMED : 0, .checksum = 1000 + i,
	};
	struct ckv_lent lent;
	int32_t status;

	ck_assert_int_eq(core_reserve(&core, a, parent, i, &lent), 0);
	item.name = core_name(&lent);
	ck_assert_int_eq(space_publish(core.space, a, &item, 1, &status), 1);
}

/* ---- blocks ---- */

/* All that readers see of a block is as it was, and so are parents and children. */
START_TEST(blocks_are_where_they_were)
{
	static const uint32_t parent[] = { 0, 0, 1, 2, 3, 0, 5, 5 };
	struct ckv_block before[8], now;
	uint32_t slot[8], at;
	struct space_adopted adopted;

	for (uint32_t i = 1; i < 8; i++) {
		put(parent[i], i, i != 6);
		ck_assert(core_find(&core, i, &slot[i], &before[i]));
	}
	adopted = again(0);
	ck_assert_uint_eq(adopted.n_blocks, 7);
	ck_assert_uint_eq(adopted.n_resting, 0);
	for (uint32_t i = 1; i < 8; i++) {
		ck_assert(core_find(&core, i, &at, &now));
		ck_assert_uint_eq(at, slot[i]);
		ck_assert_mem_eq(&now, &before[i], sizeof now);
	}
	ck_assert_uint_eq(CORE_STAT(&core, blocks), 7);
	ck_assert_uint_eq(CORE_STAT(&core, unsummed), 1);
	ck_assert_uint_eq(CORE_STAT(&core, pages_free), PAGES - 7);
	for (uint32_t i = 7; i > 1; i--) {
		if (parent[i] != 0)
			ck_assert_int_eq(core_drop(&core, parent[i]), -EBUSY);
		ck_assert_int_eq(core_drop(&core, i), 0);
	}
}
END_TEST

/* A slot has the generation after the one that it had, when its block leaves. */
START_TEST(generations_go_on)
{
	struct ckv_block block;
	uint32_t slot;

	put(0, 1, true);
	for (int i = 0; i < 3; i++) {
		ck_assert(core_find(&core, 1, &slot, &block));
		ck_assert_uint_eq(block.generation, CKV_GENERATION_FIRST + 2 * (uint32_t)i);
		(void)again(0);
		ck_assert_int_eq(core_drop(&core, 1), 0);
		put(0, 1, true);
	}
}
END_TEST

/* A pin of before keeps its chain; when it goes, the block may go. */
START_TEST(pins_of_before_count)
{
	put(0, 1, true);
	put(1, 2, true);
	ck_assert(core_pin(&core, 1, 3, 2));
	(void)again(B);
	ck_assert_int_eq((int)space_lane_pins(core.space, core.lane[1].number, 0, 64), 1);
	ck_assert_int_eq(core_drop(&core, 2), -EBUSY);
	for (uint32_t i = 10; i < 10 + PAGES - 2; i++)
		ck_assert_int_eq(core_put(&core, a, 0, i), 0);
	for (uint32_t i = 100; i < 100 + PAGES; i++)
		ck_assert_int_eq(core_put(&core, a, 0, i), 0);
	ck_assert(core_has(&core, 1) && core_has(&core, 2));
	core_unpin(&core, 1, 3);
	ck_assert_int_eq(core_drop(&core, 2), 0);
}
END_TEST

/* The kill came when the checksum was sealed, and the flag was not written yet. */
START_TEST(the_seal_says_whether_there_is_a_checksum)
{
	struct ckv_record *record;
	struct ckv_block block;
	uint32_t slot, page;

	put(0, 1, false);
	ck_assert_int_eq(space_sum_next(core.space, &page), 1);
	record = &core.memory.records[0][page];
	record->checksum = 77;		/* a checksum that was not sealed yet is none */
	(void)again(0);
	ck_assert(core_find(&core, 1, &slot, &block));
	ck_assert_uint_eq(block.flags, 0);
	ck_assert_int_eq(space_sum_next(core.space, &page), 1);
	space_sum_done(core.space, page, true, 88);
	record->flags = 0;
	(void)again(0);
	ck_assert(core_find(&core, 1, &slot, &block));
	ck_assert_uint_eq(block.flags, CKV_ENTRY_SUMMED);
	ck_assert_uint_eq(block.checksum, 88);
	ck_assert_int_eq(space_sum_next(core.space, &page), 0);
}
END_TEST

/* ---- lent pages ---- */

static bool lend_all(const struct ckv_lent *not, uint32_t n_not)
{
	struct ckv_lent lent[PAGES];
	int n = space_reserve_scratch(core.space, a, PAGES, lent);

	for (int i = 0; i < n; i++)
		for (uint32_t k = 0; k < n_not; k++)
			if (lent[i].page == not[k].page)
				return false;
	return true;
}

/* They stay with their lane until it ends; those of an ended lane are free. */
START_TEST(lent_pages_stay_with_their_lane)
{
	struct ckv_lent lent[4], other;
	struct space_adopted adopted;
	int old;

	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 3, lent), 3);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 1, &lent[3]), 1);
	ck_assert_int_eq(core_reserve(&core, b, 0, 9, &other), 0);
	adopted = again(A);
	ck_assert_uint_eq(adopted.n_lent, 4);
	ck_assert_uint_eq(adopted.n_given_up, 1);
	adopted = again(A);
	ck_assert_uint_eq(adopted.n_lent, 4);
	ck_assert_uint_eq(adopted.n_given_up, 0);
	old = core.lane[0].number;
	ck_assert_uint_eq(space_lane_lent(core.space, old), 4);
	ck_assert_uint_eq(space_client_lent(core.space, 0), 4);
	ck_assert_uint_eq(space_user_lent(core.space, 0), 4);
	for (uint32_t i = 1; i < 4; i++)
		ck_assert_int_eq(core_put(&core, a, i - 1, i), 0);
	ck_assert(lend_all(lent, 4));
	space_lane_close(core.space, old);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 4, lent), 4);
	space_check(core.space);
}
END_TEST

/* Each goes to the lane with its serial, in whatever order lanes come. */
START_TEST(serials_tell_lanes_apart)
{
	static const uint64_t serial[] = { 900, 5, 1ull << 40, 77, 6, 1 };
	struct ckv_lent lent[6][3];
	uint32_t n;

	for (int l = 2; l < CORE_LANES; l++) {
		core.serial = serial[l - 2] - 1;
		n = (uint32_t)l % 3 + 1;
		ck_assert_int_eq(space_reserve_scratch(core.space,
			core_lane_open(&core, l), n, lent[l - 2]), (int)n);
	}
	(void)core_again(&core, 0xfc & ~(1u << 5));
	for (int l = 2; l < CORE_LANES; l++) {
		n = l == 5 ? 0 : (uint32_t)l % 3 + 1;
		if (l != 5)
			ck_assert_uint_eq(space_lane_lent(core.space, core.lane[l].number), n);
		for (uint32_t i = 0; i < n; i++)
			ck_assert_int_eq(page_of(core.space, 0, lent[l - 2][i].page)->lane,
					 core.lane[l].number);
	}
	space_check(core.space);
}
END_TEST

/* A scratch page whose client gave it back while a job read it is lent to nobody. */
START_TEST(a_page_that_only_a_job_had_is_free)
{
	struct ckv_lent lent;
	struct ckv_page_name name;

	ck_assert_int_eq(space_reserve_scratch(core.space, a, 1, &lent), 1);
	name = core_name(&lent);
	ck_assert_int_eq(space_scratch_hold(core.space, a, &name), 0);
	ck_assert_int_eq(core_abort(&core, a, &lent), 0);
	space_check(core.space);
	ck_assert_uint_eq(again(A | B).n_given_up, 1);
	ck_assert_uint_eq(CORE_STAT(&core, pages_free), PAGES);
}
END_TEST

/* A page that a daemon of before lent is named in vain. */
START_TEST(names_of_before_are_stale)
{
	struct ckv_lent lent;
	struct ckv_page_name name;
	int32_t status;

	ck_assert_int_eq(core_reserve(&core, a, 0, 1, &lent), 0);
	name = core_name(&lent);
	(void)again(A);
	ck_assert_int_eq(space_abort(core.space, a, &name, 1, &status), 0);
	ck_assert_int_eq(status, -ESTALE);
}
END_TEST

/* ---- order ---- */

/* Add to the times of all blocks, as a clock that is about to wrap has it. */
static void shift_clock(uint32_t by)
{
	for (uint32_t slot = 0; slot < core.space->n_slots; slot++)
		node_of(core.space, slot)->copy[0].stamp += by;
}

/* Which of PAGES blocks have left after each of as many new ones. */
static void see_order(const struct policy_ops *policy, bool restart, uint32_t clock,
		      uint32_t *ret_left)
{
	uint32_t x = 12345;

	open_space(policy);
	for (uint32_t i = 1; i <= PAGES; i++)
		ck_assert_int_eq(core_put(&core, a, i % 4 == 2 ? i - 1 : 0, i), 0);
	for (int i = 0; i < 20; i++) {
		x = x * 1664525 + 1013904223;
		core_touch(&core, 0, 1 + (x >> 16) % PAGES);
		space_touch_drain(core.space, a);
	}
	if (restart) {
		shift_clock(clock);
		(void)again(0);
	}
	for (uint32_t n = 0; n < PAGES; n++) {
		ck_assert_int_eq(core_put(&core, a, 0, 100 + n), 0);
		ret_left[n] = 0;
		for (uint32_t i = 1; i <= PAGES; i++)
			ret_left[n] |= (uint32_t)!core_has(&core, i) << i;
	}
	core_close(&core);
}

/* Blocks leave in the order in which they would have left. */
START_TEST(the_order_stays)
{
	static const uint32_t clock[] = { 0, (uint32_t)-20, (1u << 22) - 20, 1u << 31 };
	uint32_t left[PAGES], left_then[PAGES];
	const struct policy_ops *policy = policy_at((uint32_t)_i % 2);

	see_order(policy, false, 0, left);
	see_order(policy, true, clock[_i / 2], left_then);
	ck_assert_mem_eq(left, left_then, sizeof left);
}
END_TEST

/* Whatever the nodes of before say, it is an order. */
START_TEST(no_hint_is_trusted)
{
	char *nodes = core.memory.nodes;
	size_t bytes = space_node_bytes(&core.config);
	uint64_t x = 88172645463325252u + (uint64_t)_i;

	for (uint32_t i = 1; i <= 12; i++)
		put(i % 3 ? i - 1 : 0, i, i % 2);
	core.automatic = SPACE_AUTO_PUBLISH;
	for (size_t i = 0; i < bytes; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		nodes[i] = (char)(_i == 0 ? 0xff : x >> 40);
	}
	ck_assert_uint_eq(again(0).n_blocks, 12);
	for (uint32_t i = 100; i < 100 + 3 * PAGES; i++)
		ck_assert_int_eq(core_put(&core, a, 0, i), 0);
	for (uint32_t i = 1; i <= 12; i++)
		ck_assert(!core_has(&core, i));
	space_check(core.space);
}
END_TEST

/* A chain has its turn once, whichever daemon gives it. */
START_TEST(turns_are_not_forgotten)
{
	struct space_link links[4];
	struct ckv_key key, second = core_key(2);
	uint32_t tip;

	core.automatic = SPACE_AUTO_PUBLISH;
	space_set_auto(core.space, SPACE_AUTO_PUBLISH, false);
	put(0, 1, true);
	ck_assert_int_eq(space_tip_next(core.space, &tip, &key, links, 4), 1);
	space_tip_done(core.space, tip, 0);
	put(0, 2, true);
	(void)again(0);
	ck_assert_int_eq(space_tip_next(core.space, &tip, &key, links, 4), 1);
	ck_assert_mem_eq(&key, &second, sizeof key);
	space_tip_done(core.space, tip, 0);
	ck_assert_int_eq(space_tip_next(core.space, &tip, &key, links, 4), 0);
}
END_TEST

/* ---- views ---- */

static struct space_view view_of(uint32_t i, uint32_t name)
{
	return (struct space_view){
		.key = core_key(200 + i), .name = core_key(NAME + name),
		.n_bytes = 4000 + i, .checksum = 3 * i, .n_kept_total = 5 * i,
		.sizes = { .heads = i, .positions = i + 1, .codes = i + 2,
			   .scales = i + 3, .padding = i + 4, .plain = i + 5 },
		.n_tokens = 70000 + i, .n_kept_max = 7 * i, .n_kept_min = 8 * i,
		.n_always_lost = 9 * i,
	};
}

static struct space_view put_view(uint32_t i, uint32_t name, uint32_t n_pages)
{
	struct space_view view = view_of(i, name);
	int64_t first = space_view_alloc(core.space, n_pages);

	ck_assert_int_ge(first, 0);
	view.first_page = (uint32_t)first;
	ck_assert_int_eq(space_view_publish(core.space, &view), 0);
	view.n_pages = n_pages;
	return view;
}

static void expect_newest(uint32_t name, const struct space_view *view)
{
	struct ckv_key key = core_key(NAME + name);
	struct space_view found;

	ck_assert_int_eq(space_view_newest(core.space, &key, &found), 0);
	ck_assert_mem_eq(&found, view, sizeof found);
}

/* A view is there with all that is known of it, and with its names' order. */
START_TEST(views_are_found)
{
	struct space_view view[5], found;
	struct ckv_block before, now;
	uint32_t slot, at;

	put(0, 1, true);
	view[0] = put_view(0, 0, 3);
	for (uint32_t i = 1; i < 4; i++)
		view[i] = put_view(i, i % 2, i);
	ck_assert_int_eq(core_drop(&core, 200), 0);	/* a newer one lies before older ones */
	view[4] = put_view(4, 1, 2);
	ck_assert_int_ge(space_view_alloc(core.space, 1), 0);
	ck_assert(core_find(&core, 203, &slot, &before));
	ck_assert_uint_eq(again(B).n_views, 4);
	ck_assert_uint_eq(CORE_STAT(&core, view_pages_used), 8);
	ck_assert_uint_eq(CORE_STAT(&core, pages_resting), 0);
	ck_assert(core_find(&core, 203, &at, &now));
	ck_assert_mem_eq(&now, &before, sizeof now);
	ck_assert_uint_eq(at, slot);
	for (uint32_t i = 1; i < 5; i++) {
		ck_assert_int_eq(space_view_find(core.space, &view[i].key, &found), 0);
		ck_assert_mem_eq(&found, &view[i], sizeof found);
	}
	expect_newest(0, &view[2]);
	expect_newest(1, &view[4]);
	ck_assert_int_eq(core_drop(&core, 204), 0);
	expect_newest(1, &view[3]);
	view[0] = put_view(0, 1, 1);
	expect_newest(1, &view[0]);
	(void)again(0);
	expect_newest(1, &view[0]);
}
END_TEST

/* Views leave in the order in which they were used. */
START_TEST(views_keep_their_order)
{
	struct space_view view, found;

	for (uint32_t i = 0; i < 4; i++)
		view = put_view(i, i, 4);
	view = view_of(1, 1);
	ck_assert_int_eq(space_view_find(core.space, &view.key, &found), 0);
	(void)again(0);
	put_view(8, 8, 4);
	put_view(9, 9, 4);
	ck_assert(core_has(&core, 201) && core_has(&core, 203));
	ck_assert(!core_has(&core, 200) && !core_has(&core, 202));
}
END_TEST

/* ---- pages that rest ---- */

static void break_seal(uint32_t page)
{
	ckv_hint_store64(&core.memory.records[0][page].seal,
			 ckv_hint_load64(&core.memory.records[0][page].seal) ^ 1);
}

/* Rest ends with the last lane of before, not earlier, under however many daemons. */
START_TEST(pages_rest_until_the_last_lane_ends)
{
	struct ckv_lent lent[2] = { { .page = 0 }, { .page = 1 } };
	struct space_adopted adopted;
	int32_t units = 100;

	put(0, 1, true);
	put(1, 2, true);
	put(0, 3, true);
	break_seal(0);
	adopted = again(A | B);
	ck_assert_uint_eq(adopted.n_blocks, 1);
	ck_assert_uint_eq(adopted.n_bad, 1);
	ck_assert_uint_eq(adopted.n_orphans, 1);
	ck_assert_uint_eq(CORE_STAT(&core, pages_resting), 2);
	ck_assert(space_rest_end(core.space, &units));
	ck_assert(lend_all(lent, 2));
	adopted = again(A | B);
	ck_assert_uint_eq(adopted.n_rested, 2);
	space_lane_close(core.space, core.lane[0].number);
	space_lane_close(core.space, a);	/* not one of before */
	ck_assert(space_rest_end(core.space, &units));
	ck_assert_uint_eq(space_resting(core.space), 2);
	space_lane_close(core.space, core.lane[1].number);
	units = 1;
	ck_assert(!space_rest_end(core.space, &units));
	space_check(core.space);
	units = 100;
	ck_assert(space_rest_end(core.space, &units));
	ck_assert_int_lt(units, 100);
	ck_assert_uint_eq(space_resting(core.space), 0);
	space_check(core.space);
	a = core_lane_open(&core, 2);
	ck_assert(!lend_all(lent, 2));
}
END_TEST

/* Without a lane of before nothing has to rest, but it is still freed in small portions. */
START_TEST(nobody_to_wait_for)
{
	int32_t units = 1;

	for (uint32_t i = 1; i < 9; i++) {
		put(0, i, true);
		break_seal(i - 1);
	}
	ck_assert_uint_eq(again(0).n_bad, 8);
	for (int i = 0; i < 8; i++, units = 1) {
		ck_assert_uint_ge(space_resting(core.space), 8 - (uint32_t)i);
		(void)space_rest_end(core.space, &units);
	}
	units = 100;
	ck_assert(space_rest_end(core.space, &units));
	ck_assert_uint_eq(CORE_STAT(&core, pages_free), PAGES);
	space_check(core.space);
}
END_TEST

/* Pages of a broken view rest as well, and no run is made of them. */
START_TEST(pages_of_views_rest)
{
	int32_t units = 100;

	put_view(1, 1, 8);
	put_view(2, 2, 4);
	break_seal(FIRST_VIEW + 3);
	ck_assert_uint_eq(again(B).n_views, 1);
	ck_assert_uint_eq(space_resting(core.space), 8);
	ck_assert_int_eq(space_view_alloc(core.space, 5), FIRST_VIEW + 8);
	ck_assert_int_eq(space_view_alloc(core.space, 8), -ENOSPC);
	space_lane_close(core.space, core.lane[1].number);
	ck_assert(space_rest_end(core.space, &units));
	space_check(core.space);
	ck_assert_int_eq(space_view_alloc(core.space, 8), FIRST_VIEW);
}
END_TEST

/* A writer was refused as nothing could leave; when rest ends it is not. */
START_TEST(the_end_of_rest_makes_room)
{
	struct ckv_lent lent[PAGES];
	int32_t units = 1000;

	put(0, 1, true);
	break_seal(0);
	(void)again(B);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, PAGES, lent), PAGES - 1);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 1, lent), 0);
	space_lane_close(core.space, core.lane[1].number);
	ck_assert(space_rest_end(core.space, &units));
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 1, lent), 1);
}
END_TEST

/* A space that was never used, and one that is full. */
START_TEST(nothing_and_everything)
{
	struct space_adopted adopted = again(0);

	ck_assert_uint_eq(adopted.n_blocks + adopted.n_lent + adopted.n_resting, 0);
	for (uint32_t i = 1; i <= PAGES; i++)
		put(i - 1, i, true);
	adopted = again(A);
	ck_assert_uint_eq(adopted.n_blocks, PAGES);
	ck_assert_uint_eq(CORE_STAT(&core, pages_free), 0);
	ck_assert_int_eq(core_put(&core, a, 0, 100), 0);
	ck_assert(!core_has(&core, PAGES) && core_has(&core, PAGES - 1));
}
END_TEST

CHECK_MAIN("core_adopt",
	CASE("adopt", setup, teardown),
	TEST(blocks_are_where_they_were),
	TEST(generations_go_on),
	TEST(pins_of_before_count),
	TEST(the_seal_says_whether_there_is_a_checksum),
	TEST(lent_pages_stay_with_their_lane),
	TEST(serials_tell_lanes_apart),
	TEST(a_page_that_only_a_job_had_is_free),
	TEST(names_of_before_are_stale),
	LOOP(no_hint_is_trusted, 3),
	TEST(turns_are_not_forgotten),
	TEST(views_are_found),
	TEST(views_keep_their_order),
	TEST(pages_rest_until_the_last_lane_ends),
	TEST(nobody_to_wait_for),
	TEST(pages_of_views_rest),
	TEST(the_end_of_rest_makes_room),
	TEST(nothing_and_everything),
	CASE("order"),
	LOOP(the_order_stays, 8))
