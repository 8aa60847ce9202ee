/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auto.h - views that a space asks for itself (`compress`, `compress_on`).
 *
 * The core says whose turn it is and holds that chain (daemon/core/tip.c); a job of the
 * daemon's own makes the view, at low priority and never on the last free thread. The
 * hold gives way to writers: then the job is given up at the end of its stage.
 */
#ifndef CKV_AUTO_H
#define CKV_AUTO_H

#include "daemon/shell/daemon.h"

/* Tell the core what the configuration says now. */
void auto_configure(struct served_space *served);

/* Begin one job, if a chain's turn has come and a job is free. */
void auto_begin(struct daemon *d);

#endif
