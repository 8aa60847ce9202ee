/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.h - `ckvd --replay TRACE`: the core fed from a file.
 */
#ifndef CKV_REPLAY_H
#define CKV_REPLAY_H

/*
 * argv[0] is --replay, argv[1] the trace, then --policy NAME|all, --blocks N,
 * --fraction 1/16,1/8,..., --json. Prints to stdout, complaints to stderr.
 * Returns an exit status: 0, 1 a bad trace, 2 bad arguments.
 */
int replay_main(int argc, char **argv);

#endif
