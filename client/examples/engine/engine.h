/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - inference: ids in, logits out, keys and values into pages.
 *
 * A token's logits are the same bits however its prompt is cut into calls and
 * batches, and wherever the pages are; see vec.h.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "client/examples/engine/kv.h"
#include "client/examples/engine/model.h"
#include "client/examples/engine/vec.h"

/*
 * Where to put the post-RoPE queries of positions first .. first + n - 1:
 * [layer][query head][n][dim]. What a compression method scores keys with.
 */
struct capture {
	uint8_t *to;
	uint32_t first, n;
	enum vec_dtype dtype;
};

struct engine {
	const struct model *m;
	const struct vec_ops *ops;
	uint32_t batch;			/* tokens computed together */
	struct capture capture;		/* n 0: nothing */
	float *x, *norm, *q, *k, *v;	/* [batch][...] */
	float *mix, *gate, *up;
	float *cos, *sin;		/* [batch][head_dim / 2] */
	float *scores;
	size_t n_scores;
	float *sum;			/* [query rows of a tile] */
	struct kv_run *runs;
	uint32_t n_runs;
};

#define ENGINE_BATCH	48u

/* 0 or -ENOMEM. `m` and `ops` stay the caller's and outlive the engine. */
int engine_init(struct engine *eng, const struct model *m,
		const struct vec_ops *ops, uint32_t batch);

void engine_free(struct engine *eng);

/* What pages for this model look like. */
struct kv_geometry engine_geometry(const struct model *m,
				   uint32_t block_tokens, enum vec_dtype dtype);

/*
 * Compute the n tokens `ids` at positions pos, pos + 1, ...; everything before
 * pos is in `kv`. Their keys and values are written into kv's pages (of our
 * own, where nobody added one). `logits`, unless NULL, receives n_vocab values
 * for the last token.
 *
 *   -ERANGE  a position beyond the model's, or an id beyond its vocabulary
 *   -ENOMEM  out of memory
 */
int engine_forward(struct engine *eng, struct kv *kv, const uint32_t *ids,
		   uint32_t n, uint32_t pos, float *logits);

/*
 * n_vocab logits after the row-th token of the last batch that was computed: of all
 * n tokens of the last engine_forward(), where n was at most eng->batch.
 */
void engine_logits(struct engine *eng, uint32_t row, float *logits);

/* The index of the largest value, the first of equal ones. */
uint32_t engine_argmax(const float *logits, uint32_t n);

/*
 * Go on greedily from `logits` (n_vocab values, overwritten) at position pos:
 * write at most max ids, the last of them `stop` where it came up. Returns
 * their number, or what engine_forward() returns.
 */
int engine_decode(struct engine *eng, struct kv *kv, float *logits,
		  uint32_t pos, uint32_t stop, uint32_t max, uint32_t *ret_ids);

#endif
