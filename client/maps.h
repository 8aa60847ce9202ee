/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.h - what of the daemon's memory is mapped here, and how long. A part of lib.h, which
 * says who holds references and under which lock.
 */
#ifndef CKV_LIB_MAPS_H
#define CKV_LIB_MAPS_H

#include "client/sys.h"
#include "proto/ckv_attach.h"
#include "proto/ckv_world.h"

struct ckv;

struct lib_link {
	unsigned refs;
	const struct ckv_world *world;
	uint64_t epoch;
};

enum lib_slab_write {		/* the write mapping of a slab */
	LIB_SLAB_NONE = 0,
	LIB_SLAB_MAPPED = 1,
	LIB_SLAB_LOST = 2,	/* it came and could not be mapped */
};

/* A slab's file: nothing else has the same two numbers while it is mapped here. */
struct lib_slab {
	struct lib_file_id id;
	enum lib_slab_write write;
};

/* A pool, mapped. Attachments of one space share it while its memory is the same. */
struct lib_pool {
	unsigned refs;		/* attachments */
	struct lib_pool *next_dead;
	struct ckv_pool_shape shape;
	char *read_base;	/* read-only */
	char *write_base;	/* the same range again for lent pages, or NULL */
	struct lib_slab *slab;
	int write_error;	/* why a slab was lost */
};

struct lib_maps {
	unsigned refs;
	uint64_t serial;	/* of the attachment; what a pin remembers */
	struct ckv *ckv;
	struct lib_maps *next_dead;
	struct lib_link *link;
	struct lib_bye *bye;
	uint32_t space_id;
	struct ckv_index index;
	char *index_base;
	int populated;		/* the index; or somebody is at it */
	struct ckv_geometry geometry;
	struct lib_pool *pool;
	int shares;		/* the pool is that of the attachment before */
	uint8_t *told;		/* per slab: its SLAB_WRITE has come */
	uint8_t secret[32];
};

/* map.c */
int lib_map(int fd, uint64_t offset, size_t bytes, int writable,
	    void **ret_base);
int lib_map_at(void *place, int fd, size_t bytes, int writable);
int lib_map_again(void *place, void *mapped, size_t bytes);
int lib_reserve_range(size_t bytes, char **ret_base);
int lib_wipe_page(const uint32_t **ret_mine);
void lib_wipe_free(const uint32_t *mine);

/* maps.c: under ckv->lock */
void lib_link_put(struct lib_link *link);
int lib_attached_ok(const struct ckv_attached *msg);
int lib_maps_new(struct ckv *ckv, const struct ckv_attached *msg,
		 const int *fds, struct lib_pool *before,
		 struct lib_maps **ret_maps);
int lib_maps_add_slabs(struct lib_maps *maps, uint32_t first, uint32_t n,
		       const int *fds);
void lib_maps_populate(struct lib_maps *maps, int64_t most_ns);
void lib_maps_put(struct lib_maps *maps);
void lib_dead_free(struct lib_maps *dead, struct lib_pool *dead_pools);

/* pool.c: under ckv->lock, but for lib_pool_free() */
int lib_pool_new(const struct ckv_pool_shape *shape, struct lib_pool **ret_pool);
int lib_pool_share(struct lib_pool *pool, const struct ckv_pool_shape *shape);
int lib_pool_part(const struct lib_pool *from, uint32_t n,
		  struct lib_pool **ret_pool);
int lib_pool_same(const struct lib_pool *pool, uint32_t slab, int fd);
int lib_pool_add(struct lib_pool *pool, uint32_t slab, int fd);
int lib_pool_add_write(struct lib_pool *pool, uint32_t slab, int fd);
void lib_pool_free(struct lib_pool *pool);

#endif
