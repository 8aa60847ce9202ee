/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_restart.c - a daemon killed at every place of a run, and of its own start.
 *
 * A client does a bit of everything (script.h) while its daemon is traced and killed at the
 * begin or the end of its n-th system call, or some instructions later. The next daemon gets
 * what was stored. It must have all that was promised and nothing else, leave alone what the
 * client has pinned and borrowed until that lets go or dies, and serve on.
 *
 *   CKV_SEED           repeats the choices
 *   CKV_RESTART_RUNS   about so many places of each kind, 16; with ALL=1 it is all of them
 */
#include "tests/crash/manager.h"
#include "tests/crash/script.h"
#include "tests/crash/storm_run.h"
#include "tests/crash/traced.h"
#include "tests/lib/check_main.h"

#include <signal.h>
#include <stdio.h>

enum { RUNS = 16, STEPS_MAX = 30000, AGAIN_MAX = 3 };

/* What becomes of the client. */
enum client_end { CLIENT_STAYS, CLIENT_DIES_BEFORE, CLIENT_DIES_AFTER, CLIENT_STOPPED,
		  CLIENT_ENDS };

static struct manager manager;
static struct script *script;
static uint64_t random_;
static uint64_t n_runs;

static void start(void)
{
	uint64_t seed = storm_number("CKV_SEED", (uint64_t)time(NULL) * 1000003);

	fprintf(stderr, "CKV_SEED=%llu\n", (unsigned long long)seed);
	random_ = seed;
	manager_create(&manager, NULL, SCRIPT_SPACES("2M"));
	script = script_create(manager.daemon.socket);
}

static void stop(void)
{
	script_destroy(script);
	manager_destroy(&manager);
}

/* From one run to the next nothing stays. */
static void begin(void)
{
	script_kill(script);
	manager_kill(&manager);
	manager_empty(&manager);
	script_destroy(script);
	script = script_create(manager.daemon.socket);
}

/* ---- what is traced ----------------------------------------------------- */

static bool client_is_there(void *context)
{
	(void)context;
	(void)manager_take(&manager);
	return ckv_hint_load32(&script->begun) != 0;
}

static bool client_is_done(void *context)
{
	(void)context;
	return ckv_hint_load32(&script->waits) != 0 || kill(script->client, 0) != 0;
}

static bool any(void *context)
{
	(void)context;
	(void)manager_take(&manager);
	return true;
}

static bool is_ready(void *context)
{
	(void)context;
	return manager_take(&manager);
}

/* A daemon that serves the script until its end, or until it is killed at a place. */
static uint64_t run(uint64_t n_stops, uint64_t n_steps)
{
	const struct traced_plan plan = { n_stops, n_steps, client_is_there, client_is_done,
					  NULL };
	uint64_t n;

	fprintf(stderr, "stop %llu, %llu steps\n", (unsigned long long)n_stops,
		(unsigned long long)n_steps);
	begin();
	script_start(script);
	manager_start(&manager, true);
	n = traced_run(manager.daemon.pid, &plan, NULL);
	manager.daemon.pid = 0;
	(void)manager_take(&manager);
	for (int i = 0; i < RAW_WAIT_MS && ckv_hint_load32(&script->waits) == 0; i++)
		raw_nap();
	script_check_client(script);
	return n;
}

/* A daemon that begins, until it is ready, or until it is killed at a place. */
static uint64_t run_start(uint64_t n_stops, uint64_t n_steps)
{
	const struct traced_plan plan = { n_stops, n_steps, any, is_ready, NULL };
	uint64_t n;

	fprintf(stderr, "start: stop %llu, %llu steps\n", (unsigned long long)n_stops,
		(unsigned long long)n_steps);
	manager_start(&manager, true);
	n = traced_run(manager.daemon.pid, &plan, NULL);
	manager.daemon.pid = 0;
	(void)manager_take(&manager);
	return n;
}

/* ---- what must be true then --------------------------------------------- */

static void check_next_daemon(enum client_end end)
{
	static const char *const what[] = { "stays", "dies before", "dies after",
					    "is stopped" };

	fprintf(stderr, "the client %s\n", what[end]);
	if (end == CLIENT_DIES_BEFORE)
		script_kill(script);
	if (end == CLIENT_STOPPED)
		kill(script->client, SIGSTOP);
	manager_start(&manager, false);
	manager_wait(&manager);
	if (end == CLIENT_DIES_AFTER)
		script_kill(script);
	if (end == CLIENT_STAYS)
		script_order(script, ORDER_LOOK);
	script_check(script, getenv("CKV_LOST") ? 1000 : 0);
	if (end == CLIENT_STAYS && !getenv("CKV_LOST"))
		script_order(script, ORDER_FIND);
	script_check_serves(script, end == CLIENT_STAYS, false);
	if (end == CLIENT_STOPPED)
		kill(script->client, SIGCONT);
	if (end == CLIENT_STAYS || end == CLIENT_STOPPED) {
		script_check_serves(script, true, false);
		script_order(script, ORDER_LET_GO);
	}
	script_check_adds_up(script);
	n_runs++;
}

static void print(const char *what, uint64_t n)
{
	fprintf(stderr, "restart: %llu daemons killed, of %llu %s\n",
		(unsigned long long)n_runs, (unsigned long long)n, what);
}

/* ---- tests -------------------------------------------------------------- */

/* The whole script, and a daemon killed after it: all is found again. */
START_TEST(all_of_a_run_comes_back)
{
	for (int end = 0; end < CLIENT_ENDS; end++) {
		run(0, 0);
		ck_assert_uint_eq(ckv_hint_load32(&script->fate[SCRIPT_CHAINS - 1]
						  [SCRIPT_DEPTH - 1]), FATE_STORED);
		ck_assert_uint_eq(ckv_hint_load32(&script->view), FATE_STORED);
		check_next_daemon((enum client_end)end);
	}
}
END_TEST

/* Killed at the begin or end of its n-th system call. */
START_TEST(killed_at_any_call)
{
	uint64_t n = run(0, 0), step = storm_stride(n, RUNS);

	for (uint64_t i = 1 + storm_draw(&random_) % step; i <= n; i += step) {
		run(i, 0);
		check_next_daemon((enum client_end)(storm_draw(&random_) % CLIENT_ENDS));
	}
	print("places at system calls", n);
}
END_TEST

/* Killed between two system calls. */
START_TEST(killed_at_any_instruction)
{
	uint64_t n = run(0, 0), step = storm_stride(n, RUNS);

	for (uint64_t i = 1 + storm_draw(&random_) % step; i <= n; i += step) {
		run(i, 1 + storm_draw(&random_) % STEPS_MAX);
		check_next_daemon((enum client_end)(storm_draw(&random_) % CLIENT_ENDS));
	}
	print("places, and steps from there", n);
}
END_TEST

/* Killed in its start, several times, before one comes up. */
START_TEST(killed_in_its_start)
{
	uint64_t n, step;

	run(0, 0);
	n = run_start(0, 0);
	step = storm_stride(n, RUNS);
	for (uint64_t i = 1 + storm_draw(&random_) % step; i <= n; i += step) {
		uint64_t again = storm_draw(&random_) % AGAIN_MAX;

		run(0, 0);
		run_start(i, 0);
		for (uint64_t k = 0; k < again; k++)
			run_start(1 + storm_draw(&random_) % n,
				  storm_draw(&random_) % STEPS_MAX);
		check_next_daemon((enum client_end)(storm_draw(&random_) % CLIENT_ENDS));
	}
	print("places of a start", n);
}
END_TEST

CHECK_MAIN("restart",
	CASE("restart", .setup = start, .teardown = stop, .timeout = storm_stride_limit()),
	TEST(all_of_a_run_comes_back),
	TEST(killed_at_any_call),
	TEST(killed_at_any_instruction),
	TEST(killed_in_its_start))
