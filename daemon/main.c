/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - parse the command line, and run the daemon, or the keeper of one.
 *
 * Exit status: 0 a clean stop (or --check found nothing), 1 it could not start
 * (or --check found why) or broke, 2 wrong arguments, EX_CONFIG a file with which
 * no start succeeds, unless the cache of an earlier daemon would be lost with that.
 */
#include "daemon/keeper.h"
#include "daemon/shell/budget.h"
#include "daemon/shell/config.h"
#include "daemon/shell/daemon.h"
#include "daemon/shell/log.h"
#include "daemon/shell/reload.h"
#include "daemon/shell/replay.h"
#include "daemon/shell/sys.h"
#include "proto/ckv_text.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#define DEFAULT_CONFIG "/etc/ckv/ckvd.conf"
#define LINE_BYTES 8192		/* of a complaint: a path, a line of it, what was expected */
#define MEND_NS 2000000000u	/* between two looks at a wrong file */
#define NOTIFY_NS 10000000000u /* for a manager whose queue is full */

static const char usage[] =
	"usage: ckvd [--keeper] [--config FILE]\n"
	"       ckvd --check [--json] [--config FILE]\n"
	"       ckvd --reload [--config FILE]\n"
	"       ckvd --replay TRACE [--policy NAME|all] [--blocks N]\n"
	"            [--fraction LIST] [--json]\n"
	"       ckvd --help | -h | --version\n"
	"\n"
	"Serve a key-value cache to the inference processes of this machine.\n"
	"\n"
	"  --config FILE   configuration (default " DEFAULT_CONFIG ")\n"
	"  --keeper        run it as a child, start it again when it ends, and hold its\n"
	"                  memory meanwhile, as systemd does for the unit\n"
	"  --check         check it as a start would, print every number, exit\n"
	"  --json          print JSON\n"
	"  --reload        have the running daemon read it again; fails when it is wrong\n"
	"                  or something in it needs a restart\n"
	"  --replay TRACE  run a trace through the policies and print hit ratios\n"
	"\n"
	"SIGTERM and SIGINT stop, SIGHUP reads the configuration again.\n"
	"\n"
	"Keys of the configuration, with default and limits:\n"
	"\n";

enum task { TASK_SERVE, TASK_CHECK, TASK_RELOAD };

/* Log a complaint about the configuration; `context` keeps the first one. */
static void say(void *context, const char *text)
{
	char *first = context;

	log_line(LOG_ERROR, "%s", text);
	/* It contains values of the file, so escape it. */
	if (*first == 0)
		ckv_text_line(first, LINE_BYTES, text);
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
	return r == 0 ? 0 : 1;
}

static int serve(struct config *config, const char *path)
{
	char state[128];
	struct daemon *d;
	int r;

	log_setup((enum log_level)config->daemon.log_level);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* a write beyond RLIMIT_FSIZE then fails, -EFBIG */
	umask(0077);
	r = daemon_start(config, path, &d);
	if (r < 0) {
		snprintf(state, sizeof state, "STATUS=start failed: %s\nERRNO=%d",
			 strerror(-r), -r);
		(void)sys_notify(state, NOTIFY_NS);
		config_free(config);
		return 1;
	}
	snprintf(state, sizeof state, "READY=1\nSTATUS=serving %u spaces", config->n_spaces);
	d->ready_unsaid = sys_notify(state, NOTIFY_NS) < 0;
	r = reactor_run(d);
	(void)sys_notify("STOPPING=1", 0);
	daemon_destroy(d);
	return r < 0 ? 1 : 0;
}

/*
 * The exit status of a start with a wrong file. After EX_CONFIG a service manager tries no
 * more and gives back what it holds of an earlier daemon. While it holds something it shall
 * try again, as somebody may mend the file.
 */
static int refused(void)
{
	if (!sys_were_passed())
		return EX_CONFIG;
	log_line(LOG_ERROR, "what the last daemon held is kept meanwhile, and the start is "
		 "tried again: mend the file, or stop the service to give the cache up");
	sys_sleep_ns(MEND_NS);
	return 1;
}

static int run(const char *path, enum task task, bool json)
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
		return task == TASK_SERVE ? refused() : 1;
	}
	if (task == TASK_SERVE)
		return serve(config, path);
	r = task == TASK_CHECK ? check(config, json) :
	    reload_ask(config->daemon.socket) < 0;
	config_free(config);
	return r;
}

/* The exit status of what was to be read: `r`, unless it did not get out. */
static int written(int r)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return r;
	log_line(LOG_ERROR, "the output could not be written");
	return 1;
}

static int usage_error(const char *what)
{
	log_line(LOG_ERROR, "%s is not an argument, or needs a value. Try ckvd --help.",
		 what);
	return 2;
}

static int keep(char *argv0, char *config)
{
	static char option[] = "--config";
	char *child[] = { argv0, option, config, NULL };
	char path[KEEPER_PATH_BYTES];

	if (config == NULL)
		child[1] = NULL;
	return keeper_run(keeper_program(argv0, path), child);
}

static int together_error(const char *what)
{
	log_line(LOG_ERROR, "%s. Try ckvd --help.", what);
	return 2;
}

/* A task that the command line names: one at most. False: it names two, which is told. */
static bool choose(enum task *task, enum task named)
{
	if (*task == TASK_SERVE || *task == named) {
		*task = named;
		return true;
	}
	log_line(LOG_ERROR, "--check and --reload cannot be done at once. Try ckvd "
		 "--help.");
	return false;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "keeper", no_argument, NULL, 'p' },
		{ "check", no_argument, NULL, 'k' },
		{ "reload", no_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	char *path = NULL;
	static char replay[] = "--replay";
	enum task task = TASK_SERVE;
	bool json = false, keeper = false;
	int c;

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--replay") == 0) {
			memmove(argv + 2, argv + 1, (size_t)(i - 1) * sizeof *argv);
			argv[1] = replay;
			return written(replay_main(argc - 1, argv + 1));
		}
	log_setup(LOG_INFO);	/* until the configuration says what to log */
	opterr = 0;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			if (*optarg == 0) {
				log_line(LOG_ERROR, "--config is empty; it must be "
					 "a path");
				return 2;
			}
			path = optarg;
			break;
		case 'p':
			keeper = true;
			break;
		case 'k':
		case 'r':
			if (!choose(&task, c == 'k' ? TASK_CHECK : TASK_RELOAD))
				return 2;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			config_help(stdout);
			return written(0);
		case 'v':
			puts("ckvd " CKV_VERSION);
			return written(0);
		default:
			return usage_error(argv[optind - 1]);
		}
	}
	if (optind < argc)
		return usage_error(argv[optind]);
	if (json && task != TASK_CHECK)
		return together_error("--json goes with --check or --replay only");
	if (keeper && task != TASK_SERVE)
		return together_error(task == TASK_CHECK ?
				      "--keeper and --check cannot be done at once" :
				      "--keeper and --reload cannot be done at once");
	if (keeper)
		return keep(argv[0], path);
	return written(run(path != NULL ? path : DEFAULT_CONFIG, task, json));
}
