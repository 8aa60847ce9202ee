/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traced.h - a process that is killed at a chosen place of its run, by ptrace().
 *
 * A place is a stop: the begin or the end of a system call of any of its threads. What a
 * thread does between two of them is reached by steps, one instruction each.
 */
#ifndef CKV_TESTS_TRACED_H
#define CKV_TESTS_TRACED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct traced_plan {
	uint64_t n_stops;	/* kill it at this stop; 0: at none */
	uint64_t n_steps;	/* the thread that makes it goes on for so many instructions */
	bool (*counts)(void *context);	/* asked at each stop: does it count? */
	bool (*ends)(void *context);	/* and then: kill it now, whatever the number */
	void *context;
};

/*
 * Trace the child `pid`, which has asked for it and stopped itself, until it is dead and
 * reaped. Returns how many stops counted. *ret_status (may be NULL) is that of waitpid().
 */
uint64_t traced_run(pid_t pid, const struct traced_plan *plan, int *ret_status);

#endif
