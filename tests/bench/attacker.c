/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attacker.c - a hostile client for the rows of a neighbour under attack.
 */
#include "tests/bench/attacker.h"
#include "tests/crash/raw.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PINS_MIN = 32768,	/* less than any limit that is meant to be of use */
	FLIPPED = 64,		/* pin words that change in a round, per lane */
	KEYS = CKV_BATCH_MAX,
	NICE = 19,		/* not to take the processor of whom it attacks */
	PAUSE_MIN_US = 50, PAUSE_MAX_US = 2000,
	COME_WAIT_MS = 60000,
};

struct attack {
	struct attacker *shared;
	struct raw raw;
	struct raw_lane lane[ATTACKER_LANES_MAX];
	uint32_t n_lanes;
	struct ckv_key leaf_key;
	uint64_t leaf;		/* the pin word of it */
	uint64_t random;
};

/* ---- taking what is granted ---- */

static const struct ckv_lane_shape largest = {
	.n_slots = 1024, .n_touches = 4096, .arg_bytes = 128 << 10,
};

static void close_lanes(struct attack *a, uint32_t from)
{
	while (a->n_lanes > from)
		raw_lane_close(&a->lane[--a->n_lanes]);
}

/* Lanes with n_pins each until one is refused. */
static void open_lanes(struct attack *a, uint32_t n_max, uint32_t n_pins)
{
	struct ckv_lane_shape shape = largest;
	int r = 0;

	shape.n_pins = n_pins;
	while (a->n_lanes < n_max && r == 0) {
		r = raw_lane_ask(&a->raw, &a->lane[a->n_lanes], &shape);
		if (r == 0)
			a->n_lanes++;
		else
			a->shared->refused = (uint32_t)-r;
	}
}

/*
 * All lanes that are granted, each with as many pins as leave room for all of them;
 * what the division left over goes to the last.
 */
static void take_lanes(struct attack *a)
{
	uint32_t n_pins = CKV_LANE_PINS_MAX, n_all;

	open_lanes(a, ATTACKER_LANES_MAX, 1);
	n_all = a->n_lanes;
	if (n_all == 0)
		return;
	do {
		close_lanes(a, 0);
		open_lanes(a, n_all, n_pins);
		n_pins /= 2;
	} while (a->n_lanes < n_all && n_pins > 0);
	for (n_pins = CKV_LANE_PINS_MAX; n_pins > 0; n_pins /= 2) {
		close_lanes(a, n_all - 1);
		open_lanes(a, n_all, n_pins);
		if (a->n_lanes == n_all)
			break;
	}
	for (uint32_t i = 0; i < a->n_lanes; i++)
		a->shared->n_pins += a->lane[i].shape.n_pins;
	a->shared->n_lanes = a->n_lanes;
}

/* A leaf of its own, which it will pin: DROP and every search look at it. */
static void take_leaf(struct attack *a)
{
	struct ckv_place place;
	struct ckv_block block;
	uint32_t slot;

	a->leaf_key = raw_key(0xa77ac, (uint64_t)getpid());
	if (raw_store(&a->lane[0], NULL, &a->leaf_key) != 0)
		_exit(RAW_BROKEN);
	place = ckv_index_place(&a->raw.index, &a->leaf_key);
	if (!ckv_index_find(&a->raw.index, &place, &a->leaf_key, &slot, &block))
		_exit(RAW_BROKEN);
	a->leaf = (uint64_t)slot << 32 | block.generation;
}

/* ---- the attack ---- */

/* Of the leaf, or of a slot that no index has. */
static uint64_t pin_word(const struct attack *a, uint32_t i)
{
	uint32_t n_slots = a->raw.index.n_buckets * CKV_BUCKET_ENTRIES;

	return i % 2 ? a->leaf : (uint64_t)(n_slots + i) << 32 | 2;
}

static _Atomic uint64_t *pins_of(const struct raw_lane *lane)
{
	return (void *)(lane->c + lane->map.pins);
}

/* What a lane asks all the time, by its number. */
static struct ckv_req request_of(uint32_t i)
{
	static const struct ckv_req kind[] = {
		{ .op = CKV_OP_DROP, .n = 1, .arg_bytes = sizeof(struct ckv_key) },
		{ .op = CKV_OP_DROP, .n = KEYS,
		  .arg_bytes = KEYS * sizeof(struct ckv_key) },
		{ .op = CKV_OP_RESERVE, .n = KEYS,
		  .arg_bytes = sizeof(struct ckv_reserve_arg) +
			       KEYS * sizeof(struct ckv_key) },
		{ .op = CKV_OP_NOP },
	};

	return kind[i % 4];
}

static void prepare_lane(struct attack *a, uint32_t i)
{
	struct raw_lane *lane = &a->lane[i];
	struct ckv_req request = request_of(i);
	struct ckv_key *keys = (void *)(lane->c + lane->map.args);
	struct ckv_reserve_arg *arg = (void *)keys;

	for (uint32_t k = 0; k < lane->shape.n_pins; k++)
		ckv_hint_store64(&pins_of(lane)[k], pin_word(a, k));
	ckv_hint_store32(&lane->c_head->pin_high, lane->shape.n_pins);
	if (request.op == CKV_OP_RESERVE) {
		*arg = (struct ckv_reserve_arg){ .level = CKV_LEVEL_HOST };
		random_fill(&a->random, arg + 1, KEYS * sizeof *keys);
		return;
	}
	for (uint32_t k = 0; k < request.n; k++)
		keys[k] = a->leaf_key;
}

/* New keys for whom asks for new ones, pins that come and go, touches, events. */
static void stir(struct attack *a, uint32_t i)
{
	struct raw_lane *lane = &a->lane[i];
	struct ckv_reserve_arg *arg = (void *)(lane->c + lane->map.args);
	uint32_t n = lane->shape.n_pins, from = (uint32_t)random_next(&a->random);

	if (request_of(i).op == CKV_OP_RESERVE)
		random_fill(&a->random, arg + 1, sizeof(struct ckv_key));
	for (uint32_t k = 0; k < FLIPPED; k++)
		ckv_hint_store64(&pins_of(lane)[(from + k) % n], 0);
	for (uint32_t k = 0; k < FLIPPED; k++)
		ckv_hint_store64(&pins_of(lane)[(from + k) % n],
				 pin_word(a, (from + k) % n));
	ckv_hint_store32(&lane->c_head->touch_tail,
			 ckv_hint_load32(&lane->c_head->touch_tail) +
			 lane->shape.n_touches);
	ckv_hint_store32(&lane->c_head->need_wake, 1);
	ckv_event_raise(&lane->c_head->event_arm);
}

static void take_answers(struct attack *a, struct raw_lane *lane)
{
	struct ckv_msg message;
	uint64_t n = 0;

	while (ckv_ring_take(&lane->completions, &message) == 0)
		n++;
	ckv_ring_credit(&lane->completions);
	ckv_count(&a->shared->n_answers, n);
}

/* Fill every ring. How many were found with nothing left in them. */
static uint32_t fill_rings(struct attack *a)
{
	uint32_t n_dry = 0, n_shut = 0;

	for (uint32_t i = 0; i < a->n_lanes; i++) {
		struct raw_lane *lane = &a->lane[i];
		struct ckv_req request = request_of(i);
		struct ckv_msg message;

		n_shut += ckv_lane_state(lane->d_head) != 0;
		n_dry += ckv_hint_load32(lane->requests.credit) ==
			 lane->requests.pos;
		take_answers(a, lane);
		stir(a, i);
		memcpy(&message, &request, sizeof message);
		while (ckv_ring_put(&lane->requests, &message) == 0)
			;
		raw_knock(lane);
	}
	a->shared->n_shut = n_shut;
	ckv_count(&a->shared->n_looks, a->n_lanes);
	ckv_count(&a->shared->n_dry, n_dry);
	return n_dry;
}

/* Another user, another processor than the daemon's and, if there are more, ours. */
static void leave(const struct attacker *shared, int i)
{
	bench_bind(0, bench_cpus() > 2 ? 2 + i % (bench_cpus() - 2) : 1);
	if (shared->uid != 0 && (setgroups(0, NULL) < 0 ||
				 setgid(shared->uid) < 0 ||
				 setuid(shared->uid) < 0))
		_exit(RAW_BROKEN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setpriority(PRIO_PROCESS, 0, NICE) < 0)
		_exit(RAW_BROKEN);
}

static void be_an_attacker(struct attacker *shared,
			   const struct bench_daemon *d, const char *space)
{
	struct attack *a = calloc(1, sizeof *a);
	useconds_t pause_us = PAUSE_MIN_US;

	if (a == NULL)
		_exit(RAW_BROKEN);
	a->shared = shared;
	a->random = (uint64_t)getpid() * 2654435761u;
	raw_open(&a->raw, d->socket);
	raw_attach(&a->raw, space, CKV_ACCESS_WRITE);
	take_lanes(a);
	if (a->n_lanes > 0)
		take_leaf(a);
	for (uint32_t i = 0; i < a->n_lanes; i++)
		prepare_lane(a, i);
	shared->state = ATTACKER_READY;
	while (shared->state != ATTACKER_GOES_ON)
		usleep(1000);
	for (;;) {
		if (fill_rings(a) > a->n_lanes / 8)
			pause_us = pause_us / 2;
		else
			pause_us = pause_us + PAUSE_MIN_US;
		if (pause_us < PAUSE_MIN_US)
			pause_us = PAUSE_MIN_US;
		if (pause_us > PAUSE_MAX_US)
			pause_us = PAUSE_MAX_US;
		usleep(pause_us);
	}
}

/* ---- for the bench ---- */

static bool started(struct attacker *attacker)
{
	for (int ms = 0; ms < COME_WAIT_MS; ms++) {
		if (attacker->state == ATTACKER_READY)
			return true;
		if (waitpid(attacker->pid, NULL, WNOHANG) == attacker->pid) {
			attacker->pid = 0;
			return false;
		}
		usleep(1000);
	}
	return false;
}

bool attackers_start(struct attacker *attackers, int n,
		     const struct bench_daemon *d, const char *space,
		     const char **ret_why)
{
	for (int i = 0; i < n; i++) {
		uid_t uid = attackers[i].uid;
		pid_t pid;

		memset((void *)&attackers[i], 0, sizeof attackers[i]);
		attackers[i].uid = uid;
		fflush(NULL);
		pid = fork();
		if (pid == 0) {
			leave(&attackers[i], i);
			be_an_attacker(&attackers[i], d, space);
		}
		attackers[i].pid = pid;
		if (!started(&attackers[i])) {
			*ret_why = "an attacker did not get ready";
			return false;
		}
	}
	for (int i = 0; i < n; i++)
		attackers[i].state = ATTACKER_GOES_ON;
	return true;
}

void attackers_stop(struct attacker *attackers, int n)
{
	for (int i = 0; i < n; i++) {
		if (attackers[i].pid <= 0)
			continue;
		kill(attackers[i].pid, SIGKILL);
		waitpid(attackers[i].pid, NULL, 0);
		attackers[i].pid = 0;
	}
}

bool attackers_ran(const struct attacker *attackers, int n, const uint64_t *from,
		   char *ret_why, size_t why_bytes)
{
	for (int i = 0; i < n; i++) {
		const struct attacker *a = &attackers[i];
		/* The first of a user may have taken what others were allowed. */
		bool poor = a->uid == 0 && i > 0;
		const char *what = NULL;

		if (waitpid(a->pid, NULL, WNOHANG) != 0)
			what = "has ended";
		else if (!poor && (a->n_lanes == 0 || a->n_pins < PINS_MIN))
			what = "was not granted what it is allowed";
		else if (a->refused == 0)
			what = "did not go up to its limits";
		else if (a->n_shut > 0)
			what = "lost a lane";
		else if (a->n_answers == from[i] && a->n_lanes > 0)
			what = "had no answer";
		else if (a->n_dry * 2 > a->n_looks)
			what = "did not keep its rings full";
		if (what == NULL)
			continue;
		snprintf(ret_why, why_bytes, "attacker %d %s: %d lanes, %d pins, "
			 "then %s; %llu answers, %llu of %llu rings were dry",
			 i + 1, what, (int)a->n_lanes, (int)a->n_pins,
			 strerror((int)a->refused),
			 (unsigned long long)(a->n_answers - from[i]),
			 (unsigned long long)a->n_dry,
			 (unsigned long long)a->n_looks);
		return false;
	}
	return true;
}
