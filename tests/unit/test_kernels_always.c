/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_always.c - tokens that are always kept: the stage by itself.
 */
#include "kernels/select_any.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TOKENS	64u

static uint32_t pos[MAX_TOKENS], scratch[2 * MAX_TOKENS];

static void assert_positions(const uint32_t *got, const uint32_t *want,
			     uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		ck_assert_uint_eq(got[i], want[i]);
}
#define IS(got, ...) do {						\
		static const uint32_t want_[] = { __VA_ARGS__ };	\
		assert_positions(got, want_, COUNT(want_));		\
	} while (0)

/* pos[] = the given tokens. A choice of that many, by score. */
static struct select_choice chosen(const uint32_t *token, uint32_t n,
				   const float *score, uint32_t n_scored)
{
	memcpy(pos, token, n * sizeof *pos);
	return (struct select_choice){
		.kept = { .n_sets = 1, .n = n },
		.score = score, .n_scored = n_scored };
}
#define CHOSEN(score, n_scored, ...)					\
	chosen((const uint32_t[]){ __VA_ARGS__ },			\
	       COUNT(((const uint32_t[]){ __VA_ARGS__ })), score, n_scored)

static const struct ckv_always sinks = { .n_sink = 2 };

/* Ranges are clipped, ordered and joined where they meet. */
START_TEST(ranges_become_disjoint)
{
	static const struct ckv_always a = {
		.n_sink = 3, .n_recent = 4, .n_ranges = 5,
		.range = { { 30, 34 }, { 3, 5 }, { 33, 36 }, { 9, 9 },
			   { 38, 200 } } };
	struct always_set set = always_of(&a, 40);

	ck_assert_uint_eq(set.n_ranges, 2);
	ck_assert_uint_eq(set.range[0].from, 0);
	ck_assert_uint_eq(set.range[0].to, 5);
	ck_assert_uint_eq(set.range[1].from, 30);
	ck_assert_uint_eq(set.range[1].to, 40);
	ck_assert_uint_eq(set.n_tokens, 15);
	set = always_of(&a, 2);
	ck_assert_uint_eq(set.n_ranges, 1);
	ck_assert_uint_eq(set.n_tokens, 2);
}
END_TEST

/* Any ranges in any order: a token is in the set iff one of them has it. */
START_TEST(ranges_mean_what_they_say)
{
	struct ckv_always a = { 0 };
	struct always_set set;

	srand((unsigned)_i);
	a.n_sink = (uint32_t)(rand() % 6);
	a.n_recent = (uint32_t)(rand() % 6);
	a.n_ranges = CKV_ALWAYS_RANGES;
	for (uint32_t i = 0; i < a.n_ranges; i++) {
		a.range[i].from = (uint32_t)(rand() % 60);
		a.range[i].to = a.range[i].from + (uint32_t)(rand() % 9);
	}
	set = always_of(&a, 50);
	for (uint32_t r = 1; r < set.n_ranges; r++)
		ck_assert_uint_gt(set.range[r].from, set.range[r - 1].to);
	for (uint32_t t = 0; t < 50; t++) {
		int want = t < a.n_sink || t >= 50 - a.n_recent, got = 0;

		for (uint32_t i = 0; i < a.n_ranges; i++)
			want |= t >= a.range[i].from && t < a.range[i].to;
		for (uint32_t r = 0; r < set.n_ranges; r++)
			got |= t >= set.range[r].from && t < set.range[r].to;
		ck_assert_int_eq(got, want);
	}
}
END_TEST

START_TEST(impossible_ranges_are_refused)
{
	struct ckv_always a = { .n_ranges = 1, .range = { { 5, 4 } } };

	ck_assert_int_eq(always_check(&a), -EINVAL);
	a.range[0].to = 5;
	ck_assert_int_eq(always_check(&a), 0);
	a.n_ranges = CKV_ALWAYS_RANGES + 1;
	ck_assert_int_eq(always_check(&a), -EINVAL);
}
END_TEST

/* The lowest scores give way; those of the set are not counted among them. */
START_TEST(the_worst_give_way)
{
	static const float score[10] = { -9, 0, 4, 1, 7, 2, 8, 3, 9, 5 };
	struct always_set set = always_of(&sinks, 10);
	struct select_choice c = CHOSEN(score, 10, 0, 4, 5, 7, 8);

	ck_assert_uint_eq(always_merge(&set, &c, 0, scratch, pos), 0);
	IS(pos, 0, 1, 4, 7, 8);
}
END_TEST

/* Of equal scores the newest goes. */
START_TEST(of_equal_scores_the_newest_gives_way)
{
	static const float score[10] = { 0 };
	struct always_set set = always_of(&sinks, 10);
	struct select_choice c = CHOSEN(score, 10, 3, 5, 7, 9);

	ck_assert_uint_eq(always_merge(&set, &c, 0, scratch, pos), 0);
	IS(pos, 0, 1, 3, 5);
}
END_TEST

/* A window goes after every scored token, and its oldest first. */
START_TEST(windows_give_way_last_and_oldest_first)
{
	static const float score[7] = { 0, 0, 5, 4, 3, 2, 1 };
	struct always_set set = always_of(&sinks, 10);
	struct select_choice c = CHOSEN(score, 7, 2, 3, 7, 8, 9);

	ck_assert_uint_eq(always_merge(&set, &c, 0, scratch, pos), 0);
	IS(pos, 0, 1, 7, 8, 9);
	c = CHOSEN(score, 7, 2, 7, 8, 9);
	ck_assert_uint_eq(always_merge(&set, &c, 0, scratch, pos), 0);
	IS(pos, 0, 1, 8, 9);
	c = CHOSEN(NULL, 0, 5, 6, 7);
	ck_assert_uint_eq(always_merge(&set, &c, 0, scratch, pos), 0);
	IS(pos, 0, 1, 7);
}
END_TEST

/* More than there is room for: the newest, and how many were lost. */
START_TEST(too_large_a_set_keeps_its_newest)
{
	static const struct ckv_always a = { .n_sink = 3, .n_recent = 2 };
	struct always_set set = always_of(&a, 10);
	struct select_choice c = CHOSEN(NULL, 0, 7, 8, 9);

	ck_assert_uint_eq(always_merge(&set, &c, 0, scratch, pos), 2);
	IS(pos, 2, 8, 9);
	c = CHOSEN(NULL, 0, 5, 6, 7, 8, 9);
	ck_assert_uint_eq(always_merge(&set, &c, 0, scratch, pos), 0);
	IS(pos, 0, 1, 2, 8, 9);
}
END_TEST

/* The second set of a choice goes by its own scores. */
START_TEST(every_set_has_its_own_scores)
{
	static const float score[2][4] = { { 0, 1, 2, 3 }, { 0, 3, 2, 1 } };
	static const struct ckv_always first = { .n_sink = 1 };
	struct always_set set = always_of(&first, 4);
	struct select_choice c = CHOSEN(score[0], 4, 1, 2, 3);

	c.stride = 4;
	ck_assert_uint_eq(always_merge(&set, &c, 1, scratch, pos), 0);
	IS(pos, 0, 1, 2);
}
END_TEST

/* The set above every score, the window above the rest: the definition. */
static int ranks_before(const struct always_set *set, const float *score,
			uint32_t n_scored, uint32_t a, uint32_t b)
{
	int in[2] = { 0, 0 };

	for (uint32_t r = 0; r < set->n_ranges; r++) {
		in[0] |= a >= set->range[r].from && a < set->range[r].to;
		in[1] |= b >= set->range[r].from && b < set->range[r].to;
	}
	if (in[0] != in[1])
		return in[0];
	if (in[0] || (a >= n_scored && b >= n_scored))
		return a > b;
	if ((a >= n_scored) != (b >= n_scored))
		return a >= n_scored;
	return score[a] != score[b] ? score[a] > score[b] : a < b;
}

/* Tokens that fewer than n rank before. */
static void best_by(const struct always_set *set, const float *score,
		    uint32_t n_scored, uint32_t n_tokens, uint32_t n,
		    uint32_t *to)
{
	for (uint32_t t = 0; t < n_tokens; t++) {
		uint32_t n_before = 0;

		for (uint32_t u = 0; u < n_tokens; u++)
			if (u != t)
				n_before += (uint32_t)ranks_before(
					set, score, n_scored, u, t);
		if (n_before < n)
			*to++ = t;
	}
}

/* The best n, then merged, are the best n with the set above every score. */
START_TEST(merging_is_ranking_above_every_score)
{
	enum { T = 40, SCORED = T - 5 };
	struct ckv_always a = { .n_ranges = 2 };
	struct always_set none = { 0 }, set;
	uint32_t want[T];
	float score[T];

	srand((unsigned)_i);
	for (int t = 0; t < T; t++)
		score[t] = (float)(rand() % 9);
	for (uint32_t i = 0; i < a.n_ranges; i++) {
		a.range[i].from = (uint32_t)(rand() % T);
		a.range[i].to = a.range[i].from + (uint32_t)(rand() % 7);
	}
	set = always_of(&a, T);
	for (uint32_t n = 1; n <= T; n++) {
		struct select_choice c = { .kept.n = n, .score = score,
					   .n_scored = SCORED };

		best_by(&none, score, SCORED, T, n, pos);
		best_by(&set, score, SCORED, T, n, want);
		always_merge(&set, &c, 0, scratch, pos);
		assert_positions(pos, want, n);
	}
}
END_TEST

CHECK_MAIN("kernels_always",
	CASE("all"),
	TEST(ranges_become_disjoint),
	LOOP(ranges_mean_what_they_say, 50),
	TEST(impossible_ranges_are_refused),
	TEST(the_worst_give_way),
	TEST(of_equal_scores_the_newest_gives_way),
	TEST(windows_give_way_last_and_oldest_first),
	TEST(too_large_a_set_keeps_its_newest),
	TEST(every_set_has_its_own_scores),
	LOOP(merging_is_ranking_above_every_score, 20))
