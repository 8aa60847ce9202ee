/* SPDX-License-Identifier: Apache-2.0 */
/*
 * help.c - `ckv help` and `ckv version`.
 */
#include "client/cli/cli.h"
#include "client/cli/text.h"
#include "proto/ckv_abi.h"

#include <jansson.h>
#include <stdio.h>

int cmd_help(const struct cli *cli)
{
	const struct cli_command *command;

	if (cli->n_args == 1) {
		command = cli_find(cli->args[0]);
		if (command == NULL) {
			const char *near = cli_nearest(cli->args[0]);

			cli_fail("there is no command '%s'. %s%s%s", cli->args[0],
				 near ? "Did you mean '" : "'ckv help' lists them.",
				 near ? near : "", near ? "'?" : "");
			return CLI_USAGE;
		}
		cli_help(command);
		return CLI_OK;
	}
	puts("ckv - look into ckvd, the node-local KV cache daemon\n\n"
	     "usage: ckv COMMAND [options]\n");
	for (command = cli_commands; command->name; command++)
		printf("  %-8s %-12s %s\n", command->name, command->args,
		       command->summary);
	puts("\nEvery command takes --json, --socket PATH and --help.\n"
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
