/*
 * test_shell_compress.c - the view that a method makes of pages.
 */
#include "daemon/shell/compress.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 6u

static char why[CKV_METHOD_WHY_BYTES];

static int parse(const char *text, struct ckv_method *ret)
{
	return ckv_method_parse(text, ret, why);
}

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

static struct compress request(const struct ckv_method *m, uint32_t n_tokens)
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
	struct ckv_method m;
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
	struct ckv_method m;
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
	struct ckv_method m;
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
	Suite *s = suite_create("shell_compress");
	TCase *t = tcase_create("views");
	SRunner *runner;
	int failed;

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
