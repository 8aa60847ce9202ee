/* check.c - see check.h. */
#include "client/examples/engine/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "client/examples/engine/expect.h"
#include "client/examples/engine/session.h"

#define ANSWER_MAX	64u

struct verdict {
	double diff;			/* largest of the logits */
	bool near;			/* as the rule asks: this decides */
	const char *answer;		/* whether the same words follow */
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

static int check_one(const struct options *o, const struct model *m,
		     const struct expect *x, const struct prompt *p,
		     struct verdict *ret, struct err *e)
{
	struct session s;
	int r = session_open(&s, m, o, e);

	if (r < 0)
		return r;
	r = session_read(&s, p->ids, p->n_ids, e);
	if (r == 0) {
		ret->diff = expect_diff(s.logits, p->logits, m->cfg.n_vocab);
		ret->near = expect_met(x, p, s.logits, m->cfg.n_vocab);
		ret->answer = compare_answer(&s, p, e);
	}
	session_close(&s);
	return r;
}

static json_t *as_json(const struct prompt *p, const struct verdict *v)
{
	json_t *diff = isfinite(v->diff) ? json_real(v->diff) : json_null();

	return json_pack("{s:i, s:o, s:b, s:s}", "tokens", (int)p->n_ids,
			 "max_diff", diff, "met", v->near,
			 "answer", v->answer);
}

static void print_one(uint32_t i, const struct prompt *p,
		      const struct verdict *v)
{
	printf("p%-3u %6u tokens   largest difference %.1e   %-5s   "
	       "answer: %s\n", i, p->n_ids, v->diff,
	       v->near ? "right" : "WRONG", v->answer);
}

static void print_end(const struct options *o, const struct expect *x,
		      uint32_t n_right, json_t *list)
{
	json_t *all;

	if (!o->json) {
		printf("%u of %u prompts right (allowed difference %g)\n",
		       n_right, x->n_prompts, x->diff_max);
		return;
	}
	all = json_pack("{s:s, s:f, s:i, s:i, s:O}", "file", o->expect,
			"allowed_diff", x->diff_max,
			"prompts", (int)x->n_prompts, "right", (int)n_right,
			"prompt", list);
	json_dumpf(all, stdout, JSON_INDENT(1));
	puts("");
	json_decref(all);
}

int check_run(const struct options *o, const struct model *m, struct err *e)
{
	json_t *list = json_array();
	struct expect x;
	uint32_t n_right = 0;
	int r = expect_load(o->expect, m->cfg.n_vocab, &x, e);

	if (r < 0)
		goto out_list;
	for (uint32_t i = 0; i < x.n_prompts; i++) {
		struct verdict v = { 0 };

		r = check_one(o, m, &x, &x.prompt[i], &v, e);
		if (r < 0)
			goto out_expect;
		n_right += v.near;
		if (!o->json)
			print_one(i, &x.prompt[i], &v);
		json_array_append_new(list, as_json(&x.prompt[i], &v));
	}
	print_end(o, &x, n_right, list);
	r = n_right != x.n_prompts;
out_expect:
	expect_free(&x);
out_list:
	json_decref(list);
	return r;
}
