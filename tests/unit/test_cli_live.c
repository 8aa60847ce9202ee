/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_live.c - the ckv command itself, against a daemon and its clients.
 */
#include "client/ckv.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#define SPACES								\
	TEST_SPACE_TINY							\
	"[space closed]\nmodel = tiny\nlayers = 2\nkv_heads = 2\n"	\
	"head_dim = 32\ndtype = f32\npool = 4M\n"			\
	"allow_read = root\nallow_write = root\n"

static struct test_daemon daemon_;
static void setup(void)
{
	test_daemon_start(&daemon_, "socket_mode = 0666\n", SPACES);
	chmod(daemon_.dir, 0755);
	setenv("CKV_SOCKET", daemon_.socket, 1);
	run_as = 0;
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
}

/*
 * A client: one chain of three published and pinned blocks, one page lent. Says so
 * through `ready` and lives until it is killed.
 */
static void be_client(int ready)
{
	uint8_t keys[4][CKV_KEY_SIZE] = { { 1 }, { 2 }, { 3 }, { 4 } };
	struct ckv_handle handles[3];
	struct ckv_page pages[4];
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct ckv_pin pin;
	struct ckv *c;

	if (ckv_open(NULL, "holder\033[2J", &c) < 0 ||
	    ckv_attach(c, "tiny", NULL, CKV_WRITE, &space) < 0 ||
	    ckv_lane_open(space, NULL, &lane) < 0 ||
	    ckv_reserve(lane, NULL, keys[0], 4, pages) != 4 ||
	    ckv_publish(lane, pages, 3, 16, CKV_SUM, NULL, NULL, NULL) != 3 ||
	    ckv_lookup(lane, keys[0], 3, 0, handles, &pin) != 3)
		_exit(1);
	if (write(ready, "y", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static pid_t start_client(void)
{
	int ends[2];
	char letter = 0;
	pid_t pid;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0)
		be_client(ends[1]);
	close(ends[1]);
	ck_assert_int_eq(read(ends[0], &letter, 1), 1);
	close(ends[0]);
	return pid;
}

/* Pins are counted by the daemon's tick. */
static json_t *client_row(pid_t pid, long pins)
{
	for (int i = 0; i < 300; i++) {
		json_t *all = ckv_json("clients"), *row, *found = NULL;
		size_t n;

		json_array_foreach(all, n, row)
			if (number(row, "pid") == pid &&
			    number(row, "pins") == pins)
				found = json_incref(row);
		json_decref(all);
		if (found)
			return found;
		usleep(10000);
	}
	ck_abort_msg("client %d with %ld pins is not listed", pid, pins);
}

static json_t *tiny_stats(json_t *status)
{
	return json_object_get(json_array_get(
		json_object_get(status, "spaces"), 0), "stats");
}

/* Every command that shows something answers, as text and as JSON. */
START_TEST(every_command_answers)
{
	static const char *const commands[] = {
		"status", "status --all", "top --once --interval 0.1", "spaces",
		"clients", "blocks tiny", "blocks tiny --list --limit 2",
		"views tiny", "methods", "methods chunkkv", "methods fp8(full=3)",
		"doctor", "version", "bench tiny --count 200",
	};

	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		ckv(commands[i]);
		ck_assert_msg(said.rc == 0 && *said.out && !*said.err,
			      "%s: %d %s", commands[i], said.rc, said.err);
		json_decref(ckv_json(commands[i]));
	}
}
END_TEST

/* A client and its blocks are seen from outside: lanes, pins, lent pages, chain. */
START_TEST(a_client_and_its_blocks_are_shown)
{
	pid_t pid = start_client();
	json_t *row = client_row(pid, 1), *blocks, *first;

	ck_assert_int_eq(number(row, "lanes"), 1);
	ck_assert_int_eq(number(row, "pages_lent"), 1);
	ck_assert_str_eq(json_string_value(json_object_get(row, "state")),
			 "attached");
	ck_assert_str_eq(json_string_value(json_object_get(row, "name")),
			 "holder?[2J");
	json_decref(row);
	blocks = ckv_json("blocks tiny --list");
	ck_assert_int_eq(number(blocks, "n_blocks"), 3);
	ck_assert_int_eq(number(blocks, "n_tokens"), 48);
	ck_assert_int_eq(number(blocks, "n_summed"), 3);
	ck_assert_int_eq(number(blocks, "longest_chain"), 3);
	ck_assert_int_eq(number(blocks, "slots_taken"), 4);
	first = json_object_get(blocks, "blocks");
	ck_assert_uint_eq(json_array_size(first), 3);
	json_decref(blocks);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
END_TEST

/* A stopped client is shown as such; kick ends it and its claims go. */
START_TEST(kick_ends_a_stopped_client)
{
	char command[64];
	pid_t pid = start_client();
	json_t *row, *status;
	int how;

	kill(pid, SIGSTOP);
	waitpid(pid, &how, WUNTRACED);
	row = client_row(pid, 1);
	ck_assert_str_eq(json_string_value(json_object_get(row, "state")),
			 "stopped");
	json_decref(row);
	snprintf(command, sizeof command, "kick %d", pid);
	row = ckv_json(command);
	ck_assert_int_eq(number(row, "lanes"), 1);
	ck_assert_int_eq(number(row, "pages_taken_back"), 1);
	json_decref(row);
	ck_assert_int_eq(waitpid(pid, &how, 0), pid);
	ck_assert(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
	status = ckv_json("status");
	ck_assert_int_eq(number(tiny_stats(status), "pages_lent"), 0);
	ck_assert_int_eq(number(tiny_stats(status), "blocks"), 3);
	json_decref(status);
}
END_TEST

/* Kick refuses who is no client, who does not exist, and what is no number. */
START_TEST(kick_refuses_strangers)
{
	char command[64];

	snprintf(command, sizeof command, "kick %d", getpid());
	ckv(command);
	ck_assert_int_eq(said.rc, 1);
	ck_assert_ptr_nonnull(strstr(said.err, "is not a client of this daemon"));
	ckv("kick 1073741000");
	ck_assert_int_eq(said.rc, 1);
	ck_assert_ptr_nonnull(strstr(said.err, "there is no process"));
	ckv("kick 12x");
	ck_assert_int_eq(said.rc, 2);
	ckv("kick -1");
	ck_assert_int_eq(said.rc, 2);
}
END_TEST

/* Another user may look but not kick, and sees no counters of a closed space. */
START_TEST(another_user_may_look_but_not_kick)
{
	char command[64];
	pid_t pid;

	if (geteuid() != 0)
		return;
	pid = start_client();
	run_as = 65534;
	snprintf(command, sizeof command, "kick %d", pid);
	ckv(command);
	ck_assert_int_eq(said.rc, 1);
	ck_assert_ptr_nonnull(strstr(said.err, "belongs to another user"));
	ckv("status");
	ck_assert_int_eq(said.rc, 0);
	ck_assert_ptr_nonnull(strstr(said.out, "closed: counters not shown"));
	ckv("blocks closed");
	ck_assert_int_eq(said.rc, 1);
	ck_assert_ptr_nonnull(strstr(said.err, "closed"));
	ck_assert_int_eq(kill(pid, 0), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
END_TEST

static long n_died(void)
{
	json_t *status = ckv_json("status");
	long n = number(json_object_get(status, "global"), "clients_died");

	json_decref(status);
	return n;
}

/* Opens a lane, closes in the right way, and ends at once. */
static void come_and_go(void)
{
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct ckv *c;
	pid_t pid = fork();

	if (pid == 0) {
		if (ckv_open(NULL, "passer", &c) < 0 ||
		    ckv_attach(c, "tiny", NULL, CKV_READ, &space) < 0 ||
		    ckv_lane_open(space, NULL, &lane) < 0)
			_exit(1);
		_exit(ckv_close(c) != NULL);
	}
	waitpid(pid, &said.rc, 0);
	ck_assert_int_eq(said.rc, 0);
}

/* Clients that close, and commands that end, are no deaths; a killed client is one. */
START_TEST(only_what_dies_is_counted_as_dead)
{
	pid_t pid;

	for (int i = 0; i < 50; i++) {
		come_and_go();
		ckv(i % 10 ? "spaces" : "top --once --interval 0.1");
		ck_assert_int_eq(said.rc, 0);
	}
	ck_assert_int_eq(n_died(), 0);
	pid = start_client();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 300 && n_died() == 0; i++)
		usleep(10000);
	ck_assert_int_eq(n_died(), 1);
}
END_TEST

/* bench measures and leaves nothing behind. */
START_TEST(bench_leaves_nothing_behind)
{
	json_t *json = ckv_json("bench tiny --count 500"), *row;

	row = json_object_get(json, "lookup_pin_unpin");
	ck_assert(json_real_value(json_object_get(row, "p50_ns")) > 0);
	/* Of 500 samples five are above a 99th percentile: it is not told. */
	ck_assert(json_is_null(json_object_get(row, "p99_ns")));
	json_decref(json);
	json = ckv_json("bench tiny --count 4000");
	row = json_object_get(json, "reserve_publish");
	ck_assert_int_ge(number(row, "samples"), 1000);
	ck_assert(json_real_value(json_object_get(row, "p99_ns")) > 0);
	json_decref(json);
	json = ckv_json("status");
	ck_assert_int_eq(number(tiny_stats(json), "blocks"), 0);
	ck_assert_int_eq(number(tiny_stats(json), "pages_lent"), 0);
	json_decref(json);
}
END_TEST

/* replay finds the daemon beside ckv and hands it the arguments. */
START_TEST(replay_runs_the_daemons_core)
{
	char path[128], command[256];
	json_t *json;
	FILE *file;

	snprintf(path, sizeof path, "%s/conf", daemon_.dir);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs("{\"hash_ids\": [1, 2, 3]}\n{\"hash_ids\": [1, 2, 4]}\n", file);
	fclose(file);
	snprintf(command, sizeof command, "replay %s --policy lru", path);
	json = ckv_json(command);
	ck_assert(json_is_object(json));
	json_decref(json);
}
END_TEST

/* What a command says that fails, with --json. */
static json_t *ckv_json_error(const char *args)
{
	char all[256];
	json_t *json;

	snprintf(all, sizeof all, "--json %s", args);
	ckv(all);
	json = json_loads(said.out, 0, NULL);
	ck_assert_msg(json != NULL, "%s: %s", all, said.out);
	return json;
}

/* What is asked wrongly is answered with what would be right, and code 2. */
START_TEST(mistakes_are_explained)
{
	static const struct {
		const char *args, *text;
		int rc;
	} wrong[] = {
		{ "statsu", "Did you mean 'ckv status'?", 2 },
		{ "frobnicate", "'ckv help' lists them", 2 },
		{ "foo", "there is no command 'foo'. 'ckv help' lists them", 2 },
		{ "help foo", "there is no command 'foo'. 'ckv help' lists them", 2 },
		{ "help statsu", "Did you mean 'ckv status'?", 2 },
		{ "--socket", "a value is missing after '--socket'", 2 },
		{ "--all status", "--all stands behind its command: 'ckv status'", 2 },
		{ "-q status", "there is no option '-q'", 2 },
		{ "status --josn", "there is no option '--josn'. Did you mean --json?", 2 },
		{ "status --json=5", "--json takes no value", 2 },
		{ "status --list", "ckv status does not take --list; 'ckv blocks' may", 2 },
		{ "status --limit 3", "'ckv blocks' and 'ckv views' may", 2 },
		{ "blocks tiny --limit 3", "'ckv blocks tiny --list --limit 3'", 2 },
		{ "blocks tiny --list --limit 3x", "--limit is '3x'", 2 },
		{ "views tiny --drop 12345678 --limit 3", "--limit is for the list", 2 },
		{ "top --interval 0x2", "--interval is '0x2'", 2 },
		{ "bench tiny --count 1e3", "--count is '1e3'", 2 },
		{ "status --socket=", "--socket is ''; it must be a path", 2 },
		{ "doctor --config=", "--config is ''; it must be a path", 2 },
		{ "replay t --ckvd=", "--ckvd is ''; it must be a path", 2 },
		{ "replay t --socket", "a value is missing after '--socket'", 2 },
		{ "status now", "does not take 'now'", 2 },
		{ "blocks", "needs SPACE", 2 },
		{ "blocks tyni", "There is: tiny, closed", 1 },
		{ "bench tyni", "There is: tiny, closed", 1 },
		{ "views", "needs SPACE", 2 },
		{ "methods snapvk", "did you mean snapkv?", 1 },
		{ "methods fp8(ful=3)", "fp8 has no ful; did you mean full?", 1 },
		{ "blocks tiny --limit none", "--limit is 'none'", 2 },
		{ "top --interval 0", "--interval is '0'", 2 },
		{ "status --socket", "a value is missing after '--socket'", 2 },
		{ "status --socket /tmp/ckv-none/s", "no daemon at", 1 },
		{ "replay", "needs a trace", 2 },
		{ "replay t --ckvd /nonexistent/ckvd", "cannot be run", 1 },
	};

	json_t *json, *all;

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		ckv(wrong[i].args);
		ck_assert_msg(said.rc == wrong[i].rc, "%s: %d", wrong[i].args,
			      said.rc);
		ck_assert_msg(strstr(said.err, wrong[i].text) != NULL, "%s: %s",
			      wrong[i].args, said.err);
		/* Who wants JSON gets it also then. */
		if (strstr(wrong[i].args, "--json") == NULL)
			ck_assert_str_eq(said.out, "");
		json = json_object_get(all = ckv_json_error(wrong[i].args), "error");
		ck_assert_int_eq(number(json, "exit_status"), wrong[i].rc);
		ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(
			json, "text")), wrong[i].text));
		json_decref(all);
	}
}
END_TEST

/* Options of all commands stand before the command or behind it. */
START_TEST(options_may_come_first)
{
	static const char *const same[][2] = {
		{ "--json version", "version --json" },
		{ "--version --json", "version --json" },
		{ "--help", "help" }, { "", "help" }, { "-h", "help" },
		{ "--help top", "top --help" }, { "help top", "top --help" },
		{ "--json help top", "help top --json" },
		{ "--json help", "help --json" },
		{ "--socket /tmp/ckv-none/s --json methods fp8", "methods --json fp8" },
		{ "--json --socket=/tmp/ckv-none/s status",
		  "status --json --socket /tmp/ckv-none/s" },
	};
	static struct command_said first;

	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
		ckv(same[i][0]);
		first = said;
		ckv(same[i][1]);
		ck_assert_msg(first.rc == said.rc && *said.out &&
			      strcmp(first.out, said.out) == 0 &&
			      strcmp(first.err, said.err) == 0, "%s: %s%s",
			      same[i][0], first.out, first.err);
	}
}
END_TEST

/* Each command explains itself, and alone ckv lists them all. */
START_TEST(help_is_complete)
{
	static const char *const commands[] = {
		"status", "top", "spaces", "clients", "blocks", "views", "methods",
		"kick", "doctor", "bench", "replay", "version", "help",
	};

	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		char args[64];

		ckv("");
		ck_assert_int_eq(said.rc, 0);
		ck_assert_ptr_nonnull(strstr(said.out, commands[i]));
		snprintf(args, sizeof args, "%s --help", commands[i]);
		ckv(args);
		ck_assert_int_eq(said.rc, 0);
		snprintf(args, sizeof args, "  ckv %s", commands[i]);
		ck_assert_msg(strstr(said.out, args) != NULL,
			      "%s has no example", commands[i]);
	}
}
END_TEST

/* The options that a command's help lists are in the manual page. */
static void check_options(const char *page, const char *help)
{
	for (const char *at = help; (at = strstr(at, "\n  --")) != NULL;) {
		char name[32], item[40];

		at += 5;
		ck_assert_int_eq(sscanf(at, "%31[a-z-]", name), 1);
		snprintf(item, sizeof item, "Fl -%s", name);
		ck_assert_msg(strstr(page, item) != NULL,
			      "ckv.1 lacks the option -%s", name);
	}
}

/* ckv.1 has every command, every option, and an example of each command. */
START_TEST(the_manual_page_is_complete)
{
	static char page[1 << 16], list[1 << 14];
	char text[64], name[32], *line, *rest = list;
	FILE *file = fopen("client/ckv.1", "r");
	int n = 0;

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_gt(fread(page, 1, sizeof page - 1, file), 0);
	fclose(file);
	ckv("help");
	strcpy(list, strchr(said.out, ':') + 1);
	while ((line = strtok_r(rest, "\n", &rest)) != NULL) {
		if (sscanf(line, "  %31[a-z] ", name) != 1 ||
		    strncmp(line, "  ", 2) != 0 || line[2] == ' ')
			continue;
		n++;
		snprintf(text, sizeof text, ".It Cm %s", name);
		ck_assert_msg(strstr(page, text) != NULL, "no %s", name);
		snprintf(text, sizeof text, ".Dl $ ckv %s", name);
		ck_assert_msg(strstr(page, text) != NULL, "no example of %s",
			      name);
		snprintf(text, sizeof text, "help %s", name);
		ckv(text);
		check_options(page, said.out);
	}
	ck_assert_int_eq(n, 13);
}
END_TEST

/* Read what a terminal program writes until `text` was seen, or three seconds. */
static bool see(int pty, char *all, size_t room, const char *text)
{
	struct pollfd p = { .fd = pty, .events = POLLIN };

	while (strstr(all, text) == NULL) {
		size_t have = strlen(all);
		ssize_t n;

		if (have + 1 >= room || poll(&p, 1, 3000) <= 0)
			return false;
		n = read(pty, all + have, room - have - 1);
		if (n <= 0)
			return false;
		all[have + (size_t)n] = 0;
	}
	return true;
}

/* `ckv top` on a terminal of 60 x 12, ended by a key or a signal. */
static void check_top(int signal_no)
{
	struct winsize size = { .ws_row = 12, .ws_col = 60 };
	struct termios before, after;
	static char all[1 << 16];
	int terminal, slave, status;
	pid_t pid;

	ck_assert_int_eq(openpty(&terminal, &slave, NULL, NULL, &size), 0);
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	memset(all, 0, sizeof all);
	pid = fork();
	if (pid == 0) {
		login_tty(dup(slave));
		execl(ckv_path(), "ckv", "top", "--interval", "0.1", NULL);
		_exit(127);
	}
	ck_assert(see(terminal, all, sizeof all, "q quits"));
	ck_assert(see(terminal, all, sizeof all, "SPACE"));
	/* Wider: the columns that did not fit appear. */
	ck_assert_ptr_null(strstr(all, "BAD SUMS"));
	size.ws_col = 140;
	ioctl(terminal, TIOCSWINSZ, &size);
	ck_assert(see(terminal, all, sizeof all, "BAD SUMS"));
	if (signal_no)
		kill(pid, signal_no);
	else
		ck_assert_int_eq(write(terminal, "q", 1), 1);
	ck_assert(see(terminal, all, sizeof all, "\033[?25h\033[?1049l"));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (signal_no)
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == signal_no);
	else
		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_int_eq(tcgetattr(slave, &after), 0);
	ck_assert_int_eq(before.c_lflag, after.c_lflag);
	ck_assert_mem_eq(before.c_cc, after.c_cc, sizeof before.c_cc);
	close(terminal);
	close(slave);
}

/* top fits its window, and gives the terminal back after 'q'. */
START_TEST(top_restores_the_terminal_after_q)
{
	check_top(0);
}
END_TEST

/* ... and after a signal, which it then dies of. */
START_TEST(top_restores_the_terminal_after_a_signal)
{
	check_top(SIGTERM);
	check_top(SIGINT);
}
END_TEST

CHECK_MAIN("cli_live",
	CASE("all", .setup = setup, .teardown = teardown),
	TEST(every_command_answers),
	TEST(a_client_and_its_blocks_are_shown),
	TEST(kick_ends_a_stopped_client),
	TEST(kick_refuses_strangers),
	TEST(another_user_may_look_but_not_kick),
	TEST(only_what_dies_is_counted_as_dead),
	TEST(bench_leaves_nothing_behind),
	TEST(replay_runs_the_daemons_core),
	TEST(mistakes_are_explained),
	TEST(options_may_come_first),
	TEST(help_is_complete),
	TEST(the_manual_page_is_complete),
	TEST(top_restores_the_terminal_after_q),
	TEST(top_restores_the_terminal_after_a_signal))
