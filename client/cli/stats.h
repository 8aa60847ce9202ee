/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - the counters by number and name, and a private copy of everything
 * the daemon shows at one moment.
 *
 * Rendering works on copies, so a frame adds up even while the daemon counts on,
 * and rates are the difference of two copies.
 */
#ifndef CKV_CLI_STATS_H
#define CKV_CLI_STATS_H

#include "client/cli/observe.h"

#include <jansson.h>

enum stats_global {
#define CKV_GLOBAL_STAT(name, kind, unit, help) GLOBAL_##name,
#include "proto/ckv_stats.def"
	N_GLOBAL_STATS
};

enum stats_space {
#define CKV_SPACE_STAT(name, kind, unit, help) SPACE_##name,
#include "proto/ckv_stats.def"
	N_SPACE_STATS
};

struct stat_help {
	const char *name, *kind, *unit, *help;
};
extern const struct stat_help global_stat_help[N_GLOBAL_STATS];
extern const struct stat_help space_stat_help[N_SPACE_STATS];

struct shot_space {
	struct ckv_space_row row;
	bool	 known;		/* stats could be read */
	char	 why[256];	/* if not */
	uint64_t stat[N_SPACE_STATS];
};

struct shot_client {
	uint32_t pid;		/* as the daemon sees it; 0: of a namespace it cannot see */
	uint32_t uid, gid;
	uint32_t state;		/* enum ckv_client_state */
	bool	 stopped;	/* by a signal or a debugger */
	uint64_t attached_s, spaces, lanes, pins, pages_lent, requests;
	char	 name[CKV_NAME_BYTES];
};

struct shot {
	struct ckv_stats_head head;
	bool	 alive;
	uint64_t taken_ns;	/* CLOCK_MONOTONIC */
	uint64_t taken_s;	/* CLOCK_REALTIME */
	uint64_t global[N_GLOBAL_STATS];
	uint32_t n_spaces, n_clients;
	struct shot_space  *spaces;
	struct shot_client *clients;
};

/*
 * An observer with every space's stats attached, ready to be copied from again
 * and again. A space that this user may not see is kept with the reason.
 */
struct watch {
	struct observer observer;
	struct observed_space *spaces;
	char (*why)[256];
};

/* As observer_open(); on failure only ret->observer.why is set. */
int watch_open(const char *path, struct watch *ret);
void watch_close(struct watch *watch);

/* Copy what the daemon shows now. The caller gives *ret to shot_free(). */
void watch_shot(struct watch *watch, struct shot *ret);

/*
 * The same from mapped memory: `stats` of `head`, per space its counters or NULL.
 * Leaves out the row of `own_pid`, the looking process itself; 0: it has no
 * number there, and what /proc says of the others is not theirs.
 */
void shot_take(void *stats, const struct ckv_stats_head *head,
	       struct ckv_space_stats *const *spaces, uint32_t own_pid,
	       struct shot *ret);
void shot_free(struct shot *shot);

/* Is the process stopped? What /proc says; false if it says nothing. */
bool stats_pid_stopped(uint32_t pid);

/* Every counter by its name. */
json_t *stats_global_json(const struct shot *shot);
json_t *stats_space_json(const struct shot_space *space); /* null if unknown */

/*
 * Are the process numbers of the client table those of this process, too? Not when
 * the daemon is in another pid namespace: it says what it sees from there.
 */
bool watch_same_pids(const struct watch *watch);

/* Open, copy, close; prints why not. Returns an exit code. */
int stats_once(const char *path, struct shot *ret);

#endif
