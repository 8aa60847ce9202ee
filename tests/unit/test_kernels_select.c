/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_select.c - order, budgets, pooling, and both methods' choices.
 *
 * The methods are given window scores made by hand, so what is kept can be
 * said in advance.
 */
#include "kernels/ckv_kernels.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TOKENS	256u

static _Alignas(64) char scratch[64 * 1024];
static uint32_t pos[8 * MAX_TOKENS];
static float score[32 * MAX_TOKENS];

static void assert_positions(const uint32_t *got, uint32_t n_got,
			     const uint32_t *want, uint32_t n_want)
{
	ck_assert_uint_eq(n_got, n_want);
	for (uint32_t i = 0; i < n_want; i++)
		ck_assert_uint_eq(got[i], want[i]);
}
#define KEEPS(got, n_got, ...) do {					\
		static const uint32_t want_[] = { __VA_ARGS__ };	\
		assert_positions(got, n_got, want_, COUNT(want_));	\
	} while (0)

/* Positions [from, to), from `at` on. */
static uint32_t assert_run(uint32_t at, uint32_t from, uint32_t to)
{
	for (uint32_t p = from; p < to; p++)
		ck_assert_uint_eq(pos[at++], p);
	return at;
}

/* Ties go to the lower index; results ascend. */
START_TEST(ties_go_to_the_lower_index)
{
	static const float s[] = { 1, 3, 3, 2, 3, 2, -INFINITY, INFINITY };

	ck_assert_int_eq(ckv_select_top(s, 8, 3, 0, pos, NULL), 0);
	KEEPS(pos, 3, 1, 2, 7);
	ck_assert_int_eq(ckv_select_top(s, 8, 5, 10, pos, NULL), 0);
	KEEPS(pos, 5, 11, 12, 13, 14, 17);
	ck_assert_int_eq(ckv_select_top(s, 8, 0, 0, pos, NULL), 0);
	ck_assert_int_eq(ckv_select_top(s, 8, 9, 0, pos, NULL), -EINVAL);
	ck_assert_int_eq(ckv_select_top(NULL, 0, 0, 0, NULL, NULL), 0);
}
END_TEST

/* NaN rank after -infinity and are counted; -0 equals +0. */
START_TEST(nan_is_last_and_zeros_are_equal)
{
	static const float s[] = { NAN, -0.0f, 0.0f, -INFINITY, -NAN, -0.0f };
	uint32_t n_nan = 99, order[6];

	ck_assert_int_eq(ckv_select_top(s, 6, 2, 0, pos, &n_nan), 0);
	KEEPS(pos, 2, 1, 2);
	ck_assert_uint_eq(n_nan, 2);
	ck_assert_int_eq(ckv_select_top(s, 6, 5, 0, pos, &n_nan), 0);
	KEEPS(pos, 5, 0, 1, 2, 3, 5);
	ck_assert_int_eq(ckv_rank(s, 6, order), 0);
	KEEPS(order, 6, 1, 2, 5, 3, 0, 4);
}
END_TEST

/* The best k are the first k of the ranking, for every k. */
START_TEST(selection_is_a_prefix_of_the_ranking)
{
	enum { N = 203 };
	float s[N];
	uint32_t order[N];
	char in[N];

	srand((unsigned)_i);
	for (int i = 0; i < N; i++)
		s[i] = (float)(rand() % 40 - 20) * 0.25f;
	ck_assert_int_eq(ckv_rank(s, N, order), 0);
	for (uint32_t k = 0; k <= N; k++) {
		ck_assert_int_eq(ckv_select_top(s, N, k, 0, pos, NULL), 0);
		memset(in, 0, sizeof in);
		for (uint32_t i = 0; i < k; i++)
			in[order[i]] = 1;
		for (uint32_t i = 0; i < k; i++) {
			ck_assert(in[pos[i]]);
			ck_assert(i == 0 || pos[i] > pos[i - 1]);
		}
	}
}
END_TEST

/* kvpress's budgets truncate binary64; ours are exact. */
START_TEST(budgets_are_two_arithmetics)
{
	ck_assert_uint_eq(ckv_budget_kvpress(1000, 0.8), 199);
	ck_assert_uint_eq(ckv_budget_kvpress(1000, 0.9), 99);
	ck_assert_uint_eq(ckv_budget_kvpress(10000, 0.8), 1999);
	ck_assert_uint_eq(ckv_budget_kvpress(10, 0.5), 5);
	ck_assert_uint_eq(ckv_budget_kvpress(10, 0.0), 10);
	ck_assert_uint_eq(ckv_budget_kvpress(10, 0.999), 0);
	ck_assert_uint_eq(ckv_budget_ratio(1000, 1, 5), 200);
	ck_assert_uint_eq(ckv_budget_ratio(UINT32_MAX, 3, 3), UINT32_MAX);
}
END_TEST

/* An average counts the zeros outside; a maximum does not see them. */
START_TEST(pools_treat_the_border_differently)
{
	static const float s[] = { 1, 2, 3, 4, 5 }, n[] = { -3, -1, -2 };
	static const float avg[] = { 1, 2, 3, 4, 3 };
	float out[5];

	ck_assert_int_eq(ckv_pool(CKV_POOL_AVG, 3, s, 5, out), 0);
	ck_assert_mem_eq(out, avg, sizeof avg);
	ck_assert_int_eq(ckv_pool(CKV_POOL_AVG, 1, s, 5, out), 0);
	ck_assert_mem_eq(out, s, sizeof s);
	ck_assert_int_eq(ckv_pool(CKV_POOL_MAX, 3, n, 3, out), 0);
	ck_assert_float_eq(out[0], -1);
	ck_assert_float_eq(out[2], -1);
	ck_assert_int_eq(ckv_pool(CKV_POOL_MAX, 99, n, 3, out), 0);
	ck_assert_float_eq(out[0], -1);
	ck_assert_int_eq(ckv_pool(CKV_POOL_AVG, 2, s, 5, out), -EINVAL);
}
END_TEST

/* Mean, sum and maximum over rows. */
START_TEST(rows_reduce_to_one)
{
	static const float rows[] = { 1, 2, 5, 0, 3, -8 };
	float out[2];

	ck_assert_int_eq(ckv_reduce(CKV_REDUCE_MEAN, rows, 3, 2, 2, out), 0);
	ck_assert_float_eq(out[0], 3);
	ck_assert_float_eq(out[1], -2);
	ck_assert_int_eq(ckv_reduce(CKV_REDUCE_SUM, rows, 3, 2, 2, out), 0);
	ck_assert_float_eq(out[0], 9);
	ck_assert_int_eq(ckv_reduce(CKV_REDUCE_MAX, rows, 3, 2, 2, out), 0);
	ck_assert_float_eq(out[1], 2);
	ck_assert_int_eq(ckv_reduce(CKV_REDUCE_MAX, rows, 0, 2, 2, out),
			 -EINVAL);
}
END_TEST

static const struct ckv_chunkkv kvpress = {
	.mode = CKV_CHUNKKV_KVPRESS, .chunk = 10, .window = 8, .kernel = 1,
	.n_reuse = 1, .removed = 0.5 };
static const struct ckv_chunkkv paper = {
	.mode = CKV_CHUNKKV_PAPER, .chunk = 10, .window = 8, .n_reuse = 1,
	.n_keep = 30 };

static struct ckv_kept pick(const struct ckv_chunkkv *m, uint32_t n_kv,
			    uint32_t n_q, uint32_t n_tokens)
{
	struct ckv_shape shape = { n_kv, n_q, n_tokens };
	struct ckv_kept kept = { 0 };

	ck_assert_uint_le(ckv_pick_scratch_bytes(&shape), sizeof scratch);
	ck_assert_uint_le(ckv_chunkkv_max_kept(m, &shape), COUNT(pos));
	ck_assert_int_eq(ckv_chunkkv_pick(m, &shape, score, scratch, pos, &kept),
			 0);
	ck_assert_uint_le(kept.n_sets * kept.n,
			  ckv_chunkkv_max_kept(m, &shape));
	return kept;
}

static void set_scores(float all)
{
	for (uint32_t i = 0; i < COUNT(score); i++)
		score[i] = all;
}

/* All scores equal: window chunks first, then the lowest, a short one last. */
START_TEST(equal_scores_keep_the_lowest_chunks)
{
	static const uint32_t n_tokens[] = { 50, 51, 59 };
	uint32_t t = n_tokens[_i], at;
	struct ckv_kept kept;

	set_scores(0.25f);
	kept = pick(&kvpress, 2, 4, t);
	ck_assert_uint_eq(kept.n_sets, 1);
	if (t == 50) {		/* int(5 * .5) = 2; 40..49 touches the window */
		at = assert_run(0, 0, 10);
		at = assert_run(at, 40, 50);
	} else if (t == 51) {	/* int(6 * .5) = 3; 50 is all window */
		at = assert_run(0, 0, 10);
		at = assert_run(at, 40, 51);
	} else {		/* 50..58 touches it, nothing is all window */
		at = assert_run(0, 0, 20);
		at = assert_run(at, 50, 59);
	}
	ck_assert_uint_eq(kept.n, at);
}
END_TEST

/* A short last chunk is scored by the mean of what it has, in both lengths. */
START_TEST(a_short_chunk_competes_by_its_mean)
{
	struct ckv_chunkkv m = kvpress;
	float chunk_score[6] = { 1, 5, 2, 4, 3, 9 };
	uint32_t n, order[6];

	ck_assert_uint_eq(ckv_chunkkv_n_chunks(&m, 51), 6);
	ck_assert_int_eq(ckv_chunkkv_keep(&m, 51, chunk_score, order, pos, &n),
			 0);
	/* 50 (all window), then the best of the others: chunks 1 and 3. */
	ck_assert_uint_eq(assert_run(assert_run(assert_run(0, 10, 20), 30, 40),
				     50, 51), n);
}
END_TEST

/* More all-window chunks than are kept: the lowest of them, nothing else. */
START_TEST(too_many_window_chunks_keep_the_lowest)
{
	struct ckv_chunkkv m = kvpress;
	struct ckv_kept kept;

	m.window = 45;
	m.removed = 0.75;
	for (uint32_t i = 0; i < COUNT(score); i++)
		score[i] = (float)(i % 7);
	kept = pick(&m, 1, 1, 80);	/* chunks 4..7 are all window; 2 kept */
	ck_assert_uint_eq(assert_run(0, 40, 60), kept.n);
}
END_TEST

/* However much is removed, one chunk stays; nothing removed keeps all. */
START_TEST(extreme_ratios_keep_one_chunk_or_all)
{
	struct ckv_chunkkv m = kvpress;
	struct ckv_kept kept;
	struct ckv_shape shape = { 1, 1, 60 };

	set_scores(0.0f);
	score[5] = 1.0f;
	m.removed = 0.999;
	kept = pick(&m, 1, 1, 60);
	ck_assert_uint_eq(assert_run(0, 50, 60), kept.n);
	m.removed = 0.0;
	ck_assert(!ckv_chunkkv_needs_score(&m, &shape));
	kept = pick(&m, 1, 1, 60);
	ck_assert_uint_eq(assert_run(0, 0, 60), kept.n);
	m.removed = 1.0;
	ck_assert_int_eq(ckv_chunkkv_pick(&m, &shape, score, scratch, pos,
					  &kept), -EINVAL);
	m.removed = NAN;
	ck_assert_int_eq(ckv_chunkkv_pick(&m, &shape, score, scratch, pos,
					  &kept), -EINVAL);
}
END_TEST

/* A prompt shorter than a chunk is SnapKV's: a set for every kv head. */
START_TEST(short_prompts_fall_back_per_head)
{
	struct ckv_chunkkv m = kvpress;
	struct ckv_kept kept;

	m.chunk = 20;
	set_scores(0.0f);
	score[2] = 1.0f;		/* head 0 of 7 scored columns */
	score[7 + 4] = 1.0f;		/* head 1 */
	m.removed = 0.4;		/* int(15 * .6) = 9 = window + 1 */
	kept = pick(&m, 2, 2, 15);
	ck_assert_uint_eq(kept.n_sets, 2);
	ck_assert_uint_eq(kept.n, 9);
	ck_assert_uint_eq(pos[0], 2);
	assert_run(1, 7, 15);
	ck_assert_uint_eq(pos[9], 4);
	assert_run(10, 7, 15);
}
END_TEST

/* With no token before the window nothing is scored: the newest are kept. */
START_TEST(a_prompt_within_the_window_keeps_the_newest)
{
	struct ckv_chunkkv m = kvpress;
	struct ckv_shape shape = { 2, 2, 8 };
	struct ckv_kept kept;

	ck_assert(!ckv_chunkkv_needs_score(&m, &shape));
	kept = pick(&m, 2, 2, 8);
	ck_assert_uint_eq(kept.n_sets, 1);
	ck_assert_uint_eq(assert_run(0, 4, 8), kept.n);
	m = paper;
	kept = pick(&m, 2, 2, 8);
	ck_assert_uint_eq(assert_run(0, 0, 8), kept.n);
}
END_TEST

/* T = w + 1: the one scored token, pooled with nothing beside it. */
START_TEST(one_scored_token_is_enough)
{
	struct ckv_chunkkv m = kvpress;
	struct ckv_kept kept;

	m.chunk = 3;
	m.kernel = 5;
	set_scores(0.5f);
	kept = pick(&m, 1, 2, 9);	/* int(3 * .5) = 1, all window: 3..5 */
	ck_assert_uint_eq(assert_run(0, 3, 6), kept.n);
}
END_TEST

/* Heads may come in any order; the shared set is the same. */
START_TEST(head_order_does_not_matter)
{
	uint32_t first[MAX_TOKENS], n_first;
	struct ckv_kept kept;

	srand(7);
	for (uint32_t i = 0; i < 4 * 92; i++)
		score[i] = (float)rand() / (float)RAND_MAX;
	kept = pick(&kvpress, 4, 4, 100);
	n_first = kept.n;
	memcpy(first, pos, n_first * sizeof *pos);
	memmove(score + 4 * 92, score, 92 * sizeof *score);
	memmove(score, score + 92, (size_t)4 * 92 * sizeof *score);
	kept = pick(&kvpress, 4, 4, 100);
	assert_positions(pos, kept.n, first, n_first);
}
END_TEST

/* Paper: the straddling chunk ends at the window; the window comes on top. */
START_TEST(paper_cuts_the_straddling_chunk)
{
	struct ckv_chunkkv m = paper;
	struct ckv_kept kept;

	m.n_keep = 40;
	set_scores(0.0f);
	for (uint32_t i = 40; i < 45; i++)
		score[i] = 9.0f;
	score[12] = 1.0f;
	kept = pick(&m, 1, 1, 53);	/* chunks 4 (5 tokens), 1, 0, then 2 */
	ck_assert_uint_eq(assert_run(assert_run(assert_run(assert_run(
		0, 0, 10), 10, 20), 20, 27), 40, 53), kept.n);
}
END_TEST

/* Paper: only the worst chosen chunk loses tokens, and it loses its tail. */
START_TEST(paper_cuts_the_tail_of_the_worst_chunk)
{
	struct ckv_chunkkv m = paper;
	struct ckv_kept kept;

	set_scores(0.0f);
	score[5] = 2.0f;
	score[25] = 1.0f;
	score[45] = 3.0f;
	kept = pick(&m, 1, 1, 68);	/* 22 tokens: chunks 4, 0, two of 2 */
	ck_assert_uint_eq(assert_run(assert_run(assert_run(assert_run(
		0, 0, 10), 20, 22), 40, 50), 60, 68), kept.n);
	m.n_keep = 8;
	kept = pick(&m, 1, 1, 68);
	ck_assert_uint_eq(assert_run(0, 60, 68), kept.n);
	m.n_keep = 3;
	kept = pick(&m, 1, 1, 68);
	ck_assert_uint_eq(assert_run(0, 65, 68), kept.n);
	m.n_keep = 1000;
	kept = pick(&m, 1, 1, 68);
	ck_assert_uint_eq(assert_run(0, 0, 68), kept.n);
}
END_TEST

/* Layer l takes the set of layer N * floor(l / N). */
START_TEST(layers_share_their_sets)
{
	struct ckv_chunkkv m = paper;

	for (uint32_t n = 1; n <= 3; n++) {
		m.n_reuse = n;
		for (uint32_t l = 0; l < 10; l++)
			ck_assert_uint_eq(ckv_chunkkv_source_layer(&m, l),
					  n * (l / n));
	}
}
END_TEST

static struct ckv_kept snap(const struct ckv_snapkv *m, uint32_t n_kv,
			    uint32_t n_q, uint32_t n_tokens)
{
	struct ckv_shape shape = { n_kv, n_q, n_tokens };
	struct ckv_kept kept = { 0 };

	ck_assert_int_eq(ckv_snapkv_pick(m, &shape, score, scratch, pos, &kept),
			 0);
	ck_assert_uint_eq(kept.n_sets * kept.n,
			  ckv_snapkv_max_kept(m, &shape));
	return kept;
}

/* SnapKV's two budgets: kvpress counts by ratio, official by capacity. */
START_TEST(snapkv_budgets_include_the_window)
{
	struct ckv_snapkv m = { .window = 8, .kernel = 1, .removed = 0.5 };
	struct ckv_kept kept;

	set_scores(0.0f);
	score[3] = score[9] = 1.0f;
	kept = snap(&m, 1, 1, 20);	/* 10 = window + 2 */
	KEEPS(pos, kept.n, 3, 9, 12, 13, 14, 15, 16, 17, 18, 19);
	m.removed = 0.8;		/* int(20 * .2) = 3 < w */
	kept = snap(&m, 1, 1, 20);
	KEEPS(pos, kept.n, 17, 18, 19);
	m.removed = 0.99;
	kept = snap(&m, 1, 1, 20);
	ck_assert_uint_eq(kept.n, 0);
	m.mode = CKV_SNAPKV_OFFICIAL;
	m.n_keep = 9;
	kept = snap(&m, 1, 1, 20);
	KEEPS(pos, kept.n, 3, 12, 13, 14, 15, 16, 17, 18, 19);
	m.n_keep = 21;
	kept = snap(&m, 1, 1, 20);
	ck_assert_uint_eq(assert_run(0, 0, 20), kept.n);
}
END_TEST

/* Maximum pooling: kvpress pools before the mean over heads, official after. */
START_TEST(pooling_and_reducing_do_not_commute)
{
	struct ckv_snapkv m = { .window = 1, .kernel = 3,
				.pool = CKV_POOL_MAX, .n_keep = 3,
				.removed = 0.7 };
	struct ckv_shape shape = { 1, 2, 10 };
	float out[9];

	set_scores(0.0f);
	score[1] = 2.0f;		/* head 0 */
	score[9 + 3] = 2.0f;		/* head 1 */
	ck_assert_int_eq(ckv_snapkv_score(&m, &shape, 0, 1, score, scratch, out),
			 0);
	ck_assert_float_eq(out[2], 2.0f);
	m.mode = CKV_SNAPKV_OFFICIAL;
	ck_assert_int_eq(ckv_snapkv_score(&m, &shape, 0, 1, score, scratch, out),
			 0);
	ck_assert_float_eq(out[2], 1.0f);
}
END_TEST

CHECK_MAIN("kernels_select",
	CASE("all"),
	TEST(ties_go_to_the_lower_index),
	TEST(nan_is_last_and_zeros_are_equal),
	LOOP(selection_is_a_prefix_of_the_ranking, 10),
	TEST(budgets_are_two_arithmetics),
	TEST(pools_treat_the_border_differently),
	TEST(rows_reduce_to_one),
	LOOP(equal_scores_keep_the_lowest_chunks, 3),
	TEST(a_short_chunk_competes_by_its_mean),
	TEST(too_many_window_chunks_keep_the_lowest),
	TEST(extreme_ratios_keep_one_chunk_or_all),
	TEST(short_prompts_fall_back_per_head),
	TEST(a_prompt_within_the_window_keeps_the_newest),
	TEST(one_scored_token_is_enough),
	TEST(head_order_does_not_matter),
	TEST(paper_cuts_the_straddling_chunk),
	TEST(paper_cuts_the_tail_of_the_worst_chunk),
	TEST(layers_share_their_sets),
	TEST(snapkv_budgets_include_the_window),
	TEST(pooling_and_reducing_do_not_commute))
