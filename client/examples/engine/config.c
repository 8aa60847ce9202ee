/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - config.json, as Hugging Face writes it for LlamaForCausalLM.
 *
 * One table says which keys are understood. Any other key may change what the
 * model computes, so it is refused by its name, never ignored. Sizes are limited
 * so that no product of them overflows later.
 */
#include "client/examples/engine/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

/* What the architecture has where config.json does not say. */
#define ROPE_THETA	10000.0f
#define NORM_EPS	1e-6f
#define BOS		1u

enum kind {
	SIZE,		/* a whole number from min to max; must be there */
	READ,		/* has a function below */
	ONLY,		/* one value is built here; null or absent is as good */
	UNUSED,		/* changes no number that is computed here */
};

static const struct key {
	const char *name;
	enum kind kind;
	const char *only;		/* ONLY: the value, as JSON */
	size_t at;			/* SIZE: offset in struct config */
	uint32_t min, max;
} keys[] = {
	{ "hidden_size", SIZE, NULL, offsetof(struct config, hidden), 8, 1 << 16 },
	{ "intermediate_size", SIZE, NULL, offsetof(struct config, mlp), 8, 1 << 18 },
	{ "num_hidden_layers", SIZE, NULL, offsetof(struct config, n_layers), 1, 1024 },
	{ "num_attention_heads", SIZE, NULL, offsetof(struct config, n_heads), 1, 1024 },
	{ "vocab_size", SIZE, NULL, offsetof(struct config, n_vocab), 1, 1 << 20 },
	{ "max_position_embeddings", SIZE, NULL, offsetof(struct config, max_tokens),
	  1, 1 << 22 },

	{ .name = "model_type", READ },
	{ .name = "num_key_value_heads", READ },
	{ .name = "head_dim", READ },
	{ .name = "rms_norm_eps", READ },
	{ .name = "rope_theta", READ },
	{ .name = "rope_scaling", READ },
	{ .name = "rope_parameters", READ },
	{ .name = "bos_token_id", READ },
	{ .name = "tie_word_embeddings", READ },

	{ "architectures", ONLY, .only = "[\"LlamaForCausalLM\"]" },
	{ "hidden_act", ONLY, .only = "\"silu\"" },
	{ "attention_bias", ONLY, .only = "false" },
	{ "mlp_bias", ONLY, .only = "false" },
	{ "pretraining_tp", ONLY, .only = "1" },
	{ "partial_rotary_factor", ONLY, .only = "1" },
	{ "rope_interleaved", ONLY, .only = "false" },
	{ "is_llama_config", ONLY, .only = "true" },

	/* Names, how it was stored, how it was trained, how text is generated. */
	{ .name = "_name_or_path", UNUSED },
	{ .name = "transformers_version", UNUSED },
	{ .name = "torch_dtype", UNUSED },
	{ .name = "dtype", UNUSED },
	{ .name = "initializer_range", UNUSED },
	{ .name = "attention_dropout", UNUSED },
	{ .name = "use_cache", UNUSED },
	{ .name = "eos_token_id", UNUSED },
	{ .name = "pad_token_id", UNUSED },
	{ .name = "unk_token_id", UNUSED },
};

#define N_KEYS	(sizeof(keys) / sizeof(keys[0]))

struct reader {
	const char *path;
	const json_t *root;
	struct err *e;
};

static bool left_out(const json_t *v)
{
	return v == NULL || json_is_null(v);
}

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
	if (!left_out(json_object_get(in->root, key)))
		return read_size(in, key, min, max, ret);
	if (otherwise < min || otherwise > max)
		return err_set(in->e, -EINVAL, "%s: %s is left out, so it is %u; "
			       "it must be from %u to %u", in->path, key,
			       otherwise, min, max);
	*ret = otherwise;
	return 0;
}

static int read_real_or(const struct reader *in, const json_t *from,
			const char *key, double min, double max,
			float otherwise, float *ret)
{
	const json_t *v = json_object_get(from, key);

	if (!left_out(v) && (!json_is_number(v) ||
			     !(json_number_value(v) >= min) ||
			     !(json_number_value(v) <= max)))
		return err_set(in->e, -EINVAL, "%s: %s must be a number from "
			       "%g to %g", in->path, key, min, max);
	*ret = left_out(v) ? otherwise : (float)json_number_value(v);
	return 0;
}

static bool same(const json_t *a, const json_t *b)
{
	if (json_is_number(a) && json_is_number(b))
		return json_number_value(a) >= json_number_value(b) &&
		       json_number_value(a) <= json_number_value(b);
	return json_equal(a, b);
}

/* Of a key of `outer` ("", "rope_scaling.") only one value is built here. */
static int accept_only(const struct reader *in, const char *outer,
		       const char *key, const json_t *v, const char *only)
{
	json_t *want = json_loads(only, JSON_DECODE_ANY, NULL);
	char *text;
	int r = 0;

	if (!left_out(v) && !same(v, want)) {
		text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
		r = err_set(in->e, -EINVAL, "%s: %s%s is %.60s; this engine "
			    "computes only %s", in->path, outer, key,
			    text != NULL ? text : "?", only);
		free(text);
	}
	json_decref(want);
	return r;
}

static int refuse_unknown(const struct reader *in, const char *outer,
			  const char *key)
{
	return err_set(in->e, -EINVAL, "%s: the key %s%s is not known to this "
		       "engine, and it may change what the model computes",
		       in->path, outer, key);
}

static int read_key(const struct reader *in, const char *name, const json_t *v)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		const struct key *k = &keys[i];

		if (strcmp(k->name, name) != 0)
			continue;
		return k->kind == ONLY ?
		       accept_only(in, "", name, v, k->only) : 0;
	}
	/* A key without a value asks for nothing. */
	return json_is_null(v) ? 0 : refuse_unknown(in, "", name);
}

static int read_keys(const struct reader *in, struct config *c)
{
	const char *name;
	json_t *v;
	int r = 0;

	json_object_foreach((json_t *)in->root, name, v) {
		r = read_key(in, name, v);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; r == 0 && i < N_KEYS; i++)
		if (keys[i].kind == SIZE)
			r = read_size(in, keys[i].name, keys[i].min,
				      keys[i].max, (uint32_t *)(void *)
				      ((char *)c + keys[i].at));
	return r;
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
	if (c->head_dim % 2 != 0)
		return err_set(in->e, -EINVAL, "%s: head_dim %u is not even",
			       in->path, c->head_dim);
	return 0;
}

/* rope_scaling and rope_parameters: whatever they say, it is RoPE unscaled. */
static int accept_unscaled(const struct reader *in, const char *outer,
			   const char *prefix)
{
	const json_t *rope = json_object_get(in->root, outer);
	const char *key;
	json_t *v;
	int r = 0;

	if (!left_out(rope) && !json_is_object(rope))
		return err_set(in->e, -EINVAL, "%s: %s is not an object",
			       in->path, outer);
	json_object_foreach((json_t *)rope, key, v) {
		if (strcmp(key, "type") == 0 || strcmp(key, "rope_type") == 0)
			r = accept_only(in, prefix, key, v, "\"default\"");
		else if (strcmp(key, "partial_rotary_factor") == 0)
			r = accept_only(in, prefix, key, v, "1");
		else if (strcmp(key, "rope_theta") != 0 && !json_is_null(v))
			r = refuse_unknown(in, prefix, key);
		if (r < 0)
			return r;
	}
	return 0;
}

/* In the older (rope_theta) or the newer spelling, or in both alike. */
static int read_rope(const struct reader *in, struct config *c)
{
	const json_t *newer = json_object_get(in->root, "rope_parameters");
	float older = ROPE_THETA;
	int r;

	r = accept_unscaled(in, "rope_scaling", "rope_scaling.");
	if (r == 0)
		r = accept_unscaled(in, "rope_parameters", "rope_parameters.");
	if (r == 0)
		r = read_real_or(in, in->root, "rope_theta", 1, 1e12,
				 ROPE_THETA, &older);
	if (r == 0)
		r = read_real_or(in, newer, "rope_theta", 1, 1e12, older,
				 &c->rope_theta);
	if (r == 0 && !left_out(json_object_get(in->root, "rope_theta")) &&
	    (older < c->rope_theta || older > c->rope_theta))
		return err_set(in->e, -EINVAL, "%s: rope_theta is %g, and %g in "
			       "rope_parameters", in->path, (double)older,
			       (double)c->rope_theta);
	return r;
}

/* Null: no word begins a text. */
static int read_bos(const struct reader *in, struct config *c)
{
	c->has_bos = !json_is_null(json_object_get(in->root, "bos_token_id"));
	if (!c->has_bos)
		return 0;
	return read_size_or(in, "bos_token_id", 0, c->n_vocab - 1, BOS,
			    &c->bos);
}

static int read_tied(const struct reader *in, struct config *c)
{
	const json_t *v = json_object_get(in->root, "tie_word_embeddings");

	if (!left_out(v) && !json_is_boolean(v))
		return err_set(in->e, -EINVAL, "%s: tie_word_embeddings must be "
			       "true or false", in->path);
	c->tied = json_is_true(v);
	return 0;
}

static int read_type(const struct reader *in)
{
	const json_t *v = json_object_get(in->root, "model_type");

	if (left_out(v))
		return err_set(in->e, -EINVAL, "%s: key model_type is missing",
			       in->path);
	return accept_only(in, "", "model_type", v, "\"llama\"");
}

static int read_all(const struct reader *in, struct config *c)
{
	int r;

	r = read_type(in);
	if (r == 0)
		r = read_keys(in, c);
	if (r == 0)
		r = read_heads(in, c);
	if (r == 0)
		r = read_rope(in, c);
	if (r == 0)
		r = read_real_or(in, in->root, "rms_norm_eps", 0, 1, NORM_EPS,
				 &c->norm_eps);
	if (r == 0)
		r = read_bos(in, c);
	if (r == 0)
		r = read_tied(in, c);
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
		return err_set(e, -errno, "%s: %s; it is in the folder of a "
			       "model, as Hugging Face names it", path,
			       strerror(errno));
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
