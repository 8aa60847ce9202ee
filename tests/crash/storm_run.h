/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm_run.h - a storm from outside: who is killed when, and what must be true then.
 *
 * For the tests that let it blow. They are children of Check, so the functions that check
 * end the test.
 */
#ifndef CKV_TESTS_STORM_RUN_H
#define CKV_TESTS_STORM_RUN_H

#include "tests/crash/storm.h"

#include <time.h>

struct storm_run {
	struct storm *storm;
	const struct test_daemon *daemon;	/* the one that serves now */
	uint64_t random, n_kills, n_stops, n_deaths;
	time_t started;
};

/* A number of the environment. */
uint64_t storm_number(const char *name, uint64_t init);

/*
 * Of n places every how many are to be tried, for about $CKV_RESTART_RUNS of them, else
 * `runs`, or fewer under sanitizers? With ALL=1 it is each, on an ordinary machine and build.
 */
uint64_t storm_stride(uint64_t n, uint64_t runs);

/* Seconds that a test of places may take. */
double storm_stride_limit(void);

/* The configuration of its spaces, with $CKV_STORM_POOL; how long it blows at least. */
void storm_run_config(char *text, size_t size);
double storm_run_seconds(void);

/* $CKV_STORM_CLIENTS and $CKV_SEED; no client is started yet. */
void storm_run_begin(struct storm_run *run, const struct test_daemon *daemon);
void storm_run_start(struct storm_run *run);	/* all of them */
void storm_run_kill(struct storm_run *run);

void storm_pause_ms(struct storm_run *run, uint64_t most);

/* One of the clients is killed and started again, or stopped for a while. */
void storm_hit(struct storm_run *run);

/* Nobody has found anything wrong so far. */
void storm_check(const struct storm_run *run);

/* All threads together do n rounds more. */
void storm_check_goes_on(struct storm_run *run, uint64_t n);

/* What the daemon counts at any time: it has punished nobody. */
void storm_check_daemon(const struct storm_run *run);

/* With all clients dead: pages add up, and what is still found is right. */
void storm_check_end(struct storm_run *run);

void storm_print(const struct storm_run *run);

#endif
