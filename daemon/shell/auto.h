/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auto.h - automatic views: those that a space asks for itself, by its configuration
 * (`compress`, `compress_on`).
 *
 * The core chooses the chain and holds it (daemon/core/tip.c). An own job (job.h) makes
 * the view, at low priority and never on the last free worker thread. The hold gives
 * way to writers and to DROP; then the job ends when its present stage is finished.
 */
#ifndef CKV_AUTO_H
#define CKV_AUTO_H

#include "daemon/shell/daemon.h"

/* Tell the core when to ask for views, as the configuration says now. */
void auto_configure(struct served_space *served);

/* Begin one own job, if a chain's turn has come and an entry for a job is free. Was it? */
bool auto_begin(struct daemon *d);

#endif
