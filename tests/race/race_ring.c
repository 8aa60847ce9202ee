/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race_ring.c - RING_PUT/RING_TAKE and CREDIT_PUT/CREDIT_TAKE, in both directions.
 *
 * Requests go one way and completions the other, as in a lane. Each message names
 * a plain buffer that its producer filled before. Buffer p % (SLOTS + 1) is filled
 * again for message p, which is allowed as soon as put(p - 1) succeeded: then
 * message p - 1 - SLOTS was copied, and its reader was done with the buffer before
 * it gave the credit. Positions start just below 2^32, so they wrap.
 */
#include "proto/ckv_ring.h"
#include "tests/race/race.h"

#include <unistd.h>

#define SLOTS	8u
#define ROUNDS	200000u
#define FIRST	(UINT32_MAX - 1000u)
#define WORDS	4

static const char race_name[] = "a message is whole when seen, a slot free when reused";

struct way {
	struct ckv_slot slots[SLOTS];
	_Atomic uint32_t credit;
	uint64_t buffer[SLOTS + 1][WORDS];	/* plain memory */
};

static struct way request = { .credit = FIRST };
static struct way reply = { .credit = FIRST };

static struct ckv_ring_end end_of(struct way *way)
{
	return (struct ckv_ring_end){ .slots = way->slots,
		.credit = &way->credit, .n_slots = SLOTS,
		.pos = FIRST, .credit_seen = FIRST };
}

static void send(struct way *way, struct ckv_ring_end *end, uint64_t i)
{
	uint64_t *buffer = way->buffer[i % (SLOTS + 1)];
	struct ckv_msg msg;
	unsigned spins = 0;
	int r;

	for (int w = 0; w < WORDS; w++)
		buffer[w] = i * 3 + (uint64_t)w;
	for (int w = 0; w < 8; w++)
		msg.word[w] = i << 32;
	while ((r = ckv_ring_put(end, &msg)) == -EAGAIN)
		race_pause(&spins);
	race_check(r == 0);
}

static void receive(struct way *way, struct ckv_ring_end *end, uint64_t i)
{
	const uint64_t *buffer = way->buffer[i % (SLOTS + 1)];
	struct ckv_msg msg;
	unsigned spins = 0;
	int r;

	while ((r = ckv_ring_take(end, &msg)) == -EAGAIN)
		race_pause(&spins);
	race_check(r == 0);
	race_check(msg.word[0] >> 32 == i);
	for (int w = 1; w < 8; w++)
		race_check(msg.word[w] == i << 32);
	for (int w = 0; w < WORDS; w++)
		race_check(buffer[w] == i * 3 + (uint64_t)w);
	if (i % 3 == 0 || end->pos - end->credit_seen >= SLOTS / 2) {
		ckv_ring_credit(end);
		end->credit_seen = end->pos;
	}
}

static void *client(void *arg)
{
	struct ckv_ring_end out = end_of(&request), in = end_of(&reply);

	(void)arg;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		send(&request, &out, i);
		if (i >= SLOTS / 2)
			receive(&reply, &in, i - SLOTS / 2);
	}
	return NULL;
}

static void *server(void *arg)
{
	struct ckv_ring_end in = end_of(&request), out = end_of(&reply);

	(void)arg;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		receive(&request, &in, i);
		if (i < ROUNDS - SLOTS / 2)
			send(&reply, &out, i);
	}
	return NULL;
}

int main(void)
{
	race_run(server, client, NULL);
	return race_passed(race_name);
}
