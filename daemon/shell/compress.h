/*
 * compress.h - from the pages of a chain to the bytes of a view.
 *
 * Reads pages where they lie and knows nothing of clients, spaces or threads.
 * compress_select() decides what is kept, compress_write() writes it.
 */
#ifndef CKV_COMPRESS_H
#define CKV_COMPRESS_H

#include "daemon/shell/inputs.h"
#include "kernels/ckv_kernels.h"
#include "proto/ckv_view.h"

#include <stdbool.h>

struct compress_layer {
	uint32_t source;	/* the layer whose positions it shares */
	uint32_t n_sets;	/* 1: all heads share one */
	uint32_t n;		/* positions in a set */
	size_t   pos;		/* first of them in `pos` */
	uint64_t offset;	/* of the positions, in the view */
};

struct compress {
	/* Given. */
	const struct ckv_geometry *geometry;
	const struct ckv_method *method;
	const void **page;		/* of the chain, root first */
	uint32_t n_tokens;
	const struct inputs *inputs;
	bool (*stop)(void *context);	/* asked between layers; may be NULL */
	void *context;

	/* Found by compress_select(). */
	struct compress_layer *layer;
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

/* Do the request and the geometry fit the method? -EINVAL, and why. */
int compress_check(const struct compress *c, char why[CKV_METHOD_WHY_BYTES]);

/*
 * Choose. -EDOM a number that is no number, `why` says where; -EINVAL;
 * -ENOMEM; -ECANCELED stopped. Give it to compress_free() either way.
 */
int compress_select(struct compress *c, char why[CKV_METHOD_WHY_BYTES]);

/* Write all n_bytes. `chain` and `digest` go into its head. */
void compress_write(const struct compress *c, const struct ckv_key *chain,
		    const struct ckv_key *digest, void *view);

void compress_free(struct compress *c);

#endif
