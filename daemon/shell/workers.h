/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.h - a pool of threads that run jobs for the reactor.
 *
 * From workers_give() until workers_take() returns it, a job belongs to the worker:
 * the reactor does not look at it. An eventfd, which no client has, tells the reactor
 * that jobs are finished.
 */
#ifndef CKV_WORKERS_H
#define CKV_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

struct work {			/* the first member of a job */
	struct work *next;
	void (*run)(struct work *work);
	bool low;		/* low priority: see choose() in workers.c */
};

struct workers;

int workers_create(uint32_t n_threads, struct workers **ret_workers);
/* Waits for the jobs that run; those that wait are not run. NULL is allowed. */
void workers_destroy(struct workers *workers);

int workers_fd(const struct workers *workers);	/* readable: call workers_take() */
void workers_give(struct workers *workers, struct work *work);
/* The job that was finished first. NULL: there is none, and the eventfd is cleared. */
struct work *workers_take(struct workers *workers);

/* Is the daemon stopping? A long job asks that now and then. */
bool workers_stopping(struct workers *workers);

#endif
