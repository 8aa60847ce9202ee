/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scribble.h - hostile clients that write anything anywhere, for crash_scribble.c.
 *
 * A way of scribbling is a function that writes at random into what its client may write,
 * until the daemon closes the lane or it has done enough. A life is one process that
 * attaches, does that, and ends or is killed.
 */
#ifndef CKV_TESTS_SCRIBBLE_H
#define CKV_TESTS_SCRIBBLE_H

#include "tests/crash/raw.h"

enum {
	SCRIBBLE_LANES = 8,
	SCRIBBLE_STUCK = 98,	/* a well-formed request was never answered */
};

struct scribbler {
	struct raw raw;
	struct raw_lane lane[SCRIBBLE_LANES];
	uint32_t n_lanes, n_slots;	/* of the index */
	uint64_t random;
	_Atomic uint64_t *n_done;	/* words written, requests sent, ... */
	const char *socket;
};

struct scribble {
	const char *name;
	void (*live)(struct scribbler *s);
	uint32_t n_lanes, n_pins;	/* opened for it, if it can be */
	uint32_t access;
	uint64_t n_enough;	/* done by all lives together */
};

extern const struct scribble scribbles[];
extern const int n_scribbles;

/* One life of a way. Ends its process: 0, or what went wrong. */
_Noreturn void scribble_live(const struct scribble *way, const char *socket,
			     const char *space, uint64_t seed,
			     _Atomic uint64_t *n_done);

/* For the ways: a number below n; a value at the edge of something. */
uint32_t scribble_draw(struct scribbler *s, uint32_t n);
uint64_t scribble_odd(struct scribbler *s);
bool scribble_shut(const struct raw_lane *lane);

/* scribble_requests.c */
void scribble_wild_requests(struct scribbler *s);
void scribble_strange_requests(struct scribbler *s);
void scribble_moving_arguments(struct scribbler *s);

#endif
