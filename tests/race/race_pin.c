/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race_pin.c - PIN_DROP/PIN_SCAN: reading a page is over before it is taken.
 *
 * One reader pins blocks and reads their pages, plain memory; the daemon's side evicts
 * with the real order (mark, fence, scan, restore or take) and writes the page
 * anew. A page that is read without a pin, or after it was dropped, is a race.
 * What the two full fences do cannot be seen here: stress_fences.c and the models.
 */
#include "proto/ckv_pin.h"
#include "tests/race/race.h"

#include <unistd.h>

#define BLOCKS	4u
#define WORDS	8
#define ROUNDS	60000u

static const char race_name[] = "a pinned page is neither taken nor written";

static struct ckv_entry entry[BLOCKS];
static struct ckv_world world;
static _Atomic uint64_t pin;
static _Atomic uint32_t over;		/* test's own */
static uint64_t page[BLOCKS][WORDS];	/* plain memory */
static unsigned n_taken, n_restored, n_read;

static void fill(uint32_t b, uint32_t generation)
{
	for (uint64_t w = 0; w < WORDS; w++)
		page[b][w] = generation * 16 + w;
}

static void *evictor(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < ROUNDS || n_restored == 0; i++) {
		uint32_t b = i % BLOCKS;
		uint32_t generation = ckv_entry_generation(&entry[b]);

		ckv_evict_mark(&entry[b]);
		ckv_evict_fence();
		if (ckv_pin_slot(&pin) == b) {
			ckv_evict_restore(&entry[b]);
			n_restored++;
			sched_yield();
			continue;
		}
		fill(b, generation + 2);
		ckv_entry_set_generation(&entry[b], generation + 2);
		n_taken++;
		if (i % 32 == 0)
			sched_yield();
	}
	atomic_store_explicit(&over, 1, memory_order_relaxed);
	return NULL;
}

static void *reader(void *arg)
{
	(void)arg;
	for (uint32_t i = 0;
	     !atomic_load_explicit(&over, memory_order_relaxed); i++) {
		uint32_t b = (i * 7) % BLOCKS;
		uint32_t generation = ckv_entry_generation(&entry[b]);

		ckv_pin_set(&pin, b, generation);
		if (ckv_pin_confirm(&entry[b], generation, &world, 1)) {
			if (i % 16 == 0)
				sched_yield();
			for (uint64_t w = 0; w < WORDS; w++)
				race_check(page[b][w] == generation * 16 + w);
			n_read++;
		}
		ckv_pin_drop(&pin);
	}
	return NULL;
}

int main(void)
{
	ckv_world_raise_epoch(&world, 1);
	ckv_world_set_life(&world, 1);
	for (uint32_t b = 0; b < BLOCKS; b++) {
		fill(b, CKV_GENERATION_FIRST);
		ckv_entry_set_generation(&entry[b], CKV_GENERATION_FIRST);
	}
	race_run(evictor, reader, NULL);
	race_check(n_taken > 0 && n_restored > 0 && n_read > 0);
	return race_passed(race_name);
}
