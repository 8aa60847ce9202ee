/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_keys.c - norms and key difference: every code against its
 * definition, and what is refused.
 */
#include "kernels/elem.h"
#include "kernels/keys.h"
#include "tests/lib/check_main.h"
#include "tests/lib/rows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct rows_shape shapes[] = {
	{ 1, 1, 1, 16, CKV_ELEM_F32 },
	{ 2, 7, 64, 16, CKV_ELEM_BF16 },
	{ 1, 33, 65, 16, CKV_ELEM_F16 },
	{ 3, 50, 96, 1, CKV_ELEM_BF16 },
	{ 2, 200, 128, 16, CKV_ELEM_BF16 },
	{ 2, 97, 127, 5, CKV_ELEM_F32 },
	{ 1, 130, 256, 130, CKV_ELEM_F16 },
	{ 1, 40, 1024, 16, CKV_ELEM_F32 },
	{ 1, 20, 1023, 16, CKV_ELEM_BF16 },
};

/* All codes this machine runs; NULL where it does not. */
static const struct keys_code *code_at(int i)
{
	switch (i) {
	case 0: return keys_code_base();
	case 1: return keys_code_avx2();
	default: return keys_code_avx512();
	}
}

/* Keys of one shape, with a zero key and tiny ones among them. */
static void make(const struct rows_shape *s, struct made_rows *to)
{
	uint64_t seed = 42;

	rows_make(to, s);
	rows_fill(to, &seed, 1.0f);
	for (uint32_t d = 0; d < s->dim; d++) {
		rows_put(to, 0, s->n_tokens / 2, d, 0.0f);
		if (s->n_tokens > 20)
			rows_put(to, 0, 11, d, 1e-7f * (float)(d % 3));
		if (s->n_tokens > 20 && s->elem != CKV_ELEM_F16)
			rows_put(to, 0, 3, d, 1e-30f * (float)(d % 5));
	}
}

static double anchor_length(const struct ckv_rows *k, uint32_t head)
{
	double sum[CKV_KERNEL_MAX_DIM] = { 0 }, length = 0.0, squares;

	for (uint32_t t = 0; t < k->n_tokens; t++) {
		ck_assert_int_eq(keys_squares(k, head, t, &squares, NULL), 0);
		for (uint32_t d = 0; d < k->dim && squares > 0.0; d++)
			sum[d] += (double)elem_at(ckv_rows_at(k, head, t), d,
						  k->elem) / sqrt(squares);
	}
	for (uint32_t d = 0; d < k->dim; d++)
		length += sum[d] * sum[d];
	return sqrt(length) / k->n_tokens;
}

static void assert_near(float got, double want, double bound, const char *what,
			uint32_t head, uint32_t token)
{
	ck_assert_msg(fabs((double)got - want) <= bound,
		      "%s of head %u token %u is %.9g, by definition %.9g", what,
		      head, token, (double)got, want);
}

/* Every code agrees with the definition within its bound, for odd shapes too. */
START_TEST(codes_agree_with_the_definition)
{
	const struct rows_shape *s = &shapes[_i];
	uint32_t n = s->n_tokens;
	double *norm = calloc((size_t)s->n_heads * n, sizeof *norm);
	double *score = calloc((size_t)s->n_heads * n, sizeof *score);
	float *got = malloc(n * sizeof *got);
	struct made_rows k;

	make(s, &k);
	ck_assert_int_eq(ckv_norms_ref(&k.rows, 0, s->n_heads, norm, NULL), 0);
	ck_assert_int_eq(ckv_keydiff_ref(&k.rows, 0, s->n_heads, score, NULL), 0);
	for (int c = 0; c < 3; c++)
		for (uint32_t h = 0; code_at(c) != NULL && h < s->n_heads; h++) {
			const double *want = norm + (size_t)h * n;
			double far = (s->dim + 16) * 0x1p-22 /
				     anchor_length(&k.rows, h);

			ck_assert_int_eq(code_at(c)->norms(&k.rows, h, got,
							   NULL), 0);
			for (uint32_t t = 0; t < n; t++)
				assert_near(got[t], want[t], want[t] *
					    (s->dim + 4) * 0x1p-24 + 1e-21,
					    "norm", h, t);
			want = score + (size_t)h * n;
			ck_assert_int_eq(code_at(c)->keydiff(&k.rows, h, NULL, n,
							     got, NULL), 0);
			for (uint32_t t = 0; t < n; t++)
				assert_near(got[t], want[t], far, "score", h, t);
		}
	rows_free(&k);
	free(norm);
	free(score);
	free(got);
}
END_TEST

/* Cut at heads, or in other pages: the same bits. */
START_TEST(cuts_and_pages_change_no_bit)
{
	static const uint32_t page[] = { 1, 7, 16, 64, 1000 };
	const struct rows_shape *s = &shapes[_i];
	size_t n = (size_t)s->n_heads * s->n_tokens;
	float *norm = malloc(n * sizeof *norm), *diff = malloc(n * sizeof *diff);
	float *again = malloc(n * sizeof *again);
	struct made_rows k, other;

	make(s, &k);
	ck_assert_int_eq(ckv_norms(&k.rows, 0, s->n_heads, norm, NULL), 0);
	ck_assert_int_eq(ckv_keydiff(&k.rows, 0, s->n_heads, diff, NULL), 0);
	for (uint32_t i = 0; i < COUNT(page); i++) {
		rows_copy(&k, page[i], NULL, s->n_heads, &other);
		for (uint32_t h = s->n_heads; h-- > 0;)
			ck_assert_int_eq(ckv_norms(&other.rows, h, 1, again,
						   NULL), 0);
		ck_assert_mem_eq(again, norm, n * sizeof *norm);
		for (uint32_t h = s->n_heads; h-- > 0;)
			ck_assert_int_eq(ckv_keydiff(&other.rows, h, 1, again,
						     NULL), 0);
		ck_assert_mem_eq(again, diff, n * sizeof *diff);
		rows_free(&other);
	}
	rows_free(&k);
	free(norm);
	free(diff);
	free(again);
}
END_TEST

static const float broken[] = { NAN, -NAN, INFINITY, -INFINITY };

/* NaN and infinities are refused with their place, wherever they are. */
START_TEST(broken_numbers_are_found)
{
	const struct rows_shape s = { 2, 37, _i % 2 ? 67 : 128, 16,
				      (enum ckv_elem)(_i % 3) };
	static const uint32_t token[] = { 0, 5, 20, 36 };
	float out[2 * 37];
	double ref[2 * 37];
	struct made_rows k;

	for (uint32_t i = 0; i < COUNT(token) * COUNT(broken); i++) {
		uint32_t t = token[i % COUNT(token)], d = (i * 31 + 66) % s.dim;
		struct ckv_fault want = { CKV_INPUT_KEY, 1, t, d };

		make(&s, &k);
		rows_put(&k, 1, t, d, broken[i / COUNT(token)]);
		rows_put(&k, 1, 36, s.dim - 1, NAN);	/* a later one */
		if (t == 36 && d > 0)
			want.dim = d;
		for (int how = 0; how < 4; how++) {
			struct ckv_fault fault;
			int r;

			memset(&fault, 0xa5, sizeof fault);
			r = how == 0 ? ckv_norms(&k.rows, 0, 2, out, &fault)
			  : how == 1 ? ckv_norms_ref(&k.rows, 0, 2, ref, &fault)
			  : how == 2 ? ckv_keydiff(&k.rows, 0, 2, out, &fault)
			  : ckv_keydiff_ref(&k.rows, 0, 2, ref, &fault);
			ck_assert_int_eq(r, -EDOM);
			ck_assert_mem_eq(&fault, &want, sizeof want);
		}
		/* The other head is not concerned. */
		ck_assert_int_eq(ckv_norms(&k.rows, 0, 1, out, NULL), 0);
		rows_free(&k);
	}
}
END_TEST

/* Finite, but too large for a float's square; before a NaN it comes first. */
START_TEST(overflowing_squares_are_refused)
{
	const struct rows_shape s = { 1, 20, 8, 16, CKV_ELEM_F32 };
	struct ckv_fault fault = { .token = 77 };
	float out[20];
	double ref[20];
	struct made_rows k;

	make(&s, &k);
	rows_put(&k, 0, 4, 3, 3e19f);
	rows_put(&k, 0, 5, 3, NAN);
	ck_assert_int_eq(ckv_norms(&k.rows, 0, 1, out, &fault), -ERANGE);
	ck_assert_int_eq(ckv_norms_ref(&k.rows, 0, 1, ref, &fault), -ERANGE);
	ck_assert_int_eq(ckv_keydiff(&k.rows, 0, 1, out, &fault), -ERANGE);
	ck_assert_int_eq(ckv_keydiff_ref(&k.rows, 0, 1, ref, &fault), -ERANGE);
	ck_assert_uint_eq(fault.token, 77);
	rows_put(&k, 0, 4, 3, 1e19f);
	ck_assert_int_eq(ckv_norms(&k.rows, 0, 1, out, &fault), -EDOM);
	ck_assert_uint_eq(fault.token, 5);
	rows_free(&k);
}
END_TEST

/* A zero key scores 0 and leaves the anchor where it is. */
START_TEST(a_zero_key_counts_for_nothing)
{
	const struct rows_shape s = { 1, 3, 2, 16, CKV_ELEM_BF16 };
	struct made_rows k;
	float score[3];

	rows_make(&k, &s);
	rows_put(&k, 0, 0, 0, 2.0f);	/* (2, 0), (0, 0), (0, 0.5) */
	rows_put(&k, 0, 0, 1, 0.0f);
	rows_put(&k, 0, 1, 0, 0.0f);
	rows_put(&k, 0, 1, 1, -0.0f);
	rows_put(&k, 0, 2, 0, 0.0f);
	rows_put(&k, 0, 2, 1, 0.5f);
	ck_assert_int_eq(ckv_keydiff(&k.rows, 0, 1, score, NULL), 0);
	ck_assert_float_eq_tol(score[0], -(float)sqrt(0.5), 1e-6f);
	ck_assert_float_eq(score[1], 0.0f);
	ck_assert_float_eq_tol(score[2], -(float)sqrt(0.5), 1e-6f);
	rows_free(&k);
}
END_TEST

/* Opposite keys leave no anchor: all score 0. */
START_TEST(keys_that_cancel_score_zero)
{
	const struct rows_shape s = { 1, 30, 67, 16, CKV_ELEM_F32 };
	struct made_rows k;
	uint64_t seed = 7;
	float score[30];

	rows_make(&k, &s);
	for (uint32_t t = 0; t < 30; t += 2)
		for (uint32_t d = 0; d < 67; d++) {
			float x = rows_noise(&seed);

			rows_put(&k, 0, t, d, x);
			rows_put(&k, 0, t + 1, d, -x);
		}
	for (int c = 0; c < 3; c++) {
		if (code_at(c) == NULL)
			continue;
		memset(score, 0xff, sizeof score);
		ck_assert_int_eq(code_at(c)->keydiff(&k.rows, 0, NULL, 30, score,
						     NULL), 0);
		for (uint32_t t = 0; t < 30; t++)
			ck_assert_float_eq(score[t], 0.0f);
	}
	rows_free(&k);
}
END_TEST

/* Impossible rows and ranges are refused before anything is read. */
START_TEST(impossible_arguments_are_refused)
{
	const struct rows_shape s = { 2, 3, 4, 16, CKV_ELEM_F32 };
	struct made_rows k;
	struct ckv_rows bad[7];
	float out[6];

	rows_make(&k, &s);
	for (uint32_t i = 0; i < COUNT(bad); i++)
		bad[i] = k.rows;
	bad[0].block = NULL;
	bad[1].dim = 0;
	bad[2].dim = CKV_KERNEL_MAX_DIM + 1;
	bad[3].n_tokens = 0;
	bad[4].block_tokens = 0;
	bad[5].elem = (enum ckv_elem)9;
	bad[6].offset_bytes = 2;
	for (uint32_t i = 0; i < COUNT(bad); i++) {
		ck_assert_int_eq(ckv_norms(&bad[i], 0, 1, out, NULL), -EINVAL);
		ck_assert_int_eq(ckv_keydiff(&bad[i], 0, 1, out, NULL), -EINVAL);
	}
	ck_assert_int_eq(ckv_norms(&k.rows, 1, 2, out, NULL), -EINVAL);
	ck_assert_int_eq(ckv_norms(&k.rows, 0, 1, NULL, NULL), -EINVAL);
	ck_assert_int_eq(ckv_keydiff(&k.rows, 3, 0, out, NULL), -EINVAL);
	rows_free(&k);
}
END_TEST

CHECK_MAIN("kernels_keys",
	CASE("all"),
	EACH(codes_agree_with_the_definition, shapes),
	EACH(cuts_and_pages_change_no_bit, shapes),
	LOOP(broken_numbers_are_found, 6),
	TEST(overflowing_squares_are_refused),
	TEST(a_zero_key_counts_for_nothing),
	TEST(keys_that_cancel_score_zero),
	TEST(impossible_arguments_are_refused))
