/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - the pool of a space, mapped.
 *
 * The pool's whole range is reserved at once, so that page p lies at the same distance
 * from the base in every slab; slabs are mapped into it as their descriptors come.
 * Writers reserve the range a second time: a slab is mapped there, writable, when the
 * daemon lends a page in it.
 *
 * A daemon may come back with the memory of the one before it. So a new attachment does
 * not map anything at first: it shares the pool of the one before (lib_pool_share()), and
 * compares each slab's file with the one that is mapped. With the first that is another
 * file it gets a pool of its own (lib_pool_part()).
 */
#include "client/lib.h"

#include <errno.h>

static size_t range(const struct lib_pool *pool)
{
	return ckv_pool_range(&pool->shape);
}

static char *place_of(const struct lib_pool *pool, char *base, uint32_t slab)
{
	return base + (size_t)slab * pool->shape.slab_stride;
}

/* A range with nothing mapped yet; the caller owns a reference. */
int lib_pool_new(const struct ckv_pool_shape *shape, struct lib_pool **ret_pool)
{
	struct lib_pool *pool = lib_sys_alloc(1, sizeof *pool);
	int r = -ENOMEM;

	if (pool == NULL)
		return r;
	pool->refs = 1;
	pool->shape = *shape;
	pool->slab = lib_sys_alloc(shape->n_slabs, sizeof *pool->slab);
	if (pool->slab != NULL)
		r = lib_reserve_range(range(pool), &pool->read_base);
	if (r < 0) {
		lib_sys_free(pool->slab);
		lib_sys_free(pool);
		return r;
	}
	*ret_pool = pool;
	return 0;
}

/* Can a pool of this shape be the same memory? Then the caller owns a reference to it. */
int lib_pool_share(struct lib_pool *pool, const struct ckv_pool_shape *shape)
{
	if (pool == NULL || memcmp(&pool->shape, shape, sizeof *shape) != 0)
		return 0;
	pool->refs++;
	return 1;
}

/* A pool of the same shape with the same first n slabs, for reading. */
int lib_pool_part(const struct lib_pool *from, uint32_t n,
		  struct lib_pool **ret_pool)
{
	size_t bytes = ckv_slab_bytes(&from->shape);
	struct lib_pool *pool;
	int r = lib_pool_new(&from->shape, &pool);

	if (r < 0)
		return r;
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		r = lib_map_again(place_of(pool, pool->read_base, i),
				  place_of(from, from->read_base, i), bytes);
		pool->slab[i].id = from->slab[i].id;
	}
	if (r < 0) {
		lib_pool_free(pool);
		return r;
	}
	*ret_pool = pool;
	return 0;
}

/* 1: the file is the one that is mapped there. 0: another. -errno. */
int lib_pool_same(const struct lib_pool *pool, uint32_t slab, int fd)
{
	struct lib_file_id id;
	int r = lib_sys_file_id(fd, &id);

	return r < 0 ? r : id.device == pool->slab[slab].id.device &&
			   id.inode == pool->slab[slab].id.inode;
}

/* A slab for reading: its pages, which is all its file has. */
int lib_pool_add(struct lib_pool *pool, uint32_t slab, int fd)
{
	int r = lib_sys_file_id(fd, &pool->slab[slab].id);

	if (r == 0)
		r = lib_map_at(place_of(pool, pool->read_base, slab), fd,
			       ckv_slab_bytes(&pool->shape), 0);
	return r;
}

static int map_write(struct lib_pool *pool, uint32_t slab, int fd)
{
	int r = fd < 0 ? -EMFILE : 0;

	if (r == 0 && pool->write_base == NULL)
		r = lib_reserve_range(range(pool), &pool->write_base);
	if (r == 0)
		r = lib_map_at(place_of(pool, pool->write_base, slab), fd,
			       ckv_slab_bytes(&pool->shape), 1);
	return r;
}

/*
 * A slab for writing; again is no error. fd -1: there was no room for it here. If it
 * cannot be mapped that is noted. -EPROTO: it is not the slab that is read there.
 */
int lib_pool_add_write(struct lib_pool *pool, uint32_t slab, int fd)
{
	int r = fd < 0 ? 1 : lib_pool_same(pool, slab, fd);

	if (r == 0)
		return -EPROTO;
	if (pool->slab[slab].write == LIB_SLAB_MAPPED)
		return 0;
	if (r > 0)
		r = map_write(pool, slab, fd);
	pool->slab[slab].write = r < 0 ? LIB_SLAB_LOST : LIB_SLAB_MAPPED;
	if (r < 0)
		pool->write_error = r;
	return 0;
}

/* Unmap and free a pool that nothing refers to; NULL is allowed. */
void lib_pool_free(struct lib_pool *pool)
{
	if (pool == NULL)
		return;
	lib_sys_unmap(pool->read_base, range(pool));
	lib_sys_unmap(pool->write_base, range(pool));
	lib_sys_free(pool->slab);
	lib_sys_free(pool);
}
