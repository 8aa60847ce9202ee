/* SPDX-License-Identifier: Apache-2.0 */
/*
 * help.c - `ckv help` and `ckv version`.
 */
#include "client/cli/cli.h"
#include "client/cli/text.h"
#include "proto/ckv_abi.h"

#include <jansson.h>
#include <stdio.h>

static json_t *command_json(const struct cli_command *command)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "name", command->name, "arguments",
			 command->args, "summary", command->summary, "help",
			 command->help);
}

int cmd_help(const struct cli *cli)
{
	const struct cli_command *command;

	if (cli->n_args == 1) {
		command = cli_find(cli->args[0]);
		if (command == NULL) {
			cli_no_command(cli->args[0]);
			return CLI_USAGE;
		}
		if (cli->json)
			return text_json(command_json(command));
		cli_help(command);
		return CLI_OK;
	}
	if (cli->json) {
		json_t *all = json_array();

		for (command = cli_commands; command->name; command++)
			json_array_append_new(all, command_json(command));
		return text_json(all);
	}
	puts("ckv - look into ckvd, the node-local KV cache daemon\n\n"
	     "usage: ckv COMMAND [options]\n");
	for (command = cli_commands; command->name; command++)
		printf("  %-8s %-12s %s\n", command->name, command->args,
		       command->summary);
	puts("\nEvery command takes --json, --socket PATH and --help, before or behind it.\n"
	     "Start here:  ckv doctor     is this machine ready?\n"
	     "             ckv status     what does the daemon hold?");
	return CLI_OK;
}

int cmd_version(const struct cli *cli)
{
	if (cli->json)
		return text_json(json_pack("{s:s, s:i, s:i}", "version",
			CKV_VERSION, "protocol", CKV_PROTOCOL_VERSION,
			"layout", CKV_LAYOUT_VERSION));
	printf("ckv %s (protocol %u, layout %u)\n", CKV_VERSION,
	       CKV_PROTOCOL_VERSION, CKV_LAYOUT_VERSION);
	return CLI_OK;
}
