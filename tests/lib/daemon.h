/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - a ckvd of a test's own, as a child process on a private socket.
 */
#ifndef CKV_TEST_DAEMON_H
#define CKV_TEST_DAEMON_H

#include "tests/lib/folder.h"

#include <sys/types.h>

struct test_daemon {
	pid_t pid;
	pid_t keeper;	/* its parent, ckvd --keeper; 0: it has none */
	pid_t killed;	/* the daemon before it that was killed */
	char dir[FOLDER_BYTES];	/* removed at stop */
	char socket[FOLDER_BYTES + 16];
	char config[FOLDER_BYTES + 16];
	char log[FOLDER_BYTES + 16];		/* what it wrote to stderr */
};

/* Each daemon that is started from now on calls this just before its exec; NULL: nothing. */
void test_daemon_before(void (*call)(void *context), void *context);

/* A small model: 2 layers, 2 heads, dim 32, 16 tokens, f32: 16 KiB pages. */
#define TEST_TINY_MODEL		\
	"model = tiny\n"	\
	"layers = 2\n"		\
	"kv_heads = 2\n"	\
	"head_dim = 32\n"	\
	"block_tokens = 16\n"	\
	"dtype = f32\n"

/* One space of it, and others with the keys that a test adds. */
#define TEST_SPACE(name, keys)	"[space " name "]\n" TEST_TINY_MODEL keys
#define TEST_SPACE_TINY		TEST_SPACE("tiny", "pool = 16M\n")

/*
 * Start build/ckvd (the one beside this test program, or $CKVD) and wait until
 * it can be connected to. `params` are lines for [daemon] and
 * `spaces` whole sections; NULL: none, and TEST_SPACE_TINY. Ends the test
 * program with its log when it does not come up.
 */
void test_daemon_start(struct test_daemon *daemon, const char *params,
		       const char *spaces);

/* The same under ckvd --keeper, which starts it again when it ends. */
void test_daemon_start_kept(struct test_daemon *daemon, const char *params,
			    const char *spaces);

/*
 * The parts of it: make its place and configuration; in a child, become it or its keeper;
 * does it answer? And end the test program with its log.
 */
void test_daemon_make(struct test_daemon *daemon, const char *params, const char *spaces);
_Noreturn void test_daemon_become(const struct test_daemon *daemon, int kept);
int test_daemon_answers(struct test_daemon *daemon);
_Noreturn void test_daemon_give_up(const struct test_daemon *daemon, const char *why);

/*
 * Start it again at the same place, after test_daemon_kill() or _stop(); where there is a
 * keeper that lives, wait until that has.
 */
void test_daemon_restart(struct test_daemon *daemon);

/* SIGTERM, wait: its exit status. The directory stays until _remove(). */
int test_daemon_stop(struct test_daemon *daemon);
void test_daemon_kill(struct test_daemon *daemon);	/* SIGKILL, wait */

/* Stop it if it runs, remove its directory. */
void test_daemon_remove(struct test_daemon *daemon);

/* Does a line of its log contain `text`, now or soon? */
int test_daemon_logged(const struct test_daemon *daemon, const char *text);

/* Does none, now and for half a second? */
int test_daemon_keeps_quiet(const struct test_daemon *daemon, const char *text);

#endif
