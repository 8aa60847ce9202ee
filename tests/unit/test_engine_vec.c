/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_vec.c - the engine's arithmetic against plain double, for both
 * sets of functions, and independence of an element from its neighbours.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "client/examples/engine/vec.h"
#include "tests/lib/check_main.h"

enum { N_IN = 83, N_TOKENS = 13, ROWS = 29 };

static const struct vec_ops *ops;

static float noise(void)
{
	return (float)rand() / (float)RAND_MAX - 0.5f;
}

static int use_ops(int i)
{
	ops = i == 0 ? &vec_portable : vec_avx2();
	return ops != NULL;
}

/* A panel is a matrix product, and a token's part does not depend on others. */
START_TEST(panel_is_a_product)
{
	static float x[N_TOKENS][N_IN], w[N_IN][VEC_PANEL];
	float y[N_TOKENS][VEC_PANEL], one[VEC_PANEL];

	if (!use_ops(_i))
		return;
	for (size_t i = 0; i < sizeof(x) / 4; i++)
		(&x[0][0])[i] = noise();
	for (size_t i = 0; i < sizeof(w) / 4; i++)
		(&w[0][0])[i] = noise();
	ops->panel(&y[0][0], VEC_PANEL, &x[0][0], N_IN, &w[0][0], N_IN,
		   N_TOKENS);
	for (int t = 0; t < N_TOKENS; t++) {
		ops->panel(one, VEC_PANEL, x[t], N_IN, &w[0][0], N_IN, 1);
		ck_assert_mem_eq(one, y[t], sizeof(one));
		for (unsigned o = 0; o < VEC_PANEL; o++) {
			double sum = 0;

			for (int i = 0; i < N_IN; i++)
				sum += (double)x[t][i] * (double)w[i][o];
			ck_assert(fabs(sum - (double)y[t][o]) < 1e-5);
		}
	}
}
END_TEST

static void check_scores(size_t dim, size_t n_rows, enum vec_dtype dtype)
{
	static float q[160], k[ROWS * 160];
	static uint16_t half[ROWS * 160];
	const void *rows = dtype == VEC_F32 ? (const void *)k : half;
	float s[ROWS + VEC_PAD], one;

	for (size_t i = 0; i < dim; i++)
		q[i] = noise();
	for (size_t i = 0; i < ROWS * dim; i++) {
		half[i] = vec_to_bf16(noise());
		k[i] = vec_from_bf16(half[i]);
	}
	ops->scores[dtype](s, q, rows, n_rows, dim);
	for (size_t j = 0; j < n_rows; j++) {
		const char *row = (const char *)rows +
				  j * dim * (dtype == VEC_F32 ? 4 : 2);
		double sum = 0;

		for (size_t d = 0; d < dim; d++)
			sum += (double)q[d] * (double)k[j * dim + d];
		ck_assert(fabs(sum - (double)s[j]) < 1e-5);
		ops->scores[dtype](&one, q, row, 1, dim);
		ck_assert_mem_eq(&one, &s[j], sizeof(one));
	}
}

/* Scores are products, the same for a row alone as among others. */
START_TEST(scores_are_products)
{
	if (!use_ops(_i))
		return;
	for (size_t dim = 8; dim <= 160; dim += 8) {
		for (size_t n = ROWS - 3; n <= ROWS; n++) {
			check_scores(dim, n, VEC_F32);
			check_scores(dim, n, VEC_BF16);
		}
	}
}
END_TEST

static void check_mix(size_t dim, enum vec_dtype dtype)
{
	static float v[ROWS * 160], p[ROWS];
	static uint16_t half[ROWS * 160];
	const char *rows = dtype == VEC_F32 ? (const char *)v :
					      (const char *)half;
	size_t row_bytes = dim * (dtype == VEC_F32 ? 4 : 2);
	float out[160] = { 0 }, cut[160] = { 0 };

	for (size_t j = 0; j < ROWS; j++)
		p[j] = noise();
	for (size_t i = 0; i < ROWS * dim; i++) {
		half[i] = vec_to_bf16(noise());
		v[i] = vec_from_bf16(half[i]);
	}
	ops->mix[dtype](out, p, rows, ROWS, dim);
	ops->mix[dtype](cut, p, rows, 10, dim);
	ops->mix[dtype](cut, p + 10, rows + 10 * row_bytes, ROWS - 10, dim);
	ck_assert_mem_eq(cut, out, dim * sizeof(*out));
	for (size_t d = 0; d < dim; d++) {
		double sum = 0;

		for (size_t j = 0; j < ROWS; j++)
			sum += (double)p[j] * (double)v[j * dim + d];
		ck_assert(fabs(sum - (double)out[d]) < 1e-5);
	}
}

/* Values are summed in order of their rows, wherever the rows are cut. */
START_TEST(mix_is_a_sum_in_order)
{
	if (!use_ops(_i))
		return;
	for (size_t dim = 8; dim <= 160; dim += 8) {
		check_mix(dim, VEC_F32);
		check_mix(dim, VEC_BF16);
	}
}
END_TEST

/* exp(s - max) and the sum, for any length and far apart scores. */
START_TEST(softmax_is_exponential)
{
	float s[100 + VEC_PAD], was[100];

	if (!use_ops(_i))
		return;
	for (size_t n = 1; n <= 100; n++) {
		double max = -1e9, want = 0, sum;

		for (size_t j = 0; j < n; j++) {
			was[j] = s[j] = noise() * (n % 2 == 0 ? 10 : 300);
			max = (double)s[j] > max ? (double)s[j] : max;
		}
		sum = (double)ops->softmax(s, n);
		for (size_t j = 0; j < n; j++) {
			double e = exp((double)was[j] - max);

			ck_assert(fabs(e - (double)s[j]) < 1e-6);
			want += e;
		}
		ck_assert(fabs(want - sum) < 1e-4);
	}
}
END_TEST

/* bf16 keeps what it can hold and rounds the rest to nearest, ties to even. */
START_TEST(bf16_rounds_to_nearest)
{
	ck_assert_uint_eq(vec_to_bf16(1.0f), 0x3f80);
	ck_assert_uint_eq(vec_to_bf16(1.00390625f), 0x3f80);
	ck_assert_uint_eq(vec_to_bf16(1.01171875f), 0x3f82);
	ck_assert_uint_eq(vec_to_bf16(INFINITY), 0x7f80);
	ck_assert(isnan(vec_from_bf16(vec_to_bf16(NAN))));
	for (unsigned i = 0; i < 0x7f80; i++)
		ck_assert_uint_eq(vec_to_bf16(vec_from_bf16((uint16_t)i)), i);
}
END_TEST

/* Every half is the float of the same value. */
START_TEST(f16_is_exact)
{
	for (unsigned i = 0; i < 0x8000; i++) {
		int exponent = (int)(i >> 10), part = (int)(i & 0x3ff);
		double want = exponent == 0 ? ldexp(part, -24) :
			      ldexp(1024 + part, exponent - 25);

		if (exponent == 31 && part != 0) {
			ck_assert(isnan(vec_from_f16((uint16_t)i)));
			continue;
		}
		if (exponent == 31)
			want = INFINITY;
		ck_assert((double)vec_from_f16((uint16_t)i) == want);
		ck_assert((double)vec_from_f16((uint16_t)(i | 0x8000)) == -want);
	}
}
END_TEST

/* A head size that the vectors do not divide goes to the portable set. */
START_TEST(odd_head_sizes_are_portable)
{
	ck_assert_ptr_eq(vec_best(20), &vec_portable);
	if (vec_avx2() != NULL)
		ck_assert_ptr_eq(vec_best(64), vec_avx2());
}
END_TEST

CHECK_MAIN("engine_vec",
	CASE("vec"),
	LOOP(panel_is_a_product, 2),
	LOOP(scores_are_products, 2),
	LOOP(mix_is_a_sum_in_order, 2),
	LOOP(softmax_is_exponential, 2),
	TEST(bf16_rounds_to_nearest),
	TEST(f16_is_exact),
	TEST(odd_head_sizes_are_portable))
