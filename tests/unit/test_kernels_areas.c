/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_areas.c - sizes of codes and scales, scales of fp8, and refusals. */
#include "kernels/elem.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

static const struct ckv_encode plain = { .kind = CKV_ENCODE_PLAIN };
static const struct ckv_encode bf16 = { .kind = CKV_ENCODE_BF16 };
static const struct ckv_encode f16 = { .kind = CKV_ENCODE_F16 };
static const struct ckv_encode one = { .kind = CKV_ENCODE_FP8 };
static const struct ckv_encode head = { .kind = CKV_ENCODE_FP8,
					.scale = CKV_FP8_HEAD };
static const struct ckv_encode block = { .kind = CKV_ENCODE_FP8,
					 .scale = CKV_FP8_BLOCK, .block = 4 };
static const struct ckv_encode int4 = { .kind = CKV_ENCODE_KIVI, .bits = 4,
					.group = 16 };

static uint32_t code[1024];
static float scale[256], back[1024];
static struct ckv_fault fault;

static void sizes(const struct ckv_encode *e, enum ckv_elem elem,
		  enum ckv_side side, size_t n, uint32_t dim, size_t code_bytes,
		  size_t scale_bytes)
{
	ck_assert_uint_eq(ckv_code_bytes(e, elem, side, n, dim), code_bytes);
	ck_assert_uint_eq(ckv_scale_bytes(e, elem, side, n, dim), scale_bytes);
}

/* Bytes are those of the header's table, short last words and groups included. */
START_TEST(areas_are_as_the_table_says)
{
	sizes(&plain, CKV_ELEM_BF16, CKV_SIDE_KEY, 33, 80, 33 * 80 * 2, 0);
	sizes(&bf16, CKV_ELEM_F32, CKV_SIDE_KEY, 33, 80, 33 * 80 * 2, 0);
	sizes(&f16, CKV_ELEM_F32, CKV_SIDE_VALUE, 33, 80, 33 * 80 * 2, 0);
	sizes(&one, CKV_ELEM_BF16, CKV_SIDE_KEY, 33, 80, 33 * 80, 0);
	sizes(&head, CKV_ELEM_BF16, CKV_SIDE_KEY, 33, 80, 33 * 80, 4);
	sizes(&block, CKV_ELEM_BF16, CKV_SIDE_KEY, 33, 80, 33 * 80, 9 * 4);
	sizes(&int4, CKV_ELEM_BF16, CKV_SIDE_KEY, 33, 81, 5 * 81 * 4,
	      2 * 3 * 81 * 2);
	sizes(&int4, CKV_ELEM_F32, CKV_SIDE_VALUE, 33, 81, 33 * 11 * 4,
	      2 * 33 * 6 * 4);
	for (int side = CKV_SIDE_KEY; side <= CKV_SIDE_VALUE; side++) {
		sizes(&int4, CKV_ELEM_F32, (enum ckv_side)side, 0, 81, 0, 0);
		sizes(&head, CKV_ELEM_F32, (enum ckv_side)side, 0, 81, 0, 0);
	}
}
END_TEST

/* Parameters that no rows could meet. */
START_TEST(impossible_parameters_are_refused)
{
	const struct ckv_encode bad[] = {
		{ 0 }, { .kind = (enum ckv_encode_kind)6 },
		{ .kind = CKV_ENCODE_FP8, .scale = (enum ckv_fp8_scale)4 },
		{ .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_BLOCK },
		{ .kind = CKV_ENCODE_KIVI, .bits = 3, .group = 32 },
		{ .kind = CKV_ENCODE_KIVI, .bits = 16, .group = 32 },
		{ .kind = CKV_ENCODE_KIVI, .bits = 4 },
		{ .kind = CKV_ENCODE_KIVI, .bits = 4, .group = 12 },
		{ .kind = CKV_ENCODE_KIVI, .bits = 2, .group = 24 },
	};
	float x[4] = { 0 };

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		ck_assert_int_eq(ckv_encode_check(&bad[i]), -EINVAL);
		ck_assert_int_eq(ckv_encode_rows(&bad[i], CKV_ELEM_F32,
						 CKV_SIDE_KEY, x, 0, 1, 1, 4, 0,
						 code, scale, &fault), -EINVAL);
		sizes(&bad[i], CKV_ELEM_F32, CKV_SIDE_KEY, 1, 4, 0, 0);
	}
	ck_assert_int_eq(ckv_encode_check(NULL), -EINVAL);
	ck_assert_int_eq(ckv_encode_check(&int4), 0);
	ck_assert_int_eq(ckv_encode_check(&block), 0);
}
END_TEST

static int encode_keys(size_t first, size_t n, size_t n_all, void *to, void *by)
{
	static const float x[64 * 2];

	return ckv_encode_rows(&int4, CKV_ELEM_F32, CKV_SIDE_KEY, x, first, n,
			       n_all, 2, 0, to, by, &fault);
}

static int decode_keys(size_t first, size_t n, enum ckv_elem out_elem, void *out)
{
	return ckv_decode_rows(&int4, CKV_ELEM_BF16, CKV_SIDE_KEY, code, scale,
			       first, n, 40, 2, out_elem, out);
}

/* Ranges that cut a group or leave the rows, areas that are absent or odd. */
START_TEST(impossible_ranges_are_refused)
{
	char *odd = (char *)code + 2;

	ck_assert_int_eq(encode_keys(16, 16, 40, code, scale), 0);
	ck_assert_int_eq(encode_keys(16, 24, 40, code, scale), 0);
	ck_assert_int_eq(encode_keys(8, 8, 40, code, scale), -EINVAL);
	ck_assert_int_eq(encode_keys(8, 32, 40, code, scale), -EINVAL);
	ck_assert_int_eq(encode_keys(0, 24, 40, code, scale), -EINVAL);
	ck_assert_int_eq(encode_keys(32, 16, 40, code, scale), -EINVAL);
	ck_assert_int_eq(encode_keys(48, 0, 40, code, scale), -EINVAL);
	ck_assert_int_eq(encode_keys(0, 16, 40, NULL, scale), -EINVAL);
	ck_assert_int_eq(encode_keys(0, 16, 40, code, NULL), -EINVAL);
	ck_assert_int_eq(encode_keys(0, 16, 40, odd, scale), -EINVAL);
	ck_assert_int_eq(decode_keys(7, 33, CKV_ELEM_BF16, back), 0);
	ck_assert_int_eq(decode_keys(7, 34, CKV_ELEM_BF16, back), -EINVAL);
	ck_assert_int_eq(decode_keys(7, 3, CKV_ELEM_F16, back), -EINVAL);
	ck_assert_int_eq(decode_keys(7, 3, CKV_ELEM_F32, NULL), -EINVAL);
	ck_assert_int_eq(ckv_encode_rows(&head, CKV_ELEM_F32, CKV_SIDE_KEY, back,
					 0, 1, 1, 4, NAN, code, scale, &fault),
			 -EINVAL);
}
END_TEST

/* No rows are no work, whatever the pointers. */
START_TEST(no_rows_are_no_work)
{
	const struct ckv_encode *all[] = { &plain, &bf16, &f16, &one, &head,
					   &block, &int4 };
	float amax = 7;

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		ck_assert_int_eq(ckv_encode_rows(all[i], CKV_ELEM_F32,
						 CKV_SIDE_VALUE, NULL, 0, 0, 0, 4,
						 0, NULL, NULL, NULL), 0);
		ck_assert_int_eq(ckv_decode_rows(all[i], CKV_ELEM_F32,
						 CKV_SIDE_KEY, NULL, NULL, 0, 0,
						 0, 4, CKV_ELEM_F32, NULL), 0);
	}
	ck_assert_int_eq(ckv_amax(CKV_ELEM_F32, NULL, 0, 4, &amax, NULL), 0);
	ck_assert(amax == 0.0f);
}
END_TEST

/* ------------------------------------------------------------------- fp8 */

static const uint8_t *fp8(const struct ckv_encode *e, const float *x, size_t n,
			  uint32_t dim, float amax)
{
	ck_assert_int_eq(ckv_encode_rows(e, CKV_ELEM_F32, CKV_SIDE_KEY, x, 0, n,
					 n, dim, amax, code, scale, &fault), 0);
	ck_assert_int_eq(ckv_decode_rows(e, CKV_ELEM_F32, CKV_SIDE_KEY, code,
					 scale, 0, n, n, dim, CKV_ELEM_F32,
					 back), 0);
	return (const uint8_t *)code;
}

/* The largest becomes 448; the scale is amax / 448, divided once. */
START_TEST(fp8_scale_is_of_the_largest)
{
	static const float x[] = { 0.1f, -3.0f, 0, 1.5f };
	float amax;
	const uint8_t *c;

	ck_assert_int_eq(ckv_amax(CKV_ELEM_F32, x, 1, 4, &amax, NULL), 0);
	ck_assert(amax == 3.0f);
	c = fp8(&head, x, 1, 4, amax);
	ck_assert(scale[0] == 3.0f / 448.0f);
	ck_assert_uint_eq(c[1], 0xfe);
	ck_assert_uint_eq(c[0], ckv_fp8_from_float(0.1f / scale[0]));
	for (int i = 0; i < 4; i++)
		ck_assert(back[i] == ckv_fp8_to_float(c[i]) * scale[0]);
}
END_TEST

/* Each block of rows has a scale of its own, the last one of what it has. */
START_TEST(fp8_blocks_have_scales)
{
	float x[6 * 2];

	for (int i = 0; i < 12; i++)
		x[i] = i < 8 ? -7.0f : 0.25f * (float)i;
	fp8(&block, x, 6, 2, 0);
	ck_assert(scale[0] == 7.0f / 448.0f);
	ck_assert(scale[1] == 2.75f / 448.0f);
	ck_assert(fabsf(back[0] + 7.0f) < 1e-6f);
	ck_assert(fabsf(back[11] - 2.75f) < 1e-6f);
}
END_TEST

/* All zero, or so small that the scale is 0: scale 0 and codes 0, -0 too. */
START_TEST(fp8_of_nothing_is_zero)
{
	static const float zero[] = { 0.0f, -0.0f, 0.0f, 0.0f };
	static const float tiny[] = { 0x1p-149f, -0x1p-149f, 0x1p-148f, 0.0f };

	for (int i = 0; i < 2; i++) {
		fp8(&block, i == 0 ? zero : tiny, 1, 4, 0);
		ck_assert_uint_eq(code[0], 0);
		ck_assert(scale[0] == 0.0f);
		ck_assert(back[1] == 0.0f);
		fp8(&head, i == 0 ? zero : tiny, 1, 4, 0x1p-148f);
		ck_assert_uint_eq(code[0], 0);
	}
}
END_TEST

/* Without a scale, or with one of another tensor's, what is larger saturates. */
START_TEST(fp8_saturates)
{
	static const float x[] = { 449, -1e30f, FLT_MAX, 464 };

	fp8(&one, x, 1, 4, 0);
	ck_assert_uint_eq(code[0], 0x7e7efe7eu);
	fp8(&head, x, 1, 4, 1.0f);
	ck_assert_uint_eq(code[0], 0x7e7efe7eu);
}
END_TEST

/* ------------------------------------------------------------- refusals */

static int place(const struct ckv_encode *e, enum ckv_elem elem, const void *x,
		 size_t first)
{
	memset(&fault, 0xa5, sizeof fault);
	return ckv_encode_rows(e, elem, CKV_SIDE_VALUE, x, first, 8, first + 8,
			       4, 1.0f, code, scale, &fault);
}

/* NaN and infinity are refused by everything that computes, with their place. */
START_TEST(special_numbers_are_refused)
{
	static const struct ckv_encode *const all[] = { &bf16, &f16, &one, &head,
							&block, &int4 };
	static const float bad[] = { NAN, INFINITY, -INFINITY };

	for (size_t i = 0; i < 18; i++) {
		float x[32] = { 0 }, amax = 7;

		x[5 * 4 + 2] = bad[i % 3];
		x[5 * 4 + 3] = bad[i % 3];
		ck_assert_int_eq(place(all[i / 3], CKV_ELEM_F32, x, 16), -EDOM);
		ck_assert_uint_eq(fault.token, 16 + 5);
		ck_assert_uint_eq(fault.dim, 2);
		ck_assert_int_eq(fault.input, CKV_INPUT_VALUE);
		ck_assert_uint_eq(fault.head, 0xa5a5a5a5u);
		ck_assert_int_eq(ckv_amax(CKV_ELEM_F32, x, 8, 4, &amax, &fault),
				 -EDOM);
		ck_assert_uint_eq(fault.token, 5);
		ck_assert(amax == 7.0f);
		ck_assert_int_eq(place(&plain, CKV_ELEM_F32, x, 16), 0);
	}
}
END_TEST

/* What the other type cannot hold is refused: as stored, and as read again. */
START_TEST(too_large_numbers_are_refused)
{
	float x[32] = { 0 };
	uint16_t h[32] = { 0 };

	x[6 * 4 + 1] = 65520;
	ck_assert_int_eq(place(&f16, CKV_ELEM_F32, x, 0), -ERANGE);
	ck_assert_uint_eq(fault.token, 6);
	ck_assert_uint_eq(fault.dim, 1);
	x[6 * 4 + 1] = 65519;
	ck_assert_int_eq(place(&f16, CKV_ELEM_F32, x, 0), 0);
	x[7 * 4] = -FLT_MAX;
	ck_assert_int_eq(place(&bf16, CKV_ELEM_F32, x, 0), -ERANGE);
	ck_assert_uint_eq(fault.token, 7);
	h[3] = elem_to_f16(65504);		/* in bf16 65 536 */
	ck_assert_int_eq(place(&bf16, CKV_ELEM_F16, h, 0), -ERANGE);
	ck_assert_uint_eq(fault.token, 0);
	ck_assert_uint_eq(fault.dim, 3);
	h[3] = elem_to_f16(65280);
	ck_assert_int_eq(place(&bf16, CKV_ELEM_F16, h, 0), 0);
}
END_TEST

CHECK_MAIN("kernels_areas",
	CASE("all"),
	TEST(areas_are_as_the_table_says),
	TEST(impossible_parameters_are_refused),
	TEST(impossible_ranges_are_refused),
	TEST(no_rows_are_no_work),
	TEST(fp8_scale_is_of_the_largest),
	TEST(fp8_blocks_have_scales),
	TEST(fp8_of_nothing_is_zero),
	TEST(fp8_saturates),
	TEST(special_numbers_are_refused),
	TEST(too_large_numbers_are_refused))
