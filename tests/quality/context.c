/* SPDX-License-Identifier: Apache-2.0 */
/* context.c - see context.h. */
#include "tests/quality/context.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIM = 1024 };

int context_alloc(struct context *c, const struct shape *shape, uint32_t n_tokens)
{
	size_t heads = (size_t)shape->n_layers * shape->n_kv_heads;
	size_t q_heads = (size_t)shape->n_layers * shape->n_q_heads;

	*c = (struct context){ .shape = *shape, .n_tokens = n_tokens,
			       .room = n_tokens + CONTEXT_TAIL };
	c->k = calloc(heads * c->room * shape->dim, sizeof(*c->k));
	c->v = calloc(heads * c->room * shape->dim, sizeof(*c->v));
	c->q = calloc(q_heads * n_tokens * shape->dim, sizeof(*c->q));
	c->sums = calloc(q_heads * c->room, sizeof(*c->sums));
	if (c->k != NULL && c->v != NULL && c->q != NULL && c->sums != NULL)
		return 0;
	context_free(c);
	return -ENOMEM;
}

void context_free(struct context *c)
{
	free(c->k);
	free(c->v);
	free(c->q);
	free(c->sums);
	memset(c, 0, sizeof(*c));
}

int session_alloc(struct session *s, const struct shape *shape, uint32_t n_tail,
		  uint32_t n_asked)
{
	size_t heads = (size_t)shape->n_layers * shape->n_kv_heads;
	size_t q_heads = (size_t)shape->n_layers * shape->n_q_heads;

	*s = (struct session){ .n_tail = n_tail, .n_asked = n_asked };
	s->q = calloc(q_heads * n_tail * shape->dim, sizeof(*s->q));
	s->k = calloc(heads * n_asked * shape->dim, sizeof(*s->k));
	s->v = calloc(heads * n_asked * shape->dim, sizeof(*s->v));
	if (s->q != NULL && s->k != NULL && s->v != NULL)
		return 0;
	session_free(s);
	return -ENOMEM;
}

void session_free(struct session *s)
{
	for (int t = 0; t < N_TURNS; t++) {
		free(s->turn[t].p);
		free(s->turn[t].o);
	}
	free(s->q);
	free(s->k);
	free(s->v);
	memset(s, 0, sizeof(*s));
}

uint16_t *context_row(const struct context *c, uint16_t *rows, uint32_t layer,
		      uint32_t head, uint32_t pos)
{
	size_t at = (size_t)layer * c->shape.n_kv_heads + head;

	return rows + (at * c->room + pos) * c->shape.dim;
}

const float *session_query(const struct session *s, const struct shape *shape,
			   uint32_t layer, uint32_t head, uint32_t row)
{
	size_t at = (size_t)layer * shape->n_q_heads + head;

	return s->q + (at * s->n_tail + row) * shape->dim;
}

void attention(const struct vec_ops *ops, uint32_t dim, const float *q,
	       const uint16_t *k, const uint16_t *v, uint32_t n, float *p,
	       float *o)
{
	float scale = 1.0f / sqrtf((float)dim), scaled[MAX_DIM], sum;

	if (o != NULL)
		memset(o, 0, dim * sizeof(*o));
	if (n == 0)
		return;
	for (uint32_t d = 0; d < dim; d++)
		scaled[d] = q[d] * scale;
	ops->scores[VEC_BF16](p, scaled, k, n, dim);
	sum = ops->softmax(p, n);
	for (uint32_t i = 0; i < n; i++)
		p[i] /= sum;
	if (o != NULL)
		ops->mix[VEC_BF16](o, p, v, n, dim);
}

/* Add the attention of a query that sees n tokens to a head's column sums. */
static void add_sums(const struct context *c, const struct vec_ops *ops,
		     uint32_t layer, uint32_t q_head, const float *q, uint32_t n,
		     float *p, float *sums)
{
	uint32_t group = c->shape.n_q_heads / c->shape.n_kv_heads;
	const uint16_t *k = context_row(c, c->k, layer, q_head / group, 0);

	attention(ops, c->shape.dim, q, k, NULL, n, p, NULL);
	for (uint32_t i = 0; i < n; i++)
		sums[i] += p[i];
}

int context_sum(struct context *c, const struct vec_ops *ops)
{
	float *p = malloc((c->room + VEC_PAD) * sizeof(*p));
	size_t heads = (size_t)c->shape.n_layers * c->shape.n_q_heads;

	if (p == NULL)
		return -ENOMEM;
	for (size_t h = 0; h < heads; h++)
		for (uint32_t t = 0; t < c->n_tokens; t++)
			add_sums(c, ops, (uint32_t)(h / c->shape.n_q_heads),
				 (uint32_t)(h % c->shape.n_q_heads),
				 c->q + (h * c->n_tokens + t) * c->shape.dim,
				 t + 1, p, c->sums + h * c->room);
	free(p);
	return 0;
}

void context_append(struct context *c, const struct session *s,
		    const struct vec_ops *ops, float *sums)
{
	size_t heads = (size_t)c->shape.n_layers * c->shape.n_kv_heads;
	size_t q_heads = (size_t)c->shape.n_layers * c->shape.n_q_heads;
	size_t rows = (size_t)s->n_asked * c->shape.dim;
	float *p = sums + q_heads * c->room;

	for (size_t h = 0; h < heads; h++) {
		size_t to = (h * c->room + c->n_tokens) * c->shape.dim;

		memcpy(c->k + to, s->k + h * rows, rows * sizeof(*c->k));
		memcpy(c->v + to, s->v + h * rows, rows * sizeof(*c->v));
	}
	memcpy(sums, c->sums, q_heads * c->room * sizeof(*sums));
	for (size_t h = 0; h < q_heads; h++)
		for (uint32_t t = 0; t < s->n_asked; t++)
			add_sums(c, ops, (uint32_t)(h / c->shape.n_q_heads),
				 (uint32_t)(h % c->shape.n_q_heads),
				 s->q + (h * s->n_tail + t) * c->shape.dim,
				 c->n_tokens + t + 1, p, sums + h * c->room);
}

static void exact_head(struct session *s, struct probes *probes,
		       const struct context *c, const struct vec_ops *ops,
		       uint32_t layer, uint32_t head, float *scratch)
{
	const struct shape *shape = &c->shape;
	uint32_t kv = head / (shape->n_q_heads / shape->n_kv_heads);
	size_t at = ((size_t)layer * shape->n_q_heads + head) * probes->n;

	for (uint32_t i = 0; i < probes->n; i++, at++) {
		attention(ops, shape->dim, session_query(s, shape, layer, head,
							 probes->first + i),
			  context_row(c, c->k, layer, kv, 0),
			  context_row(c, c->v, layer, kv, 0), c->n_tokens,
			  scratch, probes->o + at * shape->dim);
		memcpy(probes->p + at * c->n_tokens, scratch,
		       c->n_tokens * sizeof(*scratch));
	}
}

int session_exact(struct session *s, const struct context *c,
		  const struct vec_ops *ops)
{
	size_t heads = (size_t)c->shape.n_layers * c->shape.n_q_heads;
	float *scratch = malloc((c->n_tokens + VEC_PAD) * sizeof(*scratch));
	int r = scratch == NULL ? -ENOMEM : 0;

	for (int t = 0; r == 0 && t < N_TURNS; t++) {
		struct probes *probes = &s->turn[t];
		size_t n = heads * probes->n;

		if (probes->n == 0)
			continue;
		probes->p = malloc(n * c->n_tokens * sizeof(*probes->p));
		probes->o = malloc(n * c->shape.dim * sizeof(*probes->o));
		if (probes->p == NULL || probes->o == NULL)
			r = -ENOMEM;
		for (uint32_t h = 0; r == 0 && h < heads; h++)
			exact_head(s, probes, c, ops, h / c->shape.n_q_heads,
				   h % c->shape.n_q_heads, scratch);
	}
	free(scratch);
	return r;
}
