/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - the options of all commands in one table, parsed and explained.
 *
 * A command names its own options by letter; every command has --json,
 * --socket and --help. A '*' first in a command's letters means that what is not
 * known here is passed on to another program.
 */
#include "client/cli/cli.h"
#include "kernels/nearest.h"
#include "proto/ckv_attach.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_option {
	char	    letter;
	const char *name;
	const char *value;	/* NULL: none */
	const char *help;
} options[] = {
	{ 'a', "all", NULL, "every counter, with its unit and meaning" },
	{ 'c', "config", "FILE", "the daemon's configuration (default\n"
	  "                      /etc/ckv/ckvd.conf)" },
	{ 'd', "ckvd", "PATH", "the daemon program to run" },
	{ 'n', "count", "N", "how many times each thing is timed (default 10000)" },
	{ 'x', "drop", "KEY", "forget one: the first 8 digits of its key, or more" },
	{ 'f', "force", NULL, "run even if other blocks are evicted for it" },
	{ 'i', "interval", "SECONDS", "time between two frames, 0.1 to 3600 (default 2)" },
	{ 'L', "list", NULL, "one line per block" },
	{ 'l', "limit", "N", "list at most N" },
	{ '1', "once", NULL, "print one frame and end" },
	{ 'j', "json", NULL, "the answer as JSON" },
	{ 's', "socket", "PATH", "the daemon's socket (default $CKV_SOCKET, else\n"
	  "                      " CKV_DEFAULT_SOCKET ")" },
	{ 'h', "help", NULL, "this text" },
};
#define N_OPTIONS (sizeof options / sizeof options[0])
#define COMMON "jsh"

static bool command_takes(const struct cli_command *command, char letter)
{
	return strchr(COMMON, letter) || strchr(command->options, letter);
}

void cli_help(const struct cli_command *command)
{
	printf("usage: ckv %s%s%s [options]\n\n%s\n\n%s\noptions:\n",
	       command->name, *command->args ? " " : "", command->args,
	       command->summary, command->help);
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct cli_option *o = &options[i];
		char left[40];

		if (!command_takes(command, o->letter))
			continue;
		snprintf(left, sizeof left, "--%s%s%s", o->name,
			 o->value ? " " : "", o->value ? o->value : "");
		printf("  %-19s %s\n", left, o->help);
	}
}

static int bad_value(const char *name, const char *value, const char *want)
{
	cli_fail("--%s is '%s'; it must be %s", name, value, want);
	return -EINVAL;
}

static int parse_count(const char *name, const char *value, uint64_t *ret)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (errno || *end || *value < '0' || *value > '9' || n < 1 ||
	    n > 1000000000)
		return bad_value(name, value, "a number from 1 to 1000000000");
	*ret = n;
	return 0;
}

static int parse_interval(const char *value, double *ret)
{
	char *end;
	double s = strtod(value, &end);

	/* strtod() also knows hexadecimal, exponents, blanks and signs. */
	if (*end || end == value || value[strspn(value, "0123456789.")] ||
	    s < 0.1 || s > 3600)
		return bad_value("interval", value,
				 "a number of seconds from 0.1 to 3600");
	*ret = s;
	return 0;
}

static int parse_path(const char *name, const char *value, const char **ret)
{
	if (*value == 0)
		return bad_value(name, value, "a path");
	*ret = value;
	return 0;
}

static int take(struct cli *cli, char letter, const char *value)
{
	switch (letter) {
	case 'a': cli->all = true; return 0;
	case 'c': return parse_path("config", value, &cli->config);
	case 'd': return parse_path("ckvd", value, &cli->ckvd);
	case 'f': cli->force = true; return 0;
	case 'x': cli->drop = value; return 0;
	case 'i': return parse_interval(value, &cli->interval_s);
	case 'j': cli->json = true; return 0;
	case 'L': cli->list = true; return 0;
	case 'l': return parse_count("limit", value, &cli->limit);
	case 'n': return parse_count("count", value, &cli->count);
	case '1': cli->once = true; return 0;
	case 's': return parse_path("socket", value, &cli->socket);
	default:  return -EINVAL;
	}
}

/* "status", "blocks and views": the commands that take an option. */
static void list_takers(char *out, size_t bytes, char letter)
{
	const char *between = "";
	size_t n = 0;

	*out = 0;
	for (const struct cli_command *c = cli_commands; c->name; c++) {
		if (!strchr(c->options, letter) || n >= bytes)
			continue;
		n += (size_t)snprintf(out + n, bytes - n, "%s'ckv %s'", between,
				      c->name);
		between = " and ";
	}
}

static const char *nearest_option(const char *name)
{
	const char *nearest = NULL;
	unsigned best = 3;

	for (size_t i = 0; i < N_OPTIONS; i++) {
		unsigned d = ckv_name_distance(name, options[i].name);

		if (d < best) {
			best = d;
			nearest = options[i].name;
		}
	}
	return nearest;
}

/* What is wrong with the word at which getopt stopped; NULL: before any command. */
static int bad_option(const struct cli_command *command, int letter,
		      const char *word)
{
	const char *name = command ? command->name : "";
	const char *blank = command ? " " : "";
	char takers[100], single[] = "-?";
	const char *near;
	size_t length = strcspn(word, "=");

	if (letter == ':') {
		cli_fail("a value is missing after '%s'. 'ckv%s%s --help' lists the "
			 "options.", word, blank, name);
		return -EINVAL;
	}
	if (strncmp(word, "--", 2) != 0) {
		single[1] = (char)optopt;
		word = single;
		length = 2;
	}
	for (size_t i = 0; i < N_OPTIONS && length > 2; i++) {
		const struct cli_option *o = &options[i];

		if (strlen(o->name) != length - 2 ||
		    strncmp(o->name, word + 2, length - 2) != 0)
			continue;
		list_takers(takers, sizeof takers, o->letter);
		if (optopt == o->letter)
			cli_fail("--%s takes no value", o->name);
		else
			cli_fail(command ? "ckv %s does not take --%s; %s may" :
				 "%s--%s stands behind its command: %s may have it",
				 command ? command->name : "", o->name, takers);
		return -EINVAL;
	}
	near = length > 2 ? nearest_option(word + 2) : NULL;
	cli_fail("there is no option '%s'.%s%s%s 'ckv%s%s --help' lists the "
		 "options.", word, near ? " Did you mean --" : "",
		 near ? near : "", near ? "?" : "", blank, name);
	return -EINVAL;
}

int cli_command_first(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "socket", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	static char version[] = "version", help[] = "help";
	char *command = NULL;
	int letter, at;

	optind = 0;
	opterr = 0;
	while (command == NULL &&
	       (letter = getopt_long(argc, argv, "+:h", longs, NULL)) != -1) {
		if (letter == '?' || letter == ':')
			return bad_option(NULL, letter, argv[optind - 1]);
		if (letter == 'V')
			command = version;
		if (letter == 'h' && optind == argc)
			command = help;
	}
	at = command ? optind - 1 : optind;
	if (at == argc) {
		cli_fail("a command is missing. 'ckv help' lists them.");
		return -EINVAL;
	}
	if (command == NULL)
		command = argv[at];
	memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof *argv);
	argv[1] = command;
	return 0;
}

/* Is argv[*i] this option, as "--name value" or "--name=value"? -EINVAL: without one. */
static int takes_value(const char *name, int argc, char **argv, int *i,
		       const char **ret)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) != 0 ||
	    (argv[*i][n] != 0 && argv[*i][n] != '='))
		return 0;
	if (argv[*i][n] == '=')
		return parse_path(name + 2, argv[*i] + n + 1, ret) < 0 ? -EINVAL : 1;
	if (*i + 1 == argc) {
		cli_fail("a value is missing after '%s'", name);
		return -EINVAL;
	}
	return parse_path(name + 2, argv[++*i], ret) < 0 ? -EINVAL : 1;
}

/*
 * Pass-through commands: --ckvd, --socket (which is of no use there) and --help are
 * ours, all else is handed on, moved together in argv itself.
 */
static int parse_raw(const struct cli_command *command, int argc, char **argv,
		     struct cli *cli)
{
	int r;

	cli->args = argv + 1;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			cli_help(command);
			return 1;
		}
		r = takes_value("--ckvd", argc, argv, &i, &cli->ckvd);
		if (r == 0)
			r = takes_value("--socket", argc, argv, &i, &cli->socket);
		if (r < 0)
			return r;
		if (r == 0)
			cli->args[cli->n_args++] = argv[i];
	}
	return 0;
}

static int check_args(const struct cli_command *command, const struct cli *cli)
{
	if (cli->n_args < command->min_args) {
		cli_fail("ckv %s needs %s. 'ckv %s --help' explains it.",
			 command->name, command->args, command->name);
		return -EINVAL;
	}
	if (command->max_args >= 0 && cli->n_args > command->max_args) {
		cli_fail("ckv %s does not take '%s'. 'ckv %s --help' explains it.",
			 command->name, cli->args[command->max_args],
			 command->name);
		return -EINVAL;
	}
	/* Of a METHOD the library says it, and what a method looks like. */
	for (int i = 0; i < cli->n_args && command->run != cmd_methods; i++)
		if (*cli->args[i] == 0) {
			cli_fail("%s is empty. 'ckv %s --help' explains it.",
				 command->args, command->name);
			return -EINVAL;
		}
	return 0;
}

int cli_parse(const struct cli_command *command, int argc, char **argv,
	      struct cli *ret)
{
	struct option longs[N_OPTIONS + 1] = { { NULL, 0, NULL, 0 } };
	const char *socket = getenv("CKV_SOCKET");
	struct cli cli = {
		.socket = socket && *socket ? socket : CKV_DEFAULT_SOCKET,
		.interval_s = 2,
	};
	int letter, r, n = 0;

	for (size_t i = 0; i < N_OPTIONS; i++)
		if (command_takes(command, options[i].letter))
			longs[n++] = (struct option){ options[i].name,
				options[i].value != NULL, NULL,
				options[i].letter };
	optind = 0;
	opterr = 0;
	while (command->options[0] != '*' &&
	       (letter = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (letter == 'h') {
			cli_help(command);
			return 1;
		}
		if (letter == '?' || letter == ':') {
			return bad_option(command, letter, argv[optind - 1]);
		}
		r = take(&cli, (char)letter, optarg);
		if (r < 0)
			return r;
	}
	if (command->options[0] == '*') {
		r = parse_raw(command, argc, argv, &cli);
		if (r != 0)
			return r;
	} else {
		cli.n_args = argc - optind;
		cli.args = argv + optind;
	}
	r = check_args(command, &cli);
	if (r < 0)
		return r;
	*ret = cli;
	return 0;
}
