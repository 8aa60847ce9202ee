/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_inputs.c - what an engine brings to a compression: judged by its
 * argument, copied once, and only what the method reads.
 */
#include "daemon/shell/inputs.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE	4096u

static const struct ckv_geometry geometry = {
	.model = "m", .n_layers = 2, .n_kv_heads = 2, .dim_k = 3, .dim_v = 4,
	.block_tokens = 16, .n_ranks = 1, .dtype = CKV_DTYPE_F32,
	.layout = CKV_LAYOUT_HEAD_MAJOR, .key_scheme = CKV_KEYS_SHA256,
};
static char why[INPUTS_WHY_BYTES];

static struct inputs_want want(unsigned needs)
{
	return (struct inputs_want){
		.geometry = &geometry, .needs = needs, .window = 5,
		.n_tokens = 90, .room_bytes = 3 * PAGE, .max_bytes = 3 * PAGE,
	};
}

/* 240 bytes of queries, 160 of lse, 2 880 of sums. */
static struct ckv_compress_arg everything(void)
{
	return (struct ckv_compress_arg){
		.n_query_heads = 4, .n_window = 5, .query_dtype = CKV_DTYPE_BF16,
		.inputs = CKV_VIEW_LSE, .n_sum_heads = 4, .n_sum_tokens = 90,
	};
}

/* The parts lie one after the other, each at a multiple of 64. */
START_TEST(parts_are_aligned)
{
	struct ckv_compress_arg arg = everything();
	struct inputs_want w = want(CKV_NEED_QUERIES | CKV_NEED_SUMS);
	struct inputs in;

	ck_assert_msg(inputs_judge(&arg, &w, &in, why) == 0, "%s", why);
	ck_assert_uint_eq(in.part[INPUT_QUERIES].offset, 0);
	ck_assert_uint_eq(in.part[INPUT_QUERIES].bytes, 2 * 4 * 5 * 3 * 2);
	ck_assert_uint_eq(in.part[INPUT_LSE].offset, 256);
	ck_assert_uint_eq(in.part[INPUT_LSE].bytes, 2 * 4 * 5 * 4);
	ck_assert_uint_eq(in.part[INPUT_SUMS].offset, 256 + 192);
	ck_assert_uint_eq(in.part[INPUT_SUMS].bytes, 2 * 4 * 90 * 4);
	ck_assert_uint_eq(in.n_sum_heads, 4);
	ck_assert_uint_eq(inputs_read(&in), CKV_VIEW_QUERIES | CKV_VIEW_LSE |
					    CKV_VIEW_SUMS);
}
END_TEST

/* What is not read is skipped, and says nothing: no other view comes of it. */
START_TEST(what_is_not_read_leaves_no_trace)
{
	struct ckv_compress_arg arg = everything(), none = { .n_window = 0 };
	struct inputs_want w = want(CKV_NEED_KEYS | CKV_NEED_SUMS);
	struct inputs in, empty;

	ck_assert_msg(inputs_judge(&arg, &w, &in, why) == 0, "%s", why);
	ck_assert_uint_eq(inputs_read(&in), CKV_VIEW_SUMS);
	ck_assert_uint_eq(in.n_window, 0);
	ck_assert_uint_eq(in.n_query_heads, 0);
	ck_assert_uint_eq(in.query_dtype, 0);
	ck_assert_uint_eq(in.part[INPUT_SUMS].offset, 256 + 192);
	w.needs = CKV_NEED_KEYS;
	ck_assert_int_eq(inputs_judge(&arg, &w, &in, why), 0);
	ck_assert_int_eq(inputs_judge(&none, &w, &empty, why), 0);
	ck_assert_uint_eq(inputs_read(&in), 0);
	ck_assert_uint_eq(in.memory_bytes, 0);
	ck_assert_uint_eq(in.n_sum_tokens, empty.n_sum_tokens);
	/* Another window than the method's is wrong only where it is read. */
	arg.n_window = 7;
	ck_assert_int_eq(inputs_judge(&arg, &w, &in, why), 0);
}
END_TEST

/* The copy is of the bytes in the pages, across their borders, and stays. */
START_TEST(the_copy_crosses_pages)
{
	struct ckv_compress_arg arg = everything();
	struct inputs_want w = want(CKV_NEED_SUMS);
	unsigned char *page[4];
	struct inputs in;

	arg.n_window = 0;
	arg.inputs = 0;
	arg.n_sum_tokens = w.n_tokens = 300;	/* 9 600 bytes in 2.3 pages */
	for (uint32_t i = 0; i < 3; i++) {
		page[i] = malloc(PAGE);
		for (uint32_t b = 0; b < PAGE; b++)
			page[i][b] = (unsigned char)(b * 7 + i * 13);
	}
	ck_assert_msg(inputs_judge(&arg, &w, &in, why) == 0, "%s", why);
	ck_assert_int_eq(inputs_copy(&in, (const void *const *)page, PAGE), 0);
	for (uint32_t b = 0; b < 9600; b++)
		ck_assert_uint_eq(((const unsigned char *)
				   in.part[INPUT_SUMS].data)[b],
				  page[b / PAGE][b % PAGE]);
	page[1][0] ^= 1;
	ck_assert_uint_ne(((const unsigned char *)
			   in.part[INPUT_SUMS].data)[PAGE], page[1][0]);
	inputs_free(&in);
	for (uint32_t i = 0; i < 3; i++)
		free(page[i]);
}
END_TEST

#define LIE(field, value, part)						\
	{ offsetof(struct ckv_compress_arg, field), value, part }
static const struct {
	size_t offset;
	uint32_t value;
	const char *part;
} lie[] = {
	LIE(n_window, 4, "queries of 4 tokens came; expected window=5"),
	LIE(n_window, 0, "log-sum-exps came without queries"),
	LIE(n_window, UINT32_MAX, "expected window=5"),
	LIE(query_dtype, 0, "query type 0; expected f32, f16 or bf16"),
	LIE(query_dtype, CKV_DTYPE_F8_E4M3, "query type 4; expected f32"),
	LIE(n_query_heads, 0, "0 query heads; expected a multiple of 2"),
	LIE(n_query_heads, 3, "3 query heads; expected a multiple of 2"),
	LIE(n_query_heads, UINT32_MAX - 1, "at most 1024"),
	LIE(inputs, CKV_VIEW_SUMS, "inputs 0x4; expected 0 or 0x2"),
	LIE(inputs, UINT32_MAX, "expected 0 or 0x2"),
	LIE(n_sum_heads, 0, "column sums of 0 heads; expected those of 2 kv heads"),
	LIE(n_sum_heads, 8, "column sums of 8 heads"),
	LIE(n_sum_heads, UINT32_MAX, "column sums of 4294967295 heads"),
	LIE(n_sum_tokens, 0, "column sums of 0 tokens came; the chain has 90"),
	LIE(n_sum_tokens, UINT32_MAX, "the chain has 90"),
};

/* Each field that could be wrong is named, with what was expected; nothing is taken. */
START_TEST(a_wrong_field_is_named)
{
	struct ckv_compress_arg arg = everything();
	struct inputs_want w = want(CKV_NEED_QUERIES | CKV_NEED_SUMS);
	struct inputs in = { .n_window = 77 };

	memcpy((char *)&arg + lie[_i].offset, &lie[_i].value, 4);
	ck_assert_int_eq(inputs_judge(&arg, &w, &in, why), -EINVAL);
	ck_assert_msg(strstr(why, lie[_i].part) != NULL, "%s", why);
	ck_assert_uint_eq(in.n_window, 77);
}
END_TEST

/* Without queries the sums may be of any number of query heads. */
START_TEST(sums_alone_may_be_of_query_heads)
{
	struct ckv_compress_arg arg = { .n_sum_heads = 6, .n_sum_tokens = 90 };
	struct inputs_want w = want(CKV_NEED_SUMS);
	struct inputs in;

	ck_assert_int_eq(inputs_judge(&arg, &w, &in, why), 0);
	arg.n_sum_heads = 5;
	ck_assert_int_eq(inputs_judge(&arg, &w, &in, why), -EINVAL);
}
END_TEST

/* The pages must hold all that was named; only what is read counts for the limit. */
START_TEST(room_and_limit_are_told_apart)
{
	struct ckv_compress_arg arg = everything();
	struct inputs_want w = want(CKV_NEED_SUMS);
	struct inputs in;

	w.room_bytes = 0;
	ck_assert_int_eq(inputs_judge(&arg, &w, &in, why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "0 bytes of scratch pages came"));
	w = want(CKV_NEED_SUMS);
	w.max_bytes = 2880;
	ck_assert_int_eq(inputs_judge(&arg, &w, &in, why), 0);
	w.max_bytes = 2879;
	ck_assert_int_eq(inputs_judge(&arg, &w, &in, why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "at most 2879 are read"));
}
END_TEST

CHECK_MAIN("shell_inputs",
	CASE("inputs"),
	TEST(parts_are_aligned),
	TEST(what_is_not_read_leaves_no_trace),
	TEST(the_copy_crosses_pages),
	EACH(a_wrong_field_is_named, lie),
	TEST(sums_alone_may_be_of_query_heads),
	TEST(room_and_limit_are_told_apart))
