/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_methods.c - `ckv methods`: all of the table, as text and as JSON.
 */
#include "client/ckv.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"

#include <stdlib.h>
#include <string.h>

/* No daemon is there, and none is asked. */
static void setup(void)
{
	setenv("CKV_SOCKET", "/nonexistent/ckvd.sock", 1);
}

static void check_string(const json_t *object, const char *name, const char *want)
{
	const json_t *value = json_object_get(object, name);

	if (want == NULL)
		ck_assert_msg(json_is_null(value), "%s is not null", name);
	else
		ck_assert_str_eq(json_string_value(value), want);
}

static void check_method(const json_t *method, uint32_t i)
{
	const json_t *params = json_object_get(method, "parameters");
	struct ckv_method_entry entry;
	struct ckv_method_param param;

	ck_assert_int_eq(ckv_method_get(i, &entry), 0);
	check_string(method, "name", entry.name);
	check_string(method, "stage", entry.stage);
	check_string(method, "help", entry.help);
	check_string(method, "needs", entry.needs);
	check_string(method, "paper", entry.paper);
	ck_assert_uint_eq(json_object_size(method), 6);
	ck_assert_uint_eq(json_array_size(params), entry.n_params);
	for (uint32_t k = 0; ckv_method_get_param(i, k, &param) == 0; k++) {
		const json_t *p = json_array_get(params, k);

		check_string(p, "name", param.name);
		check_string(p, "default", param.init);
		check_string(p, "expected", param.expected);
		check_string(p, "help", param.help);
		ck_assert_uint_eq(json_object_size(p), 4);
	}
}

/* The JSON is the library's table: every row, every string, nothing else. */
START_TEST(json_is_the_table)
{
	json_t *all = ckv_json("methods"), *one;
	struct ckv_method_entry entry;
	uint32_t n = 0;

	ck_assert(json_is_array(all));
	for (; ckv_method_get(n, &entry) == 0; n++) {
		char args[64];

		check_method(json_array_get(all, n), n);
		snprintf(args, sizeof args, "methods %s", entry.name);
		one = ckv_json(args);
		check_method(one, n);
		json_decref(one);
	}
	ck_assert_uint_eq(json_array_size(all), n);
	json_decref(all);
}
END_TEST

/* The list has each method with its parameters and defaults, its needs, its paper. */
START_TEST(the_list_is_complete)
{
	struct ckv_method_entry entry;
	struct ckv_method_param param;
	const char *at;

	ckv("methods");
	ck_assert_int_eq(said.rc, 0);
	at = said.out;
	for (uint32_t i = 0; ckv_method_get(i, &entry) == 0; i++) {
		char text[256];

		snprintf(text, sizeof text, "\n  %-13s  %s\n", entry.name,
			 entry.help);
		at = strstr(at, text);
		ck_assert_msg(at != NULL, "no %s", entry.name);
		for (uint32_t k = 0; ckv_method_get_param(i, k, &param) == 0; k++) {
			snprintf(text, sizeof text, "%s=%s", param.name,
				 param.init ? param.init : "");
			at = strstr(at, text);
			ck_assert_msg(at != NULL, "%s: no %s", entry.name, text);
		}
		snprintf(text, sizeof text, "needs %s%s%s\n", entry.needs,
			 *entry.paper ? "; " : "", entry.paper);
		at = strstr(at, text);
		ck_assert_msg(at != NULL, "%s: no %s", entry.name, text);
		at--;
	}
	ck_assert_ptr_nonnull(strstr(said.out, "keep= | tokens= | bytes=, chunk=16"));
}
END_TEST

/* One method is shown with what each of its parameters takes. */
START_TEST(a_method_is_explained)
{
	ckv("methods l2norm");
	ck_assert_int_eq(said.rc, 0);
	ck_assert_ptr_nonnull(strstr(said.out, "l2norm: the keys of the smallest"));
	ck_assert_ptr_nonnull(strstr(said.out, "paper  arXiv 2406.11430"));
	ck_assert_ptr_nonnull(strstr(said.out, "skip         none     layers 0 to "
					       "63 such as 0/1 or 0-1, or none"));
}
END_TEST

/* Any other argument is judged as a text. */
START_TEST(a_text_is_judged)
{
	json_t *json;

	ckv("methods tova(keep=0.50)+int8");
	ck_assert_int_eq(said.rc, 0);
	ck_assert_str_eq(said.out,
			 "tova(keep=1/2) + kivi(bits=8, group=64, full=0)\n");
	json = ckv_json("methods tova(keep=0.50)");
	check_string(json, "method", "tova(keep=1/2)");
	json_decref(json);
	ckv("methods tova(keep=2)");
	ck_assert_int_eq(said.rc, 1);
	ck_assert_str_eq(said.out, "");
	ck_assert_str_eq(said.err, "ckv: tova: keep=2: expected a fraction such as "
				   "1/4 or 0.25, above 0, at most 1\n");
}
END_TEST

CHECK_MAIN("cli_methods",
	CASE("all", .setup = setup),
	TEST(json_is_the_table),
	TEST(the_list_is_complete),
	TEST(a_method_is_explained),
	TEST(a_text_is_judged))
