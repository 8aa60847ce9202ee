/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_traps.c - budgets, ties, windows, chunks and refusals: where
 * selections go wrong, each case made by hand with its result said in advance.
 */
#include "tests/lib/check_main.h"
#include "tests/lib/layer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void must(const struct ckv_selection *s)
{
	ck_assert_int_eq(layer_select(s), 0);
}

/* -------------------------------------------------------------- budgets */

static uint32_t budget(enum ckv_selector kind, enum ckv_mode_of mode,
		       uint32_t num, uint32_t den, uint32_t n_tokens)
{
	const struct ckv_selection s = {
		.kind = kind, .mode = mode, .keep_num = num, .keep_den = den,
		.chunk = 10, .window = 8, .kernel = 5, .n_reuse = 1, .beta = 20 };

	return ckv_selection_budget(&s, 0, 1, n_tokens);
}

/* kvpress truncates binary64: 1000 tokens with 0.8 removed are 199, not 200. */
START_TEST(budgets_truncate_as_their_code_does)
{
	static const enum ckv_selector by_kvpress[] = {
		CKV_CHUNKKV, CKV_SNAPKV, CKV_L2NORM, CKV_KEYDIFF, CKV_TOVA,
		CKV_STREAMINGLLM };

	for (uint32_t i = 0; i < COUNT(by_kvpress); i++) {
		ck_assert_uint_eq(budget(by_kvpress[i], CKV_OF_KVPRESS, 1, 5,
					 1000), 199);
		ck_assert_uint_eq(budget(by_kvpress[i], CKV_OF_KVPRESS, 1, 10,
					 1000), 99);
		ck_assert_uint_eq(budget(by_kvpress[i], CKV_OF_KVPRESS, 1, 5,
					 10000), 1999);
	}
	ck_assert_uint_eq(budget(CKV_H2O, CKV_OF_KVPRESS, 1, 5, 1000), 200);
	ck_assert_uint_eq(budget(CKV_RANDOM, CKV_OF_KVPRESS, 1, 10, 1000), 100);
	ck_assert_uint_eq(budget(CKV_SNAPKV, CKV_OF_OFFICIAL, 1, 5, 1000), 200);
	ck_assert_uint_eq(budget(CKV_CHUNKKV, CKV_OF_PAPER, 1, 3, 1000), 333);
	ck_assert_uint_eq(budget(CKV_L2NORM, CKV_OF_OFFICIAL, 1, 5, 1000), 200);
	ck_assert_uint_eq(budget(CKV_L2NORM, CKV_OF_OFFICIAL, 1, 5, 1001), 201);
	ck_assert_uint_eq(budget(CKV_L2NORM, CKV_OF_OFFICIAL, 1, 3, 1000), 334);
}
END_TEST

/* However little is asked for, one token stays; nothing at all is refused. */
START_TEST(one_token_stays)
{
	for (int kind = CKV_CHUNKKV; kind < CKV_N_SELECTORS; kind++)
		for (int mode = CKV_OF_KVPRESS; mode <= CKV_OF_PAPER; mode++) {
			struct ckv_selection s = {
				.kind = (enum ckv_selector)kind,
				.mode = (enum ckv_mode_of)mode,
				.keep_num = 1, .keep_den = 1000, .chunk = 4,
				.window = 1, .kernel = 1, .n_reuse = 1,
				.beta = 20 };

			layer_make(1, 1, 3, 2, 1);
			if (layer_select(&s) == -EINVAL) {	/* not a mode of its */
				layer_drop();
				continue;
			}
			ck_assert_uint_eq(one.kept.n, 1);
			ck_assert_uint_eq(ckv_selection_budget(&s, 0, 1, 3), 1);
			s.keep_num = 0;
			ck_assert_int_eq(layer_select(&s), -EINVAL);
			s.keep_den = 0;
			ck_assert_int_eq(layer_select(&s), -EINVAL);
			layer_drop();
		}
}
END_TEST

/* ------------------------------------------------------------ pyramidkv */

static const struct pyramid {
	enum ckv_mode_of mode;
	uint32_t n_tokens, window, num, den, n_keep, layer[3], sum;
} pyramids[] = {
	{ CKV_OF_OFFICIAL, 8192, 8, 0, 0, 512, { 991, 961, 61 }, 16832 },
	{ CKV_OF_OFFICIAL, 8192, 32, 0, 0, 2048, { 3964, 3841, 151 }, 65840 },
	{ CKV_OF_OFFICIAL, 4096, 8, 0, 0, 1024, { 1990, 1928, 68 }, 32928 },
	{ CKV_OF_OFFICIAL, 1200, 8, 0, 0, 1024, { 1024, 1024, 1024 }, 32768 },
	{ CKV_OF_KVPRESS, 8192, 8, 1, 16, 0, { 998, 967, 26 }, 16384 },
	{ CKV_OF_KVPRESS, 8192, 64, 1, 16, 0, { 512, 512, 512 }, 16384 },
	{ CKV_OF_KVPRESS, 8192, 64, 1, 2, 0, { 7987, 7736, 205 }, 131072 },
	{ CKV_OF_KVPRESS, 4096, 64, 1, 4, 0, { 1024, 1024, 1024 }, 32768 },
	/* Layer 0 cannot have more than all: the line is flatter. */
	{ CKV_OF_OFFICIAL, 1930, 64, 0, 0, 1024, { 1930, 1872, 132 }, 32992 },
	/* All tokens fit, or more: everywhere all. */
	{ CKV_OF_OFFICIAL, 1000, 8, 0, 0, 1001, { 1000, 1000, 1000 }, 32000 },
	/* The capacity is the window, and less. */
	{ CKV_OF_OFFICIAL, 1000, 8, 0, 0, 8, { 8, 8, 8 }, 256 },
	{ CKV_OF_OFFICIAL, 1000, 8, 0, 0, 5, { 5, 5, 5 }, 160 },
};

/* Both ways of drawing the line, layer by layer, and what they come to. */
START_TEST(pyramids_are_those_of_their_code)
{
	const struct pyramid *p = &pyramids[_i];
	const struct ckv_selection s = {
		.kind = CKV_PYRAMIDKV, .mode = p->mode, .keep_num = p->num,
		.keep_den = p->den, .n_keep = p->n_keep, .window = p->window,
		.kernel = 5, .beta = 20 };
	uint32_t sum = 0;

	for (uint32_t l = 0; l < 32; l++)
		sum += ckv_selection_budget(&s, l, 32, p->n_tokens);
	ck_assert_uint_eq(ckv_selection_budget(&s, 0, 32, p->n_tokens),
			  p->layer[0]);
	ck_assert_uint_eq(ckv_selection_budget(&s, 1, 32, p->n_tokens),
			  p->layer[1]);
	ck_assert_uint_eq(ckv_selection_budget(&s, 31, 32, p->n_tokens),
			  p->layer[2]);
	ck_assert_uint_eq(sum, p->sum);
	/* One layer has no line. */
	ck_assert_uint_eq(ckv_selection_budget(&s, 0, 1, p->n_tokens),
			  p->den ? p->n_tokens * p->num / p->den
			  : p->n_keep < p->n_tokens ? p->n_keep : p->n_tokens);
}
END_TEST

/* The flat budget is rounded half to even: 2.5 is 2, 3.5 is 4. */
START_TEST(flat_pyramids_round_half_to_even)
{
	const struct ckv_selection s = {
		.kind = CKV_PYRAMIDKV, .mode = CKV_OF_KVPRESS, .keep_num = 1,
		.keep_den = 2, .window = 8, .kernel = 5, .beta = 20 };

	ck_assert_uint_eq(ckv_selection_budget(&s, 3, 32, 5), 2);
	ck_assert_uint_eq(ckv_selection_budget(&s, 3, 32, 7), 4);
}
END_TEST

/* ----------------------------------------------------------- all equal */

/* Nothing tells the tokens apart: the lowest stay, and what is forced. */
START_TEST(equal_tokens_keep_the_lowest)
{
	struct ckv_selection s = { .kind = CKV_L2NORM, .n_keep = 5, .window = 2,
				   .kernel = 3 };

	layer_make(2, 2, 20, 64, 2);
	for (uint32_t h = 0; h < 2; h++)
		for (uint32_t t = 0; t < 20; t++)
			layer_key(h, t, 2.0f);
	must(&s);
	ck_assert(layer_set_is_run(0, 0, 5));
	ck_assert(layer_set_is_run(1, 0, 5));
	s.kind = CKV_KEYDIFF;
	must(&s);
	ck_assert(layer_set_is_run(1, 0, 5));
	s.block = 4;
	must(&s);
	ck_assert(layer_set_is_run(1, 0, 5));
	s.kind = CKV_H2O;
	s.n_recent = 3;
	must(&s);
	ck_assert(LAYER_SET_IS(1, 0, 1, 17, 18, 19));
	s.kind = CKV_SNAPKV;
	s.pool = CKV_POOL_MAX;
	must(&s);
	ck_assert(LAYER_SET_IS(1, 0, 1, 2, 18, 19));
	one.in.q.n_tokens = 1;
	s.kind = CKV_TOVA;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 1, 2, 3, 19));
	layer_drop();
}
END_TEST

/* -------------------------------------------------------- windows, chunks */

/* The window is larger than the budget: its newest, and no query is needed. */
START_TEST(a_window_above_the_budget_keeps_its_newest)
{
	static const enum ckv_selector kind[] = { CKV_SNAPKV, CKV_PYRAMIDKV };

	layer_make(2, 1, 20, 4, 8);
	one.in.q = (struct ckv_rows){ 0 };
	for (uint32_t i = 0; i < COUNT(kind); i++) {
		struct ckv_selection s = {
			.kind = kind[i], .mode = CKV_OF_OFFICIAL, .n_keep = 8,
			.window = 8, .kernel = 5, .beta = 20 };

		must(&s);
		ck_assert(layer_set_is_run(1, 12, 20));
		s.n_keep = 3;
		must(&s);
		ck_assert(layer_set_is_run(1, 17, 20));
		s.window = 30;		/* more than there are tokens */
		s.n_keep = 15;
		must(&s);
		ck_assert(layer_set_is_run(1, 5, 20));
		s.window = 8;
		s.n_keep = 12;
		ck_assert_int_eq(layer_select(&s), -ENODATA);
	}
	layer_drop();
}
END_TEST

/* The budgets of chunks: not the tokens asked for, but those of the code. */
START_TEST(chunks_do_not_add_up_to_the_budget)
{
	struct ckv_selection s = { .kind = CKV_CHUNKKV, .chunk = 20,
				   .keep_num = 1, .keep_den = 10, .window = 8,
				   .kernel = 5, .n_reuse = 1 };

	layer_make(1, 1, 4096, 2, 8);
	must(&s);
	ck_assert_uint_eq(one.kept.n, 396);
	s.keep_den = 2;
	must(&s);
	ck_assert_uint_eq(one.kept.n, 2036);
	/* A number of tokens: as many chunks as fit, at least one. */
	s.keep_den = 0;
	s.n_keep = 119;
	must(&s);
	ck_assert_uint_eq(one.kept.n, 96);	/* four, and the short last one */
	s.n_keep = 1;
	must(&s);
	ck_assert_uint_eq(one.kept.n, 16);
	s.n_keep = 4095;
	must(&s);
	ck_assert_uint_eq(one.kept.n, 4076);
	s.n_keep = 4096;
	must(&s);
	ck_assert_uint_eq(one.kept.n, 4096);
	layer_drop();
}
END_TEST

/* The worst chosen chunk gives its tail to what is always one.kept. */
START_TEST(the_worst_chunk_loses_its_tail)
{
	struct ckv_selection s = { .kind = CKV_CHUNKKV, .chunk = 5,
				   .mode = CKV_OF_PAPER, .n_keep = 12,
				   .window = 2, .kernel = 1, .n_reuse = 1 };

	layer_make(1, 1, 22, 1, 2);
	layer_query(0, 0, 4.0f);
	layer_query(0, 1, 4.0f);
	layer_key(0, 6, 2.0f);		/* chunk 1 is best, then chunk 2 */
	layer_key(0, 11, 1.0f);
	must(&s);
	ck_assert(LAYER_SET_IS(0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20, 21));
	s.always.n_sink = 3;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 20, 21));
	s.always.n_sink = 5;		/* all of chunk 2 */
	s.always.n_ranges = 1;		/* 14 is kept, and counts */
	s.always.range[0].from = 14;
	s.always.range[0].to = 15;
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 21));
	s.mode = CKV_OF_KVPRESS;	/* 20, 21 are all window; then chunk 1 */
	s.n_keep = 14;
	s.always = (struct ckv_always){ .n_sink = 2 };
	must(&s);
	ck_assert(LAYER_SET_IS(0, 0, 1, 5, 6, 7, 20, 21));
	layer_drop();
}
END_TEST

/* ------------------------------------------------------------- refusals */

/* NaN in keys, queries and sums: where it is; nothing else is written. */
START_TEST(broken_inputs_are_located)
{
	static const enum ckv_selector by_key[] = {
		CKV_CHUNKKV, CKV_SNAPKV, CKV_PYRAMIDKV, CKV_L2NORM, CKV_KEYDIFF,
		CKV_TOVA };
	struct ckv_selection s = { .n_keep = 4, .window = 1, .kernel = 1,
				   .chunk = 2, .n_reuse = 1, .beta = 2 };
	struct ckv_kept before;

	memset(&before, 0xa5, sizeof before);
	for (uint32_t i = 0; i < COUNT(by_key); i++)
		for (uint32_t block = 0; block <= 2; block += 2) {
			layer_make(2, 2, 9, 3, 1);
			rows_put(&one.k, 1, 6, 2, NAN);
			s.kind = by_key[i];
			s.block = block;
			ck_assert_int_eq(layer_select(&s), -EDOM);
			ck_assert_int_eq(one.fault.input, CKV_INPUT_KEY);
			ck_assert_uint_eq(one.fault.head, 1);
			ck_assert_uint_eq(one.fault.token, 6);
			ck_assert_uint_eq(one.fault.dim, 2);
			ck_assert_mem_eq(&one.kept, &before, sizeof before);
			layer_drop();
		}
	layer_make(2, 2, 9, 3, 1);
	rows_put(&one.q, 3, 0, 1, -INFINITY);
	s.kind = CKV_TOVA;
	ck_assert_int_eq(layer_select(&s), -EDOM);
	ck_assert_int_eq(one.fault.input, CKV_INPUT_QUERY);
	ck_assert_uint_eq(one.fault.head, 3);
	ck_assert_uint_eq(one.fault.dim, 1);
	s.kind = CKV_H2O;
	one.sums[9 + 4] = INFINITY;
	ck_assert_int_eq(layer_select(&s), -EDOM);
	ck_assert_int_eq(one.fault.input, CKV_INPUT_SUM);
	ck_assert_uint_eq(one.fault.head, 1);
	ck_assert_uint_eq(one.fault.token, 4);
	layer_drop();
}
END_TEST

/* Parameters that no method could meet. */
START_TEST(impossible_parameters_are_refused)
{
	const struct ckv_selection good = {
		.kind = CKV_PYRAMIDKV, .n_keep = 4, .window = 1, .kernel = 1,
		.chunk = 2, .n_reuse = 1, .beta = 2 };
	struct ckv_selection bad[12];

	for (uint32_t i = 0; i < COUNT(bad); i++)
		bad[i] = good;
	bad[0].kind = CKV_N_SELECTORS;
	bad[1].mode = CKV_OF_PAPER;
	bad[2].window = 0;
	bad[3].window = CKV_KERNEL_MAX_WINDOW + 1;
	bad[4].kernel = 2;
	bad[5].beta = 0;
	bad[6].keep_num = 3;
	bad[6].keep_den = 2;
	bad[7].always.n_ranges = 99;
	bad[8].kind = CKV_CHUNKKV;
	bad[8].chunk = 0;
	bad[9].kind = CKV_CHUNKKV;
	bad[9].n_reuse = 0;
	bad[10].kind = CKV_H2O;
	bad[10].reduce = (enum ckv_reduce)7;
	bad[11].window = 2;		/* but one query was brought */
	layer_make(1, 1, 9, 3, 1);
	must(&good);
	for (uint32_t i = 0; i < COUNT(bad); i++)
		ck_assert_int_eq(layer_select(&bad[i]), -EINVAL);
	one.in.layer = 32;
	ck_assert_int_eq(layer_select(&good), -EINVAL);
	layer_drop();
}
END_TEST

/* What a selection wants from the engine. */
START_TEST(needs_are_told)
{
	struct ckv_selection s = { .kind = CKV_CHUNKKV, .n_keep = 4,
				   .window = 7, .kernel = 1, .chunk = 2,
				   .n_reuse = 3, .beta = 2 };

	ck_assert_uint_eq(ckv_selection_needs(&s),
			  CKV_NEED_KEYS | CKV_NEED_QUERIES);
	ck_assert_uint_eq(ckv_selection_window(&s), 7);
	ck_assert_uint_eq(ckv_selection_source(&s, 8), 6);
	s.kind = CKV_TOVA;
	ck_assert_uint_eq(ckv_selection_window(&s), 1);
	ck_assert_uint_eq(ckv_selection_source(&s, 8), 8);
	s.kind = CKV_KEEP_ALL;
	ck_assert_uint_eq(ckv_selection_source(&s, 8), 0);
	s.kind = CKV_L2NORM;
	ck_assert_uint_eq(ckv_selection_needs(&s), CKV_NEED_KEYS);
	ck_assert_uint_eq(ckv_selection_window(&s), 0);
	s.kind = CKV_H2O;
	ck_assert_uint_eq(ckv_selection_needs(&s), CKV_NEED_SUMS);
	s.kind = CKV_STREAMINGLLM;
	ck_assert_uint_eq(ckv_selection_needs(&s), 0);
	s.kind = CKV_KEEP_ALL;
	ck_assert_uint_eq(ckv_selection_needs(&s), 0);
	ck_assert_uint_eq(ckv_selection_budget(&s, 0, 1, 77), 77);
}
END_TEST

CHECK_MAIN("kernels_traps",
	CASE("all"),
	TEST(budgets_truncate_as_their_code_does),
	TEST(one_token_stays),
	EACH(pyramids_are_those_of_their_code, pyramids),
	TEST(flat_pyramids_round_half_to_even),
	TEST(equal_tokens_keep_the_lowest),
	TEST(a_window_above_the_budget_keeps_its_newest),
	TEST(chunks_do_not_add_up_to_the_budget),
	TEST(the_worst_chunk_loses_its_tail),
	TEST(broken_inputs_are_located),
	TEST(impossible_parameters_are_refused),
	TEST(needs_are_told))
