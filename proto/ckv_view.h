/*
 * ckv_view.h - what is inside a view: a compressed, immutable form of a chain.
 *
 *      0  header                        struct ckv_view_head
 *    512  runs[n_layers * n_kv_heads]   struct ckv_view_run, (layer, head) order
 *         positions, K rows, V rows     where the runs say, each run 64-byte aligned
 *
 * A run is what one (layer, kv head) kept: n_kept positions (uint32_t,
 * ascending, in the original sequence), then K[n_kept][dim_k] and
 * V[n_kept][dim_v] in the stated encoding. Layers that share a set may share
 * the positions. All offsets are bytes from the start of the view and are
 * checked against n_bytes by ckv_view_ok() before anyone follows them.
 *
 * Keys were rotated at their original positions; a new query continues at
 * position n_tokens.
 */
#ifndef CKV_VIEW_H
#define CKV_VIEW_H

#include "proto/ckv_space.h"

#define CKV_VIEW_MAGIC		0x76766b63u	/* "ckvv" */
#define CKV_VIEW_FORMAT		1u
#define CKV_VIEW_HEAD_BYTES	512u

enum ckv_encoding {
	CKV_ENCODING_PLAIN = 1,	/* elements of the space's dtype */
};

struct ckv_view_head {
	uint32_t magic;
	uint32_t format;
	uint64_t n_bytes;
	struct ckv_key chain;
	struct ckv_key query_digest;	/* SHA-256 of the window queries */
	uint32_t n_tokens;		/* of the chain */
	uint32_t n_layers;
	uint32_t n_kv_heads;
	uint32_t dim_k;
	uint32_t dim_v;
	uint32_t dtype;
	uint32_t encoding;		/* enum ckv_encoding */
	uint32_t n_window;
	uint64_t n_kept_total;		/* over all layers and heads */
	uint32_t n_kept_max;
	uint32_t zero0;
	char	 method[CKV_METHOD_BYTES];
	uint8_t	 zero1[88];
};
CKV_AT(struct ckv_view_head, magic, 0, 4);
CKV_AT(struct ckv_view_head, format, 4, 4);
CKV_AT(struct ckv_view_head, n_bytes, 8, 8);
CKV_AT(struct ckv_view_head, chain, 16, 32);
CKV_AT(struct ckv_view_head, query_digest, 48, 32);
CKV_AT(struct ckv_view_head, n_tokens, 80, 4);
CKV_AT(struct ckv_view_head, n_layers, 84, 4);
CKV_AT(struct ckv_view_head, n_kv_heads, 88, 4);
CKV_AT(struct ckv_view_head, dim_k, 92, 4);
CKV_AT(struct ckv_view_head, dim_v, 96, 4);
CKV_AT(struct ckv_view_head, dtype, 100, 4);
CKV_AT(struct ckv_view_head, encoding, 104, 4);
CKV_AT(struct ckv_view_head, n_window, 108, 4);
CKV_AT(struct ckv_view_head, n_kept_total, 112, 8);
CKV_AT(struct ckv_view_head, n_kept_max, 120, 4);
CKV_AT(struct ckv_view_head, zero0, 124, 4);
CKV_AT(struct ckv_view_head, method, 128, 256);
CKV_AT(struct ckv_view_head, zero1, 384, 88);
CKV_SIZE(struct ckv_view_head, 472);

struct ckv_view_run {
	uint32_t n_kept;
	uint32_t zero;
	uint64_t positions_offset;
	uint64_t k_offset;
	uint64_t v_offset;
};
CKV_AT(struct ckv_view_run, n_kept, 0, 4);
CKV_AT(struct ckv_view_run, zero, 4, 4);
CKV_AT(struct ckv_view_run, positions_offset, 8, 8);
CKV_AT(struct ckv_view_run, k_offset, 16, 8);
CKV_AT(struct ckv_view_run, v_offset, 24, 8);
CKV_SIZE(struct ckv_view_run, 32);

static inline bool ckv_view_fits(uint64_t offset, uint64_t bytes, uint64_t total)
{
	return offset <= total && bytes <= total - offset;
}

/* Is every offset of the view inside `bytes`, the size of its pages? */
static inline bool ckv_view_ok(const struct ckv_view_head *head, uint64_t bytes,
			       const struct ckv_geometry *g)
{
	const struct ckv_view_run *run;
	uint64_t n_runs = (uint64_t)g->n_layers * g->n_kv_heads;
	uint64_t width = ckv_dtype_bytes(g->dtype);

	if (bytes < CKV_VIEW_HEAD_BYTES || head->magic != CKV_VIEW_MAGIC ||
	    head->format != CKV_VIEW_FORMAT || head->n_bytes > bytes ||
	    head->n_layers != g->n_layers || head->n_kv_heads != g->n_kv_heads ||
	    head->dim_k != g->dim_k || head->dim_v != g->dim_v ||
	    head->dtype != g->dtype || head->encoding != CKV_ENCODING_PLAIN ||
	    !ckv_view_fits(CKV_VIEW_HEAD_BYTES, n_runs * sizeof *run,
			   head->n_bytes))
		return false;
	run = (const void *)((const char *)head + CKV_VIEW_HEAD_BYTES);
	for (uint64_t i = 0; i < n_runs; i++) {
		uint64_t n = run[i].n_kept;

		if (n > head->n_tokens ||
		    !ckv_view_fits(run[i].positions_offset, 4 * n, head->n_bytes) ||
		    !ckv_view_fits(run[i].k_offset, n * g->dim_k * width,
				   head->n_bytes) ||
		    !ckv_view_fits(run[i].v_offset, n * g->dim_v * width,
				   head->n_bytes))
			return false;
	}
	return true;
}

#endif
