/* session.c - see session.h. */
#include "client/examples/engine/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int session_open(struct session *s, const struct model *m,
		 const struct options *o, struct err *e)
{
	struct kv_geometry geo = engine_geometry(m, o->block_tokens, o->dtype);
	const struct vec_ops *ops = o->portable ? &vec_portable :
				    vec_best(m->cfg.head_dim);

	memset(s, 0, sizeof(*s));
	s->logits = calloc(m->cfg.n_vocab, sizeof(*s->logits));
	if (s->logits == NULL || engine_init(&s->eng, m, ops, ENGINE_BATCH) < 0) {
		free(s->logits);
		return err_set(e, -ENOMEM, "out of memory");
	}
	kv_init(&s->kv, &geo);
	return 0;
}

void session_close(struct session *s)
{
	kv_free(&s->kv);
	engine_free(&s->eng);
	free(s->logits);
}

static int explain(const struct session *s, int r, struct err *e)
{
	if (r == -ERANGE)
		return err_set(e, r, "the text is longer than the %u tokens "
			       "that the model was made for",
			       s->eng.m->cfg.max_tokens);
	return r < 0 ? err_set(e, r, "%s", strerror(-r)) : r;
}

int session_read(struct session *s, const uint32_t *ids, uint32_t n_ids,
		 struct err *e)
{
	int r;

	assert(s->n_done < n_ids);
	r = engine_forward(&s->eng, &s->kv, ids + s->n_done, n_ids - s->n_done,
			   s->n_done, s->logits);
	if (r == 0)
		s->n_done = n_ids;
	return explain(s, r, e);
}

int session_answer(struct session *s, uint32_t stop, uint32_t max,
		   uint32_t *ret_ids, struct err *e)
{
	int r = engine_decode(&s->eng, &s->kv, s->logits, s->n_done, stop, max,
			      ret_ids);

	return explain(s, r, e);
}

void session_rewind(struct session *s, uint32_t n)
{
	assert(n <= s->n_done);
	s->n_done = n;
}
