/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_words.c - what the ckv command understands, and what it says when it does not.
 */
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/daemon.h"
#include "tests/lib/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct test_daemon daemon_;

static void setup(void)
{
	ckv_daemon_start(&daemon_);
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
}

/* What a command says that fails, with --json. */
static json_t *ckv_json_error(const char *args)
{
	char all[256];
	json_t *json;

	snprintf(all, sizeof all, "--json %s", args);
	ckv(all);
	json = json_loads(said.out, 0, NULL);
	ck_assert_msg(json != NULL, "%s: %s", all, said.out);
	return json;
}

/* What is asked wrongly is answered with what would be right, and code 2. */
START_TEST(mistakes_are_explained)
{
	static const struct {
		const char *args, *text;
		int rc;
	} wrong[] = {
		{ "statsu", "Did you mean 'ckv status'?", 2 },
		{ "frobnicate", "'ckv help' lists them", 2 },
		{ "foo", "there is no command 'foo'. 'ckv help' lists them", 2 },
		{ "help foo", "there is no command 'foo'. 'ckv help' lists them", 2 },
		{ "help statsu", "Did you mean 'ckv status'?", 2 },
		{ "--socket", "a value is missing after '--socket'", 2 },
		{ "--all status", "--all stands behind its command: 'ckv status'", 2 },
		{ "-q status", "there is no option '-q'", 2 },
		{ "status --josn", "there is no option '--josn'. Did you mean --json?", 2 },
		{ "status --json=5", "--json takes no value", 2 },
		{ "status --list", "ckv status does not take --list; 'ckv blocks' may", 2 },
		{ "status --limit 3", "'ckv blocks' and 'ckv views' may", 2 },
		{ "blocks tiny --limit 3", "'ckv blocks tiny --list --limit 3'", 2 },
		{ "blocks tiny --list --limit 3x", "--limit is '3x'", 2 },
		{ "views tiny --drop 12345678 --limit 3", "--limit is for the list", 2 },
		{ "top --interval 0x2", "--interval is '0x2'", 2 },
		{ "bench tiny --count 1e3", "--count is '1e3'", 2 },
		{ "status --socket=", "--socket is ''; it must be a path", 2 },
		{ "doctor --config=", "--config is ''; it must be a path", 2 },
		{ "replay t --ckvd=", "--ckvd is ''; it must be a path", 2 },
		{ "replay t --socket", "a value is missing after '--socket'", 2 },
		{ "status now", "does not take 'now'", 2 },
		{ "blocks", "needs SPACE", 2 },
		{ "blocks tyni", "There is: tiny, closed", 1 },
		{ "bench tyni", "There is: tiny, closed", 1 },
		{ "views", "needs SPACE", 2 },
		{ "methods snapvk", "did you mean snapkv?", 1 },
		{ "methods fp8(ful=3)", "fp8 has no ful; did you mean full?", 1 },
		{ "blocks tiny --limit none", "--limit is 'none'", 2 },
		{ "top --interval 0", "--interval is '0'", 2 },
		{ "status --socket", "a value is missing after '--socket'", 2 },
		{ "status --socket /nonexistent/s", "no daemon at", 1 },
		{ "replay", "needs a trace", 2 },
		{ "replay t --ckvd /nonexistent/ckvd", "cannot be run", 1 },
	};

	json_t *json, *all;

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		ckv(wrong[i].args);
		ck_assert_msg(said.rc == wrong[i].rc, "%s: %d", wrong[i].args,
			      said.rc);
		ck_assert_msg(strstr(said.err, wrong[i].text) != NULL, "%s: %s",
			      wrong[i].args, said.err);
		/* Who wants JSON gets it also then. */
		if (strstr(wrong[i].args, "--json") == NULL)
			ck_assert_str_eq(said.out, "");
		json = json_object_get(all = ckv_json_error(wrong[i].args), "error");
		ck_assert_int_eq(number(json, "exit_status"), wrong[i].rc);
		ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(
			json, "text")), wrong[i].text));
		json_decref(all);
	}
}
END_TEST

/* Options of all commands stand before the command or behind it. */
START_TEST(options_may_come_first)
{
	static const char *const same[][2] = {
		{ "--json version", "version --json" },
		{ "--version --json", "version --json" },
		{ "--help", "help" }, { "", "help" }, { "-h", "help" },
		{ "--help top", "top --help" }, { "help top", "top --help" },
		{ "--json help top", "help top --json" },
		{ "--json help", "help --json" },
		{ "--socket /nonexistent/s --json methods fp8", "methods --json fp8" },
		{ "--json --socket=/nonexistent/s status",
		  "status --json --socket /nonexistent/s" },
	};
	static struct command_said first;

	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
		ckv(same[i][0]);
		first = said;
		ckv(same[i][1]);
		ck_assert_msg(first.rc == said.rc && *said.out &&
			      strcmp(first.out, said.out) == 0 &&
			      strcmp(first.err, said.err) == 0, "%s: %s%s",
			      same[i][0], first.out, first.err);
	}
}
END_TEST

/* Each command explains itself, and alone ckv lists them all. */
START_TEST(help_is_complete)
{
	static const char *const commands[] = {
		"status", "top", "spaces", "clients", "blocks", "views", "methods",
		"kick", "doctor", "bench", "replay", "version", "help",
	};

	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		char args[64];

		ckv("");
		ck_assert_int_eq(said.rc, 0);
		ck_assert_ptr_nonnull(strstr(said.out, commands[i]));
		snprintf(args, sizeof args, "%s --help", commands[i]);
		ckv(args);
		ck_assert_int_eq(said.rc, 0);
		snprintf(args, sizeof args, "  ckv %s", commands[i]);
		ck_assert_msg(strstr(said.out, args) != NULL,
			      "%s has no example", commands[i]);
	}
}
END_TEST

/* The options that a command's help lists are in the manual page. */
static void check_options(const char *page, const char *help)
{
	for (const char *at = help; (at = strstr(at, "\n  --")) != NULL;) {
		char name[32], item[40];

		at += 5;
		ck_assert_int_eq(sscanf(at, "%31[a-z-]", name), 1);
		snprintf(item, sizeof item, "Fl -%s", name);
		ck_assert_msg(strstr(page, item) != NULL,
			      "ckv.1 lacks the option -%s", name);
	}
}

/* ckv.1 has every command, every option, and an example of each command. */
START_TEST(the_manual_page_is_complete)
{
	static char list[1 << 14];
	char text[64], name[32], *line, *rest = list;
	char *page = text_of("client/ckv.1");
	int n = 0;

	ckv("help");
	strcpy(list, strchr(said.out, ':') + 1);
	while ((line = strtok_r(rest, "\n", &rest)) != NULL) {
		if (sscanf(line, "  %31[a-z] ", name) != 1 ||
		    strncmp(line, "  ", 2) != 0 || line[2] == ' ')
			continue;
		n++;
		snprintf(text, sizeof text, ".It Cm %s", name);
		ck_assert_msg(strstr(page, text) != NULL, "no %s", name);
		snprintf(text, sizeof text, ".Dl $ ckv %s", name);
		ck_assert_msg(strstr(page, text) != NULL, "no example of %s",
			      name);
		snprintf(text, sizeof text, "help %s", name);
		ckv(text);
		check_options(page, said.out);
	}
	ck_assert_int_eq(n, 13);
	free(page);
}
END_TEST

CHECK_MAIN("cli_words",
	CASE("words", .setup = setup, .teardown = teardown),
	TEST(mistakes_are_explained),
	TEST(options_may_come_first),
	TEST(help_is_complete),
	TEST(the_manual_page_is_complete))
