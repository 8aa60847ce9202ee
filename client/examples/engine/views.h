/* SPDX-License-Identifier: Apache-2.0 */
/*
 * views.h - compressed forms of a text: made through the daemon by any method,
 * read back by anybody, and the plain alternative they are compared with.
 *
 * A view is of a chain, the full blocks of a text. The text goes on at its true
 * position: what follows the chain (or, if asked, a position within it) is
 * computed with the view in place of the pages.
 */
#ifndef ENGINE_VIEWS_H
#define ENGINE_VIEWS_H

#include <stdint.h>

#include "client/ckv.h"
#include "client/examples/engine/err.h"
#include "client/examples/engine/options.h"
#include "client/examples/engine/session.h"

struct view_made {
	uint64_t bytes;			/* of the view */
	uint32_t n_kept;		/* tokens, at most, of a head */
	uint32_t n_tokens;		/* of the chain */
	uint64_t took_ns;
};

/* How many tokens of a text of n_ids are in full blocks. */
uint32_t view_chain_tokens(const struct session *s, uint32_t n_ids);

/*
 * Read and publish the text that was begun, keeping the queries of the last
 * o->window tokens of its chain, and have a view of it made for each of
 * o->keep. Of the text at least view_own_tokens() must be left to compute.
 *
 *   -EINVAL  the text has no full block, or fewer tokens than the window
 *   else what ckv_compress() says
 */
int view_make(struct session *s, const struct options *o,
	      struct view_made *ret_made, struct err *e);

/* The tokens that view_make() has to compute: from the window's first on. */
uint32_t view_own_tokens(const struct session *s, const struct options *o,
			 uint32_t n_ids);

/* An open view. Plain rows are read where the cache has them, others are decoded. */
struct view {
	struct ckv_view open;
	struct view_made what;
	uint8_t *rows;			/* decoded; NULL of a plain view */
	struct kv_run *runs;		/* taken over by the session */
};

/*
 * Open the view by o->keep[0] of the chain of ids[0 .. n_ids), without the rows at
 * `before` or behind. The caller gives it to view_close().
 *
 *   -ENOENT  there is none; else what ckv_view_open() says; -ENOMEM
 */
int view_open(struct share *share, const struct options *o, const uint32_t *ids,
	      uint32_t n_ids, uint32_t before, struct view *ret_view,
	      struct err *e);

void view_close(struct share *share, struct view *v);

/*
 * For comparison: the first 4 and the last n_kept - 4 tokens of the chain of
 * ids[0 .. n_text), copied out of the stored pages into rows of our own
 * (*ret_rows, to free()). One id at least follows the text.
 *
 *   -ENOENT  the chain is not stored whole; -EINVAL n_kept is out of range
 */
int view_first_last(struct session *s, const uint32_t *ids, uint32_t n_text,
		    uint32_t n_kept, struct kv_run **ret_runs, void **ret_rows,
		    struct err *e);

#endif
