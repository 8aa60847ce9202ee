/* SPDX-License-Identifier: Apache-2.0 */
/*
 * observe.h - a connection that only looks: stats, indexes, pools, all read-only.
 *
 * Unlike a client of libckv an observer opens no lane, holds no pin and asks
 * the daemon for nothing after it has attached; it reads shared memory.
 */
#ifndef CKV_CLI_OBSERVE_H
#define CKV_CLI_OBSERVE_H

#include "proto/ckv_attach.h"
#include "proto/ckv_stats.h"
#include "proto/ckv_world.h"

struct observer {
	int	 fd;		/* control socket */
	struct ckv_welcome welcome;
	struct ckv_world *world;
	void	*stats;		/* global stats memory */
	size_t	 stats_bytes;
	struct ckv_stats_head head; /* copied and checked against stats_bytes */
	char	 why[4096];	/* what went wrong last, for a person */
};

struct observed_space {
	struct ckv_attached attached;
	struct ckv_space_stats *stats;
	struct ckv_index index;	/* buckets NULL: attached for stats only */
	void	*index_memory;
	size_t	 index_bytes;
	int	*slab_fds;	/* pool.n_slabs, -1 where not kept */
};

/*
 * Connect to the daemon at `path`. The caller owns *ret and gives it to
 * observer_close(). On failure *ret holds only `why`, which says what to do.
 *
 *   -ENOENT, -ECONNREFUSED  no daemon there
 *   -EACCES                 this user may not connect
 *   -EPROTONOSUPPORT        versions differ
 *   -ETIMEDOUT              the daemon does not answer
 *   -EPROTO                 what answered is no ckvd
 *   other                   from the system
 */
int observer_open(const char *path, struct observer *ret);
void observer_close(struct observer *o);

/*
 * Attach a space as it is. `access` CKV_ACCESS_STATS: its counters only;
 * CKV_ACCESS_READ: its index too, and the pool's descriptors from the slab of the
 * first view page on. The caller gives *ret to observer_release().
 *
 *   -ENOENT  no such space; why lists those there are
 *   -EACCES  this user may not
 */
int observer_attach(struct observer *o, const char *space, uint32_t access,
		    struct observed_space *ret);
void observer_release(struct observed_space *space);

/* Map one kept slab, read-only, ckv_slab_bytes() long. NULL: it could not be. */
const void *observer_map_slab(const struct observed_space *space, uint32_t slab);

#endif
