/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_method_manual.c - ckv-methods.7 says what the table of methods says.
 */
#include "client/ckv.h"
#include "tests/lib/check_main.h"
#include "tests/lib/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE "client/ckv-methods.7"

static char *page;

static void setup(void)
{
	page = text_of(PAGE);
}

static void teardown(void)
{
	free(page);
}

/* The part of the page that begins with a heading, up to the next of its kind. */
static char *section(const char *heading)
{
	const char *at = strstr(page, heading), *end, *next;

	ck_assert_msg(at != NULL, PAGE " lacks %s", heading);
	at += strlen(heading);
	end = strstr(at, "\n.Sh ");
	next = strstr(at, "\n.Ss ");
	if (end == NULL || (next != NULL && next < end))
		end = next;
	return strndup(at, end == NULL ? strlen(at) : (size_t)(end - at) + 1);
}

static void check_param(const struct ckv_method_param *p, const char *text)
{
	char want[1024];

	snprintf(want, sizeof want, ".It Cm %s\n%s.\n.Pp\n(%s%s%s)\n", p->name,
		 p->help, p->expected, p->init ? "; default " : "",
		 p->init ? p->init : "");
	ck_assert_msg(strstr(text, want) != NULL,
		      PAGE " lacks or contradicts:\n%s", want);
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)) != NULL; text++)
		n++;
	return n;
}

/* Each method has its section: what it does, needs, its paper, its parameters, no other. */
START_TEST(each_method_is_documented)
{
	struct ckv_method_entry entry;
	struct ckv_method_param param;
	char heading[64], want[512], *text, *budget = section("\n.Sh BUDGET\n");
	unsigned n = 0;

	ck_assert_int_eq(ckv_method_get((uint32_t)_i, &entry), 0);
	snprintf(heading, sizeof heading, "\n.Ss %s\n", entry.name);
	text = section(heading);
	snprintf(want, sizeof want, "%c%s.\nNeeds %s%s%s.\n",
		 toupper((unsigned char)entry.help[0]), entry.help + 1,
		 entry.needs, *entry.paper ? "; " : "", entry.paper);
	ck_assert_msg(strncmp(text, want, strlen(want)) == 0,
		      "%s does not begin with:\n%s", entry.name, want);
	for (uint32_t k = 0; k < entry.n_params; k++) {
		ck_assert_int_eq(ckv_method_get_param((uint32_t)_i, k, &param), 0);
		check_param(&param, param.init ? text : budget);
		n += param.init != NULL;
	}
	ck_assert_uint_eq(count(text, ".It Cm "), n);
	ck_assert_uint_eq(count(budget, ".It Cm "), 3);
	ck_assert_int_eq(ckv_method_get_param((uint32_t)_i, entry.n_params, &param),
			 -ENOENT);
	free(text);
	free(budget);
}
END_TEST

static uint32_t n_methods(void)
{
	struct ckv_method_entry entry;
	uint32_t n = 0;

	while (ckv_method_get(n, &entry) == 0)
		n++;
	return n;
}

/* The page names no method that the library does not know. */
START_TEST(no_other_method_is_documented)
{
	ck_assert_uint_eq(count(page, "\n.Ss "), n_methods());
}
END_TEST

/* Every method that the page shows is one, and means what it says. */
START_TEST(examples_are_methods)
{
	static const char *const text[] = {
		"chunkkv(keep=1/4, chunk=16, window=32, reuse=2) + kivi(bits=4, group=64)",
		"snapkv(bytes=1/8) + always(sinks=4) + kivi(bits=auto, full=32)",
		"fp8(scale=head)",
		"tova(keep=0.25) + always(ranges=0-15/64-79) + int8",
	};
	char canonical[CKV_METHOD_SIZE], reason[CKV_REASON_SIZE];

	for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
		ck_assert_msg(strstr(page, text[i]) != NULL, "no %s", text[i]);
		ck_assert_msg(ckv_method_check(text[i], canonical, reason) == 0,
			      "%s: %s", text[i], reason);
	}
	ck_assert_msg(strstr(page, canonical) != NULL, "no %s", canonical);
}
END_TEST

/* The library's judgement: a text or a reason, never both; neither is required. */
START_TEST(a_text_is_judged_without_a_daemon)
{
	char canonical[CKV_METHOD_SIZE] = "as before";
	char reason[CKV_REASON_SIZE] = "as before";

	ck_assert_int_eq(ckv_method_check("fp8(full=3)", canonical, reason), 0);
	ck_assert_str_eq(canonical, "fp8(scale=head, full=3)");
	ck_assert_str_eq(reason, "as before");
	ck_assert_int_eq(ckv_method_check("fp9", canonical, reason), -EINVAL);
	ck_assert_str_eq(canonical, "fp8(scale=head, full=3)");
	ck_assert_str_eq(reason, "there is no method fp9; did you mean fp8?");
	ck_assert_int_eq(ckv_method_check("fp8", NULL, NULL), 0);
	ck_assert_int_eq(ckv_method_check("fp9", NULL, NULL), -EINVAL);
}
END_TEST

CHECK_MAIN("method_manual",
	CASE("all", .setup = setup, .teardown = teardown),
	LOOP(each_method_is_documented, n_methods()),
	TEST(no_other_method_is_documented),
	TEST(examples_are_methods),
	TEST(a_text_is_judged_without_a_daemon))
