/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race_touch.c - the lossy touch ring: what is drained was once put.
 *
 * The ring may lose entries and orders no other memory. But it must never give a slot that
 * the client did not put in, and each access to it must be an atomic one.
 */
#include "proto/ckv_lane.h"
#include "tests/race/race.h"

#include <unistd.h>

#define TOUCHES	16u
#define ROUNDS	2000000u
#define MARK	0x5a000000u

static const char race_name[] = "a drained touch is one that was put";

static _Atomic uint32_t ring[TOUCHES], tail;

static void *toucher(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		ckv_touch_put(ring, TOUCHES, &tail, MARK | i);
		if (i % 256 == 0)
			sched_yield();
	}
	return NULL;
}

static void *drainer(void *arg)
{
	uint32_t pos = 0, now, n_drained = 0;
	unsigned spins = 0;

	(void)arg;
	do {
		race_pause(&spins);
		now = ckv_hint_load32(&tail);
		if (now - pos > TOUCHES)
			pos = now - TOUCHES;
		for (; pos != now; pos++) {
			uint32_t slot = ckv_hint_load32(&ring[pos % TOUCHES]);

			race_check(slot == 0 || (slot & 0xff000000u) == MARK);
			race_check((slot & 0xffffffu) < ROUNDS);
			n_drained++;
		}
	} while (now != ROUNDS);
	race_check(n_drained > 0);
	return NULL;
}

int main(void)
{
	race_run(toucher, drainer, NULL);
	return race_passed(race_name);
}
