/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm.h - many clients that do everything at once, for crash_storm.c.
 *
 * A client is a process with several threads, each with a lane in each space. A thread
 * keeps several requests in flight, holds pins of chains it has read, waits for chains that
 * others write, and now and then aborts, drops, cancels, makes a view, writes anything into
 * what it borrowed before it publishes that, forks a child that dies, closes its lane, or
 * has all threads of its process close everything and open it again. A page's contents are
 * computed from its key, so a wrong byte is noticed whoever wrote it.
 */
#ifndef CKV_TESTS_STORM_H
#define CKV_TESTS_STORM_H

#include "client/ckv.h"
#include "tests/crash/raw.h"
#include "tests/lib/daemon.h"

enum {
	STORM_CLIENTS_MAX = 64, STORM_THREADS = 2, STORM_SPACES = 2,
	STORM_CHAINS = 64, STORM_DEPTH = 8,
	STORM_SHARED = 3,	/* first blocks that four chains have in common */
};

extern const char *const storm_space[STORM_SPACES];

/* Sections of a configuration for both, with pools of so many bytes ("2M"). */
void storm_config(char *text, size_t size, const char *pool);

/* What one thread did, in all the lives of its client. */
struct storm_counts {
	_Atomic uint64_t rounds, verified, written, aborted, dropped, views,
			 forks, lanes, reopened, pipelined, missed, careless, prefetched,
			 cancelled;
};

/* The first thing that was wrong; whoever finds n at 0 tells. */
struct storm_wrong {
	_Atomic uint32_t n, told;
	char text[600];
};

struct storm {			/* in memory shared by all processes */
	struct storm_counts counts[STORM_CLIENTS_MAX][STORM_THREADS];
	struct storm_wrong wrong;
	char socket[96];
	uint64_t seed;
	uint32_t n_lives;	/* clients started */
	int n_clients;
	pid_t pid[STORM_CLIENTS_MAX];
};

struct storm *storm_create(const char *socket, int n_clients, uint64_t seed);

/* Start client i (again); SIGKILL it and wait. */
void storm_start(struct storm *storm, int i);
void storm_kill(struct storm *storm, int i);

/* Add the counts of all threads up. */
void storm_sum(const struct storm *storm, struct storm_counts *ret);

/*
 * With all clients dead every page of a space is free or published, within RAW_WAIT_MS.
 * False: *ret_text has the numbers.
 */
bool storm_adds_up(const char *socket, const char *space, char *ret_text,
		   size_t size);

void storm_tell(struct storm *storm, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

uint64_t storm_draw(uint64_t *random);

/* storm_pages.c: what belongs where */
void storm_keys(const struct ckv_space *space, uint32_t chain,
		struct ckv_key ret_keys[STORM_DEPTH]);
void storm_fill(const struct ckv_key *key, void *page, size_t bytes);

/* `where` says who looked when. False, and told: a byte is wrong. */
bool storm_page_right(struct storm *storm, const char *where,
		      const struct ckv_key *key, const void *page, size_t bytes);
bool storm_view_right(struct storm *storm, const char *where,
		      const struct ckv_lane *lane,
		      const struct ckv_space_info *info,
		      const struct ckv_key *keys, const struct ckv_view *view);

#endif
