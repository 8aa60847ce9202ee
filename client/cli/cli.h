/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what the files of the ckv command share: options, errors, memory.
 *
 * A command is a function that prints its answer to stdout and returns the exit
 * code: 0 done, 1 it could not be done (said on stderr), 2 it was asked wrongly.
 */
#ifndef CKV_CLI_H
#define CKV_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli {
	const char *socket;	/* where the daemon listens */
	const char *ckvd;	/* --ckvd, NULL: to be found */
	const char *config;	/* of the daemon, NULL: where it is by default */
	bool	    json;
	bool	    all;
	bool	    force;
	bool	    list;
	bool	    once;
	double	    interval_s;
	const char *drop;	/* the beginning of a key, or NULL */
	uint64_t    count;	/* 0: the command's own default */
	uint64_t    limit;	/* 0: no limit */
	int	    n_args;
	char	  **args;	/* what is left beside the options */
};

struct cli_command {
	const char *name;
	const char *args;	/* as printed: "SPACE", "" */
	const char *options;	/* letters of its own options, see options.c */
	int	    min_args, max_args;
	const char *summary;	/* one line */
	const char *help;	/* what it shows, then examples */
	int	  (*run)(const struct cli *cli);
};

extern const struct cli_command cli_commands[]; /* ends with a NULL name */

int cmd_status(const struct cli *cli);
int cmd_top(const struct cli *cli);
int cmd_spaces(const struct cli *cli);
int cmd_clients(const struct cli *cli);
int cmd_blocks(const struct cli *cli);
int cmd_views(const struct cli *cli);
int cmd_methods(const struct cli *cli);
int cmd_kick(const struct cli *cli);
int cmd_doctor(const struct cli *cli);
int cmd_bench(const struct cli *cli);
int cmd_replay(const struct cli *cli);
int cmd_version(const struct cli *cli);
int cmd_help(const struct cli *cli);

/* Print "ckv: ..." on stderr. Returns CLI_FAILED, for the caller to return. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Whoever asked for JSON gets one document in any case: the answer, or what cli_fail()
 * said first as {"error": ...}, printed by cli_end(), which returns `rc`.
 */
void cli_as_json(void);
void cli_answered(void);
int cli_end(int rc);

/* The daemon program: as given, else beside this one, else to be looked for in $PATH. */
const char *cli_ckvd(const struct cli *cli, char *out, size_t bytes);

/* Zeroed memory for n objects. Ends the program with a message when there is none. */
void *cli_alloc(size_t n, size_t bytes);

/* The command called `name`; NULL if none. */
const struct cli_command *cli_find(const char *name);

/* Say that there is no such command, and which was meant. */
void cli_no_command(const char *name);

/*
 * Move the options that stand before the command behind it: those of all commands may,
 * --version is a command itself. 0; -EINVAL after saying what is wrong.
 */
int cli_command_first(int argc, char **argv);

/*
 * Fill *ret from a command's arguments. 0; -EINVAL after saying what is wrong;
 * 1 when help was asked for and printed.
 */
int cli_parse(const struct cli_command *command, int argc, char **argv,
	      struct cli *ret);

/* How to call a command, its options and examples, to stdout. */
void cli_help(const struct cli_command *command);

#endif
