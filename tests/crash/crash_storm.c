/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_storm.c - everything at once, while everybody is killed.
 *
 * Clients (storm.h) use pools that are much smaller than what they want to store. They and
 * the daemon are killed, stopped and started again at random moments. The test fails if a
 * byte is wrong, if a request gets an error that has no cause here, or if at the end a
 * page is neither free nor published.
 *
 *   CKV_SEED            repeats the choices, though not the moments
 *   CKV_STORM_CLIENTS   processes, 6
 *   CKV_STORM_SECONDS   go on at least so long, 0; it can run for hours
 *   CKV_STORM_POOL      of each space, 2M: holds a quarter of what is wanted
 */
#include "tests/crash/storm_run.h"
#include "tests/lib/check_main.h"

/* What must have happened before a storm may end. */
enum { KILLS = 150, STOPS = 15, DEATHS = 6, VERIFIED = 20000, OTHERS = 5 };

/* Of so many events one is the daemon's death. */
enum { DEATH_OF = 24 };

static struct test_daemon daemon_;
static struct storm_run run;

static void start(void)
{
	char spaces[600];

	storm_run_config(spaces, sizeof spaces);
	test_daemon_start(&daemon_, NULL, spaces);
	storm_run_begin(&run, &daemon_);
}

static void stop(void)
{
	storm_run_kill(&run);
	test_daemon_remove(&daemon_);
}

static bool enough(void)
{
	struct storm_counts sum;

	storm_sum(run.storm, &sum);
	return run.n_kills >= KILLS && run.n_stops >= STOPS && run.n_deaths >= DEATHS &&
	       sum.verified >= VERIFIED && sum.written >= OTHERS &&
	       sum.aborted >= OTHERS && sum.dropped >= OTHERS &&
	       sum.views >= OTHERS && sum.forks >= OTHERS &&
	       sum.lanes >= OTHERS && sum.reopened >= OTHERS &&
	       sum.pipelined >= OTHERS && sum.missed >= OTHERS &&
	       sum.careless >= OTHERS && sum.prefetched >= OTHERS &&
	       sum.cancelled >= OTHERS &&
	       time(NULL) - run.started >= (time_t)storm_run_seconds();
}

static void event_death(void)
{
	storm_check_daemon(&run);
	test_daemon_kill(&daemon_);
	run.n_deaths++;
	if (storm_draw(&run.random) % 2)
		storm_pause_ms(&run, 200);
	test_daemon_restart(&daemon_);
}

/* Whoever dies when: not one byte is wrong and nothing is lost. */
START_TEST(no_byte_is_wrong)
{
	storm_run_start(&run);
	storm_check_goes_on(&run, 1000);
	while (!enough()) {
		if (storm_draw(&run.random) % DEATH_OF == 0)
			event_death();
		else
			storm_hit(&run);
		storm_check(&run);
	}
	/* Those that are stopped are not waited for. */
	storm_check_goes_on(&run, 1000);
	storm_print(&run);
	storm_run_kill(&run);
	storm_check_end(&run);
}
END_TEST

CHECK_MAIN("storm",
	CASE("storm", .setup = start, .teardown = stop, .timeout = 115 + storm_run_seconds()),
	TEST(no_byte_is_wrong))
