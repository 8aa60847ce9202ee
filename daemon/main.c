/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - arguments, then the daemon.
 *
 * Exit status: 0 a clean stop (or --check found nothing), 1 it could not start
 * (or --check found why) or broke, 2 wrong arguments.
 */
#include "daemon/shell/budget.h"
#include "daemon/shell/config.h"
#include "daemon/shell/daemon.h"
#include "daemon/shell/log.h"
#include "daemon/shell/replay.h"
#include "proto/ckv_text.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#define DEFAULT_CONFIG "/etc/ckv/ckvd.conf"
#define LINE_BYTES 8192		/* the longest complaint: a path, a line, what was expected */

static const char usage[] =
	"usage: ckvd [--config FILE]\n"
	"       ckvd --check [--json] [--config FILE]\n"
	"       ckvd --replay TRACE [--policy NAME|all] [--blocks N]\n"
	"            [--fraction LIST] [--json]\n"
	"       ckvd --help | -h | --version\n"
	"\n"
	"Serve a key-value cache to the inference processes of this machine.\n"
	"\n"
	"  --config FILE   configuration (default " DEFAULT_CONFIG ")\n"
	"  --check         judge it as a start would, print every number, exit\n"
	"  --json          print JSON\n"
	"  --replay TRACE  run a trace through the policies and print hit ratios\n"
	"\n"
	"SIGTERM and SIGINT stop, SIGHUP reads the configuration again.\n"
	"\n"
	"Keys of the configuration, with default and limits:\n"
	"\n";

/* `context` keeps the first. */
static void say(void *context, const char *text)
{
	char line[LINE_BYTES], *first = context;

	/* Values of the file are in it. */
	ckv_text_line(line, sizeof line, text);
	fprintf(stderr, "ckvd: %s\n", line);
	if (*first == 0)
		memcpy(first, line, sizeof line);
}

static int check(struct config *config, bool json)
{
	struct budget_given given = {
		.memory = { .free_bytes = MACHINE_UNKNOWN },
	};
	struct budget budget;
	int r;

	log_setup(LOG_WARNING);
	r = daemon_check(config, &given);
	budget_count(config, &budget);
	if (json) {
		fputc('{', stdout);
		config_print_json(config, stdout);
		fputs(", ", stdout);
		budget_print_json(config, &budget, &given, stdout);
		fputs("}\n", stdout);
	} else {
		config_print(config, stdout);
		budget_print(config, &budget, &given, stdout);
	}
	return r == 0 && fflush(stdout) == 0 ? 0 : 1;
}

static int serve(struct config *config, const char *path)
{
	struct daemon *d;
	int r;

	log_setup((enum log_level)config->daemon.log_level);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* then it is an error of the call */
	umask(0077);
	r = daemon_start(config, path, &d);
	if (r < 0) {
		sd_notifyf(0, "STATUS=start failed: %s\nERRNO=%d", strerror(-r),
			   -r);
		config_free(config);
		return 1;
	}
	sd_notifyf(0, "READY=1\nSTATUS=serving %u spaces", config->n_spaces);
	r = reactor_run(d);
	sd_notify(0, "STOPPING=1");
	daemon_destroy(d);
	return r < 0 ? 1 : 0;
}

static int run(const char *path, bool only_check, bool json)
{
	char first[LINE_BYTES] = "", text[LINE_BYTES];
	const struct config_complaint complaint = { say, first };
	struct config *config;
	int r = config_read(path, &complaint, &config);

	if (r < 0) {
		snprintf(text, sizeof text, "%s: %s%s", path, strerror(-r),
			 r == -ENOENT ? "; --config FILE reads another, and "
			 "ckvd.conf(5) has an example" : "");
		if (*first == 0)
			say(first, text);
		if (json)
			config_print_error(first, 1, stdout);
		return 1;
	}
	if (!only_check)
		return serve(config, path);
	r = check(config, json);
	config_free(config);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, 'k' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	const char *path = DEFAULT_CONFIG;
	static char replay[] = "--replay";
	bool only_check = false, json = false;
	int c;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--replay") == 0) {
			memmove(argv + 2, argv + 1, (size_t)(i - 1) * sizeof *argv);
			argv[1] = replay;
			return replay_main(argc - 1, argv + 1);
		}
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			if (*optarg == 0) {
				fputs("ckvd: --config is empty; it must be a path\n",
				      stderr);
				return 2;
			}
			path = optarg;
			break;
		case 'k':
			only_check = true;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			config_help(stdout);
			return 0;
		case 'v':
			puts("ckvd " CKV_VERSION);
			return 0;
		default:
			fputs("Try ckvd --help.\n", stderr);
			return 2;
		}
	}
	if (optind < argc || (json && !only_check)) {
		fprintf(stderr, "ckvd: unexpected %s\nTry ckvd --help.\n",
			optind < argc ? argv[optind] : "--json");
		return 2;
	}
	return run(path, only_check, json);
}
