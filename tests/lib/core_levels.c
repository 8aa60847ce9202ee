/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_levels.c - see core_levels.h.
 */
#include <check.h>

#include "tests/lib/core_levels.h"

struct core levels;
int lane_a, lane_b;
struct space_task task[2];
static struct ckv_key keys[2][NEAR];

void open_levels(uint8_t nearest, uint32_t n_levels)
{
	struct space_config config = core_config(NEAR, 8);

	config.level[0].number = nearest;
	config.level[0].n_ahead = NEAR + 1;
	for (uint32_t l = 1; l < n_levels; l++) {
		config.level[l] = config.level[0];
		config.level[l].number = (uint8_t)(nearest - l);
		config.level[l].n_places = config.level[l].n_places_max = FAR;
		/* Of the host's and the device's memory clients read the pages. */
		config.level[l].pool = config.level[l].number >= CKV_LEVEL_HOST ?
				       core_pool(FAR, 0) : (struct ckv_pool_shape){ 0 };
	}
	config.n_levels = n_levels;
	config.n_moves_max = MOVES;
	config.n_events_max = EVENTS;
	config.n_buckets = space_buckets_for(NEAR + 8 + 2 * FAR);
	core_open(&levels, &config);
	lane_a = core_lane_open(&levels, 0);
	lane_b = core_lane_open(&levels, 1);
}

struct ckv_block block_of(uint32_t k)
{
	struct ckv_block block = ckv_block_none();
	uint32_t slot;

	block.level = CKV_LEVEL_NONE;
	(void)core_find(&levels, k, &slot, &block);
	return block;
}

int level_of_key(uint32_t k)
{
	return block_of(k).level;
}

/* A chain of the keys first, first + 1 ... first + n - 1. */
void put_chain(uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		ck_assert_int_eq(core_put(&levels, lane_a, i ? first + i - 1 : 0, first + i), 0);
}

bool is_key(const struct ckv_key *key, uint32_t k)
{
	struct ckv_key wanted = core_key(k);

	return memcmp(key, &wanted, sizeof wanted) == 0;
}

struct space_move begin_move(uint32_t k)
{
	struct space_move move;

	ck_assert_int_eq(space_move_next(levels.space, &move), 1);
	ck_assert(is_key(&move.key, k));
	return move;
}

void no_move(void)
{
	struct space_move move;

	ck_assert_int_eq(space_move_next(levels.space, &move), 0);
}

void done(const struct space_move *move, int result)
{
	space_move_done(levels.space, move->id, result, 99);
	space_check(levels.space);
}

/* Save whatever may be saved now. */
uint32_t save_all(void)
{
	struct space_move move;
	uint32_t n = 0;

	for (; space_move_next(levels.space, &move) > 0; n++)
		done(&move, 0);
	return n;
}

/* Make k leave the nearest level: everything there that is saved does. */
void make_room(void)
{
	struct ckv_lent lent[NEAR];
	int n = 0;

	while (n < NEAR && core_reserve(&levels, lane_b, 0, 900 + (uint32_t)n, &lent[n]) == 0)
		n++;
	while (n-- > 0)
		ck_assert_int_eq(core_abort(&levels, lane_b, &lent[n]), 0);
	space_check(levels.space);
}

/* A PREFETCH of the n keys from `first`, and how it goes on. */
int prefetch(int t, uint32_t first, uint32_t n, bool keep)
{
	int32_t units = 1000;

	for (uint32_t i = 0; i < n; i++)
		keys[t][i] = core_key(first + i);
	task[t] = (struct space_task){
		.op = SPACE_PREFETCH, .items = keys[t], .n = n, .keep = keep,
	};
	return space_run(levels.space, &task[t], &units);
}

void prefetch_waits(int t, uint32_t first, uint32_t n, bool keep)
{
	ck_assert_int_eq(prefetch(t, first, n, keep), SPACE_LATER);
	space_await(levels.space, &task[t]);
	space_check(levels.space);
}

int go_on(int t)
{
	int32_t units = 1000;

	ck_assert_ptr_eq(space_ready(levels.space), &task[t]);
	return space_run(levels.space, &task[t], &units);
}

void go_on_waiting(int t)
{
	ck_assert_int_eq(go_on(t), SPACE_LATER);
	space_await(levels.space, &task[t]);
}

/* The chain 1 .. n, on disk only. */
void chain_far(uint32_t n)
{
	put_chain(1, n);
	ck_assert_uint_eq(save_all(), n);
	make_room();
	ck_assert_int_eq(level_of_key(1), CKV_LEVEL_DISK);
}
