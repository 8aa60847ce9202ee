/* options.h - the command line of ckv-engine. */
#ifndef ENGINE_OPTIONS_H
#define ENGINE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "client/examples/engine/vec.h"

#define OPTIONS_ASKS_MAX	64

struct options {
	const char *model;		/* folder */
	const char *expect;		/* file of expectations, or NULL */
	const char *prompt;		/* words, or NULL */
	const char *document;		/* file of words, or NULL */
	const char *ask[OPTIONS_ASKS_MAX];
	uint32_t n_asks;
	const char *stop;		/* the word that ends an answer */
	uint32_t n_words;		/* the most words of an answer */
	uint32_t block_tokens;
	enum vec_dtype dtype;		/* of pages */
	bool portable;			/* not AVX2 */
	bool json;
};

/*
 * 0; 1 when --help was asked for and printed; -EINVAL after a message on
 * standard error. The strings belong to argv.
 */
int options_parse(int argc, char **argv, struct options *ret);

#endif
