/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_live.c - the ckv command itself, against a daemon and its clients.
 */
#include "client/ckv.h"
#include "client/cli/text.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/daemon.h"
#include "tests/lib/wait.h"

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

static struct test_daemon daemon_;

static void setup(void)
{
	ckv_daemon_start(&daemon_);
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
	/* For people: one is one, and nothing is a dash, not -1. */
	ckv("status");
	ck_assert_ptr_nonnull(strstr(said.out, "1 client, 1 lane, "));
	ck_assert_ptr_nonnull(strstr(said.out, "huge pages; a restart loses what is in "));
	ckv("blocks tiny");
	ck_assert_ptr_nonnull(strstr(said.out, "1 root, 1 chain end, longest chain 3 blocks"));
	ckv("blocks tiny --list");
	ck_assert_ptr_null(strstr(said.out, "-1"));
	ckv("blocks empty");
	ck_assert_ptr_nonnull(strstr(said.out, "0 blocks, 0 tokens, 0 views; "));
	ckv("blocks empty --list");
	ck_assert_ptr_nonnull(strstr(said.out, "(no blocks)"));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
END_TEST

/* A stopped client is shown as such; kick ends it and its claims go. */
START_TEST(kick_ends_a_stopped_client)
{
	char command[64];
	pid_t pid = start_client();
	json_t *row;
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
	ck_assert_int_eq(space_counter("pages_lent"), 0);
	ck_assert_int_eq(space_counter("blocks"), 3);
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

	if (!CHECK_IS_ROOT())
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
	WAIT_UNTIL(n_died() > 0);
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
	ck_assert_int_eq(space_counter("blocks"), 0);
	ck_assert_int_eq(space_counter("pages_lent"), 0);
}
END_TEST

/* What an error means is not said twice; what the library says beyond it is. */
START_TEST(an_error_is_told_once)
{
	uint8_t key[CKV_KEY_SIZE] = { 9 };
	struct ckv_view_info info;
	struct ckv_space *space;
	struct ckv_lane *lane;
	char text[TEXT_ERROR];
	struct ckv *c;

	ck_assert_int_eq(ckv_open(NULL, "test", &c), 0);
	ck_assert_int_eq(ckv_attach(c, "tiny", NULL, CKV_WRITE, &space), 0);
	ck_assert_int_eq(ckv_lane_open(space, NULL, &lane), 0);
	ck_assert_int_eq(ckv_lookup(lane, key, 1, 8, NULL, NULL), -EINVAL);
	ck_assert_str_eq(text_error(text, c, -EINVAL), ckv_strerror(-EINVAL));
	ck_assert_int_eq(ckv_compress(lane, key, "magic", NULL, &info), -EINVAL);
	text_error(text, c, -EINVAL);
	ck_assert_ptr_nonnull(strstr(text, ckv_strerror(-EINVAL)));
	ck_assert_ptr_nonnull(strstr(text, ": "));
	ck_assert_ptr_nonnull(strstr(text, "magic"));
	ckv_close(c);
}
END_TEST

static bool bench_has_a_lane(void)
{
	json_t *clients = ckv_json("clients"), *client;
	bool has = false;
	size_t i;

	json_array_foreach(clients, i, client)
		has = has || (number(client, "lanes") > 0 && strcmp(json_string_value(
			      json_object_get(client, "name")), "ckv bench") == 0);
	json_decref(clients);
	return has;
}

/* A daemon that does not answer is told of as that, though it dies afterwards. */
START_TEST(bench_tells_of_the_first_failure)
{
	char path[128], text[1024];
	int status;
	pid_t pid;
	FILE *file;

	snprintf(path, sizeof path, "%s/said", daemon_.dir);
	pid = fork();
	if (pid == 0) {
		if (freopen(path, "w", stderr) != NULL)
			execl(ckv_path(), "ckv", "bench", "tiny", "--count", "20000000",
			      NULL);
		_exit(99);
	}
	WAIT_UNTIL(bench_has_a_lane());
	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	kill(daemon_.pid, SIGCONT);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	file = fopen(path, "r");
	ck_assert_ptr_nonnull(file);
	text[fread(text, 1, sizeof text - 1, file)] = 0;
	fclose(file);
	ck_assert_str_eq(text, "ckv: a request without work failed: nothing came in "
			 "time\n");
}
END_TEST

/* replay finds the daemon beside ckv and hands it the arguments. */
START_TEST(replay_runs_the_daemons_core)
{
	static const char trace[] = "{\"hash_ids\": [1, 2, 3]}\n"
				    "{\"hash_ids\": [1, 2, 4]}\n";
	char command[256];
	json_t *json;

	folder_write(daemon_.dir, "trace", trace, sizeof trace - 1);
	snprintf(command, sizeof command, "replay %s/trace --policy lru", daemon_.dir);
	json = ckv_json(command);
	ck_assert(json_is_object(json));
	json_decref(json);
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

/* `ckv top --once` for more than two seconds on a terminal. The caller closes it. */
static pid_t count_on_terminal(const char *option, int *ret_terminal)
{
	int slave;
	pid_t pid;

	ck_assert_int_eq(openpty(ret_terminal, &slave, NULL, NULL, NULL), 0);
	pid = fork();
	if (pid == 0) {
		dup2(slave, 1);
		dup2(slave, 2);
		execl(ckv_path(), "ckv", "top", "--once", "--interval", "2.5", option, NULL);
		_exit(127);
	}
	close(slave);
	return pid;
}

/* What takes longer than two seconds says how far it is, on a terminal, to people. */
START_TEST(long_commands_show_progress_on_a_terminal)
{
	static char all[2][1 << 16];
	int terminal[2], status;
	pid_t pid[2];

	for (int json = 0; json < 2; json++)
		pid[json] = count_on_terminal(json ? "--json" : NULL, &terminal[json]);
	ckv("top --once --interval 2.5");
	ck_assert_str_eq(said.err, "");
	for (int json = 0; json < 2; json++) {
		ck_assert(see(terminal[json], all[json], sizeof all[json],
			      json ? "}" : "SPACE"));
		ck_assert_int_eq(waitpid(pid[json], &status, 0), pid[json]);
		ck_assert_int_eq(status, 0);
		close(terminal[json]);
	}
	ck_assert_ptr_nonnull(strstr(all[0], "counting: "));
	ck_assert_ptr_null(strstr(all[1], "counting: "));
	/* Gone before the answer. */
	ck_assert_ptr_nonnull(strstr(all[0], "\r\033[Kckvd"));
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
	TEST(bench_tells_of_the_first_failure),
	TEST(an_error_is_told_once),
	TEST(replay_runs_the_daemons_core),
	TEST(long_commands_show_progress_on_a_terminal),
	TEST(top_restores_the_terminal_after_q),
	TEST(top_restores_the_terminal_after_a_signal))
