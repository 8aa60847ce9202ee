/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_names.c - names that strangers chose: what a log and a screen show of them.
 */
#include "daemon/shell/log.h"
#include "proto/ckv_text.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVIL "x\n<0>ckvd: disk is on fire\033[31m\xff\\n\"y"
#define SHOWN "x\\n<0>ckvd: disk is on fire\\x1b[31m\\xff\\\\n\\\"y"

/* Each byte that does not print is shown; a name marks its own quotes as well. */
START_TEST(text_is_shown_in_one_line)
{
	char out[256];

	ckv_text_name(out, sizeof out, EVIL, sizeof EVIL);
	ck_assert_str_eq(out, SHOWN);
	ckv_text_line(out, sizeof out, "a \"b\" \\ \x7f\r\x01");
	ck_assert_str_eq(out, "a \"b\" \\ \\x7f\\r\\x01");
	/* At most as many bytes as were said, also without an end. */
	ck_assert_uint_eq(ckv_text_name(out, sizeof out, "abcdef", 3), 3);
	ck_assert_str_eq(out, "abc");
}
END_TEST

/* Every size is enough for something, and none is exceeded. */
START_TEST(a_long_text_is_cut)
{
	char out[64];
	size_t n;

	for (size_t bytes = 4; bytes < 40; bytes++) {
		memset(out, 'z', sizeof out);
		n = ckv_text_line(out, bytes, "\033\033\033\033ab\033\033\033\033\033\033");
		ck_assert_uint_lt(n, bytes);
		ck_assert_uint_eq(strlen(out), n);
		ck_assert_uint_eq((unsigned char)out[bytes], 'z');
		ck_assert_str_eq(out + n - 3, "...");
	}
}
END_TEST

static char *log_of(const struct test_daemon *daemon)
{
	static char text[1 << 16];
	FILE *f = fopen(daemon->log, "r");
	size_t n = fread(text, 1, sizeof text - 1, f);

	fclose(f);
	text[n] = 0;
	return text;
}

static void greet_as(int fd, const char *name)
{
	union wire m = { .hello = { .layout_version = CKV_LAYOUT_VERSION,
				    .pid = (uint32_t)getpid() } };

	strncpy(m.hello.name, name, sizeof m.hello.name);
	wire_head(&m, CKV_HELLO, sizeof m.hello, 0);
	wire_send(fd, &m, sizeof m.hello, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_WELCOME);
}

/* No line of the log begins with what a client sent; no byte of it is a control. */
static void expect_clean_log(const struct test_daemon *daemon)
{
	char *text = log_of(daemon), *line;

	for (char *c = text; *c; c++)
		ck_assert_msg(*c == '\n' || (*c >= 0x20 && *c < 0x7f),
			      "byte %02x in the log: %s", (unsigned char)*c, text);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		ck_assert_msg(strncmp(line, "ckvd: ", 6) == 0 &&
			      strncmp(line, "ckvd: disk", 10) != 0, "%s", line);
}

/* The names of a client, a space and a model in messages, a config's on the way. */
START_TEST(names_do_not_forge_lines_of_the_log)
{
	struct test_daemon daemon;
	union wire m;
	FILE *f;
	int fd;

	test_daemon_start(&daemon, "log_level = debug\n", NULL);
	fd = wire_dial(&daemon);
	greet_as(fd, EVIL);
	m = (union wire){ .attach = { .space = EVIL, .access = 2,
				      .any_geometry = 1 } };
	wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
	wire_send(fd, &m, sizeof m.attach, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_REFUSED);
	ck_assert_str_eq(m.refused.text, "there is no space \"" SHOWN "\"");
	m = (union wire){ .attach = { .space = "tiny", .access = 2 } };
	strcpy(m.attach.geometry.model, EVIL);
	wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
	wire_send(fd, &m, sizeof m.attach, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_REFUSED);
	ck_assert_ptr_null(strpbrk(m.refused.text, "\n\033\xff"));
	ck_assert(test_daemon_logged(&daemon, "there is no space"));
	f = fopen(daemon.config, "a");
	fprintf(f, "policy = \033[31m\n");
	fclose(f);
	kill(daemon.pid, SIGHUP);
	ck_assert(test_daemon_logged(&daemon, "policy = \\x1b[31m"));
	expect_clean_log(&daemon);
	close(fd);
	test_daemon_remove(&daemon);
}
END_TEST

/* What ckv prints holds no escape sequence and no line of somebody else's. */
START_TEST(names_do_not_reach_the_terminal)
{
	struct test_daemon daemon;
	char args[512];
	json_t *json;
	int fd;

	test_daemon_start(&daemon, NULL, NULL);
	fd = wire_dial(&daemon);
	greet_as(fd, EVIL);
	snprintf(args, sizeof args, "clients --socket %s", daemon.socket);
	ckv(args);
	ck_assert_int_eq(said.rc, 0);
	ck_assert_ptr_null(strpbrk(said.out, "\033\xff"));
	ck_assert_ptr_null(strstr(said.out, "\n<0>"));
	ck_assert_ptr_nonnull(strstr(said.out, "disk is on fire"));
	json = ckv_json(args);
	ck_assert_ptr_nonnull(json);
	json_decref(json);
	snprintf(args, sizeof args, "blocks a\033[31m --socket %s", daemon.socket);
	ckv(args);
	ck_assert_int_ne(said.rc, 0);
	ck_assert_ptr_null(strpbrk(said.err, "\033"));
	ck_assert_ptr_nonnull(strstr(said.err, "a\\x1b[31m"));
	close(fd);
	test_daemon_remove(&daemon);
}
END_TEST

/* Progress is one line of a terminal, after a while, and a line of the log wipes it. */
START_TEST(progress_is_for_terminals)
{
	static const char want[] = "7 %\r\033[K8 %\r\033[Kckvd: ready\r\n";
	char text[sizeof want] = "";
	int terminal, slave, usual = dup(2), shown[4];

	ck_assert_int_eq(openpty(&terminal, &slave, NULL, NULL, NULL), 0);
	dup2(slave, 2);
	shown[0] = log_progress(1999999999, "%d %%", 6);	/* too soon */
	shown[1] = log_progress(2000000000, "%d %%", 7);
	shown[2] = log_progress(2100000000, "%d %%", 7);	/* shown just now */
	shown[3] = log_progress(2200000000, "%d %%", 8);
	log_line(LOG_INFO, "ready");
	log_progress_end();
	dup2(usual, 2);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(shown[i], 1);
	for (size_t n = 0; n < sizeof want - 1;)
		n += (size_t)read(terminal, text + n, sizeof want - 1 - n);
	ck_assert_str_eq(text, want);
	/* No terminal: not a byte. */
	ck_assert_int_eq(pipe(shown), 0);
	dup2(shown[1], 2);
	ck_assert(!log_progress(3000000000, "9 %%"));
	log_progress_end();
	dup2(usual, 2);
	close(shown[1]);
	ck_assert_int_eq(read(shown[0], text, 1), 0);
	close(shown[0]);
	close(terminal);
	close(slave);
}
END_TEST

enum { FULL_DISK, SHORT_PIPE, N_LOSSES };

/*
 * What is lost is counted, with the reason, and what comes after it is a line of its own:
 * also after the begin of a line that is longer than a pipe takes at once.
 */
START_TEST(lost_lines_are_counted)
{
	char line[8192], text[sizeof line] = "";
	int usual = dup(2), fd[2];

	memset(line, 'x', sizeof line);
	line[sizeof line - 1] = 0;
	ck_assert_int_eq(pipe2(fd, O_NONBLOCK), 0);
	ck_assert_int_gt(fcntl(fd[1], F_SETPIPE_SZ, 8192), 0);
	dup2(_i == FULL_DISK ? open("/dev/full", O_WRONLY) : fd[1], 2);
	for (int i = 0; i < (_i == FULL_DISK ? 3 : 1); i++)
		log_line(LOG_INFO, "%s", line);
	while (read(fd[0], line, sizeof line) > 0)
		;
	dup2(fd[1], 2);
	log_line(LOG_INFO, "seen");
	log_line(LOG_INFO, "and heard");
	dup2(usual, 2);
	ck_assert_int_gt(read(fd[0], text, sizeof text - 1), 0);
	ck_assert_str_eq(text, _i == FULL_DISK ?
			 "ckvd: 3 lines were lost: No space left on device\n"
			 "ckvd: seen\nckvd: and heard\n" :
			 "\nckvd: 1 line was lost: nobody read the log\n"
			 "ckvd: seen\nckvd: and heard\n");
	close(fd[0]);
	close(fd[1]);
}
END_TEST

CHECK_MAIN("shell_names",
	CASE("names"),
	TEST(progress_is_for_terminals),
	LOOP(lost_lines_are_counted, N_LOSSES),
	TEST(text_is_shown_in_one_line),
	TEST(a_long_text_is_cut),
	TEST(names_do_not_forge_lines_of_the_log),
	TEST(names_do_not_reach_the_terminal))
