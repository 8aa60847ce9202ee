/* SPDX-License-Identifier: Apache-2.0 */
/* test_keeper_faults.c - each call of daemon/keeper.h to the kernel fails once. */
#include "daemon/keeper.h"
#include "tests/lib/keeper.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct faults {
	int first;			/* what a keeper begins with */
	int in;				/* after so many calls one fails; 0: none does */
	int error;
	int n_failed;
	int fork;			/* which fork() fails; 0: none does */
} *faults;

static int fault(void)
{
	if (faults == NULL || faults->in == 0 || --faults->in != 0)
		return 0;
	faults->n_failed++;
	errno = faults->error;
	return 1;
}

/* Each of these stands before the one of the C library, for the whole program. */
#define FAULT(type, name, parameters, ...)				\
	type name parameters						\
	{								\
		type (*real) parameters;				\
									\
		*(void **)&real = dlsym(RTLD_NEXT, #name);		\
		return fault() ? (type)-1 : real(__VA_ARGS__);		\
	}

FAULT(int, epoll_create1, (int flags), flags)
FAULT(int, epoll_ctl, (int fd, int op, int watched, struct epoll_event *event), fd, op,
      watched, event)
FAULT(int, epoll_wait, (int fd, struct epoll_event *event, int max, int ms), fd, event, max,
      ms)
FAULT(int, signalfd, (int fd, const sigset_t *set, int flags), fd, set, flags)
FAULT(int, socket, (int domain, int type, int protocol), domain, type, protocol)
FAULT(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t bytes), fd,
      level, name, value, bytes)
FAULT(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), fd, message, flags)
FAULT(int, dup2, (int from, int to), from, to)

pid_t fork(void)
{
	pid_t (*real)(void);

	*(void **)&real = dlsym(RTLD_NEXT, "fork");
	if (faults == NULL || faults->fork == 0 || --faults->fork != 0)
		return fault() ? -1 : real();
	errno = EAGAIN;
	return -1;
}

int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t bytes)
{
	return fault() ? -1 : (int)syscall(SYS_bind, fd, address.__sockaddr__, bytes);
}

int fcntl(int fd, int command, ...)
{
	va_list args;
	long value;

	va_start(args, command);
	value = va_arg(args, long);
	va_end(args);
	return fault() ? -1 : (int)syscall(SYS_fcntl, fd, command, value);
}

static void fail_first_fork(void)
{
	faults->fork = 1;
}

static void fail_second_fork(void)
{
	faults->fork = 2;
}

static void arm(void)
{
	faults->in = faults->first;
}

static void setup(void)
{
	faults = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	keeper_setup();
}

/* Did the keeper give up? Then it said why, and its status is 1. */
static bool gave_up(void)
{
	int status = 0;

	if (waitpid(keeper, &status, WNOHANG) != keeper)
		return false;
	keeper = 0;
	ck_assert_int_eq(status, 1 << 8);
	ck_assert_ptr_nonnull(strstr(read_log(), "keeper: "));
	return true;
}

/* The next daemon comes, or the keeper gives up. One of a keeper that did comes late. */
static bool comes(void)
{
	for (int i = 0; i < A_MOMENT_MS / 20; i++) {
		if (fake_accept(keeper_listener, 20, &now) == 0) {
			if (now.hello.parent == keeper)
				return true;
			close(now.fd);
		}
		if (gave_up())
			return false;
	}
	ck_abort_msg("neither a daemon nor an end of the keeper");
	return false;
}

static const int fault_errors[] = { EMFILE, ENOMEM, EAGAIN };

/*
 * Each call fails once: either the keeper says so at once and ends, or all goes on, and at
 * most a descriptor is not kept, which is said. No folder is left.
 */
START_TEST(any_call_may_fail)
{
	int n = 1, left = 0, fd = fake_memory("1");
	bool told;
	struct dirent *entry;
	DIR *place;

	for (bool more = true; more; n++) {
		*faults = (struct faults){ .first = n, .error = fault_errors[_i] };
		begin_with(&(struct life){ .prepare = arm });
		if (!comes())
			continue;
		fake_send(&now, "READY=1", NULL, 0);
		fake_send(&now, "FDSTORE=1\nFDNAME=a", &fd, 1);
		fake_barrier(&now);
		fake_raise(&now, SIGKILL);
		if (!comes())
			continue;
		if (now.hello.n_fds != 1)
			says("\"a\" is not kept");
		fake_barrier(&now);
		usleep(20000);
		/* It waits again and again, and may give up in any of these moments. */
		if (gave_up()) {
			fake_exit(&now, 0);
			continue;
		}
		kill(keeper, SIGTERM);
		told = fake_signal(&now) == SIGTERM;
		fake_exit(&now, 0);
		if (ended() != 0 || !told)
			says("waiting failed");
		more = faults->n_failed > 0;
	}
	ck_assert_int_gt(n, 20);
	place = opendir(keeper_dir);
	while ((entry = readdir(place)) != NULL)
		left += strstr(entry->d_name, "ckvd-keeper") != NULL;
	closedir(place);
	ck_assert_int_eq(left, 0);
}
END_TEST

/* Where there is no process for the daemon, that is said; a later time it is tried again. */
START_TEST(fork_may_fail)
{
	*faults = (struct faults){ .fork = 0 };
	begin_with(&(struct life){ .prepare = fail_first_fork });
	ck_assert_int_eq(ended(), 1);
	says("no process for the daemon: Resource temporarily unavailable\n");
	begin_with(&(struct life){ .prepare = fail_second_fork });
	next();
	fake_raise(&now, SIGKILL);
	next();
	says("no process for the daemon: Resource temporarily unavailable; starting it with");
}
END_TEST

KEEPER_MAIN("keeper_faults",
	CASE("faults", .setup = setup, .teardown = keeper_teardown),
	EACH(any_call_may_fail, fault_errors),
	TEST(fork_may_fail))
