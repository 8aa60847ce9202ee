/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - all trials of a run, over threads, and their results added up by task and
 * length. The sums are formed in the order of the trials, so that they are the same
 * bits whatever thread did what.
 */
#ifndef QUALITY_RUN_H
#define QUALITY_RUN_H

#include "tests/quality/trial.h"

enum { N_LENGTHS = 3, MAX_TRIALS = 512 };

/* Structured contexts with no structure, then with one alone: 1 + its bit's number. */
enum { N_ALONE = 9, ALONE_TOKENS = 1024 };

extern const uint32_t run_length[N_LENGTHS];

struct run_options {
	int quick;
	uint32_t n_threads;
	uint64_t seed;
};

struct run {
	struct run_options o;
	struct trial trial[MAX_TRIALS];
	uint32_t n_trials, n_done;
	struct result (*sum)[N_LENGTHS];	/* [task][length] */
	struct result *alone;			/* [N_ALONE] */
	double took_s;
};

/* List the trials of a run. */
void run_plan(struct run *run, const struct run_options *o);

/* Do them, saying on stderr how far it is. The caller gives it to run_free(). */
int run_all_trials(struct run *run, const struct model *m, const uint8_t *wanted,
		   struct err *e);
void run_free(struct run *run);

/* Which cells are added up: bits of tasks and of lengths. */
struct pool {
	unsigned tasks, lengths;
};

enum {
	MODEL_TASKS = 1 << NEEDLE | 1 << FACTS | 1 << HARD | 1 << CHAINS,
	MANY_TASKS = 1 << FACTS | 1 << HARD | 1 << CHAINS,
	ALL_LENGTHS = (1 << N_LENGTHS) - 1,
};

/*
 * The sum of a method's cells. A method that reads no queries has one set of them for
 * both columns: a question in the window changes nothing. A method that keeps every
 * token is in the column of a share where it fits, and in SHARE_OWN.
 */
struct cell run_cell(const struct run *run, struct pool pool, uint32_t method,
		     uint32_t column, int aware, enum turn turn);

/* The same of structured contexts with one structure alone. */
struct cell run_alone(const struct run *run, uint32_t alone, uint32_t method,
		      uint32_t column, int aware, enum turn turn);

/* Averages of a cell that has something in it. */
static inline double cell_right(const struct cell *c)
{
	return (double)c->right / c->n;
}

static inline double cell_error(const struct cell *c)
{
	return c->error / c->n;
}

static inline double cell_mass(const struct cell *c)
{
	return c->mass / c->n;
}

static inline double cell_share(const struct cell *c)
{
	return c->bytes / c->plain;
}

#endif
