/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm_client.c - one process of the storm: a connection, spaces and threads.
 *
 * It lives until it is killed. After some rounds its threads end, everything is
 * closed in one of the possible ways, and all begins anew.
 */
#include "tests/crash/storm_client.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LIFE_ROUNDS = 1200 };

struct worker {
	struct storm_process *process;
	struct storm_lane lane[STORM_SPACES];
	uint64_t random;
	int t;
};

/* What an honest client may hear while daemons die and others come and go. */
static bool transient(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -ESTALE ||
	       error == -ECONNRESET || error == -ETIMEDOUT || error == -EPIPE;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct storm_process *p = w->process;
	struct storm_counts *counts = &p->storm->counts[p->i][w->t];
	uint64_t last = LIFE_ROUNDS / 4 + storm_draw(&w->random) % LIFE_ROUNDS;

	for (int s = 0; s < STORM_SPACES; s++) {
		struct storm_lane *l = &w->lane[s];

		*l = (struct storm_lane){ .process = p, .counts = counts,
					  .space = p->space[s],
					  .random = storm_draw(&w->random) };
		ckv_space_get_info(l->space, &l->info);
		snprintf(l->name, sizeof l->name, "client %d thread %d %s", p->i,
			 w->t, storm_space[s]);
	}
	for (uint64_t n = 0; ckv_hint_load32(&p->leaving) == 0; n++) {
		storm_lane_step(&w->lane[storm_draw(&w->random) % STORM_SPACES]);
		ckv_count(&counts->rounds, 1);
		if (n == last)
			ckv_hint_store32(&p->leaving, 1);
	}
	for (int s = 0; s < STORM_SPACES; s++)
		if (storm_draw(&w->random) % 2)
			storm_lane_close(&w->lane[s]);
	return NULL;
}

/* Open and attach, however long no daemon is there. */
static void come(struct storm_process *p)
{
	int r;

	do {
		r = ckv_open(p->storm->socket, "storm", &p->ckv);
		for (int s = 0; r == 0 && s < STORM_SPACES; s++) {
			r = ckv_attach(p->ckv, storm_space[s], NULL, CKV_WRITE,
				       &p->space[s]);
			if (r < 0)
				p->ckv = ckv_close(p->ckv);
		}
		if (r < 0 && !transient(r))
			storm_tell(p->storm, "client %d cannot attach: %s", p->i,
				   ckv_strerror(r));
		if (r < 0)
			raw_nap();
	} while (r < 0);
}

_Noreturn void storm_client(struct storm *storm, int i, uint64_t seed)
{
	static struct storm_process p;
	static struct worker worker[STORM_THREADS];
	pthread_t thread[STORM_THREADS];
	uint64_t random = seed;

	p.storm = storm;
	p.i = i;
	for (;;) {
		come(&p);
		ckv_hint_store32(&p.leaving, 0);
		for (int t = 0; t < STORM_THREADS; t++) {
			worker[t].process = &p;
			worker[t].t = t;
			worker[t].random = storm_draw(&random);
			if (pthread_create(&thread[t], NULL, work, &worker[t]))
				_exit(RAW_BROKEN);
		}
		for (int t = 0; t < STORM_THREADS; t++)
			pthread_join(thread[t], NULL);
		if (storm_draw(&random) % 2)
			ckv_detach(p.space[storm_draw(&random) % STORM_SPACES]);
		ckv_close(p.ckv);
		ckv_count(&storm->counts[i][0].reopened, 1);
	}
}
