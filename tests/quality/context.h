/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.h - what is compressed, and what it is judged by.
 *
 * A context is the keys and values of T tokens, in bf16 as they would lie in a
 * cache, and the queries of all its tokens. A session is what comes after it:
 * a first question of n_asked tokens, whose queries are the scoring window
 * where the question is known when the context is compressed, and the queries
 * ("probes") that look back at the context in the first and in the fourth turn.
 * Attention to the context alone is exact here; a compressed form is compared
 * with it.
 */
#ifndef QUALITY_CONTEXT_H
#define QUALITY_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#include "client/examples/engine/vec.h"

enum turn { TURN_1, TURN_4, N_TURNS };

enum { CONTEXT_TAIL = 64 };	/* tokens that may follow the context */

struct shape {
	uint32_t n_layers, n_kv_heads, n_q_heads, dim;
};

struct context {
	struct shape shape;
	uint32_t n_tokens;
	uint32_t room;		/* rows of a head: n_tokens + CONTEXT_TAIL */
	uint16_t *k, *v;	/* [layer][kv_head][room][dim], bf16 */
	float *q;		/* [layer][q_head][n_tokens][dim] */
	float *sums;		/* [layer][q_head][room]: attention each token got */
};

/* Rows of the tail: the queries there that look back, the answer's ids they say. */
struct probes {
	uint32_t first, n;
	float *p;		/* [layer][q_head][n][n_tokens]: exact attention */
	float *o;		/* [layer][q_head][n][dim]: and its output */
};

struct session {
	uint32_t n_tail;	/* tokens whose queries are here */
	uint32_t n_asked;	/* the first of them: the question in the window */
	float *q;		/* [layer][q_head][n_tail][dim] */
	uint16_t *k, *v;	/* [layer][kv_head][n_asked][dim]: of the question */
	struct probes turn[N_TURNS];	/* n 0: there is no such turn */
	uint32_t ids[CONTEXT_TAIL];	/* the tail's words; none without a model */
	uint32_t n_ids;
};

/* 0 or -ENOMEM; free also what failed. */
int context_alloc(struct context *c, const struct shape *shape, uint32_t n_tokens);
void context_free(struct context *c);
int session_alloc(struct session *s, const struct shape *shape, uint32_t n_tail,
		  uint32_t n_asked);
void session_free(struct session *s);

/* The row of one head at a position. */
uint16_t *context_row(const struct context *c, uint16_t *rows, uint32_t layer,
		      uint32_t head, uint32_t pos);
const float *session_query(const struct session *s, const struct shape *shape,
			   uint32_t layer, uint32_t head, uint32_t row);

/*
 * One query's attention over n rows: p[n] (with VEC_PAD places more) sums to
 * 1; o[dim], unless NULL, is its output. n 0: o is 0.
 */
void attention(const struct vec_ops *ops, uint32_t dim, const float *q,
	       const uint16_t *k, const uint16_t *v, uint32_t n, float *p,
	       float *o);

/* Fill c->sums from c->q: the column sums of causal attention. 0 or -ENOMEM. */
int context_sum(struct context *c, const struct vec_ops *ops);

/* Bring the session's question behind the context, its attention into `sums`. */
void context_append(struct context *c, const struct session *s,
		    const struct vec_ops *ops, float *sums);

/* Fill in what the probes of a session see exactly. 0 or -ENOMEM. */
int session_exact(struct session *s, const struct context *c,
		  const struct vec_ops *ops);

#endif
