/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_space.h - a space's geometry, and the shape of its pool.
 *
 * A page holds one block, its numbers ordered as the space's layout says, rounded up to
 * 4 KiB. Pages lie in slabs; a slab is one memfd. Page p is page p % slab_pages of slab
 * p / slab_pages, so no page lies in two slabs, and in a mapped pool its address is
 * base + slab * slab_stride + number in the slab * page_bytes.
 */
#ifndef CKV_SPACE_H
#define CKV_SPACE_H

#include "proto/ckv_index.h"

enum ckv_layout {		/* of the numbers in a page */
	CKV_LAYOUT_HEAD_MAJOR  = 1, /* [layer][K then V][kv head][token][dim] */
	CKV_LAYOUT_TOKEN_MAJOR = 2, /* [layer][K then V][token][kv head][dim] */
	CKV_LAYOUT_OPAQUE      = 3, /* opaque_bytes that only the engine understands */
};

enum ckv_key_scheme {
	CKV_KEYS_SHA256 = 1,	/* derived by libckv from token ids */
	CKV_KEYS_ENGINE = 2,	/* the engine's own 32-byte chained hashes */
};

#define CKV_MODEL_BYTES		256u	/* a model's name, with its final zero */
#define CKV_WEIGHTS_BYTES	32u

/*
 * What the bytes of a page mean. The daemon compares it field by field when a client
 * attaches. With LAYOUT_OPAQUE layers, heads, dims and dtype are zero.
 */
struct ckv_geometry {
	char	 model[CKV_MODEL_BYTES];
	uint8_t	 weights[CKV_WEIGHTS_BYTES]; /* fingerprint; zero: none was named */
	uint64_t opaque_bytes;	/* size of a block; 0 unless LAYOUT_OPAQUE */
	uint32_t n_layers;
	uint32_t n_kv_heads;
	uint32_t dim_k;
	uint32_t dim_v;		/* 0: no V (latent caches) */
	uint32_t block_tokens;	/* 1 .. 65535 */
	uint32_t n_ranks;
	uint32_t dtype;		/* enum ckv_dtype */
	uint32_t layout;	/* enum ckv_layout */
	uint32_t key_scheme;	/* enum ckv_key_scheme */
	uint32_t zero;
};
CKV_AT(struct ckv_geometry, model, 0, 256);
CKV_AT(struct ckv_geometry, weights, 256, 32);
CKV_AT(struct ckv_geometry, opaque_bytes, 288, 8);
CKV_AT(struct ckv_geometry, n_layers, 296, 4);
CKV_AT(struct ckv_geometry, n_kv_heads, 300, 4);
CKV_AT(struct ckv_geometry, dim_k, 304, 4);
CKV_AT(struct ckv_geometry, dim_v, 308, 4);
CKV_AT(struct ckv_geometry, block_tokens, 312, 4);
CKV_AT(struct ckv_geometry, n_ranks, 316, 4);
CKV_AT(struct ckv_geometry, dtype, 320, 4);
CKV_AT(struct ckv_geometry, layout, 324, 4);
CKV_AT(struct ckv_geometry, key_scheme, 328, 4);
CKV_AT(struct ckv_geometry, zero, 332, 4);
CKV_SIZE(struct ckv_geometry, 336);

/* Bytes of one block, before rounding up to a page. */
static inline uint64_t ckv_block_bytes(const struct ckv_geometry *g)
{
	if (g->layout == CKV_LAYOUT_OPAQUE)
		return g->opaque_bytes;
	return (uint64_t)g->n_layers * g->n_kv_heads * g->block_tokens *
	       ((uint64_t)g->dim_k + g->dim_v) * ckv_dtype_bytes(g->dtype);
}

/*
 * The host pool. Pages 0 .. n_block_pages - 1 are lent for blocks and as scratch pages.
 * Pages first_view_page .. first_view_page + n_view_pages - 1 hold views; the first of
 * them is the first of a slab. The pages of one view are consecutive, in one slab.
 */
struct ckv_pool_shape {
	uint64_t page_bytes;
	uint64_t slab_stride;	/* from a mapped slab to the next, a multiple of 2 MiB */
	uint32_t slab_pages;	/* pages in a slab */
	uint32_t n_slabs;
	uint32_t n_block_pages;
	uint32_t first_view_page;
	uint32_t n_view_pages;
	uint32_t zero;
};
CKV_AT(struct ckv_pool_shape, page_bytes, 0, 8);
CKV_AT(struct ckv_pool_shape, slab_stride, 8, 8);
CKV_AT(struct ckv_pool_shape, slab_pages, 16, 4);
CKV_AT(struct ckv_pool_shape, n_slabs, 20, 4);
CKV_AT(struct ckv_pool_shape, n_block_pages, 24, 4);
CKV_AT(struct ckv_pool_shape, first_view_page, 28, 4);
CKV_AT(struct ckv_pool_shape, n_view_pages, 32, 4);
CKV_AT(struct ckv_pool_shape, zero, 36, 4);
CKV_SIZE(struct ckv_pool_shape, 40);

/*
 * Bytes of a slab's memfd, which its pages fill. A stride may be longer; nothing is
 * mapped in the rest of it.
 */
static inline uint64_t ckv_slab_bytes(const struct ckv_pool_shape *p)
{
	return p->slab_pages * p->page_bytes;
}

/* Bytes of memory in all slabs; and below, bytes of address space that they lie in. */
static inline uint64_t ckv_pool_bytes(const struct ckv_pool_shape *p)
{
	return p->n_slabs * ckv_slab_bytes(p);
}

static inline uint64_t ckv_pool_range(const struct ckv_pool_shape *p)
{
	return p->n_slabs * p->slab_stride;
}

static inline uint64_t ckv_page_offset(const struct ckv_pool_shape *p,
				       uint32_t page)
{
	return (uint64_t)(page / p->slab_pages) * p->slab_stride +
	       (uint64_t)(page % p->slab_pages) * p->page_bytes;
}

#endif
