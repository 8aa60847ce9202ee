/* SPDX-License-Identifier: Apache-2.0 */
/* measure.c - what the probes of a session lose: see press_measure(). */
#include "tests/quality/press.h"

#include <math.h>

/* Squares of the difference from the exact output, and of that output. */
struct distance {
	double off, whole, mass;
};

static void measure_probe(const struct press *p, const struct press_input *in,
			  const struct session *s, const struct probes *probes,
			  const struct vec_ops *ops, uint32_t head, uint32_t i,
			  float *scratch, struct distance *d)
{
	const struct shape *shape = &p->shape;
	uint32_t layer = head / shape->n_q_heads, dim = shape->dim;
	uint32_t q_head = head % shape->n_q_heads, n;
	uint32_t kv = q_head / (shape->n_q_heads / shape->n_kv_heads);
	size_t at = ((size_t)layer * shape->n_kv_heads + kv) * p->room * dim;
	size_t row = (size_t)head * probes->n + i;
	const uint32_t *pos = press_kept(p, layer, kv, &n);
	const float *exact = probes->o + row * dim;
	float *o = scratch + p->room + VEC_PAD;

	attention(ops, dim, session_query(s, shape, layer, q_head,
					  probes->first + i),
		  p->k + at, p->v + at, n, scratch, o);
	for (uint32_t t = 0; t < dim; t++) {
		double off = (double)o[t] - (double)exact[t];

		d->off += off * off;
		d->whole += (double)exact[t] * (double)exact[t];
	}
	for (uint32_t t = 0; t < n; t++)
		d->mass += (double)probes->p[row * in->c->n_tokens + pos[t]];
}

void press_measure(const struct press *p, const struct press_input *in,
		   const struct session *s, enum turn turn,
		   const struct vec_ops *ops, float *scratch, double *ret_mass,
		   double *ret_error)
{
	uint32_t n_heads = p->shape.n_layers * p->shape.n_q_heads;
	const struct probes *probes = &s->turn[turn];
	double mass = 0, error = 0;

	for (uint32_t h = 0; h < n_heads; h++) {
		struct distance d = { 0 };

		for (uint32_t i = 0; i < probes->n; i++)
			measure_probe(p, in, s, probes, ops, h, i, scratch, &d);
		mass += d.mass / probes->n;
		error += sqrt(d.off / d.whole);
	}
	*ret_mass = mass / n_heads;
	*ret_error = error / n_heads;
}
