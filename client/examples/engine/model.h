/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - a model's weights, ready for the arithmetic.
 */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "client/examples/engine/config.h"
#include "client/examples/engine/err.h"
#include "client/examples/engine/identity.h"
#include "client/examples/engine/vocab.h"

/* n_out rows of n_in weights, stored as panels of VEC_PANEL rows, transposed. */
struct matrix {
	float *panel;
	uint32_t n_in, n_out;
};

struct layer {
	float *attn_norm, *mlp_norm;		/* [hidden] */
	struct matrix q, k, v, o;
	struct matrix gate, up, down;
};

struct model {
	struct config cfg;
	struct vocab vocab;
	float *embed;				/* [n_vocab][hidden] */
	float *norm;				/* [hidden] */
	struct matrix head;			/* hidden to n_vocab */
	struct layer *layer;
	float *inv_freq;			/* [head_dim / 2] */
	uint8_t identity[IDENTITY_BYTES];	/* of the weights */
};

/*
 * Load config.json, vocab.txt and the weights (weights.h) of the folder `dir`.
 *
 * The caller owns *ret and gives it to model_free(). On failure *ret is
 * untouched and `e` names the file and the key or tensor that is wrong.
 *
 *   -ENOENT ...  a file cannot be read
 *   -EINVAL      a file is damaged; a tensor is missing, of another shape, none
 *                of F32, F16 and BF16, or none that is computed with here
 *   -ENOMEM      out of memory
 */
int model_load(const char *dir, struct model *ret, struct err *e);

void model_free(struct model *m);

#endif
