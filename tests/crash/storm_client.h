/* SPDX-License-Identifier: Apache-2.0 */
/* storm_client.h - one process of the storm, its threads and their lanes. */
#ifndef CKV_TESTS_STORM_CLIENT_H
#define CKV_TESTS_STORM_CLIENT_H

#include "tests/crash/storm.h"

enum { STORM_JOBS = 6, STORM_HELD = 3 };

struct storm_process {
	struct storm *storm;
	int i;
	struct ckv *ckv;
	struct ckv_space *space[STORM_SPACES];
	_Atomic uint32_t leaving;	/* its threads are to end */
};

enum storm_job_state {
	JOB_IDLE, JOB_RESERVING, JOB_WRITING, JOB_PUBLISHING, JOB_PREFETCHING, JOB_NOP,
};

struct storm_held {		/* a chain that was read and is pinned still */
	struct ckv_key key[STORM_DEPTH];
	struct ckv_handle handle[STORM_DEPTH];
	struct ckv_pin pin;
	uint32_t n;
};

/* A chain on its way: reserve, fill, publish, each without waiting. */
struct storm_job {
	enum storm_job_state state;
	struct ckv_key parent;		/* of key[0], unless it is a root */
	bool rooted;
	uint64_t sent;			/* its number among all that the lane sent */
	uint64_t taken;			/* what it was reserved under was given back after
					   the request of this number; 0: it was not */
	struct ckv_key key[STORM_DEPTH];
	struct ckv_page page[STORM_DEPTH];
	uint64_t sum[STORM_DEPTH];
	uint32_t n;
	struct storm_held come;		/* what a prefetch waits for, then holds */
};

struct storm_lane {
	struct storm_process *process;
	struct storm_counts *counts;
	struct ckv_space *space;
	struct ckv_space_info info;
	struct ckv_lane *lane;		/* NULL: to be opened */
	uint64_t random;
	struct storm_job job[STORM_JOBS];
	struct storm_held held[STORM_HELD];
	uint64_t n_sent;
	uint32_t n_in_flight, next_held;
	char name[48];			/* who: for reports */
};

/* Be client i. Never returns. */
_Noreturn void storm_client(struct storm *storm, int i, uint64_t seed);

/* storm_lane.c: one step of a lane; the daemon may be dead at any time. */
void storm_lane_step(struct storm_lane *l);
void storm_lane_close(struct storm_lane *l);

#endif
