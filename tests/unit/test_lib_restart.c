/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_restart.c - libckv when ckvd dies, comes back, or comes back different.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"
#include "tests/lib/wait.h"

static struct test_daemon daemon_;
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_space_info info;
static const uint8_t key[32] = { 1, 2, 3 };

static void setup(void)
{
	test_daemon_start(&daemon_, NULL, NULL);
	test_attach(&daemon_, &ckv, &space, &lane);
	ckv_space_get_info(space, &info);
}

static void teardown(void)
{
	ckv = ckv_close(ckv);
	test_daemon_remove(&daemon_);
}

static void store(uint8_t value)
{
	struct ckv_page page;

	ck_assert_int_eq(ckv_reserve(lane, NULL, key, 1, &page), 1);
	memset(page.data, value, info.page_bytes);
	ck_assert_int_eq(ckv_publish(lane, &page, 1, 16, CKV_SUM, NULL, NULL, NULL), 1);
}

static long found(void)
{
	struct ckv_handle handle;
	struct ckv_pin pin;
	long n = ckv_lookup(lane, key, 1, 0, &handle, &pin);

	if (n >= 0)
		ckv_unpin(lane, &pin);
	return n;
}

/* Look up until the lane is attached again; no call may fail or take long. */
static int reattached(void)
{
	for (int i = 0; i < WAIT_MOMENTS; i++) {
		ck_assert_int_ge(found(), 0);
		if (lib_lane_alive(lane))
			return 1;
		wait_moment();
	}
	return 0;
}

/* The first lookup after the daemon was killed is a miss; requests say -ESTALE. */
START_TEST(death_is_a_miss)
{
	struct ckv_handle handle;
	struct ckv_event event;
	struct ckv_page page;
	struct ckv_pin pin;

	store(7);
	ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &pin), 1);
	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(ckv_submit_nop(lane, 42), 0);
	test_daemon_kill(&daemon_);
	ck_assert_int_eq(found(), 0);
	ck_assert_int_eq(ckv_lookup(lane, key, 1, 8, &handle, &pin), -EINVAL);
	ck_assert_int_eq(ckv_pin_valid(lane, &pin), -ESTALE);
	ck_assert_str_eq(ckv_why(ckv), ckv_strerror(-ESTALE));
	/* The page is still mapped: whoever was reading it does not fault. */
	ck_assert_int_eq(*(const uint8_t *)handle.data, 7);
	ckv_unpin(lane, &pin);
	ck_assert_int_eq(ckv_reserve(lane, NULL, key, 1, &page), -ESTALE);
	ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 1);
	ck_assert_uint_eq(event.tag, 42);
	ck_assert_int_eq(event.result, -ESTALE);
	ck_assert_int_eq(ckv_poll(lane, &event, 1), -ESTALE);
}
END_TEST

/* A thread that waits for an answer when the daemon dies is let go. */
START_TEST(death_ends_a_wait)
{
	struct ckv_event event;
	pid_t killer;

	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(ckv_submit_nop(lane, 1), 0);
	killer = fork();
	if (killer == 0) {
		usleep(50000);
		kill(daemon_.pid, SIGKILL);
		_exit(0);
	}
	ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 1);
	ck_assert_int_eq(event.result, -ESTALE);
}
END_TEST

/* After a restart the lane finds the new daemon by itself, empty, and works. */
START_TEST(restart_is_found_again)
{
	for (int i = 0; i < 3; i++) {
		store((uint8_t)(i + 1));
		ck_assert_int_eq(found(), 1);
		test_daemon_kill(&daemon_);
		ck_assert_int_eq(found(), 0);
		test_daemon_restart(&daemon_);
		ck_assert(reattached());
		ck_assert_int_eq(found(), 0);
	}
	store(9);
	ck_assert_int_eq(found(), 1);
}
END_TEST

/* A clean stop looks the same. */
START_TEST(stop_is_a_death_too)
{
	store(1);
	ck_assert_int_eq(test_daemon_stop(&daemon_), 0);
	ck_assert_int_eq(found(), 0);
	test_daemon_restart(&daemon_);
	ck_assert(reattached());
	store(2);
	ck_assert_int_eq(found(), 1);
}
END_TEST

/* What was handed out before stays mapped until it is given back, then goes. */
START_TEST(old_pages_stay_until_given_back)
{
	struct ckv_handle handle;
	struct ckv_page page[2];
	struct ckv_pin pin;
	uint8_t other[32] = { 9 };

	store(7);
	ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &pin), 1);
	ck_assert_int_eq(ckv_reserve(lane, NULL, other, 1, &page[0]), 1);
	test_daemon_kill(&daemon_);
	test_daemon_restart(&daemon_);
	ck_assert(reattached());
	ck_assert_ptr_nonnull(lane->olds);
	ck_assert_int_eq(*(const uint8_t *)handle.data, 7);
	memset(page[0].data, 1, info.page_bytes);
	ck_assert_int_eq(ckv_pin_valid(lane, &pin), -ESTALE);
	ck_assert_int_eq(ckv_publish(lane, page, 1, 16, 0, NULL, NULL, NULL), -ESTALE);
	ck_assert_ptr_nonnull(lane->olds);
	ckv_unpin(lane, &pin);
	ck_assert_ptr_null(lane->olds);
	ck_assert_int_eq(ckv_reserve(lane, NULL, other, 1, &page[0]), 1);
}
END_TEST

/* A daemon that comes back with another geometry is not used, and that is said. */
START_TEST(other_geometry_is_not_reattached)
{
	struct timespec pause = { .tv_nsec = 20000000 };
	char command[512];

	test_daemon_kill(&daemon_);
	snprintf(command, sizeof command,
		 "sed -i 's/^layers.*/layers = 3/' %s", daemon_.config);
	ck_assert_int_eq(system(command), 0);
	test_daemon_restart(&daemon_);
	for (int i = 0; i < 30; i++) {
		ck_assert_int_eq(found(), 0);
		nanosleep(&pause, NULL);
	}
	ck_assert(!lib_lane_alive(lane));
	ck_assert_str_eq(ckv_why(ckv),
			 "space tiny: n_layers is 3 here, 2 at the client");
}
END_TEST

/* Everything closes cleanly after the daemon is gone. */
START_TEST(close_after_death)
{
	struct ckv_handle handle;
	struct ckv_pin pin;

	store(3);
	ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &pin), 1);
	test_daemon_kill(&daemon_);
}
END_TEST

/* A daemon of another version is refused by name of the trouble. */
START_TEST(other_version_is_refused)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct ckv_control_head head = { .magic = CKV_CONTROL_MAGIC,
		.protocol_version = CKV_PROTOCOL_VERSION + 1,
		.type = CKV_WELCOME, .n_bytes = sizeof head };
	struct ckv *other = NULL;
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	pid_t pid;

	snprintf(address.sun_path, sizeof address.sun_path, "%s/old",
		 daemon_.dir);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address,
			      sizeof address), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	pid = fork();
	if (pid == 0) {
		int s = accept(listener, NULL, NULL);

		if (send(s, &head, sizeof head, 0) < 0)
			_exit(1);
		pause();
	}
	ck_assert_int_eq(ckv_open(address.sun_path, NULL, &other),
			 -EPROTONOSUPPORT);
	ck_assert_ptr_null(other);
	kill(pid, SIGKILL);
	unlink(address.sun_path);
}
END_TEST

CHECK_MAIN("lib_restart",
	CASE("restart", .setup = setup, .teardown = teardown),
	TEST(death_is_a_miss),
	TEST(death_ends_a_wait),
	TEST(restart_is_found_again),
	TEST(stop_is_a_death_too),
	TEST(old_pages_stay_until_given_back),
	TEST(other_geometry_is_not_reattached),
	TEST(close_after_death),
	TEST(other_version_is_refused))
