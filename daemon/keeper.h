/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - ckvd --keeper: a parent that holds a daemon's descriptors, as systemd does,
 * and starts the daemon again when it ends.
 *
 * It needs nothing of the daemon, and the daemon cannot tell it from systemd.
 */
#ifndef CKV_KEEPER_H
#define CKV_KEEPER_H

#include <stddef.h>

#define KEEPER_PATH_BYTES	4096

/*
 * The path by which this program is started again, so that a file that takes its place is
 * found there: `argv0`, or, if that has no slash or is another file, what the kernel calls
 * this program now. Returns `path`.
 */
const char *keeper_program(const char *argv0, char path[KEEPER_PATH_BYTES]);

/*
 * Start `program` with the arguments `argv` (argv[0] is its name, NULL the last) and keep
 * it going. Returns the exit status of the keeper: that of the daemon if it was 2 or
 * EX_CONFIG, or if SIGTERM or SIGINT came before it ended (128 and the signal's number if
 * one killed it); 0 if such a signal came while there was no daemon; 1 if the keeper
 * cannot work. The calling process must have one thread.
 */
int keeper_run(const char *program, char *const *argv);

#endif
