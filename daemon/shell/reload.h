/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload.h - read the configuration again while the daemon runs.
 */
#ifndef CKV_RELOAD_H
#define CKV_RELOAD_H

#include "daemon/shell/daemon.h"

#define RELOAD_TEXT_BYTES sizeof(((struct ckv_refused *)0)->text)

/*
 * Read the file again and take over the keys that may change while the daemon runs.
 * Returns how many changed, or -errno, and `text` says why:
 *
 *   -EBUSY       those keys are taken over, but other changes need a restart
 *   any other    nothing changed: the file is wrong, or cannot be read
 */
int reload(struct daemon *d, char text[RELOAD_TEXT_BYTES]);

/* Tell the service manager, now or, if its queue is full, at a later tick. */
void reload_say_ready(struct daemon *d);

/*
 * Ask the daemon that serves `socket` to reload, and wait for its answer. Returns how
 * many keys changed, or -errno; this process logs the reason.
 */
int reload_ask(const char *socket);

#endif
