/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.c - a ckvd of a test's own.
 */
#include "tests/lib/daemon.h"
#include "tests/lib/built.h"
#include "tests/lib/mode.h"
#include "tests/lib/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

_Noreturn void test_daemon_give_up(const struct test_daemon *daemon, const char *why)
{
	char line[512];
	FILE *log = fopen(daemon->log, "r");

	fprintf(stderr, "ckvd of this test: %s\n", why);
	while (log && fgets(line, sizeof line, log))
		fprintf(stderr, "  %s", line);
	abort();
}

/*
 * A killed one's socket may answer for a while too:
 * its ring is torn down later than its process ends.
 */
int test_daemon_answers(struct test_daemon *daemon)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct ucred peer = { .pid = -1 };
	socklen_t bytes = sizeof peer;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	strcpy(a.sun_path, daemon->socket);
	r = connect(fd, (struct sockaddr *)&a, sizeof a);
	if (r == 0)
		r = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes);
	close(fd);
	/* Which process it is that a keeper started, its socket tells. */
	if (r == 0 && daemon->keeper > 0 && peer.pid != daemon->killed)
		daemon->pid = peer.pid;
	return r == 0 && peer.pid == daemon->pid;
}

static void (*before)(void *context);
static void *before_context;

void test_daemon_before(void (*call)(void *context), void *context)
{
	before = call;
	before_context = context;
}

/* A keeper that is told to stop takes its daemon along. */
_Noreturn void test_daemon_become(const struct test_daemon *daemon, int kept)
{
	char path[512];
	int fd = open(daemon->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

	dup2(fd, 2);
	prctl(PR_SET_PDEATHSIG, kept ? SIGTERM : SIGKILL);
	if (getenv("CKVD") != NULL)
		snprintf(path, sizeof path, "%s", getenv("CKVD"));
	else
		built("ckvd", path, sizeof path);
	test_mode_enter();
	if (before != NULL)
		before(before_context);
	execl(path, path, "--config", daemon->config, kept ? "--keeper" : NULL,
	      (char *)NULL);
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

static void wait_until_it_answers(struct test_daemon *daemon)
{
	pid_t child = daemon->keeper > 0 ? daemon->keeper : daemon->pid;

	for (int i = 0; i < WAIT_MOMENTS; i++) {
		if (test_daemon_answers(daemon))
			return;
		if (waitpid(child, NULL, WNOHANG) == child) {
			daemon->pid = daemon->keeper = 0;
			test_daemon_give_up(daemon, "it ended at once");
		}
		wait_moment();
	}
	test_daemon_give_up(daemon, "it does not answer");
}

void test_daemon_restart(struct test_daemon *daemon)
{
	fflush(NULL);
	if (daemon->keeper == 0) {
		daemon->pid = fork();
		if (daemon->pid == 0)
			test_daemon_become(daemon, 0);
	}
	wait_until_it_answers(daemon);
}

void test_daemon_make(struct test_daemon *daemon, const char *params,
		      const char *spaces)
{
	FILE *out;

	memset(daemon, 0, sizeof *daemon);
	folder_make(daemon->dir);
	snprintf(daemon->socket, sizeof daemon->socket, "%s/sock", daemon->dir);
	snprintf(daemon->config, sizeof daemon->config, "%s/conf", daemon->dir);
	snprintf(daemon->log, sizeof daemon->log, "%s/log", daemon->dir);
	out = fopen(daemon->config, "w");
	if (out == NULL)
		test_daemon_give_up(daemon, "no configuration");
	fprintf(out, "[daemon]\nsocket = %s\n%s%s\n%s", daemon->socket,
		test_mode_params(), params ? params : "",
		spaces ? spaces : TEST_SPACE_TINY);
	fclose(out);
}

void test_daemon_start(struct test_daemon *daemon, const char *params,
		       const char *spaces)
{
	test_daemon_make(daemon, params, spaces);
	test_daemon_restart(daemon);
}

void test_daemon_start_kept(struct test_daemon *daemon, const char *params,
			    const char *spaces)
{
	test_daemon_make(daemon, params, spaces);
	fflush(NULL);
	daemon->keeper = fork();
	if (daemon->keeper == 0)
		test_daemon_become(daemon, 1);
	wait_until_it_answers(daemon);
}

int test_daemon_stop(struct test_daemon *daemon)
{
	pid_t child = daemon->keeper > 0 ? daemon->keeper : daemon->pid;
	int status = 0;

	if (child <= 0)
		return -1;
	kill(child, SIGTERM);
	waitpid(child, &status, 0);
	daemon->pid = daemon->keeper = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void test_daemon_kill(struct test_daemon *daemon)
{
	struct pollfd end = { .events = POLLIN };

	if (daemon->pid <= 0)
		return;
	end.fd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);
	kill(daemon->pid, SIGKILL);
	if (daemon->keeper > 0)
		poll(&end, 1, -1);	/* the keeper's child, not this process's */
	else
		waitpid(daemon->pid, NULL, 0);
	close(end.fd);
	daemon->killed = daemon->pid;
	daemon->pid = 0;
}

void test_daemon_remove(struct test_daemon *daemon)
{
	test_daemon_stop(daemon);
	folder_remove(daemon->dir);
}

static int has_logged(const struct test_daemon *daemon, const char *text)
{
	FILE *log = fopen(daemon->log, "r");
	char line[1024];
	int found = 0;

	while (log && !found && fgets(line, sizeof line, log))
		found = strstr(line, text) != NULL;
	if (log)
		fclose(log);
	return found;
}

int test_daemon_logged(const struct test_daemon *daemon, const char *text)
{
	WAIT_UNTIL(has_logged(daemon, text));
	return has_logged(daemon, text);
}

int test_daemon_keeps_quiet(const struct test_daemon *daemon, const char *text)
{
	int found = 0;

	for (int i = 0; i < 250 && !(found = has_logged(daemon, text)); i++)
		wait_moment();
	return !found;
}
