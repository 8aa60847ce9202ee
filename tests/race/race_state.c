/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race_state.c - STATE_PUT/STATE_TAKE: what led to a change of state is seen.
 *
 * Among others these state words use this pair: a lane's state, a client's row, life
 * and epoch of the daemon. A plain note is written before each.
 */
#include "proto/ckv_lane.h"
#include "proto/ckv_stats.h"
#include "proto/ckv_world.h"
#include "tests/race/race.h"

#include <unistd.h>

#define ROUNDS	20000u
#define STATES	4

static const char race_name[] = "who sees a state sees what led to it";

struct round {
	struct ckv_d_head d;
	struct ckv_client_row row;
	struct ckv_world life, epoch;
	uint32_t note[STATES];	/* plain memory */
};

static struct round *rounds;

static void *writer(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		struct round *r = &rounds[i];

		r->note[0] = i;
		ckv_lane_shut(&r->d, EPROTO);
		r->note[1] = i;
		ckv_client_set_state(&r->row, CKV_CLIENT_ATTACHED);
		r->note[2] = i;
		ckv_world_set_life(&r->life, 77);
		r->note[3] = i;
		ckv_world_raise_epoch(&r->epoch, 9);
		if (i % 16 == 0)
			sched_yield();
	}
	return NULL;
}

static void *reader(void *arg)
{
	unsigned spins = 0;

	(void)arg;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		const struct round *r = &rounds[i];

		/* In the order of writing: a later state would order all. */
		while (ckv_lane_state(&r->d) != EPROTO)
			race_pause(&spins);
		race_check(r->note[0] == i);
		while (ckv_client_state(&r->row) != CKV_CLIENT_ATTACHED)
			race_pause(&spins);
		race_check(r->note[1] == i);
		while (!ckv_world_alive(&r->life, 0))
			race_pause(&spins);
		race_check(r->note[2] == i);
		while (!ckv_world_alive(&r->epoch, 9))
			race_pause(&spins);
		race_check(r->note[3] == i);
	}
	return NULL;
}

int main(void)
{
	rounds = calloc(ROUNDS, sizeof *rounds);
	if (rounds == NULL)
		return EXIT_FAILURE;
	/* `epoch` is that of a living daemon; `life` waits for one. */
	for (uint32_t i = 0; i < ROUNDS; i++)
		ckv_world_set_life(&rounds[i].epoch, 1);
	race_run(writer, reader, NULL);
	free(rounds);
	return race_passed(race_name);
}
