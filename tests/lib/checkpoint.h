/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint.h - the tensors of a very small model, for tests that write one of their own.
 *
 * 1 layer, width 8, 2 query heads, 1 kv head of 4, MLP 8, 3 words.
 */
#ifndef CKV_TESTS_CHECKPOINT_H
#define CKV_TESTS_CHECKPOINT_H

struct tensor {
	const char *name;
	unsigned rows, cols;	/* no cols: a vector */
};

static const struct tensor tensors[] = {
	{ "model.embed_tokens.weight", 3, 8 },
	{ "lm_head.weight", 3, 8 },
	{ "model.norm.weight", 8, 0 },
	{ "model.layers.0.input_layernorm.weight", 8, 0 },
	{ "model.layers.0.post_attention_layernorm.weight", 8, 0 },
	{ "model.layers.0.self_attn.q_proj.weight", 8, 8 },
	{ "model.layers.0.self_attn.k_proj.weight", 4, 8 },
	{ "model.layers.0.self_attn.v_proj.weight", 4, 8 },
	{ "model.layers.0.self_attn.o_proj.weight", 8, 8 },
	{ "model.layers.0.mlp.gate_proj.weight", 8, 8 },
	{ "model.layers.0.mlp.up_proj.weight", 8, 8 },
	{ "model.layers.0.mlp.down_proj.weight", 8, 8 },
};

#endif
