/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_manual.c - ckvd.conf.5 says what the daemon's table of keys says.
 */
#include "daemon/shell/config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define PAGE "daemon/ckvd.conf.5"

static char *page;

/* Tests run from the root of the source. */
static void setup(void)
{
	FILE *file = fopen(PAGE, "r");
	size_t bytes;

	ck_assert_ptr_nonnull(file);
	page = calloc(1, 1 << 18);
	bytes = fread(page, 1, (1 << 18) - 1, file);
	ck_assert_uint_gt(bytes, 0);
	fclose(file);
}

static void teardown(void)
{
	free(page);
}

/* A bound in the words that the daemon itself uses for the value. */
static void bound_text(const struct param *param, uint64_t value, char *text)
{
	struct param plain = *param;

	plain.offset = 0;
	param_text(&plain, &value, text);
}

/* The paragraph of one key, as the page must hold it. */
static void expected_text(const struct param *p, char *out, size_t bytes)
{
	char min[CONFIG_TEXT_BYTES], max[CONFIG_TEXT_BYTES], limits[600];
	char init[CONFIG_TEXT_BYTES];

	if (p->type == PARAM_FLAG || p->type == PARAM_CHOICE) {
		snprintf(limits, sizeof limits, "%s", p->unit);
	} else if (p->type == PARAM_TEXT) {
		snprintf(limits, sizeof limits, "%s, %llu to %llu letters",
			 p->unit, (unsigned long long)p->min,
			 (unsigned long long)p->max);
	} else {
		bound_text(p, p->min, min);
		bound_text(p, p->max, max);
		snprintf(limits, sizeof limits, "%s, %.200s to %.200s", p->unit,
			 min, max);
	}
	if (p->init == NULL)
		snprintf(init, sizeof init, "required");
	else if (strcmp(p->init, CONFIG_UNSET) == 0)
		snprintf(init, sizeof init, "unset by default");
	else
		snprintf(init, sizeof init, "default %s",
			 *p->init ? p->init : "empty");
	snprintf(out, bytes, ".It Cm %s\n%s.\n.Pp\n(%s; %s%s)\n", p->name,
		 p->help, limits, init, p->reloadable ? "; reloadable" : "");
}

static void check_table(const struct param *param)
{
	char text[2048];

	for (; param->name; param++) {
		expected_text(param, text, sizeof text);
		ck_assert_msg(strstr(page, text) != NULL,
			      PAGE " lacks or contradicts:\n%s", text);
	}
}

static unsigned count_rows(const struct param *param)
{
	unsigned n = 0;

	while (param[n].name)
		n++;
	return n;
}

/* Every key of [daemon] is in the page with its unit, limits and default. */
START_TEST(daemon_keys_are_documented)
{
	check_table(daemon_param);
}
END_TEST

/* Every key of [space NAME] too. */
START_TEST(space_keys_are_documented)
{
	check_table(space_param);
}
END_TEST

/* The page names no key that the daemon does not know. */
START_TEST(no_other_key_is_documented)
{
	unsigned n = 0;

	for (const char *at = page; (at = strstr(at, ".It Cm ")) != NULL; at++)
		n++;
	ck_assert_uint_eq(n, count_rows(daemon_param) +
			     count_rows(space_param));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("manual");
	TCase *all = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(all, setup, teardown);
	tcase_add_test(all, daemon_keys_are_documented);
	tcase_add_test(all, space_keys_are_documented);
	tcase_add_test(all, no_other_key_is_documented);
	suite_add_tcase(suite, all);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
