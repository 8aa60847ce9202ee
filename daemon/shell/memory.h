/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - memory that is shared with clients.
 *
 * Every file is made here: a memfd whose size is sealed, mode 0600 (a memfd is
 * 0777 by itself, and another user could open it for writing through /proc).
 * Readers get a descriptor that was opened read-only.
 */
#ifndef CKV_MEMORY_H
#define CKV_MEMORY_H

#include "proto/ckv_space.h"

#include <stdbool.h>
#include <sys/types.h>

enum memory_kind {
	MEMORY_OURS,		/* the daemon writes; sealed against others' writing */
	MEMORY_THEIRS,		/* a client writes; mapped read-only here */
	MEMORY_PRIVATE,		/* never sent to anyone */
};

struct memory {
	int fd;
	size_t bytes;
	void *base;
};

/*
 * A memfd of `bytes`, zeroed, mapped and kept out of children. `head` (may be
 * NULL) is written to its beginning first. -errno: nothing is left behind.
 */
int memory_create(const char *name, size_t bytes, enum memory_kind kind,
		  const void *head, size_t head_bytes,
		  struct memory *ret_memory);
void memory_destroy(struct memory *memory);	/* a zeroed one is allowed */

/* A read-only descriptor of the same memory; the caller closes it. */
int memory_reader(int fd);

struct pool {
	struct ckv_pool_shape shape;
	void *base;		/* slab i at base + i * slab_stride */
	void *range;		/* what was reserved, a little more */
	size_t range_bytes;
	int *fds;		/* n_slabs, read-write */
	uint64_t huge_bytes;	/* in 2 MiB pages, verified */
};

struct pool_options {
	bool huge_pages;
	uint32_t n_threads;	/* that touch it first; at least 1 */
	/* Called now and then while it takes long; may be NULL. */
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

/* Ask for 2 MiB pages in memory that has been touched; memory_huge_bytes() tells. */
void memory_collapse(void *base, size_t bytes);

/* Bytes of a mapped range that are in 2 MiB pages, as the kernel says. */
int memory_huge_bytes(const void *base, size_t bytes, uint64_t *ret_bytes);

#endif
