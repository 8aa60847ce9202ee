/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - config.json, as Hugging Face writes it for LlamaForCausalLM.
 *
 * Sizes are limited so that no product of them overflows later. What this
 * engine does not compute is refused by its key, never ignored.
 */
#include "client/examples/engine/config.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

static const struct size_key {
	const char *key;
	size_t at;			/* offset in struct config */
	uint32_t min, max;
} size_keys[] = {
	{ "hidden_size", offsetof(struct config, hidden), 8, 1 << 16 },
	{ "intermediate_size", offsetof(struct config, mlp), 8, 1 << 18 },
	{ "num_hidden_layers", offsetof(struct config, n_layers), 1, 1024 },
	{ "num_attention_heads", offsetof(struct config, n_heads), 1, 1024 },
	{ "vocab_size", offsetof(struct config, n_vocab), 1, 1 << 20 },
	{ "max_position_embeddings", offsetof(struct config, max_tokens), 1,
	  1 << 22 },
};

struct reader {
	const char *path;
	const json_t *root;
	struct err *e;
};

static int read_size(const struct reader *in, const char *key, uint32_t min,
		     uint32_t max, uint32_t *ret)
{
	const json_t *v = json_object_get(in->root, key);

	if (v == NULL)
		return err_set(in->e, -EINVAL, "%s: key %s is missing",
			       in->path, key);
	if (!json_is_integer(v) || json_integer_value(v) < (json_int_t)min ||
	    json_integer_value(v) > (json_int_t)max)
		return err_set(in->e, -EINVAL, "%s: %s must be a whole number "
			       "from %u to %u", in->path, key, min, max);
	*ret = (uint32_t)json_integer_value(v);
	return 0;
}

/* A key that may be left out (or null) and then has a default. */
static int read_size_or(const struct reader *in, const char *key, uint32_t min,
			uint32_t max, uint32_t otherwise, uint32_t *ret)
{
	const json_t *v = json_object_get(in->root, key);

	if (v != NULL && !json_is_null(v))
		return read_size(in, key, min, max, ret);
	*ret = otherwise;
	return 0;
}

static int read_real(const struct reader *in, const json_t *from,
		     const char *key, double min, double max, float *ret)
{
	const json_t *v = json_object_get(from, key);

	if (v == NULL)
		return err_set(in->e, -EINVAL, "%s: key %s is missing",
			       in->path, key);
	if (!json_is_number(v) || !(json_number_value(v) >= min) ||
	    !(json_number_value(v) <= max))
		return err_set(in->e, -EINVAL, "%s: %s must be a number from "
			       "%g to %g", in->path, key, min, max);
	*ret = (float)json_number_value(v);
	return 0;
}

static int read_sizes(const struct reader *in, struct config *c)
{
	for (size_t i = 0; i < sizeof(size_keys) / sizeof(size_keys[0]); i++) {
		const struct size_key *k = &size_keys[i];
		uint32_t *to = (uint32_t *)(void *)((char *)c + k->at);
		int r = read_size(in, k->key, k->min, k->max, to);

		if (r < 0)
			return r;
	}
	return 0;
}

static int read_heads(const struct reader *in, struct config *c)
{
	int r;

	r = read_size_or(in, "num_key_value_heads", 1, 1024, c->n_heads,
			 &c->n_kv_heads);
	if (r < 0)
		return r;
	if (c->n_heads % c->n_kv_heads != 0)
		return err_set(in->e, -EINVAL, "%s: num_key_value_heads %u does "
			       "not divide num_attention_heads %u", in->path,
			       c->n_kv_heads, c->n_heads);
	r = read_size_or(in, "head_dim", 2, 1024, c->hidden / c->n_heads,
			 &c->head_dim);
	if (r < 0)
		return r;
	if (c->head_dim < 2 || c->head_dim % 2 != 0)
		return err_set(in->e, -EINVAL, "%s: head_dim %u is not even",
			       in->path, c->head_dim);
	return 0;
}

/* RoPE without scaling, in the older (rope_theta) or the newer spelling. */
static int read_rope(const struct reader *in, struct config *c)
{
	const json_t *scaling = json_object_get(in->root, "rope_scaling");
	const json_t *newer = json_object_get(in->root, "rope_parameters");
	const char *type = json_string_value(json_object_get(newer,
							     "rope_type"));

	if (scaling != NULL && !json_is_null(scaling))
		return err_set(in->e, -EINVAL, "%s: rope_scaling is not "
			       "supported", in->path);
	if (type != NULL && strcmp(type, "default") != 0)
		return err_set(in->e, -EINVAL, "%s: rope_parameters of type %s "
			       "are not supported", in->path, type);
	return read_real(in, json_is_object(newer) ? newer : in->root,
			 "rope_theta", 1, 1e12, &c->rope_theta);
}

/* Keys whose value changes the arithmetic: only the plain one is built. */
static int refuse_others(const struct reader *in)
{
	static const char *const off[] = { "attention_bias", "mlp_bias" };
	const char *type = json_string_value(json_object_get(in->root,
							     "model_type"));
	const char *act = json_string_value(json_object_get(in->root,
							    "hidden_act"));

	if (type == NULL || strcmp(type, "llama") != 0)
		return err_set(in->e, -EINVAL, "%s: model_type is %s, only "
			       "llama is supported", in->path,
			       type != NULL ? type : "missing");
	if (act != NULL && strcmp(act, "silu") != 0)
		return err_set(in->e, -EINVAL, "%s: hidden_act %s is not "
			       "supported", in->path, act);
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
		if (json_is_true(json_object_get(in->root, off[i])))
			return err_set(in->e, -EINVAL, "%s: %s is not "
				       "supported", in->path, off[i]);
	return 0;
}

static int read_all(const struct reader *in, struct config *c)
{
	int r;

	r = refuse_others(in);
	if (r == 0)
		r = read_sizes(in, c);
	if (r == 0)
		r = read_heads(in, c);
	if (r == 0)
		r = read_rope(in, c);
	if (r == 0)
		r = read_real(in, in->root, "rms_norm_eps", 0, 1, &c->norm_eps);
	if (r == 0)
		r = read_size(in, "bos_token_id", 0, c->n_vocab - 1, &c->bos);
	if (r == 0)
		c->tied = json_is_true(json_object_get(in->root,
						       "tie_word_embeddings"));
	return r;
}

int config_load(const char *path, struct config *ret, struct err *e)
{
	struct config c = { 0 };
	struct reader in = { .path = path, .e = e };
	json_error_t why;
	json_t *root;
	int r;

	if (access(path, R_OK) < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	root = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(root)) {
		json_decref(root);
		return err_set(e, -EINVAL, "%s: not a JSON object: %s", path,
			       root == NULL ? why.text : "another type");
	}
	in.root = root;
	r = read_all(&in, &c);
	json_decref(root);
	if (r == 0)
		*ret = c;
	return r;
}
