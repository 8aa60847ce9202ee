/* SPDX-License-Identifier: Apache-2.0 */
/*
 * served.h - two lanes of two clients, served in this process.
 *
 * The daemon's own code on ordinary memory: segments are allocated in their
 * exact size, so that a sanitizer sees a step outside. There is no socket and
 * no descriptor to wait for. Worker threads run; served_turn() waits for them,
 * so that the same input always does the same.
 */
#ifndef CKV_FUZZ_SERVED_H
#define CKV_FUZZ_SERVED_H

#include "daemon/shell/daemon.h"
#include "tests/lib/core.h"

enum { SERVED_LANES = 2, SERVED_PAGES = 24, SERVED_VIEWS = 8 };

struct served_lane {
	struct ckv_ring_end requests;	/* the client's ends */
	struct ckv_ring_end completions;
	char *c, *d;
	struct ckv_c_head *head;
	uint32_t n_put, n_completed;
};

struct served {
	struct core core;
	struct daemon *daemon;
	struct lane *lane;		/* the daemon's, [SERVED_LANES] */
	struct ckv_lane_map map;
	struct served_lane end[SERVED_LANES];
};

/* An empty space of pages filled with small numbers, two open lanes. */
void served_open(struct served *s);
void served_close(struct served *s);

/* May lane i be given the slabs of its pages? At first it may. */
void served_allow_slabs(struct served *s, int i, bool allow);

/* Put a request into lane i's ring, with the sequence number it should have. */
void served_put(struct served *s, int i, const struct ckv_req *request);

/*
 * Let the daemon serve every lane until all its jobs are done; then assert
 * what must hold whatever the clients wrote. Completions are collected, the
 * last one is copied to *ret_last (may be NULL).
 */
void served_turn(struct served *s, struct ckv_comp *ret_last);

char *served_page(struct served *s, uint32_t page);

#endif
