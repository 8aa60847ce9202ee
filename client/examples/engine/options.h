/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - the command line of ckv-engine. */
#ifndef ENGINE_OPTIONS_H
#define ENGINE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "client/examples/engine/vec.h"

#define OPTIONS_ASKS_MAX	64
#define OPTIONS_KEEPS_MAX	8

/* What stands in for the pages of the text when a question is read. */
enum stand_in {
	STAND_NONE,			/* nothing: the pages */
	STAND_VIEW_TEXT,		/* a view of the text */
	STAND_VIEW_ASKED,		/* a view of text and question */
	STAND_FIRST_LAST,		/* the text's first and last tokens */
};

struct options {
	const char *model;		/* folder */
	const char *expect;		/* file of expectations, or NULL */
	const char *prompt;		/* words, or NULL */
	const char *then;		/* words to read next, or NULL */
	uint32_t pause_blocks;		/* ... and where to stop in them */
	const char *ask[OPTIONS_ASKS_MAX];
	uint32_t n_asks;
	const char *stop;		/* the word that ends an answer, or NULL: "." */
	uint32_t n_words;		/* the most words of an answer */
	uint32_t block_tokens;
	enum vec_dtype dtype;		/* of pages */
	bool cached;			/* through a daemon */
	const char *socket;		/* of the daemon, or NULL: the usual one */
	const char *space;
	bool verify;			/* check what is found */
	uint32_t join_s;		/* wait so long for blocks that others write */
	const char *keep[OPTIONS_KEEPS_MAX]; /* views: shares, "1/4", or methods */
	bool keep_method[OPTIONS_KEEPS_MAX];
	uint32_t n_keeps;
	uint32_t window;		/* tokens that score the others */
	bool make_views;
	enum stand_in stand_in;
	uint32_t n_first_last;		/* STAND_FIRST_LAST: tokens kept */
	bool portable;			/* not AVX2 */
	bool json;
};

/*
 * 0; 1 when --help was asked for and printed; -EINVAL after a message on
 * standard error. The strings belong to argv.
 */
int options_parse(int argc, char **argv, struct options *ret);

#endif
