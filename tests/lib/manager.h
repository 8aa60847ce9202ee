/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager.h - a service manager of a test's own: it holds a daemon's descriptors and
 * passes them to the next one.
 *
 * It speaks systemd's protocol on a socket: FDSTORE, FDNAME, FDPOLL, FDSTOREREMOVE,
 * BARRIER. A thread serves it. What it holds can be looked at and changed between two
 * starts.
 */
#ifndef CKV_TEST_MANAGER_H
#define CKV_TEST_MANAGER_H

#include "tests/lib/folder.h"

#include <stdbool.h>

#define MANAGER_HELD 8192
#define MANAGER_NAME 64

/* What it makes of a barrier. */
enum manager_mood {
	MANAGER_WELL,
	MANAGER_SLOW,		/* it answers when it is well again */
};

struct test_manager;

/* Ends the test program when it cannot be made. Its socket is $NOTIFY_SOCKET then. */
struct test_manager *manager_start(const char *folder);
void manager_stop(struct test_manager *manager);	/* what it holds is closed */

/*
 * Pass all that is held to the program that this process becomes by exec. `manager` is a
 * struct test_manager: for test_daemon_before().
 */
void manager_pass(void *manager);

unsigned int manager_count(struct test_manager *manager, const char *prefix);
/* A descriptor that stays the manager's; -1: none of this name is held. */
int manager_held(struct test_manager *manager, const char *name);
/* The name of the first one that begins so. Fails the test when there is none. */
void manager_name(struct test_manager *manager, const char *prefix,
		  char name[MANAGER_NAME]);
/* Forget one; forget all. */
void manager_drop(struct test_manager *manager, const char *name);
void manager_empty(struct test_manager *manager);
/* Hold another descriptor, which is duplicated, under a name. */
void manager_put(struct test_manager *manager, const char *name, int fd);
void manager_set_mood(struct test_manager *manager, enum manager_mood mood);
/* Its socket is gone, as if it had died; it is there again. */
void manager_mute(struct test_manager *manager);
void manager_unmute(struct test_manager *manager);
/* Was it told to forget a descriptor by itself when that hangs up? */
bool manager_polls(struct test_manager *manager, const char *name);
/* Barriers that were asked for so far. */
unsigned int manager_barriers(struct test_manager *manager);

#endif
