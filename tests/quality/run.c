/* SPDX-License-Identifier: Apache-2.0 */
/* run.c - see run.h. */
#include "tests/quality/run.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 64 };

const uint32_t run_length[N_LENGTHS] = { 512, 1024, 1800 };

/* Documents and sessions of each, by task. */
struct effort {
	uint32_t n_documents, n_sessions, n_lengths;
};

static const struct effort full_effort[N_TASKS] = {
	[NEEDLE] = { 16, 1, 3 }, [FACTS] = { 4, 8, 3 }, [HARD] = { 4, 8, 3 },
	[CHAINS] = { 4, 8, 3 }, [STRUCTURED] = { 2, 4, 3 },
};

static const struct effort quick_effort[N_TASKS] = {
	[NEEDLE] = { 4, 1, 2 }, [FACTS] = { 2, 4, 2 }, [HARD] = { 1, 4, 2 },
	[CHAINS] = { 1, 4, 2 }, [STRUCTURED] = { 1, 4, 2 },
};

struct work {
	struct run *run;
	const struct model *m;
	const uint8_t *wanted;
	struct result *result;		/* [n_trials] */
	pthread_mutex_t lock;		/* of what follows */
	uint32_t next;
	int bad;
	struct err *e;
	double began_s;
};

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The longest first, so that no thread is left alone with one at the end. */
void run_plan(struct run *run, const struct run_options *o)
{
	const struct effort *effort = o->quick ? quick_effort : full_effort;

	*run = (struct run){ .o = *o };
	for (uint32_t i = 0; i < N_ALONE; i++)
		run->trial[run->n_trials++] = (struct trial){
			.task = STRUCTURED, .n_tokens = ALONE_TOKENS, .number = i,
			.n_sessions = STRUCTURED_SPANS,
			.structure = i > 0 ? 1u << (i - 1) : 0 };
	for (uint32_t l = N_LENGTHS; l-- > 0;)
		for (int t = 0; t < N_TASKS; t++)
			for (uint32_t i = 0; i < effort[t].n_documents; i++)
				if (l < effort[t].n_lengths)
					run->trial[run->n_trials++] = (struct trial){
						.task = t, .number = i,
						.n_tokens = run_length[l],
						.n_sessions = effort[t].n_sessions,
						.structure = ALL_STRUCTURE };
}

/* The next trial's number, or n_trials. */
static uint32_t take(struct work *w)
{
	uint32_t i;

	pthread_mutex_lock(&w->lock);
	i = w->bad < 0 ? w->run->n_trials : w->next;
	if (i < w->run->n_trials)
		w->next++;
	pthread_mutex_unlock(&w->lock);
	return i;
}

static void finish(struct work *w, int r, const struct err *e)
{
	pthread_mutex_lock(&w->lock);
	if (r < 0 && w->bad == 0) {
		w->bad = r;
		*w->e = *e;
	}
	w->run->n_done++;
	fprintf(stderr, "\rquality: %u of %u contexts, %.0f s ", w->run->n_done,
		w->run->n_trials, now_s() - w->began_s);
	pthread_mutex_unlock(&w->lock);
}

static void *run_some(void *arg)
{
	struct work *w = arg;
	struct bench b;
	struct err e = { { 0 } };
	int r = bench_open(&b, w->m, w->run->o.seed);
	uint32_t i;

	b.wanted = w->wanted;
	if (r < 0)
		finish(w, r, &e);
	while (r == 0 && (i = take(w)) < w->run->n_trials) {
		r = trial_run(&b, &w->run->trial[i], &w->result[i], &e);
		finish(w, r, &e);
	}
	bench_close(&b);
	return NULL;
}

/* Where a trial's result belongs. */
static struct result *sum_of(struct run *run, const struct trial *t)
{
	uint32_t l = 0;

	if (t->task == STRUCTURED && t->structure != ALL_STRUCTURE)
		return &run->alone[t->structure == 0 ? 0 :
				   1 + __builtin_ctz(t->structure)];
	while (run_length[l] != t->n_tokens)
		l++;
	return &run->sum[t->task][l];
}

static void add_cell(struct cell *to, const struct cell *from)
{
	to->n += from->n;
	to->right += from->right;
	to->error += from->error;
	to->mass += from->mass;
	to->bytes += from->bytes;
	to->plain += from->plain;
}

static void add_result(struct result *sum, const struct result *one)
{
	struct cell *to = &sum->cell[0][0][0][0];
	const struct cell *from = &one->cell[0][0][0][0];

	for (size_t i = 0; i < sizeof(sum->cell) / sizeof(*to); i++)
		add_cell(&to[i], &from[i]);
	for (size_t m = 0; m < MAX_COMPARED; m++)
		for (size_t c = 0; c < N_COLUMNS; c++)
			if (one->why[m][c][0] != '\0')
				memcpy(sum->why[m][c], one->why[m][c],
				       sizeof(sum->why[m][c]));
}

static int start_and_join(struct work *w)
{
	pthread_t thread[MAX_THREADS];
	uint32_t n = 0;

	while (n < w->run->o.n_threads && n < MAX_THREADS &&
	       pthread_create(&thread[n], NULL, run_some, w) == 0)
		n++;
	if (n == 0)
		return err_set(w->e, -EAGAIN, "no thread can be started");
	while (n > 0)
		pthread_join(thread[--n], NULL);
	return w->bad;
}

int run_all_trials(struct run *run, const struct model *m, const uint8_t *wanted,
		   struct err *e)
{
	struct work w = { .run = run, .m = m, .wanted = wanted, .e = e,
			  .began_s = now_s() };
	int r = -ENOMEM;

	run->sum = calloc(N_TASKS, sizeof(*run->sum));
	run->alone = calloc(N_ALONE, sizeof(*run->alone));
	w.result = calloc(run->n_trials, sizeof(*w.result));
	pthread_mutex_init(&w.lock, NULL);
	if (run->sum != NULL && run->alone != NULL && w.result != NULL)
		r = start_and_join(&w);
	for (uint32_t i = 0; r == 0 && i < run->n_trials; i++)
		add_result(sum_of(run, &run->trial[i]), &w.result[i]);
	pthread_mutex_destroy(&w.lock);
	free(w.result);
	run->took_s = now_s() - w.began_s;
	fprintf(stderr, "\n");
	return r;
}

void run_free(struct run *run)
{
	free(run->sum);
	free(run->alone);
	run->sum = NULL;
	run->alone = NULL;
}

/* Does a method that keeps every token not fit in a column's share? */
static int too_large(const struct cell *c, uint32_t column)
{
	return column < N_SHARES && c->bytes * share_den[column] > c->plain;
}

struct cell run_cell(const struct run *run, struct pool pool, uint32_t method,
		     uint32_t column, int aware, enum turn turn)
{
	int whole = compared[method].select == NULL;
	struct cell sum = { 0 };

	if (!compared[method].reads_queries)
		aware = LATER;
	for (int t = 0; t < N_TASKS; t++)
		for (int l = 0; l < N_LENGTHS; l++)
			if (pool.tasks >> t & 1 && pool.lengths >> l & 1)
				add_cell(&sum, &run->sum[t][l].cell[method]
					 [whole ? SHARE_OWN : column][aware][turn]);
	return whole && too_large(&sum, column) ? (struct cell){ 0 } : sum;
}

struct cell run_alone(const struct run *run, uint32_t alone, uint32_t method,
		      uint32_t column, int aware, enum turn turn)
{
	int whole = compared[method].select == NULL;
	const struct cell *c;

	if (!compared[method].reads_queries)
		aware = LATER;
	c = &run->alone[alone].cell[method][whole ? SHARE_OWN : column][aware][turn];
	return whole && too_large(c, column) ? (struct cell){ 0 } : *c;
}
