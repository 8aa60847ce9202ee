/* SPDX-License-Identifier: Apache-2.0 */
/*
 * methods.c - `ckv methods`: the compression methods, one of them, or a text judged.
 *
 * No daemon is asked: the library has the same table and the same parser.
 */
#include "client/ckv.h"
#include "client/cli/cli.h"
#include "client/cli/text.h"

#include <string.h>

#define INDENT "                 "

static const char *const stage_help[][2] = {
	{ "selection", "at most one: which tokens are kept" },
	{ "always", "after a selection: tokens that are kept in any case" },
	{ "encoding", "at most one: how the kept rows are stored" },
};

/* Parameters without a default are alternatives: one of them is given. */
static void list_params(uint32_t i)
{
	struct ckv_method_param param;
	const char *between = INDENT;

	for (uint32_t k = 0; ckv_method_get_param(i, k, &param) == 0; k++) {
		int required = param.init == NULL;

		printf("%s%s=%s", between, param.name,
		       required ? "" : param.init);
		between = required &&
			  ckv_method_get_param(i, k + 1, &param) == 0 &&
			  param.init == NULL ? " | " : ", ";
	}
	putchar('\n');
}

static void list_methods(void)
{
	struct ckv_method_entry entry;
	const char *stage = "";

	for (uint32_t i = 0; ckv_method_get(i, &entry) == 0; i++) {
		if (strcmp(stage, entry.stage) != 0)
			for (size_t s = 0; s < 3; s++)
				if (strcmp(stage_help[s][0], entry.stage) == 0)
					printf("%s%s, %s\n", i ? "\n" : "",
					       entry.stage, stage_help[s][1]);
		stage = entry.stage;
		printf("  %-13s  %s\n", entry.name, entry.help);
		list_params(i);
		printf(INDENT "needs %s%s%s\n", entry.needs,
		       *entry.paper ? "; " : "", entry.paper);
	}
	puts("\nStages are joined by +, in this order: "
	     "snapkv(keep=1/4) + always(sinks=4) + fp8");
}

static void show_method(uint32_t i, const struct ckv_method_entry *entry)
{
	static const char *const heads[] = {
		"PARAMETER", "DEFAULT", "EXPECTED", "MEANING",
	};
	struct ckv_method_param param;
	struct table t;

	printf("%s: %s\n\n  stage  %s\n  needs  %s\n", entry->name, entry->help,
	       entry->stage, entry->needs);
	if (*entry->paper)
		printf("  paper  %s\n", entry->paper);
	putchar('\n');
	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (uint32_t k = 0; ckv_method_get_param(i, k, &param) == 0; k++) {
		table_cell(&t, "%s", param.name);
		table_cell(&t, "%s", param.init ? param.init : "-");
		table_cell(&t, "%s", param.expected);
		table_cell(&t, "%s", param.help);
	}
	table_print(&t, stdout, 0, 0);
}

static json_t *method_json(uint32_t i, const struct ckv_method_entry *entry)
{
	json_t *params = json_array();
	struct ckv_method_param param;

	for (uint32_t k = 0; ckv_method_get_param(i, k, &param) == 0; k++)
		json_array_append_new(params, json_pack(
			"{s:s, s:s?, s:s, s:s}", "name", param.name, "default",
			param.init, "expected", param.expected, "help",
			param.help));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "name", entry->name,
			 "stage", entry->stage, "help", entry->help, "needs",
			 entry->needs, "paper", entry->paper, "parameters",
			 params);
}

static int show_all(const struct cli *cli)
{
	struct ckv_method_entry entry;
	json_t *json;

	if (!cli->json) {
		list_methods();
		return CLI_OK;
	}
	json = json_array();
	for (uint32_t i = 0; ckv_method_get(i, &entry) == 0; i++)
		json_array_append_new(json, method_json(i, &entry));
	return text_json(json);
}

static int judge(const struct cli *cli, const char *text)
{
	char canonical[CKV_METHOD_SIZE], reason[CKV_REASON_SIZE];

	if (ckv_method_check(text, canonical, reason) < 0)
		return cli_fail("%s", reason);
	if (cli->json)
		return text_json(json_pack("{s:s}", "method", canonical));
	puts(canonical);
	return CLI_OK;
}

int cmd_methods(const struct cli *cli)
{
	struct ckv_method_entry entry;

	if (cli->n_args == 0)
		return show_all(cli);
	for (uint32_t i = 0; ckv_method_get(i, &entry) == 0; i++) {
		if (strcmp(entry.name, cli->args[0]) != 0)
			continue;
		if (cli->json)
			return text_json(method_json(i, &entry));
		show_method(i, &entry);
		return CLI_OK;
	}
	return judge(cli, cli->args[0]);
}
