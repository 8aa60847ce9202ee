/* SPDX-License-Identifier: Apache-2.0 */
/*
 * press.h - a context under a method, with the kernels that the daemon calls: what
 * survives, decoded again, and what it takes, to the byte.
 */
#ifndef QUALITY_PRESS_H
#define QUALITY_PRESS_H

#include "client/examples/engine/kv.h"
#include "kernels/ckv_kernels.h"
#include "tests/quality/context.h"

/* A context, or the first n_tokens rows of it, and the queries that come with it. */
struct press_input {
	const struct context *c;
	uint32_t n_tokens;
	uint32_t n_context;	/* rows from here on are the question's, not kept */
	const float *q;		/* [layer][q_head][q_rows][dim] */
	uint32_t q_rows, n_q;	/* the last of n_q is of token n_tokens - 1 */
	const float *sums;	/* as c->sums */
};

struct press {
	struct shape shape;
	uint32_t room;			/* tokens of a context */
	uint32_t *pos;			/* [layer][kv_head][room] */
	uint32_t *n_sets, *n;		/* [layer]: as ckv_kept */
	uint16_t *k, *v;		/* [layer][kv_head][room][dim] */
	struct kv_run *run;		/* [layer][kv_head]: rows of the context */
	struct ckv_sizes sizes;
	void *scratch;			/* of a selection */
	size_t scratch_bytes;
	void *rows, *code, *scale;	/* of a head */
};

/* For contexts of at most `room` tokens. The caller closes it, after errors too. */
int press_open(struct press *p, const struct shape *shape, uint32_t room);
void press_close(struct press *p);

/*
 * Fill in pos, n, k, v, run and sizes. `key_per_token`: encode keys as values are.
 * On error `why` says it.
 */
int press(struct press *p, const char *method, int key_per_token,
	  const struct press_input *in, char why[CKV_METHOD_WHY_BYTES]);

/* Positions of one layer and head, ascending; *ret_n of them are of the context. */
const uint32_t *press_kept(const struct press *p, uint32_t layer, uint32_t head,
			   uint32_t *ret_n);

/*
 * Of the attention that a turn's probes give to the whole context: the share that
 * falls on what was kept, and how far the output is from the exact one,
 * |O' - O| / |O| (Frobenius, over the probes), averaged over layers and query heads.
 */
void press_measure(const struct press *p, const struct press_input *in,
		   const struct session *s, enum turn turn,
		   const struct vec_ops *ops, float *scratch, double *ret_mass,
		   double *ret_error);

#endif
