/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_levels.h - a small space of two or three levels, for tests that look at one rule.
 */
#ifndef CKV_TEST_CORE_LEVELS_H
#define CKV_TEST_CORE_LEVELS_H

#include "tests/lib/core.h"

enum { NEAR = 8, FAR = 16, MOVES = 6, EVENTS = 4 };	/* places, and what the space allows */

extern struct core levels;
extern int lane_a, lane_b;	/* of clients 0 and 1 */
extern struct space_task task[2];

void open_levels(uint8_t nearest, uint32_t n_levels);

/* What the index says of key k; level 0 if it is not there. */
struct ckv_block block_of(uint32_t k);
int level_of_key(uint32_t k);
bool is_key(const struct ckv_key *key, uint32_t k);
/* Store a chain of the keys first, first + 1 ... first + n - 1. */
void put_chain(uint32_t first, uint32_t n);
/* The chain 1 .. n, on disk only. */
void chain_far(uint32_t n);

/* The next move is one of key k; there is none; it ended so. */
struct space_move begin_move(uint32_t k);
void no_move(void);
void done(const struct space_move *move, int result);
/* Make and end all moves that are wanted now: how many. */
uint32_t save_all(void);
/* Reserve all pages that can be had, and give them back. */
void make_room(void);

/* Begin PREFETCH t of the n keys from `first`; it has to wait. How it goes on when it can. */
int prefetch(int t, uint32_t first, uint32_t n, bool keep);
void prefetch_waits(int t, uint32_t first, uint32_t n, bool keep);
int go_on(int t);
void go_on_waiting(int t);

#endif
