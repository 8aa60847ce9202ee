/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - a model's config.json: the sizes of a Llama-architecture model.
 */
#ifndef ENGINE_CONFIG_H
#define ENGINE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "client/examples/engine/err.h"

struct config {
	uint32_t hidden;		/* width of the residual stream */
	uint32_t mlp;			/* width inside the MLP */
	uint32_t n_layers;
	uint32_t n_heads;		/* query heads */
	uint32_t n_kv_heads;		/* divides n_heads */
	uint32_t head_dim;		/* even */
	uint32_t n_vocab;
	uint32_t max_tokens;		/* positions the model was made for */
	bool has_bos;
	uint32_t bos;			/* id of the word that begins a text */
	float rope_theta;
	float norm_eps;
	bool tied;			/* the output matrix is the embedding */
};

/*
 * Read and judge `path`.
 *
 *   -ENOENT ...  the file cannot be read
 *   -EINVAL      not JSON; a key is absent, of the wrong type or outside its
 *                limits; or a key is not known here, or asks for something that
 *                is not built here (another architecture, scaled RoPE, biases)
 */
int config_load(const char *path, struct config *ret, struct err *e);

#endif
