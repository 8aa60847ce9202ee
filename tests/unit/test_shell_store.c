/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_store.c - the thread that stores descriptors, against a manager that does
 * what it should, answers late, or is gone.
 */
#include "daemon/shell/store.h"
#include "daemon/shell/sys.h"
#include "tests/lib/check_main.h"
#include "tests/lib/manager.h"
#include "tests/lib/wait.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define A_WHILE_NS 50000000u

static struct test_manager *manager;
static struct store *store;
static char folder[FOLDER_BYTES];
static int fd;

static void setup(void)
{
	folder_make(folder);
	manager = manager_start(folder);
	ck_assert_int_eq(store_create(4096, &store), 0);
	fd = sys_memfd("t");
	ck_assert_int_ge(fd, 0);
}

static void teardown(void)
{
	sys_close(fd);
	store_destroy(store);
	store = NULL;
	if (manager != NULL)
		manager_stop(manager);
	folder_remove(folder);
	ck_assert_int_eq(sys_descriptors(), 0);
}

static uint64_t put(const char *name)
{
	uint64_t ticket;

	ck_assert_int_eq(store_put(store, 1, name, fd, true, &ticket), 0);
	return ticket;
}

static bool is_same(int other)
{
	struct stat a, b;

	ck_assert_int_eq(fstat(fd, &a), 0);
	ck_assert_int_eq(fstat(other, &b), 0);
	return a.st_ino == b.st_ino;
}

/* What is done is held; the eventfd says that something was done. */
START_TEST(done_means_held)
{
	struct pollfd p = { .fd = store_eventfd(store), .events = POLLIN };
	uint64_t ticket = put("a");

	ck_assert_int_eq(poll(&p, 1, 5000), 1);
	WAIT_UNTIL(store_done(store) >= ticket);
	ck_assert(is_same(manager_held(manager, "a")));
	ck_assert(manager_polls(manager, "a"));
	ck_assert_uint_eq(store_held(store), 1);
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	ticket = store_remove(store, 1, "a");
	store_wait(store, ticket);
	ck_assert_int_eq(manager_held(manager, "a"), -1);
	ck_assert_uint_eq(store_held(store), 0);
}
END_TEST

/* A hundred at once, in order, with few barriers. */
START_TEST(many_share_a_barrier)
{
	uint64_t ticket = 0;
	char name[STORE_NAME_BYTES];

	manager_set_mood(manager, MANAGER_SLOW);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "n-%d", i % 10);
		if (i >= 10)
			(void)store_remove(store, 1, name);
		ticket = put(name);
	}
	manager_set_mood(manager, MANAGER_WELL);
	store_wait(store, ticket);
	ck_assert_uint_eq(manager_count(manager, "n-"), 10);
	ck_assert_uint_eq(store_held(store), 10);
	ck_assert_uint_le(manager_barriers(manager), 10);
	ck_assert_int_eq(store_error(store), 0);
}
END_TEST

/* As long as the manager does not confirm, nothing is done, and nobody here waits. */
START_TEST(unconfirmed_is_not_done)
{
	uint64_t ticket;

	manager_set_mood(manager, MANAGER_SLOW);
	ticket = put("a");
	WAIT_UNTIL(manager_held(manager, "a") >= 0);
	for (int i = 0; i < 50; i++) {
		ck_assert_uint_lt(store_done(store), ticket);
		wait_moment();
	}
	manager_set_mood(manager, MANAGER_WELL);
	WAIT_UNTIL(store_done(store) >= ticket);
	ck_assert_uint_ge(store_done(store), ticket);
}
END_TEST

/* One user cannot fill it for the others, and all together cannot overfill it. */
START_TEST(a_user_has_a_share)
{
	manager_set_mood(manager, MANAGER_SLOW);
	for (uint32_t i = 0; i < STORE_USER_ITEMS; i++) {
		ck_assert(store_has_room(store, 1));
		(void)put("a");
	}
	ck_assert(!store_has_room(store, 1));
	ck_assert(store_has_room(store, 2));
	for (uint32_t i = STORE_USER_ITEMS; i < STORE_ITEMS; i++)
		(void)store_remove(store, 1 + i, "b");
	ck_assert(!store_has_room(store, 2));
	manager_set_mood(manager, MANAGER_WELL);
	WAIT_UNTIL(store_has_room(store, 2));
	ck_assert(store_has_room(store, 2));
}
END_TEST

/* The manager is gone: everything counts as done, with an error, and nothing is held. */
START_TEST(a_manager_that_is_gone_keeps_nobody_waiting)
{
	uint64_t ticket = put("a");

	store_wait(store, ticket);
	manager_stop(manager);
	manager = NULL;
	setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
	for (int i = 0; i < 40; i++)
		ticket = put("b");
	WAIT_UNTIL(store_done(store) >= ticket);
	ck_assert_uint_ge(store_done(store), ticket);
	ck_assert_int_lt(store_error(store), 0);
	ck_assert_uint_eq(store_held(store), 0);
	ticket = put("c");
	WAIT_UNTIL(store_done(store) >= ticket);
	ck_assert_uint_ge(store_done(store), ticket);
}
END_TEST

/* A manager that reads nothing, and whose queue is full: nobody waits longer than was said. */
START_TEST(a_full_queue_is_not_waited_for)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof a.sun_path, "%s/full", folder);
	ck_assert_int_eq(bind(s, (struct sockaddr *)&a, sizeof a), 0);
	setenv("NOTIFY_SOCKET", a.sun_path, 1);
	for (int i = 0; i < 10000 && sys_notify("STATUS=x", 0) == 0; i++)
		;
	ck_assert_int_eq(sys_notify("READY=1", 0), -EAGAIN);
	ck_assert_int_eq(sys_store_put("a", fd, true, A_WHILE_NS), -EAGAIN);
	ck_assert_int_eq(sys_store_remove("a", A_WHILE_NS), -EAGAIN);
	ck_assert_int_eq(sys_store_barrier(A_WHILE_NS), -EAGAIN);
	close(s);
	ck_assert_int_eq(sys_store_put("a", fd, true, A_WHILE_NS), -ECONNREFUSED);
}
END_TEST

/* So much can be held that a start still gets all names, and as much as the manager says. */
START_TEST(what_is_held_has_a_limit)
{
	char name[STORE_NAME_BYTES];
	uint64_t ticket, n = 0, bytes = 0;

	for (; bytes + sizeof name <= STORE_NAMES_BYTES; n++) {
		snprintf(name, sizeof name, "%047" PRIu64, n);
		store_count(store, name);
		bytes += sizeof name;
	}
	ck_assert_int_eq(store_put(store, 1, name, fd, true, &ticket), -EMFILE);
	(void)store_remove(store, 1, name);
	ticket = put(name);
	ck_assert_int_eq(store_put(store, 1, name, fd, true, &ticket), -EMFILE);
	store_wait(store, ticket);
	ck_assert_int_eq(store_error(store), 0);
	for (int i = 0; i < 2; i++)
		(void)store_remove(store, 1, name);
	snprintf(name, sizeof name, "%" PRIu64, n);
	setenv("FDSTORE", name, 1);
	ticket = put("a");
	ticket = put("b");
	ck_assert_int_eq(store_put(store, 1, "c", fd, true, &ticket), -EMFILE);
	(void)store_remove(store, 1, "a");
	ticket = put("c");
	store_wait(store, ticket);
	unsetenv("FDSTORE");
}
END_TEST

/* Destroyed with much to do, or while the manager is silent: nothing is left here. */
START_TEST(it_ends_in_the_middle)
{
	for (int i = 0; i < 300; i++)
		(void)put("a");
	/* teardown() looks for descriptors that are left */
}
END_TEST

/* Each call that makes it fails once: an error, and nothing is left. */
START_TEST(its_making_survives_each_failure)
{
	struct store *other = NULL;
	long fds = sys_descriptors(), i = 1;

	for (;; i++) {
		int r;

		sys_fault_arm(i, ENOMEM);
		r = store_create(16, &other);
		sys_fault_arm(0, 0);
		if (r == 0)
			break;
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_int_eq(sys_descriptors(), fds);
	}
	ck_assert_int_eq(i, 5);		/* two allocations, an eventfd, a thread */
	store_destroy(other);
	sys_fault_arm(1, EMFILE);
	ck_assert_int_eq(store_put(store, 1, "a", fd, true, &(uint64_t){ 0 }), -EMFILE);
	sys_fault_arm(0, 0);
}
END_TEST

CHECK_MAIN("shell_store",
	CASE("store", .setup = setup, .teardown = teardown),
	TEST(done_means_held),
	TEST(many_share_a_barrier),
	TEST(unconfirmed_is_not_done),
	TEST(a_user_has_a_share),
	TEST(a_manager_that_is_gone_keeps_nobody_waiting),
	TEST(a_full_queue_is_not_waited_for),
	TEST(what_is_held_has_a_limit),
	TEST(it_ends_in_the_middle),
	TEST(its_making_survives_each_failure))
