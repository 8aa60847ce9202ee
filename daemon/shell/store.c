/* SPDX-License-Identifier: Apache-2.0 */
/* store.c - see store.h. */
#include "daemon/shell/store.h"
#include "daemon/shell/sys.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BATCH		32u	/* messages between two barriers; the socket takes more */
#define LAST_WAIT_S	2	/* store_destroy() waits between 1 s and this */

struct item {
	char name[STORE_NAME_BYTES];
	int fd;			/* a duplicate; -1: forget the name */
	bool poll;
	uid_t uid;
};

struct store {
	pthread_mutex_t lock;
	pthread_cond_t wanted, ended;
	struct item *item;	/* [n_items_max], a ring: item of ticket t is at t % n */
	uint32_t n_items_max;
	uint64_t given, done;	/* tickets */
	uint64_t n_held;
	uint64_t n_named, names_bytes;	/* of what is held, once all that was given is done */
	int event;
	int error;		/* why it is broken */
	bool stop, gone, left;
};

static struct item *item_of(struct store *s, uint64_t ticket)
{
	return &s->item[ticket % s->n_items_max];
}

static int send_item(const struct item *item)
{
	return item->fd < 0 ? sys_store_remove(item->name, STORE_WAIT_NS) :
	       sys_store_put(item->name, item->fd, item->poll, STORE_WAIT_NS);
}

/* Everything up to this ticket is done, or the store is broken. The caller has the lock. */
static void finish(struct store *s, uint64_t last, int error)
{
	uint64_t one = 1;

	if (error < 0 && s->error == 0)
		s->error = error;
	if (s->error < 0)
		last = s->given;
	while (s->done < last) {
		struct item *item = item_of(s, ++s->done);

		if (item->fd >= 0)
			s->n_held++;
		else if (s->n_held > 0)
			s->n_held--;
		sys_close(item->fd);
		item->fd = -1;
	}
	if (s->error < 0)
		s->n_held = 0;
	pthread_cond_broadcast(&s->ended);
	(void)sys_write(s->event, &one, sizeof one);
}

/* Send a batch and wait until the manager has done it. The caller has the lock. */
static void serve_batch(struct store *s)
{
	uint64_t first = s->done + 1, last = s->given;
	int r = 0;

	if (s->error < 0) {
		finish(s, last, 0);
		return;
	}
	if (last - s->done > BATCH)
		last = s->done + BATCH;
	/* Nobody else touches these items until they are done. */
	pthread_mutex_unlock(&s->lock);
	for (uint64_t t = first; t <= last && r == 0; t++)
		r = send_item(item_of(s, t));
	if (r == 0)
		r = sys_store_barrier(STORE_WAIT_NS);
	pthread_mutex_lock(&s->lock);
	finish(s, last, r);
}

static void free_store(struct store *s)
{
	while (s->done < s->given)
		sys_close(item_of(s, ++s->done)->fd);
	pthread_cond_destroy(&s->ended);
	pthread_cond_destroy(&s->wanted);
	pthread_mutex_destroy(&s->lock);
	sys_close(s->event);
	sys_free(s->item);
	sys_free(s);
}

static void *serve(void *argument)
{
	struct store *s = argument;
	bool left;

	sys_thread_name("ckv-store");
	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		if (s->done < s->given)
			serve_batch(s);
		else
			pthread_cond_wait(&s->wanted, &s->lock);
	}
	s->gone = true;
	left = s->left;
	pthread_cond_broadcast(&s->ended);
	pthread_mutex_unlock(&s->lock);
	if (left)
		free_store(s);
	return NULL;
}

int store_create(uint32_t n_items_max, struct store **ret_store)
{
	pthread_t thread;
	struct store *s;
	int r = sys_alloc(1, sizeof *s, &s);

	if (r < 0)
		return r;
	s->n_items_max = n_items_max;
	r = sys_alloc(n_items_max, sizeof s->item[0], &s->item);
	if (r < 0)
		goto err_free;
	r = s->event = sys_eventfd();
	if (r < 0)
		goto err_items;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wanted, NULL);
	pthread_cond_init(&s->ended, NULL);
	r = sys_thread(&thread, serve, s);
	if (r < 0) {
		free_store(s);
		return r;
	}
	pthread_detach(thread);
	*ret_store = s;
	return 0;

err_items:
	sys_free(s->item);
err_free:
	sys_free(s);
	return r;
}

void store_destroy(struct store *s)
{
	struct timespec until;
	bool gone;

	if (s == NULL)
		return;
	until = (struct timespec){
		.tv_sec = (time_t)(sys_real_ns() / 1000000000u) + LAST_WAIT_S,
	};
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->wanted);
	while (!s->gone &&
	       pthread_cond_timedwait(&s->ended, &s->lock, &until) == 0)
		;
	gone = s->gone;
	s->left = true;		/* if it has not ended, the thread frees it */
	pthread_mutex_unlock(&s->lock);
	if (gone)
		free_store(s);
}

int store_eventfd(const struct store *s)
{
	return s->event;
}

/* A name comes in (1) or goes (-1). The caller has the lock. */
static void count_name(struct store *s, const char *name, int sign)
{
	uint64_t bytes = strlen(name) + 1;

	if (sign > 0) {
		s->n_named++;
		s->names_bytes += bytes;
	} else if (s->n_named > 0 && s->names_bytes >= bytes) {
		s->n_named--;
		s->names_bytes -= bytes;
	}
}

static bool has_place(struct store *s, const char *name)
{
	bool has;

	pthread_mutex_lock(&s->lock);
	has = s->n_named < sys_store_most() &&
	      s->names_bytes + strlen(name) + 1 <= STORE_NAMES_BYTES;
	pthread_mutex_unlock(&s->lock);
	return has;
}

static uint64_t give(struct store *s, uid_t uid, const char *name, int fd, bool poll)
{
	struct item item = { .fd = fd, .poll = poll, .uid = uid };
	uint64_t ticket;

	snprintf(item.name, sizeof item.name, "%s", name);
	pthread_mutex_lock(&s->lock);
	assert(s->given - s->done < s->n_items_max);
	ticket = ++s->given;
	*item_of(s, ticket) = item;
	count_name(s, item.name, fd < 0 ? -1 : 1);
	pthread_cond_signal(&s->wanted);
	pthread_mutex_unlock(&s->lock);
	return ticket;
}

int store_put(struct store *s, uid_t uid, const char *name, int fd, bool poll,
	      uint64_t *ret_ticket)
{
	int own = has_place(s, name) ? sys_dup(fd) : -EMFILE;

	if (own < 0)
		return own;
	*ret_ticket = give(s, uid, name, own, poll);
	return 0;
}

uint64_t store_remove(struct store *s, uid_t uid, const char *name)
{
	return give(s, uid, name, -1, false);
}

uint64_t store_done(struct store *s)
{
	uint64_t done, events;

	(void)sys_read(s->event, &events, sizeof events);
	pthread_mutex_lock(&s->lock);
	done = s->done;
	pthread_mutex_unlock(&s->lock);
	return done;
}

void store_wait(struct store *s, uint64_t ticket)
{
	pthread_mutex_lock(&s->lock);
	while (s->done < ticket)
		pthread_cond_wait(&s->ended, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

int store_error(struct store *s)
{
	int error;

	pthread_mutex_lock(&s->lock);
	error = s->error;
	pthread_mutex_unlock(&s->lock);
	return error;
}

void store_break(struct store *s, int error)
{
	pthread_mutex_lock(&s->lock);
	if (s->error == 0)
		s->error = error;
	s->n_held = 0;		/* for nothing */
	pthread_mutex_unlock(&s->lock);
}

uint64_t store_held(struct store *s)
{
	uint64_t n;

	pthread_mutex_lock(&s->lock);
	n = s->n_held;
	pthread_mutex_unlock(&s->lock);
	return n;
}

void store_count(struct store *s, const char *name)
{
	pthread_mutex_lock(&s->lock);
	s->n_held++;
	count_name(s, name, 1);
	pthread_mutex_unlock(&s->lock);
}

bool store_has_room(struct store *s, uid_t uid)
{
	uint64_t n_all;
	uint32_t n = 0;

	pthread_mutex_lock(&s->lock);
	n_all = s->given - s->done;
	if (n_all >= STORE_USER_ITEMS && n_all < STORE_ITEMS)
		for (uint64_t t = s->done + 1; t <= s->given; t++)
			n += item_of(s, t)->uid == uid;
	pthread_mutex_unlock(&s->lock);
	return n_all < STORE_ITEMS && n < STORE_USER_ITEMS;
}
