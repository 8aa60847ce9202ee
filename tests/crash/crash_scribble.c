/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_scribble.c - clients that write anything anywhere, at random.
 *
 * scribble.h has ways to spoil what a client may write. For each of them some processes,
 * one after the other, attach to a daemon's spaces and do it; some are killed meanwhile.
 * At the same time honest clients (storm.h) store, find and verify blocks in the same
 * spaces. The test fails if the daemon dies, if an honest client is not served or finds a
 * wrong byte, or if a page, lane, row or descriptor is missing when all are dead.
 * CKV_SEED repeats the choices.
 */
#include "tests/crash/crowd.h"
#include "tests/crash/scribble.h"
#include "tests/crash/storm.h"
#include "tests/lib/check_main.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HONEST = 2, LIFE_MS = 4000, SERVED = 300 };

static struct test_daemon daemon_;
static struct storm *storm;
static _Atomic uint64_t *n_done;	/* of each of two scribblers */
static uint64_t random_, n_fds;

/* Descriptors with one observer attached. */
static uint64_t count_fds(void)
{
	struct raw raw;
	uint64_t n;

	raw_open(&raw, daemon_.socket);
	raw_attach(&raw, storm_space[0], CKV_ACCESS_READ);
	n = process_fds(daemon_.pid);
	raw_close(&raw);
	return n;
}

static void start(void)
{
	const char *seed = getenv("CKV_SEED");
	char spaces[600];

	random_ = seed != NULL ? strtoull(seed, NULL, 0) :
				 (uint64_t)time(NULL) * 1000003;
	storm_config(spaces, sizeof spaces, "2M");
	test_daemon_start(&daemon_, NULL, spaces);
	n_fds = count_fds();
	storm = storm_create(daemon_.socket, HONEST, random_);
	n_done = mmap(NULL, STORM_SPACES * sizeof *n_done, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < HONEST; i++)
		storm_start(storm, i);
}

static void stop(void)
{
	for (int i = 0; i < HONEST; i++)
		storm_kill(storm, i);
	test_daemon_remove(&daemon_);
}

/* ---- what others notice ---- */

static void check_alive(const char *way)
{
	ck_assert_msg(waitpid(daemon_.pid, NULL, WNOHANG) == 0,
		      "%s (CKV_SEED=%llu): the daemon is gone, see %s",
		      way, (unsigned long long)storm->seed, daemon_.log);
	if (storm->wrong.n == 0)
		return;
	for (int i = 0; i < RAW_WAIT_MS && storm->wrong.told == 0; i++)
		raw_nap();
	ck_abort_msg("%s (CKV_SEED=%llu): %s", way,
		     (unsigned long long)storm->seed, storm->wrong.text);
}

/* The honest go on: so many pages more are found and right. */
static void check_served(const char *way)
{
	struct storm_counts sum;
	uint64_t from;

	storm_sum(storm, &sum);
	from = sum.verified;
	for (int i = 0; i < 4 * RAW_WAIT_MS && sum.verified < from + SERVED; i++) {
		raw_nap();
		storm_sum(storm, &sum);
	}
	check_alive(way);
	ck_assert_msg(sum.verified >= from + SERVED, "%s (CKV_SEED=%llu): the "
		      "honest found %llu pages only", way,
		      (unsigned long long)storm->seed,
		      (unsigned long long)(sum.verified - from));
}

/* All are dead: everything is back. */
static void check_nothing_lost(const char *way)
{
	char text[200];
	uint64_t n = 0;

	for (int s = 0; s < STORM_SPACES; s++)
		ck_assert_msg(storm_adds_up(daemon_.socket, storm_space[s], text,
					    sizeof text),
			      "%s (CKV_SEED=%llu): %s", way,
			      (unsigned long long)storm->seed, text);
	for (int i = 0; i < RAW_WAIT_MS; i++) {
		n = count_fds();
		if (n <= n_fds)
			return;
		raw_nap();
	}
	ck_abort_msg("%s (CKV_SEED=%llu): the daemon has %d descriptors, %d before",
		     way, (unsigned long long)storm->seed, (int)n, (int)n_fds);
}

/* ---- scribblers ---- */

static pid_t begin(const struct scribble *way, int s)
{
	uint64_t seed = storm_draw(&random_);
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		scribble_live(way, daemon_.socket, storm_space[s], seed, &n_done[s]);
	return pid;
}

/* Wait for its end, or make it. Its status. */
static int end(pid_t pid)
{
	int ms = storm_draw(&random_) % 4 ? LIFE_MS :
		 (int)(storm_draw(&random_) % 50), status = 0;

	for (int i = 0; i < ms; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		raw_nap();
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return status;
}

static uint64_t done_together(void)
{
	uint64_t n = 0;

	for (int s = 0; s < STORM_SPACES; s++)
		n += ckv_hint_load64(&n_done[s]);
	return n;
}

/* Whatever is written where: the daemon lives, others are served, nothing is lost. */
START_TEST(scribbling_hurts_nobody)
{
	const struct scribble *way = &scribbles[_i];
	pid_t pid[STORM_SPACES];
	int n_lives = 0;

	fprintf(stderr, "CKV_SEED=%llu %s\n", (unsigned long long)random_,
		way->name);
	check_served("before");
	while (done_together() < way->n_enough || n_lives < 3) {
		for (int s = 0; s < STORM_SPACES; s++)
			pid[s] = begin(way, s);
		for (int s = 0; s < STORM_SPACES; s++) {
			int status = end(pid[s]);

			check_alive(way->name);
			ck_assert_msg(!WIFEXITED(status) || WEXITSTATUS(status) == 0,
				      "%s (CKV_SEED=%llu): a life ended with %d",
				      way->name, (unsigned long long)storm->seed,
				      WEXITSTATUS(status));
			ck_assert(!WIFSIGNALED(status) ||
				  WTERMSIG(status) == SIGKILL);
		}
		n_lives++;
	}
	check_served(way->name);
	for (int i = 0; i < HONEST; i++)
		storm_kill(storm, i);
	check_nothing_lost(way->name);
}
END_TEST

CHECK_MAIN("scribble",
	CASE("scribble", .setup = start, .teardown = stop),
	LOOP(scribbling_hurts_nobody, n_scribbles))
