/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_adopted.c - libckv and a daemon that takes over the memory of the one before: what
 * the client holds of before is honoured, until it gives that back.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/lib.h"
#include "proto/ckv_stats.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"
#include "tests/lib/manager.h"
#include "tests/lib/wait.h"
#include "tests/lib/wire.h"

static struct test_daemon daemon_;
static struct test_manager *manager;
static char folder[FOLDER_BYTES];
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_space_info info;

static void setup(void)
{
	folder_make(folder);
	manager = manager_start(folder);
	test_daemon_before(manager_pass, manager);
	test_daemon_start(&daemon_, NULL, TEST_SPACE("tiny", "pool = 4M\nslab = 2M\n"));
	test_attach(&daemon_, &ckv, &space, &lane);
	ckv_space_get_info(space, &info);
}

static void teardown(void)
{
	ckv = ckv_close(ckv);
	test_daemon_remove(&daemon_);
	manager_stop(manager);
	folder_remove(folder);
}

struct key {
	uint8_t byte[32];
};

static struct key key_of(uint32_t i)
{
	struct key key = { { 0 } };

	memcpy(key.byte, &i, sizeof i);
	key.byte[31] = 1;
	return key;
}

/* A page of this key: 0, or its status. */
static int reserve(struct ckv_lane *l, uint32_t i, struct ckv_page *ret_page)
{
	struct key key = key_of(i);

	ck_assert_int_ge(ckv_reserve(l, NULL, key.byte, 1, ret_page), 0);
	return ret_page->status;
}

static int store(struct ckv_lane *l, uint32_t i)
{
	struct ckv_page page;
	int r = reserve(l, i, &page);

	if (r < 0)
		return r;
	memset(page.data, (int)i, info.page_bytes);
	ck_assert_int_eq(ckv_publish(l, &page, 1, 16, CKV_SUM, NULL, NULL, NULL), 1);
	return 0;
}

/* Its bytes; it stays pinned. NULL: not found. */
static const uint8_t *find(struct ckv_lane *l, uint32_t i, struct ckv_pin *ret_pin)
{
	struct ckv_handle handle = { .data = NULL };
	struct key key = key_of(i);

	return ckv_lookup(l, key.byte, 1, CKV_VERIFY, &handle, ret_pin) == 1 ?
	       handle.data : NULL;
}

static bool is_there(struct ckv_lane *l, uint32_t i)
{
	struct ckv_pin pin;
	bool found = find(l, i, &pin) != NULL;

	ckv_unpin(l, &pin);
	return found;
}

/* Forget a block: 0, or -EBUSY while it is pinned. */
static int drop(uint32_t i)
{
	struct key key = key_of(i);
	int32_t status;

	ck_assert_int_ge(ckv_drop(lane, key.byte, 1, &status), 0);
	return status;
}

static bool attached(struct ckv_lane *l)
{
	(void)is_there(l, 0);
	return lib_lane_alive(l) && ckv_lane_state(l->d) == 0;
}

static void restart(bool in_order)
{
	if (in_order)
		ck_assert_int_eq(test_daemon_stop(&daemon_), 0);
	else
		test_daemon_kill(&daemon_);
	test_daemon_restart(&daemon_);
	WAIT_UNTIL(attached(lane));
	ck_assert(attached(lane));
}

/* What the daemon shows of the space and of all. */
static struct ckv_space_stats shown(struct ckv_global_stats *ret_all)
{
	union wire m = { .attach = { .space = "tiny", .access = CKV_ACCESS_STATS,
				     .any_geometry = CKV_WANT_ANY } };
	int fd = wire_dial(&daemon_), fds[4];
	struct ckv_space_stats stats;

	wire_hello(fd, fds);
	close(fds[0]);
	ck_assert_int_eq(pread(fds[1], ret_all, sizeof *ret_all, 4096),
			 sizeof *ret_all);
	close(fds[1]);
	wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
	wire_send(fd, &m, sizeof m.attach, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, &m, fds), CKV_ATTACHED);
	ck_assert_int_eq(pread(fds[0], &stats, sizeof stats, 0), sizeof stats);
	close(fds[0]);
	close(fd);
	return stats;
}

static uint64_t pages_lent(void)
{
	struct ckv_global_stats all;

	return shown(&all).pages_lent;
}

static uint64_t lanes_of_before(void)
{
	struct ckv_global_stats all;

	(void)shown(&all);
	return all.lanes_of_before;
}

/* Write more than the pool holds, so that all that may go goes. */
static void press(struct ckv_lane *l, uint32_t from)
{
	for (uint32_t i = from; i < from + 3 * info.n_block_pages; i++)
		ck_assert_int_eq(store(l, i), 0);
}

/*
 * The pool is the same memory at the same place. A block that was pinned before stays
 * while all others leave, also over a second restart, and goes when it is unpinned.
 */
START_TEST(a_pin_of_before_is_honoured)
{
	const struct lib_pool *pool = space->maps->pool;
	const uint8_t *data;
	struct ckv_pin pin;

	ck_assert_int_eq(store(lane, 7), 0);
	ck_assert_int_eq(store(lane, 8), 0);
	data = find(lane, 7, &pin);
	ck_assert_ptr_nonnull(data);
	for (int n = 0; n < 2; n++) {
		restart(_i == n);
		ck_assert_ptr_eq(space->maps->pool, pool);
		ck_assert_int_eq(ckv_pin_valid(lane, &pin), -ESTALE);
		ck_assert(is_there(lane, 7));
		press(lane, 1000);
		ck_assert(!is_there(lane, 8));
		ck_assert(is_there(lane, 7));
		for (size_t i = 0; i < info.page_bytes; i++)
			ck_assert_uint_eq(data[i], 7);
		ck_assert_int_eq(drop(7), -EBUSY);
		ck_assert_uint_eq(lanes_of_before(), 1);
	}
	ckv_unpin(lane, &pin);
	ck_assert_ptr_null(lane->olds);
	ck_assert_int_eq(drop(7), 0);
	WAIT_UNTIL(lanes_of_before() == 0);
	ck_assert_uint_eq(lanes_of_before(), 0);
}
END_TEST

/* Each of several pins of before ends by itself, not with the last of them. */
START_TEST(pins_of_before_end_one_by_one)
{
	struct ckv_pin pin[3];

	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_int_eq(store(lane, i), 0);
		ck_assert_ptr_nonnull(find(lane, i, &pin[i]));
	}
	restart(false);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_eq(drop(i), -EBUSY);
	for (uint32_t i = 0; i < 3; i++) {
		ckv_unpin(lane, &pin[i]);
		ck_assert_int_eq(drop(i), 0);
		for (uint32_t k = i + 1; k < 3; k++)
			ck_assert_int_eq(drop(k), -EBUSY);
	}
}
END_TEST

/* A page that was lent before is nobody else's until its owner is done with it. */
START_TEST(a_page_of_before_stays_lent)
{
	struct ckv_page old, page, all[64];
	uint32_t n = 0;
	int32_t status;

	ck_assert_int_eq(reserve(lane, 7, &old), 0);
	restart(_i == 1);
	ck_assert_uint_eq(pages_lent(), 1);
	/* Its key is free, and all other pages can be lent. */
	ck_assert_int_eq(reserve(lane, 7, &page), 0);
	ck_assert_uint_ne(page.page, old.page);
	ck_assert_int_eq(ckv_abort(lane, &page, 1, NULL), 1);
	memset(old.data, 3, info.page_bytes);
	for (; n < 64 && reserve(lane, 100 + n, &all[n]) == 0; n++)
		ck_assert_uint_ne(all[n].page, old.page);
	ck_assert_int_eq(ckv_abort(lane, all, n, NULL), n);
	if (_i == 0)
		ck_assert_int_eq(ckv_publish(lane, &old, 1, 16, CKV_SUM, NULL,
					     &status, NULL), -ESTALE);
	else
		ck_assert_int_eq(ckv_abort(lane, &old, 1, &status), -ESTALE);
	ck_assert_int_eq(status, -ESTALE);
	ck_assert_ptr_null(lane->olds);
	/* The lane of before is being closed at this daemon. */
	ck_assert_int_eq((int)ckv->call.pending, LIB_DONE);
	WAIT_UNTIL(pages_lent() == 0);
	ck_assert_uint_eq(pages_lent(), 0);
	ck_assert(!is_there(lane, 7));
}
END_TEST

/* A child that ends, or closes what it cannot use, ends nothing of its parent's. */
START_TEST(a_forked_child_holds_and_ends_nothing)
{
	struct ckv_page page;
	struct ckv_pin pin;
	pid_t child;
	int status;

	ck_assert_int_eq(store(lane, 7), 0);
	ck_assert_ptr_nonnull(find(lane, 7, &pin));
	ck_assert_int_eq(reserve(lane, 9, &page), 0);
	restart(false);
	child = fork();
	if (child == 0) {
		ckv_unpin(lane, &pin);
		ckv_close(ckv);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(drop(7), -EBUSY);
	ck_assert_uint_eq(pages_lent(), 1);
	ckv_unpin(lane, &pin);
	ck_assert_int_eq(drop(7), 0);
}
END_TEST

/* Requests that are under way end once, with -ESTALE, and the descriptor says so. */
START_TEST(requests_end_once)
{
	struct pollfd p = { .fd = ckv_event_fd(ckv), .events = POLLIN };
	struct ckv_event event[8];
	struct ckv_page page;
	struct key key = key_of(1), missing = key_of(2);
	int n = 0;

	ck_assert_int_eq(ckv_event_arm(lane), 0);
	ck_assert_int_eq(reserve(lane, 2, &page), 0);
	ck_assert_int_eq(ckv_submit_prefetch(lane, missing.byte, 1, CKV_HOST, -1, 0,
					     NULL, NULL, 11), 0);
	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(ckv_submit_reserve(lane, NULL, key.byte, 1, &page, 12), 0);
	ck_assert_int_eq(ckv_submit_nop(lane, 13), 0);
	test_daemon_kill(&daemon_);
	test_daemon_restart(&daemon_);
	ck_assert_int_eq(poll(&p, 1, 5000), 1);
	for (int i = 0; n < 3 && i < WAIT_MOMENTS; i++) {
		int r = ckv_poll(lane, event + n, 8 - n);

		ck_assert(r >= 0 || r == -ESTALE);
		n += r > 0 ? r : 0;
		wait_moment();
	}
	ck_assert_int_eq(n, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(event[i].result, -ESTALE);
	WAIT_UNTIL(attached(lane));
	ck_assert_int_eq(ckv_poll(lane, event, 8), 0);
	ck_assert_int_eq(ckv_submit_nop(lane, 14), 0);
	ck_assert_int_eq(ckv_wait(lane, -1, event, 8), 1);
	ck_assert_uint_eq(event[0].tag, 14);
	ck_assert_int_eq(event[0].result, 0);
}
END_TEST

/* ---- two threads ---- */

static struct ckv_lane *other;
static _Atomic int go_on, n_wrong, n_rounds;

/* Pin a block, read it for a while, whatever happens to the daemon, and give it back. */
static void *read_on(void *unused)
{
	struct ckv_pin pin;

	while (atomic_load(&go_on)) {
		const uint8_t *data = find(other, 7, &pin);

		for (size_t i = 0; data != NULL && i < 200 * info.page_bytes; i++)
			if (*(volatile const uint8_t *)&data[i % info.page_bytes] != 7)
				atomic_fetch_add(&n_wrong, 1);
		if (data != NULL)
			atomic_fetch_add(&n_rounds, 1);
		ckv_unpin(other, &pin);
	}
	return unused;
}

/*
 * One thread reads under pins of its lane, the other finds the next daemon and has it
 * evict all that it may. What the first reads never changes.
 */
START_TEST(one_reads_while_the_other_attaches)
{
	pthread_t thread;

	ck_assert_int_eq(ckv_lane_open(space, NULL, &other), 0);
	ck_assert_int_eq(store(lane, 7), 0);
	atomic_store(&go_on, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, read_on, NULL), 0);
	for (uint32_t n = 0; n < 6; n++) {
		restart(n % 2);
		press(lane, 1000 * (n + 1));
		if (!is_there(lane, 7))	/* it was not pinned just then */
			ck_assert_int_eq(store(lane, 7), 0);
	}
	atomic_store(&go_on, 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(atomic_load(&n_wrong), 0);
	ck_assert_int_gt(atomic_load(&n_rounds), 0);
}
END_TEST

/* ---- many restarts ---- */

/* Lanes that were left are closed at whichever daemon there is: none stays anywhere. */
START_TEST(nothing_gathers_over_many_restarts)
{
	struct ckv_lane *second;
	struct ckv_page page;
	struct ckv_pin pin;

	ck_assert_int_eq(ckv_lane_open(space, NULL, &second), 0);
	ck_assert_int_eq(store(lane, 7), 0);
	for (uint32_t n = 0; n < 50; n++) {
		ck_assert_ptr_nonnull(find(lane, 7, &pin));
		ck_assert_int_eq(reserve(second, 9, &page), 0);
		restart(n % 2);
		WAIT_UNTIL(attached(second));
		ckv_unpin(lane, &pin);
		ck_assert_int_eq(ckv_abort(second, &page, 1, NULL), -ESTALE);
		WAIT_UNTIL(pages_lent() == 0);
		ck_assert(is_there(lane, 7));
	}
	WAIT_UNTIL(lanes_of_before() == 0);
	ck_assert_uint_eq(lanes_of_before(), 0);
	ck_assert_uint_eq(pages_lent(), 0);
	WAIT_UNTIL(manager_count(manager, "lanes-") == 1 &&
		   manager_count(manager, "client-") == 1);
	ck_assert_uint_eq(manager_count(manager, "lanes-"), 1);
	ck_assert_uint_eq(manager_count(manager, "client-"), 1);
	ck_assert_uint_eq(space->maps->pool->refs, 1);
}
END_TEST

/* What is closed while there is no daemon is closed for the next one, too. */
START_TEST(closed_without_a_daemon)
{
	struct ckv_page page;
	struct ckv_pin pin;

	ck_assert_int_eq(store(lane, 7), 0);
	ck_assert_ptr_nonnull(find(lane, 7, &pin));
	ck_assert_int_eq(reserve(lane, 9, &page), 0);
	if (_i == 1)
		restart(false);
	test_daemon_kill(&daemon_);
	ckv = ckv_close(ckv);
	ck_assert_ptr_null(ckv);
	test_daemon_restart(&daemon_);
	WAIT_UNTIL(lanes_of_before() == 0 && pages_lent() == 0);
	ck_assert_uint_eq(lanes_of_before(), 0);
	ck_assert_uint_eq(pages_lent(), 0);
}
END_TEST

CHECK_MAIN("lib_adopted",
	CASE("adopted", .setup = setup, .teardown = teardown),
	LOOP(a_pin_of_before_is_honoured, 3),
	TEST(pins_of_before_end_one_by_one),
	LOOP(a_page_of_before_stays_lent, 2),
	TEST(a_forked_child_holds_and_ends_nothing),
	TEST(requests_end_once),
	TEST(one_reads_while_the_other_attaches),
	TEST(nothing_gathers_over_many_restarts),
	LOOP(closed_without_a_daemon, 2))
