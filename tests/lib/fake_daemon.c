/* SPDX-License-Identifier: Apache-2.0 */
/* fake_daemon.c - see fake_daemon.h. */
#include "tests/lib/fake_daemon.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_FDS	253
#define PATIENCE_S	20

struct order {
	char verb;
	int number;
	size_t bytes;
	char text[FAKE_TEXT];
};

union control {
	char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
	struct cmsghdr aligned;
};

/* sendmsg() with descriptors, to `path` or to the peer: 0 or a positive errno. */
static int send_with(int fd, const char *path, const void *data, size_t bytes, const int *fds,
		     int n_fds)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	union control control;
	struct iovec iov = { (void *)(uintptr_t)data, bytes };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c = &control.aligned;

	if (path != NULL) {
		snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
		m.msg_name = &address;
		m.msg_namelen = sizeof address;
	}
	if (n_fds > 0) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE((size_t)n_fds * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, (size_t)n_fds * sizeof(int));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL) < 0 ? errno : 0;
}

/* ---- the program -------------------------------------------------------- */

static pid_t pid_of(const char *name)
{
	const char *text = getenv(name);

	return text != NULL ? atoi(text) : 0;
}

static void count_open(struct fake_hello *hello)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;

	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir))
			continue;
		if (atoi(entry->d_name) > 2)
			hello->n_open++;
		else
			hello->n_standard++;
	}
	closedir(dir);
}

static int count_blocked(void)
{
	struct sigaction action;
	sigset_t set;
	int n = 0;

	sigprocmask(SIG_BLOCK, NULL, &set);
	for (int i = 1; i < SIGRTMIN; i++)
		n += sigismember(&set, i) == 1 ||
		     (sigaction(i, NULL, &action) == 0 && action.sa_handler == SIG_IGN);
	return n;
}

static void copy(char *out, size_t bytes, const char *text)
{
	snprintf(out, bytes, "%s", text != NULL ? text : "");
}

static void look(struct fake_hello *hello, const char *argument)
{
	const char *n = getenv("LISTEN_FDS");
	struct stat s;

	count_open(hello);
	hello->n_blocked = count_blocked();
	hello->pid = getpid();
	hello->parent = getppid();
	if (stat("/proc/self/exe", &s) == 0)
		hello->program = s.st_ino;
	hello->n_fds = n != NULL ? atoi(n) : -1;
	hello->listen_pid = pid_of("LISTEN_PID");
	hello->watchdog_pid = pid_of("WATCHDOG_PID");
	hello->most = (int)pid_of("FDSTORE");
	copy(hello->names, sizeof hello->names, getenv("LISTEN_FDNAMES"));
	copy(hello->notify, sizeof hello->notify, getenv("NOTIFY_SOCKET"));
	copy(hello->given, sizeof hello->given, getenv("CKV_FAKE"));
	copy(hello->argument, sizeof hello->argument, argument);
	for (int i = 0; i < hello->n_fds && i < FAKE_TAGS; i++)
		if (pread(3 + i, hello->tags[i], sizeof hello->tags[i] - 1, 0) < 0)
			hello->tags[i][0] = 0;
}

static int take_order(int fd, struct order *order, int fds[MAX_FDS])
{
	union control control;
	struct iovec iov = { order, sizeof *order };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof control };
	const struct cmsghdr *c;
	int n = 0;

	if (recvmsg(fd, &m, MSG_CMSG_CLOEXEC) <= 0)
		_exit(0);
	c = CMSG_FIRSTHDR(&m);
	if (c != NULL) {
		n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), (size_t)n * sizeof(int));
	}
	return n;
}

static int notify(const struct order *order, const int *fds, int n_fds)
{
	int out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = send_with(out, getenv("NOTIFY_SOCKET"), order->text, order->bytes, fds, n_fds);

	close(out);
	return r;
}

static int notify_from_child(const struct order *order, const int *fds, int n_fds)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(notify(order, fds, n_fds));
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static int wait_for_signal(const sigset_t *told)
{
	int number = sigtimedwait(told, NULL, &(struct timespec){ .tv_sec = 5 });

	return number < 0 ? 0 : number;
}

static int pending_signal(const sigset_t *told)
{
	sigset_t set;

	sigpending(&set);
	for (int i = 1; i < SIGRTMIN; i++)
		if (sigismember(told, i) == 1 && sigismember(&set, i) == 1)
			return i;
	return 0;
}

static int obey(const struct order *order, const int *fds, int n_fds, const sigset_t *told)
{
	switch (order->verb) {
	case 'n':
		return notify(order, fds, n_fds);
	case 'c':
		return notify_from_child(order, fds, n_fds);
	case 's':
		return wait_for_signal(told);
	case 'p':
		return pending_signal(told);
	case 'k':
		signal(order->number, SIG_DFL);
		sigprocmask(SIG_UNBLOCK, told, NULL);
		raise(order->number);
		return 0;
	default:
		_exit(order->number);
	}
}

int fake_daemon_main(const char *path, const char *argument)
{
	static struct fake_hello hello;
	static struct order order;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd, r, n, fds[MAX_FDS];
	sigset_t told;

	look(&hello, argument);
	sigemptyset(&told);
	sigaddset(&told, SIGTERM);
	sigaddset(&told, SIGINT);
	sigaddset(&told, SIGHUP);
	sigprocmask(SIG_BLOCK, &told, NULL);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0 ||
	    send(fd, &hello, sizeof hello, MSG_NOSIGNAL) < 0)
		return 1;
	for (;;) {
		n = take_order(fd, &order, fds);
		r = obey(&order, fds, n, &told);
		while (n > 0)
			close(fds[--n]);
		if (send(fd, &r, sizeof r, MSG_NOSIGNAL) < 0)
			return 0;
	}
}

/* ---- the test's side ---------------------------------------------------- */

int fake_accept(int listener, int wait_ms, struct fake *fake)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };
	struct timeval patience = { .tv_sec = PATIENCE_S };

	if (poll(&p, 1, wait_ms) != 1)
		return -1;
	fake->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	setsockopt(fake->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	return recv(fake->fd, &fake->hello, sizeof fake->hello, 0) == sizeof fake->hello ? 0 : -1;
}

static int ask(struct fake *fake, char verb, int number, const void *text, size_t bytes,
	       const int *fds, int n_fds)
{
	static struct order order;
	int r = -1;

	order.verb = verb;
	order.number = number;
	order.bytes = bytes;
	if (bytes > 0)
		memcpy(order.text, text, bytes);
	if (send_with(fake->fd, NULL, &order, sizeof order, fds, n_fds) != 0 ||
	    recv(fake->fd, &r, sizeof r, 0) != sizeof r)
		return -1;
	return r;
}

int fake_send_bytes(struct fake *fake, const void *text, size_t bytes, const int *fds,
		    int n_fds)
{
	return ask(fake, 'n', 0, text, bytes, fds, n_fds);
}

int fake_send(struct fake *fake, const char *text, const int *fds, int n_fds)
{
	return fake_send_bytes(fake, text, strlen(text), fds, n_fds);
}

int fake_child_sends(struct fake *fake, const char *text, const int *fds, int n_fds)
{
	return ask(fake, 'c', 0, text, strlen(text), fds, n_fds);
}

void fake_exit(struct fake *fake, int status)
{
	ask(fake, 'x', status, NULL, 0, NULL, 0);
	close(fake->fd);
}

void fake_raise(struct fake *fake, int number)
{
	ask(fake, 'k', number, NULL, 0, NULL, 0);
	close(fake->fd);
}

int fake_signal(struct fake *fake)
{
	return ask(fake, 's', 0, NULL, 0, NULL, 0);
}

int fake_pending(struct fake *fake)
{
	return ask(fake, 'p', 0, NULL, 0, NULL, 0);
}

int fake_memory(const char *tag)
{
	int fd = memfd_create("fake", MFD_CLOEXEC);

	if (pwrite(fd, tag, strlen(tag), 0) < 0)
		abort();
	return fd;
}

void fake_store(struct fake *fake, const char *tag, const char *more)
{
	char text[1024];
	int fd = fake_memory(tag);

	snprintf(text, sizeof text, "FDSTORE=1\n%s", more);
	if (fake_send(fake, text, &fd, 1) != 0)
		abort();
	close(fd);
}

int fake_barrier(struct fake *fake)
{
	struct pollfd p = { .events = 0 };
	int end[2], r;

	if (pipe(end) != 0)
		return -1;
	r = fake_send(fake, "BARRIER=1", &end[1], 1);
	close(end[1]);
	p.fd = end[0];
	if (r == 0)
		r = poll(&p, 1, PATIENCE_S * 1000) == 1 ? 0 : -1;
	close(end[0]);
	return r;
}
