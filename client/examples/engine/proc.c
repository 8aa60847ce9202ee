/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.c - see proc.h.
 *
 * Failure modes: a program that is not there, ends badly, or says nothing for
 * a minute is an error that names it.
 */
#include "client/examples/engine/proc.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS	60000
#define WAIT_MS		2000	/* between two calls of proc_on_wait */

void (*proc_on_wait)(void);

void args_add(struct args *a, const char *arg)
{
	assert(a->n < PROC_ARGS_MAX - 1);
	a->arg[a->n++] = arg;
}

__attribute__((noreturn))
static void become(const struct args *a, int out, int errors)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (dup2(out, STDOUT_FILENO) >= 0 && dup2(errors, STDERR_FILENO) >= 0)
		execv(a->arg[0], (char *const *)(const void *)a->arg);
	_exit(127);
}

int proc_start(const char *name, const struct args *a, int errors,
	       struct proc *ret, struct err *e)
{
	int fds[2];
	pid_t pid;

	if (access(a->arg[0], X_OK) < 0)
		return err_set(e, -errno, "%s: %s: %s", name, a->arg[0],
			       strerror(errno));
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(e, -errno, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		become(a, fds[1], errors);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return err_set(e, -EAGAIN, "fork: %s", strerror(errno));
	}
	*ret = (struct proc){ .pid = pid, .out = fds[0], .name = name };
	return 0;
}

/* Until it says something: what poll() says, 0 when patience is at its end. */
static int wait_for(const struct proc *p)
{
	struct pollfd pfd = { .fd = p->out, .events = POLLIN };
	int n = 0;

	for (int ms = 0; n == 0 && ms < PATIENCE_MS; ms += WAIT_MS) {
		if (ms > 0 && proc_on_wait != NULL)
			proc_on_wait();
		n = poll(&pfd, 1, WAIT_MS);
	}
	return n;
}

/* More of what it says; 0 at its end. */
static ssize_t read_more(struct proc *p)
{
	char *more = realloc(p->rest, p->n_rest + 65536);
	ssize_t n;

	if (more == NULL)
		return -ENOMEM;
	p->rest = more;
	n = wait_for(p);
	if (n == 0)
		return -ETIMEDOUT;
	n = n < 0 ? n : read(p->out, p->rest + p->n_rest, 65536);
	if (n < 0)
		return -errno;
	p->n_rest += (size_t)n;
	return n;
}

/* Take what stands before the first line's end, or all where there is none. */
static int take(struct proc *p, size_t n, json_t **ret, struct err *e)
{
	json_error_t why;
	json_t *value = json_loadb(p->rest, n, JSON_DECODE_ANY |
				   JSON_DISABLE_EOF_CHECK, &why);

	if (value == NULL)
		return err_set(e, -EPROTO, "%s ended without a result", p->name);
	p->n_rest -= n;
	memmove(p->rest, p->rest + n, p->n_rest);
	*ret = value;
	return 0;
}

int proc_read(struct proc *p, json_t **ret, struct err *e)
{
	for (;;) {
		char *end = p->n_rest > 0 ?
			    memchr(p->rest, '\n', p->n_rest) : NULL;
		ssize_t n;

		if (end != NULL)
			return take(p, (size_t)(end - p->rest) + 1, ret, e);
		n = read_more(p);
		if (n < 0)
			return err_set(e, (int)n, "%s: %s", p->name,
				       strerror((int)-n));
		if (n == 0)
			return take(p, p->n_rest, ret, e);
	}
}

static void forget(struct proc *p)
{
	if (p->out >= 0)
		close(p->out);
	free(p->rest);
	*p = (struct proc){ .out = -1 };
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int proc_wait_used(struct proc *p, double *ret_cpu_s, struct err *e)
{
	const char *name = p->name;
	struct rusage used = { 0 };
	int status = 0;

	wait4(p->pid, &status, 0, &used);
	forget(p);
	*ret_cpu_s = seconds(used.ru_utime) + seconds(used.ru_stime);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(e, -ECHILD, "%s failed", name);
}

int proc_wait(struct proc *p, struct err *e)
{
	double ignored;

	return proc_wait_used(p, &ignored, e);
}

void proc_end(struct proc *p, int sig)
{
	if (p->pid > 0) {
		kill(p->pid, sig);
		waitpid(p->pid, NULL, 0);
	}
	forget(p);
}

/* All it says, which may be many lines, as one value. */
static int read_all(struct proc *p, json_t **ret, struct err *e)
{
	ssize_t n;

	while ((n = read_more(p)) > 0)
		;
	if (n < 0)
		return err_set(e, (int)n, "%s: %s", p->name, strerror((int)-n));
	return take(p, p->n_rest, ret, e);
}

int proc_ask(const char *name, const struct args *a, int errors, json_t **ret,
	     struct err *e)
{
	json_t *value = NULL;
	struct proc p;
	int r, ended;

	r = proc_start(name, a, errors, &p, e);
	if (r < 0)
		return r;
	r = read_all(&p, &value, e);
	if (r == 0) {
		ended = proc_wait(&p, e);
		if (ended < 0) {
			json_decref(value);
			return ended;
		}
		*ret = value;
		return 0;
	}
	proc_end(&p, SIGKILL);
	return r;
}
