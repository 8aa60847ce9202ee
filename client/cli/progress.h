/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - what takes longer than two seconds tells a person at a terminal how far
 * it is. Nothing is written where stderr is no terminal, or with --json.
 */
#ifndef CKV_CLI_PROGRESS_H
#define CKV_CLI_PROGRESS_H

#include "client/cli/cli.h"

/* `what` stays the caller's. One at a time. */
void progress_begin(const struct cli *cli, const char *what);
void progress_at(uint64_t done, uint64_t total);
void progress_end(void);	/* wipes the line; also before anything else is said */

/* Sleep, telling how much of it is over. */
void progress_sleep(int64_t ms);

#endif
