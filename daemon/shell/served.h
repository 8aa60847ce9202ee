/* SPDX-License-Identifier: Apache-2.0 */
/*
 * served.h - a space's memory, brought up and taken down.
 */
#ifndef CKV_SERVED_H
#define CKV_SERVED_H

#include "daemon/shell/daemon.h"

struct placement;

/* What the core of a space is made from; without its seed and epoch. */
void served_core_config(const struct config_space *config,
		      const struct daemon_params *p,
		      struct space_config *ret_config);

/*
 * Map and touch everything, make the core, which tells the pages it lends apart from
 * another daemon's by `epoch`. -errno: said in the log, undone.
 */
int served_create(struct config_space *config, const struct daemon_params *p,
		struct placement *placement, uint64_t epoch,
		struct space_pace *pace, struct served_space *served);
void served_destroy(struct served_space *served);		/* a zeroed one is allowed */

#endif
