/* SPDX-License-Identifier: Apache-2.0 */
/* closer.c - see closer.h. */
#include "daemon/shell/closer.h"
#include "daemon/shell/sys.h"
#include "proto/ckv_attach.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define LAST_WAIT_S 2	/* closer_destroy() waits between 1 s and this */
#define MESSAGES_MAX 4096	/* more than a socket can hold */

struct item {
	int fd;
	uid_t uid;
	bool read_all;
};

struct closer {
	pthread_mutex_t lock;
	pthread_cond_t wanted, ended;
	struct item item[CLOSER_ITEMS];	/* waiting, the oldest first */
	uint32_t n_items;
	struct item busy[CLOSER_THREADS]; /* being closed now; fd -1: none */
	uint32_t n_threads, n_idle, n_busy;
	bool stop, left;
};

static bool is_busy(const struct closer *c, uid_t uid)
{
	for (uint32_t i = 0; i < CLOSER_THREADS; i++)
		if (c->busy[i].fd >= 0 && c->busy[i].uid == uid)
			return true;
	return false;
}

/* The oldest item whose user no thread is busy with; n_items: there is none. */
static uint32_t oldest(const struct closer *c)
{
	uint32_t i = 0;

	while (i < c->n_items && is_busy(c, c->item[i].uid))
		i++;
	return i;
}

static void *serve(void *argument);

/* Start one thread more, detached. The caller holds the lock. */
static int start_thread(struct closer *c)
{
	pthread_t thread;
	int r = c->n_threads < CLOSER_THREADS ?
		sys_thread(&thread, serve, c) : -EAGAIN;

	if (r < 0)
		return r;
	pthread_detach(thread);
	c->n_threads++;
	return 0;
}

/* If an item can be closed now, wake an idle thread or start a new one. */
static void call_thread(struct closer *c)
{
	if (oldest(c) == c->n_items)
		return;
	if (c->n_idle > 0)
		pthread_cond_signal(&c->wanted);
	else	/* if that fails, a busy thread takes the item later */
		(void)start_thread(c);
}

/* The kernel closes the descriptors that come with the messages: `m` has no room for them. */
static void read_all(int fd)
{
	char data[CKV_CONTROL_BYTES_MAX];
	struct iovec iov = { data, sizeof data };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	for (int i = 0; i < MESSAGES_MAX && sys_receive(fd, &m, false) > 0; i++)
		m = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
}

static void close_one(struct closer *c, uint32_t which)
{
	struct item item = c->item[which];
	uint32_t i = 0;

	c->n_items--;
	memmove(&c->item[which], &c->item[which + 1],
		(c->n_items - which) * sizeof item);
	while (c->busy[i].fd >= 0)
		i++;
	c->busy[i] = item;
	c->n_busy++;
	call_thread(c);		/* another user's item can be closed at the same time */
	pthread_mutex_unlock(&c->lock);
	if (item.read_all)
		read_all(item.fd);
	sys_close(item.fd);
	pthread_mutex_lock(&c->lock);
	c->busy[i].fd = -1;
	c->n_busy--;
}

static void free_closer(struct closer *c)
{
	pthread_cond_destroy(&c->ended);
	pthread_cond_destroy(&c->wanted);
	pthread_mutex_destroy(&c->lock);
	sys_free(c);
}

static void *serve(void *argument)
{
	struct closer *c = argument;
	uint32_t which;
	bool last;

	sys_thread_name("ckv-close");
	pthread_mutex_lock(&c->lock);
	for (;;) {
		which = oldest(c);
		if (which < c->n_items) {
			close_one(c, which);
			continue;
		}
		if (c->stop || c->n_idle > 0)
			break;
		c->n_idle++;
		pthread_cond_wait(&c->wanted, &c->lock);
		c->n_idle--;
	}
	c->n_threads--;
	last = c->n_threads == 0 && c->left;
	pthread_cond_broadcast(&c->ended);
	pthread_mutex_unlock(&c->lock);
	if (last)
		free_closer(c);
	return NULL;
}

int closer_create(struct closer **ret_closer)
{
	struct closer *c;
	int r;

	r = sys_alloc(1, sizeof *c, &c);
	if (r < 0)
		return r;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wanted, NULL);
	pthread_cond_init(&c->ended, NULL);
	for (uint32_t i = 0; i < CLOSER_THREADS; i++)
		c->busy[i].fd = -1;
	pthread_mutex_lock(&c->lock);
	r = start_thread(c);
	pthread_mutex_unlock(&c->lock);
	if (r < 0) {
		free_closer(c);
		return r;
	}
	*ret_closer = c;
	return 0;
}

void closer_destroy(struct closer *c)
{
	struct timespec until;
	bool gone;

	if (c == NULL)
		return;
	until = (struct timespec){
		.tv_sec = (time_t)(sys_real_ns() / 1000000000u) + LAST_WAIT_S,
	};
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_broadcast(&c->wanted);
	while (c->n_threads > 0 &&
	       pthread_cond_timedwait(&c->ended, &c->lock, &until) == 0)
		;
	gone = c->n_threads == 0;
	c->left = true;		/* if not all are gone, the last thread frees it */
	pthread_mutex_unlock(&c->lock);
	if (gone)
		free_closer(c);
}

static bool has_room(const struct closer *c, uid_t uid, uint32_t n)
{
	uint32_t of_user = 0;

	if (c->n_items + n <= CLOSER_USER_ITEMS)
		return true;
	for (uint32_t i = 0; i < c->n_items; i++)
		of_user += c->item[i].uid == uid;
	return c->n_items + n <= CLOSER_ITEMS && of_user + n <= CLOSER_USER_ITEMS;
}

int closer_give(struct closer *c, uid_t uid, int fd, bool read_all)
{
	int r = -EAGAIN;

	pthread_mutex_lock(&c->lock);
	if (has_room(c, uid, 1)) {
		c->item[c->n_items++] = (struct item){ fd, uid, read_all };
		call_thread(c);
		r = 0;
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

bool closer_has_room(struct closer *c, uid_t uid, uint32_t n)
{
	bool room;

	pthread_mutex_lock(&c->lock);
	room = has_room(c, uid, n);
	pthread_mutex_unlock(&c->lock);
	return room;
}

uint32_t closer_waiting(struct closer *c)
{
	uint32_t n;

	pthread_mutex_lock(&c->lock);
	n = c->n_items + c->n_busy;
	pthread_mutex_unlock(&c->lock);
	return n;
}
