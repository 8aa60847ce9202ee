/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_kill.c - clients killed and stopped at any instruction, daemons killed.
 *
 * Many clients of libckv want the same keys, in a pool that is too small for them. Whoever
 * is killed, the others must go on and find only right bytes. At the end every page must
 * be free or published, and every lane, row and descriptor given back.
 */
#include "tests/crash/crowd.h"
#include "tests/lib/check_main.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS	3
#define KILLS	120
#define SPACE	TEST_SPACE("tiny", "pool = 2M\nviews = 0\n")

static struct test_daemon daemon_;
static struct crowd *crowd;

static void start(void)
{
	test_daemon_start(&daemon_, NULL, SPACE);
	crowd = crowd_create(WORKERS);
}

static void stop(void)
{
	crowd_destroy(crowd);
	test_daemon_remove(&daemon_);
}

/* Nothing is held but by this test's own look: all pages free or published. */
static void check_all_back(uint64_t n_fds)
{
	struct raw raw;
	uint64_t n = 0;
	int i;

	raw_open(&raw, daemon_.socket);
	raw_attach(&raw, "tiny", CKV_ACCESS_READ);
	for (i = 0; i < RAW_WAIT_MS; i++) {
		n = process_fds(daemon_.pid);
		if (RAW_GLOBAL(&raw, clients) == 1 && RAW_GLOBAL(&raw, lanes) == 0 &&
		    RAW_SPACE(&raw, pages_lent) == 0 && n <= n_fds &&
		    RAW_SPACE(&raw, pages_free) + RAW_SPACE(&raw, blocks) ==
		    RAW_SPACE(&raw, pages_total))
			break;
		raw_nap();
	}
	ck_assert_msg(i < RAW_WAIT_MS, "clients %d (1), lanes %d (0), lent %d (0), "
		      "free %d + blocks %d of %d, descriptors %d of %d",
		      (int)RAW_GLOBAL(&raw, clients), (int)RAW_GLOBAL(&raw, lanes),
		      (int)RAW_SPACE(&raw, pages_lent),
		      (int)RAW_SPACE(&raw, pages_free), (int)RAW_SPACE(&raw, blocks),
		      (int)RAW_SPACE(&raw, pages_total), (int)n, (int)n_fds);
	close(raw.fd);
}

/* Descriptors with one observer attached. */
static uint64_t base_fds(void)
{
	struct raw raw;
	uint64_t n;

	raw_open(&raw, daemon_.socket);
	raw_attach(&raw, "tiny", CKV_ACCESS_READ);
	n = process_fds(daemon_.pid);
	close(raw.fd);
	return n;
}

/* All that is still found after the last death is right. */
static void check_contents(void)
{
	struct ckv_key keys[CROWD_DEPTH];
	struct raw_lane lane;
	struct raw raw;
	int n_found = 0;

	raw_open(&raw, daemon_.socket);
	raw_attach(&raw, "tiny", CKV_ACCESS_READ);
	raw_lane_open(&raw, &lane);
	for (uint32_t c = 0; c < CROWD_CHAINS; c++) {
		crowd_keys(c, keys);
		for (uint32_t i = 0; i < CROWD_DEPTH; i++) {
			int r = raw_check(&lane, &keys[i]);

			ck_assert_msg(r >= 0, "chain %u block %u is wrong", c, i);
			n_found += r;
		}
	}
	ck_assert_int_gt(n_found, 0);
	raw_lane_close(&lane);
	close(raw.fd);
}

static void check_crowd(const char *when)
{
	ck_assert_msg(ckv_hint_load64(&crowd->n_bad) == 0,
		      "%s: %llu pages were wrong", when,
		      (unsigned long long)ckv_hint_load64(&crowd->n_bad));
	ck_assert_msg(crowd->n_verified > 100 && crowd->n_written > 100,
		      "%s: the crowd did nothing", when);
}

/* Clients killed anywhere leave nothing behind and hurt nobody. */
START_TEST(killed_clients_leave_nothing)
{
	uint64_t n_fds = base_fds();

	srand(1);
	for (int i = 0; i < WORKERS; i++)
		crowd_start(crowd, i, &daemon_);
	ck_assert(crowd_advances(crowd, -1, 1000));
	for (int n = 0; n < KILLS; n++) {
		int i = rand() % WORKERS;

		/* Somewhere in its first rounds or deep in its work. */
		usleep((useconds_t)(rand() % 60000));
		crowd_kill(crowd, i);
		crowd_start(crowd, i, &daemon_);
	}
	ck_assert(crowd_advances(crowd, -1, 500));
	for (int i = 0; i < WORKERS; i++)
		crowd_kill(crowd, i);
	check_crowd("after the kills");
	check_all_back(n_fds);
	check_contents();
}
END_TEST

/* A stopped client's pin holds while the others evict; it goes on, or is kicked. */
START_TEST(stopped_client_keeps_its_pin)
{
	uint64_t n_fds = base_fds();
	struct ckv_key keys[CROWD_DEPTH];
	struct raw_lane lane;
	struct raw raw;
	uint32_t chain;
	char command[256];

	for (int i = 0; i < WORKERS; i++)
		crowd_start(crowd, i, &daemon_);
	ck_assert(crowd_advances(crowd, -1, 1000));
	raw_open(&raw, daemon_.socket);
	raw_attach(&raw, "tiny", CKV_ACCESS_READ);
	raw_lane_open(&raw, &lane);
	for (int round = 0; round < 6; round++) {
		ckv_hint_store32(&crowd->hold[0], 1);
		for (int i = 0; i < RAW_WAIT_MS && crowd->holding[0] == 0; i++)
			raw_nap();
		ck_assert_uint_ne(crowd->holding[0], 0);
		chain = crowd->holding[0] - 1;
		kill(crowd->pid[0], SIGSTOP);
		ck_assert(crowd_advances(crowd, 0, 3000));
		crowd_keys(chain, keys);
		ck_assert_int_eq(raw_check(&lane, &keys[0]), 1);
		ckv_hint_store32(&crowd->hold[0], 0);
		if (round == 5)
			break;
		kill(crowd->pid[0], SIGCONT);
		for (int i = 0; i < RAW_WAIT_MS && crowd->holding[0] != 0; i++)
			raw_nap();
		ck_assert_uint_eq(crowd->holding[0], 0);
	}
	raw_lane_close(&lane);
	close(raw.fd);
	/* The last one is still stopped. */
	snprintf(command, sizeof command, "build/ckv kick %d --socket %s >/dev/null",
		 (int)crowd->pid[0], daemon_.socket);
	ck_assert_int_eq(system(command), 0);
	for (int i = 0; i < WORKERS; i++)
		crowd_kill(crowd, i);
	check_crowd("after the stops");
	check_all_back(n_fds);
}
END_TEST

/* A daemon killed under its clients: they miss, reattach by themselves and go on. */
START_TEST(killed_daemon_is_reattached_to)
{
	uint64_t n_fds = base_fds();

	for (int i = 0; i < WORKERS; i++)
		crowd_start(crowd, i, &daemon_);
	for (int n = 0; n < 5; n++) {
		ck_assert_msg(crowd_advances(crowd, -1, 500), "restart %d", n);
		for (int i = 0; i < WORKERS; i++)
			ck_assert_int_eq(waitpid(crowd->pid[i], NULL, WNOHANG), 0);
		test_daemon_kill(&daemon_);
		if (n % 2)
			usleep(150000);
		test_daemon_restart(&daemon_);
	}
	ck_assert(crowd_advances(crowd, -1, 2000));
	for (int i = 0; i < WORKERS; i++)
		crowd_kill(crowd, i);
	check_crowd("after the restarts");
	check_all_back(n_fds);
	check_contents();
}
END_TEST

/* What $CKV_TEST_MODE takes away is really away. */
START_TEST(mode_is_in_force)
{
	const char *mode = getenv("CKV_TEST_MODE");

	if (mode != NULL && strcmp(mode, "no-io_uring") == 0)
		ck_assert(test_daemon_logged(&daemon_, "loop epoll"));
	else
		ck_assert(test_daemon_logged(&daemon_, "loop "));
	if (mode != NULL && strcmp(mode, "no-huge") == 0)
		ck_assert(test_daemon_logged(&daemon_, "in 4 KiB pages"));
}
END_TEST

CHECK_MAIN("kill",
	CASE("kill", .setup = start, .teardown = stop),
	TEST(mode_is_in_force),
	TEST(killed_clients_leave_nothing),
	TEST(stopped_client_keeps_its_pin),
	TEST(killed_daemon_is_reattached_to))
