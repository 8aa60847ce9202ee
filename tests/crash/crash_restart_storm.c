/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_restart_storm.c - a storm in which the daemon is killed all the time and its memory
 * is kept.
 *
 * The clients of a storm (storm.h) are killed and stopped, and so is the daemon. Watchers
 * (watcher.h) hold on to pins and lent pages over many daemons. A space that nobody presses
 * must be found whole by whoever comes after each death.
 *
 *   CKV_SEED, CKV_STORM_CLIENTS, CKV_STORM_POOL   as of crash_storm
 *   CKV_STORM_SECONDS   go on at least so long, 12; it can run for hours
 */
#include "tests/crash/manager.h"
#include "tests/crash/storm_run.h"
#include "tests/crash/watcher.h"
#include "tests/lib/check_main.h"

#include <signal.h>
#include <unistd.h>

enum { KEPT_CHAINS = 24, SECONDS = 12, WATCHERS = 2 };
enum { DEATH_MIN_MS = 50, DEATH_MAX_MS = 500, STOP_OF = 6, DEATHS = 15, KEEPER_DEATHS = 6 };

#define KEPT	"[space kept]\nkeys = engine\nviews = 0\n" TEST_TINY_MODEL "pool = 8M\n"

static struct manager manager;
static struct test_daemon daemon_;
static struct storm_run run;
static struct watchers watchers;
static uint64_t n_hits, n_cold, ms_without, ms_without_max;

static double seconds(void)
{
	double given = storm_run_seconds();

	return given > 0.0 ? given : SECONDS;
}

/* ---- what is kept ------------------------------------------------------- */

static void kept_keys(uint32_t chain, struct ckv_key *ret_keys)
{
	for (uint32_t i = 0; i < STORM_DEPTH; i++)
		ret_keys[i] = raw_key(0x6000 + chain, i);
}

static struct ckv_lane *kept_open(struct ckv **ret_ckv, struct ckv_space_info *ret_info)
{
	struct ckv_space *space;
	struct ckv_lane *lane;

	ck_assert_msg(ckv_open(run.daemon->socket, "kept", ret_ckv) == 0, "%s",
		      ckv_why(NULL));
	ck_assert_msg(ckv_attach(*ret_ckv, "kept", NULL, CKV_WRITE, &space) == 0, "%s",
		      ckv_why(*ret_ckv));
	ck_assert_msg(ckv_lane_open(space, NULL, &lane) == 0, "%s", ckv_why(*ret_ckv));
	ckv_space_get_info(space, ret_info);
	return lane;
}

static void kept_store(void)
{
	struct ckv_key keys[STORM_DEPTH];
	struct ckv_page page[STORM_DEPTH];
	struct ckv_space_info info;
	struct ckv *ckv;
	struct ckv_lane *lane = kept_open(&ckv, &info);

	for (uint32_t c = 0; c < KEPT_CHAINS; c++) {
		kept_keys(c, keys);
		ck_assert_int_eq(ckv_reserve(lane, NULL, keys[0].byte, STORM_DEPTH, page),
				 STORM_DEPTH);
		for (uint32_t i = 0; i < STORM_DEPTH; i++)
			storm_fill(&keys[i], page[i].data, info.page_bytes);
		ck_assert_int_eq(ckv_publish(lane, page, STORM_DEPTH, 16, CKV_SUM, NULL,
					     NULL, NULL), STORM_DEPTH);
	}
	ck_assert_ptr_null(ckv_close(ckv));
}

/* All of it is found after each death. */
static void kept_check(void)
{
	struct ckv_key keys[STORM_DEPTH];
	struct ckv_handle handle[STORM_DEPTH];
	struct ckv_space_info info;
	struct ckv_pin pin;
	struct ckv *ckv;
	struct ckv_lane *lane = kept_open(&ckv, &info);
	uint64_t before = n_hits;

	for (uint32_t c = 0; c < KEPT_CHAINS; c++) {
		long n;

		kept_keys(c, keys);
		n = ckv_lookup(lane, keys[0].byte, STORM_DEPTH, CKV_VERIFY, handle, &pin);
		for (long i = 0; i < n; i++)
			(void)storm_page_right(run.storm, "kept", &keys[i], handle[i].data,
					       info.page_bytes);
		ck_assert_int_ge(n, 0);
		n_hits += (uint64_t)n;
		ckv_unpin(lane, &pin);
	}
	n_cold += n_hits == before;
	ck_assert_msg(n_hits - before == KEPT_CHAINS * STORM_DEPTH,
		      "after %llu deaths %llu of %d blocks are left",
		      (unsigned long long)run.n_deaths,
		      (unsigned long long)(n_hits - before), KEPT_CHAINS * STORM_DEPTH);
	ck_assert_ptr_null(ckv_close(ckv));
}

/* ---- deaths ------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* One that stops in order may be a restart, too. */
static void end_daemon(void (*kill_daemon)(void), void (*stop_daemon)(void),
		       void (*next_daemon)(void))
{
	uint64_t from = now_ms(), took;

	if (storm_draw(&run.random) % STOP_OF == 0)
		stop_daemon();
	else
		kill_daemon();
	next_daemon();
	took = now_ms() - from;
	ms_without += took;
	ms_without_max = took > ms_without_max ? took : ms_without_max;
	run.n_deaths++;
}

/* Clients are hit until the daemon's time has come. */
static void blow(uint64_t min_ms, uint64_t max_ms)
{
	uint64_t until = now_ms() + min_ms + storm_draw(&run.random) % (max_ms - min_ms);

	while (now_ms() < until) {
		storm_hit(&run);
		watchers_check(&watchers);
		storm_check(&run);
	}
}

/* Has a watcher held something over a death, and let go of it? */
static bool watched(void)
{
	return ckv_hint_load64(&watchers.counts->held) > 0 &&
	       ckv_hint_load64(&watchers.counts->stale) > 0;
}

static void begin(const struct test_daemon *daemon)
{
	storm_run_begin(&run, daemon);
	kept_store();
	watchers_start(&watchers, run.storm, WATCHERS);
	storm_run_start(&run);
	storm_check_goes_on(&run, 1000);
}

static void finish(void)
{
	storm_check_goes_on(&run, 1000);
	storm_print(&run);
	fprintf(stderr, "restart: %llu deaths, without a daemon %llu ms each and %llu at most; "
		"%llu kept blocks found again, %llu cold starts; watchers held %llu chains over a death "
		"and read %llu pages of them then, %llu lent pages were stale, %llu lanes\n",
		(unsigned long long)run.n_deaths,
		(unsigned long long)(ms_without / run.n_deaths),
		(unsigned long long)ms_without_max, (unsigned long long)n_hits,
		(unsigned long long)n_cold, (unsigned long long)watchers.counts->held,
		(unsigned long long)watchers.counts->read,
		(unsigned long long)watchers.counts->stale,
		(unsigned long long)watchers.counts->opened);
	watchers_kill(&watchers);
	storm_run_kill(&run);
	storm_check_end(&run);
	kept_check();
}

/* ---- with a manager that starts the next one at once -------------------- */

static void manager_setup(void)
{
	char spaces[1000];

	storm_run_config(spaces, sizeof spaces);
	strcat(spaces, KEPT);
	manager_create(&manager, NULL, spaces);
	manager_start(&manager, false);
	manager_wait(&manager);
	begin(&manager.daemon);
}

static void manager_teardown(void)
{
	storm_run_kill(&run);
	manager_destroy(&manager);
}

static void kill_managed(void)
{
	manager_kill(&manager);
}

static void stop_managed(void)
{
	ck_assert_int_eq(test_daemon_stop(&manager.daemon), 0);
}

static void next_managed(void)
{
	manager_start(&manager, false);
	manager_wait(&manager);
}

START_TEST(no_byte_is_wrong_whenever_it_dies)
{
	while (run.n_deaths < DEATHS || !watched() ||
	       (double)(time(NULL) - run.started) < seconds()) {
		blow(DEATH_MIN_MS, DEATH_MAX_MS);
		end_daemon(kill_managed, stop_managed, next_managed);
		kept_check();
	}
	finish();
}
END_TEST

/* ---- with the real keeper, which pauses when daemons die quickly -------- */

static void keeper_setup(void)
{
	char spaces[1000];

	storm_run_config(spaces, sizeof spaces);
	strcat(spaces, KEPT);
	test_daemon_start_kept(&daemon_, NULL, spaces);
	begin(&daemon_);
}

static void keeper_teardown(void)
{
	storm_run_kill(&run);
	test_daemon_remove(&daemon_);
}

static void kill_kept(void)
{
	test_daemon_kill(&daemon_);
}

static void stop_kept(void)
{
	kill(daemon_.pid, SIGTERM);
	daemon_.killed = daemon_.pid;
	daemon_.pid = 0;
}

static void next_kept(void)
{
	test_daemon_restart(&daemon_);
}

START_TEST(the_keeper_does_the_same)
{
	while (run.n_deaths < KEEPER_DEATHS || !watched()) {
		blow(DEATH_MIN_MS, DEATH_MAX_MS);
		end_daemon(kill_kept, stop_kept, next_kept);
		kept_check();
	}
	finish();
}
END_TEST

CHECK_MAIN("restart_storm",
	CASE("manager", .setup = manager_setup, .teardown = manager_teardown,
	     .timeout = 80 + seconds()),
	TEST(no_byte_is_wrong_whenever_it_dies),
	CASE("keeper", .setup = keeper_setup, .teardown = keeper_teardown, .timeout = 60),
	TEST(the_keeper_does_the_same))
