/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traced.c - a process that is killed at a chosen place of its run, by ptrace().
 */
#include "tests/crash/traced.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

enum { AT_SYSCALL = SIGTRAP | 0x80 };	/* by PTRACE_O_TRACESYSGOOD */

struct traced {
	const struct traced_plan *plan;
	pid_t pid;
	pid_t stepped;		/* the thread that makes the last steps; 0: none yet */
	uint64_t n_stops, n_steps;
	bool killed;
};

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "ptrace: %s\n", what);
	abort();
}

/* At a stop of a system call. Is this the place? */
static void look(struct traced *t, pid_t thread)
{
	const struct traced_plan *plan = t->plan;

	if (plan->counts == NULL || plan->counts(plan->context))
		t->n_stops++;
	if (plan->ends != NULL && plan->ends(plan->context))
		t->killed = true;
	if (plan->n_stops == 0 || t->n_stops < plan->n_stops || t->stepped != 0)
		return;
	t->stepped = thread;
	if (plan->n_steps == 0)
		t->killed = true;
}

/* Let a stopped thread go on; one that is dead meanwhile is waited for later. */
static void go_on(struct traced *t, pid_t thread, int signal)
{
	bool steps = thread == t->stepped;

	if (steps && ++t->n_steps > t->plan->n_steps)
		t->killed = true;
	if (t->killed) {
		kill(t->pid, SIGKILL);
		return;
	}
	if (ptrace(steps ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, thread, NULL,
		   (void *)(long)signal) < 0 && errno != ESRCH)
		give_up("a thread does not go on");
}

static void stopped(struct traced *t, pid_t thread, int status)
{
	int signal = WSTOPSIG(status);

	if (signal == AT_SYSCALL)
		look(t, thread);
	/* Stops of ptrace itself, and of new threads, are no signals. */
	if (signal == AT_SYSCALL || signal == SIGTRAP || signal == SIGSTOP ||
	    status >> 16 != 0)
		signal = 0;
	go_on(t, thread, signal);
}

uint64_t traced_run(pid_t pid, const struct traced_plan *plan, int *ret_status)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
			     PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	struct traced t = { .plan = plan, .pid = pid };
	int status = 0;

	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		give_up("the child does not stop");
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)options) < 0)
		give_up("no options");
	go_on(&t, pid, 0);
	for (;;) {
		pid_t thread = waitpid(-1, &status, __WALL);

		if (thread < 0)
			give_up("nobody to wait for");
		if (WIFSTOPPED(status))
			stopped(&t, thread, status);
		else if (thread == pid)
			break;
	}
	if (ret_status != NULL)
		*ret_status = status;
	return t.n_stops;
}
