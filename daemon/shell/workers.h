/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.h - threads that take jobs and give them back.
 *
 * A job is the worker's from workers_give() until workers_take() returns it:
 * nobody else looks at it. The reactor hears of finished jobs through an
 * eventfd that no client has.
 */
#ifndef CKV_WORKERS_H
#define CKV_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

struct work {			/* the first member of a job */
	struct work *next;
	void (*run)(struct work *work);
	bool low;		/* only when nothing else waits, and on all threads but one */
};

struct workers;

int workers_create(uint32_t n_threads, struct workers **ret_workers);
/* Waits for what runs; what waits is not run. NULL is allowed. */
void workers_destroy(struct workers *workers);

int workers_fd(const struct workers *workers);	/* readable: take */
void workers_give(struct workers *workers, struct work *work);
/* A finished job, oldest first; NULL: none. Clears the descriptor. */
struct work *workers_take(struct workers *workers);

/* For long jobs: is the daemon going down? */
bool workers_stopping(struct workers *workers);

#endif
