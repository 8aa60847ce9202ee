/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - the forward pass of a Llama-architecture model.
 *
 * Tokens go through all layers in batches; within a batch each layer first
 * writes the batch's keys and values into their pages and then attends, so a
 * token finds the ones before it where any later reader will find them too.
 * All arithmetic is in float. Scratch memory is allocated once.
 */
#include "client/examples/engine/engine.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "client/examples/engine/attend.h"

static float *rows(uint32_t n_rows, uint32_t n_cols)
{
	return calloc((size_t)n_rows * n_cols + VEC_PANEL, sizeof(float));
}

int engine_init(struct engine *eng, const struct model *m,
		const struct vec_ops *ops, uint32_t batch)
{
	const struct config *c = &m->cfg;
	uint32_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;

	assert(batch > 0);
	*eng = (struct engine){
		.m = m, .ops = ops, .batch = batch,
		.x = rows(batch, c->hidden), .norm = rows(batch, c->hidden),
		.q = rows(batch, q), .k = rows(batch, kv), .v = rows(batch, kv),
		.mix = rows(batch, q),
		.gate = rows(batch, c->mlp), .up = rows(batch, c->mlp),
		.cos = rows(batch, c->head_dim / 2),
		.sin = rows(batch, c->head_dim / 2),
		.sum = rows(ATTEND_TILE, c->n_heads / c->n_kv_heads),
	};
	if (eng->x && eng->norm && eng->q && eng->k && eng->v && eng->mix &&
	    eng->gate && eng->up && eng->cos && eng->sin && eng->sum)
		return 0;
	engine_free(eng);
	return -ENOMEM;
}

void engine_free(struct engine *eng)
{
	float *all[] = { eng->x, eng->norm, eng->q, eng->k, eng->v, eng->mix,
			 eng->gate, eng->up, eng->cos, eng->sin, eng->scores,
			 eng->sum };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
	free(eng->runs);
	memset(eng, 0, sizeof(*eng));
}

struct kv_geometry engine_geometry(const struct model *m,
				   uint32_t block_tokens, enum vec_dtype dtype)
{
	return (struct kv_geometry){
		.n_layers = m->cfg.n_layers,
		.n_kv_heads = m->cfg.n_kv_heads,
		.head_dim = m->cfg.head_dim,
		.block_tokens = block_tokens,
		.dtype = dtype,
	};
}

/* y[t] = m x[t] for n tokens. */
static void product(const struct engine *eng, const struct matrix *m,
		    const float *x, uint32_t n, float *y)
{
	size_t whole = m->n_out / VEC_PANEL * VEC_PANEL;
	float part[VEC_PANEL];

	for (size_t o = 0; o < whole; o += VEC_PANEL)
		eng->ops->panel(y + o, m->n_out, x, m->n_in,
				m->panel + o * m->n_in, m->n_in, n);
	if (whole == m->n_out)
		return;
	for (uint32_t t = 0; t < n; t++) {
		eng->ops->panel(part, VEC_PANEL, x + (size_t)t * m->n_in,
				m->n_in, m->panel + whole * m->n_in, m->n_in,
				1);
		memcpy(y + (size_t)t * m->n_out + whole, part,
		       (m->n_out - whole) * sizeof(float));
	}
}

static void normalise(const float *x, const float *weight, uint32_t n,
		      float eps, float *y)
{
	double squares = 0;
	float scale;

	for (uint32_t i = 0; i < n; i++)
		squares += (double)x[i] * (double)x[i];
	scale = 1.0f / sqrtf((float)(squares / n) + eps);
	for (uint32_t i = 0; i < n; i++)
		y[i] = x[i] * scale * weight[i];
}

static void normalise_all(const struct engine *eng, const float *weight,
			  uint32_t n)
{
	const struct config *c = &eng->m->cfg;

	for (size_t t = 0; t < n; t++)
		normalise(eng->x + t * c->hidden, weight, c->hidden,
			  c->norm_eps, eng->norm + t * c->hidden);
}

static void make_angles(struct engine *eng, uint32_t n, uint32_t pos)
{
	uint32_t half = eng->m->cfg.head_dim / 2;

	for (uint32_t t = 0; t < n; t++) {
		for (uint32_t i = 0; i < half; i++) {
			float angle = (float)(pos + t) * eng->m->inv_freq[i];

			eng->cos[(size_t)t * half + i] = cosf(angle);
			eng->sin[(size_t)t * half + i] = sinf(angle);
		}
	}
}

/* Rotate the pairs (i, i + dim/2) of every head of every token. */
static void rotate(const struct engine *eng, float *x, uint32_t n,
		   uint32_t n_heads)
{
	uint32_t half = eng->m->cfg.head_dim / 2;

	for (uint32_t row = 0; row < n * n_heads; row++) {
		const float *cos = eng->cos + (size_t)(row / n_heads) * half;
		const float *sin = eng->sin + (size_t)(row / n_heads) * half;
		float *a = x + (size_t)row * 2 * half, *b = a + half;

		for (uint32_t i = 0; i < half; i++) {
			float first = a[i], second = b[i];

			a[i] = first * cos[i] - second * sin[i];
			b[i] = second * cos[i] + first * sin[i];
		}
	}
}

/* Keep the queries that somebody asked for, before they are scaled. */
static void capture(const struct engine *eng, uint32_t layer, uint32_t n,
		    uint32_t pos)
{
	const struct capture *want = &eng->capture;
	const struct config *c = &eng->m->cfg;
	uint16_t *half = (uint16_t *)(void *)want->to;
	float *full = (float *)(void *)want->to;

	for (uint32_t t = 0; t < n; t++) {
		uint32_t row = pos + t - want->first;

		if (pos + t < want->first || row >= want->n)
			continue;
		for (uint32_t i = 0; i < c->n_heads * c->head_dim; i++) {
			size_t head = (size_t)layer * c->n_heads +
				      i / c->head_dim;
			size_t at = (head * want->n + row) * c->head_dim +
				    i % c->head_dim;
			float q = eng->q[(size_t)t * c->n_heads * c->head_dim +
					 i];

			if (want->dtype == VEC_BF16)
				half[at] = vec_to_bf16(q);
			else
				full[at] = q;
		}
	}
}

static int attention(struct engine *eng, struct kv *kv, uint32_t index,
		     uint32_t n, uint32_t pos)
{
	const struct layer *l = &eng->m->layer[index];
	const struct config *c = &eng->m->cfg;
	uint32_t n_q = n * c->n_heads * c->head_dim;
	float scale = 1.0f / sqrtf((float)c->head_dim);
	int r;

	normalise_all(eng, l->attn_norm, n);
	product(eng, &l->q, eng->norm, n, eng->q);
	product(eng, &l->k, eng->norm, n, eng->k);
	product(eng, &l->v, eng->norm, n, eng->v);
	rotate(eng, eng->q, n, c->n_heads);
	rotate(eng, eng->k, n, c->n_kv_heads);
	for (uint32_t row = 0; row < n * c->n_kv_heads; row++)
		kv_write(kv, index, row % c->n_kv_heads,
			 pos + row / c->n_kv_heads,
			 eng->k + (size_t)row * c->head_dim,
			 eng->v + (size_t)row * c->head_dim);
	capture(eng, index, n, pos);
	for (uint32_t i = 0; i < n_q; i++)
		eng->q[i] *= scale;
	r = attend(eng, kv, index, n, pos);
	if (r < 0)
		return r;
	product(eng, &l->o, eng->mix, n, eng->norm);
	for (uint32_t i = 0; i < n * c->hidden; i++)
		eng->x[i] += eng->norm[i];
	return 0;
}

static void mlp(struct engine *eng, uint32_t index, uint32_t n)
{
	const struct layer *l = &eng->m->layer[index];
	const struct config *c = &eng->m->cfg;

	normalise_all(eng, l->mlp_norm, n);
	product(eng, &l->gate, eng->norm, n, eng->gate);
	product(eng, &l->up, eng->norm, n, eng->up);
	for (uint32_t i = 0; i < n * c->mlp; i++) {
		float g = eng->gate[i];

		eng->gate[i] = g / (1.0f + expf(-g)) * eng->up[i];
	}
	product(eng, &l->down, eng->gate, n, eng->norm);
	for (uint32_t i = 0; i < n * c->hidden; i++)
		eng->x[i] += eng->norm[i];
}

static int forward_batch(struct engine *eng, struct kv *kv,
			 const uint32_t *ids, uint32_t n, uint32_t pos)
{
	const struct config *c = &eng->m->cfg;
	int r;

	for (size_t t = 0; t < n; t++)
		memcpy(eng->x + t * c->hidden,
		       eng->m->embed + (size_t)ids[t] * c->hidden,
		       c->hidden * sizeof(float));
	make_angles(eng, n, pos);
	for (uint32_t i = 0; i < c->n_layers; i++) {
		r = attention(eng, kv, i, n, pos);
		if (r < 0)
			return r;
		mlp(eng, i, n);
	}
	return 0;
}

int engine_forward(struct engine *eng, struct kv *kv, const uint32_t *ids,
		   uint32_t n, uint32_t pos, float *logits)
{
	const struct config *c = &eng->m->cfg;
	uint32_t last = 0;
	int r;

	if (n > c->max_tokens || pos > c->max_tokens - n)
		return -ERANGE;
	for (uint32_t i = 0; i < n; i++)
		if (ids[i] >= c->n_vocab)
			return -ERANGE;
	r = kv_reserve(kv, pos + n);
	if (r < 0)
		return r;
	for (uint32_t done = 0; done < n; done += last) {
		last = n - done < eng->batch ? n - done : eng->batch;
		r = forward_batch(eng, kv, ids + done, last, pos + done);
		if (r < 0)
			return r;
	}
	if (logits == NULL || last == 0)
		return 0;
	engine_logits(eng, last - 1, logits);
	return 0;
}

void engine_logits(struct engine *eng, uint32_t row, float *logits)
{
	const struct config *c = &eng->m->cfg;

	normalise(eng->x + (size_t)row * c->hidden, eng->m->norm, c->hidden,
		  c->norm_eps, eng->norm);
	product(eng, &eng->m->head, eng->norm, 1, logits);
}

uint32_t engine_argmax(const float *logits, uint32_t n)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < n; i++)
		if (logits[i] > logits[best])
			best = i;
	return best;
}

int engine_decode(struct engine *eng, struct kv *kv, float *logits,
		  uint32_t pos, uint32_t stop, uint32_t max, uint32_t *ret_ids)
{
	uint32_t n = 0;

	while (n < max) {
		uint32_t id = engine_argmax(logits, eng->m->cfg.n_vocab);
		int r;

		ret_ids[n++] = id;
		if (id == stop || n == max)
			break;
		r = engine_forward(eng, kv, &id, 1, pos + n - 1, logits);
		if (r < 0)
			return r;
	}
	return (int)n;
}
