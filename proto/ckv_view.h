/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_view.h - what is inside a view: a compressed, immutable form of a chain.
 *
 *      0  header                        struct ckv_view_head
 *    512  runs[n_layers * n_kv_heads]   struct ckv_view_run, (layer, head) order
 *         regions, each 64-byte aligned, one layer after the other:
 *           positions, a set per head or one for all; none where the layer shares
 *           another's; then for each head
 *           K codes, K scales, V codes, V scales, K full, V full
 *
 * A run is what one kv head of one layer kept: n_kept positions (uint32_t, ascending,
 * numbers of tokens in the chain) and as many rows of K and of V. The n_full newest rows
 * are elements of the space's dtype, [n_full][dim]. The n = n_kept - n_full rows before
 * them are encoded as the header says:
 *
 *   plain     codes: the elements, [n][dim]                          no scales
 *   bf16 f16  codes: the same in that type                           no scales
 *   fp8       codes: e4m3fn [n][dim]         scales: float: none, 1, 1, [ceil(n/block)]
 *   kivi      K codes: u32 [ceil(n/cpw)][dim]     scale, then min: [ceil(n/group)][dim]
 *             V codes: u32 [n][ceil(dim/cpw)]     scale, then min: [n][ceil(dim/group)]
 *             cpw = 32 / bits codes in a word, lowest bits first; scale and min of the
 *             space's dtype
 *
 * Runs may have different lengths. All offsets are bytes from the start of the view. A
 * reader checks them with ckv_view_ok(), on a private copy of header and runs, before it
 * follows any.
 *
 * Keys keep the rotation (RoPE) of their original positions; the next query's position
 * is n_tokens.
 */
#ifndef CKV_VIEW_H
#define CKV_VIEW_H

#include "proto/ckv_space.h"

#define CKV_VIEW_MAGIC		0x76766b63u	/* "ckvv" */
#define CKV_VIEW_FORMAT		2u
#define CKV_VIEW_HEAD_BYTES	512u

enum ckv_encoding {
	CKV_ENCODING_PLAIN = 1,	/* elements of the space's dtype */
	CKV_ENCODING_BF16  = 2,
	CKV_ENCODING_F16   = 3,
	CKV_ENCODING_FP8   = 4,
	CKV_ENCODING_KIVI  = 5,
};

enum ckv_view_scale {		/* fp8: the numbers that share a scale */
	CKV_VIEW_SCALE_ONE    = 0,	/* all; it is 1 and not stored */
	CKV_VIEW_SCALE_TENSOR = 1,	/* a layer's keys, or values; stored with each head */
	CKV_VIEW_SCALE_HEAD   = 2,	/* the keys, or values, of a head */
	CKV_VIEW_SCALE_BLOCK  = 3,	/* `block` rows of a head */
};

enum ckv_view_input {		/* what the selection read besides the chain, as bits */
	CKV_VIEW_QUERIES = 1,
	CKV_VIEW_LSE	 = 2,
	CKV_VIEW_SUMS	 = 4,
};

/* Bytes of a finished view, exact: heads + positions + codes + scales + padding = n_bytes. */
struct ckv_view_sizes {
	uint64_t heads;		/* header and runs */
	uint64_t positions;
	uint64_t codes;		/* codes and full rows */
	uint64_t scales;
	uint64_t padding;
	uint64_t plain;		/* for comparison: K and V of all tokens as they are stored */
};
CKV_AT(struct ckv_view_sizes, heads, 0, 8);
CKV_AT(struct ckv_view_sizes, positions, 8, 8);
CKV_AT(struct ckv_view_sizes, codes, 16, 8);
CKV_AT(struct ckv_view_sizes, scales, 24, 8);
CKV_AT(struct ckv_view_sizes, padding, 32, 8);
CKV_AT(struct ckv_view_sizes, plain, 40, 8);
CKV_SIZE(struct ckv_view_sizes, 48);

struct ckv_view_head {
	uint32_t magic;
	uint32_t format;
	uint64_t n_bytes;
	struct ckv_key chain;
	struct ckv_key input_digest;	/* SHA-256 of what the selection read */
	uint32_t n_tokens;		/* of the chain */
	uint32_t n_layers;
	uint32_t n_kv_heads;
	uint32_t dim_k;
	uint32_t dim_v;
	uint32_t dtype;
	uint32_t encoding;		/* enum ckv_encoding */
	uint32_t bits;			/* kivi: 8, 4 or 2 */
	uint32_t group;			/* kivi: a multiple of 32 / bits */
	uint32_t scale;			/* fp8: enum ckv_view_scale */
	uint32_t block;			/* fp8: rows */
	uint32_t n_full;		/* a run's n_full is this, or its n_kept if less */
	uint32_t n_window;		/* rows of queries that were read */
	uint32_t inputs;		/* enum ckv_view_input */
	uint32_t n_always_lost;		/* tokens to be kept always that a layer's budget had
					 * no room for; of the layer that lost most */
	uint32_t n_kept_max;		/* of the longest run */
	uint32_t n_kept_min;		/* of the shortest */
	uint32_t zero0;
	uint64_t n_kept_total;		/* over all layers and heads */
	struct ckv_view_sizes sizes;
	char	 method[CKV_METHOD_BYTES]; /* canonical */
	uint8_t	 zero1[48];
};
CKV_AT(struct ckv_view_head, magic, 0, 4);
CKV_AT(struct ckv_view_head, format, 4, 4);
CKV_AT(struct ckv_view_head, n_bytes, 8, 8);
CKV_AT(struct ckv_view_head, chain, 16, 32);
CKV_AT(struct ckv_view_head, input_digest, 48, 32);
CKV_AT(struct ckv_view_head, n_tokens, 80, 4);
CKV_AT(struct ckv_view_head, n_layers, 84, 4);
CKV_AT(struct ckv_view_head, n_kv_heads, 88, 4);
CKV_AT(struct ckv_view_head, dim_k, 92, 4);
CKV_AT(struct ckv_view_head, dim_v, 96, 4);
CKV_AT(struct ckv_view_head, dtype, 100, 4);
CKV_AT(struct ckv_view_head, encoding, 104, 4);
CKV_AT(struct ckv_view_head, bits, 108, 4);
CKV_AT(struct ckv_view_head, group, 112, 4);
CKV_AT(struct ckv_view_head, scale, 116, 4);
CKV_AT(struct ckv_view_head, block, 120, 4);
CKV_AT(struct ckv_view_head, n_full, 124, 4);
CKV_AT(struct ckv_view_head, n_window, 128, 4);
CKV_AT(struct ckv_view_head, inputs, 132, 4);
CKV_AT(struct ckv_view_head, n_always_lost, 136, 4);
CKV_AT(struct ckv_view_head, n_kept_max, 140, 4);
CKV_AT(struct ckv_view_head, n_kept_min, 144, 4);
CKV_AT(struct ckv_view_head, zero0, 148, 4);
CKV_AT(struct ckv_view_head, n_kept_total, 152, 8);
CKV_AT(struct ckv_view_head, sizes, 160, 48);
CKV_AT(struct ckv_view_head, method, 208, 256);
CKV_AT(struct ckv_view_head, zero1, 464, 48);
CKV_SIZE(struct ckv_view_head, CKV_VIEW_HEAD_BYTES);

enum ckv_view_side { CKV_VIEW_K = 0, CKV_VIEW_V = 1 };

/* All offsets are multiples of 64, those of empty regions, too. */
struct ckv_view_run {
	uint32_t n_kept;
	uint32_t n_full;
	uint64_t positions;
	uint64_t code[2];	/* by enum ckv_view_side */
	uint64_t scale[2];
	uint64_t full[2];
};
CKV_AT(struct ckv_view_run, n_kept, 0, 4);
CKV_AT(struct ckv_view_run, n_full, 4, 4);
CKV_AT(struct ckv_view_run, positions, 8, 8);
CKV_AT(struct ckv_view_run, code, 16, 16);
CKV_AT(struct ckv_view_run, scale, 32, 16);
CKV_AT(struct ckv_view_run, full, 48, 16);
CKV_SIZE(struct ckv_view_run, 64);

/* Bytes of the header and all runs. */
static inline uint64_t ckv_view_table_bytes(const struct ckv_geometry *g)
{
	return CKV_VIEW_HEAD_BYTES + (uint64_t)g->n_layers * g->n_kv_heads *
				     sizeof(struct ckv_view_run);
}

/* Does a region lie inside the view, at a multiple of 64? */
static inline bool ckv_view_fits(uint64_t offset, uint64_t bytes, uint64_t total)
{
	return offset <= total && bytes <= total - offset &&
	       offset % CKV_LINE == 0;
}

/* n / unit, rounded up, without overflow. */
static inline uint64_t ckv_view_units(uint64_t n, uint32_t unit)
{
	return n / unit + (n % unit != 0);
}

/* Does the header name an encoding, with parameters that this has? */
static inline bool ckv_view_encoding_ok(const struct ckv_view_head *h)
{
	switch (h->encoding) {
	case CKV_ENCODING_PLAIN:
	case CKV_ENCODING_BF16:
	case CKV_ENCODING_F16:
		return true;
	case CKV_ENCODING_FP8:
		return h->scale <= CKV_VIEW_SCALE_BLOCK &&
		       (h->scale != CKV_VIEW_SCALE_BLOCK || h->block > 0);
	case CKV_ENCODING_KIVI:
		return (h->bits == 8 || h->bits == 4 || h->bits == 2) &&
		       h->group > 0 && h->group % (32 / h->bits) == 0;
	default:
		return false;
	}
}

/* Bytes of the codes of n rows. ckv_view_encoding_ok() was true of the header. */
static inline uint64_t ckv_view_code_bytes(const struct ckv_view_head *h,
					   enum ckv_view_side side, uint64_t n)
{
	uint64_t dim = side == CKV_VIEW_V ? h->dim_v : h->dim_k;

	switch (h->encoding) {
	case CKV_ENCODING_PLAIN:
		return n * dim * ckv_dtype_bytes(h->dtype);
	case CKV_ENCODING_FP8:
		return n * dim;
	case CKV_ENCODING_KIVI:
		return side == CKV_VIEW_V ?
		       4 * n * ckv_view_units(dim, 32 / h->bits) :
		       4 * ckv_view_units(n, 32 / h->bits) * dim;
	default:
		return n * dim * 2;
	}
}

/* Bytes of the scales and mins of n rows. */
static inline uint64_t ckv_view_scale_bytes(const struct ckv_view_head *h,
					    enum ckv_view_side side, uint64_t n)
{
	uint64_t dim = side == CKV_VIEW_V ? h->dim_v : h->dim_k;

	if (n == 0 || dim == 0)
		return 0;
	if (h->encoding == CKV_ENCODING_KIVI)
		return 2 * (uint64_t)ckv_dtype_bytes(h->dtype) *
		       (side == CKV_VIEW_V ? n * ckv_view_units(dim, h->group) :
					     dim * ckv_view_units(n, h->group));
	if (h->encoding != CKV_ENCODING_FP8 || h->scale == CKV_VIEW_SCALE_ONE)
		return 0;
	return h->scale == CKV_VIEW_SCALE_BLOCK ?
	       4 * ckv_view_units(n, h->block) : 4;
}

/* Is the run inside a view of `bytes` bytes? ckv_view_head_ok() was true of the header. */
static inline bool ckv_view_run_ok(const struct ckv_view_head *h,
				   const struct ckv_view_run *run, uint64_t bytes)
{
	uint64_t width = ckv_dtype_bytes(h->dtype), n = run->n_kept;
	uint64_t n_full = n < h->n_full ? n : h->n_full;
	const uint64_t dim[2] = { h->dim_k, h->dim_v };

	if (n > h->n_tokens || run->n_full != n_full ||
	    !ckv_view_fits(run->positions, 4 * n, bytes))
		return false;
	for (int side = CKV_VIEW_K; side <= CKV_VIEW_V; side++)
		if (!ckv_view_fits(run->code[side],
				   ckv_view_code_bytes(h, side, n - n_full),
				   bytes) ||
		    !ckv_view_fits(run->scale[side],
				   ckv_view_scale_bytes(h, side, n - n_full),
				   bytes) ||
		    !ckv_view_fits(run->full[side], n_full * dim[side] * width,
				   bytes))
			return false;
	return true;
}

/* The header alone: has it this geometry, and does the view fit `bytes`, its pages? */
static inline bool ckv_view_head_ok(const struct ckv_view_head *h, uint64_t bytes,
				    const struct ckv_geometry *g)
{
	const struct ckv_view_sizes *s = &h->sizes;
	uint64_t table = ckv_view_table_bytes(g);

	return h->magic == CKV_VIEW_MAGIC && h->format == CKV_VIEW_FORMAT &&
	       h->n_bytes <= bytes && h->n_layers == g->n_layers &&
	       h->n_kv_heads == g->n_kv_heads && h->dim_k == g->dim_k &&
	       h->dim_v == g->dim_v && h->dtype == g->dtype &&
	       ckv_view_encoding_ok(h) && s->heads == table &&
	       table <= h->n_bytes &&
	       s->heads + s->positions + s->codes + s->scales + s->padding ==
		       h->n_bytes;
}

/*
 * Is every offset of the view inside `bytes`, the size of its pages? `head` is a private
 * copy of the header and all runs, ckv_view_table_bytes(), which is at most `bytes`.
 */
static inline bool ckv_view_ok(const struct ckv_view_head *head, uint64_t bytes,
			       const struct ckv_geometry *g)
{
	const struct ckv_view_run *run = (const void *)(head + 1);
	uint64_t n_runs = (uint64_t)g->n_layers * g->n_kv_heads, total = 0;

	if (!ckv_view_head_ok(head, bytes, g))
		return false;
	for (uint64_t i = 0; i < n_runs; i++) {
		if (!ckv_view_run_ok(head, &run[i], head->n_bytes) ||
		    run[i].n_kept > head->n_kept_max ||
		    run[i].n_kept < head->n_kept_min)
			return false;
		total += run[i].n_kept;
	}
	return total == head->n_kept_total;
}

#endif
