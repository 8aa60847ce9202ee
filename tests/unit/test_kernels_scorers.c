/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_scorers.c - what each method without a window of queries keeps,
 * and TOVA: cases made by hand, with the result said in advance.
 */
#include "tests/lib/check_main.h"
#include "tests/lib/layer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void must(const struct ckv_selection *s)
{
	ck_assert_int_eq(layer_select(s), 0);
}

/* --------------------------------------------------------------- l2norm */

/* The smallest norms of each head; sign and order of numbers do not count. */
START_TEST(l2norm_keeps_the_smallest)
{
	static const float norm[2][6] = { { 3, -1, 2, 5, 4, 0 },
					  { 1, 2, 3, -4, 0.5f, 6 } };
	struct ckv_selection s = { .kind = CKV_L2NORM, .n_keep = 3 };

	layer_make(2, 1, 6, 3, 1);
	for (uint32_t h = 0; h < 2; h++)
		for (uint32_t t = 0; t < 6; t++)
			layer_key(h, t, norm[h][t]);
	must(&s);
	ck_assert(LAYER_SET_IS(0, 1, 2, 5));
	ck_assert(LAYER_SET_IS(1, 0, 1, 4));
	layer_drop();
}
END_TEST

/* Official: left-out layers and short prompts keep all, in one set. */
START_TEST(l2norm_leaves_layers_and_short_prompts_out)
{
	struct ckv_selection s = { .kind = CKV_L2NORM, .mode = CKV_OF_OFFICIAL,
				   .n_keep = 3, .skip = 5, .prune_after = 5 };

	layer_make(2, 1, 6, 3, 1);
	ck_assert_uint_eq(ckv_selection_max_kept(&s, &one.in), 12);
	one.in.k.block = NULL;		/* nothing is read */
	must(&s);
	ck_assert(layer_set_is_run(0, 0, 6));
	ck_assert_uint_eq(one.kept.n_sets, 1);
	one.in.layer = 2;
	must(&s);
	ck_assert(layer_set_is_run(0, 0, 6));
	one.in.layer = 1;
	ck_assert_int_eq(layer_select(&s), -ENODATA);
	one.in.k.block = one.k.rows.block;
	must(&s);
	ck_assert_uint_eq(one.kept.n, 3);
	ck_assert_uint_eq(one.kept.n_sets, 2);
	s.prune_after = 6;		/* only when T is above it */
	must(&s);
	ck_assert(layer_set_is_run(0, 0, 6));
	s.mode = CKV_OF_KVPRESS;	/* which knows neither */
	one.in.layer = 0;
	must(&s);
	ck_assert_uint_eq(one.kept.n, 3);
	layer_drop();
}
END_TEST

/* Every block keeps its share, the last short one at least a token. */
START_TEST(l2norm_blocks_keep_at_least_one)
{
	struct ckv_selection s = { .kind = CKV_L2NORM, .keep_num = 1,
				   .keep_den = 4, .block = 4 };

	layer_make(1, 1, 14, 3, 1);		/* blocks of 4, 4, 4, 2 */
	for (uint32_t t = 0; t < 14; t++)
		layer_key(0, t, 20.0f - (float)t);
	must(&s);
	ck_assert(LAYER_SET_IS(0, 3, 7, 11, 13));
	s.keep_den = 100;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 3, 7, 11, 13));
	s.keep_num = 3;
	s.keep_den = 4;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13));
	s.keep_den = 0;			/* 7 of 14: 2, 2, 2, 1 */
	s.n_keep = 7;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 2, 3, 6, 7, 10, 11, 13));
	layer_drop();
}
END_TEST

/* -------------------------------------------------------------- keydiff */

/* Away from the mean key is kept, whatever the length; a zero key lies between. */
START_TEST(keydiff_keeps_what_differs)
{
	struct ckv_selection s = { .kind = CKV_KEYDIFF, .n_keep = 2 };

	layer_make(1, 1, 6, 2, 1);
	for (uint32_t t = 0; t < 6; t++)
		layer_key(0, t, 3.0f);
	layer_key(0, 2, -0.5f);
	layer_key(0, 4, 0.0f);
	must(&s);
	ck_assert(LAYER_SET_IS(0, 2, 4));
	layer_drop();
}
END_TEST

/*
 * In blocks, what an early step gave up does not come back: the rare direction
 * of the whole context is the common one of its beginning.
 */
START_TEST(keydiff_blocks_forget)
{
	struct ckv_selection s = { .kind = CKV_KEYDIFF, .n_keep = 2 };

	layer_make(1, 1, 8, 2, 1);
	for (uint32_t t = 0; t < 8; t++)
		rows_put(&one.k, 0, t, t > 2, 1.0f);
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 1));
	s.block = 2;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 3));
	s.block = 7;			/* 0 and 1, then all others at once */
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 1));
	layer_drop();
}
END_TEST

/* ----------------------------------------------------------------- tova */

/* The mean goes over all query heads: one loud head outweighs three. */
START_TEST(tova_averages_over_all_query_heads)
{
	struct ckv_selection s = { .kind = CKV_TOVA, .n_keep = 2 };

	layer_make(2, 2, 5, 1, 1);
	for (uint32_t h = 0; h < 2; h++)
		layer_key(h, h, 2.0f);	/* head h looks at token h */
	layer_query(0, 0, 9.0f);
	for (uint32_t h = 1; h < 4; h++)
		layer_query(h, 0, 0.1f);
	must(&s);
	ck_assert_uint_eq(one.kept.n_sets, 1);
	ck_assert(LAYER_SET_IS(0, 0, 4));
	layer_query(0, 0, 0.1f);
	layer_query(3, 0, 9.0f);
	must(&s);
	ck_assert(LAYER_SET_IS(0, 1, 4));
	layer_drop();
}
END_TEST

/* The last token is kept even alone, and even if nothing looks at it. */
START_TEST(tova_forces_the_last_token)
{
	struct ckv_selection s = { .kind = CKV_TOVA, .n_keep = 1 };

	layer_make(1, 1, 5, 1, 1);
	layer_query(0, 0, 9.0f);
	layer_key(0, 4, -9.0f);
	layer_key(0, 3, 9.0f);
	must(&s);
	ck_assert(LAYER_SET_IS(0, 4));
	s.n_keep = 2;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 3, 4));
	layer_drop();
}
END_TEST

/* ------------------------------------------------------------------ h2o */

/* Sums of a group's heads are reduced; recent tokens are not judged by theirs. */
START_TEST(h2o_reduces_groups_and_keeps_recent)
{
	struct ckv_selection s = { .kind = CKV_H2O, .n_keep = 4, .n_recent = 2,
				   .reduce = CKV_REDUCE_MAX };

	layer_make(1, 2, 8, 1, 1);
	one.in.n_sum_heads = 2;
	one.sums[1] = 5.0f;			/* head 0: token 1 */
	one.sums[8 + 2] = one.sums[2] = 3.0f;	/* both: token 2 */
	one.sums[8 + 3] = 4.0f;		/* head 1: token 3 */
	one.sums[6] = -50.0f;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 1, 3, 6, 7));
	s.reduce = CKV_REDUCE_MEAN;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 1, 2, 6, 7));
	s.reduce = CKV_REDUCE_SUM;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 1, 2, 6, 7));
	s.n_keep = 2;			/* no more than the recent */
	must(&s);
	ck_assert(LAYER_SET_IS(0, 6, 7));
	s.n_keep = 1;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 7));
	s.n_keep = 8;
	one.in.sums = NULL;		/* all: nothing is read */
	must(&s);
	ck_assert(layer_set_is_run(0, 0, 8));
	s.n_keep = 7;
	ck_assert_int_eq(layer_select(&s), -ENODATA);
	layer_drop();
}
END_TEST

/* Sums per kv head are taken as they are; heads that do not divide are not. */
START_TEST(h2o_takes_sums_of_kv_heads)
{
	struct ckv_selection s = { .kind = CKV_H2O, .n_keep = 1 };

	layer_make(2, 2, 8, 1, 1);
	one.sums[3] = one.sums[8 + 5] = 1.0f;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 3));
	ck_assert(LAYER_SET_IS(1, 5));
	one.in.n_sum_heads = 4;		/* of query heads: two each */
	one.sums[3 * 8 + 6] = 9.0f;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 3));
	ck_assert(LAYER_SET_IS(1, 6));
	one.in.n_sum_heads = 3;
	ck_assert_int_eq(layer_select(&s), -EINVAL);
	layer_drop();
}
END_TEST

/* --------------------------------------------------- streamingllm, random */

/* Sinks and the newest; where there is no room for the sinks, the first. */
START_TEST(streamingllm_keeps_both_ends)
{
	struct ckv_selection s = { .kind = CKV_STREAMINGLLM, .n_keep = 6,
				   .n_sink = 4 };

	layer_make(2, 1, 10, 1, 1);
	one.in.k.block = NULL;		/* nothing is read */
	must(&s);
	ck_assert_uint_eq(one.kept.n_sets, 1);
	ck_assert(LAYER_SET_IS(0, 0, 1, 2, 3, 8, 9));
	s.n_keep = 4;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 1, 2, 3));
	s.n_keep = 3;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 1, 2));
	s.n_sink = 0;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 7, 8, 9));
	s.n_sink = 99;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 1, 2));
	/* What is always kept takes the place of the oldest of the newest. */
	s.n_sink = 2;
	s.n_keep = 5;
	s.always = (struct ckv_always){ .n_ranges = 1, .range = { { 4, 6 } } };
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 1, 4, 5, 9));
	s.n_keep = 3;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 4, 5));
	layer_drop();
}
END_TEST

/* A draw is fixed by seed and layer; over layers each token has its chance. */
START_TEST(random_draws_are_fixed_and_even)
{
	struct ckv_selection s = { .kind = CKV_RANDOM, .n_keep = 10,
				   .seed = 1 };
	uint32_t n_kept[40] = { 0 }, n_same = 0, first[10];

	layer_make(1, 1, 40, 1, 1);
	one.in.n_layers = 1000;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 7, 8, 11, 13, 20, 29, 32, 33, 37, 39));
	for (one.in.layer = 0; one.in.layer < 1000; one.in.layer++) {
		must(&s);
		n_same += one.in.layer > 0 &&
			  memcmp(first, one.pos, sizeof first) == 0;
		memcpy(first, one.pos, sizeof first);
		for (uint32_t i = 0; i < 10; i++)
			n_kept[one.pos[i]]++;
	}
	ck_assert_uint_eq(n_same, 0);
	for (uint32_t t = 0; t < 40; t++)	/* 250, sigma 13.7 */
		ck_assert_msg(n_kept[t] > 180 && n_kept[t] < 320,
			      "%u was drawn %u times", t, n_kept[t]);
	one.in.layer = 0;
	must(&s);
	memcpy(first, one.pos, sizeof first);
	s.seed = 2;
	must(&s);
	ck_assert_mem_ne(first, one.pos, sizeof first);
	layer_drop();
}
END_TEST

CHECK_MAIN("kernels_scorers",
	CASE("all"),
	TEST(l2norm_keeps_the_smallest),
	TEST(l2norm_leaves_layers_and_short_prompts_out),
	TEST(l2norm_blocks_keep_at_least_one),
	TEST(keydiff_keeps_what_differs),
	TEST(keydiff_blocks_forget),
	TEST(tova_averages_over_all_query_heads),
	TEST(tova_forces_the_last_token),
	TEST(h2o_reduces_groups_and_keeps_recent),
	TEST(h2o_takes_sums_of_kv_heads),
	TEST(streamingllm_keeps_both_ends),
	TEST(random_draws_are_fixed_and_even))
