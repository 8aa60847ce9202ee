/* SPDX-License-Identifier: Apache-2.0 */
/*
 * closer.h - threads that may wait in close().
 *
 * The last close() of a descriptor can wait for as long as its maker likes (a TCP
 * socket that lingers, a file of a file system in user space), and the last
 * close() of a socket closes the descriptors in the messages nobody read. So the
 * reactor closes nothing that a client sent: it is given to a thread.
 *
 * There is one thread, and one more for each user whose descriptor keeps another
 * busy: nobody's waits behind somebody else's.
 */
#ifndef CKV_CLOSER_H
#define CKV_CLOSER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CLOSER_ITEMS	8192u		/* that can wait, of all users */
#define CLOSER_USER_ITEMS (CLOSER_ITEMS / 2)
#define CLOSER_THREADS	64u		/* users whose close() can take long at once */

struct closer;

int closer_create(struct closer **ret_closer);
/* Waits a second or two for what is left; then that is the process's end's. NULL is allowed. */
void closer_destroy(struct closer *closer);

/*
 * Close fd, which `uid` sent, some time. `read_all`: read what is left in it before, for
 * a socket that is closed with unread messages takes from the other side what was
 * sent to it last. 0; -EAGAIN: too many wait, or too many of this user; then fd stays
 * the caller's. Never waits.
 */
int closer_give(struct closer *closer, uid_t uid, int fd, bool read_all);

/* Will closer_give() take n more of this user? */
bool closer_has_room(struct closer *closer, uid_t uid, uint32_t n);

/* Given, and not closed yet. */
uint32_t closer_waiting(struct closer *closer);

#endif
