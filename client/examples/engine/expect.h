/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expect.h - comparing logits with those of another implementation.
 *
 * A file of expectations is safetensors with, for prompts i = 0, 1, ...:
 * p<i>.ids (I32, the prompt), p<i>.logits (F32, after its last word) and
 * p<i>.answer (I32, how greedy decoding goes on). Its metadata's `rule` says
 * how near is near enough: "logits: absolute difference at most X; the same
 * largest element".
 */
#ifndef ENGINE_EXPECT_H
#define ENGINE_EXPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "client/examples/engine/err.h"
#include "client/examples/engine/st.h"

struct prompt {
	uint32_t *ids;
	uint32_t n_ids;
	float *logits;			/* n_vocab of them */
	uint32_t *answer;
	uint32_t n_answer;
};

struct expect {
	struct prompt *prompt;
	uint32_t n_prompts;
	double diff_max;		/* of the rule */
};

/*
 * Read `path` for a model with n_vocab words. The caller owns *ret and gives
 * it to expect_free().
 *
 *   -EINVAL  not safetensors, no prompt in it, a tensor is absent or of
 *            another type or size, or the rule is not the one above
 *   -ENOMEM  out of memory; else the errors of open and mmap
 */
int expect_load(const char *path, uint32_t n_vocab, struct expect *ret,
		struct err *e);

void expect_free(struct expect *x);

/* The largest |a - b|; NaN counts as infinite. */
double expect_diff(const float *a, const float *b, uint32_t n);

/* Whether `logits` are as near to the prompt's as the rule asks. */
bool expect_met(const struct expect *x, const struct prompt *p,
		const float *logits, uint32_t n_vocab);

#endif
