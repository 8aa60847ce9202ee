/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race_credit.c - CREDIT_PUT/CREDIT_TAKE alone: one direction, a slow consumer.
 *
 * If there were a ring of answers, the answers would order the accesses to the buffers
 * as well, and a credit that is too weak would not be noticed. So nothing comes back here
 * but the credit word.
 */
#include "proto/ckv_ring.h"
#include "tests/race/race.h"

#include <unistd.h>

#define SLOTS	8u
#define ROUNDS	300000u

static const char race_name[] = "a slot was read before it is reused";

static struct ckv_slot slots[SLOTS];
static _Atomic uint32_t credit;
static uint64_t buffer[SLOTS + 1];	/* plain memory, as in race_ring.c */

static void *produce(void *arg)
{
	struct ckv_ring_end end = { .slots = slots, .credit = &credit,
				    .n_slots = SLOTS };
	struct ckv_msg msg = { { 0 } };
	unsigned spins = 0;
	int r;

	(void)arg;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		buffer[i % (SLOTS + 1)] = i;
		while ((r = ckv_ring_put(&end, &msg)) == -EAGAIN)
			race_pause(&spins);
		race_check(r == 0);
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct ckv_ring_end end = { .slots = slots, .credit = &credit,
				    .n_slots = SLOTS };
	struct ckv_msg msg;
	unsigned spins = 0;
	int r;

	(void)arg;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		while ((r = ckv_ring_take(&end, &msg)) == -EAGAIN)
			race_pause(&spins);
		race_check(r == 0);
		race_check(buffer[i % (SLOTS + 1)] == i);
		ckv_ring_credit(&end);
	}
	return NULL;
}

int main(void)
{
	race_run(produce, consume, NULL);
	return race_passed(race_name);
}
