/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_kivi.c - what a few numbers become, and what is refused. */
#include "kernels/elem.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

#define MAX_NUMBERS	4096

static uint16_t half[MAX_NUMBERS];
static uint32_t code[MAX_NUMBERS];
static float scale[MAX_NUMBERS], out[MAX_NUMBERS];
static struct ckv_fault fault;

static struct ckv_encode kivi(uint32_t bits, uint32_t group)
{
	return (struct ckv_encode){ .kind = CKV_ENCODE_KIVI, .bits = bits,
				    .group = group };
}

/* All rows at once. */
static int encode(struct ckv_encode e, enum ckv_elem elem, enum ckv_side side,
		  const void *rows, size_t n, uint32_t dim)
{
	memset(&fault, 0xa5, sizeof fault);
	return ckv_encode_rows(&e, elem, side, rows, 0, n, n, dim, 0.0f, code,
			       scale, &fault);
}

static void decode(struct ckv_encode e, enum ckv_elem elem, enum ckv_side side,
		   size_t n, uint32_t dim)
{
	ck_assert_int_eq(ckv_decode_rows(&e, elem, side, code, scale, 0, n, n,
					 dim, CKV_ELEM_F32, out), 0);
}

/* A row of floats in any of the three types. */
static const void *as(enum ckv_elem elem, const float *x, size_t n)
{
	for (size_t i = 0; i < n && elem != CKV_ELEM_F32; i++)
		elem_put(half, i, elem, x[i]);
	return elem == CKV_ELEM_F32 ? (const void *)x : half;
}

/* [-1, 0, 1, 2] in 2 bits: scale 1, codes 0 1 2 3, lowest first; as key or value. */
START_TEST(codes_lie_lowest_first)
{
	static const float x[] = { -1, 0, 1, 2 };

	for (int elem = CKV_ELEM_F32; elem <= CKV_ELEM_BF16; elem++)
		for (int side = CKV_SIDE_KEY; side <= CKV_SIDE_VALUE; side++) {
			size_t n = side == CKV_SIDE_KEY ? 4 : 1;
			uint32_t dim = side == CKV_SIDE_KEY ? 1 : 4;

			ck_assert_int_eq(encode(kivi(2, 16), (enum ckv_elem)elem,
						(enum ckv_side)side,
						as((enum ckv_elem)elem, x, 4), n,
						dim), 0);
			ck_assert_uint_eq(code[0], 0xe4);
			ck_assert(elem_at(scale, 0, (enum ckv_elem)elem) == 1.0f);
			ck_assert(elem_at(scale, 1, (enum ckv_elem)elem) == -1.0f);
			decode(kivi(2, 16), (enum ckv_elem)elem,
			       (enum ckv_side)side, n, dim);
			ck_assert_mem_eq(out, x, sizeof x);
		}
}
END_TEST

/* Keys: words [ceil(n/8)][dim], scales then mins [ceil(n/group)][dim]. */
START_TEST(keys_are_grouped_along_tokens)
{
	float x[17 * 3];

	for (int t = 0; t < 17; t++)
		for (int d = 0; d < 3; d++)
			x[t * 3 + d] = (float)(t % 16 * (d + 1) - d);
	ck_assert_int_eq(encode(kivi(4, 16), CKV_ELEM_F32, CKV_SIDE_KEY, x, 17,
				3), 0);
	for (int d = 0; d < 3; d++) {
		ck_assert_uint_eq(code[d], 0x76543210);
		ck_assert_uint_eq(code[3 + d], 0xfedcba98);
		ck_assert_uint_eq(code[6 + d], 0);
		ck_assert(scale[d] == (float)(d + 1));
		ck_assert(scale[3 + d] == 0.0f);
		ck_assert(scale[6 + d] == (float)-d);
		ck_assert(scale[9 + d] == (float)-d);
	}
	decode(kivi(4, 16), CKV_ELEM_F32, CKV_SIDE_KEY, 17, 3);
	ck_assert_mem_eq(out, x, sizeof x);
}
END_TEST

/* Values: words [n][ceil(dim/8)], scales then mins [n][ceil(dim/group)]. */
START_TEST(values_are_grouped_along_channels)
{
	float x[2 * 19];

	for (int t = 0; t < 2; t++)
		for (int d = 0; d < 19; d++)
			x[t * 19 + d] = d < 16 ? (float)(15 - d)
					       : (float)((d - 16) * 15 / 2 + t);
	ck_assert_int_eq(encode(kivi(4, 16), CKV_ELEM_F32, CKV_SIDE_VALUE, x, 2,
				19), 0);
	for (int t = 0; t < 2; t++) {
		ck_assert_uint_eq(code[3 * t], 0x89abcdef);
		ck_assert_uint_eq(code[3 * t + 1], 0x01234567);
		ck_assert_uint_eq(code[3 * t + 2], 0xf70);
		ck_assert(scale[2 * t] == 1.0f);
		ck_assert(scale[2 * t + 1] == 1.0f);
		ck_assert(scale[4 + 2 * t] == 0.0f);
		ck_assert(scale[4 + 2 * t + 1] == (float)t);
	}
	decode(kivi(4, 16), CKV_ELEM_F32, CKV_SIDE_VALUE, 2, 19);
	ck_assert_mem_eq(out, x, sizeof x);
}
END_TEST

/* 0.5 is code 0, 1.5 is code 2, 2.5 is code 2. */
START_TEST(halves_go_to_even)
{
	static const float x[] = { 0, 0.5f, 1.5f, 2.5f, 3.5f, 4.5f, 14.5f, 15 };

	ck_assert_int_eq(encode(kivi(4, 8), CKV_ELEM_F32, CKV_SIDE_VALUE, x, 1,
				8), 0);
	ck_assert_uint_eq(code[0], 0xfe442200);
}
END_TEST

/*
 * 7 * 0.1f / 0.1f with the reciprocal in place of the division, and 0.3f * 3 + x
 * with one rounding in place of two, would be other numbers.
 */
START_TEST(each_step_is_rounded_once)
{
	unsigned n_other_scale = 0, n_other_sum = 0;

	for (int i = 1; i < 2000; i++) {
		float x[4] = { 0.1f, 0.1f + (float)i * 0.37f, 1.0f, 0.2f };
		float max = fmaxf(x[1], 1.0f), range = max - 0.1f;
		float s = range / 15.0f, min = 0.1f;

		ck_assert_int_eq(encode(kivi(4, 8), CKV_ELEM_F32,
					CKV_SIDE_VALUE, x, 1, 4), 0);
		decode(kivi(4, 8), CKV_ELEM_F32, CKV_SIDE_VALUE, 1, 4);
		ck_assert(scale[0] == s);
		n_other_scale += s != range * (1.0f / 15.0f);
		for (int k = 0; k < 4; k++) {
			float c = (float)(code[0] >> 4 * k & 15), product = c * s;

			ck_assert(c == fminf(rintf((x[k] - min) / s), 15));
			ck_assert(out[k] == product + min);
			n_other_sum += out[k] != fmaf(c, s, min);
		}
	}
	ck_assert_uint_gt(n_other_scale, 100);
	ck_assert_uint_gt(n_other_sum, 100);
}
END_TEST

/* Equal numbers, and a range too small for a scale: code 0, scale 0, the minimum. */
START_TEST(scale_zero_gives_the_minimum)
{
	static const float equal[] = { 3, 3, 3, 3 };
	static const float close[] = { 0x1p-24f, 0x1p-23f, 0x1p-24f, 0x1.8p-23f };

	ck_assert_int_eq(encode(kivi(4, 8), CKV_ELEM_BF16, CKV_SIDE_KEY,
				as(CKV_ELEM_BF16, equal, 4), 4, 1), 0);
	ck_assert_uint_eq(code[0], 0);
	ck_assert(elem_at(scale, 0, CKV_ELEM_BF16) == 0.0f);
	decode(kivi(4, 8), CKV_ELEM_BF16, CKV_SIDE_KEY, 4, 1);
	ck_assert_mem_eq(out, equal, sizeof equal);

	ck_assert_int_eq(encode(kivi(4, 8), CKV_ELEM_F16, CKV_SIDE_VALUE,
				as(CKV_ELEM_F16, close, 4), 1, 4), 0);
	ck_assert_uint_eq(code[0], 0);
	ck_assert(elem_at(scale, 0, CKV_ELEM_F16) == 0.0f);
	decode(kivi(4, 8), CKV_ELEM_F16, CKV_SIDE_VALUE, 1, 4);
	for (int i = 0; i < 4; i++)
		ck_assert(out[i] == 0x1p-24f);
}
END_TEST

/* Of zeros with both signs the minimum is the negative one, in any order. */
START_TEST(negative_zero_is_the_minimum)
{
	static const float x[2][4] = { { 0.0f, -0.0f, 1, 2 },
				       { -0.0f, 0.0f, 1, 2 } };

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(encode(kivi(2, 16), CKV_ELEM_F32,
					CKV_SIDE_VALUE, x[i], 1, 4), 0);
		ck_assert_uint_eq(elem_bits(scale[1]), 0x80000000u);
	}
}
END_TEST

static void refused(enum ckv_elem elem, enum ckv_side side, const float *x,
		    size_t n, uint32_t dim, int error, uint32_t row, uint32_t d)
{
	ck_assert_int_eq(encode(kivi(4, 8), elem, side, as(elem, x, n * dim), n,
				dim), error);
	ck_assert_uint_eq(fault.token, row);
	ck_assert_uint_eq(fault.dim, d);
	ck_assert_int_eq(fault.input, side == CKV_SIDE_KEY ? CKV_INPUT_KEY
							   : CKV_INPUT_VALUE);
	ck_assert_uint_eq(fault.head, 0xa5a5a5a5u);
}

/* NaN and infinity are refused with row and column, the first in order of rows. */
START_TEST(special_numbers_are_refused)
{
	static const float bad[] = { NAN, INFINITY, -INFINITY };
	float x[12 * 5];

	for (int elem = CKV_ELEM_F32; elem <= CKV_ELEM_BF16; elem++)
		for (int i = 0; i < 3; i++) {
			for (int k = 0; k < 12 * 5; k++)
				x[k] = (float)k;
			x[11 * 5 + 1] = NAN;
			x[10 * 5 + 3] = bad[i];
			for (int s = CKV_SIDE_KEY; s <= CKV_SIDE_VALUE; s++)
				refused((enum ckv_elem)elem, (enum ckv_side)s, x,
					12, 5, -EDOM, 10, 3);
		}
}
END_TEST

/* A range that overflows the rows' type is refused with the group's place. */
START_TEST(wide_groups_are_refused)
{
	static const float large[] = { FLT_MAX, 65504, 0x1.fep127f };
	float x[12 * 17];

	for (int elem = CKV_ELEM_F32; elem <= CKV_ELEM_BF16; elem++) {
		memset(x, 0, sizeof x);
		x[9 * 17 + 12] = large[elem];
		x[10 * 17 + 12] = -large[elem];
		refused((enum ckv_elem)elem, CKV_SIDE_KEY, x, 12, 17, -ERANGE, 8,
			12);
		x[9 * 17 + 13] = -large[elem];
		refused((enum ckv_elem)elem, CKV_SIDE_VALUE, x, 12, 17, -ERANGE,
			9, 8);
	}
}
END_TEST

/* 15 * f16(65504 / 15) is 65520, which f16 has not: refused, not made infinite. */
START_TEST(what_decodes_to_infinity_is_refused)
{
	static const float top[] = { 0, 65504 }, lower[] = { 0, 65000 };

	refused(CKV_ELEM_F16, CKV_SIDE_VALUE, top, 1, 2, -ERANGE, 0, 0);
	ck_assert_int_eq(encode(kivi(4, 8), CKV_ELEM_F16, CKV_SIDE_VALUE,
				as(CKV_ELEM_F16, lower, 2), 1, 2), 0);
	decode(kivi(4, 8), CKV_ELEM_F16, CKV_SIDE_VALUE, 1, 2);
	ck_assert(isfinite(out[1]));
}
END_TEST

/* ------------------------------------------------------------ how near */

enum { ROWS = 32, DIM = 64 };

static float normal(uint64_t *state)
{
	float sum = 0;

	for (int i = 0; i < 4; i++) {
		*state ^= *state << 13;
		*state ^= *state >> 7;
		*state ^= *state << 17;
		sum += (float)(*state >> 40) * 0x1p-23f - 1.0f;
	}
	return sum;
}

/* bf16 rows; three channels 15 times larger than the others where `outliers`. */
static const float *make_rows(int outliers)
{
	static float x[ROWS * DIM];
	uint64_t state = 42;

	for (int i = 0; i < ROWS * DIM; i++) {
		x[i] = normal(&state);
		if (outliers && i % DIM % 20 == 7)
			x[i] *= 15.0f;
		x[i] = elem_round(x[i], CKV_ELEM_BF16);
	}
	return x;
}

/* |x - x'| / |x| over the channels that are not outliers. */
static double error_of(uint32_t bits, enum ckv_side side, const float *x)
{
	struct ckv_encode e = kivi(bits, ROWS);
	double off = 0, all = 0;

	ck_assert_int_eq(encode(e, CKV_ELEM_BF16, side,
				as(CKV_ELEM_BF16, x, ROWS * DIM), ROWS, DIM), 0);
	decode(e, CKV_ELEM_BF16, side, ROWS, DIM);
	for (int i = 0; i < ROWS * DIM; i++) {
		if (i % DIM % 20 == 7)
			continue;
		off += pow((double)out[i] - (double)x[i], 2);
		all += pow((double)x[i], 2);
	}
	return sqrt(off / all);
}

/* Every number comes back within half a step, and what the rounding of steps adds. */
START_TEST(numbers_come_back_near)
{
	static const uint32_t size[] = { 8, 4, 2 };
	const float *x = make_rows(1);

	for (int b = 0; b < 3; b++) {
		struct ckv_encode e = kivi(size[b], ROWS);

		ck_assert_int_eq(encode(e, CKV_ELEM_BF16, CKV_SIDE_KEY,
					as(CKV_ELEM_BF16, x, ROWS * DIM), ROWS,
					DIM), 0);
		decode(e, CKV_ELEM_BF16, CKV_SIDE_KEY, ROWS, DIM);
		for (int i = 0; i < ROWS * DIM; i++) {
			float step = elem_at(scale, (size_t)i % DIM,
					     CKV_ELEM_BF16);
			float range = step * (float)((1u << size[b]) - 1u);

			/* 2^-8 each: x - min, the scale, the quotient. */
			ck_assert(fabsf(out[i] - x[i]) <=
				  0.5f * step + 3 * 0x1p-8f * range);
		}
	}
}
END_TEST

/* 8 bits are nearer than 4, and those than 2, by about what the steps differ. */
START_TEST(more_bits_are_nearer)
{
	const float *x = make_rows(0);
	double e8 = error_of(8, CKV_SIDE_KEY, x);
	double e4 = error_of(4, CKV_SIDE_KEY, x);
	double e2 = error_of(2, CKV_SIDE_KEY, x);

	ck_assert_msg(e8 < 0.015 && e4 > 3 * e8 && e4 < 0.12 && e2 > 4 * e4,
		      "8, 4, 2 bits: %.4f, %.4f, %.4f", e8, e4, e2);
}
END_TEST

/* Where some channels are large, a scale for a channel is nearer than for a token. */
START_TEST(channels_with_outliers_want_their_own_scale)
{
	const float *x = make_rows(1);
	double with = error_of(4, CKV_SIDE_VALUE, x) /
		      error_of(4, CKV_SIDE_KEY, x);
	double without;

	x = make_rows(0);
	without = error_of(4, CKV_SIDE_VALUE, x) / error_of(4, CKV_SIDE_KEY, x);
	ck_assert_msg(with > 1.75 && without > 0.8 && without < 1.25,
		      "token / channel: %.2f with, %.2f without", with, without);
}
END_TEST

CHECK_MAIN("kernels_kivi",
	CASE("all"),
	TEST(codes_lie_lowest_first),
	TEST(keys_are_grouped_along_tokens),
	TEST(values_are_grouped_along_channels),
	TEST(halves_go_to_even),
	TEST(each_step_is_rounded_once),
	TEST(scale_zero_gives_the_minimum),
	TEST(negative_zero_is_the_minimum),
	TEST(special_numbers_are_refused),
	TEST(wide_groups_are_refused),
	TEST(what_decodes_to_infinity_is_refused),
	TEST(numbers_come_back_near),
	TEST(more_bits_are_nearer),
	TEST(channels_with_outliers_want_their_own_scale))
