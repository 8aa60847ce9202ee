/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader.c - see reader.h. Pages and views are bf16, arithmetic is float.
 *
 * All turns of a session are one batch of the engine: later turns see the right
 * answers of earlier ones, as in SCBench (arXiv 2412.10319), and a document's form
 * is read through once for all of them.
 */
#include "tests/quality/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_TOKENS = 64 };

_Static_assert((int)CONTEXT_TAIL >= (int)ENGINE_BATCH, "a batch is a tail at most");

struct shape reader_shape(const struct model *m)
{
	return (struct shape){ m->cfg.n_layers, m->cfg.n_kv_heads,
			       m->cfg.n_heads, m->cfg.head_dim };
}

int reader_open(struct reader *r, const struct model *m)
{
	struct kv_geometry geo = engine_geometry(m, PAGE_TOKENS, VEC_BF16);
	int bad;

	*r = (struct reader){ .m = m };
	kv_init(&r->kv, &geo);
	r->runs = calloc(m->cfg.max_tokens / PAGE_TOKENS + 2, sizeof(*r->runs));
	r->logits = calloc(m->cfg.n_vocab, sizeof(*r->logits));
	bad = engine_init(&r->eng, m, vec_best(m->cfg.head_dim), ENGINE_BATCH);
	return bad < 0 || r->runs == NULL || r->logits == NULL ? -ENOMEM : 0;
}

void reader_close(struct reader *r)
{
	engine_free(&r->eng);
	kv_free(&r->kv);
	free(r->runs);
	free(r->logits);
	memset(r, 0, sizeof(*r));
}

/* Rows [from, from + n) of one layer and head, out of the pages. */
static void copy_rows(struct reader *r, uint32_t layer, uint32_t head,
		      uint32_t from, uint32_t n, uint16_t *k, uint16_t *v)
{
	uint32_t dim = r->m->cfg.head_dim;

	kv_runs(&r->kv, layer, head, from + n, r->runs);
	for (uint32_t i = 0; i < n; i++) {
		const struct kv_run *run = &r->runs[(from + i) / PAGE_TOKENS];
		size_t at = (from + i) % PAGE_TOKENS * dim * sizeof(*k);

		memcpy(k + (size_t)i * dim, run->k + at, dim * sizeof(*k));
		memcpy(v + (size_t)i * dim, run->v + at, dim * sizeof(*v));
	}
}

int reader_read(struct reader *r, const struct document *doc, struct context *ret)
{
	struct shape shape = reader_shape(r->m);
	struct context c;
	int bad = context_alloc(&c, &shape, doc->n_ids);

	if (bad < 0)
		return bad;
	r->eng.capture = (struct capture){ .to = (uint8_t *)c.q, .n = doc->n_ids,
					   .dtype = VEC_F32 };
	bad = engine_forward(&r->eng, &r->kv, doc->ids, doc->n_ids, 0, NULL);
	r->eng.capture.n = 0;
	for (uint32_t h = 0; bad == 0 && h < shape.n_layers * shape.n_kv_heads; h++)
		copy_rows(r, h / shape.n_kv_heads, h % shape.n_kv_heads, 0,
			  doc->n_ids, context_row(&c, c.k, 0, h, 0),
			  context_row(&c, c.v, 0, h, 0));
	if (bad == 0)
		bad = context_sum(&c, r->eng.ops);
	if (bad < 0)
		context_free(&c);
	else
		*ret = c;
	return bad;
}

/* Write the questions and answers of a session, and note where answers are said. */
static void write_tail(const struct document *doc, uint32_t first, uint32_t n_turns,
		       struct session *s)
{
	for (uint32_t t = 0; t < n_turns; t++) {
		uint32_t i = (first + t) % doc->n_questions;
		const struct question *q = &doc->question[i];

		memcpy(s->ids + s->n_ids, q->ask, q->n_ask * sizeof(*s->ids));
		s->n_ids += q->n_ask;
		if (t == 0 || t == 3)
			s->turn[t == 0 ? TURN_1 : TURN_4] = (struct probes){
				.first = s->n_ids - 1, .n = q->n_say };
		memcpy(s->ids + s->n_ids, q->say, q->n_say * sizeof(*s->ids));
		s->n_ids += q->n_say;
	}
}

static int read_tail(struct reader *r, const struct context *c, struct session *s)
{
	const struct shape *shape = &c->shape;
	size_t row = (size_t)s->n_asked * shape->dim;
	int bad;

	r->eng.capture = (struct capture){ .to = (uint8_t *)s->q,
					   .first = c->n_tokens,
					   .n = s->n_tail, .dtype = VEC_F32 };
	bad = engine_forward(&r->eng, &r->kv, s->ids, s->n_tail, c->n_tokens, NULL);
	r->eng.capture.n = 0;
	for (uint32_t h = 0; bad == 0 && h < shape->n_layers * shape->n_kv_heads; h++)
		copy_rows(r, h / shape->n_kv_heads, h % shape->n_kv_heads,
			  c->n_tokens, s->n_asked, s->k + h * row, s->v + h * row);
	return bad;
}

int reader_session(struct reader *r, const struct context *c,
		   const struct document *doc, uint32_t first, uint32_t n_turns,
		   struct session *ret)
{
	struct session plan = { 0 }, s;
	int bad;

	write_tail(doc, first, n_turns, &plan);
	bad = session_alloc(&s, &c->shape, plan.n_ids,
			    doc->question[first % doc->n_questions].n_ask);
	if (bad < 0)
		return bad;
	memcpy(s.ids, plan.ids, sizeof(s.ids));
	memcpy(s.turn, plan.turn, sizeof(s.turn));
	s.n_ids = plan.n_ids;
	bad = read_tail(r, c, &s);
	if (bad == 0)
		bad = session_exact(&s, c, r->eng.ops);
	if (bad < 0)
		session_free(&s);
	else
		*ret = s;
	return bad;
}

/* Does each row of an answer lead to its next word? */
static uint8_t says(struct reader *r, const struct session *s,
		    const struct probes *answer)
{
	for (uint32_t i = answer->first; i < answer->first + answer->n; i++) {
		engine_logits(&r->eng, i, r->logits);
		if (engine_argmax(r->logits, r->m->cfg.n_vocab) != s->ids[i + 1])
			return 0;
	}
	return 1;
}

int reader_ask(struct reader *r, const struct session *s, const struct kv_run *view,
	       uint32_t n_tokens, uint8_t ret_right[N_TURNS])
{
	struct kv kv;
	int bad;

	kv_init_view(&kv, &r->kv.geo, view, n_tokens);
	bad = engine_forward(&r->eng, &kv, s->ids, s->n_ids, n_tokens, NULL);
	for (int t = 0; bad == 0 && t < N_TURNS; t++)
		ret_right[t] = says(r, s, &s->turn[t]);
	kv_free(&kv);
	return bad;
}
