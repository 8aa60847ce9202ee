/* SPDX-License-Identifier: Apache-2.0 */
/* dies.h - what a process that must fail says to stderr. */
#ifndef CKV_DIES_H
#define CKV_DIES_H

#include <check.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Run body(arg) in a child, which must not end well; its words go into text[bytes]. */
static inline void dies(void (*body)(int), int arg, char *text, size_t bytes)
{
	size_t used = 0;
	int fd[2], status;
	ssize_t got;
	pid_t child;

	ck_assert_int_eq(pipe(fd), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		dup2(fd[1], STDERR_FILENO);
		body(arg);
		_exit(0);
	}
	close(fd[1]);
	while (used < bytes - 1 && (got = read(fd[0], text + used, bytes - 1 - used)) > 0)
		used += (size_t)got;
	text[used] = 0;
	close(fd[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(status != 0, "it went through; it said: %s", text);
}

#endif
