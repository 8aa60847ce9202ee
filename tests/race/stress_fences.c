/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_fences.c - the store-load fences on the real processor, by content.
 *
 * Two threads meet at each of many cells, each side stores its word and looks at the
 * other's, as the protocol says:
 *
 *   pin   the client pins block i, the daemon evicts block i. If the client's pin is
 *         confirmed, the page must still hold what belongs to that generation after
 *         both are done.
 *   wake  the sleeper prepares to sleep, the waker puts a message. If the sleeper
 *         would go to sleep and the waker would not wake it, a wake-up is lost.
 *
 * A processor can hold a store back while it goes on to load, longest if stores before
 * it miss the cache. So the two sides take turns in storing into cold lines first; on x86
 * a missing fence then shows within milliseconds. `stress_fences ROUNDS` runs each of the
 * two for a second, so many times (default once); a violation ends it and says when.
 */
#include "proto/ckv_pin.h"
#include "proto/ckv_ring.h"
#include "tests/race/race.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

static const char race_name[] = "the two sides meet";

#define CELLS	 2048u
#define COLD	 (64u << 20)	/* bytes: larger than the caches near the core */
#define COLD_N	 24u		/* stores that miss, before the one that counts */
#define WAIT_N	 512u		/* steps of waiting, so that either may be first */

struct cell {
	_Alignas(64) struct ckv_entry entry;
	_Alignas(64) _Atomic uint64_t pin;
	_Alignas(64) uint64_t page;
	_Alignas(64) struct ckv_slot slot;
	_Alignas(64) _Atomic uint32_t flag;
};

static struct cell cells[CELLS];
static struct ckv_world world;
static _Atomic uint32_t credit;
static uint8_t client_saw[CELLS], daemon_saw[CELLS];
static _Atomic uint32_t at[2][16];	/* each side's cell, on its own line */
static _Atomic uint32_t over;
static uint8_t *cold;
static const unsigned seconds = 1;
static uint64_t n_met, n_violations, n_hits, n_misses;

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Wait until the other side came to step `step` too. */
static void meet(int me, uint32_t step)
{
	unsigned spins = 0;

	atomic_store_explicit(&at[me][0], step, memory_order_release);
	while ((int32_t)(atomic_load_explicit(&at[!me][0], memory_order_acquire) -
			 step) < 0)
		if (++spins % 2048 == 0)
			sched_yield();
}

static uint32_t draw(void)
{
	static _Thread_local uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 20);
}

/*
 * Wait a little, so that either side may come first, then make stores that take
 * long to leave the store buffer: in turn one side, both, none.
 */
static void delay(int me, uint32_t step)
{
	uint32_t n_stores = step >> me & 1 ? draw() % (COLD_N + 1) : 0;

	for (uint32_t i = draw() % WAIT_N; i > 0; i--)
		__asm__ volatile("" ::: "memory");
	for (uint32_t i = 0; i < n_stores; i++)
		*(volatile uint8_t *)&cold[draw() % COLD] = 1;
}

/* ---- pin against eviction --------------------------------------------- */

static void pin_step(uint32_t i, uint32_t step)
{
	struct cell *cell = &cells[i];
	uint32_t generation = ckv_entry_generation(&cell->entry);

	meet(0, step);
	delay(0, step);
	ckv_pin_set(&cell->pin, i + 1, generation);
	client_saw[i] = ckv_pin_confirm(&cell->entry, generation, &world, 1);
}

static void evict_step(uint32_t i, uint32_t step)
{
	struct cell *cell = &cells[i];
	uint32_t generation = ckv_entry_generation(&cell->entry);

	meet(1, step);
	delay(1, step);
	ckv_evict_mark(&cell->entry);
	ckv_evict_fence();
	daemon_saw[i] = ckv_pin_slot(&cell->pin) == i + 1;
	if (daemon_saw[i]) {
		ckv_evict_restore(&cell->entry);
	} else {
		cell->page = generation + 2;
		ckv_entry_set_generation(&cell->entry, generation + 2);
	}
}

/* Both are done with all cells: every confirmed pin's page is untouched. */
static void pin_judge(uint32_t *generation)
{
	for (uint32_t i = 0; i < CELLS; i++) {
		if (client_saw[i] && cells[i].page != generation[i])
			n_violations++;
		n_hits += client_saw[i] != 0;
		n_misses += client_saw[i] == 0;
		generation[i] = ckv_entry_generation(&cells[i].entry);
		ckv_pin_drop(&cells[i].pin);
	}
}

static void pin_reset(uint32_t *generation)
{
	for (uint32_t i = 0; i < CELLS; i++) {
		generation[i] = CKV_GENERATION_FIRST;
		cells[i].page = generation[i];
		ckv_entry_set_generation(&cells[i].entry, generation[i]);
	}
}

/* ---- sleeping against waking ------------------------------------------ */

static struct ckv_ring_end ring_at(uint32_t i)
{
	return (struct ckv_ring_end){ .slots = &cells[i].slot, .n_slots = 1,
				      .credit = &credit };
}

static void sleep_step(uint32_t i, uint32_t step)
{
	struct ckv_ring_end end = ring_at(i);

	meet(0, step);
	delay(0, step);
	ckv_sleep_prepare(&cells[i].flag);
	client_saw[i] = ckv_ring_ready(&end) != 0;
}

static void wake_step(uint32_t i, uint32_t step)
{
	struct ckv_ring_end end = ring_at(i);
	struct ckv_msg msg = { { 0 } };

	meet(1, step);
	delay(1, step);
	race_check(ckv_ring_put(&end, &msg) == 0);
	daemon_saw[i] = ckv_wake_needed(&cells[i].flag) != 0;
}

static void wake_judge(uint32_t *unused)
{
	(void)unused;
	for (uint32_t i = 0; i < CELLS; i++) {
		n_violations += !client_saw[i] && !daemon_saw[i];
		n_hits += client_saw[i] != 0;
		n_misses += client_saw[i] == 0;
		ckv_sleep_done(&cells[i].flag);
		memset(&cells[i].slot, 0, sizeof cells[i].slot);
	}
}

static void wake_reset(uint32_t *unused)
{
	(void)unused;
}

/* ---- both ------------------------------------------------------------- */

static const struct contest {
	const char *name;
	void (*client)(uint32_t i, uint32_t step);
	void (*daemon)(uint32_t i, uint32_t step);
	void (*judge)(uint32_t *generation);
	void (*reset)(uint32_t *generation);
} contests[] = {
	{ "a confirmed pin's page is never taken",
	  pin_step, evict_step, pin_judge, pin_reset },
	{ "a sleeper sees the message or is woken",
	  sleep_step, wake_step, wake_judge, wake_reset },
};
static const struct contest *contest;

static void *daemon_side(void *arg)
{
	uint32_t step = 1;

	(void)arg;
	for (;;) {
		for (uint32_t i = 0; i < CELLS; i++)
			contest->daemon(i, step++);
		meet(1, step++);
		/* The other side judges here. */
		meet(1, step++);
		if (atomic_load_explicit(&over, memory_order_relaxed))
			return NULL;
	}
}

static void *client_side(void *arg)
{
	static uint32_t generation[CELLS];
	double started = now_s();
	uint32_t step = 1, done = 0;

	(void)arg;
	contest->reset(generation);
	while (!done) {
		for (uint32_t i = 0; i < CELLS; i++)
			contest->client(i, step++);
		meet(0, step++);
		contest->judge(generation);
		n_met += CELLS;
		done = n_violations != 0 || now_s() - started > seconds;
		atomic_store_explicit(&over, done, memory_order_relaxed);
		meet(0, step++);
	}
	fprintf(stderr, "%s: %llu meetings, %llu yes, %llu no, %llu violations, "
		"%.0f ms\n", contest->name, (unsigned long long)n_met,
		(unsigned long long)n_hits, (unsigned long long)n_misses,
		(unsigned long long)n_violations, 1e3 * (now_s() - started));
	return NULL;
}

/* One second of a contest; what it saw is added up. True: no violation. */
static bool go_on(int c, uint64_t *seen)
{
	contest = &contests[c];
	n_met = n_violations = n_hits = n_misses = 0;
	at[0][0] = at[1][0] = over = 0;
	race_run(daemon_side, client_side, NULL);
	seen[0] += n_violations;
	seen[1] += n_hits;
	seen[2] += n_misses;
	return n_violations == 0;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	uint64_t seen[2][3] = { 0 };
	int failed = 0;

	cold = malloc(COLD);
	if (cold == NULL)
		return EXIT_FAILURE;
	memset(cold, 0, COLD);
	ckv_world_raise_epoch(&world, 1);
	ckv_world_set_life(&world, 1);
	while (rounds-- > 0 && go_on(0, seen[0]) && go_on(1, seen[1]))
		;
	for (int c = 0; c < 2; c++) {
		printf("%sok %d - %s\n", seen[c][0] ? "not " : "", c + 1,
		       contests[c].name);
		/* Both outcomes must occur, or the sides never raced. */
		failed |= seen[c][0] != 0 || seen[c][1] == 0 || seen[c][2] == 0;
	}
	free(cold);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
