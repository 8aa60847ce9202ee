/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_reload.c - a reload that somebody waits for, and the priorities of what
 * ckvd says in a journal.
 */
#include "tests/lib/built.h"
#include "tests/lib/check_main.h"
#include "tests/lib/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_daemon daemon_;
static char said[1 << 14];	/* by the last ckvd that was run */
static const char *out_path;	/* where its standard output goes; NULL: there, too */

static void setup(void)
{
	test_daemon_start(&daemon_, "socket_mode = 0666\n", NULL);
	ck_assert_int_eq(chmod(daemon_.dir, 0711), 0);
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
}

static void write_config(const char *params, const char *spaces)
{
	FILE *out = fopen(daemon_.config, "w");

	fprintf(out, "[daemon]\nsocket = %s\nsocket_mode = 0666\n%s%s",
		daemon_.socket, params, spaces);
	fclose(out);
}

enum journal { NO_JOURNAL, JOURNAL, JOURNAL_ELSEWHERE };

static void exec_ckvd(int fd, enum journal journal, const char *options)
{
	char path[512], stream[64], words[64], *second = words;
	const char *first;
	struct stat s;

	built("ckvd", path, sizeof path);
	dup2(out_path == NULL ? fd : open(out_path, O_WRONLY), 1);
	dup2(fd, 2);
	fstat(fd, &s);
	snprintf(stream, sizeof stream, "%lu:%lu", (unsigned long)s.st_dev,
		 (unsigned long)s.st_ino + (journal == JOURNAL_ELSEWHERE));
	unsetenv("JOURNAL_STREAM");
	if (journal != NO_JOURNAL)
		setenv("JOURNAL_STREAM", stream, 1);
	snprintf(words, sizeof words, "%s", options == NULL ? "" : options);
	first = strsep(&second, " ");
	execl(getenv("CKVD") ? getenv("CKVD") : path, "ckvd", "--config",
	      daemon_.config, *first ? first : NULL, second, (char *)NULL);
	_exit(99);
}

/* Run ckvd with one or two options more, or none (NULL); keep what it says: its exit status. */
static int run_ckvd(enum journal journal, const char *options)
{
	char path[128];
	ssize_t n;
	int status, fd;

	snprintf(path, sizeof path, "%s/said", daemon_.dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
	ck_assert_int_ge(fd, 0);
	if (fork() == 0)
		exec_ckvd(fd, journal, options);
	wait(&status);
	n = pread(fd, said, sizeof said - 1, 0);
	said[n > 0 ? n : 0] = 0;
	close(fd);
	unlink(path);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int ask(union wire *m)
{
	int fd = wire_dial(&daemon_), type;
	union wire request;

	wire_head(&request, CKV_RELOAD, sizeof request.head, 0);
	wire_send(fd, &request, sizeof request.head, NULL, 0);
	type = wire_hear(fd, m, NULL);
	close(fd);
	return type;
}

START_TEST(a_good_reload_ends_with_0_when_it_is_done)
{
	write_config("spin_max = 33us\n", TEST_SPACE_TINY);
	ck_assert_int_eq(run_ckvd(NO_JOURNAL, "--reload"), 0);
	ck_assert_str_eq(said, "ckvd: reload: 1 key changed\n");
	ck_assert(test_daemon_logged(&daemon_, "spin_max is 33us"));
	ck_assert_int_eq(run_ckvd(NO_JOURNAL, "--reload"), 0);
	ck_assert_str_eq(said, "ckvd: reload: 0 keys changed\n");
}
END_TEST

/* Refused where it is read first: the daemon is not even asked. */
START_TEST(a_broken_file_fails_and_says_why)
{
	write_config("spin_max = soon\n", TEST_SPACE_TINY);
	ck_assert_int_eq(run_ckvd(NO_JOURNAL, "--reload"), 1);
	ck_assert_ptr_nonnull(strstr(said, "spin_max = soon: expected"));
	ck_assert(test_daemon_keeps_quiet(&daemon_, "reload"));
}
END_TEST

/* The daemon reads by itself, and what it finds is the answer. */
START_TEST(the_daemon_answers_with_what_is_wrong)
{
	union wire m;

	write_config("spin_max = soon\n", TEST_SPACE_TINY);
	ck_assert_int_eq(ask(&m), CKV_REFUSED);
	ck_assert_uint_eq(m.refused.error, EINVAL);
	ck_assert_ptr_nonnull(strstr(m.refused.text, "nothing changed: "));
	ck_assert_ptr_nonnull(strstr(m.refused.text, "spin_max = soon: expected"));
	ck_assert_int_eq(unlink(daemon_.config), 0);
	ck_assert_int_eq(ask(&m), CKV_REFUSED);
	ck_assert_uint_eq(m.refused.error, ENOENT);
	write_config("spin_max = 34us\n", TEST_SPACE_TINY);
	ck_assert_int_eq(ask(&m), CKV_DONE);
	ck_assert_uint_eq(m.id.id, 1);
}
END_TEST

/* Nobody ever writes into these pipes: a daemon that opened one would serve nobody. */
START_TEST(a_daemon_waits_for_no_pipe)
{
	char secret[FOLDER_BYTES + 16], spaces[512];
	union wire m;

	snprintf(secret, sizeof secret, "%s/secret", daemon_.dir);
	snprintf(spaces, sizeof spaces, "%ssecret_file = %s\n", TEST_SPACE_TINY, secret);
	ck_assert_int_eq(mkfifo(secret, 0600), 0);
	write_config("", spaces);
	ck_assert_int_eq(ask(&m), CKV_REFUSED);
	ck_assert_uint_eq(m.refused.error, EINVAL);
	ck_assert_ptr_nonnull(strstr(m.refused.text, "it is not a regular file"));
	ck_assert_int_eq(unlink(daemon_.config), 0);
	ck_assert_int_eq(mkfifo(daemon_.config, 0600), 0);
	ck_assert_int_eq(ask(&m), CKV_REFUSED);
	ck_assert_uint_eq(m.refused.error, EINVAL);
	ck_assert_ptr_nonnull(strstr(m.refused.text, "it is not a regular file"));
	ck_assert_int_eq(unlink(daemon_.config), 0);
	write_config("spin_max = 35us\n", TEST_SPACE_TINY);
	ck_assert_int_eq(ask(&m), CKV_DONE);
}
END_TEST

/* Nor for who reads its log: what does not fit is lost, and it says so later. */
START_TEST(a_log_that_nobody_reads_stops_nobody)
{
	char text[4096] = "";
	bool told = false;
	union wire m;
	int fd;

	test_daemon_kill(&daemon_);
	ck_assert_int_eq(unlink(daemon_.log), 0);
	ck_assert_int_eq(mkfifo(daemon_.log, 0600), 0);
	fd = open(daemon_.log, O_RDONLY | O_NONBLOCK);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_gt(fcntl(fd, F_SETPIPE_SZ, 4096), 0);
	test_daemon_restart(&daemon_);
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(ask(&m), CKV_DONE);
	for (int i = 0; i < 10 && !told; i++) {
		while (read(fd, text, sizeof text - 1) > 0)
			told |= strstr(text, "lost: nobody read the log") != NULL;
		ck_assert_int_eq(ask(&m), CKV_DONE);
	}
	ck_assert(told);
	close(fd);
	ck_assert_int_eq(ask(&m), CKV_DONE);
}
END_TEST

/* What may change is taken over, and that not all was is no success. */
START_TEST(what_needs_a_restart_fails_by_name)
{
	write_config("spin_max = 35us\nmax_clients = 7\n",
		     TEST_SPACE_TINY "[space more]\nmodel = m\nlayers = 1\n"
		     "kv_heads = 1\nhead_dim = 64\npool = 1M\n");
	ck_assert_int_eq(run_ckvd(NO_JOURNAL, "--reload"), 1);
	ck_assert_ptr_nonnull(strstr(said, "max_clients stays 128; 7 needs a restart; "
				     "1 key changed; the log has more"));
	ck_assert(test_daemon_logged(&daemon_, "spin_max is 35us"));
	ck_assert(test_daemon_logged(&daemon_, "space more: a new space needs"));
}
END_TEST

/* Which of the two is meant? The daemon is not asked. */
START_TEST(one_task_at_a_time)
{
	static const char *const options[] = { "--check --reload", "--reload --check" };

	write_config("spin_max = 36us\n", TEST_SPACE_TINY);
	for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
		ck_assert_int_eq(run_ckvd(NO_JOURNAL, options[i]), 2);
		ck_assert_ptr_nonnull(strstr(said, "--check and --reload"));
	}
	ck_assert_int_eq(run_ckvd(NO_JOURNAL, "--check --check"), 0);
	ck_assert(test_daemon_keeps_quiet(&daemon_, "spin_max is"));
}
END_TEST

START_TEST(no_daemon_is_said)
{
	test_daemon_stop(&daemon_);
	ck_assert_int_eq(run_ckvd(NO_JOURNAL, "--reload"), 1);
	ck_assert_ptr_nonnull(strstr(said, "no daemon serves this socket"));
}
END_TEST

/* Another user's wish to have files read is refused, root's is not. */
START_TEST(other_users_may_not)
{
	union wire m;

	if (!CHECK_IS_ROOT()) {
		ck_assert_int_eq(ask(&m), CKV_DONE);
		return;
	}
	ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(ask(&m), CKV_REFUSED);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_uint_eq(m.refused.error, EACCES);
	ck_assert(test_daemon_keeps_quiet(&daemon_, "keys changed"));
	ck_assert_int_eq(ask(&m), CKV_DONE);
}
END_TEST

/* A client that is attached may ask as well, and goes on. */
START_TEST(a_client_may_ask_too)
{
	int fd = wire_dial(&daemon_);
	union wire m;

	wire_hello(fd, NULL);
	for (int i = 0; i < 3; i++) {
		wire_head(&m, CKV_RELOAD, sizeof m.head, 0);
		wire_send(fd, &m, sizeof m.head, NULL, 0);
		ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_DONE);
	}
	close(fd);
}
END_TEST

/* What ends a start has priority 3 in a journal, and no such mark elsewhere. */
START_TEST(fatal_lines_have_their_priority)
{
	static const struct {
		const char *params, *option, *text;
		int rc;
	} row[] = {
		{ "spin_max = soon\n", NULL, "spin_max = soon: expected", 78 },
		{ "spin_max = soon\n", "--reload", "spin_max = soon: expected", 1 },
		{ "socket_group = nobody-has-this\n", NULL, "there is no such group", 1 },
		{ "", NULL, "another ckvd serves this socket", 1 },
		{ "", "--surprise", "--surprise is not an argument", 2 },
		{ "", "surprise", "surprise is not an argument", 2 },
	};

	write_config(row[_i].params, TEST_SPACE_TINY);
	ck_assert_int_eq(run_ckvd(JOURNAL, row[_i].option), row[_i].rc);
	ck_assert_msg(strncmp(said, "<3>", 3) == 0 && strstr(said, row[_i].text),
		      "%s", said);
	for (enum journal j = NO_JOURNAL; j <= JOURNAL_ELSEWHERE; j += JOURNAL_ELSEWHERE) {
		ck_assert_int_eq(run_ckvd(j, row[_i].option), row[_i].rc);
		ck_assert_msg(strncmp(said, "ckvd: ", 6) == 0 &&
			      strstr(said, row[_i].text), "%s", said);
	}
}
END_TEST

/* A disk that is full, say: what was asked for is not there, and that is no success. */
START_TEST(an_output_that_is_lost_fails)
{
	static const char *const option[] = { "--help", "--version", "--check" };

	out_path = "/dev/full";
	for (size_t i = 0; i < sizeof option / sizeof *option; i++) {
		ck_assert_int_eq(run_ckvd(NO_JOURNAL, option[i]), 1);
		ck_assert_msg(strstr(said, "the output could not be written\n") != NULL,
			      "%s: %s", option[i], said);
	}
}
END_TEST

CHECK_MAIN("shell_reload",
	CASE("reload", .setup = setup, .teardown = teardown),
	TEST(a_good_reload_ends_with_0_when_it_is_done),
	TEST(a_broken_file_fails_and_says_why),
	TEST(the_daemon_answers_with_what_is_wrong),
	TEST(a_daemon_waits_for_no_pipe),
	TEST(a_log_that_nobody_reads_stops_nobody),
	TEST(what_needs_a_restart_fails_by_name),
	TEST(one_task_at_a_time),
	TEST(no_daemon_is_said),
	TEST(other_users_may_not),
	TEST(a_client_may_ask_too),
	TEST(an_output_that_is_lost_fails),
	LOOP(fatal_lines_have_their_priority, 6))
