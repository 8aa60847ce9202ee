/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - the text that is being read, and where its keys and values are.
 *
 * A session reads one text after another. What a text has in common with what
 * is there already is not computed again: without a shared cache that is the
 * beginning of the text before it; with one, whatever any process published.
 */
#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H

#include "client/examples/engine/engine.h"
#include "client/examples/engine/err.h"
#include "client/examples/engine/options.h"
#include "client/examples/engine/share.h"

struct session {
	struct engine eng;
	struct kv kv;
	struct share *share;		/* or NULL */
	struct claim claim;		/* of the text */
	bool claimed;
	struct kv_run *view;		/* rows of a view, or NULL */
	float *logits;			/* after the last token read */
	uint32_t *ids;			/* the text, max_tokens of room */
	uint32_t n_ids;
	uint32_t n_done;		/* of it, read */
	uint32_t n_found;		/* of it, not computed here */
	uint32_t n_joined;		/* of these, computed by another engine meanwhile */
	int refused;			/* why the cache gave less; or 0 */
};

/* `share` may be NULL and stays the caller's. -ENOMEM. */
int session_open(struct session *s, const struct model *m,
		 const struct options *o, struct share *share, struct err *e);

void session_close(struct session *s);

/*
 * Begin the text ids[0 .. n_ids), of which at least the last n_own > 0 tokens
 * are to be computed. -ERANGE too long for the model; -ENOMEM.
 */
int session_begin(struct session *s, const uint32_t *ids, uint32_t n_ids,
		  uint32_t n_own, struct err *e);

/*
 * Begin it with a view of its first `first` tokens instead: `view`, one run for
 * each layer and kv head, which the session takes over.
 */
int session_begin_view(struct session *s, const uint32_t *ids, uint32_t n_ids,
		       struct kv_run *view, uint32_t first, struct err *e);

/*
 * Read as far as `end` (at most n_ids); the logits after it. Blocks are published a few
 * at a time as they are written.
 */
int session_read(struct session *s, uint32_t end, struct err *e);

/*
 * Publish the rest of the blocks that were read. When the daemon has died meanwhile, the
 * text is computed again without it.
 */
int session_publish(struct session *s, struct err *e);

/*
 * Go on greedily after the text: at most max words, the last of them `stop`
 * where it came up. Their number, written to ret_ids.
 */
int session_answer(struct session *s, uint32_t stop, uint32_t max,
		   uint32_t *ret_ids, struct err *e);

/* Tokens of the text that were computed here and are in the cache by now. */
uint32_t session_stored(const struct session *s);

/* Bytes of keys and values that the text has in the cache, and in our memory. */
size_t session_shared_bytes(const struct session *s);
size_t session_own_bytes(const struct session *s);

#endif
