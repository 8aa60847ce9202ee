/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.h - `ckvd --replay TRACE`: run the core on requests from a file.
 */
#ifndef CKV_REPLAY_H
#define CKV_REPLAY_H

/*
 * argv[0] is --replay, argv[1] the trace, then options (`ckvd --replay --help`). Prints
 * the report to stdout and errors to stderr. Returns an exit status: 0; 1: a bad trace;
 * 2: bad arguments.
 */
int replay_main(int argc, char **argv);

#endif
