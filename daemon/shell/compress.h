/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compress.h - from the pages of a chain to the bytes of a view.
 *
 * Reads pages where they lie and knows nothing of clients, spaces or threads.
 * compress_check() settles what the method means for this chain, compress_select()
 * decides what is kept, compress_write() encodes and writes it.
 */
#ifndef CKV_COMPRESS_H
#define CKV_COMPRESS_H

#include "daemon/shell/inputs.h"
#include "proto/ckv_view.h"

#include <stdbool.h>

struct compress_layer {
	uint32_t source;		/* the layer whose positions it shares */
	uint32_t n_sets;		/* of the source; 1: all heads share one */
	size_t   pos;			/* first of them in `pos` */
	struct ckv_layer_layout at;	/* in the view */
};

struct compress {
	/* Given. */
	const struct ckv_geometry *geometry;
	const struct ckv_method *method; /* as it was asked for: what the view says */
	const void **page;		/* of the chain, root first */
	uint32_t n_tokens;
	const struct inputs *inputs;
	bool (*stop)(void *context);	/* asked between layers; may be NULL */
	void *context;

	/* By compress_check(). */
	struct ckv_method settled;	/* budget and bits as numbers */

	/* By compress_select(). */
	struct compress_layer *layer;
	struct ckv_layer_kept *kept;	/* the same layers, as sizes are counted */
	uint32_t *pos;
	size_t pos_bytes;
	struct ckv_view_head head;	/* but for chain and digest */
};

/*
 * What a chain of n_tokens is to the kernels that lay views out; no queries. -EINVAL:
 * rows of this dtype are not compressed.
 */
int compress_object(const struct ckv_geometry *g, uint32_t n_tokens,
		    struct ckv_object *ret_object);

/* Are its pages laid out as those that are compressed? -EINVAL, and why. */
int compress_layout(const struct ckv_geometry *geometry,
		    char why[CKV_METHOD_WHY_BYTES]);

/*
 * Do the chain and the geometry fit the method? -EINVAL, and why. The inputs are not
 * looked at: what `settled` reads is known only now. n_query_heads: 0, none came.
 */
int compress_check(struct compress *c, uint32_t n_query_heads,
		   char why[CKV_METHOD_WHY_BYTES]);

/*
 * Choose. -EDOM a number that is no number, -EINVAL an input is missing: `why` says
 * where or which; -ENOMEM; -ECANCELED stopped. Give it to compress_free() either way.
 */
int compress_select(struct compress *c, char why[CKV_METHOD_WHY_BYTES]);

/*
 * Write all head.n_bytes. `chain` and `digest` go into the head. -EDOM, and where: a
 * kept number that cannot be encoded; -ENOMEM; -ECANCELED.
 */
int compress_write(const struct compress *c, const struct ckv_key *chain,
		   const struct ckv_key *digest, void *view,
		   char why[CKV_METHOD_WHY_BYTES]);

void compress_free(struct compress *c);

/* Keys or values of one layer, in the pages. */
struct ckv_rows compress_rows(const struct compress *c, uint32_t layer,
			      enum ckv_side side);

/* Sizes, places and the head, when kept[] is known: the end of compress_select(). */
void compress_lay_out(struct compress *c);

#endif
