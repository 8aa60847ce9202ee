/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_daemon.h - a program that a keeper starts in the place of ckvd, and that does what
 * the test tells it.
 *
 * It connects to the test's socket, says what it was given, and then takes orders. It ends
 * when the test does.
 */
#ifndef CKV_TEST_FAKE_DAEMON_H
#define CKV_TEST_FAKE_DAEMON_H

#include <signal.h>
#include <sys/types.h>

#define FAKE_TAGS	640
#define FAKE_TEXT	8192

/* What it was given. */
struct fake_hello {
	pid_t pid, parent;
	ino_t program;			/* the file that it is */
	int n_fds;			/* $LISTEN_FDS; -1: it is not set */
	pid_t listen_pid;		/* $LISTEN_PID; 0: it is not set */
	pid_t watchdog_pid;		/* $WATCHDOG_PID; 0 */
	int most;			/* $FDSTORE; 0 */
	int n_standard;			/* descriptors up to 2 that it has */
	int n_open;			/* and those above */
	char names[FAKE_TEXT];		/* the beginning of $LISTEN_FDNAMES */
	char tags[FAKE_TAGS][8];	/* what is in each descriptor from 3 on */
	char notify[128];		/* $NOTIFY_SOCKET */
	char given[64];			/* $CKV_FAKE */
	char argument[64];		/* what follows the socket in its arguments */
	int n_blocked;			/* signals that are blocked or ignored */
};

struct fake {
	int fd;				/* orders */
	struct fake_hello hello;
};

/* The program: `path` is the test's socket. */
int fake_daemon_main(const char *path, const char *argument);

/* Wait for the next one that is started. 0, or -1 after `wait_ms`. */
int fake_accept(int listener, int wait_ms, struct fake *ret_fake);

/*
 * Have it send a text to its keeper, with descriptors; as the kernel answers, 0 or a
 * positive errno.
 */
int fake_send(struct fake *fake, const char *text, const int *fds, int n_fds);
int fake_send_bytes(struct fake *fake, const void *text, size_t bytes, const int *fds,
		    int n_fds);
/* The same from a child of it. */
int fake_child_sends(struct fake *fake, const char *text, const int *fds, int n_fds);

void fake_exit(struct fake *fake, int status);
void fake_raise(struct fake *fake, int number);

/* The next signal that it gets, 0: none for a while. SIGTERM, SIGINT and SIGHUP are told. */
int fake_signal(struct fake *fake);
int fake_pending(struct fake *fake);	/* one that came and was not told yet, or 0 */

/* Store a new memfd with such a tag in it; what follows FDSTORE=1 in `more`. */
void fake_store(struct fake *fake, const char *tag, const char *more);

/* A memfd with a tag in it. */
int fake_memory(const char *tag);

/* Wait until its keeper has taken all that it sent. 0, or -1. */
int fake_barrier(struct fake *fake);

#endif
