/*
 * ask.c - a text is read once; each question is then read after it as if it
 * were the only one, and answered greedily.
 */
#include "client/examples/engine/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "client/examples/engine/session.h"

struct text {
	uint32_t *ids;			/* the text, room for a question */
	uint32_t n_ids;
};

struct answer {
	const char *question;		/* NULL: the text was gone on with */
	char words[1024];
	uint32_t n_prompted;		/* tokens of text and question */
	uint32_t n_computed;		/* of these, computed for this answer */
	uint64_t first_ns;		/* time to the first word */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The ids of `words` behind those of `before` (may be NULL). */
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
	if (before == NULL && (n == 0 || more[0] != m->cfg.bos))
		all[n_before++] = m->cfg.bos;
	else if (before != NULL)
		memcpy(all, before->ids, n_before * sizeof(*all));
	memcpy(all + n_before, more, (uint32_t)n * sizeof(*all));
	free(more);
	*ret = (struct text){ .ids = all, .n_ids = n_before + (uint32_t)n };
	return 0;
}

static int read_file(const char *path, char **ret_words, struct err *e)
{
	FILE *in = fopen(path, "re");
	size_t room = 0;
	ssize_t n;

	if (in == NULL)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	*ret_words = NULL;
	n = getdelim(ret_words, &room, '\0', in);
	fclose(in);
	if (n < 0) {
		free(*ret_words);
		return err_set(e, -EINVAL, "%s: empty, or not a file", path);
	}
	return 0;
}

static int answer_one(struct session *s, const struct options *o,
		      const struct text *text, uint32_t stop, uint64_t from_ns,
		      struct answer *a, struct err *e)
{
	const struct model *m = s->eng.m;
	uint32_t *ids = calloc(o->n_words, sizeof(*ids));
	int n;

	if (ids == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	a->n_prompted = text->n_ids;
	a->n_computed = text->n_ids - s->n_done;
	n = session_read(s, text->ids, text->n_ids, e);
	a->first_ns = now_ns() - from_ns;
	if (n == 0)
		n = session_answer(s, stop, o->n_words, ids, e);
	if (n >= 0)
		vocab_decode(&m->vocab, ids, (size_t)n, a->words,
			     sizeof(a->words));
	free(ids);
	return n < 0 ? n : 0;
}

static void print_answers(const struct options *o, const struct answer *a,
			  uint32_t n)
{
	json_t *list;

	for (uint32_t i = 0; !o->json && i < n; i++) {
		if (a[i].question != NULL)
			printf("%s  ", a[i].question);
		printf("%s   (%u tokens, %u computed, first word after "
		       "%.1f ms)\n", a[i].words, a[i].n_prompted,
		       a[i].n_computed, (double)a[i].first_ns / 1e6);
	}
	if (!o->json)
		return;
	list = json_array();
	for (uint32_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack(
			"{s:s?, s:s, s:i, s:i, s:I}", "question",
			a[i].question, "answer", a[i].words, "tokens",
			(int)a[i].n_prompted, "computed",
			(int)a[i].n_computed, "first_word_ns",
			(json_int_t)a[i].first_ns));
	json_dumpf(list, stdout, JSON_INDENT(1));
	puts("");
	json_decref(list);
}

/* Read the text alone, then every question after it. */
static int answer_all(struct session *s, const struct options *o,
		      const struct text *text, uint32_t stop,
		      struct answer *answers, struct err *e)
{
	uint64_t from_ns = now_ns();
	int r;

	if (o->n_asks == 0)
		return answer_one(s, o, text, stop, from_ns, &answers[0], e);
	for (uint32_t i = 0; i < o->n_asks; i++) {
		struct text whole;

		r = join(s->eng.m, text, o->ask[i], &whole, e);
		if (r < 0)
			return r;
		answers[i].question = o->ask[i];
		r = answer_one(s, o, &whole, stop, from_ns, &answers[i], e);
		free(whole.ids);
		if (r < 0)
			return r;
		session_rewind(s, text->n_ids);
		from_ns = now_ns();
	}
	return 0;
}

static int run(const struct options *o, const struct model *m,
	       const char *words, struct answer *answers, struct err *e)
{
	int64_t stop = vocab_find(&m->vocab, o->stop);
	struct text text;
	struct session s;
	int r;

	if (stop < 0)
		return err_set(e, -EINVAL, "the model does not know the word "
			       "\"%s\"", o->stop);
	r = join(m, NULL, words, &text, e);
	if (r < 0)
		return r;
	r = session_open(&s, m, o, e);
	if (r == 0) {
		r = answer_all(&s, o, &text, (uint32_t)stop, answers, e);
		session_close(&s);
	}
	free(text.ids);
	return r;
}

int ask_run(const struct options *o, const struct model *m, struct err *e)
{
	uint32_t n = o->n_asks > 0 ? o->n_asks : 1;
	struct answer *answers = calloc(n, sizeof(*answers));
	char *file = NULL;
	int r = 0;

	if (answers == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	if (o->document != NULL)
		r = read_file(o->document, &file, e);
	if (r == 0)
		r = run(o, m, file != NULL ? file : o->prompt, answers, e);
	if (r == 0)
		print_answers(o, answers, n);
	free(file);
	free(answers);
	return r;
}
