/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watcher.h - a client in a storm that holds on to what it has, over many daemons.
 *
 * One of its threads keeps a chain pinned and pages lent for seconds: it reads the one and
 * writes into the others all the time, whatever becomes of the daemon. Another one attaches
 * again and looks up on the same connection; a third one opens and closes lanes.
 */
#ifndef CKV_TESTS_WATCHER_H
#define CKV_TESTS_WATCHER_H

#include "tests/crash/storm.h"

enum { WATCHERS_MAX = 4 };

struct watcher_counts {		/* in memory shared with the test */
	_Atomic uint64_t held;		/* chains that were held over a daemon's death */
	_Atomic uint64_t read;		/* pages of them that were read after it */
	_Atomic uint64_t stale;		/* lent pages that were kept over one */
	_Atomic uint64_t opened;	/* lanes */
};

struct watchers {
	struct storm *storm;	/* who is told what is wrong */
	struct watcher_counts *counts;
	pid_t pid[WATCHERS_MAX];
	int n;
};

void watchers_start(struct watchers *watchers, struct storm *storm, int n);
void watchers_kill(struct watchers *watchers);

/* Have they gone? Then *storm has been told. */
void watchers_check(const struct watchers *watchers);

#endif
