/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - memory for the C segments of a client's lanes.
 *
 * Each descriptor that outlives the daemon costs milliseconds to store, so lanes of one
 * client and one shape share one: an arena is a memfd of up to ARENA_PARTS parts of equal
 * size, which takes memory only where it is written. The client gets the whole of it, as
 * all its parts are its own. A part that a lane gives back is zeros when the next one
 * gets it.
 */
#ifndef CKV_ARENA_H
#define CKV_ARENA_H

#include "daemon/shell/daemon.h"

#define ARENA_PARTS	16u
#define ARENA_BYTES	(64u << 20)	/* larger ones have fewer parts, at least one */

struct arena {
	struct arena *next;	/* of this client */
	uint64_t serial;
	int fd;
	size_t part_bytes;
	uint32_t n_parts;
	uint32_t used;		/* bit i: part i is a lane's, or could not be zeroed */
	uint32_t n_lanes;
	bool stored;		/* a manager was told to hold it */
	uint64_t ticket;	/* ... and has done it when this is done */
};

/*
 * A zeroed part of this size, of an arena that the client has or that is made. -errno:
 * nothing has changed.
 */
int arena_take(struct daemon *d, struct client *client, size_t part_bytes,
	       struct arena **ret_arena, uint32_t *ret_part);
/* An arena of before: `fd` is taken. */
int arena_adopt(struct client *client, uint64_t serial, int fd, size_t part_bytes,
		uint32_t n_parts, struct arena **ret_arena);
/* The lane that had it has ended. The client keeps at most one arena without lanes. */
void arena_give(struct daemon *d, struct client *client, struct arena *arena,
		uint32_t part);
/* The client has ended. */
void arenas_destroy(struct daemon *d, struct client *client);
/* The daemon stops: they stay as they are, for a successor. */
void arenas_drop(struct client *client);

#endif
