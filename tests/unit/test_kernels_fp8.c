/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_fp8.c - numbers in fewer bits, every one of them. */
#include "kernels/elem.h"
#include "tests/lib/check_main.h"

#include <math.h>
#include <stdlib.h>

static double value_of[0x7f];	/* of each finite code, by its definition */

static void set_values(void)
{
	for (int c = 0; c < 0x7f; c++) {
		double exponent = c >> 3, mantissa = c & 7;

		value_of[c] = exponent == 0 ? mantissa / 512
			: (1 + mantissa / 8) * exp2(exponent - 7);
	}
}

/* The finite code nearest to x, of two equally near the even one. */
static uint8_t nearest_code(double x)
{
	double best = INFINITY;
	uint8_t code = 0;

	for (uint8_t c = 0; c < 0x7f; c++) {
		double off = fabs(fabs(x) - value_of[c]);

		if (off < best || (off == best && c % 2 == 0)) {
			best = off;
			code = c;
		}
	}
	return signbit(x) ? code | 0x80 : code;
}

static void is_nearest(float x)
{
	uint8_t got = ckv_fp8_from_float(x), want;

	if (isnan(x))
		want = signbit(x) ? 0xff : 0x7f;
	else if (isinf(x))
		want = x < 0 ? 0xfe : 0x7e;
	else
		want = nearest_code((double)x);
	if (got != want)
		ck_abort_msg("%a is %#x, nearest is %#x", (double)x, got, want);
}

/* Every bf16 and every f16 number becomes the nearest fp8 number. */
START_TEST(fp8_is_the_nearest)
{
	set_values();
	for (uint32_t i = 0; i < 1u << 16; i++) {
		is_nearest(elem_from_bf16((uint16_t)i));
		is_nearest(elem_from_f16((uint16_t)i));
	}
}
END_TEST

/* Between two codes the middle goes to the even one, a step beside it does not. */
START_TEST(fp8_halves_go_to_even)
{
	for (uint8_t c = 0; c < 0x7e; c++) {
		float low = ckv_fp8_to_float(c);
		float high = ckv_fp8_to_float((uint8_t)(c + 1));
		float middle = (low + high) / 2;

		ck_assert_uint_eq(ckv_fp8_from_float(middle), c + (c & 1));
		ck_assert_uint_eq(ckv_fp8_from_float(nextafterf(middle, 0)), c);
		ck_assert_uint_eq(ckv_fp8_from_float(nextafterf(middle, high)),
				  c + 1);
		ck_assert_uint_eq(ckv_fp8_from_float(-middle),
				  (c + (c & 1)) | 0x80);
	}
}
END_TEST

/* A code read and written is the code; the largest is 448, and beyond it too. */
START_TEST(fp8_codes_come_back)
{
	for (uint32_t c = 0; c < 256; c++) {
		float x = ckv_fp8_to_float((uint8_t)c);

		ck_assert_uint_eq(ckv_fp8_from_float(x), c);
		ck_assert_int_eq(isnan(x) != 0, (c & 0x7f) == 0x7f);
	}
	ck_assert(ckv_fp8_to_float(0x7e) == 448.0f);
	ck_assert(ckv_fp8_to_float(0x08) == 0x1p-6f);
	ck_assert(ckv_fp8_to_float(0x81) == -0x1p-9f);
	ck_assert_uint_eq(ckv_fp8_from_float(464.0f), 0x7e);
	ck_assert_uint_eq(ckv_fp8_from_float(3e38f), 0x7e);
	ck_assert_uint_eq(ckv_fp8_from_float(-465.0f), 0xfe);
	ck_assert_uint_eq(ckv_fp8_from_float(NAN) & 0x7f, 0x7f);
}
END_TEST

/* x rounded to a number with `bits` of significand, none worth less than `unit`. */
static double rounded(double x, int bits, double unit)
{
	int exponent;
	double step;

	frexp(x, &exponent);
	step = fmax(ldexp(1.0, exponent - bits), unit);
	return nearbyint(x / step) * step;
}

static void rounds(float x)
{
	double f16 = rounded((double)x, 11, 0x1p-24);
	double bf16 = rounded((double)x, 8, 0x1p-133);

	f16 = fabs(f16) > 65504 ? copysign(INFINITY, f16) : f16;
	bf16 = fabs(bf16) > 0x1.fep127 ? copysign(INFINITY, bf16) : bf16;
	if ((double)elem_round(x, CKV_ELEM_F16) != f16)
		ck_abort_msg("%a as f16 is %a", (double)x, f16);
	if ((double)elem_round(x, CKV_ELEM_BF16) != bf16)
		ck_abort_msg("%a as bf16 is %a", (double)x, bf16);
}

/* Floats go to the nearest f16 and bf16, halves to even, too large to infinity. */
START_TEST(narrow_types_are_rounded_to)
{
	for (uint32_t i = 0; i < 0x7f80u; i++) {
		uint32_t middle = i << 16 | 0x8000u, half = i << 16 | 0x1000u;

		for (uint32_t k = 0; k < 3; k++) {
			rounds(elem_from_bits(middle + k - 1));
			rounds(elem_from_bits(half + k - 1));
			rounds(-elem_from_bits(half + k - 1));
		}
	}
	for (uint32_t i = 0; i < 1u << 16; i++) {
		uint16_t h = (uint16_t)i;

		if ((i & 0x7fff) <= 0x7c00 && elem_to_f16(elem_from_f16(h)) != h)
			ck_abort_msg("%#x is not f16 again", i);
		if ((i & 0x7fff) <= 0x7f80 &&
		    elem_to_bf16(elem_from_bf16(h)) != h)
			ck_abort_msg("%#x is not bf16 again", i);
	}
	ck_assert(isnan(elem_round(NAN, CKV_ELEM_F16)));
	ck_assert(isnan(elem_round(elem_from_bits(0x7f800001u), CKV_ELEM_BF16)));
}
END_TEST

CHECK_MAIN("kernels_fp8",
	CASE("all"),
	TEST(fp8_is_the_nearest),
	TEST(fp8_halves_go_to_even),
	TEST(fp8_codes_come_back),
	TEST(narrow_types_are_rounded_to))
