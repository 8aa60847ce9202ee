/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - `ckv replay`: becomes `ckvd --replay`, the daemon's core fed from a file.
 */
#include "client/cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ckvd beside this program or in ../sbin; "ckvd" to look in $PATH. */
const char *cli_ckvd(const struct cli *cli, char *out, size_t bytes)
{
	static const char *const places[] = { "ckvd", "../sbin/ckvd" };
	ssize_t n = readlink("/proc/self/exe", out, bytes - 1);
	char *slash;
	size_t room;

	if (cli->ckvd != NULL)
		return cli->ckvd;
	if (n <= 0)
		return "ckvd";
	out[n] = '\0';
	slash = strrchr(out, '/');
	if (slash == NULL)
		return "ckvd";
	room = bytes - (size_t)(slash + 1 - out);
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		snprintf(slash + 1, room, "%s", places[i]);
		if (access(out, X_OK) == 0)
			return out;
	}
	return "ckvd";
}

int cmd_replay(const struct cli *cli)
{
	char path[PATH_MAX];
	const char *ckvd = cli_ckvd(cli, path, sizeof path);
	char **argv, name[] = "ckvd", replay[] = "--replay";
	int n_words = 0;

	for (int i = 0; i < cli->n_args; i++)
		n_words += cli->args[i][0] != '-';
	if (n_words == 0) {
		cli_fail("ckv replay needs a trace. 'ckv replay --help' explains it.");
		return CLI_USAGE;
	}
	argv = cli_alloc((size_t)cli->n_args + 3, sizeof *argv);
	argv[0] = name;
	argv[1] = replay;
	memcpy(argv + 2, cli->args, (size_t)cli->n_args * sizeof *argv);
	fflush(stdout);
	execvp(ckvd, argv);
	free(argv);
	return cli_fail("%s cannot be run: %s. --ckvd PATH says where it is.", ckvd,
			strerror(errno));
}
