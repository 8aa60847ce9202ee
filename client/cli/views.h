/* SPDX-License-Identifier: Apache-2.0 */
/*
 * views.h - what the files of `ckv views` share.
 */
#ifndef CKV_CLI_VIEWS_H
#define CKV_CLI_VIEWS_H

#include "client/cli/cli.h"
#include "client/cli/observe.h"

/* Could `text` be the beginning of a key? */
bool views_key_ok(const char *text);

/* Forget the one view whose key begins with cli->drop. An exit code. */
int views_drop(const struct cli *cli, const struct observed_space *space);

#endif
