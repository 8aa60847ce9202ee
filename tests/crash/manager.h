/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager.h - a service manager in a thread of the test, which keeps what a daemon stores.
 *
 * It speaks as much of systemd's protocol as the daemon does: READY, FDSTORE with FDNAME,
 * FDSTOREREMOVE, BARRIER; and gives the next daemon what is stored (LISTEN_FDS). A test may
 * look at what is stored, change it, take it away, or have the daemon traced.
 */
#ifndef CKV_TESTS_MANAGER_H
#define CKV_TESTS_MANAGER_H

#include "tests/lib/daemon.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MANAGER_FDS = 512, MANAGER_NAME = 64 };

struct manager_kept {
	char name[MANAGER_NAME];
	int fd;
	size_t bytes;		/* 0: it is no memory */
};

struct manager {
	struct test_daemon daemon;
	char path[FOLDER_BYTES + 16];	/* of the notify socket */
	int socket;
	pthread_t thread;
	pthread_mutex_t lock;	/* what follows */
	struct manager_kept kept[MANAGER_FDS];
	uint32_t n_kept;
	struct manager_kept remembered[MANAGER_FDS];
	void *copy[MANAGER_FDS];	/* of its bytes */
	uint32_t n_remembered;
	bool ready;		/* the last daemon that was started said so */
	bool quit;
};

/* A configuration and nothing else. `params` and `spaces` as to test_daemon_start(). */
void manager_create(struct manager *manager, const char *params, const char *spaces);

/* Kill the daemon, if there is one, and remove everything. */
void manager_destroy(struct manager *manager);

/*
 * Start a daemon and give it what is stored. `traced`: it asks to be traced by this thread
 * and stops itself before it begins.
 */
void manager_start(struct manager *manager, bool traced);

/* Wait until it answers; ends the program with its log if it ends before. */
void manager_wait(struct manager *manager);

/* Kill it and wait for its end; what it stored until then is in. */
void manager_kill(struct manager *manager);

/* Take what has been sent, as the thread does by itself, but now. Has READY been said? */
bool manager_take(struct manager *manager);

/* The one of this name, NULL: none. For tests without a daemon only. */
struct manager_kept *manager_find(struct manager *manager, const char *name);

/* Forget one; all. */
void manager_drop(struct manager *manager, struct manager_kept *kept);
void manager_empty(struct manager *manager);

/* Note what is stored, with the bytes of all memory; make it as it was then. */
void manager_remember(struct manager *manager);
void manager_restore(struct manager *manager);

/* The bytes that were noted. */
const void *manager_copy(const struct manager *manager, const char *name);

#endif
