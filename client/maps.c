/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.c - one attachment of a space: its index and its pool, mapped.
 *
 * The pool's whole range is reserved at once, so that page p lies at the same
 * distance from the base in every slab; slabs are mapped into it as their
 * descriptors come. Writers reserve the range a second time: a slab is mapped
 * there, writable, when the daemon lends a page in it. The daemon is trusted, but may be
 * of another build: the numbers that it sends are checked for sense.
 */
#include "client/lib.h"

#include <errno.h>
#include <sys/mman.h>

/* Of addresses: twice what the largest pool takes, and a writer has them twice. */
#define POOL_RANGE_MAX	(1ull << 45)

void lib_link_put(struct lib_link *link)
{
	if (link == NULL || --link->refs > 0)
		return;
	lib_sys_unmap(link->world, CKV_WORLD_BYTES);
	lib_sys_free(link);
}

static int geometry_ok(const struct ckv_geometry *g)
{
	return g->block_tokens != 0 && g->model[CKV_MODEL_BYTES - 1] == 0 &&
	       (ckv_dtype_bytes(g->dtype) != 0 ||
		g->layout == CKV_LAYOUT_OPAQUE);
}

/* Can memory of this shape be? */
int lib_attached_ok(const struct ckv_attached *msg)
{
	const struct ckv_pool_shape *p = &msg->pool;
	uint64_t n_pages;

	if (p->page_bytes == 0 || p->page_bytes % CKV_PIECE_BYTES != 0 ||
	    p->slab_stride == 0 || p->slab_stride % CKV_HUGE_BYTES != 0 ||
	    p->slab_pages == 0 || p->n_slabs == 0 || msg->n_buckets == 0 ||
	    p->slab_pages > p->slab_stride / p->page_bytes ||
	    p->n_slabs > POOL_RANGE_MAX / p->slab_stride ||
	    msg->n_buckets > UINT32_MAX / CKV_BUCKET_ENTRIES)
		return 0;
	n_pages = (uint64_t)p->n_slabs * p->slab_pages;
	return p->n_block_pages <= n_pages &&
	       (uint64_t)p->first_view_page + p->n_view_pages <= n_pages &&
	       geometry_ok(&msg->geometry);
}

static size_t index_range_bytes(uint32_t n_buckets)
{
	return ckv_round_up(ckv_index_bytes(n_buckets), CKV_HUGE_BYTES);
}

/* At a multiple of 2 MiB, so that the daemon's huge pages are huge here too. */
static int map_index(struct lib_maps *maps, uint32_t n_buckets, int fd)
{
	const struct ckv_index_head *head;
	int r;

	r = lib_reserve_range(index_range_bytes(n_buckets), &maps->index_base);
	if (r == 0)
		r = lib_map_at(maps->index_base, fd, ckv_index_bytes(n_buckets), 0);
	if (r < 0)
		return r;
	head = (const void *)maps->index_base;
	if (head->magic != CKV_INDEX_MAGIC ||
	    head->layout_version != CKV_LAYOUT_VERSION ||
	    head->n_buckets != n_buckets)
		return -EPROTO;
	maps->index.buckets = (struct ckv_bucket *)(void *)
		(maps->index_base + CKV_INDEX_HEAD_BYTES);
	maps->index.n_buckets = n_buckets;
	memcpy(maps->index.seed, head->seed, sizeof maps->index.seed);
	return 0;
}

/*
 * The first lookup of each page of the index would fault, a thousand times a lookup's
 * cost. Before Linux 5.14 they do. A large index takes a while, so ckv->lock, which is
 * held, is let go meanwhile.
 */
void lib_maps_populate(struct lib_maps *maps)
{
	if (maps->populated)
		return;
	maps->populated = 1;
	maps->refs++;
	lib_unlock(maps->ckv);
	(void)lib_sys_advise(maps->index_base,
			     ckv_index_bytes(maps->index.n_buckets),
			     MADV_POPULATE_READ);
	lib_lock(maps->ckv);
	lib_maps_put(maps);
}

/* fds: stats, index. The caller owns a reference to *ret_maps, without slabs yet. */
int lib_maps_new(struct ckv *ckv, const struct ckv_attached *msg,
		 const int *fds, struct lib_maps **ret_maps)
{
	struct lib_maps *maps = lib_sys_alloc(1, sizeof *maps);
	int r;

	if (maps == NULL)
		return -ENOMEM;
	maps->refs = 1;
	maps->ckv = ckv;
	maps->link = ckv->link;
	maps->link->refs++;
	maps->space_id = msg->space_id;
	maps->geometry = msg->geometry;
	maps->pool = msg->pool;
	memcpy(maps->secret, msg->secret, sizeof maps->secret);
	maps->index.n_buckets = msg->n_buckets;
	r = map_index(maps, msg->n_buckets, fds[1]);
	if (r < 0)
		goto err_put;
	r = lib_reserve_range(ckv_pool_range(&maps->pool), &maps->read_base);
	if (r < 0)
		goto err_put;
	maps->writable = lib_sys_alloc(maps->pool.n_slabs, 1);
	if (maps->writable == NULL) {
		r = -ENOMEM;
		goto err_put;
	}
	maps->serial = lib_next_serial();
	*ret_maps = maps;
	return 0;

err_put:
	lib_maps_put(maps);
	return r;
}

/* Map one slab into a reserved range: its pages, which is all its file has. */
static int map_slab(const struct lib_maps *maps, char *base, uint32_t slab,
		    int fd, int writable)
{
	const struct ckv_pool_shape *pool = &maps->pool;

	return lib_map_at(base + (size_t)slab * pool->slab_stride, fd,
			  ckv_slab_bytes(pool), writable);
}

/* The next n slabs, for reading. */
int lib_maps_add_slabs(struct lib_maps *maps, uint32_t first, uint32_t n,
		       const int *fds)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = map_slab(maps, maps->read_base, first + i, fds[i], 0);
	return r;
}

/* A slab for writing; again is no error. fd -1: there was no room for it here. */
void lib_maps_add_write(struct lib_maps *maps, uint32_t slab, int fd)
{
	int r = fd < 0 ? -EMFILE : 0;

	if (maps->writable[slab] == LIB_SLAB_MAPPED)
		return;
	if (r == 0 && maps->write_base == NULL)
		r = lib_reserve_range(ckv_pool_range(&maps->pool),
				      &maps->write_base);
	if (r == 0)
		r = map_slab(maps, maps->write_base, slab, fd, 1);
	maps->writable[slab] = r < 0 ? LIB_SLAB_LOST : LIB_SLAB_MAPPED;
	if (r < 0)
		maps->write_error = r;
}

/* What nobody refers to any more is unmapped when the lock is let go. */
void lib_maps_put(struct lib_maps *maps)
{
	if (maps == NULL || --maps->refs > 0)
		return;
	maps->next_dead = maps->ckv->dead_maps;
	maps->ckv->dead_maps = maps;
	lib_link_put(maps->link);
}

void lib_maps_free(struct lib_maps *dead)
{
	while (dead != NULL) {
		struct lib_maps *maps = dead;

		dead = maps->next_dead;
		lib_sys_unmap(maps->index_base,
			      index_range_bytes(maps->index.n_buckets));
		lib_sys_unmap(maps->read_base, ckv_pool_range(&maps->pool));
		lib_sys_unmap(maps->write_base, ckv_pool_range(&maps->pool));
		lib_sys_free(maps->writable);
		lib_sys_free(maps->bye);
		lib_sys_free(maps);
	}
}
