/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grammar.h - documents with facts hidden in filler, and questions about them:
 * the language that tiny-recall was trained on (tests/data/tiny-recall/grammar.py),
 * drawn from our own seed.
 */
#ifndef QUALITY_GRAMMAR_H
#define QUALITY_GRAMMAR_H

#include "client/examples/engine/vocab.h"
#include "tests/quality/random.h"

enum { QUESTION_MAX = 8, ANSWER_MAX = 4, GRAMMAR_MAX_QUESTIONS = 32 };

struct question {
	uint32_t ask[QUESTION_MAX], n_ask;
	uint32_t say[ANSWER_MAX], n_say;	/* with its final " ." */
};

struct document {
	uint32_t *ids;				/* <bos> first */
	uint32_t n_ids;
	struct question question[GRAMMAR_MAX_QUESTIONS];
	uint32_t n_questions;
};

struct document_want {
	uint32_t n_tokens;
	uint32_t n_facts;	/* named codes, each asked for */
	uint32_t n_chains;	/* variables that copy another one's value; of
				 * these alone is asked, where there are any */
	int hard;		/* names share words, so that both must match */
};

/*
 * The caller frees ret->ids.
 *
 *   -EINVAL  the vocabulary lacks a word, or the tokens cannot hold the facts
 *   -ENOMEM  out of memory
 */
int document_make(const struct vocab *v, const struct document_want *want,
		  struct random *random, struct document *ret);

#endif
