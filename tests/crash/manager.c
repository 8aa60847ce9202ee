/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager.c - a service manager in a thread of the test.
 */
#include "tests/crash/manager.h"
#include "tests/lib/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FDS_IN_ONE = 256, FIRST_FD = 3 };

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "manager of this test: %s: %s\n", what, strerror(errno));
	abort();
}

/* ---- what is stored ----------------------------------------------------- */

struct manager_kept *manager_find(struct manager *manager, const char *name)
{
	for (uint32_t i = 0; i < manager->n_kept; i++)
		if (strcmp(manager->kept[i].name, name) == 0)
			return &manager->kept[i];
	return NULL;
}

/* Bytes of memory; 0: it is something else. */
static size_t bytes_of(int fd)
{
	struct stat status;

	if (fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &status) < 0)
		return 0;
	return (size_t)status.st_size;
}

static void store(struct manager *manager, const char *name, int fd)
{
	struct manager_kept *kept = &manager->kept[manager->n_kept];

	if (manager->n_kept == MANAGER_FDS)
		give_up("too many descriptors");
	*kept = (struct manager_kept){ .fd = fd, .bytes = bytes_of(fd) };
	snprintf(kept->name, sizeof kept->name, "%s", name);
	manager->n_kept++;
}

static void forget(struct manager *manager, struct manager_kept *kept)
{
	close(kept->fd);
	*kept = manager->kept[--manager->n_kept];
}

void manager_drop(struct manager *manager, struct manager_kept *kept)
{
	pthread_mutex_lock(&manager->lock);
	forget(manager, kept);
	pthread_mutex_unlock(&manager->lock);
}

void manager_empty(struct manager *manager)
{
	pthread_mutex_lock(&manager->lock);
	while (manager->n_kept > 0)
		forget(manager, &manager->kept[0]);
	pthread_mutex_unlock(&manager->lock);
}

/* ---- messages ----------------------------------------------------------- */

/* The value of a line NAME=VALUE of a message. */
static bool says(const char *message, const char *name, char *value, size_t bytes)
{
	size_t n = strlen(name);

	for (const char *line = message; line != NULL && *line != 0;
	     line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, n) != 0 || line[n] != '=')
			continue;
		snprintf(value, bytes, "%.*s", (int)strcspn(line + n + 1, "\n"),
			 line + n + 1);
		return true;
	}
	return false;
}

static void obey(struct manager *manager, const char *message, const int *fds,
		 uint32_t n_fds)
{
	char name[MANAGER_NAME] = "stored", value[MANAGER_NAME];
	struct manager_kept *kept;
	bool keeps = says(message, "FDSTORE", value, sizeof value);

	(void)says(message, "FDNAME", name, sizeof name);
	if (says(message, "READY", value, sizeof value))
		manager->ready = true;
	if (says(message, "FDSTOREREMOVE", value, sizeof value))
		while ((kept = manager_find(manager, name)) != NULL)
			forget(manager, kept);
	/* Closing the descriptor of a BARRIER is its answer. */
	for (uint32_t i = 0; i < n_fds; i++)
		if (keeps)
			store(manager, name, fds[i]);
		else
			close(fds[i]);
}

/* One message, without waiting. Was there one? */
static bool take_one(struct manager *manager)
{
	char text[4096];
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(FDS_IN_ONE * sizeof(int))];
	} control;
	struct iovec part = { text, sizeof text - 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof control };
	ssize_t n = recvmsg(manager->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int fds[FDS_IN_ONE];
	uint32_t n_fds = 0;

	if (n < 0)
		return false;
	text[n] = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL;
	     c = CMSG_NXTHDR(&message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n_fds = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof fds[0]);
		memcpy(fds, CMSG_DATA(c), n_fds * sizeof fds[0]);
	}
	obey(manager, text, fds, n_fds);
	return true;
}

bool manager_take(struct manager *manager)
{
	bool ready;

	pthread_mutex_lock(&manager->lock);
	while (take_one(manager))
		;
	ready = manager->ready;
	pthread_mutex_unlock(&manager->lock);
	return ready;
}

static bool quits(struct manager *manager)
{
	bool quit;

	pthread_mutex_lock(&manager->lock);
	quit = manager->quit;
	pthread_mutex_unlock(&manager->lock);
	return quit;
}

/*
 * A process that is forked while a barrier's descriptor is here would hold it too, for as
 * long as it lives, and the daemon would wait for an answer that long. So nobody forks
 * between a message and its answer.
 */
static struct manager *answering;

static void before_fork(void)
{
	if (answering != NULL)
		pthread_mutex_lock(&answering->lock);
}

static void after_fork(void)
{
	if (answering != NULL)
		pthread_mutex_unlock(&answering->lock);
}

static void *serve(void *argument)
{
	struct manager *manager = argument;
	struct pollfd wait = { .fd = manager->socket, .events = POLLIN };

	while (!quits(manager)) {
		(void)manager_take(manager);
		poll(&wait, 1, 100);
	}
	return NULL;
}

void manager_create(struct manager *manager, const char *params, const char *spaces)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	static bool forks_wait;

	memset(manager, 0, sizeof *manager);
	test_daemon_make(&manager->daemon, params, spaces);
	snprintf(manager->path, sizeof manager->path, "%s/notify", manager->daemon.dir);
	strcpy(address.sun_path, manager->path);
	manager->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(manager->socket, (struct sockaddr *)&address, sizeof address) < 0)
		give_up(manager->path);
	pthread_mutex_init(&manager->lock, NULL);
	if (!forks_wait && pthread_atfork(before_fork, after_fork, after_fork) != 0)
		give_up("atfork");
	forks_wait = true;
	answering = manager;
	if (pthread_create(&manager->thread, NULL, serve, manager) != 0)
		give_up("thread");
}

void manager_destroy(struct manager *manager)
{
	manager_kill(manager);
	pthread_mutex_lock(&manager->lock);
	manager->quit = true;
	pthread_mutex_unlock(&manager->lock);
	pthread_join(manager->thread, NULL);
	answering = NULL;
	manager_empty(manager);
	while (manager->n_remembered > 0) {
		close(manager->remembered[--manager->n_remembered].fd);
		free(manager->copy[manager->n_remembered]);
	}
	close(manager->socket);
	folder_remove(manager->daemon.dir);
}

/* ---- the daemon --------------------------------------------------------- */

/* In the child: descriptors 3, 4, ... and the variables that tell of them. */
static void hand_over(struct manager *manager)
{
	static char names[MANAGER_FDS * (MANAGER_NAME + 1)];
	static int high[MANAGER_FDS];
	char text[32];
	size_t at = 0;

	setenv("NOTIFY_SOCKET", manager->path, 1);
	if (manager->n_kept == 0)
		return;
	for (uint32_t i = 0; i < manager->n_kept; i++)
		high[i] = fcntl(manager->kept[i].fd, F_DUPFD_CLOEXEC,
				FIRST_FD + MANAGER_FDS);
	for (uint32_t i = 0; i < manager->n_kept; i++) {
		dup2(high[i], FIRST_FD + (int)i);
		at += (size_t)snprintf(names + at, sizeof names - at, "%s%s",
				       i > 0 ? ":" : "", manager->kept[i].name);
	}
	setenv("LISTEN_FDNAMES", names, 1);
	snprintf(text, sizeof text, "%u", manager->n_kept);
	setenv("LISTEN_FDS", text, 1);
	snprintf(text, sizeof text, "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
}

void manager_start(struct manager *manager, bool traced)
{
	(void)manager_take(manager);
	fflush(NULL);
	pthread_mutex_lock(&manager->lock);
	manager->ready = false;
	pthread_mutex_unlock(&manager->lock);
	manager->daemon.pid = fork();
	if (manager->daemon.pid == 0) {
		hand_over(manager);
		if (traced) {
			ptrace(PTRACE_TRACEME, 0, NULL, NULL);
			raise(SIGSTOP);
		}
		test_daemon_become(&manager->daemon, 0);
	}
	if (manager->daemon.pid < 0)
		give_up("fork");
}

void manager_wait(struct manager *manager)
{
	struct test_daemon *daemon = &manager->daemon;

	for (int i = 0; i < 10 * WAIT_MOMENTS; i++) {
		if (test_daemon_answers(daemon))
			return;
		if (waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid) {
			daemon->pid = 0;
			test_daemon_give_up(daemon, "it ended at once");
		}
		usleep(200);
	}
	test_daemon_give_up(daemon, "it does not answer");
}

void manager_kill(struct manager *manager)
{
	test_daemon_kill(&manager->daemon);
	(void)manager_take(manager);
}

/* ---- copies ------------------------------------------------------------- */

void manager_remember(struct manager *manager)
{
	if (manager->n_remembered != 0)
		give_up("only once");
	for (uint32_t i = 0; i < manager->n_kept; i++) {
		struct manager_kept *kept = &manager->remembered[i];

		*kept = manager->kept[i];
		kept->fd = fcntl(kept->fd, F_DUPFD_CLOEXEC, 0);
		manager->copy[i] = malloc(kept->bytes + 1);
		if (kept->bytes > 0 && pread(kept->fd, manager->copy[i], kept->bytes, 0) !=
		    (ssize_t)kept->bytes)
			give_up(kept->name);
	}
	manager->n_remembered = manager->n_kept;
}

void manager_restore(struct manager *manager)
{
	manager_empty(manager);
	pthread_mutex_lock(&manager->lock);
	for (uint32_t i = 0; i < manager->n_remembered; i++) {
		const struct manager_kept *kept = &manager->remembered[i];

		if (kept->bytes > 0 && pwrite(kept->fd, manager->copy[i], kept->bytes, 0) !=
		    (ssize_t)kept->bytes)
			give_up(kept->name);
		store(manager, kept->name, fcntl(kept->fd, F_DUPFD_CLOEXEC, 0));
	}
	pthread_mutex_unlock(&manager->lock);
}

const void *manager_copy(const struct manager *manager, const char *name)
{
	for (uint32_t i = 0; i < manager->n_remembered; i++)
		if (strcmp(manager->remembered[i].name, name) == 0)
			return manager->copy[i];
	return NULL;
}
