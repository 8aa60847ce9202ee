/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leave.h - close sockets, and descriptors that clients sent, without blocking the
 * reactor.
 *
 * A socket is bare if no descriptor can be in its unread messages. Closing it never
 * blocks, so the reactor does that itself.
 */
#ifndef CKV_LEAVE_H
#define CKV_LEAVE_H

#include "daemon/shell/closer.h"
#include "daemon/shell/daemon.h"

#define LEAVE_SPARE	16u	/* if so many sockets wait to be closed, none is accepted */
#define LEAVE_MANY	256u	/* if so many descriptors wait, new sockets are bare ... */
#define LEAVE_FEW	16u	/* ... until not more than so many do */

int leave_create(struct daemon *d);
void leave_destroy(struct daemon *d);	/* after loop_destroy() */

/* Is a new connection bare? */
bool leave_is_bare(struct daemon *d, int fd);

/* Close a connection's socket. `token`: of its watch, which was removed; 0: it had none. */
void leave_socket(struct daemon *d, uid_t uid, int fd, bool bare, uint64_t token);

/* Close a descriptor that came with a message; -1 is allowed. */
void leave_descriptor(struct daemon *d, uid_t uid, int fd);

/*
 * May a message of this user that has descriptors be taken out of its socket? 0: there
 * is room for all that it can bring, in the descriptor table of this process and later
 * in the closer's queue. -EMFILE: there is not, and `text` says what lacks.
 */
int leave_has_room(struct daemon *d, uid_t uid, char text[232]);

/* Decide whether new connections are bare. Called before listening, and often. */
void leave_guard(struct daemon *d);

/* May one connection more be accepted? */
bool leave_may_accept(struct daemon *d);

/* Close the sockets that the loop no longer holds, or give them to the closer. */
void leave_collect(struct daemon *d);

#endif
