/* SPDX-License-Identifier: Apache-2.0 */
/* answers.h - what an answer cost, and how it is printed. */
#ifndef ENGINE_ANSWERS_H
#define ENGINE_ANSWERS_H

#include <stddef.h>
#include <stdint.h>

#include "client/examples/engine/options.h"
#include "client/examples/engine/views.h"

struct answer {
	const char *question;		/* NULL: the text was gone on with */
	char *words;
	uint32_t n_prompted;		/* tokens of text and question */
	uint32_t n_found;		/* of these, not computed */
	uint32_t n_joined;		/* of these, computed by others meanwhile */
	uint32_t n_stored;		/* computed, and now in the cache */
	bool cached;			/* there is a cache */
	uint64_t first_ns;		/* from the start to the first word */
	uint64_t logits_sum;		/* checksum of the logits behind it */
	size_t shared_bytes;		/* of keys and values, in the cache */
	size_t own_bytes;		/* and in memory of our own */
	int refused;			/* why the cache gave less; or 0 */
	struct view_made view[OPTIONS_KEEPS_MAX];	/* made, or read */
	uint32_t n_views;
};

/* On standard output: the words and how they came about, or one line of JSON. */
void answers_print(const struct options *o, const struct answer *answers,
		   uint32_t n_answers);

/* That a text was read in part, with n_lent pages borrowed and not published. */
void answers_paused(const struct options *o, uint32_t n_lent);

#endif
