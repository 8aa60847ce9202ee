/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c - a text is read; each question is then read after it as if it were
 * the only one, and answered greedily. What is found of it, in the shared cache
 * or from the question before, is not computed again.
 */
#include "client/examples/engine/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/examples/engine/answers.h"
#include "client/examples/engine/session.h"
#include "client/examples/engine/views.h"

struct text {
	uint32_t *ids;
	uint32_t n_ids;
};

/* Everything that reading and answering needs. */
struct asking {
	const struct options *o;
	const struct model *m;
	struct session s;
	struct text text;		/* without a question */
	uint32_t stop;
	struct err *e;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The ids of `words` behind those of `before` (NULL: behind a <bos>, if there is one). */
static int join(const struct model *m, const struct text *before,
		const char *words, struct text *ret, struct err *e)
{
	uint32_t *more, *all;
	uint32_t n_before = before != NULL ? before->n_ids : 0;
	int n = vocab_encode(&m->vocab, words, &more, e);

	if (n < 0)
		return n;
	all = calloc(n_before + (uint32_t)n + 1, sizeof(*all));
	if (all == NULL) {
		free(more);
		return err_set(e, -ENOMEM, "out of memory");
	}
	if (before == NULL && m->cfg.has_bos &&
	    (n == 0 || more[0] != m->cfg.bos))
		all[n_before++] = m->cfg.bos;
	else if (before != NULL)
		memcpy(all, before->ids, n_before * sizeof(*all));
	memcpy(all + n_before, more, (uint32_t)n * sizeof(*all));
	free(more);
	if (n_before + (uint32_t)n == 0) {
		free(all);
		return err_set(e, -EINVAL, "there is no word to read, and the "
			       "model has none that begins a text");
	}
	*ret = (struct text){ .ids = all, .n_ids = n_before + (uint32_t)n };
	return 0;
}

/* What stands behind the last word that was read: time, sizes, words. */
static int go_on(struct asking *a, uint64_t from_ns, struct answer *ret)
{
	struct session *s = &a->s;
	uint32_t *ids = calloc(a->o->n_words, sizeof(*ids));
	int n;

	if (ids == NULL)
		return err_set(a->e, -ENOMEM, "out of memory");
	ret->first_ns = now_ns() - from_ns;
	ret->n_prompted = s->n_ids;
	ret->n_found = s->n_found;
	ret->n_joined = s->n_joined;
	ret->logits_sum = ckv_checksum(s->logits, a->m->cfg.n_vocab *
				       sizeof(*s->logits));
	n = session_publish(s, a->e);
	if (n == 0)
		n = session_answer(s, a->stop, a->o->n_words, ids, a->e);
	if (n >= 0) {
		ret->words = vocab_decode(&a->m->vocab, ids, (size_t)n);
		if (ret->words == NULL)
			n = err_set(a->e, -ENOMEM, "out of memory");
	}
	ret->shared_bytes = session_shared_bytes(s);
	ret->own_bytes = session_own_bytes(s);
	ret->refused = s->refused;
	ret->cached = s->share != NULL;
	ret->n_stored = session_stored(s);
	free(ids);
	return n < 0 ? n : 0;
}

/* The plain way, with views made on the way where they are asked for. */
static int answer_pages(struct asking *a, const struct text *whole,
			struct answer *ret)
{
	uint32_t own = a->o->make_views ?
		       view_own_tokens(&a->s, a->o, whole->n_ids) : 1;
	uint64_t from_ns = now_ns();
	int r = session_begin(&a->s, whole->ids, whole->n_ids, own, a->e);

	if (r < 0)
		return r;
	if (a->o->make_views) {
		ret->n_views = a->o->n_keeps;
		r = view_make(&a->s, a->o, ret->view, a->e);
	} else {
		r = session_read(&a->s, whole->n_ids, a->e);
	}
	return r < 0 ? r : go_on(a, from_ns, ret);
}

static int answer_view(struct asking *a, const struct text *whole,
		       struct answer *ret)
{
	bool asked = a->o->stand_in == STAND_VIEW_ASKED;
	uint32_t n_text = a->text.n_ids;
	uint32_t first = asked ? n_text : view_chain_tokens(&a->s, n_text);
	uint64_t from_ns = now_ns();
	struct view v;
	int r;

	r = view_open(a->s.share, a->o, whole->ids,
		      asked ? whole->n_ids : n_text, first, &v, a->e);
	if (r < 0)
		return r;
	ret->n_views = 1;
	ret->view[0] = v.what;
	r = session_begin_view(&a->s, whole->ids, whole->n_ids, v.runs, first,
			       a->e);
	if (r == 0)
		r = session_read(&a->s, whole->n_ids, a->e);
	if (r == 0)
		r = go_on(a, from_ns, ret);
	view_close(a->s.share, &v);
	return r;
}

static int answer_first_last(struct asking *a, const struct text *whole,
			     struct answer *ret)
{
	uint32_t n_text = a->text.n_ids;
	uint64_t from_ns = now_ns();
	struct kv_run *runs;
	void *rows;
	int r;

	r = view_first_last(&a->s, whole->ids, n_text, a->o->n_first_last,
			    &runs, &rows, a->e);
	if (r < 0)
		return r;
	r = session_begin_view(&a->s, whole->ids, whole->n_ids, runs,
			       view_chain_tokens(&a->s, n_text), a->e);
	if (r == 0)
		r = session_read(&a->s, whole->n_ids, a->e);
	if (r == 0)
		r = go_on(a, from_ns, ret);
	free(rows);
	return r;
}

static int answer_one(struct asking *a, const struct text *whole,
		      struct answer *ret)
{
	switch (a->o->stand_in) {
	case STAND_VIEW_TEXT:
	case STAND_VIEW_ASKED:
		return answer_view(a, whole, ret);
	case STAND_FIRST_LAST:
		return answer_first_last(a, whole, ret);
	case STAND_NONE:
	default:
		return answer_pages(a, whole, ret);
	}
}

static int answer_all(struct asking *a, struct answer *answers)
{
	int r = 0;

	if (a->o->n_asks == 0)
		return answer_one(a, &a->text, &answers[0]);
	for (uint32_t i = 0; r == 0 && i < a->o->n_asks; i++) {
		struct text whole;

		r = join(a->m, &a->text, a->o->ask[i], &whole, a->e);
		if (r < 0)
			break;
		answers[i].question = a->o->ask[i];
		r = answer_one(a, &whole, &answers[i]);
		free(whole.ids);
	}
	return r;
}

/*
 * Stop where N blocks of the text are written and the others borrowed, say so, and
 * wait to be killed.
 */
static int read_and_pause(struct asking *a, struct session *s)
{
	uint32_t end = s->n_done + a->o->pause_blocks * a->o->block_tokens;
	int r = session_read(s, end < s->n_ids ? end : s->n_ids, a->e);

	if (r < 0)
		return r;
	answers_paused(a->o, s->claim.n_lent - s->claim.n_published);
	for (;;)
		pause();
}

/* Read another text, while the first one is still held. */
static int read_then(struct asking *a)
{
	struct session s;
	struct text text;
	int r;

	r = join(a->m, NULL, a->o->then, &text, a->e);
	if (r < 0)
		return r;
	r = session_open(&s, a->m, a->o, a->s.share, a->e);
	if (r < 0)
		goto out_text;
	r = session_begin(&s, text.ids, text.n_ids, 1, a->e);
	if (r == 0 && a->o->pause_blocks != 0)
		r = read_and_pause(a, &s);
	if (r == 0)
		r = session_read(&s, text.n_ids, a->e);
	if (r == 0)
		r = session_publish(&s, a->e);
	session_close(&s);
out_text:
	free(text.ids);
	return r;
}

static int answer_and_print(struct asking *a)
{
	uint32_t n = a->o->n_asks > 0 ? a->o->n_asks : 1;
	struct answer *answers = calloc(n, sizeof(*answers));
	int r;

	if (answers == NULL)
		return err_set(a->e, -ENOMEM, "out of memory");
	r = answer_all(a, answers);
	if (r == 0)
		answers_print(a->o, answers, n);
	for (uint32_t i = 0; i < n; i++)
		free(answers[i].words);
	free(answers);
	if (r == 0 && a->o->then != NULL)
		r = read_then(a);
	return r;
}

/* The word that ends an answer. A model that has no full stop answers to the end. */
static int find_stop(struct asking *a)
{
	const char *word = a->o->stop != NULL ? a->o->stop : ".";
	int64_t id = vocab_find(&a->m->vocab, word);

	if (id < 0 && a->o->stop != NULL)
		return err_set(a->e, -EINVAL, "--stop: the model does not know "
			       "the word \"%s\"", word);
	a->stop = id < 0 ? UINT32_MAX : (uint32_t)id;
	return 0;
}

int ask_run(const struct options *o, const struct model *m, struct share *share,
	    struct err *e)
{
	struct asking a = { .o = o, .m = m, .e = e };
	int r = find_stop(&a);

	if (r == 0)
		r = join(m, NULL, o->prompt, &a.text, e);
	if (r < 0)
		return r;
	r = session_open(&a.s, m, o, share, e);
	if (r == 0) {
		r = answer_and_print(&a);
		session_close(&a.s);
	}
	free(a.text.ids);
	return r;
}
