/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.h - see to it that a later daemon finds what this one has.
 *
 * Two things are needed for that: descriptors that the service manager holds (store.h),
 * and a ledger that says what they are (ledger.h). adopt.h is the other side: it takes
 * both over at the next start.
 *
 * A client must not pin or be lent anything on a lane of which a successor would not
 * know. So LANE_OPENED waits until the manager has confirmed that it holds the lane's
 * arena and the client's pidfd, and until the ledger has both rows.
 *
 * Without a service manager nothing is kept and nobody waits.
 */
#ifndef CKV_KEEP_H
#define CKV_KEEP_H

#include "daemon/shell/arena.h"

/* Begin: the thread, and a ledger unless one was taken over. */
int keep_create(struct daemon *d);
void keep_destroy(struct daemon *d);

/* A number that nothing else has, also of other daemons: for lanes, arenas, clients. */
uint64_t keep_serial(struct daemon *d);

/*
 * At the end of a start: what the manager holds and nobody uses is forgotten, what is new
 * is stored, and the rows of the spaces are written. Waits for the manager.
 */
void keep_start(struct daemon *d);
/* The space has other weights now, and is empty. */
void keep_weights(struct daemon *d, uint32_t space);

/* May this client open a lane now, or must its message wait? */
bool keep_has_room(struct daemon *d, const struct client *client);
/*
 * Store what a new lane needs. 1: it is not stored yet, and client->opening names the
 * lane until then. 0: it is, or nothing is kept. -errno.
 */
int keep_lane(struct daemon *d, struct lane *lane);
/* Note the lane, and its client if that is not noted yet. -EMFILE: the ledger is full. */
int keep_note_lane(struct daemon *d, struct lane *lane);
/* The store's thread has done something: answer those who waited for it. */
void keep_collect(struct daemon *d);

/* It has let go of everything, so a successor need not know of it. */
void keep_forget_lane(struct daemon *d, struct lane *lane);
void keep_forget_arena(struct daemon *d, const struct client *client,
		       struct arena *arena);
void keep_forget_client(struct daemon *d, struct client *client);

#endif
