/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - see check.h.
 *
 * Through a daemon each prompt is read twice by sessions of its own: the first
 * computes and publishes what nobody had, the second must find every full block
 * before the last word, and both must end in the same bits.
 */
#include "client/examples/engine/check.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "client/examples/engine/expect.h"
#include "client/examples/engine/session.h"

#define ANSWER_MAX	64u

struct verdict {
	double diff;			/* largest of the logits */
	bool near;			/* as the rule asks: this decides */
	const char *answer;		/* whether the same words follow */
	bool cached;			/* found all there is to find */
	bool same_bits;			/* cold and cached */
	uint32_t n_found;		/* tokens, the second time */
	uint32_t n_before;		/* and the first time */
};

struct checking {
	const struct options *o;
	const struct model *m;
	struct share *share;		/* or NULL */
	struct expect x;
	struct err *e;
};

/* A prompt without a question has the answer -1. */
static const char *compare_answer(struct session *s, const struct prompt *p,
				  struct err *e)
{
	uint32_t ids[ANSWER_MAX];
	int n;

	if (p->answer[0] >= s->eng.m->cfg.n_vocab)
		return "none";
	n = session_answer(s, UINT32_MAX, p->n_answer < ANSWER_MAX ?
			   p->n_answer : ANSWER_MAX, ids, e);
	return n == (int)p->n_answer &&
	       memcmp(ids, p->answer, (size_t)n * sizeof(*ids)) == 0 ?
	       "same" : "another";
}

/* Read the prompt; its logits and how many of its tokens were found. */
static int read_prompt(const struct checking *c, const struct prompt *p,
		       float *logits, struct verdict *v)
{
	struct session s;
	int r = session_open(&s, c->m, c->o, c->share, c->e);

	if (r < 0)
		return r;
	r = session_begin(&s, p->ids, p->n_ids, 1, c->e);
	if (r == 0) {
		v->n_found = s.n_found;
		r = session_read(&s, p->n_ids, c->e);
	}
	if (r == 0)
		r = session_publish(&s, c->e);
	if (r == 0) {
		memcpy(logits, s.logits, c->m->cfg.n_vocab * sizeof(*logits));
		v->answer = compare_answer(&s, p, c->e);
	}
	session_close(&s);
	return r;
}

static void judge(const struct checking *c, const struct prompt *p,
		  const float *logits, struct verdict *v)
{
	double diff = expect_diff(logits, p->logits, c->m->cfg.n_vocab);

	v->diff = diff > v->diff ? diff : v->diff;
	v->near = v->near && expect_met(&c->x, p, logits, c->m->cfg.n_vocab);
}

static int check_one(const struct checking *c, const struct prompt *p,
		     struct verdict *ret)
{
	struct verdict v = { .near = true, .cached = true, .same_bits = true };
	size_t n_bytes = c->m->cfg.n_vocab * sizeof(float);
	uint32_t n = c->o->block_tokens;
	float *cold = malloc(n_bytes), *cached = malloc(n_bytes);
	int r = cold == NULL || cached == NULL ?
		err_set(c->e, -ENOMEM, "out of memory") : 0;

	if (r == 0)
		r = read_prompt(c, p, cold, &v);
	if (r == 0)
		judge(c, p, cold, &v);
	if (r == 0 && c->share != NULL) {
		v.n_before = v.n_found;
		r = read_prompt(c, p, cached, &v);
		if (r == 0)
			judge(c, p, cached, &v);
		v.cached = v.n_found == (p->n_ids - 1) / n * n;
		v.same_bits = r == 0 && memcmp(cold, cached, n_bytes) == 0;
	}
	free(cold);
	free(cached);
	if (r == 0)
		*ret = v;
	return r;
}

static json_t *as_json(const struct checking *c, const struct prompt *p,
		       const struct verdict *v)
{
	json_t *diff = isfinite(v->diff) ? json_real(v->diff) : json_null();
	json_t *one = json_pack("{s:I, s:o, s:b, s:s}",
				"tokens", (json_int_t)p->n_ids,
				"max_diff", diff, "met", v->near,
				"answer", v->answer);

	if (c->share == NULL)
		return one;
	json_object_set_new(one, "found_cold",
			    json_integer((json_int_t)v->n_before));
	json_object_set_new(one, "found_cached",
			    json_integer((json_int_t)v->n_found));
	json_object_set_new(one, "same_bits", json_boolean(v->same_bits));
	return one;
}

static void print_one(const struct checking *c, uint32_t i,
		      const struct prompt *p, const struct verdict *v)
{
	printf("p%-3u %6u tokens  off by %.1e  %-5s  answer: %s", i, p->n_ids,
	       v->diff, v->near ? "right" : "WRONG", v->answer);
	if (c->share != NULL)
		printf("  %u found%s, %s", v->n_found,
		       v->cached ? "" : ", TOO FEW",
		       v->same_bits ? "same bits" : "OTHER BITS");
	puts("");
}

static void print_end(const struct checking *c, uint32_t n_right, json_t *list)
{
	json_t *all;

	if (!c->o->json) {
		printf("%u of %u prompts right: no logit may be further off "
		       "than %g\n", n_right, c->x.n_prompts, c->x.diff_max);
		return;
	}
	all = json_pack("{s:s, s:f, s:I, s:I, s:O}", "file", c->o->expect,
			"allowed_diff", c->x.diff_max,
			"prompts", (json_int_t)c->x.n_prompts,
			"right", (json_int_t)n_right, "prompt", list);
	json_dumpf(all, stdout, JSON_INDENT(1));
	puts("");
	json_decref(all);
}

static int check_all(const struct checking *c, json_t *list)
{
	uint32_t n_right = 0;

	for (uint32_t i = 0; i < c->x.n_prompts; i++) {
		const struct prompt *p = &c->x.prompt[i];
		struct verdict v = { 0 };
		int r = check_one(c, p, &v);

		if (r < 0)
			return r;
		n_right += v.near && v.cached && v.same_bits;
		if (!c->o->json)
			print_one(c, i, p, &v);
		json_array_append_new(list, as_json(c, p, &v));
	}
	print_end(c, n_right, list);
	return n_right != c->x.n_prompts;
}

int check_run(const struct options *o, const struct model *m,
	      struct share *share, struct err *e)
{
	struct checking c = { .o = o, .m = m, .share = share, .e = e };
	json_t *list = json_array();
	int r = expect_load(o->expect, m->cfg.n_vocab, &c.x, e);

	if (r == 0) {
		r = check_all(&c, list);
		expect_free(&c.x);
	}
	json_decref(list);
	return r;
}
