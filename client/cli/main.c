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
	static char help[] = "help";
	static char *alone[] = { NULL, help, NULL };
	const struct cli_command *command;
	struct cli cli;
	int r;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--json") == 0)
			cli_as_json();
	if (argc < 2) {
		argc = 2;
		argv = alone;
	}
	if (cli_command_first(argc, argv) < 0)
		return cli_end(CLI_USAGE);
	command = cli_find(argv[1]);
	if (command == NULL) {
		cli_no_command(argv[1]);
		return cli_end(CLI_USAGE);
	}
	r = cli_parse(command, argc - 1, argv + 1, &cli);
	if (r < 0)
		return cli_end(CLI_USAGE);
	if (r > 0)
		return CLI_OK;
	r = cli_end(command->run(&cli));
	if (fflush(stdout) != 0 || ferror(stdout))
		return cli_fail("the output could not be written");
	return r;
}
