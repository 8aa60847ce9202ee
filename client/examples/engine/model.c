/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c - weights from safetensors, converted to float once, at load.
 *
 * Matrices are cut into panels of VEC_PANEL outputs and transposed, so that
 * the products read them front to back; rows that fill up the last panel are 0.
 * Every tensor of the folder has its place here, or the model is refused.
 */
#include "client/examples/engine/model.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/examples/engine/vec.h"
#include "client/examples/engine/weights.h"

struct loader {
	struct weights *weights;
	struct err *e;
};

static float *floats(const struct loader *in, size_t n)
{
	float *f = aligned_alloc(64, (n * sizeof(*f) + 63) / 64 * 64);

	if (f == NULL)
		err_set(in->e, -ENOMEM, "%s: no memory for the weights",
			in->weights->path);
	return f;
}

static int load_plain(const struct loader *in, const char *name, uint32_t rows,
		      uint32_t cols, float **ret)
{
	const struct st_tensor *t = weights_take(in->weights, name, rows, cols,
						 in->e);
	float *f;

	if (t == NULL)
		return -EINVAL;
	f = floats(in, t->n_elems);
	if (f == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_elems; i++)
		f[i] = weights_value(t, i);
	*ret = f;
	return 0;
}

static int load_matrix(const struct loader *in, const char *name,
		       uint32_t n_out, uint32_t n_in, struct matrix *ret)
{
	const struct st_tensor *t = weights_take(in->weights, name, n_out, n_in,
						 in->e);
	size_t n_rows = (n_out + VEC_PANEL - 1) / VEC_PANEL * VEC_PANEL;
	float *to;

	if (t == NULL)
		return -EINVAL;
	to = floats(in, n_rows * n_in);
	if (to == NULL)
		return -ENOMEM;
	for (size_t o = 0; o < n_rows; o++)
		for (size_t i = 0; i < n_in; i++)
			to[(o / VEC_PANEL * n_in + i) * VEC_PANEL +
			   o % VEC_PANEL] = o < n_out ?
					    weights_value(t, o * n_in + i) : 0;
	*ret = (struct matrix){ .panel = to, .n_in = n_in, .n_out = n_out };
	return 0;
}

static int load_layer(const struct loader *in, const struct config *c,
		      uint32_t index, struct layer *l)
{
	uint32_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
	const struct {
		const char *name;
		struct matrix *to;
		uint32_t n_out, n_in;
	} matrices[] = {
		{ "self_attn.q_proj", &l->q, q, c->hidden },
		{ "self_attn.k_proj", &l->k, kv, c->hidden },
		{ "self_attn.v_proj", &l->v, kv, c->hidden },
		{ "self_attn.o_proj", &l->o, c->hidden, q },
		{ "mlp.gate_proj", &l->gate, c->mlp, c->hidden },
		{ "mlp.up_proj", &l->up, c->mlp, c->hidden },
		{ "mlp.down_proj", &l->down, c->hidden, c->mlp },
	};
	char name[96];
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(matrices) / sizeof(*matrices);
	     i++) {
		snprintf(name, sizeof(name), "model.layers.%u.%s.weight",
			 index, matrices[i].name);
		r = load_matrix(in, name, matrices[i].n_out, matrices[i].n_in,
				matrices[i].to);
	}
	snprintf(name, sizeof(name), "model.layers.%u.input_layernorm.weight",
		 index);
	if (r == 0)
		r = load_plain(in, name, c->hidden, 0, &l->attn_norm);
	snprintf(name, sizeof(name),
		 "model.layers.%u.post_attention_layernorm.weight", index);
	if (r == 0)
		r = load_plain(in, name, c->hidden, 0, &l->mlp_norm);
	return r;
}

/* The output matrix of a tied model may be stored, but only as what it is. */
static int check_tied(const struct loader *in, const struct model *m)
{
	static const char name[] = "lm_head.weight";
	size_t n = (size_t)m->cfg.n_vocab * m->cfg.hidden;
	const struct st_tensor *t;

	if (!weights_have(in->weights, name))
		return 0;
	t = weights_take(in->weights, name, m->cfg.n_vocab, m->cfg.hidden,
			 in->e);
	if (t == NULL)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		float f = weights_value(t, i);

		if (memcmp(&f, &m->embed[i], sizeof(f)) != 0)
			return err_set(in->e, -EINVAL, "%s: tensor %s is not "
				       "the embedding, as tie_word_embeddings "
				       "in config.json says", in->weights->path,
				       name);
	}
	return 0;
}

static int load_weights(const struct loader *in, struct model *m)
{
	const struct config *c = &m->cfg;
	int r;

	m->layer = calloc(c->n_layers, sizeof(*m->layer));
	if (m->layer == NULL)
		return err_set(in->e, -ENOMEM, "out of memory");
	r = load_plain(in, "model.embed_tokens.weight", c->n_vocab, c->hidden,
		       &m->embed);
	for (uint32_t i = 0; r == 0 && i < c->n_layers; i++)
		r = load_layer(in, c, i, &m->layer[i]);
	if (r == 0)
		r = load_plain(in, "model.norm.weight", c->hidden, 0, &m->norm);
	if (r == 0)
		r = load_matrix(in, c->tied ? "model.embed_tokens.weight" :
				"lm_head.weight", c->n_vocab, c->hidden,
				&m->head);
	if (r == 0 && c->tied)
		r = check_tied(in, m);
	return r;
}

static int make_rope(const struct loader *in, struct model *m)
{
	uint32_t half = m->cfg.head_dim / 2;

	m->inv_freq = floats(in, half);
	if (m->inv_freq == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < half; i++)
		m->inv_freq[i] = 1.0f / powf(m->cfg.rope_theta, 2.0f *
				(float)i / (float)m->cfg.head_dim);
	return 0;
}

/*
 * Older checkpoints carry the frequencies of RoPE, which everybody computes from
 * config.json. They must be those; they may have been rounded.
 */
static int check_rope(const struct loader *in, const struct model *m,
		      uint32_t layer)
{
	uint32_t half = m->cfg.head_dim / 2;
	const struct st_tensor *t;
	char name[96];

	snprintf(name, sizeof(name),
		 "model.layers.%u.self_attn.rotary_emb.inv_freq", layer);
	if (!weights_have(in->weights, name))
		return 0;
	t = weights_take(in->weights, name, half, 0, in->e);
	if (t == NULL)
		return -EINVAL;
	for (uint32_t i = 0; i < half; i++)
		if (!(fabsf(weights_value(t, i) - m->inv_freq[i]) <=
		      m->inv_freq[i] / 128 + 1e-7f))
			return err_set(in->e, -EINVAL, "%s: tensor %s is not "
				       "what rope_theta in config.json makes",
				       in->weights->path, name);
	return 0;
}

/* What the configuration comes to here, by its defaults, too. */
static int identify(const struct loader *in, const char *dir, struct model *m)
{
	const struct config *c = &m->cfg;
	char path[4096], arithmetic[128];

	snprintf(path, sizeof(path), "%s/config.json", dir);
	snprintf(arithmetic, sizeof(arithmetic), "ckv-engine 1: in float, rope "
		 "%a, eps %a", (double)c->rope_theta, (double)c->norm_eps);
	return identity_of(path, arithmetic, in->weights->file,
			   in->weights->n_files, m->identity, in->e);
}

static int load_files(const char *dir, struct model *m, struct err *e)
{
	struct weights weights;
	struct loader in = { .weights = &weights, .e = e };
	int r = weights_open(dir, &weights, e);

	if (r < 0)
		return r;
	r = load_weights(&in, m);
	if (r == 0)
		r = make_rope(&in, m);
	for (uint32_t i = 0; r == 0 && i < m->cfg.n_layers; i++)
		r = check_rope(&in, m, i);
	if (r == 0)
		r = weights_check_used(&weights, e);
	if (r == 0)
		r = identify(&in, dir, m);
	weights_close(&weights);
	return r;
}

int model_load(const char *dir, struct model *ret, struct err *e)
{
	struct model m = { 0 };
	char path[4096];
	int r;

	snprintf(path, sizeof(path), "%s/config.json", dir);
	r = config_load(path, &m.cfg, e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/vocab.txt", dir);
	r = vocab_load(path, m.cfg.n_vocab, &m.vocab, e);
	if (r < 0)
		return r;
	r = load_files(dir, &m, e);
	if (r < 0) {
		model_free(&m);
		return r;
	}
	*ret = m;
	return 0;
}

void model_free(struct model *m)
{
	for (uint32_t i = 0; m->layer != NULL && i < m->cfg.n_layers; i++) {
		struct layer *l = &m->layer[i];

		free(l->attn_norm);
		free(l->mlp_norm);
		free(l->q.panel);
		free(l->k.panel);
		free(l->v.panel);
		free(l->o.panel);
		free(l->gate.panel);
		free(l->up.panel);
		free(l->down.panel);
	}
	free(m->layer);
	free(m->embed);
	free(m->norm);
	free(m->head.panel);
	free(m->inv_freq);
	vocab_free(&m->vocab);
	memset(m, 0, sizeof(*m));
}
