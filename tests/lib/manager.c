/* SPDX-License-Identifier: Apache-2.0 */
/* manager.c - see manager.h. */
#include "tests/lib/manager.h"
#include "tests/lib/wait.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct held {
	char name[MANAGER_NAME];
	int fd;
	bool polls;
};

struct test_manager {
	char path[FOLDER_BYTES + 16];
	int fd;
	pthread_t thread;
	pthread_mutex_t lock;
	struct held held[MANAGER_HELD];
	unsigned int n, n_barriers;
	enum manager_mood mood;
	bool stop;
};

static void give_up(const char *what)
{
	perror(what);
	abort();
}

static void drop(struct test_manager *m, const char *name)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < m->n; i++) {
		if (strcmp(m->held[i].name, name) == 0)
			close(m->held[i].fd);
		else
			m->held[n++] = m->held[i];
	}
	m->n = n;
}

/* The value of a line KEY=value; NULL: there is none. */
static const char *value(char *text, const char *key, char *to, size_t bytes)
{
	const char *at = text;
	size_t n = strlen(key);

	while (at != NULL && strncmp(at, key, n) != 0) {
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	if (at == NULL)
		return NULL;
	snprintf(to, bytes, "%.*s", (int)strcspn(at + n, "\n"), at + n);
	return to;
}

static void wait_until_well(struct test_manager *m)
{
	while (m->mood != MANAGER_WELL && !m->stop) {
		pthread_mutex_unlock(&m->lock);
		wait_moment();
		pthread_mutex_lock(&m->lock);
	}
}

static void obey(struct test_manager *m, char *text, int fd)
{
	char name[MANAGER_NAME] = "stored", word[32];

	if (value(text, "BARRIER=", word, sizeof word)) {
		m->n_barriers++;
		wait_until_well(m);
	}
	(void)value(text, "FDNAME=", name, sizeof name);
	if (value(text, "FDSTOREREMOVE=", word, sizeof word))
		drop(m, name);
	if (value(text, "FDSTORE=", word, sizeof word) && fd >= 0 &&
	    m->n < MANAGER_HELD) {
		struct held *held = &m->held[m->n++];

		snprintf(held->name, sizeof held->name, "%s", name);
		held->fd = fd;
		held->polls = value(text, "FDPOLL=0", word, sizeof word) == NULL;
		fd = -1;
	}
	if (fd >= 0)
		close(fd);
}

/*
 * A process that is forked while a barrier's descriptor is here would hold it too, for as
 * long as it lives, and the daemon would wait for an answer that long. So nobody forks
 * between a message and its answer.
 */
static struct test_manager *answering;

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

static void take_one(struct test_manager *m)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char text[512];
	struct iovec iov = { text, sizeof text - 1 };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof control };
	ssize_t n = recvmsg(m->fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;
	int fd = -1;

	if (n < 0)
		return;
	text[n] = 0;
	c = CMSG_FIRSTHDR(&h);
	if (c != NULL && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof fd);
	obey(m, text, fd);
}

static void *serve(void *argument)
{
	struct test_manager *m = argument;

	while (!m->stop) {
		struct pollfd p = { .fd = m->fd, .events = POLLIN };

		if (poll(&p, 1, 20) <= 0)
			continue;
		pthread_mutex_lock(&m->lock);
		take_one(m);
		pthread_mutex_unlock(&m->lock);
	}
	return NULL;
}

/* An open socket at the path; the name of an older one is taken away. */
static int listen_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	unlink(path);
	strcpy(a.sun_path, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0)
		give_up(path);
	return fd;
}

struct test_manager *manager_start(const char *folder)
{
	struct test_manager *m = calloc(1, sizeof *m);
	static bool forks_wait;

	if (m == NULL)
		give_up("manager");
	if (!forks_wait && pthread_atfork(before_fork, after_fork, after_fork) != 0)
		give_up("atfork");
	forks_wait = true;
	snprintf(m->path, sizeof m->path, "%s/notify", folder);
	m->fd = listen_at(m->path);
	pthread_mutex_init(&m->lock, NULL);
	answering = m;
	if (pthread_create(&m->thread, NULL, serve, m) != 0)
		give_up("manager's thread");
	setenv("NOTIFY_SOCKET", m->path, 1);
	return m;
}

void manager_stop(struct test_manager *m)
{
	m->stop = true;
	pthread_join(m->thread, NULL);
	answering = NULL;
	manager_empty(m);
	close(m->fd);
	unlink(m->path);
	unsetenv("NOTIFY_SOCKET");
	free(m);
}

/* First out of the way of the places where they are to be. */
void manager_pass(void *manager)
{
	struct test_manager *m = manager;
	size_t bytes = 1 + m->n * MANAGER_NAME;
	char *names = calloc(1, bytes), number[16];
	int *fds = calloc(m->n + 1, sizeof fds[0]);

	if (m->n == 0)
		return;
	for (unsigned int i = 0; i < m->n; i++) {
		fds[i] = fcntl(m->held[i].fd, F_DUPFD_CLOEXEC, 3 + (int)m->n);
		if (fds[i] < 0)
			give_up("F_DUPFD");
		if (i > 0)
			strcat(names, ":");
		strcat(names, m->held[i].name);
	}
	for (unsigned int i = 0; i < m->n; i++)
		dup2(fds[i], 3 + (int)i);
	snprintf(number, sizeof number, "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	snprintf(number, sizeof number, "%u", m->n);
	setenv("LISTEN_FDS", number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	free(names);
	free(fds);
}

unsigned int manager_count(struct test_manager *m, const char *prefix)
{
	unsigned int n = 0;

	pthread_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < m->n; i++)
		n += strncmp(m->held[i].name, prefix, strlen(prefix)) == 0;
	pthread_mutex_unlock(&m->lock);
	return n;
}

int manager_held(struct test_manager *m, const char *name)
{
	int fd = -1;

	pthread_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < m->n; i++)
		if (strcmp(m->held[i].name, name) == 0)
			fd = m->held[i].fd;
	pthread_mutex_unlock(&m->lock);
	return fd;
}

void manager_name(struct test_manager *m, const char *prefix, char name[MANAGER_NAME])
{
	bool found = false;

	pthread_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < m->n && !found; i++) {
		found = strncmp(m->held[i].name, prefix, strlen(prefix)) == 0;
		if (found)
			strcpy(name, m->held[i].name);
	}
	pthread_mutex_unlock(&m->lock);
	ck_assert_msg(found, "no descriptor %s... is held", prefix);
}

void manager_drop(struct test_manager *m, const char *name)
{
	pthread_mutex_lock(&m->lock);
	drop(m, name);
	pthread_mutex_unlock(&m->lock);
}

void manager_empty(struct test_manager *m)
{
	pthread_mutex_lock(&m->lock);
	while (m->n > 0)
		close(m->held[--m->n].fd);
	pthread_mutex_unlock(&m->lock);
}

void manager_put(struct test_manager *m, const char *name, int fd)
{
	struct held *held;

	pthread_mutex_lock(&m->lock);
	held = &m->held[m->n++];
	snprintf(held->name, sizeof held->name, "%s", name);
	held->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	held->polls = true;
	pthread_mutex_unlock(&m->lock);
}

void manager_set_mood(struct test_manager *m, enum manager_mood mood)
{
	pthread_mutex_lock(&m->lock);
	m->mood = mood;
	pthread_mutex_unlock(&m->lock);
}

bool manager_polls(struct test_manager *m, const char *name)
{
	bool polls = false;

	pthread_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < m->n; i++)
		if (strcmp(m->held[i].name, name) == 0)
			polls = m->held[i].polls;
	pthread_mutex_unlock(&m->lock);
	return polls;
}

unsigned int manager_barriers(struct test_manager *m)
{
	unsigned int n;

	pthread_mutex_lock(&m->lock);
	n = m->n_barriers;
	pthread_mutex_unlock(&m->lock);
	return n;
}

void manager_mute(struct test_manager *m)
{
	unlink(m->path);
}

/* The thread reads the new socket, as it has the number of the old one. */
void manager_unmute(struct test_manager *m)
{
	int fd = listen_at(m->path);

	dup3(fd, m->fd, O_CLOEXEC);
	close(fd);
}
