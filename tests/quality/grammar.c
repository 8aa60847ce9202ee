/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grammar.c - see grammar.h.
 *
 * The lists of words are runs of the vocabulary, named by their first and last
 * word. Sentences are made, shuffled and laid end to end.
 */
#include "tests/quality/grammar.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SENTENCE_MAX = 11, MAX_NAMES = 64 };

enum list { NUMBERS, ADJECTIVES, NOUNS, THINGS, VERBS, QUALITIES, VARIABLES, N_LISTS };

static const char *const list_ends[N_LISTS][2] = {
	[NUMBERS] = { "00", "99" }, [ADJECTIVES] = { "red", "kind" },
	[NOUNS] = { "falcon", "saddle" }, [THINGS] = { "teacher", "evening" },
	[VERBS] = { "saw", "chose" }, [QUALITIES] = { "small", "clever" },
	[VARIABLES] = { "v0", "v31" },
};

enum glue { THE, CODE, OF, IS, STOP, ASK, WHAT, VALUE, COPIES, A, AND, NEAR, BOS, N_GLUE };

static const char *const glue_word[N_GLUE] = {
	"the", "code", "of", "is", ".", "?", "what", "value", "copies", "a",
	"and", "near", "<bos>",
};

struct sentence {
	uint32_t id[SENTENCE_MAX], n;
};

struct maker {
	struct random *random;
	uint32_t first[N_LISTS], count[N_LISTS], glue[N_GLUE];
	struct sentence *sentence;
	uint32_t n_sentences, n_words, room;
	struct document *doc;
};

static int find_words(const struct vocab *v, struct maker *m)
{
	for (int i = 0; i < N_LISTS; i++) {
		int64_t first = vocab_find(v, list_ends[i][0]);
		int64_t last = vocab_find(v, list_ends[i][1]);

		if (first < 0 || last < first)
			return -EINVAL;
		m->first[i] = (uint32_t)first;
		m->count[i] = (uint32_t)(last - first) + 1;
	}
	for (int i = 0; i < N_GLUE; i++) {
		int64_t id = vocab_find(v, glue_word[i]);

		if (id < 0)
			return -EINVAL;
		m->glue[i] = (uint32_t)id;
	}
	return 0;
}

static uint32_t any(struct maker *m, enum list list)
{
	return m->first[list] + random_below(m->random, m->count[list]);
}

static void say(struct sentence *s, uint32_t id)
{
	s->id[s->n++] = id;
}

/* Words of glue (upper case) and of lists (lower case) by one letter each. */
static struct sentence build(struct maker *m, const char *pattern)
{
	static const char glue[] = "TCOI.?WVPAN~";	/* as enum glue */
	static const char lists[] = "#jntvq$";		/* as enum list */
	struct sentence s = { .n = 0 };

	for (; *pattern != '\0'; pattern++) {
		const char *list = strchr(lists, *pattern);

		if (list != NULL)
			say(&s, any(m, (enum list)(list - lists)));
		else
			say(&s, m->glue[strchr(glue, *pattern) - glue]);
	}
	return s;
}

static struct sentence filler(struct maker *m)
{
	double kind = random_unit(m->random);

	return build(m, kind < .4 ? "TtvTqt." : kind < .7 ? "AqtvAt~Tt." :
		     "TtNTtvTqqt.");
}

static void add(struct maker *m, struct sentence s)
{
	m->sentence[m->n_sentences++] = s;
	m->n_words += s.n;
}

/* The first n of a shuffled 0 .. n_all - 1. */
static void draw(struct random *random, uint32_t n_all, uint32_t n, uint32_t *out)
{
	uint32_t all[4096];

	for (uint32_t i = 0; i < n_all; i++)
		all[i] = i;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t j = i + random_below(random, n_all - i);

		out[i] = all[j];
		all[j] = all[i];
	}
}

/*
 * Distinct pairs (adjective, noun). Hard ones are pairs of few words, so that
 * each word is in several names.
 */
static void draw_names(struct maker *m, uint32_t n, int hard,
		       uint32_t name[MAX_NAMES][2])
{
	uint32_t root = (uint32_t)sqrt((double)n);
	uint32_t n_adj = hard ? root + 1 : m->count[ADJECTIVES];
	uint32_t n_noun = hard ? root + 2 : m->count[NOUNS];
	uint32_t adj[64], noun[64], pair[MAX_NAMES];

	draw(m->random, m->count[ADJECTIVES], n_adj, adj);
	draw(m->random, m->count[NOUNS], n_noun, noun);
	draw(m->random, n_adj * n_noun, n, pair);
	for (uint32_t i = 0; i < n; i++) {
		name[i][0] = m->first[ADJECTIVES] + adj[pair[i] % n_adj];
		name[i][1] = m->first[NOUNS] + noun[pair[i] / n_adj];
	}
}

static void ask(struct maker *m, const struct sentence *asked,
		const uint32_t *answer, uint32_t n_answer)
{
	struct question *q = &m->doc->question[m->doc->n_questions++];

	memcpy(q->ask, asked->id, asked->n * sizeof(*q->ask));
	q->n_ask = asked->n;
	memcpy(q->say, answer, n_answer * sizeof(*q->say));
	q->say[n_answer] = m->glue[STOP];
	q->n_say = n_answer + 1;
}

static void add_facts(struct maker *m, const struct document_want *want)
{
	uint32_t name[MAX_NAMES][2];

	draw_names(m, want->n_facts, want->hard, name);
	for (uint32_t i = 0; i < want->n_facts; i++) {
		uint32_t code[2] = { any(m, NUMBERS), any(m, NUMBERS) };
		struct sentence told = build(m, "TCOjnI##.");
		struct sentence asked = build(m, "WITCOjn?");

		memcpy(told.id + 3, name[i], sizeof(name[i]));
		memcpy(told.id + 6, code, sizeof(code));
		memcpy(asked.id + 5, name[i], sizeof(name[i]));
		add(m, told);
		if (want->n_chains == 0)
			ask(m, &asked, code, 2);
	}
}

/* Half of the variables hold values, the other half copy one of them. */
static void add_chains(struct maker *m, uint32_t n)
{
	uint32_t variable[32], value[16][2];

	draw(m->random, m->count[VARIABLES], 2 * n, variable);
	for (uint32_t i = 0; i < n; i++) {
		struct sentence told = build(m, "TVO$I##.");

		told.id[3] = m->first[VARIABLES] + variable[i];
		memcpy(value[i], told.id + 5, sizeof(value[i]));
		add(m, told);
	}
	for (uint32_t i = 0; i < n; i++) {
		struct sentence told = build(m, "$P$."), asked = build(m, "WITVO$?");
		uint32_t from = random_below(m->random, n);
		uint32_t answer[3] = { m->first[VARIABLES] + variable[from],
				       value[from][0], value[from][1] };

		told.id[0] = asked.id[5] = m->first[VARIABLES] + variable[n + i];
		told.id[2] = answer[0];
		add(m, told);
		ask(m, &asked, answer, 3);
	}
}

static void add_filler(struct maker *m)
{
	while (m->n_words < m->room) {
		uint32_t left = m->room - m->n_words;
		struct sentence s = filler(m);

		if (s.n > left)
			for (s.n = 0; s.n < left;)
				say(&s, m->glue[STOP]);
		add(m, s);
	}
}

static void lay_out(struct maker *m)
{
	struct document *doc = m->doc;

	for (uint32_t i = m->n_sentences; i > 1; i--) {
		uint32_t j = random_below(m->random, i);
		struct sentence s = m->sentence[i - 1];

		m->sentence[i - 1] = m->sentence[j];
		m->sentence[j] = s;
	}
	doc->ids[doc->n_ids++] = m->glue[BOS];
	for (uint32_t i = 0; i < m->n_sentences; i++) {
		memcpy(doc->ids + doc->n_ids, m->sentence[i].id,
		       m->sentence[i].n * sizeof(*doc->ids));
		doc->n_ids += m->sentence[i].n;
	}
}

int document_make(const struct vocab *v, const struct document_want *want,
		  struct random *random, struct document *ret)
{
	struct document doc = { 0 };
	struct maker m = { .random = random, .doc = &doc,
			   .room = want->n_tokens - 1 };
	int r = find_words(v, &m);

	if (r < 0)
		return r;
	if (want->n_facts > GRAMMAR_MAX_QUESTIONS || want->n_chains > 16 ||
	    want->n_facts * 9 + want->n_chains * 12 > m.room)
		return -EINVAL;
	m.sentence = calloc(want->n_tokens, sizeof(*m.sentence));
	doc.ids = calloc(want->n_tokens, sizeof(*doc.ids));
	if (m.sentence == NULL || doc.ids == NULL) {
		free(m.sentence);
		free(doc.ids);
		return -ENOMEM;
	}
	add_facts(&m, want);
	add_chains(&m, want->n_chains);
	add_filler(&m);
	lay_out(&m);
	free(m.sentence);
	*ret = doc;
	return 0;
}
