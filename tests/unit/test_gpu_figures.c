/* SPDX-License-Identifier: Apache-2.0 */
/* test_gpu_figures.c - what gpu-check says of a case that it timed, or only ran. */
#include "tests/gpu/figures.h"
#include "tests/lib/check_main.h"

#include <string.h>

static struct bench_result result = {
	.name = "norms", .bytes = 2e9,
	.times = { .us = 12.5, .us_min = 12, .us_max = 14, .n = 32, .empty_us = 1.5 },
	.gb_s = 160, .copy_gb_s = 200, .share = 0.8,
};

static const struct {
	double share, us;
	const char *json, *line;
} targets[] = {
	{ 0, 0, "0.8}", " 80.0 % of copy\n" },
	{ 0.8, 0, "0.8, \"target_share\": 0.8, \"met\": true}", "copy  target met\n" },
	{ 0.9, 0, "0.8, \"target_share\": 0.9, \"met\": false}", "copy  target MISSED\n" },
	{ 0, 12.5, "0.8, \"target_us\": 12.5, \"met\": true}", "copy  target met\n" },
	{ 0, 12, "0.8, \"target_us\": 12.0, \"met\": false}", "copy  target MISSED\n" },
};

/* What both say of it. */
static void say(char json[512], char line[512])
{
	json_t *o = figures_json(&result);
	FILE *out = fmemopen(line, 512, "w");
	size_t n = json_dumpb(o, json, 511, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));

	json[n] = 0;
	figures_print(&result, out);
	fclose(out);
	json_decref(o);
}

START_TEST(what_was_timed_has_figures)
{
	static const char begin[] = "{\"bytes\": 2000000000, \"us\": 12.5, \"us_min\": 12.0, "
		"\"us_max\": 14.0, \"runs\": 32, \"empty_us\": 1.5, \"gb_s\": 160.0, "
		"\"copy_gb_s\": 200.0, \"share_of_copy\": ";
	char json[512], line[512];

	result.target_share = targets[_i].share;
	result.target_us = targets[_i].us;
	say(json, line);
	ck_assert_int_eq(strncmp(json, begin, strlen(begin)), 0);
	ck_assert_str_eq(json + strlen(begin), targets[_i].json);
	ck_assert_ptr_nonnull(strstr(line, "norms"));
	ck_assert_ptr_nonnull(strstr(line, "12.5 us (12.0 to 14.0)      160 GB/s"));
	ck_assert_ptr_nonnull(strstr(line, targets[_i].line));
}
END_TEST

/* Nor whether a target was met. */
START_TEST(what_was_emulated_has_none)
{
	char json[512], line[512];

	result.emulated = true;
	result.target_share = 0.1;
	say(json, line);
	ck_assert_str_eq(json, "{\"emulated\": true, \"runs\": 32}");
	ck_assert_ptr_nonnull(strstr(line, "ran 32 times on an emulated device"));
	ck_assert_ptr_null(strstr(line, "us"));
}
END_TEST

CHECK_MAIN("gpu_figures",
	CASE("figures"),
	EACH(what_was_timed_has_figures, targets),
	TEST(what_was_emulated_has_none))
