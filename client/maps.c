/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.c - one attachment of a space: its index, mapped, and a pool (pool.c).
 *
 * The daemon is trusted, but may be of another build: the numbers that it sends are
 * checked for sense.
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

/* A reference less. What nobody refers to any more is unmapped when the lock is let go. */
static void pool_put(struct ckv *ckv, struct lib_pool *pool)
{
	if (pool == NULL || --pool->refs > 0)
		return;
	pool->next_dead = ckv->dead_pools;
	ckv->dead_pools = pool;
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
 * The first lookup of each page of the index would fault, a few times a lookup's cost.
 * Before Linux 5.14 they do. In small pages a large index takes long (84 MB of one million
 * blocks: 40 ms; in huge pages 0.1 ms), so ckv->lock, which is held, is let go meanwhile,
 * and when `most_ns` have passed the rest is left to the lookups.
 */
void lib_maps_populate(struct lib_maps *maps, int64_t most_ns)
{
	size_t bytes = ckv_index_bytes(maps->index.n_buckets), at = 0, n;
	int64_t start = lib_now_ns();
	int r = 0;

	if (maps->populated)
		return;
	maps->populated = 1;
	maps->refs++;
	lib_unlock(maps->ckv);
	for (; r == 0 && at < bytes && lib_now_ns() - start < most_ns; at += n) {
		n = bytes - at < CKV_HUGE_BYTES ? bytes - at : CKV_HUGE_BYTES;
		r = lib_sys_advise(maps->index_base + at, n, MADV_POPULATE_READ);
	}
	lib_lock(maps->ckv);
	lib_maps_put(maps);
}

/*
 * fds: stats, index. `before`: the pool of the attachment before it, or NULL. The caller
 * owns a reference to *ret_maps, without slabs yet.
 */
int lib_maps_new(struct ckv *ckv, const struct ckv_attached *msg,
		 const int *fds, struct lib_pool *before,
		 struct lib_maps **ret_maps)
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
	memcpy(maps->secret, msg->secret, sizeof maps->secret);
	maps->index.n_buckets = msg->n_buckets;
	r = map_index(maps, msg->n_buckets, fds[1]);
	if (r < 0)
		goto err_put;
	maps->told = lib_sys_alloc(msg->pool.n_slabs, 1);
	if (maps->told == NULL) {
		r = -ENOMEM;
		goto err_put;
	}
	maps->shares = lib_pool_share(before, &msg->pool);
	if (maps->shares)
		maps->pool = before;
	else
		r = lib_pool_new(&msg->pool, &maps->pool);
	if (r < 0)
		goto err_put;
	maps->serial = lib_next_serial();
	*ret_maps = maps;
	return 0;

err_put:
	lib_maps_put(maps);
	return r;
}

/* It is other memory from this slab on: a pool of its own. */
static int part(struct lib_maps *maps, uint32_t slab)
{
	struct lib_pool *pool;
	int r = lib_pool_part(maps->pool, slab, &pool);

	if (r < 0)
		return r;
	pool_put(maps->ckv, maps->pool);
	maps->pool = pool;
	maps->shares = 0;
	return 0;
}

/* The next slab: it is mapped already, or is mapped now. */
static int add_slab(struct lib_maps *maps, uint32_t slab, int fd)
{
	int r;

	if (maps->shares) {
		r = lib_pool_same(maps->pool, slab, fd);
		if (r != 0)
			return r < 0 ? r : 0;
		r = part(maps, slab);
		if (r < 0)
			return r;
	}
	return lib_pool_add(maps->pool, slab, fd);
}

/* The next n slabs, for reading. */
int lib_maps_add_slabs(struct lib_maps *maps, uint32_t first, uint32_t n,
		       const int *fds)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = add_slab(maps, first + i, fds[i]);
	return r;
}

void lib_maps_put(struct lib_maps *maps)
{
	if (maps == NULL || --maps->refs > 0)
		return;
	maps->next_dead = maps->ckv->dead_maps;
	maps->ckv->dead_maps = maps;
	lib_link_put(maps->link);
	pool_put(maps->ckv, maps->pool);
}

void lib_dead_free(struct lib_maps *dead, struct lib_pool *dead_pools)
{
	while (dead_pools != NULL) {
		struct lib_pool *pool = dead_pools;

		dead_pools = pool->next_dead;
		lib_pool_free(pool);
	}
	while (dead != NULL) {
		struct lib_maps *maps = dead;

		dead = maps->next_dead;
		lib_sys_unmap(maps->index_base,
			      index_range_bytes(maps->index.n_buckets));
		lib_sys_free(maps->told);
		lib_sys_free(maps->bye);
		lib_sys_free(maps);
	}
}
