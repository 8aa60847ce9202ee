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
#include "tests/crash/crowd.h"
#include "tests/crash/storm.h"
#include "tests/lib/check_main.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* What must have happened before a storm may end. */
enum { KILLS = 150, STOPS = 15, DEATHS = 6, VERIFIED = 20000, OTHERS = 5 };

/* Of so many events one is the daemon's death, one a stop, the others kills. */
enum { DEATH_OF = 24, STOP_OF = 8, PAUSE_MS = 80 };

static struct test_daemon daemon_;
static struct storm *storm;
static uint64_t random_, n_kills, n_stops, n_deaths;
static time_t started;

static uint64_t number(const char *name, uint64_t init)
{
	const char *text = getenv(name);

	return text != NULL && text[0] != 0 ? strtoull(text, NULL, 0) : init;
}

/* How long it blows at least. */
static double seconds(void)
{
	return (double)number("CKV_STORM_SECONDS", 0);
}

static void start(void)
{
	uint64_t seed = number("CKV_SEED", (uint64_t)time(NULL) * 1000003);
	uint64_t n = number("CKV_STORM_CLIENTS", 6);
	const char *pool = getenv("CKV_STORM_POOL");
	char spaces[600];

	if (n == 0 || n > STORM_CLIENTS_MAX)
		n = STORM_CLIENTS_MAX;
	fprintf(stderr, "CKV_SEED=%llu\n", (unsigned long long)seed);
	storm_config(spaces, sizeof spaces,
		     pool != NULL && pool[0] != 0 ? pool : "2M");
	test_daemon_start(&daemon_, NULL, spaces);
	storm = storm_create(daemon_.socket, (int)n, seed);
	random_ = seed;
	started = time(NULL);
}

static void stop(void)
{
	for (int i = 0; i < storm->n_clients; i++)
		storm_kill(storm, i);
	test_daemon_remove(&daemon_);
}

/* What has been found so far, in the words of who found it first. */
static void check_nothing_wrong(void)
{
	if (storm->wrong.n == 0)
		return;
	for (int i = 0; i < RAW_WAIT_MS && storm->wrong.told == 0; i++)
		raw_nap();
	ck_abort_msg("%s (and %u more; %llu kills, %llu deaths of the daemon)",
		     storm->wrong.text, storm->wrong.n - 1,
		     (unsigned long long)n_kills, (unsigned long long)n_deaths);
}

/* All threads together do n rounds more. */
static void check_goes_on(uint64_t n)
{
	struct storm_counts sum;
	uint64_t from;

	storm_sum(storm, &sum);
	from = sum.rounds;
	for (int i = 0; i < 6 * RAW_WAIT_MS && sum.rounds < from + n; i++) {
		raw_nap();
		storm_sum(storm, &sum);
	}
	check_nothing_wrong();
	ck_assert_msg(sum.rounds >= from + n, "the storm is stuck after %llu "
		      "rounds", (unsigned long long)(sum.rounds - from));
}

/* What the daemon counts at any time: it has punished nobody. */
static void check_daemon(void)
{
	for (int s = 0; s < STORM_SPACES; s++) {
		struct raw raw;

		raw_open(&raw, daemon_.socket);
		raw_attach(&raw, storm_space[s], CKV_ACCESS_READ);
		ck_assert_uint_eq(RAW_GLOBAL(&raw, lanes_closed_lying), 0);
		ck_assert_uint_eq(RAW_SPACE(&raw, checksum_failed), 0);
		raw_close(&raw);
	}
}

static bool enough(void)
{
	struct storm_counts sum;

	storm_sum(storm, &sum);
	return n_kills >= KILLS && n_stops >= STOPS && n_deaths >= DEATHS &&
	       sum.verified >= VERIFIED && sum.written >= OTHERS &&
	       sum.aborted >= OTHERS && sum.dropped >= OTHERS &&
	       sum.views >= OTHERS && sum.forks >= OTHERS &&
	       sum.lanes >= OTHERS && sum.reopened >= OTHERS &&
	       sum.pipelined >= OTHERS && sum.missed >= OTHERS &&
	       sum.careless >= OTHERS && sum.prefetched >= OTHERS &&
	       sum.cancelled >= OTHERS &&
	       time(NULL) - started >= (time_t)seconds();
}

/* ---- events ---- */

static void pause_ms(uint64_t most)
{
	usleep((useconds_t)(storm_draw(&random_) % (most * 1000)));
}

static void event_death(void)
{
	check_daemon();
	test_daemon_kill(&daemon_);
	n_deaths++;
	if (storm_draw(&random_) % 2)
		pause_ms(200);
	test_daemon_restart(&daemon_);
}

/* Stopped for a while, perhaps for ever. */
static void event_stop(int i)
{
	kill(storm->pid[i], SIGSTOP);
	n_stops++;
	pause_ms(4 * PAUSE_MS);
	if (storm_draw(&random_) % 4)
		kill(storm->pid[i], SIGCONT);
}

static void event_kill(int i)
{
	storm_kill(storm, i);
	n_kills++;
	storm_start(storm, i);
}

static void event(void)
{
	uint64_t what = storm_draw(&random_) % DEATH_OF;
	int i = (int)(storm_draw(&random_) % (uint64_t)storm->n_clients);

	pause_ms(PAUSE_MS);
	if (what == 0)
		event_death();
	else if (what <= DEATH_OF / STOP_OF)
		event_stop(i);
	else
		event_kill(i);
}

/* ---- the end ---- */

/* Everything that is still found is right, also by its checksum. */
static uint64_t check_contents(struct ckv *ckv, const char *name)
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

static void check_end(void)
{
	uint64_t n_found = 0;
	struct ckv *ckv;
	char text[200];

	for (int s = 0; s < STORM_SPACES; s++)
		ck_assert_msg(storm_adds_up(daemon_.socket, storm_space[s], text,
					    sizeof text), "%s", text);
	check_daemon();
	ck_assert_int_eq(ckv_open(daemon_.socket, "storm", &ckv), 0);
	for (int s = 0; s < STORM_SPACES; s++)
		n_found += check_contents(ckv, storm_space[s]);
	ckv_close(ckv);
	check_nothing_wrong();
	ck_assert_uint_gt(n_found, 0);
}

static void print(void)
{
	struct storm_counts sum;

	storm_sum(storm, &sum);
	fprintf(stderr, "storm: %llu kills, %llu stops, %llu deaths of the daemon; "
		"%llu pages verified (%.2f GB), %llu written, %llu missed, "
		"%llu aborts, %llu careless, %llu dropped, %llu views, %llu forks, %llu lanes, "
		"%llu prefetched, %llu cancelled, %llu closed and opened, %llu of %llu rounds pipelined\n",
		(unsigned long long)n_kills, (unsigned long long)n_stops,
		(unsigned long long)n_deaths, (unsigned long long)sum.verified,
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

/* Whoever dies when: not one byte is wrong and nothing is lost. */
START_TEST(no_byte_is_wrong)
{
	for (int i = 0; i < storm->n_clients; i++)
		storm_start(storm, i);
	check_goes_on(1000);
	while (!enough()) {
		event();
		check_nothing_wrong();
	}
	/* Those that are stopped are not waited for. */
	check_goes_on(1000);
	print();
	for (int i = 0; i < storm->n_clients; i++)
		storm_kill(storm, i);
	check_end();
}
END_TEST

CHECK_MAIN("storm",
	CASE("storm", .setup = start, .teardown = stop, .timeout = 115 + seconds()),
	TEST(no_byte_is_wrong))
