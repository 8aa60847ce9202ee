/* SPDX-License-Identifier: Apache-2.0 */
/*
 * served.h - make a space's memory and its core, and take them down.
 */
#ifndef CKV_SERVED_H
#define CKV_SERVED_H

#include "daemon/shell/daemon.h"

struct placement;

/* The core's configuration of a space, all but seed, epoch and pace. */
void served_core_config(const struct config_space *config,
		      const struct daemon_params *p,
		      struct space_config *ret_config);

/*
 * Map and touch all memory of the space, and make its core. `epoch` becomes a part of
 * the names of lent pages, so that a page lent by an earlier daemon is told apart.
 * -errno: the log says why, and nothing is left behind.
 */
int served_create(struct config_space *config, const struct daemon_params *p,
		struct placement *placement, uint64_t epoch,
		struct space_pace *pace, struct served_space *served);
void served_destroy(struct served_space *served);		/* a zeroed one is allowed */

#endif
