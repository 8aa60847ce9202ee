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

struct adopt_space;

struct served_start {
	const struct daemon_params *params;
	struct placement *placement;
	uint64_t epoch;		/* a part of the names of lent pages, so that a page lent
				 * by an earlier daemon is told apart */
	uint32_t n_old_clients, n_old_lanes; /* clients and lanes of before, of all spaces */
	struct adopt_space *adopt; /* what an earlier daemon left of this space; NULL: nothing */
};

/*
 * Map and touch all memory of the space, and make its core. What an earlier daemon left
 * is not touched. -errno: the log says why, and nothing is left behind.
 */
int served_create(struct config_space *config, const struct served_start *start,
		  struct served_space *served);
/* Take over the blocks and views of before, after the lanes of before; and log how many. */
void served_adopt(struct served_space *served);
void served_destroy(struct served_space *served);		/* a zeroed one is allowed */

#endif
