/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - memory that the daemon shares with clients.
 *
 * Each piece is a memfd of sealed size and mode 0600. What outlives the daemon has no seal
 * against new writable mappings, since its successor needs one; then the mode alone keeps
 * other users out. (A new memfd has mode 0777, with
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
	MEMORY_KEPT,		/* the same, and a later daemon can map it to write, too */
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
/* Only a memfd of sealed size, which a client will write: its descriptor; or -errno. */
int memory_file(const char *name, size_t bytes);
/* Map a part of such a one to read it; the memory has no descriptor of its own. */
int memory_part(int fd, uint64_t offset, size_t bytes, struct memory *ret_memory);
void memory_destroy(struct memory *memory);	/* a zeroed one is allowed */

/*
 * Is this a memfd of `bytes`, of this process' user, and sealed like MEMORY_KEPT or one that
 * a client writes, so that it can be mapped without danger and opened for readers? 0;
 * -EINVAL: it is not; another -errno.
 */
int memory_check(int fd, uint64_t bytes);
/* Map a MEMORY_KEPT of an earlier daemon, which memory_check() has passed. It takes fd. */
int memory_adopt(int fd, size_t bytes, struct memory *ret_memory);

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
	/* [n_slabs], slabs of an earlier daemon, which are mapped as they are; or NULL */
	const int *kept;
};

/*
 * Map and touch all slabs. Those of an earlier daemon are not touched, as their memory is
 * there, and the pool takes their descriptors. -ENOMEM, -EMFILE, ...: nothing is left
 * behind, and nothing is taken.
 */
int pool_create(const struct ckv_pool_shape *shape,
		const struct pool_options *options, struct pool *ret_pool);
void pool_destroy(struct pool *pool);		/* a zeroed one is allowed */

/* Ask the kernel to put touched memory into 2 MiB pages, as far as it can. */
void memory_collapse(void *base, size_t bytes);

/* How many bytes of a mapped range are in 2 MiB pages, by /proc/self/smaps. */
int memory_huge_bytes(const void *base, size_t bytes, uint64_t *ret_bytes);

#endif
