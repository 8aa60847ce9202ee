/* SPDX-License-Identifier: Apache-2.0 */
/*
 * closer.h - threads that close what clients sent, because close() may block.
 *
 * The last close() of a descriptor can block for as long as its maker likes: a TCP
 * socket that lingers, a file of a file system in user space. The last close() of a
 * socket also closes the descriptors in its unread messages. So the reactor itself
 * closes nothing that a client sent; it gives that to these threads.
 *
 * At first there is one thread. While a thread is busy with one user's descriptor,
 * another is started for other users' descriptors, so no user waits for another one.
 */
#ifndef CKV_CLOSER_H
#define CKV_CLOSER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CLOSER_ITEMS	8192u		/* descriptors that can wait, of all users */
#define CLOSER_USER_ITEMS (CLOSER_ITEMS / 2) /* ... of one user */
#define CLOSER_THREADS	64u		/* users whose close() may block at once */

struct closer;

int closer_create(struct closer **ret_closer);
/*
 * Waits a second or two until all is closed; the kernel closes the rest when the
 * process ends. NULL is allowed.
 */
void closer_destroy(struct closer *closer);

/*
 * Let a thread close fd, which `uid` sent. `read_all`: it first reads all messages in
 * the socket, because if a socket is closed with unread messages, its peer may lose
 * what was sent to it last. 0; -EAGAIN: too many descriptors wait, of all users or of
 * this one, and the caller keeps fd. Never blocks.
 */
int closer_give(struct closer *closer, uid_t uid, int fd, bool read_all);

/* Will closer_give() take n descriptors more of this user? */
bool closer_has_room(struct closer *closer, uid_t uid, uint32_t n);

/* How many descriptors were given and are not closed yet. */
uint32_t closer_waiting(struct closer *closer);

#endif
