/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.h - processes that the demo starts, and the lines they say.
 */
#ifndef ENGINE_PROC_H
#define ENGINE_PROC_H

#include <sys/types.h>

#include <jansson.h>

#include "client/examples/engine/err.h"

#define PROC_ARGS_MAX	128

struct proc {
	pid_t pid;
	int out;			/* what it says; -1: nobody listens */
	const char *name;
	char *rest;			/* read, and not yet taken */
	size_t n_rest;
};

/* A list of arguments that is put together piece by piece, 0 at the end. */
struct args {
	const char *arg[PROC_ARGS_MAX];
	int n;
};

void args_add(struct args *a, const char *arg);

/*
 * Start a->arg[0]. Its output can be read; its errors go to `errors`, a file
 * descriptor. It dies with the demo. The caller gives it to proc_end().
 */
int proc_start(const char *name, const struct args *a, int errors,
	       struct proc *ret, struct err *e);

/* Called every two seconds while one says nothing, if set. */
extern void (*proc_on_wait)(void);

/* Its next line of JSON, within a minute. The caller owns *ret. */
int proc_read(struct proc *p, json_t **ret, struct err *e);

/* Wait for its end; -ECHILD after a message unless it ended well. */
int proc_wait(struct proc *p, struct err *e);

/* The same, with the seconds that it took of the processors. */
int proc_wait_used(struct proc *p, double *ret_cpu_s, struct err *e);

/* Send a signal and wait for the end. Nothing if it has ended. */
void proc_end(struct proc *p, int signal);

/* Start, read one value of JSON, wait. */
int proc_ask(const char *name, const struct args *a, int errors, json_t **ret,
	     struct err *e);

#endif
