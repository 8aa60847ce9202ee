/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - a thread that has the service manager hold descriptors for a later daemon.
 *
 * The manager keeps them in its descriptor store and passes them on when it starts the
 * daemon again (sd_listen_fds(3)). To tell it something may take milliseconds and can
 * wait for as long as the manager likes, so the reactor leaves that to this thread.
 *
 * Everything is done in the order in which it was given. Each call gives a ticket: the
 * thing is done, and the manager has confirmed it, when store_done() has reached it.
 *
 * If the manager cannot be reached, or does not answer in time, the store is broken and
 * remains so: everything counts as done soon, and nothing survives any more.
 */
#ifndef CKV_STORE_H
#define CKV_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define STORE_NAME_BYTES 48u
#define STORE_ITEMS	1024u	/* if so many wait, each LANE_OPEN is put off ... */
#define STORE_USER_ITEMS 64u	/* ... or if so many of one user wait, that user's */
/* The kernel takes no longer text at exec; a start with more names would fail, each time. */
#define STORE_NAMES_BYTES (128u * 1024 - sizeof "LISTEN_FDNAMES=")
#define STORE_WAIT_NS	30000000000u /* for the manager to confirm; then it is broken */

struct store;

/*
 * n_items_max: how many can wait at once; the caller sees to it that there are never more.
 * -errno: nothing is left behind.
 */
int store_create(uint32_t n_items_max, struct store **ret_store);
/*
 * What is not done yet stays undone; a thread that waits for the manager is left to the
 * end of the process. NULL is allowed.
 */
void store_destroy(struct store *store);

/* Readable when something was done since store_done() was called. */
int store_eventfd(const struct store *store);

/*
 * Hold a descriptor under a name. The store duplicates it. `poll`: forget it when it
 * hangs up. -EMFILE, ...: it cannot be duplicated, or the manager could not hold it or
 * not pass its name on, and nothing was done.
 */
int store_put(struct store *store, uid_t uid, const char *name, int fd, bool poll,
	      uint64_t *ret_ticket);
/* Forget what is held under this name. Returns its ticket. */
uint64_t store_remove(struct store *store, uid_t uid, const char *name);

/* All tickets up to this one are done. */
uint64_t store_done(struct store *store);
/* The same, but wait until this ticket is done. Only before anybody is served. */
void store_wait(struct store *store, uint64_t ticket);

/* 0, or why it is broken: -errno. */
int store_error(struct store *store);
/* It is broken: something could not even be given to it. */
void store_break(struct store *store, int error);
/* How many descriptors are held by now, as far as is known; 0 if it is broken. */
uint64_t store_held(struct store *store);
/* One of this name is held already. */
void store_count(struct store *store, const char *name);
/* May one more LANE_OPEN of this user bring its descriptors? */
bool store_has_room(struct store *store, uid_t uid);

#endif
