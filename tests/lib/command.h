/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.h - running the ckv command, and what it said.
 */
#ifndef CKV_TEST_COMMAND_H
#define CKV_TEST_COMMAND_H

#include "tests/lib/daemon.h"

#include <jansson.h>
#include <sys/types.h>

extern struct command_said {
	int rc;
	char out[1 << 18], err[1 << 14];
} said;

extern uid_t run_as;	/* who ckv runs as; 0: as this test does */

/*
 * A daemon for ckv to talk to: $CKV_SOCKET leads to it, every user may connect. It has the
 * space "tiny", and "closed", which only root may attach to.
 */
void ckv_daemon_start(struct test_daemon *daemon);

/* The one that was built with this test program, or $CKV. */
const char *ckv_path(void);

/* Run `ckv ARGS`, words separated by blanks, and keep what it says in `said`. */
void ckv(const char *args);

/* The same with --json, parsed. The caller gives it to json_decref(). */
json_t *ckv_json(const char *args);

/* A number of an object; it must be there. */
long number(const json_t *json, const char *name);

/* A counter of the daemon's first space, as `ckv status` shows it. */
long space_counter(const char *name);

#endif
