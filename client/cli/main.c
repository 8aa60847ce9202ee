/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the ckv command: finds the command named and runs it.
 *
 * Nothing here talks to the daemon; each command does, in its own file.
 */
#include "client/cli/cli.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	const struct cli_command *command;
	struct cli cli;
	int r;

	if (argc < 2 || strcmp(argv[1], "--help") == 0 ||
	    strcmp(argv[1], "-h") == 0) {
		memset(&cli, 0, sizeof cli);
		return cmd_help(&cli);
	}
	command = cli_find(strcmp(argv[1], "--version") == 0 ? "version"
							      : argv[1]);
	if (command == NULL) {
		const char *near = cli_nearest(argv[1]);

		if (near != NULL)
			cli_fail("there is no command '%s'. Did you mean 'ckv %s'?",
				 argv[1], near);
		else
			cli_fail("there is no command '%s'. 'ckv help' lists them.",
				 argv[1]);
		return CLI_USAGE;
	}
	r = cli_parse(command, argc - 1, argv + 1, &cli);
	if (r < 0)
		return CLI_USAGE;
	if (r > 0)
		return CLI_OK;
	r = command->run(&cli);
	if (fflush(stdout) != 0 || ferror(stdout))
		return cli_fail("the output could not be written");
	return r;
}
