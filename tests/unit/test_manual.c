/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_manual.c - the manual pages say what the daemon's tables say: ckvd.conf.5 every
 * key, ckv-security.7 each limit with its default, ckv-troubleshooting.7 counters that
 * exist.
 */
#include "daemon/shell/config.h"
#include "tests/lib/check_main.h"
#include "tests/lib/text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PAGE "daemon/ckvd.conf.5"
#define SECURITY "daemon/ckv-security.7"
#define TROUBLE "client/ckv-troubleshooting.7"

static char *page;

static void load(const char *path)
{
	free(page);
	page = text_of(path);
}

static void setup(void)
{
	load(PAGE);
}

static void teardown(void)
{
	free(page);
	page = NULL;
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

static const struct param *find(const struct param *param, const char *name)
{
	while (param->name && strcmp(param->name, name) != 0)
		param++;
	return param->name ? param : NULL;
}

/* ckv-security.7: each limit is a key, and its default is the daemon's. */
START_TEST(limits_have_their_defaults)
{
	char name[64], given[64], expected[CONFIG_TEXT_BYTES + 16];
	const struct param *p;
	const char *at, *end;
	unsigned n = 0;

	load(SECURITY);
	at = strstr(page, "\n.Sh LIMITS\n");
	ck_assert_ptr_nonnull(at);
	end = strstr(at + 1, "\n.Sh ");
	ck_assert_ptr_nonnull(end);
	while ((at = strstr(at, "\n.It Cm ")) != NULL && at < end) {
		ck_assert_int_eq(sscanf(at, "\n.It Cm %63s", name), 1);
		p = find(daemon_param, name);
		if (p == NULL)
			p = find(space_param, name);
		ck_assert_msg(p != NULL, SECURITY ": there is no key %s", name);
		snprintf(expected, sizeof expected, "%s%s",
			 strcmp(p->init, CONFIG_UNSET) ? "default " : "unset by default",
			 strcmp(p->init, CONFIG_UNSET) ? p->init : "");
		at = strstr(at, "\n.Pq ");
		ck_assert(at != NULL && sscanf(at, "\n.Pq %63[^\n]", given) == 1);
		ck_assert_msg(strcmp(given, expected) == 0, SECURITY ": %s is (%s), "
			      "not (%s)", name, expected, given);
		n++;
	}
	/* All that are named after a client, a user or a most. */
	for (p = daemon_param; p->name; p++)
		n -= strncmp(p->name, "max_", 4) == 0 && strcmp(p->name, "max_auto_jobs") != 0;
	for (p = space_param; p->name; p++)
		n -= strncmp(p->name, "max_", 4) == 0 || strncmp(p->name, "lent_", 5) == 0;
	ck_assert_uint_eq(n, 3);	/* and hello_timeout, work_per_turn, quota */
}
END_TEST

static bool is_counter(const char *name)
{
	static const char *const all[] = {
#define CKV_GLOBAL_STAT(name, kind, unit, help) #name,
#define CKV_SPACE_STAT(name, kind, unit, help) #name,
#include "proto/ckv_stats.def"
	};

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		if (strcmp(all[i], name) == 0)
			return true;
	return false;
}

static bool is_key(const char *name)
{
	return find(daemon_param, name) != NULL || find(space_param, name) != NULL;
}

/* The words after a macro, up to the next one or the end of its line: all are known. */
static unsigned check_words(const char *macro, bool (*is_known)(const char *name))
{
	char line[512], *word, *rest;
	unsigned n = 0;

	for (const char *at = page; (at = strstr(at, macro)) != NULL; at++) {
		if (sscanf(at + strlen(macro), "%511[^\n]", line) != 1)
			continue;
		for (word = strtok_r(line, " ,", &rest); word != NULL;
		     word = strtok_r(NULL, " ,", &rest)) {
			if (strspn(word, "abcdefghijklmnopqrstuvwxyz_") != strlen(word))
				break;
			ck_assert_msg(is_known(word), TROUBLE ": there is no %s", word);
			n++;
		}
	}
	return n;
}

/* ckv-troubleshooting.7 names counters and keys that there are. */
START_TEST(troubles_name_what_there_is)
{
	load(TROUBLE);
	ck_assert_uint_gt(check_words("Li ", is_counter), 20);
	ck_assert_uint_gt(check_words("Cm ", is_key), 20);
}
END_TEST

CHECK_MAIN("manual",
	CASE("all", .setup = setup, .teardown = teardown),
	TEST(daemon_keys_are_documented),
	TEST(space_keys_are_documented),
	TEST(no_other_key_is_documented),
	TEST(limits_have_their_defaults),
	TEST(troubles_name_what_there_is))
