/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_lies.c - what a daemon says is looked at before anything is found by it.
 */
#include <errno.h>
#include <stdlib.h>

#include "client/lib.h"
#include "tests/lib/check_main.h"
#include "tests/lib/index.h"

enum { SLOTS = 16 };

static struct test_index t;
static struct lib_slab slab = { .write = LIB_SLAB_MAPPED };
static uint8_t told = 1;

static void setup(void)
{
	struct ckv_lane *lane = &t.lane;

	test_index_open(&t, 100, 4);
	t.space.access = CKV_ACCESS_WRITE;
	t.maps.told = &told;
	t.mapped.slab = &slab;
	t.mapped.write_base = t.pool;
	t.ckv.link = &t.link;
	lane->tx = (struct ckv_ring_end){
		.slots = (struct ckv_slot *)(lane->seg.c_base + lane->at.requests),
		.credit = &lane->d->req_credit, .n_slots = SLOTS };
	ck_assert_int_eq(lib_args_init(&lane->args, 4096, SLOTS), 0);
	lib_requests_reset(lane);
}

static void teardown(void)
{
	lib_lent_free(&t.lane.lent);
	lib_args_free(&t.lane.args);
	test_index_close(&t);
}

/* Two pages were reserved, and this is what the daemon says of the second. */
static long lend(const struct ckv_lent *second, struct ckv_page pages[2])
{
	const struct ckv_lent first = { .slot = 1, .lending = 1, .generation = 2,
					.level = CKV_LEVEL_HOST };
	struct ckv_lane *lane = &t.lane;
	struct lib_request *request;
	char *answers = lane->seg.d_base + lane->at.results;
	int r;

	request = lib_request_new(lane, CKV_OP_RESERVE, 96, &r);
	ck_assert_ptr_nonnull(request);
	request->n = 2;
	request->done = 1;
	request->ret = pages;
	memcpy(answers + request->arg_offset, &first, sizeof first);
	memcpy(answers + request->arg_offset + sizeof first, second,
	       sizeof *second);
	return lib_request_collect(lane, request);
}

static const struct ckv_lent lies[] = {
	{ .page = 1u << 20, .slot = 2, .lending = 1, .level = CKV_LEVEL_HOST },
	{ .page = 1, .slot = 1u << 30, .lending = 1, .level = CKV_LEVEL_HOST },
	{ .page = 1, .slot = 2, .lending = 0, .level = CKV_LEVEL_HOST },
	{ .page = 1, .slot = 2, .lending = 1, .level = CKV_LEVEL_DEVICE },
};

/* A page that cannot be is not handed out, goes back, and is in no set. */
START_TEST(no_such_page_is_lent)
{
	struct ckv_page pages[2];
	struct ckv_lent truth = { .page = 1, .slot = CKV_NONE, .lending = 1,
				  .level = CKV_LEVEL_HOST };

	ck_assert_int_eq(lend(&lies[_i], pages), 1);
	ck_assert_int_eq(pages[0].status, 0);
	ck_assert_int_eq(pages[1].status, -EPROTO);
	ck_assert_ptr_null(pages[1].data);
	ck_assert_uint_eq(t.lane.lent.n, 1);
	ck_assert_uint_eq(t.lane.n_silent, 1);
	lib_lent_sweep(&t.lane.lent, &t.lane.index);
	ck_assert_uint_eq(t.lane.lent.n, 0);
	ck_assert_int_eq(lend(&truth, pages), 2);
	ck_assert_uint_eq(t.lane.lent.n, 2);
}
END_TEST

/* Where the ring's credit makes no sense nothing can be given back: that ends, too. */
START_TEST(giving_back_ends)
{
	struct ckv_page pages[2];

	t.lane.tx.pos = SLOTS;
	ckv_hint_store32(&t.lane.d->req_credit, 1000);
	ck_assert_int_eq(lend(&lies[0], pages), 1);
	ck_assert_int_eq(pages[1].status, -EPROTO);
	ck_assert_uint_eq(t.lane.n_silent, 0);
	ck_assert_uint_eq(t.lane.n_open, 0);
}
END_TEST

CHECK_MAIN("lib_lies",
	CASE("lies", .setup = setup, .teardown = teardown),
	EACH(no_such_page_is_lent, lies),
	TEST(giving_back_ends))
