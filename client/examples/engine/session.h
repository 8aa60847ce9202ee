/*
 * session.h - one text that is being read: its words, and what was computed.
 */
#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H

#include "client/examples/engine/engine.h"
#include "client/examples/engine/err.h"
#include "client/examples/engine/options.h"

struct session {
	struct engine eng;
	struct kv kv;
	float *logits;			/* after the last token */
	uint32_t n_done;		/* tokens whose keys and values are there */
};

/* -ENOMEM. */
int session_open(struct session *s, const struct model *m,
		 const struct options *o, struct err *e);

void session_close(struct session *s);

/*
 * Read ids[n_done .. n_ids): the logits after the last are in s->logits.
 * n_done < n_ids. -ERANGE the model's positions are used up; -ENOMEM.
 */
int session_read(struct session *s, const uint32_t *ids, uint32_t n_ids,
		 struct err *e);

/* Go on greedily from there. The number of words written to ret_ids. */
int session_answer(struct session *s, uint32_t stop, uint32_t max,
		   uint32_t *ret_ids, struct err *e);

/* Go back to the first n tokens, to read something else after them. */
void session_rewind(struct session *s, uint32_t n);

#endif
