/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader.h - the model reads a document once, and answers questions after it from
 * the document's own keys and values or from what a method left of them.
 */
#ifndef QUALITY_READER_H
#define QUALITY_READER_H

#include "client/examples/engine/engine.h"
#include "tests/quality/context.h"
#include "tests/quality/grammar.h"

struct reader {
	const struct model *m;
	struct engine eng;
	struct kv kv;		/* the document's pages */
	struct kv_run *runs;	/* room for a list of them */
	float *logits;
};

/* The caller closes it, after an error too. 0 or -ENOMEM. */
int reader_open(struct reader *r, const struct model *m);
void reader_close(struct reader *r);

struct shape reader_shape(const struct model *m);

/* Read a document into a context, which the caller frees. 0 or -errno. */
int reader_read(struct reader *r, const struct document *doc, struct context *ret);

/*
 * Read after it n_turns questions (1 or 4) from number `first` on, each with its
 * right answer, and fill in a session, exact values included. 0 or -errno.
 */
int reader_session(struct reader *r, const struct context *c,
		   const struct document *doc, uint32_t first, uint32_t n_turns,
		   struct session *ret);

/*
 * Are the answers of the first and the fourth turn right, word for word and
 * greedily, when the document is what `view` holds (a run for each layer and kv
 * head)? The words before an answer's last are given as they should be, which
 * changes no verdict: the first wrong one settles it. 0 or -errno.
 */
int reader_ask(struct reader *r, const struct session *s, const struct kv_run *view,
	       uint32_t n_tokens, uint8_t ret_right[N_TURNS]);

#endif
