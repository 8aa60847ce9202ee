/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attacker.h - a hostile client for the rows of a neighbour under attack.
 *
 * A process over proto/ alone. It takes every lane and every pin word that the
 * daemon grants it, points them at a leaf of its own and at slots far away, and
 * keeps all rings full of what is dearest to answer: DROP of that leaf, DROP of it
 * 1 024 times, RESERVE of 1 024 new keys, NOP; at the same time it touches, asks for
 * wake-ups and events, and flips pins. Whatever the limits are, it goes up to them.
 *
 * What counts is the daemon's work, not the processors that an attacker can burn as
 * well without a daemon: it sleeps as long as its rings stay full.
 */
#ifndef BENCH_ATTACKER_H
#define BENCH_ATTACKER_H

#include "tests/bench/daemon.h"

#include <stdatomic.h>

enum { ATTACKER_LANES_MAX = 1024 };

enum attacker_state {
	ATTACKER_COMES, ATTACKER_READY,	/* it has all that it is granted */
	ATTACKER_GOES_ON,		/* the others have, too: attack */
};

struct attacker {		/* in memory shared with the bench */
	pid_t pid;
	uid_t uid;		/* 0: that of the bench */
	_Atomic uint32_t state;
	_Atomic uint64_t n_lanes, n_pins;
	_Atomic uint32_t refused;	/* what the lane beyond its last was told */
	_Atomic uint64_t n_answers;	/* taken from its rings */
	_Atomic uint64_t n_looks, n_dry; /* at its rings; nothing was left in them */
	_Atomic uint64_t n_shut;	/* lanes the daemon has closed */
};

/* n of them, one after the other, in `space`. False: *ret_why. */
bool attackers_start(struct attacker *attackers, int n,
		     const struct bench_daemon *d, const char *space,
		     const char **ret_why);
void attackers_stop(struct attacker *attackers, int n);

/*
 * After a measurement: did each run all the time with everything it was granted?
 * `from` is what they had answered before it. False: ret_why says who did not.
 */
bool attackers_ran(const struct attacker *attackers, int n, const uint64_t *from,
		   char *ret_why, size_t why_bytes);

#endif
