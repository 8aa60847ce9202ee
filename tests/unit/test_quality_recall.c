/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_quality_recall.c - documents ask what they tell; and with the tiny model the
 * quality tables have their anchors: all of the cache answers all, random tokens
 * nothing, and a question that is known beats one that comes later.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/check_main.h"
#include "tests/quality/trial.h"

enum { TOKENS = 512, SESSIONS = 4, QUARTER = 1, SIXTEENTH = 3 };

static struct model model;
static struct bench bench;
static uint8_t wanted[MAX_COMPARED];
static struct result result;

static void setup(void)
{
	struct err e;

	memset(wanted, 0, sizeof(wanted));
	ck_assert_msg(model_load("tests/data/tiny-recall", &model, &e) == 0, "%s", e.text);
	ck_assert_int_eq(bench_open(&bench, &model, 1), 0);
}

static void teardown(void)
{
	bench_close(&bench);
	model_free(&model);
}

/* ---- documents -------------------------------------------------------- */

static struct document document(const struct document_want *w, uint64_t seed)
{
	struct random random = random_begin(seed, 0);
	struct document doc;

	ck_assert_int_eq(document_make(&model.vocab, w, &random, &doc), 0);
	ck_assert_uint_eq(doc.n_ids, w->n_tokens);
	ck_assert_str_eq(model.vocab.word[doc.ids[0]], "<bos>");
	return doc;
}

/* How often the document says these words. */
static uint32_t says(const struct document *doc, const char *words)
{
	char *text = vocab_decode(&model.vocab, doc->ids, doc->n_ids);
	uint32_t n = 0;

	for (const char *at = text; (at = strstr(at, words)) != NULL; at++)
		n++;
	free(text);
	return n;
}

static void decode(const uint32_t *ids, uint32_t n, char text[256])
{
	char *words = vocab_decode(&model.vocab, ids, n);

	snprintf(text, 256, "%s", words);
	free(words);
}

/* Each question's answer stands in the document, once, after the words it asks for. */
START_TEST(facts_are_told_once)
{
	struct document_want w = { .n_tokens = TOKENS, .n_facts = 16, .hard = _i % 2 };
	struct document doc = document(&w, (uint64_t)_i);
	char ask[256], say[256], told[600];

	ck_assert_uint_eq(doc.n_questions, 16);
	for (uint32_t i = 0; i < doc.n_questions; i++) {
		const struct question *q = &doc.question[i];

		decode(q->ask, q->n_ask - 1, ask);
		decode(q->say, q->n_say, say);
		ck_assert_int_eq(strncmp(ask, "what is the code of ", 20), 0);
		snprintf(told, sizeof(told), "the %s is %s", ask + 12, say);
		ck_assert_msg(says(&doc, told) == 1, "%s", told);
	}
	free(doc.ids);
}
END_TEST

/* Hard names share their words: each word of one is in another's. */
START_TEST(hard_names_share_words)
{
	struct document_want w = { .n_tokens = TOKENS, .n_facts = 16, .hard = 1 };
	struct document doc = document(&w, 3);

	for (uint32_t i = 0; i < doc.n_questions; i++) {
		int shared[2] = { 0, 0 };

		for (uint32_t j = 0; j < doc.n_questions; j++)
			for (int k = 0; k < 2; k++)
				shared[k] += j != i && doc.question[i].ask[5 + k] ==
						       doc.question[j].ask[5 + k];
		ck_assert_int_gt(shared[0] + shared[1], 0);
	}
	free(doc.ids);
}
END_TEST

/* "v3 copies v9 ." and "the value of v9 is 12 34 ." answer "v9 12 34 .". */
START_TEST(chains_are_told_in_two_steps)
{
	struct document_want w = { .n_tokens = TOKENS, .n_facts = 8, .n_chains = 8 };
	struct document doc = document(&w, 4);
	uint32_t n_others = 0;
	char text[600];

	ck_assert_uint_eq(doc.n_questions, 8);
	for (uint32_t i = 0; i < doc.n_questions; i++) {
		const struct question *q = &doc.question[i];
		const char *taker = model.vocab.word[q->ask[5]];
		const char *source = model.vocab.word[q->say[0]];

		snprintf(text, sizeof(text), "%s copies %s .", taker, source);
		ck_assert_msg(says(&doc, text) == 1, "%s", text);
		snprintf(text, sizeof(text), "the value of %s is %s %s .", source,
			 model.vocab.word[q->say[1]], model.vocab.word[q->say[2]]);
		ck_assert_msg(says(&doc, text) == 1, "%s", text);
		n_others += q->say[0] != doc.question[0].say[0];
	}
	ck_assert_uint_gt(n_others, 2);		/* not all copy the same one */
	free(doc.ids);
}
END_TEST

/* What does not fit is refused, and another seed is another document. */
START_TEST(documents_have_limits)
{
	struct document_want w = { .n_tokens = 100, .n_facts = 16 };
	struct random random = random_begin(1, 0);
	struct document one, two;

	ck_assert_int_eq(document_make(&model.vocab, &w, &random, &one), -EINVAL);
	w.n_tokens = TOKENS;
	one = document(&w, 1);
	two = document(&w, 1);
	ck_assert_mem_eq(one.ids, two.ids, TOKENS * sizeof(*one.ids));
	free(two.ids);
	two = document(&w, 2);
	ck_assert_mem_ne(one.ids, two.ids, TOKENS * sizeof(*one.ids));
	free(one.ids);
	free(two.ids);
}
END_TEST

/* ---- answers ---------------------------------------------------------- */

static void compress(enum task task, const char *const *methods, size_t n)
{
	struct trial t = { .task = task, .n_tokens = TOKENS, .n_sessions = SESSIONS };
	struct err e;

	for (size_t i = 0; i < n; i++)
		wanted[compared_at(methods[i])] = 1;
	bench.wanted = wanted;
	ck_assert_msg(trial_run(&bench, &t, &result, &e) == 0, "%s", e.text);
}

static uint32_t right(const char *method, uint32_t column, int aware, enum turn turn)
{
	const struct cell *c = &result.cell[compared_at(method)][column][aware][turn];

	ck_assert_uint_eq(c->n, SESSIONS);
	if (column < N_SHARES)
		ck_assert_double_le(c->bytes * share_den[column], c->plain);
	return c->right;
}

static const enum task many[] = { FACTS, HARD, CHAINS };

/* All of the cache answers everything, in both turns; random tokens nothing. */
START_TEST(anchors_hold)
{
	static const char *const methods[] = { "plain", "random" };

	compress(many[_i], methods, 2);
	ck_assert_uint_eq(right("plain", SHARE_OWN, LATER, TURN_1), SESSIONS);
	ck_assert_uint_eq(right("plain", SHARE_OWN, LATER, TURN_4), SESSIONS);
	ck_assert_uint_eq(right("random", SIXTEENTH, LATER, TURN_1), 0);
	ck_assert_double_eq(result.cell[compared_at("plain")][SHARE_OWN][LATER][TURN_1].error,
			    0);
}
END_TEST

/* A question in the window is answered from a quarter; one that comes later is not. */
START_TEST(known_questions_win)
{
	static const char *const methods[] = { "chunkkv", "snapkv avg" };
	uint32_t known = 0, later = 0, fourth = 0;

	for (int i = 0; i < 2; i++) {
		compress(many[i], methods, 2);
		for (int m = 0; m < 2; m++) {
			known += right(methods[m], QUARTER, IN_WINDOW, TURN_1);
			later += right(methods[m], QUARTER, LATER, TURN_1);
			fourth += right(methods[m], QUARTER, IN_WINDOW, TURN_4);
		}
	}
	ck_assert_uint_ge(known, 4 * SESSIONS * 3 / 4);
	ck_assert_uint_le(later, 4 * SESSIONS / 2);
	ck_assert_uint_le(fourth, 4 * SESSIONS / 2);
}
END_TEST

/* Where nothing was lost, a session after a view has the same bits as after pages. */
START_TEST(a_plain_view_is_the_cache)
{
	struct document_want w = { .n_tokens = TOKENS, .n_facts = 16 };
	struct document doc = document(&w, 9);
	uint32_t n = model.cfg.n_vocab;
	float *pages = calloc((size_t)CONTEXT_TAIL * n, sizeof(*pages));
	float *view = calloc(n, sizeof(*view));
	char why[CKV_METHOD_WHY_BYTES];
	struct press_input in = { .n_tokens = TOKENS, .n_context = TOKENS };
	struct context c;
	struct session s;
	uint8_t verdict[N_TURNS];

	ck_assert_int_eq(reader_read(&bench.reader, &doc, &c), 0);
	ck_assert_int_eq(reader_session(&bench.reader, &c, &doc, 0, 4, &s), 0);
	for (uint32_t i = 0; i < s.n_ids; i++)
		engine_logits(&bench.reader.eng, i, pages + (size_t)i * n);
	in.c = &c;
	ck_assert_msg(press(&bench.press, "plain", 0, &in, why) == 0, "%s", why);
	ck_assert_int_eq(reader_ask(&bench.reader, &s, bench.press.run, TOKENS, verdict),
			 0);
	for (uint32_t i = 0; i < s.n_ids; i++) {
		engine_logits(&bench.reader.eng, i, view);
		ck_assert_mem_eq(view, pages + (size_t)i * n, n * sizeof(*view));
	}
	session_free(&s);
	context_free(&c);
	free(doc.ids);
	free(pages);
	free(view);
}
END_TEST

/* Greedily, word after word, from a view: is it the answer? */
static uint8_t decoded_right(const struct context *c, const struct question *q)
{
	struct reader *r = &bench.reader;
	uint32_t said[ANSWER_MAX];
	struct kv kv;
	int n;

	kv_init_view(&kv, &r->kv.geo, bench.press.run, c->n_tokens);
	ck_assert_int_eq(engine_forward(&r->eng, &kv, q->ask, q->n_ask, c->n_tokens,
					r->logits), 0);
	n = engine_decode(&r->eng, &kv, r->logits, c->n_tokens + q->n_ask,
			  q->say[q->n_say - 1], q->n_say, said);
	kv_free(&kv);
	return n == (int)q->n_say && memcmp(said, q->say, (size_t)n * sizeof(*said)) == 0;
}

/* The verdict of one pass over the whole session is that of greedy decoding. */
START_TEST(one_pass_judges_as_decoding_does)
{
	struct document_want w = { .n_tokens = TOKENS, .n_facts = 16 };
	struct document doc = document(&w, 8);
	char why[CKV_METHOD_WHY_BYTES];
	struct press_input in;
	struct context c;
	uint32_t n_right = 0;

	ck_assert_int_eq(reader_read(&bench.reader, &doc, &c), 0);
	in = (struct press_input){
		.c = &c, .n_tokens = TOKENS, .n_context = TOKENS, .q = c.q,
		.q_rows = TOKENS, .n_q = TOKENS, .sums = c.sums };
	ck_assert_msg(press(&bench.press, "chunkkv(bytes=1/2, chunk=16, window=32)", 0,
			    &in, why) == 0, "%s", why);
	for (uint32_t i = 0; i < doc.n_questions; i++) {
		struct session s;
		uint8_t verdict[N_TURNS];

		ck_assert_int_eq(reader_session(&bench.reader, &c, &doc, i, 4, &s), 0);
		ck_assert_int_eq(reader_ask(&bench.reader, &s, bench.press.run, TOKENS,
					    verdict), 0);
		ck_assert_uint_eq(verdict[TURN_1],
				  decoded_right(&c, &doc.question[i]));
		n_right += verdict[TURN_1];
		session_free(&s);
	}
	ck_assert_uint_gt(n_right, 0);
	ck_assert_uint_lt(n_right, doc.n_questions);
	context_free(&c);
	free(doc.ids);
}
END_TEST

CHECK_MAIN("quality_recall",
	CASE("recall", .setup = setup, .teardown = teardown, .timeout = 200),
	LOOP(facts_are_told_once, 6),
	TEST(hard_names_share_words),
	TEST(chains_are_told_in_two_steps),
	TEST(documents_have_limits),
	LOOP(anchors_hold, 3),
	TEST(known_questions_win),
	TEST(a_plain_view_is_the_cache),
	TEST(one_pass_judges_as_decoding_does))
