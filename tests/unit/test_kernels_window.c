/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_window.c - window scoring: every code against its definition.
 *
 * Inputs are random with a few loud keys, so that rows have peaks and the
 * running reference moves. In blocks, whatever lies past the last token is
 * NaN: touching it would show.
 */
#include "kernels/window.h"
#include "tests/lib/check_main.h"
#include "tests/lib/rows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct shape {
	uint32_t n_kv, group, n_tokens, window, dim, block_tokens;
	enum ckv_elem elem;
};

struct input {
	struct ckv_window in;
	struct made_rows k, q;
};

static void make(const struct shape *s, struct input *to)
{
	const struct rows_shape k = { s->n_kv, s->n_tokens, s->dim,
				      s->block_tokens, s->elem };
	const struct rows_shape q = { s->n_kv * s->group, s->window, s->dim,
				      s->window, s->elem };
	uint64_t seed = 42;

	rows_make(&to->k, &k);
	rows_make(&to->q, &q);
	rows_fill(&to->k, &seed, 1.0f);
	rows_fill(&to->q, &seed, 3.0f);
	to->in = (struct ckv_window){ .k = to->k.rows, .q = to->q.rows };
}

static void drop(struct input *i)
{
	rows_free(&i->k);
	rows_free(&i->q);
}

static size_t n_scores(const struct ckv_window *in)
{
	return (size_t)in->q.n_heads * (in->k.n_tokens - in->q.n_tokens);
}

static void *scratch_for(const struct window_code *code,
			 const struct ckv_window *in)
{
	size_t bytes = window_scratch_bytes(code, in);
	void *scratch;

	ck_assert_uint_gt(bytes, 0);
	scratch = aligned_alloc(CKV_SCRATCH_ALIGN, bytes);
	memset(scratch, 0xff, bytes);
	return scratch;
}

static float *score_with(const struct window_code *code,
			 const struct ckv_window *in)
{
	float *score = calloc(n_scores(in), sizeof *score);
	void *scratch = scratch_for(code, in);

	ck_assert_int_eq(window_score(code, in, 0, in->k.n_heads, scratch,
				      score, NULL), 0);
	free(scratch);
	return score;
}

/* All codes this machine runs; NULL ends. */
static const struct window_code *code_at(int i)
{
	switch (i) {
	case 0: return window_code_base();
	case 1: return window_code_avx2();
	default: return window_code_avx512();
	}
}

/* No row's sum of |q||k| / sqrt(D) is larger. */
static double loudest(const struct shape *s)
{
	return 3.0 * 6.0 * 6.0 * s->dim / sqrt(s->dim);
}

static void assert_close(const struct shape *s, const float *score,
			 const double *ref, size_t n)
{
	double rel = 0x1p-23 * (s->dim + 4) * loudest(s) + 4e-6;

	for (size_t i = 0; i < n; i++)
		ck_assert_msg(fabs((double)score[i] - ref[i]) <=
			      ref[i] * rel + 1e-30,
			      "score %zu is %.9g, by definition %.9g", i,
			      (double)score[i], ref[i]);
}

static void check_against_definition(const struct shape *s)
{
	struct input i;
	double *ref;

	make(s, &i);
	ref = calloc(n_scores(&i.in), sizeof *ref);
	ck_assert_int_eq(ckv_window_score_ref(&i.in, 0, s->n_kv, ref, NULL), 0);
	for (int c = 0; c < 3; c++) {
		float *score;

		if (code_at(c) == NULL)
			continue;
		score = score_with(code_at(c), &i.in);
		assert_close(s, score, ref, n_scores(&i.in));
		free(score);
	}
	free(ref);
	drop(&i);
}

static const struct shape shapes[] = {
	{ 1, 1, 2, 1, 1, 16, CKV_ELEM_F32 },
	{ 1, 1, 9, 8, 64, 16, CKV_ELEM_F32 },
	{ 2, 1, 31, 1, 64, 16, CKV_ELEM_BF16 },
	{ 1, 3, 33, 5, 96, 16, CKV_ELEM_F16 },
	{ 2, 4, 100, 32, 128, 16, CKV_ELEM_BF16 },
	{ 1, 8, 257, 16, 256, 100, CKV_ELEM_F16 },
	{ 3, 2, 130, 7, 67, 1, CKV_ELEM_F32 },
	{ 1, 1, 500, 64, 65, 500, CKV_ELEM_BF16 },
	{ 1, 1, 8191, 2, 64, 16, CKV_ELEM_BF16 },
};

/* Every code agrees with the definition within its bound, for odd shapes too. */
START_TEST(scores_match_the_definition)
{
	check_against_definition(&shapes[_i]);
}
END_TEST

/* Tiles that do not fit the kept ones are computed again, to the same result. */
START_TEST(tiles_beyond_the_scratch_are_recomputed)
{
	const struct shape s = { 1, 4, 9000, 256, 4, 16, CKV_ELEM_BF16 };

	check_against_definition(&s);
}
END_TEST

/* Scores do not depend on how the heads are cut, to the last bit. */
START_TEST(any_split_gives_the_same_bits)
{
	const struct shape s = { 5, 2, 200, 9, 64, 16, CKV_ELEM_BF16 };
	struct input i;
	float *whole, *parts;
	void *scratch;

	make(&s, &i);
	parts = calloc(n_scores(&i.in), sizeof *parts);
	for (int c = 0; c < 3; c++) {
		if (code_at(c) == NULL)
			continue;
		whole = score_with(code_at(c), &i.in);
		scratch = scratch_for(code_at(c), &i.in);
		for (uint32_t h = 5; h-- > 0;)
			ck_assert_int_eq(window_score(code_at(c), &i.in, h, 1,
						      scratch, parts, NULL), 0);
		ck_assert_mem_eq(whole, parts, n_scores(&i.in) * sizeof *parts);
		free(scratch);
		free(whole);
	}
	free(parts);
	drop(&i);
}
END_TEST

/* Keys in blocks of any length score as keys in one array, to the last bit. */
START_TEST(blocks_score_as_one_array)
{
	static const uint32_t block_tokens[] = { 1, 7, 16, 64, 300 };
	struct shape s = { 2, 4, 300, 8, 64, 300, CKV_ELEM_BF16 };
	float *want, *got;
	struct input i;

	make(&s, &i);
	want = score_with(window_code_base(), &i.in);
	drop(&i);
	s.block_tokens = block_tokens[_i];
	make(&s, &i);
	got = score_with(window_code_base(), &i.in);
	ck_assert_mem_eq(want, got, n_scores(&i.in) * sizeof *got);
	free(want);
	free(got);
	drop(&i);
}
END_TEST

/* Exchanging heads exchanges their scores. */
START_TEST(heads_do_not_meet)
{
	const struct shape s = { 2, 2, 90, 8, 64, 90, CKV_ELEM_F32 };
	struct input i;
	float *one, *other;
	size_t half;

	make(&s, &i);
	one = score_with(window_code_base(), &i.in);
	half = n_scores(&i.in) / 2;
	for (uint32_t t = 0; t < s.n_tokens; t++) {
		float keep[64], *a = rows_write_at(&i.k, 0, t);
		float *b = rows_write_at(&i.k, 1, t);

		memcpy(keep, a, sizeof keep);
		memcpy(a, b, sizeof keep);
		memcpy(b, keep, sizeof keep);
	}
	for (uint32_t h = 0; h < 2; h++)
		for (uint32_t t = 0; t < s.window; t++) {
			float keep[64], *a = rows_write_at(&i.q, h, t);
			float *b = rows_write_at(&i.q, h + 2, t);

			memcpy(keep, a, sizeof keep);
			memcpy(a, b, sizeof keep);
			memcpy(b, keep, sizeof keep);
		}
	other = score_with(window_code_base(), &i.in);
	ck_assert_mem_eq(one, other + half, half * sizeof *one);
	ck_assert_mem_eq(one + half, other, half * sizeof *one);
	free(one);
	free(other);
	drop(&i);
}
END_TEST

/* log of the denominator of each row, by the definition's own formula. */
static float *lse_of(const struct ckv_window *in)
{
	uint32_t w = in->q.n_tokens, n = in->k.n_tokens - w;
	float *lse = calloc((size_t)in->q.n_heads * w, sizeof *lse);

	for (uint32_t h = 0; h < in->q.n_heads; h++)
		for (uint32_t i = 0; i < w; i++) {
			const float *q = ckv_rows_at(&in->q, h, i);
			double sum = 0.0;

			for (uint32_t j = 0; j <= n + i; j++) {
				const float *k = ckv_rows_at(
					&in->k,
					h / (in->q.n_heads / in->k.n_heads), j);
				double dot = 0.0;

				for (uint32_t d = 0; d < in->k.dim; d++)
					dot += (double)q[d] * (double)k[d];
				sum += exp(dot / sqrt(in->k.dim));
			}
			lse[h * w + i] = (float)log(sum);
		}
	return lse;
}

/* With the denominators given, one pass gives the same scores. */
START_TEST(given_lse_gives_the_same_scores)
{
	const struct shape s = { 2, 2, 150, 9, 64, 16, CKV_ELEM_F32 };
	struct input i;
	double *ref;
	float *lse;

	make(&s, &i);
	ref = calloc(n_scores(&i.in), sizeof *ref);
	ck_assert_int_eq(ckv_window_score_ref(&i.in, 0, 2, ref, NULL), 0);
	lse = lse_of(&i.in);
	i.in.lse = lse;
	for (int c = 0; c < 3; c++) {
		float *score;

		if (code_at(c) == NULL)
			continue;
		score = score_with(code_at(c), &i.in);
		assert_close(&s, score, ref, n_scores(&i.in));
		free(score);
	}
	free(lse);
	free(ref);
	drop(&i);
}
END_TEST

static int refusal(struct input *i, const struct window_code *code,
		   struct ckv_fault *fault)
{
	float *score = calloc(n_scores(&i->in), sizeof *score);
	void *scratch = scratch_for(code, &i->in);
	int r = window_score(code, &i->in, 0, i->in.k.n_heads, scratch, score,
			     fault);

	free(score);
	free(scratch);
	return r;
}

static void assert_fault(const struct ckv_fault *f, enum ckv_input input,
			 uint32_t head, uint32_t token, uint32_t dim)
{
	ck_assert_int_eq(f->input, input);
	ck_assert_uint_eq(f->head, head);
	ck_assert_uint_eq(f->token, token);
	ck_assert_uint_eq(f->dim, dim);
}

/* One NaN or infinity anywhere is refused, and named. */
START_TEST(what_is_not_finite_is_located)
{
	static const float bad[] = { NAN, INFINITY, -INFINITY };
	const struct shape s = { 2, 2, 70, 6, 67, 16,
				 (enum ckv_elem)(_i % 3) };
	struct ckv_fault fault;
	struct input i;
	double ref[4 * 64];

	for (int c = 0; c < 3; c++) {
		if (code_at(c) == NULL)
			continue;
		make(&s, &i);
		rows_put(&i.k, 1, 69, 66, bad[_i / 3]);
		ck_assert_int_eq(refusal(&i, code_at(c), &fault), -EDOM);
		assert_fault(&fault, CKV_INPUT_KEY, 1, 69, 66);
		fault = (struct ckv_fault){ 0 };
		ck_assert_int_eq(ckv_window_score_ref(&i.in, 0, 2, ref, &fault),
				 -EDOM);
		assert_fault(&fault, CKV_INPUT_KEY, 1, 69, 66);
		rows_put(&i.q, 3, 2, 5, bad[_i / 3]);
		rows_put(&i.k, 1, 69, 66, 0.0f);
		ck_assert_int_eq(refusal(&i, code_at(c), &fault), -EDOM);
		assert_fault(&fault, CKV_INPUT_QUERY, 3, 2, 5);
		drop(&i);
	}
}
END_TEST

/* An lse that is not a number, or that a logit contradicts, is refused. */
START_TEST(impossible_lse_is_located)
{
	const struct shape s = { 1, 2, 50, 6, 64, 16, CKV_ELEM_F32 };
	struct ckv_fault fault;
	struct input i;
	float *lse;

	make(&s, &i);
	lse = lse_of(&i.in);
	i.in.lse = lse;
	for (int c = 0; c < 3; c++) {
		float keep = lse[7];

		if (code_at(c) == NULL)
			continue;
		lse[7] = NAN;
		ck_assert_int_eq(refusal(&i, code_at(c), &fault), -EDOM);
		assert_fault(&fault, CKV_INPUT_LSE, 1, 1, 0);
		fault = (struct ckv_fault){ 0 };
		lse[7] = -50.0f;
		ck_assert_int_eq(refusal(&i, code_at(c), &fault), -EDOM);
		assert_fault(&fault, CKV_INPUT_LSE, 1, 1, 0);
		lse[7] = keep;
	}
	free(lse);
	drop(&i);
}
END_TEST

/* Finite numbers whose product could overflow are refused, not computed. */
START_TEST(overflowing_logits_are_refused)
{
	const struct shape s = { 1, 1, 40, 4, 64, 16, CKV_ELEM_BF16 };
	struct ckv_fault fault;
	struct input i;

	make(&s, &i);
	rows_put(&i.k, 0, 3, 0, 3e38f);
	for (int c = 0; c < 3; c++)
		if (code_at(c) != NULL)
			ck_assert_int_eq(refusal(&i, code_at(c), &fault),
					 -ERANGE);
	drop(&i);
}
END_TEST

/* Sizes that contradict each other are refused before anything is read. */
START_TEST(impossible_sizes_are_refused)
{
	const struct shape s = { 2, 2, 40, 4, 64, 16, CKV_ELEM_BF16 };
	struct ckv_window bad;
	float score[1] = { 7.0f };
	_Alignas(64) char scratch[128];
	struct input i;

	make(&s, &i);
#define REFUSED(change)	do {						\
		bad = i.in;						\
		change;							\
		ck_assert_uint_eq(ckv_window_score_scratch_bytes(&bad), 0); \
		ck_assert_int_eq(ckv_window_score(&bad, 0, 1, scratch,	\
						  score, NULL), -EINVAL); \
	} while (0)
	REFUSED(bad.k.n_tokens = 4);
	REFUSED(bad.q.n_heads = 3);
	REFUSED(bad.q.dim = 32);
	REFUSED(bad.k.block_tokens = 0);
	REFUSED(bad.k.elem = (enum ckv_elem)9);
	REFUSED(bad.k.block = NULL);
	REFUSED(bad.q.n_tokens = 0);
	REFUSED(bad.k.dim = bad.q.dim = 2000);
#undef REFUSED
	ck_assert_int_eq(ckv_window_score(&i.in, 1, 2, scratch, score, NULL),
			 -EINVAL);
	ck_assert_int_eq(ckv_window_score(&i.in, 0, 1, scratch + 1, score,
					  NULL), -EINVAL);
	ck_assert_float_eq(score[0], 7.0f);
	drop(&i);
}
END_TEST

CHECK_MAIN("kernels_window",
	CASE("all"),
	EACH(scores_match_the_definition, shapes),
	TEST(tiles_beyond_the_scratch_are_recomputed),
	TEST(any_split_gives_the_same_bits),
	LOOP(blocks_score_as_one_array, 5),
	TEST(heads_do_not_meet),
	TEST(given_lse_gives_the_same_scores),
	LOOP(what_is_not_finite_is_located, 9),
	TEST(impossible_lse_is_located),
	TEST(overflowing_logits_are_refused),
	TEST(impossible_sizes_are_refused))
