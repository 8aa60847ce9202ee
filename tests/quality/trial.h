/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.h - one context, compressed by every method to every share of its bytes,
 * and judged by its sessions.
 */
#ifndef QUALITY_TRIAL_H
#define QUALITY_TRIAL_H

#include "client/examples/engine/err.h"
#include "tests/quality/methods.h"
#include "tests/quality/press.h"
#include "tests/quality/reader.h"
#include "tests/quality/structured.h"

enum task { NEEDLE, FACTS, HARD, CHAINS, STRUCTURED, N_TASKS };

extern const char *const task_name[N_TASKS];

/* Shares 1/2, 1/4, 1/8, 1/16 of the plain bytes; and what an encoding alone takes. */
enum { N_SHARES = 4, SHARE_OWN = N_SHARES, N_COLUMNS, MAX_COMPARED = 32 };

extern const uint32_t share_den[N_SHARES];

enum { LATER, IN_WINDOW, N_AWARE };	/* when the question is known */

struct cell {
	uint32_t n;		/* sessions */
	uint32_t right;		/* answers */
	double error, mass;	/* sums over the sessions */
	double bytes, plain;
};

struct result {
	struct cell cell[MAX_COMPARED][N_COLUMNS][N_AWARE][N_TURNS];
	char why[MAX_COMPARED][N_COLUMNS][CKV_METHOD_WHY_BYTES]; /* why no cell */
};

struct trial {
	enum task task;
	uint32_t n_tokens, n_sessions;
	uint32_t number;	/* of this task and length: another document */
	unsigned structure;	/* STRUCTURED */
};

/* What a thread needs to run trials, one after another. */
struct bench {
	struct reader reader;
	struct press press;
	uint64_t seed;
	const uint8_t *wanted;	/* [n_compared]: 0: left out; NULL: all */
};

/* The caller closes it, after errors too. */
int bench_open(struct bench *b, const struct model *m, uint64_t seed);
void bench_close(struct bench *b);

/* Fill in *ret. -errno, and `e` says what is wrong. */
int trial_run(struct bench *b, const struct trial *t, struct result *ret, struct err *e);

#endif
