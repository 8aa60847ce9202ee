/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race_wake.c - a sleeper and a waker on a futex, with real sleeping.
 *
 * The waker announces a plain value with ckv_futex_bump() alone in every second
 * round (STATE_PUT/STATE_TAKE), and through a ring in the others. A wake-up that
 * gets lost is seen as a wait that runs into its limit although there was work.
 */
#include "proto/ckv_ring.h"
#include "tests/race/race.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLOTS	4u
#define ROUNDS	20000u
#define LIMIT_S	5

static const char race_name[] = "a sleeper is woken and sees what it was woken for";

static struct ckv_slot slots[SLOTS];
static _Atomic uint32_t credit, flag;
static _Atomic uint32_t futex[2];	/* of the even and the odd rounds */
static uint64_t note[2];		/* plain memory */
static _Atomic uint32_t note_taken;	/* test's own */

static void sleep_on(_Atomic uint32_t *word, uint32_t value)
{
	struct timespec limit = { .tv_sec = LIMIT_S };
	long r = syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0);

	race_check(r == 0 || errno != ETIMEDOUT);
}

static void wake(_Atomic uint32_t *word)
{
	ckv_futex_bump(word);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void *waker(void *arg)
{
	struct ckv_ring_end end = { .slots = slots, .credit = &credit,
				    .n_slots = SLOTS };
	struct ckv_msg msg = { { 0 } };
	unsigned spins = 0;

	(void)arg;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		while (atomic_load_explicit(&note_taken, memory_order_acquire) != i)
			race_pause(&spins);
		for (uint32_t k = 0; k < i % 50; k++)
			sched_yield();
		note[i % 2] = i;
		if (i % 2 == 0) {
			wake(&futex[0]);
			continue;
		}
		race_check(ckv_ring_put(&end, &msg) == 0);
		if (ckv_wake_needed(&flag))
			wake(&futex[1]);
	}
	return NULL;
}

static void await_ring(struct ckv_ring_end *end)
{
	struct ckv_msg msg;
	int r;

	while ((r = ckv_ring_take(end, &msg)) == -EAGAIN) {
		uint32_t value = ckv_futex_load(&futex[1]);

		ckv_sleep_prepare(&flag);
		if (!ckv_ring_ready(end))
			sleep_on(&futex[1], value);
		ckv_sleep_done(&flag);
	}
	race_check(r == 0);
	ckv_ring_credit(end);
}

static void *sleeper(void *arg)
{
	struct ckv_ring_end end = { .slots = slots, .credit = &credit,
				    .n_slots = SLOTS };
	uint32_t value = 0;

	(void)arg;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		if (i % 2 == 0) {
			while (ckv_futex_load(&futex[0]) == value)
				sleep_on(&futex[0], value);
		} else {
			await_ring(&end);
		}
		race_check(note[i % 2] == i);
		value = ckv_futex_load(&futex[0]);
		atomic_store_explicit(&note_taken, i + 1, memory_order_release);
	}
	return NULL;
}

int main(void)
{
	race_run(waker, sleeper, NULL);
	return race_passed(race_name);
}
