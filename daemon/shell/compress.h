/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compress.h - make the bytes of a view from the pages of a chain.
 *
 * These functions read the pages in place and know nothing of clients, spaces or
 * threads. compress_check() works out what the method means for this chain (settles
 * it), compress_select() chooses the tokens that are kept, compress_write() encodes
 * them into the view.
 */
#ifndef CKV_COMPRESS_H
#define CKV_COMPRESS_H

#include "daemon/shell/inputs.h"
#include "proto/ckv_view.h"

#include <stdbool.h>

struct compress_layer {
	uint32_t source;		/* the layer whose positions it uses; itself, or before */
	uint32_t n_sets;		/* sets of positions: one per head; 1: all heads use one */
	size_t   pos;			/* index of the first position in `pos` */
	struct ckv_layer_layout at;	/* in the view */
};

struct compress {
	/* Filled by the caller. */
	const struct ckv_geometry *geometry;
	const struct ckv_method *method; /* as requested; its text is stored in the view */
	const void **page;		/* pages of the chain, root first */
	uint32_t n_tokens;
	const struct inputs *inputs;
	bool (*stop)(void *context);	/* called between layers: end early? may be NULL */
	void *context;

	/* Filled by compress_check(). */
	struct ckv_method settled;	/* `method`, with budget and bits as numbers */

	/* Filled by compress_select(). */
	struct compress_layer *layer;	/* [n_layers] */
	struct ckv_layer_kept *kept;	/* [n_layers], from which sizes are computed */
	uint32_t *pos;			/* positions of the kept tokens */
	size_t pos_bytes;
	struct ckv_view_head head;	/* all but chain and digest */
};

/*
 * Describe a chain of n_tokens to the kernels that lay views out (n_q_heads is left 0).
 * -EINVAL: rows of this dtype cannot be compressed.
 */
int compress_object(const struct ckv_geometry *g, uint32_t n_tokens,
		    struct ckv_object *ret_object);

/* Can pages of this layout be compressed? 0; -EINVAL and `why`. */
int compress_layout(const struct ckv_geometry *geometry,
		    char why[CKV_METHOD_WHY_BYTES]);

/*
 * Does the method fit the chain and the geometry? Fills c->settled. -EINVAL and `why`.
 * The inputs are not looked at yet, as only c->settled says which are read.
 * n_query_heads: 0 if the request has no queries.
 */
int compress_check(struct compress *c, uint32_t n_query_heads,
		   char why[CKV_METHOD_WHY_BYTES]);

/*
 * Choose what is kept. -EDOM: a number is NaN or infinite, and `why` says where.
 * -EINVAL: an input is missing, and `why` says which. -ENOMEM. -ECANCELED: c->stop()
 * said so. In each case the caller must call compress_free().
 */
int compress_select(struct compress *c, char why[CKV_METHOD_WHY_BYTES]);

/*
 * Write all head.n_bytes of the view; `chain` and `digest` go into its head. -EDOM: a
 * kept number cannot be encoded, and `why` says where. -ENOMEM; -ECANCELED.
 */
int compress_write(const struct compress *c, const struct ckv_key *chain,
		   const struct ckv_key *digest, void *view,
		   char why[CKV_METHOD_WHY_BYTES]);

void compress_free(struct compress *c);

/* Keys or values of one layer, in the pages. */
struct ckv_rows compress_rows(const struct compress *c, uint32_t layer,
			      enum ckv_side side);

/* When kept[] is known: fill layer[].at and head. compress_select() ends with this. */
void compress_lay_out(struct compress *c);

#endif
