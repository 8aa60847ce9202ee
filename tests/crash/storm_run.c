/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm_run.c - a storm from outside.
 */
#include "tests/crash/storm_run.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Of so many events one is a stop, the others kills. */
enum { STOP_OF = 8, PAUSE_MS = 80 };

uint64_t storm_number(const char *name, uint64_t init)
{
	const char *text = getenv(name);

	return text != NULL && text[0] != 0 ? strtoull(text, NULL, 0) : init;
}

/* Under sanitizers a daemon starts several times more slowly. */
#ifdef __SANITIZE_ADDRESS__
enum { SLOW = 4 };
#else
enum { SLOW = 1 };
#endif

static bool is_all(void)
{
	return SLOW == 1 && storm_number("ALL", 0) != 0 && getenv("CKV_TEST_MODE") == NULL;
}

uint64_t storm_stride(uint64_t n, uint64_t runs)
{
	runs = storm_number("CKV_RESTART_RUNS", runs / SLOW);
	return is_all() || runs >= n ? 1 : n / runs;
}

double storm_stride_limit(void)
{
	uint64_t runs = storm_number("CKV_RESTART_RUNS", 0);

	return is_all() ? 1200.0 : 100.0 + (double)runs;
}

double storm_run_seconds(void)
{
	return (double)storm_number("CKV_STORM_SECONDS", 0);
}

void storm_run_config(char *text, size_t size)
{
	const char *pool = getenv("CKV_STORM_POOL");

	storm_config(text, size, pool != NULL && pool[0] != 0 ? pool : "2M");
}

void storm_run_begin(struct storm_run *run, const struct test_daemon *daemon)
{
	uint64_t seed = storm_number("CKV_SEED", (uint64_t)time(NULL) * 1000003);
	uint64_t n = storm_number("CKV_STORM_CLIENTS", 6);

	if (n == 0 || n > STORM_CLIENTS_MAX)
		n = STORM_CLIENTS_MAX;
	fprintf(stderr, "CKV_SEED=%llu\n", (unsigned long long)seed);
	*run = (struct storm_run){
		.storm = storm_create(daemon->socket, (int)n, seed),
		.daemon = daemon, .random = seed, .started = time(NULL),
	};
}

void storm_run_start(struct storm_run *run)
{
	for (int i = 0; i < run->storm->n_clients; i++)
		storm_start(run->storm, i);
}

void storm_run_kill(struct storm_run *run)
{
	for (int i = 0; i < run->storm->n_clients; i++)
		storm_kill(run->storm, i);
}

void storm_check(const struct storm_run *run)
{
	struct storm_wrong *wrong = &run->storm->wrong;

	if (wrong->n == 0)
		return;
	/* In the words of who found it first. */
	for (int i = 0; i < RAW_WAIT_MS && wrong->told == 0; i++)
		raw_nap();
	ck_abort_msg("%s (and %u more; %llu kills, %llu deaths of the daemon)",
		     wrong->text, wrong->n - 1, (unsigned long long)run->n_kills,
		     (unsigned long long)run->n_deaths);
}

void storm_check_goes_on(struct storm_run *run, uint64_t n)
{
	struct storm_counts sum;
	uint64_t from;

	storm_sum(run->storm, &sum);
	from = sum.rounds;
	for (int i = 0; i < 6 * RAW_WAIT_MS && sum.rounds < from + n; i++) {
		raw_nap();
		storm_sum(run->storm, &sum);
	}
	storm_check(run);
	ck_assert_msg(sum.rounds >= from + n, "the storm is stuck after %llu "
		      "rounds", (unsigned long long)(sum.rounds - from));
}

void storm_check_daemon(const struct storm_run *run)
{
	for (int s = 0; s < STORM_SPACES; s++) {
		struct raw raw;

		raw_open(&raw, run->daemon->socket);
		raw_attach(&raw, storm_space[s], CKV_ACCESS_READ);
		ck_assert_uint_eq(RAW_GLOBAL(&raw, lanes_closed_lying), 0);
		ck_assert_uint_eq(RAW_SPACE(&raw, checksum_failed), 0);
		raw_close(&raw);
	}
}

/* ---- events ------------------------------------------------------------- */

void storm_pause_ms(struct storm_run *run, uint64_t most)
{
	usleep((useconds_t)(storm_draw(&run->random) % (most * 1000)));
}

/* Stopped for a while, perhaps for ever. */
static void event_stop(struct storm_run *run, int i)
{
	kill(run->storm->pid[i], SIGSTOP);
	run->n_stops++;
	storm_pause_ms(run, 4 * PAUSE_MS);
	if (storm_draw(&run->random) % 4)
		kill(run->storm->pid[i], SIGCONT);
}

void storm_hit(struct storm_run *run)
{
	int i = (int)(storm_draw(&run->random) % (uint64_t)run->storm->n_clients);

	storm_pause_ms(run, PAUSE_MS);
	if (storm_draw(&run->random) % STOP_OF == 0) {
		event_stop(run, i);
		return;
	}
	storm_kill(run->storm, i);
	run->n_kills++;
	storm_start(run->storm, i);
}

/* ---- the end ------------------------------------------------------------ */

/* Everything that is still found is right, also by its checksum. */
static uint64_t check_contents(struct storm *storm, struct ckv *ckv, const char *name)
{
	struct ckv_key keys[STORM_DEPTH];
	struct ckv_handle handle[STORM_DEPTH];
	struct ckv_space_info info;
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct ckv_pin pin;
	uint64_t n_found = 0;

	ck_assert_int_eq(ckv_attach(ckv, name, NULL, CKV_READ, &space), 0);
	ck_assert_int_eq(ckv_lane_open(space, NULL, &lane), 0);
	ckv_space_get_info(space, &info);
	for (uint32_t c = 0; c < STORM_CHAINS; c++) {
		long plain, n;

		storm_keys(space, c, keys);
		plain = ckv_lookup(lane, keys[0].byte, STORM_DEPTH, CKV_EXISTS,
				   NULL, &pin);
		n = ckv_lookup(lane, keys[0].byte, STORM_DEPTH, CKV_VERIFY,
			       handle, &pin);
		ck_assert_int_eq(n, plain);
		for (long i = 0; i < n; i++)
			(void)storm_page_right(storm, "at the end", &keys[i],
					       handle[i].data, info.page_bytes);
		ckv_unpin(lane, &pin);
		n_found += (uint64_t)n;
	}
	return n_found;
}

void storm_check_end(struct storm_run *run)
{
	uint64_t n_found = 0;
	struct ckv *ckv;
	char text[200];

	for (int s = 0; s < STORM_SPACES; s++)
		ck_assert_msg(storm_adds_up(run->daemon->socket, storm_space[s], text,
					    sizeof text), "%s", text);
	storm_check_daemon(run);
	ck_assert_int_eq(ckv_open(run->daemon->socket, "storm", &ckv), 0);
	for (int s = 0; s < STORM_SPACES; s++)
		n_found += check_contents(run->storm, ckv, storm_space[s]);
	ckv_close(ckv);
	storm_check(run);
	ck_assert_uint_gt(n_found, 0);
}

void storm_print(const struct storm_run *run)
{
	struct storm_counts sum;

	storm_sum(run->storm, &sum);
	fprintf(stderr, "storm: %llu kills, %llu stops, %llu deaths of the daemon; "
		"%llu pages verified (%.2f GB), %llu written, %llu missed, "
		"%llu aborts, %llu careless, %llu dropped, %llu views, %llu forks, %llu lanes, "
		"%llu prefetched, %llu cancelled, %llu closed and opened, %llu of %llu rounds pipelined\n",
		(unsigned long long)run->n_kills, (unsigned long long)run->n_stops,
		(unsigned long long)run->n_deaths, (unsigned long long)sum.verified,
		(double)sum.verified * 16384 / 1e9,
		(unsigned long long)sum.written, (unsigned long long)sum.missed,
		(unsigned long long)sum.aborted,
		(unsigned long long)sum.careless, (unsigned long long)sum.dropped,
		(unsigned long long)sum.views, (unsigned long long)sum.forks,
		(unsigned long long)sum.lanes, (unsigned long long)sum.prefetched,
		(unsigned long long)sum.cancelled, (unsigned long long)sum.reopened,
		(unsigned long long)sum.pipelined,
		(unsigned long long)sum.rounds);
}
