/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload.h - the configuration read again while the daemon runs.
 */
#ifndef CKV_RELOAD_H
#define CKV_RELOAD_H

#include "daemon/shell/daemon.h"

#define RELOAD_TEXT_BYTES sizeof(((struct ckv_refused *)0)->text)

/*
 * Read the file again and take over what may change while running. How many keys
 * changed; or, with a `text` that says why:
 *
 *   -EBUSY       what may change is taken over; something needs a restart
 *   any other    nothing changed: the file is wrong, or cannot be read
 */
int reload(struct daemon *d, char text[RELOAD_TEXT_BYTES]);

/*
 * Have the daemon that serves `socket` do so, and wait for its answer. How many keys
 * changed, or -errno; the reason is in the log of this process.
 */
int reload_ask(const char *socket);

#endif
