/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_pages.c - what becomes of lent pages: each is told, each is given back once.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/daemon.h"
#include "tests/lib/wait.h"

enum { TOKENS = 16, KEYS = 2000, PAGES = 512, SLAB_PAGES = 128 };

static struct test_daemon daemon_;
static struct ckv *ckv_;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_space_info info;
static uint8_t keys[KEYS][32];

static void setup(void)
{
	test_daemon_start(&daemon_, NULL,
			  TEST_SPACE("tiny", "pool = 8M\nslab = 2M\nviews = 0\n"));
	setenv("CKV_SOCKET", daemon_.socket, 1);
	test_attach(&daemon_, &ckv_, &space, &lane);
	ckv_space_get_info(space, &info);
	ck_assert_uint_eq(info.n_block_pages, PAGES);
	for (uint32_t i = 0; i < KEYS; i++) {
		keys[i][0] = 7;
		memcpy(&keys[i][1], &i, sizeof i);
	}
}

static void teardown(void)
{
	ckv_ = ckv_close(ckv_);
	test_daemon_remove(&daemon_);
}

static struct ckv_lane *another_lane(void)
{
	struct ckv_lane *other;

	ck_assert_int_eq(ckv_lane_open(space, NULL, &other), 0);
	return other;
}

/* What the daemon says is lent, to anybody. */
static long lent_there(void)
{
	return space_counter("pages_lent");
}

/* Is the set of the library what the daemon has lent? */
static void expect_lent(long n)
{
	ck_assert_int_eq(lent_there(), n);
	ck_assert_uint_eq(lane->lent.n, (unsigned long)n);
}

/* Keys [first, first + n) as a chain under key `parent` (-1: a root), filled. */
static void borrow(int parent, uint32_t first, uint32_t n, struct ckv_page *pages)
{
	ck_assert_int_eq(ckv_reserve(lane, parent < 0 ? NULL : keys[parent],
				     keys[first], n, pages), n);
	for (uint32_t i = 0; i < n; i++)
		memset(pages[i].data, (int)(first + i), info.page_bytes);
}

static long publish(const struct ckv_page *pages, uint32_t n, int32_t *ret_status)
{
	return ckv_publish(lane, pages, n, TOKENS, CKV_SUM, NULL, ret_status,
			   NULL);
}

/* Is key i stored, with its own bytes? */
static bool stored(uint32_t i)
{
	struct ckv_handle handle;
	struct ckv_pin pin;
	long n = ckv_lookup(lane, keys[i], 1, CKV_VERIFY, &handle, &pin);

	ck_assert_int_ge(n, 0);
	if (n == 1)
		ck_assert_uint_eq(*(const uint8_t *)handle.data, (uint8_t)i);
	ckv_unpin(lane, &pin);
	return n == 1;
}

/* Look up until the lane has found the daemon that was started anew. */
static void restart(void)
{
	test_daemon_kill(&daemon_);
	test_daemon_restart(&daemon_);
	WAIT_UNTIL((stored(KEYS - 1), lib_lane_alive(lane)));
	ck_assert(lib_lane_alive(lane));
}

/* ---- publish ---- */

/* A child before its parent is refused alone; what was published is told. */
START_TEST(each_page_is_told)
{
	struct ckv_page p[3], list[3];
	int32_t status[3];

	borrow(-1, 0, 3, p);
	list[0] = p[1], list[1] = p[0], list[2] = p[2];
	ck_assert_int_eq(publish(list, 3, status), 1);
	ck_assert_int_eq(status[0], -ENOENT);
	ck_assert_int_eq(status[1], 0);
	ck_assert_int_eq(status[2], -ENOENT);
	ck_assert(stored(0) && !stored(1));
	expect_lent(2);
	list[0] = p[2], list[1] = p[1];
	ck_assert_int_eq(publish(list, 2, status), 1);
	ck_assert_int_eq(publish(&p[2], 1, NULL), 1);
	ck_assert(stored(1) && stored(2));
	expect_lent(0);
}
END_TEST

/* A repetition is answered, in one request and in the next; the lane goes on. */
START_TEST(repetition_is_harmless)
{
	struct ckv_page p[3], list[4];
	int32_t status[4];

	borrow(-1, 0, 3, p);
	list[0] = p[0], list[1] = p[0], list[2] = p[1], list[3] = p[0];
	ck_assert_int_eq(publish(list, 4, status), 2);
	ck_assert_int_eq(status[0], 0);
	ck_assert_int_eq(status[1], -EEXIST);
	ck_assert_int_eq(status[2], 0);
	ck_assert_int_eq(status[3], -EEXIST);
	expect_lent(1);
	ck_assert_int_eq(publish(p, 2, status), -EEXIST);
	ck_assert_int_eq(status[1], -EEXIST);
	ck_assert_int_eq(ckv_abort(lane, p, 2, status), -EEXIST);
	ck_assert_int_eq(status[0], -EEXIST);
	expect_lent(1);
	ck_assert_int_eq(publish(p, 3, status), 1);
	ck_assert(stored(2));
	expect_lent(0);
}
END_TEST

/* The pin is there exactly if the last page was published by this call. */
START_TEST(last_page_decides_over_the_pin)
{
	struct ckv_page p[4], list[2];
	int32_t status[2];
	struct ckv_pin pin;

	borrow(-1, 0, 4, p);
	memset(&pin, 0x5a, sizeof pin);
	ck_assert_int_eq(ckv_publish(lane, &p[1], 1, TOKENS, CKV_SUM, NULL,
				     status, &pin), -ENOENT);
	ck_assert_int_eq(((uint8_t *)&pin)[0], 0x5a);
	list[0] = p[0], list[1] = p[2];
	ck_assert_int_eq(ckv_publish(lane, list, 2, TOKENS, CKV_SUM, NULL,
				     status, &pin), 1);
	ck_assert_uint_eq(pin.n_blocks, 0);
	ck_assert_uint_eq(lane->n_pins_held, 0);
	ckv_unpin(lane, &pin);
	list[0] = p[0], list[1] = p[1];
	ck_assert_int_eq(ckv_publish(lane, list, 2, TOKENS, CKV_SUM, NULL,
				     status, &pin), 1);
	ck_assert_int_eq(status[0], -EEXIST);
	ck_assert_uint_eq(pin.n_blocks, 1);
	ck_assert_uint_eq(lane->n_pins_held, 1);
	ck_assert_int_eq(ckv_drop(lane, keys[1], 1, status), 0);
	ck_assert_int_eq(status[0], -EBUSY);
	ckv_unpin(lane, &pin);
	ck_assert_uint_eq(lane->n_pins_held, 0);
	/* Not of a repetition: its block may be another one meanwhile. */
	ck_assert_int_eq(ckv_abort(lane, &p[3], 1, NULL), 1);
	list[0] = p[2], list[1] = p[1];
	ck_assert_int_eq(ckv_publish(lane, list, 2, TOKENS, CKV_SUM, NULL,
				     NULL, &pin), 1);
	ck_assert_uint_eq(pin.n_blocks, 0);
	ck_assert_uint_eq(lane->n_pins_held, 0);
}
END_TEST

/* A request that fails as a whole says so of each page, and they stay lent. */
START_TEST(refused_request_tells_each_page)
{
	struct ckv_event event;
	struct ckv_page p[3];
	int32_t status[3] = { 1, 1, 1 };
	uint64_t tag = 0;
	int r;

	borrow(-1, 0, 2, p);
	ck_assert_int_eq(ckv_publish(lane, p, 2, TOKENS + 1, CKV_SUM, NULL,
				     status, NULL), -EINVAL);
	ck_assert_int_eq(status[0], -EINVAL);
	ck_assert_int_eq(status[1], -EINVAL);
	expect_lent(2);
	ck_assert_int_eq(ckv_reserve_scratch(lane, 1, &p[2]), 0);
	ck_assert_int_eq(publish(p, 3, status), 2);
	ck_assert_int_eq(status[2], -EINVAL);
	expect_lent(1);
	/* One that an abort passes over has its own status also then. */
	p[1].status = -EXFULL;
	for (r = 0; r == 0; tag++)
		r = ckv_submit_nop(lane, tag);
	ck_assert_int_eq(ckv_abort(lane, &p[1], 2, status), -EAGAIN);
	ck_assert_int_eq(status[0], -EXFULL);
	ck_assert_int_eq(status[1], -EAGAIN);
	for (tag--; tag > 0; tag--)
		ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 1);
	ck_assert_int_eq(ckv_abort(lane, &p[2], 1, NULL), 1);
	expect_lent(0);
}
END_TEST

/* The answers of a publish that nobody waits for come with its event. */
START_TEST(submitted_publish_tells_each_page)
{
	struct ckv_page p[2], list[2];
	int32_t status[2] = { 1, 1 };
	struct ckv_event event;

	borrow(-1, 0, 2, p);
	list[0] = p[1], list[1] = p[0];
	ck_assert_int_eq(ckv_submit_publish(lane, list, 2, TOKENS, NULL, status,
					    5), 0);
	ck_assert_int_eq(status[0], 1);
	ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 1);
	ck_assert_uint_eq(event.tag, 5);
	ck_assert_int_eq(event.result, 1);
	ck_assert_int_eq(status[0], -ENOENT);
	ck_assert_int_eq(status[1], 0);
	expect_lent(1);
}
END_TEST

/* ---- abort ---- */

/* What went with an aborted parent is told to whoever holds it, and only once over. */
START_TEST(holders_learn_what_went)
{
	struct ckv_page parent, child, grandchild, next[3];
	int32_t status;

	borrow(-1, 0, 1, &parent);
	borrow(0, 1, 1, &child);
	borrow(1, 2, 1, &grandchild);
	ck_assert_int_eq(ckv_abort(lane, &parent, 1, &status), 1);
	ck_assert_int_eq(lent_there(), 0);
	ck_assert_int_eq(publish(&child, 1, &status), -ECANCELED);
	ck_assert_int_eq(status, -ECANCELED);
	/* Their memory is lent for other keys; they are not taken for these. */
	borrow(-1, 3, 3, next);
	ck_assert_int_eq(publish(&child, 1, NULL), -ESTALE);
	ck_assert_int_eq(publish(&grandchild, 1, NULL), -ESTALE);
	ck_assert_int_eq(ckv_abort(lane, &grandchild, 1, NULL), -ESTALE);
	for (uint32_t i = 0; i < 6; i++)
		ck_assert(!stored(i));
	expect_lent(3);
	ck_assert_int_eq(publish(next, 3, NULL), 3);
	for (uint32_t i = 3; i < 6; i++)
		ck_assert(stored(i));
	expect_lent(0);
}
END_TEST

/* A chain is given back page by page, whichever way round it is listed. */
START_TEST(chains_are_given_back)
{
	struct ckv_page p[4];
	int32_t status[4];

	for (int way = 0; way < 2; way++) {
		borrow(-1, 0, 4, p);
		for (int i = 0; way == 1 && i < 2; i++) {
			struct ckv_page swap = p[i];

			p[i] = p[3 - i];
			p[3 - i] = swap;
		}
		p[1].status = -EALREADY;	/* as if it was not lent */
		ck_assert_int_eq(ckv_abort(lane, p, 4, status), way == 0 ? 3 : 1);
		ck_assert_int_eq(status[0], way == 0 ? 0 : -ECANCELED);
		ck_assert_int_eq(status[1], -EALREADY);
		ck_assert_int_eq(status[2], way == 0 ? 0 : -ECANCELED);
		ck_assert_int_eq(status[3], 0);
		p[1].status = 0;
		ck_assert_int_eq(ckv_abort(lane, p, 4, status), -ECANCELED);
		expect_lent(0);
	}
	p[0].status = -ENOENT;
	ck_assert_int_eq(ckv_abort(lane, p, 1, status), 0);
	ck_assert_int_eq(status[0], -ENOENT);
}
END_TEST

/* A page is its lane's: another one is refused and takes nothing away. */
START_TEST(another_lanes_page_is_refused)
{
	struct ckv_lane *other = another_lane();
	struct ckv_page p[2];
	int32_t status;

	borrow(-1, 0, 2, p);
	ck_assert_int_eq(ckv_publish(other, p, 1, TOKENS, 0, NULL, &status,
				     NULL), -ESTALE);
	ck_assert_int_eq(status, -ESTALE);
	ck_assert_int_eq(ckv_abort(other, p, 2, NULL), -ESTALE);
	expect_lent(2);
	ck_assert_int_eq(publish(p, 2, NULL), 2);
	expect_lent(0);
}
END_TEST

/* ---- scratch ---- */

/* All or nothing: a refusal says why, leaves ret_pages alone and holds nothing. */
START_TEST(scratch_is_all_or_nothing)
{
	struct ckv_page *p = malloc(KEYS * sizeof *p);
	struct ckv_page *more = malloc(KEYS * sizeof *more);
	uint32_t n = PAGES;

	memset(p, 0x5a, KEYS * sizeof *p);
	memcpy(more, p, KEYS * sizeof *more);
	ck_assert_int_eq(ckv_reserve_scratch(lane, n + 1, p), -ENOSPC);
	ck_assert_int_eq(ckv_reserve_scratch(lane, 1025, p), -EINVAL);
	ck_assert_mem_eq(p, more, KEYS * sizeof *p);
	expect_lent(0);
	ck_assert_int_eq(ckv_reserve_scratch(lane, n, p), 0);
	ck_assert_int_eq(ckv_reserve_scratch(lane, 1, more), -ENOSPC);
	expect_lent(n);
	ck_assert_int_eq(ckv_abort(lane, p, n, NULL), n);
	expect_lent(0);
	free(more);
	free(p);
}
END_TEST

/* ---- death of the daemon ---- */

/* A page of a dead daemon is never taken for what its successor lent. */
START_TEST(another_daemons_page_is_refused)
{
	struct ckv_page x, z, both[2];
	int32_t status[2];
	uint64_t sum = 1;

	borrow(-1, 0, 1, &x);
	test_daemon_kill(&daemon_);
	ck_assert_int_eq(ckv_publish(lane, &x, 1, TOKENS, CKV_SUMMED, &sum,
				     status, NULL), -ESTALE);
	ck_assert_int_eq(status[0], -ESTALE);
	ck_assert_uint_eq(lane->lent.n, 0);
	restart();
	ck_assert_ptr_null(lane->olds);
	borrow(-1, 1, 1, &z);
	ck_assert_uint_eq(z.page, x.page);
	both[0] = x, both[1] = z;
	ck_assert_int_eq(publish(&x, 1, NULL), -ESTALE);
	ck_assert_int_eq(ckv_abort(lane, &x, 1, NULL), -ESTALE);
	ck_assert(!stored(1));
	expect_lent(1);
	ck_assert_int_eq(publish(both, 2, status), 1);
	ck_assert_int_eq(status[0], -ESTALE);
	ck_assert_int_eq(status[1], 0);
	ck_assert(!stored(0) && stored(1));
	expect_lent(0);
}
END_TEST

/* What is under way when the daemon dies is over, and is told so. */
START_TEST(lost_requests_give_back)
{
	struct ckv_page p[3];
	int32_t status[2] = { 1, 1 };
	struct ckv_event event;

	borrow(-1, 0, 3, p);
	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(ckv_submit_publish(lane, p, 2, TOKENS, NULL, status,
					    1), 0);
	test_daemon_kill(&daemon_);
	ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 1);
	ck_assert_int_eq(event.result, -ESTALE);
	ck_assert_int_eq(status[0], -ESTALE);
	ck_assert_int_eq(status[1], -ESTALE);
	ck_assert_uint_eq(lane->lent.n, 1);
	test_daemon_restart(&daemon_);
	restart();
	ck_assert_ptr_nonnull(lane->olds);
	memset(p[2].data, 1, info.page_bytes);
	ck_assert_int_eq(ckv_abort(lane, p, 3, NULL), -ESTALE);
	ck_assert_ptr_null(lane->olds);
}
END_TEST

/* Old maps stay for what is lent in them, once for each page however often named. */
START_TEST(old_maps_stay_for_lent_pages_alone)
{
	struct ckv_page p[4], kept[2];

	borrow(-1, 0, 4, p);
	borrow(-1, 10, 2, kept);
	ck_assert_int_eq(ckv_abort(lane, p, 1, NULL), 1);
	restart();
	ck_assert_ptr_nonnull(lane->olds);
	ck_assert_uint_eq(lane->olds->lent.n, 2);
	memset(kept[0].data, 1, info.page_bytes);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(publish(kept, 1, NULL), -ESTALE);
	memset(kept[1].data, 1, info.page_bytes);
	ck_assert_uint_eq(lane->olds->lent.n, 1);
	ck_assert_int_eq(publish(&kept[1], 1, NULL), -ESTALE);
	ck_assert_ptr_null(lane->olds);
	/* All of a chain went with its first page: nothing holds the maps. */
	borrow(-1, 0, 4, p);
	ck_assert_int_eq(ckv_abort(lane, p, 1, NULL), 1);
	restart();
	ck_assert_ptr_null(lane->olds);
}
END_TEST

/* ---- pages that cannot be mapped ---- */

static struct rlimit descriptors;

/* No descriptor more, from now on. */
static void limit_descriptors(void)
{
	struct rlimit none;
	int top = dup(0);

	close(top);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &descriptors), 0);
	none = descriptors;
	none.rlim_cur = (rlim_t)top;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void allow_descriptors(void)
{
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &descriptors), 0);
}

/* Lend what is left of the first slab, so that the next page is of the second. */
static void fill_slab(struct ckv_page *pages)
{
	borrow(-1, 0, 1, pages);
	ck_assert_int_eq(ckv_reserve_scratch(lane, SLAB_PAGES - 1, pages + 1), 0);
	for (int i = 0; i < SLAB_PAGES; i++)
		ck_assert_uint_lt(pages[i].page, SLAB_PAGES);
}

/* Such a page goes back with what follows it: nobody sees what the daemon has. */
START_TEST(unmappable_pages_go_back)
{
	struct ckv_page held[SLAB_PAGES], p[4], after;
	struct ckv_event event;

	fill_slab(held);
	ck_assert_int_eq(ckv_abort(lane, &held[SLAB_PAGES - 1], 1, NULL), 1);
	for (int i = 0; i < 2; i++) {
		limit_descriptors();
		ck_assert_int_eq(ckv_submit_reserve(lane, NULL, keys[1], 4, p,
						    1), 0);
		ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 1);
		ck_assert_int_eq(event.result, 1);
		ck_assert_int_eq(p[0].status, 0);
		ck_assert_int_eq(p[1].status, -EMFILE);
		ck_assert_int_eq(p[2].status, -ECANCELED);
		ck_assert_int_eq(p[3].status, -ECANCELED);
		for (int k = 1; k < 4; k++)
			ck_assert_ptr_null(p[k].data);
		/* What the library gives back by itself is waited for by nobody. */
		ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 0);
		ck_assert_int_eq(ckv_submit_nop(lane, 2), 0);
		ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 1);
		allow_descriptors();
		expect_lent(SLAB_PAGES);
		ck_assert_int_eq(ckv_abort(lane, p, 1, NULL), 1);
	}
	ck_assert_int_eq(ckv_reserve(lane, NULL, keys[1], 4, p), 4);
	ck_assert_int_eq(publish(p, 4, NULL), 4);
	ck_assert_int_eq(ckv_reserve(lane, keys[4], keys[5], 1, &after), 1);
	memset(after.data, 1, info.page_bytes);
	expect_lent(SLAB_PAGES);
}
END_TEST

/* Neither a failed reserve nor a failed scratch makes the library forget a page. */
START_TEST(unmappable_pages_take_nothing_away)
{
	struct ckv_page held[SLAB_PAGES], p[3];

	fill_slab(held);
	limit_descriptors();
	ck_assert_int_eq(ckv_reserve(lane, NULL, keys[1], 3, p), 0);
	ck_assert_int_eq(p[0].status, -EMFILE);
	memset(p, 0x5a, sizeof p);
	ck_assert_int_eq(ckv_reserve_scratch(lane, 3, p), -EMFILE);
	ck_assert_int_eq(p[0].status, 0x5a5a5a5a);
	allow_descriptors();
	ck_assert_uint_eq(lane->lent.n, SLAB_PAGES);
	restart();
	memset(held[0].data, 1, info.page_bytes);
	ck_assert_uint_eq(lane->olds->lent.n, SLAB_PAGES);
	ck_assert_int_eq(ckv_abort(lane, held, SLAB_PAGES, NULL), -ESTALE);
	ck_assert_ptr_null(lane->olds);
}
END_TEST

/* ---- the set ---- */

/* It holds what was put in and not taken out, whatever the order. */
START_TEST(set_is_exact)
{
	static uint8_t in[KEYS][3];
	struct lib_lent_set set = { .n = 0 };
	uint32_t rng = 12345, n = 0;

	for (int step = 0; step < 200000; step++) {
		uint32_t page, which, most = step < 100000 ? KEYS : 40;

		rng = rng * 1664525u + 1013904223u;
		page = (rng >> 8) % most;
		which = rng >> 30 & 1;
		if (rng & 1u << 29) {
			ck_assert_int_eq(lib_lent_remove(&set, page * 64,
							 which + 1),
					 in[page][which]);
			n -= in[page][which];
			in[page][which] = 0;
		} else {
			ck_assert_int_eq(lib_lent_add(&set,
				&(struct lib_lending){ page * 64, which + 1,
						       CKV_NONE, 0 }), 0);
			n += !in[page][which];
			in[page][which] = 1;
		}
		ck_assert_uint_eq(set.n, n);
	}
	ck_assert_int_eq(lib_lent_remove(&set, 3, 0), 0);
	lib_lent_free(&set);
	ck_assert_int_eq(lib_lent_remove(&set, 0, 1), 0);
}
END_TEST

CHECK_MAIN("lib_pages",
	CASE("pages", .setup = setup, .teardown = teardown),
	TEST(each_page_is_told),
	TEST(repetition_is_harmless),
	TEST(last_page_decides_over_the_pin),
	TEST(refused_request_tells_each_page),
	TEST(submitted_publish_tells_each_page),
	TEST(holders_learn_what_went),
	TEST(chains_are_given_back),
	TEST(another_lanes_page_is_refused),
	TEST(scratch_is_all_or_nothing),
	TEST(another_daemons_page_is_refused),
	TEST(lost_requests_give_back),
	TEST(old_maps_stay_for_lent_pages_alone),
	TEST(unmappable_pages_go_back),
	TEST(unmappable_pages_take_nothing_away),
	CASE("set"),
	TEST(set_is_exact))
