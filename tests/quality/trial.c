/* SPDX-License-Identifier: Apache-2.0 */
/* trial.c - see trial.h. */
#include "tests/quality/trial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LATER_WINDOW = 32, MAX_TOKENS = 2048, MAX_SESSIONS = 16 };

const char *const task_name[N_TASKS] = {
	"needle", "facts", "hard", "chains", "structured",
};

const uint32_t share_den[N_SHARES] = { 2, 4, 8, 16 };

/* A trial while it runs. */
struct running {
	struct bench *b;
	const struct trial *t;
	struct result *result;
	struct context c;
	struct session session[MAX_SESSIONS];
	uint32_t n_sessions;
	float *sums;		/* of the context with a question */
	float *scratch;
};

int bench_open(struct bench *b, const struct model *m, uint64_t seed)
{
	struct shape shape = reader_shape(m);
	int r;

	*b = (struct bench){ .seed = seed };
	r = reader_open(&b->reader, m);
	if (r == 0)
		r = press_open(&b->press, &shape, MAX_TOKENS);
	return r;
}

void bench_close(struct bench *b)
{
	reader_close(&b->reader);
	press_close(&b->press);
}

/* A stream of random numbers for each document. */
static struct random random_of(const struct running *x)
{
	return random_begin(x->b->seed, ((uint64_t)x->t->task << 40) +
			    ((uint64_t)x->t->n_tokens << 20) + x->t->number);
}

static int begin_document(struct running *x)
{
	const struct trial *t = x->t;
	struct document_want want = {
		.n_tokens = t->n_tokens, .n_facts = t->task == NEEDLE ? 1 : 16,
		.n_chains = t->task == CHAINS ? 8 : 0, .hard = t->task == HARD,
	};
	struct random random = random_of(x);
	struct document doc;
	int r = document_make(&x->b->reader.m->vocab, &want, &random, &doc);

	if (r < 0)
		return r;
	r = reader_read(&x->b->reader, &doc, &x->c);
	for (uint32_t i = 0; r == 0 && i < t->n_sessions; i++) {
		uint32_t first = i * doc.n_questions / t->n_sessions;

		r = reader_session(&x->b->reader, &x->c, &doc, first,
				   doc.n_questions >= 4 ? 4 : 1, &x->session[i]);
		if (r == 0)
			x->n_sessions++;
	}
	free(doc.ids);
	return r;
}

static int begin_structured(struct running *x)
{
	struct random random = random_of(x);
	struct structured_truth truth;
	int r = structured_make(x->t->structure, x->t->n_tokens,
				random_bits(&random), x->b->reader.eng.ops, &x->c,
				x->session, &truth);

	if (r < 0)
		return r;
	free(truth.cluster);
	x->n_sessions = STRUCTURED_SPANS;
	return 0;
}

static struct press_input later(const struct running *x)
{
	return (struct press_input){
		.c = &x->c, .n_tokens = x->c.n_tokens, .n_context = x->c.n_tokens,
		.q = x->c.q, .q_rows = x->c.n_tokens, .n_q = x->c.n_tokens,
		.sums = x->c.sums,
	};
}

static struct press_input in_window(const struct running *x, const struct session *s)
{
	return (struct press_input){
		.c = &x->c, .n_tokens = x->c.n_tokens + s->n_asked,
		.n_context = x->c.n_tokens, .q = s->q, .q_rows = s->n_tail,
		.n_q = s->n_asked, .sums = x->sums,
	};
}

/* Judge what the press holds by one session. */
static int judge(struct running *x, const struct press_input *in,
		 const struct session *s, struct cell cell[N_TURNS])
{
	const struct press *p = &x->b->press;
	uint8_t right[N_TURNS] = { 0 };
	int r = 0;

	if (s->n_ids > 0)
		r = reader_ask(&x->b->reader, s, p->run, in->n_context, right);
	for (int t = 0; r == 0 && t < N_TURNS; t++) {
		double mass, error;

		if (s->turn[t].n == 0)
			continue;
		press_measure(p, in, s, t, x->b->reader.eng.ops, x->scratch,
			      &mass, &error);
		cell[t].n++;
		cell[t].right += right[t];
		cell[t].mass += mass;
		cell[t].error += error;
		cell[t].bytes += (double)p->sizes.total;
		cell[t].plain += (double)p->sizes.plain;
	}
	return r;
}

/* One method and share. With `only`, the question of that session is known. */
static int compare(struct running *x, uint32_t method, uint32_t column,
		   const struct session *only)
{
	const struct compared *m = &compared[method];
	struct press_input in = only != NULL ? in_window(x, only) : later(x);
	struct cell (*cell)[N_TURNS] = x->result->cell[method][column];
	char text[METHOD_TEXT_BYTES], *why = x->result->why[method][column];
	int r;

	compared_text(m, 1, column < N_SHARES ? share_den[column] : 0,
		      only != NULL ? only->n_asked : LATER_WINDOW, text);
	r = press(&x->b->press, text, m->key_per_token, &in, why);
	if (r < 0)
		return r == -EINVAL ? 0 : r;	/* `why` says why there is no cell */
	if (only != NULL)
		return judge(x, &in, only, cell[IN_WINDOW]);
	for (uint32_t i = 0; r == 0 && i < x->n_sessions; i++)
		r = judge(x, &in, &x->session[i], cell[LATER]);
	return r;
}

static int compare_all(struct running *x, const struct session *only)
{
	int r = 0;

	for (uint32_t m = 0; r == 0 && m < n_compared; m++) {
		if (x->b->wanted != NULL && !x->b->wanted[m])
			continue;
		if (only != NULL && !compared[m].reads_queries)
			continue;
		if (compared[m].select == NULL)
			r = compare(x, m, SHARE_OWN, only);
		for (uint32_t s = 0; r == 0 && s < N_SHARES; s++)
			if (compared[m].select != NULL)
				r = compare(x, m, s, only);
	}
	return r;
}

static int run_all(struct running *x)
{
	size_t heads = (size_t)x->c.shape.n_layers * x->c.shape.n_q_heads;
	int r;

	x->sums = malloc(((heads + 1) * x->c.room + VEC_PAD) * sizeof(*x->sums));
	x->scratch = malloc((x->b->press.room + VEC_PAD + x->c.shape.dim) *
			    sizeof(*x->scratch));
	if (x->sums == NULL || x->scratch == NULL)
		return -ENOMEM;
	r = compare_all(x, NULL);
	for (uint32_t i = 0; r == 0 && i < x->n_sessions; i++) {
		context_append(&x->c, &x->session[i], x->b->reader.eng.ops, x->sums);
		r = compare_all(x, &x->session[i]);
	}
	return r;
}

int trial_run(struct bench *b, const struct trial *t, struct result *ret, struct err *e)
{
	struct running x = { .b = b, .t = t, .result = ret };
	int r;

	memset(ret, 0, sizeof(*ret));
	if (t->n_sessions > MAX_SESSIONS)
		return err_set(e, -EINVAL, "%u sessions are too many", t->n_sessions);
	r = t->task == STRUCTURED ? begin_structured(&x) : begin_document(&x);
	if (r == 0)
		r = run_all(&x);
	for (uint32_t i = 0; i < x.n_sessions; i++)
		session_free(&x.session[i]);
	context_free(&x.c);
	free(x.sums);
	free(x.scratch);
	return r < 0 ? err_set(e, r, "%s of %u tokens, number %u: %s",
			       task_name[t->task], t->n_tokens, t->number,
			       strerror(-r)) : 0;
}
