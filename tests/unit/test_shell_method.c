/*
 * test_shell_method.c - the text of a method, and the view it makes of pages.
 */
#include "daemon/shell/compress.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 6u

static char why[METHOD_WHY_BYTES];

static int parse(const char *text, struct method *ret)
{
	char padded[CKV_METHOD_BYTES] = "";

	strcpy(padded, text);
	return method_parse(padded, ret, why);
}

/* Equal methods have one text. */
static const struct {
	const char *text, *canonical;
} right[] = {
	{ "chunkkv(keep=1/4)", "chunkkv(keep=1/4, chunk=16, window=32, kernel=5, "
	  "mode=kvpress, reuse=1)" },
	{ " chunkkv ( keep = 0.25,chunk=16 , window=32 ) ", "chunkkv(keep=1/4, "
	  "chunk=16, window=32, kernel=5, mode=kvpress, reuse=1)" },
	{ "chunkkv(reuse=2, keep=50/100, mode=paper, kernel=7)", "chunkkv(keep=1/2, "
	  "chunk=16, window=32, mode=paper, reuse=2)" },
	{ "chunkkv(keep=1)", "chunkkv(keep=1/1, chunk=16, window=32, kernel=5, "
	  "mode=kvpress, reuse=1)" },
	{ "chunkkv(keep=0.1)", "chunkkv(keep=1/10, chunk=16, window=32, kernel=5, "
	  "mode=kvpress, reuse=1)" },
};

START_TEST(equal_methods_have_one_text)
{
	struct method m;

	ck_assert_msg(parse(right[_i].text, &m) == 0, "%s", why);
	ck_assert_str_eq(m.text, right[_i].canonical);
}
END_TEST

/* The fraction removed is what kvpress is given: one binary64 number. */
START_TEST(removed_is_rounded_once)
{
	struct method m;

	ck_assert_int_eq(parse("chunkkv(keep=1/10)", &m), 0);
	ck_assert_double_eq(m.chunkkv.removed, 0.9);
	ck_assert_int_eq(parse("chunkkv(keep=0.7)", &m), 0);
	ck_assert_double_eq(m.chunkkv.removed, 0.3);
}
END_TEST

/* A wrong text is answered with what was expected. */
static const struct {
	const char *text, *part;
} wrong[] = {
	{ "", "there is no method" },
	{ "snapkv(keep=1/4)", "there is no method snapkv; expected chunkkv(" },
	{ "chunkkv", "expected ( after the name" },
	{ "chunkkv()", "keep is missing" },
	{ "chunkkv(keep)", "expected key=value" },
	{ "chunkkv(keep=)", "expected key=value" },
	{ "chunkkv(keep=1/4", "expected , or )" },
	{ "chunkkv(keep=1/4) x", "expected nothing after )" },
	{ "chunkkv(keep=1/4, keep=1/4)", "keep is given twice" },
	{ "chunkkv(keep=1/4, foo=3)", "chunkkv has no foo" },
	{ "chunkkv(keep=0)", "keep=0: expected a fraction" },
	{ "chunkkv(keep=0/4)", "keep=0/4: expected a fraction" },
	{ "chunkkv(keep=1/0)", "keep=1/0: expected a fraction" },
	{ "chunkkv(keep=5/4)", "keep=5/4: expected a fraction" },
	{ "chunkkv(keep=-1/4)", "keep=-1/4: expected a fraction" },
	{ "chunkkv(keep=1e-1)", "keep=1e-1: expected a fraction" },
	{ "chunkkv(keep=0.00000001)", "expected a fraction" },
	{ "chunkkv(keep=1/4, chunk=0)", "chunk=0: expected 1 to 65536 tokens" },
	{ "chunkkv(keep=1/4, window=5000)", "window=5000: expected 1 to 4096" },
	{ "chunkkv(keep=1/4, kernel=4)", "kernel=4: expected an odd number" },
	{ "chunkkv(keep=1/4, mode=fast)", "mode=fast: expected kvpress or paper" },
	{ "chunkkv(keep=1/4, reuse=0)", "reuse=0: expected 1 to 1024 layers" },
	{ "chunkkv(keep=1/4, chunk=99999999999999999999)", "expected 1 to 65536" },
	{ "chunkkv(keep=1/4, aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=1)",
	  "expected key=value" },
};

START_TEST(a_wrong_method_is_told_what_was_expected)
{
	struct method m;

	why[0] = 0;
	ck_assert_int_eq(parse(wrong[_i].text, &m), -EINVAL);
	ck_assert_msg(strstr(why, wrong[_i].part) != NULL, "%s: %s",
		      wrong[_i].text, why);
}
END_TEST

/* A text without an end is not read past its place. */
START_TEST(a_method_without_an_end_is_refused)
{
	char text[CKV_METHOD_BYTES];
	struct method m;

	memset(text, 'x', sizeof text);
	ck_assert_int_eq(method_parse(text, &m, why), -EINVAL);
	ck_assert_str_eq(why, "the method has no end");
}
END_TEST

/* ---- views ---- */

static const struct ckv_geometry geometry = {
	.model = "m", .n_layers = 3, .n_kv_heads = 2, .dim_k = 8, .dim_v = 4,
	.block_tokens = 16, .n_ranks = 1, .dtype = CKV_DTYPE_F32,
	.layout = CKV_LAYOUT_HEAD_MAJOR, .key_scheme = CKV_KEYS_SHA256,
};
static float page[BLOCKS][3 * 2 * 16 * 12];
static const void *pages[BLOCKS];
static float queries[3 * 4 * 32 * 8];
static struct inputs inputs;

static float *element(uint32_t layer, bool value, uint32_t head, uint32_t token,
		      uint32_t dim)
{
	uint32_t at = layer * 2 * 16 * 12 + (value ? 2 * 16 * 8 : 0);

	at += head * 16 * (value ? 4 : 8) + token % 16 * (value ? 4 : 8) + dim;
	return &page[token / 16][at];
}

static struct compress request(const struct method *m, uint32_t n_tokens)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		pages[i] = page[i];
		for (uint32_t j = 0; j < sizeof page[0] / sizeof(float); j++)
			page[i][j] = (float)((j * 31 + i * 17) % 97) / 50 - 1;
	}
	for (uint32_t j = 0; j < sizeof queries / sizeof queries[0]; j++)
		queries[j] = (float)(j * 13 % 89) / 40 - 1;
	inputs = (struct inputs){
		.n_query_heads = 4, .n_window = 32, .query_dtype = CKV_DTYPE_F32,
		.part[INPUT_QUERIES] = { .bytes = sizeof queries,
					 .data = queries },
	};
	return (struct compress){
		.geometry = &geometry, .method = m, .page = pages,
		.n_tokens = n_tokens, .inputs = &inputs,
	};
}

/* Each kept row is the row of the page, bit for bit; positions ascend. */
START_TEST(a_view_holds_the_rows_of_its_positions)
{
	static const char *const method[] = {
		"chunkkv(keep=1/4)", "chunkkv(keep=1/2, mode=paper, reuse=2)",
		"chunkkv(keep=1)", "chunkkv(keep=1/3, chunk=7, kernel=1)",
	};
	const struct ckv_key chain = { { 1 } }, digest = { { 2 } };
	struct method m;
	struct compress c;
	struct ckv_view_head *view;
	const struct ckv_view_run *run;

	ck_assert_int_eq(parse(method[_i], &m), 0);
	c = request(&m, 90);
	ck_assert_msg(compress_check(&c, why) == 0, "%s", why);
	ck_assert_msg(compress_select(&c, why) == 0, "%s", why);
	view = aligned_alloc(64, c.head.n_bytes);
	compress_write(&c, &chain, &digest, view);
	ck_assert(ckv_view_ok(view, c.head.n_bytes, &geometry));
	ck_assert_uint_eq(view->n_bytes, c.head.n_bytes);
	ck_assert_uint_eq(view->n_tokens, 90);
	ck_assert_str_eq(view->method, m.text);
	run = (const void *)((char *)view + CKV_VIEW_HEAD_BYTES);
	for (uint32_t i = 0; i < 6; i++) {
		const uint32_t *pos = (void *)((char *)view +
					       run[i].positions);
		const float *k = (void *)((char *)view + run[i].code[CKV_VIEW_K]);
		const float *v = (void *)((char *)view + run[i].code[CKV_VIEW_V]);

		ck_assert_uint_gt(run[i].n_kept, 0);
		ck_assert_uint_eq(run[i].code[CKV_VIEW_K] % 64, 0);
		for (uint32_t n = 0; n < run[i].n_kept; n++) {
			ck_assert_uint_lt(pos[n], 90);
			ck_assert(n == 0 || pos[n - 1] < pos[n]);
			ck_assert_mem_eq(k + n * 8, element(i / 2, false, i % 2,
							    pos[n], 0), 32);
			ck_assert_mem_eq(v + n * 4, element(i / 2, true, i % 2,
							    pos[n], 0), 16);
		}
	}
	if (_i == 1)	/* layer 1 takes layer 0's set */
		ck_assert_uint_eq(run[2].positions,
				  run[0].positions);
	if (_i == 2)
		ck_assert_uint_eq(run[0].n_kept, 90);
	compress_free(&c);
	free(view);
}
END_TEST

/* A number that is no number is found and said, wherever it is. */
START_TEST(nan_is_named_by_layer_head_and_token)
{
	struct method m;
	struct compress c;

	ck_assert_int_eq(parse("chunkkv(keep=1/4)", &m), 0);
	c = request(&m, 90);
	*element(2, false, 1, 37, 5) = NAN;
	ck_assert_int_eq(compress_select(&c, why), -EDOM);
	ck_assert_str_eq(why, "layer 2: a key is NaN or infinite: kv head 1, "
			 "token 37, element 5");
	compress_free(&c);
	c = request(&m, 90);
	queries[(1 * 4 + 3) * 32 * 8] = INFINITY;
	ck_assert_int_eq(compress_select(&c, why), -EDOM);
	ck_assert_str_eq(why, "layer 1: a query is NaN or infinite: query head 3, "
			 "window row 0, element 0");
	compress_free(&c);
}
END_TEST

/* What does not fit together is refused before any work. */
START_TEST(requests_that_do_not_fit_are_refused)
{
	struct ckv_geometry f8 = geometry;
	struct method m;
	struct compress c;

	ck_assert_int_eq(parse("chunkkv(keep=1/4)", &m), 0);
	c = request(&m, 90);
	inputs = (struct inputs){ .n_window = 0 };
	ck_assert_int_eq(compress_check(&c, why), -EINVAL);
	ck_assert_str_eq(why, "this needs the queries of the last 32 tokens, and "
			 "none came");
	c = request(&m, 90);
	f8.dtype = CKV_DTYPE_F8_E4M3;
	c.geometry = &f8;
	ck_assert_int_eq(compress_check(&c, why), -EINVAL);
	/* Shorter than the window: the newest are kept, without queries. */
	c = request(&m, 20);
	inputs = (struct inputs){ .n_window = 0 };
	ck_assert_int_eq(compress_check(&c, why), 0);
	ck_assert_int_eq(compress_select(&c, why), 0);
	ck_assert_uint_eq(c.layer[0].n, 5);
	compress_free(&c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("shell_method");
	TCase *t = tcase_create("method");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(t, equal_methods_have_one_text, 0,
			    (int)(sizeof right / sizeof right[0]));
	tcase_add_test(t, removed_is_rounded_once);
	tcase_add_loop_test(t, a_wrong_method_is_told_what_was_expected, 0,
			    (int)(sizeof wrong / sizeof wrong[0]));
	tcase_add_test(t, a_method_without_an_end_is_refused);
	tcase_add_loop_test(t, a_view_holds_the_rows_of_its_positions, 0, 4);
	tcase_add_test(t, nan_is_named_by_layer_head_and_token);
	tcase_add_test(t, requests_that_do_not_fit_are_refused);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
