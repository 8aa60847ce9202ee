/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_level.c - which copies of a block may go, and a space of several levels.
 *
 * The core counts each block's children per level. Here the rule is told from the
 * children themselves, over random trees of blocks with random copies.
 */
#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

#include "daemon/core/state.h"

enum { BLOCKS = 24, LEVELS = 3, EVENTS = 4000, NOWHERE = LEVELS };

static struct core core;
static struct space *s;
static uint64_t rng;

static void setup(void)
{
	struct space_config config = core_config(64, 8);

	config.n_levels = LEVELS;
	for (uint32_t l = 1; l < LEVELS; l++) {
		config.level[l] = config.level[0];
		config.level[l].number = (uint8_t)(config.level[0].number - l);
		config.level[l].policy = policy_at(l % 2);
		config.level[l].pool = core_pool(64, 0);
	}
	core_open(&core, &config);
	s = core.space;
}

static void teardown(void)
{
	core_close(&core);
}

static uint32_t below(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)((rng >> 32) % n);
}

static bool there(uint32_t b)
{
	return node_of(s, b)->state == NODE_PUBLISHED;
}

/* The nearest level with a copy, but for the copy at `without`. */
static uint32_t nearest(uint32_t b, uint32_t without)
{
	for (uint32_t l = 0; l < LEVELS; l++)
		if (l != without && copy_there(s, b, l))
			return l;
	return NOWHERE;
}

/* No child has a copy at that level, and none would be nearer than its parent. */
static bool may_go(uint32_t b, uint32_t level)
{
	for (uint32_t c = 0; c < BLOCKS; c++)
		if (there(c) && node_of(s, c)->parent == b &&
		    (copy_there(s, c, level) ||
		     nearest(c, NOWHERE) < nearest(b, level)))
			return false;
	return true;
}

static void see_candidates(void)
{
	for (uint32_t b = 0; b < BLOCKS; b++)
		for (uint32_t l = 0; l < LEVELS; l++)
			ck_assert_int_eq(copy_of(s, b, l)->queue != 0,
					 there(b) && copy_there(s, b, l) &&
					 may_go(b, l));
}

/* A block under a random one, with copies at no nearer level. */
static void add(uint32_t b)
{
	uint32_t parent = below(BLOCKS), from = 0;

	if (!there(parent))
		parent = CKV_NONE;
	else
		from = nearest(parent, NOWHERE);
	*node_of(s, b) = (struct node){ .state = NODE_PUBLISHED, .parent = parent };
	for (uint32_t l = from; l < LEVELS; l++)
		if (below(2))
			copy_of(s, b, l)->place = b;
	if (nearest(b, NOWHERE) == NOWHERE)
		copy_of(s, b, from + below(LEVELS - from))->place = b;
	parent_gain(s, b);
	node_put(s, b, POLICY_NEW);
}

static void leave(uint32_t b)
{
	if (node_children(s, b) > 0)
		return;
	node_take_out(s, b);
	parent_lose(s, b, POLICY_HEIR);
	for (uint32_t l = 0; l < LEVELS; l++)
		copy_of(s, b, l)->place = CKV_NONE;
	node_of(s, b)->state = NODE_FREE;
}

/* Whatever comes and goes: a copy is a candidate exactly if it may go. */
START_TEST(counts_tell_what_may_go)
{
	uint32_t n_past = 0;

	rng = (uint64_t)_i * 0x9e3779b97f4a7c15u + 1;
	for (int i = 0; i < EVENTS; i++) {
		uint32_t b = below(BLOCKS);

		if (there(b))
			leave(b);
		else
			add(b);
		see_candidates();
		for (uint32_t l = 0; l < LEVELS; l++) {
			if (there(b) && copy_there(s, b, l))
				n_past += l > nearest(b, NOWHERE);
		}
	}
	ck_assert_uint_gt(n_past, EVENTS / 16);
	for (int turn = 0; turn < BLOCKS; turn++)
		for (uint32_t b = 0; b < BLOCKS; b++)
			if (there(b))
				leave(b);
	for (uint32_t l = 0; l < LEVELS; l++)
		ck_assert(!candidates_any(&s->levels[l].blocks));
}
END_TEST

CHECK_MAIN("core_level",
	CASE("level", .setup = setup, .teardown = teardown),
	LOOP(counts_tell_what_may_go, 8))
