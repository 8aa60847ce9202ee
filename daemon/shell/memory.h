/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - memory that the daemon shares with clients.
 *
 * Each piece is a memfd of sealed size and mode 0600. (A new memfd has mode 0777, with
 * which another user could open it for writing through /proc.) A client that may only
 * read gets a descriptor that was opened read-only.
 */
#ifndef CKV_MEMORY_H
#define CKV_MEMORY_H

#include "proto/ckv_space.h"

#include <stdbool.h>
#include <sys/types.h>

enum memory_kind {
	MEMORY_OURS,		/* the daemon writes it; sealed so that nobody else can */
	MEMORY_THEIRS,		/* a client writes it; the daemon maps it read-only */
	MEMORY_PRIVATE,		/* no client gets it */
};

struct memory {
	int fd;
	size_t bytes;
	void *base;
};

/*
 * Make a memfd of `bytes`, zeroed, and map it; forked children do not get the mapping.
 * `head` (may be NULL) is written to its beginning. -errno: nothing is left behind.
 */
int memory_create(const char *name, size_t bytes, enum memory_kind kind,
		  const void *head, size_t head_bytes,
		  struct memory *ret_memory);
void memory_destroy(struct memory *memory);	/* a zeroed one is allowed */

/* A read-only descriptor of the same memory; the caller closes it. */
int memory_reader(int fd);

/* The pages of a space: slabs at equal distances in one range of addresses. */
struct pool {
	struct ckv_pool_shape shape;
	void *base;		/* slab i is at base + i * slab_stride */
	void *range;		/* the reserved addresses; base is aligned inside them */
	size_t range_bytes;
	int *fds;		/* [n_slabs], read-write */
	uint64_t huge_bytes;	/* bytes in 2 MiB pages, as /proc/self/smaps says */
};

struct pool_options {
	bool huge_pages;
	uint32_t n_threads;	/* threads that touch the pages first; at least 1 */
	/* Called now and then if touching takes long; may be NULL. */
	void (*progress)(void *context, uint64_t touched_bytes,
			 uint64_t total_bytes);
	void *context;
	/* Called before anything is touched; may be NULL. */
	void (*bind)(void *bind_context, void *base, size_t bytes);
	void *bind_context;
};

/* Map and touch all slabs. -ENOMEM, -EMFILE, ...: nothing is left behind. */
int pool_create(const struct ckv_pool_shape *shape,
		const struct pool_options *options, struct pool *ret_pool);
void pool_destroy(struct pool *pool);		/* a zeroed one is allowed */

/* Ask the kernel to put touched memory into 2 MiB pages, as far as it can. */
void memory_collapse(void *base, size_t bytes);

/* How many bytes of a mapped range are in 2 MiB pages, by /proc/self/smaps. */
int memory_huge_bytes(const void *base, size_t bytes, uint64_t *ret_bytes);

#endif
