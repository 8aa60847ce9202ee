/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leave.h - closing what a client sent, without waiting.
 */
#ifndef CKV_LEAVE_H
#define CKV_LEAVE_H

#include "daemon/shell/closer.h"
#include "daemon/shell/daemon.h"

#define LEAVE_SPARE	16u	/* connections that wait to be closed: no more are accepted */
#define LEAVE_MANY	256u	/* descriptors that wait: new connections bring none */
#define LEAVE_FEW	16u	/* until so few do */

int leave_create(struct daemon *d);
void leave_destroy(struct daemon *d);	/* after the loop */

/* Of a new connection: could none of its messages ever bring a descriptor? */
bool leave_is_bare(struct daemon *d, int fd);

/* A connection ends. Its watch was removed; `token` was that of the watch, 0: none. */
void leave_socket(struct daemon *d, uid_t uid, int fd, bool bare, uint64_t token);

/* A descriptor out of a message; -1 is allowed. */
void leave_descriptor(struct daemon *d, uid_t uid, int fd);

/*
 * May a message of this user that has descriptors be taken? All it can bring will
 * have a place in the table of this process and, later, here. Else -EMFILE, and why.
 */
int leave_has_room(struct daemon *d, uid_t uid, char text[232]);

/* May messages of connections that come now bring any? Before listening, and often. */
void leave_guard(struct daemon *d);

/* May one connection more be accepted? */
bool leave_may_accept(struct daemon *d);

/* Give to the thread, or close, what the loop has let go. */
void leave_collect(struct daemon *d);

#endif
