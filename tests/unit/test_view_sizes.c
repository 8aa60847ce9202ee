/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_view_sizes.c - proto/ counts the bytes of a view's regions without kernels/:
 * both must agree, and so must what they take for an encoding.
 */
#include "kernels/ckv_kernels.h"
#include "proto/ckv_view.h"
#include "tests/lib/check_main.h"


static const uint32_t dtypes[] = { CKV_DTYPE_F32, CKV_DTYPE_F16, CKV_DTYPE_BF16 };
static const enum ckv_elem elems[] = { CKV_ELEM_F32, CKV_ELEM_F16, CKV_ELEM_BF16 };

/* Shapes in which the two differ. */
static uint32_t compare(const struct ckv_encode *e, struct ckv_view_head *h, int type)
{
	static const uint32_t n_row[] = { 0, 1, 7, 8, 31, 32, 33, 64, 1000 };
	static const uint32_t dims[] = { 1, 3, 8, 33, 64, 128, 1024 };
	uint32_t n_different = 0;

	for (size_t k = 0; k < 9 * 7 * 2; k++) {
		uint32_t n = n_row[k % 9], dim = dims[k / 9 % 7];
		int side = k >= 9 * 7;

		h->dim_k = side ? 5000 : dim;
		h->dim_v = side ? dim : 5000;
		n_different += ckv_view_code_bytes(h, side, n) !=
			       ckv_code_bytes(e, elems[type], side, n, dim);
		n_different += ckv_view_scale_bytes(h, side, n) !=
			       ckv_scale_bytes(e, elems[type], side, n, dim);
	}
	return n_different;
}

/* Any kind, bits, group, scale and block, also those that mean nothing. */
START_TEST(headers_and_kernels_count_alike)
{
	static const uint32_t group[] = { 0, 1, 4, 8, 12, 16, 64, 96, 4096 };
	uint32_t n_good = 0;

	for (uint32_t i = 0; i < 7 * 10 * 9 * 6; i++) {
		struct ckv_encode e = {
			.kind = i % 7, .bits = i / 7 % 10, .block = i / 70 % 9,
			.group = group[i / 70 % 9], .scale = i / 630 % 6,
		};
		struct ckv_view_head h = {
			.dtype = dtypes[_i], .encoding = i % 7,
			.bits = e.bits, .group = e.group, .scale = e.scale,
			.block = e.block,
		};

		ck_assert_int_eq(ckv_view_encoding_ok(&h),
				 ckv_encode_check(&e) == 0);
		if (!ckv_view_encoding_ok(&h))
			continue;
		n_good++;
		ck_assert_uint_eq(compare(&e, &h, _i), 0);
	}
	ck_assert_uint_gt(n_good, 100);
}
END_TEST

CHECK_MAIN("view_sizes",
	CASE("sizes"),
	LOOP(headers_and_kernels_count_alike, 3))
