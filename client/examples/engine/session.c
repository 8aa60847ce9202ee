/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - see session.h.
 *
 * A daemon that dies costs time, never an answer: pages it lent stay mapped
 * until the library is called again, and whoever finds out that they are stale
 * drops them and reads the text once more into memory of its own.
 */
#include "client/examples/engine/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Tokens between two publishes: whole batches, so that none is computed half full. */
#define STEP_TOKENS	(4 * ENGINE_BATCH)

int session_open(struct session *s, const struct model *m,
		 const struct options *o, struct share *share, struct err *e)
{
	struct kv_geometry geo = engine_geometry(m, o->block_tokens, o->dtype);
	const struct vec_ops *ops = o->portable ? &vec_portable :
				    vec_best(m->cfg.head_dim);

	memset(s, 0, sizeof(*s));
	s->share = share;
	kv_init(&s->kv, &geo);
	s->logits = calloc(m->cfg.n_vocab, sizeof(*s->logits));
	s->ids = calloc(m->cfg.max_tokens, sizeof(*s->ids));
	if (s->logits != NULL && s->ids != NULL &&
	    engine_init(&s->eng, m, ops, ENGINE_BATCH) == 0)
		return 0;
	free(s->logits);
	free(s->ids);
	return err_set(e, -ENOMEM, "out of memory");
}

/* Forget the text: claims, view and pages. */
static void let_go(struct session *s)
{
	struct kv_geometry geo = s->kv.geo;

	if (s->claimed)
		claim_end(s->share, &s->claim);
	s->claimed = false;
	kv_free(&s->kv);
	kv_init(&s->kv, &geo);
	free(s->view);
	s->view = NULL;
	s->n_ids = s->n_done = s->n_found = s->n_joined = 0;
}

void session_close(struct session *s)
{
	let_go(s);
	engine_free(&s->eng);
	free(s->logits);
	free(s->ids);
}

static int explain(const struct session *s, int r, struct err *e)
{
	if (r == -ERANGE)
		return err_set(e, r, "the text is longer than the %u tokens "
			       "that the model was made for",
			       s->eng.m->cfg.max_tokens);
	return r < 0 ? err_set(e, r, "%s", strerror(-r)) : r;
}

static void take_text(struct session *s, const uint32_t *ids, uint32_t n_ids)
{
	memmove(s->ids, ids, n_ids * sizeof(*ids));
	s->n_ids = n_ids;
}

/* Without a cache: keep what this text has in common with the last one. */
static void begin_own(struct session *s, const uint32_t *ids, uint32_t n_ids,
		      uint32_t n_own)
{
	uint32_t most = n_ids > n_own ? n_ids - n_own : 0, n = 0;

	if (s->view != NULL)
		let_go(s);
	while (n < most && n < s->n_done && ids[n] == s->ids[n])
		n++;
	s->n_done = s->n_found = n;
}

int session_begin(struct session *s, const uint32_t *ids, uint32_t n_ids,
		  uint32_t n_own, struct err *e)
{
	int r;

	assert(n_own > 0 && n_ids > 0);
	s->refused = 0;
	if (n_ids > s->eng.m->cfg.max_tokens)
		return explain(s, -ERANGE, e);
	if (s->share == NULL) {
		begin_own(s, ids, n_ids, n_own);
		take_text(s, ids, n_ids);
		return 0;
	}
	let_go(s);
	take_text(s, ids, n_ids);
	r = claim_begin(s->share, &s->kv, ids, n_ids, n_own, &s->claim);
	if (r < 0) {
		let_go(s);
		return explain(s, r, e);
	}
	s->claimed = true;
	s->refused = s->claim.refused;
	s->n_done = s->n_found = s->claim.n_found * s->kv.geo.block_tokens;
	s->n_joined = s->claim.n_joined * s->kv.geo.block_tokens;
	return 0;
}

int session_begin_view(struct session *s, const uint32_t *ids, uint32_t n_ids,
		       struct kv_run *view, uint32_t first, struct err *e)
{
	struct kv_geometry geo = s->kv.geo;

	assert(first < n_ids);
	let_go(s);
	s->refused = 0;
	if (n_ids > s->eng.m->cfg.max_tokens) {
		free(view);
		return explain(s, -ERANGE, e);
	}
	kv_init_view(&s->kv, &geo, view, first);
	s->view = view;
	take_text(s, ids, n_ids);
	s->n_done = s->n_found = first;
	return 0;
}

static int read_to(struct session *s, uint32_t end, float *logits)
{
	int r = engine_forward(&s->eng, &s->kv, s->ids + s->n_done,
			       end - s->n_done, s->n_done, logits);

	if (r == 0)
		s->n_done = end;
	return r;
}

/* A long text is claimed in parts, the next when the one before it is written. */
static bool part_ends_at(const struct session *s, uint32_t end)
{
	return claim_has_more(&s->claim) &&
	       s->claim.n_placed * s->kv.geo.block_tokens <= end;
}

static uint32_t step_end(const struct session *s, uint32_t end)
{
	if (!s->claimed)
		return end;
	if (end - s->n_done > STEP_TOKENS)
		end = s->n_done + STEP_TOKENS;
	return part_ends_at(s, end) ?
	       s->claim.n_placed * s->kv.geo.block_tokens : end;
}

/* The daemon is gone: the text begins again, in memory of our own. */
static void begin_alone(struct session *s)
{
	uint32_t n_ids = s->n_ids;

	let_go(s);
	s->n_ids = n_ids;
	s->refused = -ESTALE;
}

/* Let others have what is written. -ENOMEM. */
static int share_written(struct session *s)
{
	int r = part_ends_at(s, s->n_done) ?
		claim_more(s->share, &s->kv, &s->claim) : 0;

	if (r == 0)
		claim_publish(s->share, &s->claim,
			      s->n_done / s->kv.geo.block_tokens);
	if (s->claim.lost)
		begin_alone(s);
	return r;
}

int session_read(struct session *s, uint32_t end, struct err *e)
{
	int r = 0;

	assert(s->n_done < end && end <= s->n_ids);
	while (r == 0 && s->n_done < end) {
		uint32_t to = step_end(s, end);

		r = read_to(s, to, to == end ? s->logits : NULL);
		if (r == 0 && s->claimed)
			r = share_written(s);
	}
	return explain(s, r, e);
}

static int read_alone(struct session *s, struct err *e)
{
	begin_alone(s);
	return session_read(s, s->n_ids, e);
}

static bool stale(const struct session *s)
{
	return s->claimed && claim_valid(s->share, &s->claim) == -ESTALE;
}

int session_publish(struct session *s, struct err *e)
{
	assert(s->n_done == s->n_ids);
	if (!s->claimed)
		return 0;
	claim_publish(s->share, &s->claim, s->n_done / s->kv.geo.block_tokens);
	if (s->claim.refused != 0)
		s->refused = s->claim.refused;
	return stale(s) ? read_alone(s, e) : 0;
}

int session_answer(struct session *s, uint32_t stop, uint32_t max,
		   uint32_t *ret_ids, struct err *e)
{
	size_t n_bytes = s->eng.m->cfg.n_vocab * sizeof(*s->logits);
	float *logits = malloc(n_bytes);
	int r;

	if (logits == NULL)
		return explain(s, -ENOMEM, e);
	memcpy(logits, s->logits, n_bytes);
	r = engine_decode(&s->eng, &s->kv, logits, s->n_ids, stop, max,
			  ret_ids);
	if (r >= 0 && stale(s)) {
		r = read_alone(s, e);
		memcpy(logits, s->logits, n_bytes);
		if (r == 0)
			r = engine_decode(&s->eng, &s->kv, logits, s->n_ids,
					  stop, max, ret_ids);
	}
	free(logits);
	return explain(s, r, e);
}

uint32_t session_stored(const struct session *s)
{
	return s->claimed ? s->claim.n_published * s->kv.geo.block_tokens : 0;
}

size_t session_shared_bytes(const struct session *s)
{
	size_t n = s->claimed ? s->claim.n_found + s->claim.n_lent : 0;

	return n * kv_page_bytes(&s->kv.geo);
}

size_t session_own_bytes(const struct session *s)
{
	size_t n = 0;

	for (uint32_t i = 0; i < s->kv.n_pages; i++)
		n += s->kv.own[i];
	return n * kv_page_bytes(&s->kv.geo);
}
