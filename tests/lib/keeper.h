/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - a keeper of a test's own, whose daemon is the test's program once more, in a
 * mode in which it does what the test says (fake_daemon.h).
 */
#ifndef CKV_TEST_KEEPER_H
#define CKV_TEST_KEEPER_H

#include "tests/lib/check_main.h"
#include "tests/lib/fake_daemon.h"

#include <stdbool.h>
#include <sys/resource.h>

#define A_MOMENT_MS	20000		/* of a machine that does other things */
#define SHORT_MS	300		/* for what must not happen */

extern char keeper_dir[FOLDER_BYTES], keeper_program_path[FOLDER_BYTES + 16];
extern int keeper_listener;		/* daemons connect here */
extern pid_t keeper;			/* 0: it does not run */
extern struct fake now;			/* the daemon that runs */

/* How a keeper begins life. */
struct life {
	rlim_t max_fds;
	bool child_ignored, no_stdin;
	const char *upper, *listen_fds, *place;
	void (*prepare)(void);		/* in it, before all else */
};

/* Around each test: its folder with a copy of this program; the end of what runs. */
void keeper_setup(void);
void keeper_teardown(void);

void copy_program(const char *path);

/* Start a keeper; begin() waits for its first daemon, next() for the next one. */
void begin_with(const struct life *life);
void begin(void);
void next(void);

/* The daemon is killed; the next one has these names, and these tags between blanks. */
void next_has(const char *names, const char *tags);

int ended(void);			/* the keeper did; its exit status */
const char *read_log(void);
void says(const char *text);		/* soon */
int n_open_of(pid_t pid);		/* its descriptors, and three more */

/* main() of such a test. */
#define KEEPER_MAIN(suite, ...)						\
	int main(int argc, char **argv)					\
	{								\
		const struct check_row check_rows[] = { __VA_ARGS__ };	\
									\
		if (argc > 3 && strcmp(argv[1], "fake") == 0)		\
			return fake_daemon_main(argv[2], argv[3]);	\
		return check_main(suite, check_rows, COUNT(check_rows)); \
	}

#endif
