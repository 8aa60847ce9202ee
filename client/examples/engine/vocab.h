/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vocab.h - the words of a model: text is words separated by blanks.
 */
#ifndef ENGINE_VOCAB_H
#define ENGINE_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include "client/examples/engine/err.h"

struct vocab {
	char *text;			/* the file, line ends turned into 0 */
	const char **word;		/* by id */
	uint32_t *sorted;		/* ids in the order of their words */
	uint32_t n_words;
};

/*
 * Read `path`: one word a line, line number - 1 = id, at most n_ids lines. Models
 * often have more ids than words, to round their number up.
 *
 *   -ENOENT ...  the file cannot be read
 *   -EINVAL      no word or too many, an empty line, a word twice, or no UTF-8
 *   -ENOMEM      out of memory
 */
int vocab_load(const char *path, uint32_t n_ids, struct vocab *ret,
	       struct err *e);

void vocab_free(struct vocab *v);

/* The id of `word`, or -1. */
int64_t vocab_find(const struct vocab *v, const char *word);

/*
 * Turn `text` into ids; the caller frees *ret_ids. Returns their number.
 *
 *   -EINVAL  a word that the vocabulary lacks
 *   -ENOMEM  out of memory
 */
int vocab_encode(const struct vocab *v, const char *text, uint32_t **ret_ids,
		 struct err *e);

/*
 * The words of `ids`, blanks between; the caller frees them. An id without a word is
 * written as its number, <17>. NULL: out of memory.
 */
char *vocab_decode(const struct vocab *v, const uint32_t *ids, size_t n_ids);

#endif
