/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_faults.c - libckv when a call of its own to the kernel fails, each once.
 *
 * Whatever fails: the call says so with that error or gets along without it, no
 * descriptor and no mapping is lost, the daemon keeps nothing, the connection's
 * other lane goes on with its pin, and the same call works afterwards.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"
#include "tests/lib/wait.h"

enum { CALLS_MAX = 500 };

static const int errors[] = { ENOMEM, EMFILE };

/* Limits so small that what is left behind at the daemon is soon in the way. */
static const char params[] = "max_clients = 8\nmax_client_lanes = 3\n";
static const char spaces[] = TEST_SPACE_TINY
	TEST_SPACE("other", "pool = 8M\nslab = 2M\n");

static struct test_daemon daemon_;
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_pin held;
static uint8_t key[32] = { 1, 2, 3 };

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

/* Ranges without access are the library's, unless ASan has put its own among them. */
#ifdef __SANITIZE_ADDRESS__
enum { RANGES_COUNT = 0 };
#else
enum { RANGES_COUNT = 1 };
#endif

/* Of the daemon's memory and of ranges kept free for it. */
static unsigned long mapped_bytes(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, to, sum = 0;
	char line[512], how[8];

	while (fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "%lx-%lx %7s", &from, &to, how) == 3 &&
		    (strstr(line, "memfd:ckv") ||
		     (RANGES_COUNT && strcmp(how, "---p") == 0)))
			sum += to - from;
	fclose(f);
	return sum;
}

static void setup(void)
{
	struct ckv_handle handle;
	struct ckv_page page;

	lib_reattach_ns = 5000000;
	test_daemon_start(&daemon_, params, spaces);
	test_attach(&daemon_, &ckv, &space, &lane);
	ck_assert_int_eq(ckv_reserve(lane, NULL, key, 1, &page), 1);
	memset(page.data, 7, CKV_PIECE_BYTES);
	ck_assert_int_eq(ckv_publish(lane, &page, 1, 16, CKV_SUM, NULL, NULL, NULL), 1);
	ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &held), 1);
}

static void teardown(void)
{
	ckv_unpin(lane, &held);
	ckv = ckv_close(ckv);
	ck_assert_ptr_null(ckv);
	test_daemon_remove(&daemon_);
}

static long found(void)
{
	struct ckv_handle handle;
	struct ckv_pin pin;
	long n = ckv_lookup(lane, key, 1, 0, &handle, &pin);

	if (n > 0)
		ckv_unpin(lane, &pin);
	return n;
}

/* Let the nth call of `step` fail. Were there so many? *ret_r: its result. */
static int with_fault(int (*step)(void), int nth, int error, int *ret_r)
{
	long calls = lib_sys_fault_calls();

	lib_sys_fault_arm(nth, error);
	*ret_r = step();
	calls = lib_sys_fault_calls() - calls;
	lib_sys_fault_arm(0, 0);
	return calls >= nth;
}

/*
 * Each call of `step` fails once, with each error. `undo` ends what it opened;
 * `step` says 0 or -errno.
 */
static void each_fails(int (*step)(void), void (*undo)(void), int least)
{
	unsigned long mapped = mapped_bytes();
	int fds = open_fds(), nth, r;

	for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
		for (nth = 1; with_fault(step, nth, errors[e], &r); nth++) {
			ck_assert_int_lt(nth, CALLS_MAX);
			/* Where memory is asked for there is but one error. */
			ck_assert_msg(r == 0 || r == -errors[e] ||
				      r == -ENOMEM, "call %d: %d, not %d", nth,
				      r, -errors[e]);
			if (r == 0)
				undo();
			ck_assert_int_eq(open_fds(), fds);
			ck_assert_uint_eq(mapped_bytes(), mapped);
			if (lane != NULL) {
				ck_assert_int_eq(found(), 1);
				ck_assert_int_eq(ckv_pin_valid(lane, &held), 0);
			}
			ck_assert_int_eq(step(), 0);
			undo();
		}
		ck_assert_int_gt(nth, least);
		ck_assert_int_eq(r, 0);
		undo();
		ck_assert_int_eq(open_fds(), fds);
	}
}

static struct ckv *other;

static int open_other(void)
{
	int r = ckv_open(daemon_.socket, "other", &other);

	if (r < 0)
		ck_assert_str_ne(ckv_why(NULL), "");
	return r;
}

static void close_other(void)
{
	ck_assert_ptr_null(ckv_close(other));
}

START_TEST(open_survives_any_failure)
{
	each_fails(open_other, close_other, 12);
}
END_TEST

static struct ckv_space *other_space;

static int attach_other(void)
{
	return ckv_attach(ckv, "other", NULL, CKV_WRITE, &other_space);
}

static void detach_other(void)
{
	ck_assert_ptr_null(ckv_detach(other_space));
}

START_TEST(attach_survives_any_failure)
{
	each_fails(attach_other, detach_other, 20);
}
END_TEST

static struct ckv_lane *other_lane;

static int open_lane(void)
{
	return ckv_lane_open(space, NULL, &other_lane);
}

static void close_lane(void)
{
	ck_assert_ptr_null(ckv_lane_close(other_lane));
}

START_TEST(lane_survives_any_failure)
{
	each_fails(open_lane, close_lane, 14);
}
END_TEST

static uint8_t keys[4 * 32];

/* The page of a chain whose slab is not mapped yet, or why not. */
static int reserve_first(void)
{
	struct ckv_page page[4];
	long n = ckv_reserve(other_lane, NULL, keys, 4, page);
	int r = 0;

	ck_assert_int_ge(n, 0);
	for (int i = 0; i < 4; i++) {
		if (page[i].status == 0)
			memset(page[i].data, i, CKV_PIECE_BYTES);
		else if (r == 0)
			r = page[i].status;
	}
	if (n > 0)
		ck_assert_int_ge(ckv_abort(other_lane, page, 4, NULL), 1);
	return r;
}

/* A slab that could not be mapped is a status of its pages; the lane lives. */
START_TEST(slab_survives_any_failure)
{
	int nth = 0, more = 1, r;

	memset(keys, 9, sizeof keys);
	for (int i = 0; i < 4; i++)
		keys[32 * i] = (uint8_t)i;
	for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
		for (nth = 1, more = 1; more; nth++) {
			ck_assert_int_lt(nth, CALLS_MAX);
			ck_assert_int_eq(attach_other(), 0);
			ck_assert_int_eq(ckv_lane_open(other_space, NULL,
						       &other_lane), 0);
			more = with_fault(reserve_first, nth, errors[e], &r);
			ck_assert_msg(r == 0 || r == -errors[e] ||
				      r == -ENOMEM || r == -EAGAIN,
				      "call %d: %d", nth, r);
			ck_assert_int_eq(reserve_first(), 0);
			ck_assert_int_eq(reserve_first(), 0);
			detach_other();
			ck_assert_int_eq(found(), 1);
		}
		ck_assert_int_gt(nth, 6);
	}
}
END_TEST

/* Look up until the lane finds again what is stored; what comes between is a miss. */
static int find_again(void)
{
	for (int i = 0; i < WAIT_MOMENTS; i++) {
		long n = found();

		ck_assert_int_ge(n, 0);
		if (n == 1)
			return 0;
		wait_moment();
	}
	return -ETIMEDOUT;
}

/*
 * The connection breaks and the daemon lives: the lane comes back, whichever call fails on
 * the way. What it had is given up, or there would soon be no place for another client.
 */
START_TEST(reattach_survives_any_failure)
{
	int fds = open_fds(), nth, r, e = errors[_i];
	unsigned long mapped = mapped_bytes();

	for (nth = 1; ; nth++) {
		int more;

		ck_assert_int_lt(nth, CALLS_MAX);
		shutdown(ckv->sock, SHUT_RDWR);
		while (ckv_lane_state(lane->d) == 0)
			;
		more = with_fault(find_again, nth, e, &r);
		ck_assert_int_eq(r, 0);
		/* What is pinned of before is still there, and goes when given back. */
		ckv_unpin(lane, &held);
		ck_assert_int_eq(ckv_lookup(lane, key, 1, 0,
					    &(struct ckv_handle){ 0 }, &held), 1);
		ck_assert_ptr_null(lane->olds);
		ck_assert_int_eq(open_fds(), fds);
		/* The writable half comes back when a page is lent. */
		ck_assert_uint_le(mapped_bytes(), mapped);
		if (!more)
			break;
	}
	ck_assert_int_gt(nth, 30);
}
END_TEST

/* The same after the daemon died, for some of them: each takes a restart. */
START_TEST(restart_survives_a_failure)
{
	int fds = open_fds(), r;

	for (int nth = 1; nth < 60; nth += 3) {
		test_daemon_kill(&daemon_);
		test_daemon_restart(&daemon_);
		lib_sys_fault_arm(nth, errors[nth % 2]);
		for (r = 0; !lib_lane_alive(lane) && r < WAIT_MOMENTS; r++) {
			ck_assert_int_eq(found(), 0);
			wait_moment();
		}
		lib_sys_fault_arm(0, 0);
		ck_assert(lib_lane_alive(lane));
		ckv_unpin(lane, &held);
		ck_assert_ptr_null(lane->olds);
		ck_assert_int_eq(open_fds(), fds);
	}
}
END_TEST

CHECK_MAIN("lib_faults",
	CASE("faults", .setup = setup, .teardown = teardown, .timeout = 100),
	TEST(open_survives_any_failure),
	TEST(attach_survives_any_failure),
	TEST(lane_survives_any_failure),
	TEST(slab_survives_any_failure),
	LOOP(reattach_survives_any_failure, 2),
	TEST(restart_survives_a_failure))
