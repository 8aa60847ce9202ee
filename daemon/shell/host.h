/*
 * host.h - a space's memory, brought up and taken down.
 */
#ifndef CKV_HOST_H
#define CKV_HOST_H

#include "daemon/shell/daemon.h"

struct placement;

/* Map and touch everything, make the core. -errno: said in the log, undone. */
int host_create(struct config_space *config, const struct daemon_params *p,
		struct placement *placement, struct host *host);
void host_destroy(struct host *host);		/* a zeroed one is allowed */

#endif
