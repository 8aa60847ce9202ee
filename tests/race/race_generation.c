/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race_generation.c - GEN_STORE/GEN_LOAD: pages belong to the generation.
 *
 * No bucket sequence here: the writer gives an entry a new even generation, and a
 * reader that confirms this generation may read what was written before it. The
 * note of a generation is plain memory.
 */
#include "proto/ckv_pin.h"
#include "tests/race/race.h"

#include <unistd.h>

#define VERSIONS 200000u

static const char race_name[] = "who sees a generation sees its pages";

static struct ckv_entry entry;
static struct ckv_world world;
static uint32_t note[VERSIONS + 1];	/* plain memory */

static void *writer(void *arg)
{
	(void)arg;
	for (uint32_t v = 1; v <= VERSIONS; v++) {
		ckv_evict_mark(&entry);
		note[v] = v;
		ckv_entry_set_generation(&entry, 2 * v);
		if (v % 64 == 0)
			sched_yield();
	}
	return NULL;
}

static void *reader(void *arg)
{
	struct ckv_block block;
	unsigned spins = 0;
	uint32_t v = 0;

	(void)arg;
	while (v < VERSIONS) {
		race_pause(&spins);
		v = ckv_entry_generation(&entry) / 2;
		if (ckv_pin_confirm(&entry, 2 * v, &world, 1))
			race_check(v == 0 || note[v] == v);
		ckv_entry_load(&entry, &block);
		if (block.generation % 2 == 0 && block.generation != 0)
			race_check(note[block.generation / 2] ==
				   block.generation / 2);
	}
	return NULL;
}

int main(void)
{
	ckv_world_raise_epoch(&world, 1);
	ckv_world_set_life(&world, 1);
	race_run(writer, reader, NULL);
	return race_passed(race_name);
}
