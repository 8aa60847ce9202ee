/* SPDX-License-Identifier: Apache-2.0 */
/*
 * in_mode.c - run a command on a machine that lacks something.
 *
 *   in_mode no-io_uring|no-huge|memlock COMMAND [ARGUMENT...]
 *
 * What is taken away (tests/lib/mode.h) is taken from everything that the command
 * starts, the daemon included.
 */
#include "tests/lib/mode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: in_mode MODE COMMAND...\n");
		return 2;
	}
	setenv("CKV_TEST_MODE", argv[1], 1);
	if (strcmp(argv[1], "no-huge") == 0 &&
	    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) {
		perror("in_mode: PR_SET_THP_DISABLE");
		return 1;
	}
	test_mode_enter();
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
