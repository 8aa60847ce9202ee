/* SPDX-License-Identifier: Apache-2.0 */
/* expect.c - see expect.h. Everything is copied out, so the file is closed. */
#include "client/examples/engine/expect.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/examples/engine/engine.h"

#define RULE	"logits: absolute difference at most %lf; " \
		"the same largest element%n"

struct source {
	const char *path;
	const struct st_file *file;
	struct err *e;
};

/* A copy of the one-dimensional tensor p<i>.<what>: 4-byte values. */
static int copy_row(const struct source *in, uint32_t i, const char *what,
		    enum st_dtype dtype, void *ret_values, uint32_t *ret_n)
{
	const struct st_tensor *t;
	char name[64];
	void *copy;

	snprintf(name, sizeof(name), "p%u.%s", i, what);
	t = st_file_find(in->file, name);
	if (t == NULL)
		return err_set(in->e, -EINVAL, "%s: tensor %s is missing",
			       in->path, name);
	if (t->dtype != dtype || t->n_dims != 1 || t->n_elems == 0 ||
	    t->n_elems > UINT32_MAX)
		return err_set(in->e, -EINVAL, "%s: tensor %s is not a row of "
			       "%s", in->path, name, st_dtype_name(dtype));
	copy = malloc(t->bytes);
	if (copy == NULL)
		return err_set(in->e, -ENOMEM, "out of memory");
	memcpy(copy, t->data, t->bytes);
	memcpy(ret_values, &copy, sizeof(copy));
	*ret_n = (uint32_t)t->n_elems;
	return 0;
}

static int read_prompt(const struct source *in, uint32_t i, uint32_t n_vocab,
		       struct prompt *p)
{
	uint32_t n_logits;
	int r;

	r = copy_row(in, i, "ids", ST_I32, &p->ids, &p->n_ids);
	if (r == 0)
		r = copy_row(in, i, "logits", ST_F32, &p->logits, &n_logits);
	if (r == 0)
		r = copy_row(in, i, "answer", ST_I32, &p->answer, &p->n_answer);
	if (r < 0)
		return r;
	if (n_logits != n_vocab)
		return err_set(in->e, -EINVAL, "%s: p%u.logits has %u values, "
			       "the model's vocabulary %u", in->path, i,
			       n_logits, n_vocab);
	for (uint32_t j = 0; j < p->n_ids; j++)
		if (p->ids[j] >= n_vocab)
			return err_set(in->e, -EINVAL, "%s: p%u.ids[%u] is not "
				       "an id of the model", in->path, i, j);
	return 0;
}

static uint32_t count_prompts(const struct st_file *f)
{
	char name[64];
	uint32_t n = 0;

	for (;; n++) {
		snprintf(name, sizeof(name), "p%u.ids", n);
		if (st_file_find(f, name) == NULL)
			return n;
	}
}

static int read_rule(const struct source *in, double *ret_diff)
{
	const char *rule = st_file_meta(in->file, "rule");
	int end = 0;

	if (rule == NULL || sscanf(rule, RULE, ret_diff, &end) != 1 ||
	    rule[end] != '\0' || end == 0 || !(*ret_diff >= 0))
		return err_set(in->e, -EINVAL, "%s: the rule \"%s\" is not one "
			       "that is known here", in->path,
			       rule != NULL ? rule : "");
	return 0;
}

static int read_all(const struct source *in, uint32_t n_vocab, struct expect *x)
{
	uint32_t n = count_prompts(in->file);
	int r = read_rule(in, &x->diff_max);

	if (r < 0)
		return r;
	if (n == 0)
		return err_set(in->e, -EINVAL, "%s: tensor p0.ids is missing",
			       in->path);
	x->prompt = calloc(n, sizeof(*x->prompt));
	if (x->prompt == NULL)
		return err_set(in->e, -ENOMEM, "out of memory");
	for (; r == 0 && x->n_prompts < n; x->n_prompts++)
		r = read_prompt(in, x->n_prompts, n_vocab,
				&x->prompt[x->n_prompts]);
	return r;
}

int expect_load(const char *path, uint32_t n_vocab, struct expect *ret,
		struct err *e)
{
	struct expect x = { 0 };
	struct st_file file;
	struct source in = { .path = path, .file = &file, .e = e };
	int r;

	r = st_file_open(path, &file, e->text, sizeof(e->text));
	if (r < 0)
		return r;
	r = read_all(&in, n_vocab, &x);
	st_file_close(&file);
	if (r < 0) {
		expect_free(&x);
		return r;
	}
	*ret = x;
	return 0;
}

void expect_free(struct expect *x)
{
	for (uint32_t i = 0; i < x->n_prompts; i++) {
		free(x->prompt[i].ids);
		free(x->prompt[i].logits);
		free(x->prompt[i].answer);
	}
	free(x->prompt);
	memset(x, 0, sizeof(*x));
}

double expect_diff(const float *a, const float *b, uint32_t n)
{
	double max = 0;

	for (uint32_t i = 0; i < n; i++) {
		double diff = fabs((double)a[i] - (double)b[i]);

		if (isnan(diff))
			return INFINITY;
		max = diff > max ? diff : max;
	}
	return max;
}

bool expect_met(const struct expect *x, const struct prompt *p,
		const float *logits, uint32_t n_vocab)
{
	return expect_diff(logits, p->logits, n_vocab) <= x->diff_max &&
	       engine_argmax(logits, n_vocab) ==
	       engine_argmax(p->logits, n_vocab);
}
