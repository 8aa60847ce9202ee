/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_refusals.c - what a compression refuses: numbers that are no numbers, by
 * their place, inputs that are missing, a daemon that goes down.
 */
#include "tests/lib/chain.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers that are no numbers ---- */

static const struct {
	const char *method, *text;
	uint32_t layer, head, token, dim;
	bool value;
	float x;
} bad[] = {
	{ "chunkkv(keep=1/4)", "layer 2: a key is NaN or infinite: kv head 1, "
	  "token 37, element 5", 2, 1, 37, 5, false, NAN },
	{ "keydiff(keep=1/4)", "layer 0: a key is NaN or infinite: kv head 0, "
	  "token 699, element 7", 0, 0, 699, 7, false, INFINITY },
	{ "kivi(bits=4, group=64)", "layer 1: a value is NaN or infinite: kv head 1, "
	  "token 650, element 3", 1, 1, 650, 3, true, NAN },
	{ "fp8(scale=head)", "layer 1: a key is NaN or infinite: kv head 0, "
	  "token 300, element 0", 1, 0, 300, 0, false, -INFINITY },
	{ "fp8(scale=tensor)", "layer 2: a value is NaN or infinite: kv head 1, "
	  "token 299, element 1", 2, 1, 299, 1, true, NAN },
	{ "kivi(bits=8, group=32)", "layer 0: a key is too large to encode: kv head "
	  "1, token 512, element 2", 0, 1, 512, 2, false, 3.4e38f },
	{ "fp16", "layer 2: a value is too large to encode: kv head 0, token 1, "
	  "element 0", 2, 0, 1, 0, true, 70000.0f },
};

static int compress_all(struct compress *c)
{
	int error = 0;

	free(view_of(c, &error));
	return error;
}

/* What cannot be scored or encoded is named: layer, side, head, token, element. */
START_TEST(a_bad_number_is_named)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	/* A range that overflows has a far end: the first number of its group is named. */
	if (bad[_i].x > 1e38f && isfinite(bad[_i].x))
		put(element(bad[_i].layer, bad[_i].value, bad[_i].head,
			    bad[_i].token + 1, bad[_i].dim), -bad[_i].x);
	put(element(bad[_i].layer, bad[_i].value, bad[_i].head, bad[_i].token,
		    bad[_i].dim), bad[_i].x);
	ck_assert_int_eq(ckv_method_parse(bad[_i].method, &m, why), 0);
	c = request(&m, TOKENS);
	ck_assert_int_eq(compress_all(&c), -EDOM);
	ck_assert_str_eq(why, bad[_i].text);
	compress_free(&c);
}
END_TEST

/* And so are queries, log-sum-exps and column sums. */
START_TEST(a_bad_input_is_named)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("chunkkv(keep=1/4)", &m, why), 0);
	c = request(&m, TOKENS);
	queries[(1 * 4 + 3) * WINDOW * DIM_K + 2] = INFINITY;
	ck_assert_int_eq(compress_all(&c), -EDOM);
	ck_assert_str_eq(why, "layer 1: a query is NaN or infinite: query head 3, "
			 "window row 0, element 2");
	compress_free(&c);

	fill(CKV_DTYPE_F32);
	c = request(&m, TOKENS);
	lse[(2 * 4 + 1) * WINDOW + 9] = NAN;
	inputs.part[INPUT_LSE].data = lse;
	ck_assert_int_eq(compress_all(&c), -EDOM);
	ck_assert_str_eq(why, "layer 2: a log-sum-exp is NaN, infinite or below its "
			 "logits: query head 1, window row 9");
	compress_free(&c);

	ck_assert_int_eq(ckv_method_parse("h2o(keep=1/4)", &m, why), 0);
	c = request(&m, TOKENS);
	sums[(1 * HEADS + 1) * TOKENS + 33] = NAN;
	ck_assert_int_eq(compress_all(&c), -EDOM);
	ck_assert_str_eq(why, "layer 1: a column sum is NaN or infinite: head 1, "
			 "token 33");
	compress_free(&c);
}
END_TEST

/* A plain view takes any bits, as the pages do. */
START_TEST(plain_rows_are_not_judged)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	put(element(1, true, 1, 699, 3), NAN);
	ck_assert_int_eq(ckv_method_parse("streamingllm(keep=1/2)", &m, why), 0);
	c = request(&m, TOKENS);
	ck_assert_int_eq(compress_all(&c), 0);
	compress_free(&c);
}
END_TEST

/* ---- what does not fit ---- */

/* Inputs that are missing are asked for; a chain within its window needs none. */
START_TEST(missing_inputs_are_asked_for)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("snapkv(keep=1/4, window=48)", &m, why), 0);
	c = request(&m, TOKENS);
	inputs = (struct inputs){ .memory = NULL };
	ck_assert_int_eq(compress_all(&c), -EINVAL);
	ck_assert_str_eq(why, "this needs the queries of the last 48 tokens, and "
			 "none came");
	compress_free(&c);
	c = request(&m, 40);
	inputs = (struct inputs){ .memory = NULL };
	ck_assert_int_eq(compress_all(&c), 0);
	ck_assert_uint_eq(c.kept[0].n, 10);
	compress_free(&c);
	ck_assert_int_eq(ckv_method_parse("h2o(keep=1/4)", &m, why), 0);
	c = request(&m, TOKENS);
	inputs = (struct inputs){ .memory = NULL };
	ck_assert_int_eq(compress_all(&c), -EINVAL);
	ck_assert_str_eq(why, "this needs the column sums of attention, and none "
			 "came");
	compress_free(&c);
}
END_TEST

static bool told_to_stop(void *context)
{
	return --*(int *)context < 0;
}

/* A daemon that goes down is waited for by a layer at most, in either stage. */
START_TEST(a_stop_is_heeded_between_layers)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("kivi", &m, why), 0);
	for (int after = 0; after <= 2 * (int)LAYERS; after++) {
		int left = after;

		c = request(&m, TOKENS);
		c.stop = told_to_stop;
		c.context = &left;
		ck_assert_int_eq(compress_all(&c), after < 2 * (int)LAYERS ?
				 -ECANCELED : 0);
		compress_free(&c);
	}
}
END_TEST

START_TEST(other_element_types_are_refused)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("plain", &m, why), 0);
	c = request(&m, TOKENS);
	geometry.dtype = CKV_DTYPE_F8_E4M3;
	ck_assert_int_eq(compress_check(&c, 0, why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "expected f32, f16 or bf16"));
}
END_TEST

CHECK_MAIN("shell_refusals",
	CASE("views"),
	EACH(a_bad_number_is_named, bad),
	TEST(a_bad_input_is_named),
	TEST(plain_rows_are_not_judged),
	TEST(missing_inputs_are_asked_for),
	TEST(a_stop_is_heeded_between_layers),
	TEST(other_element_types_are_refused))
