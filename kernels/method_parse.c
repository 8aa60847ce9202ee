/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method_parse.c - from a line of text to a method, or to a sentence about it.
 *
 * For each stage: its name is looked up in the table, its parameters get their defaults,
 * which are read as if somebody had written them, and then what was written is read. When
 * all stages are there, it is checked that they fit together, and the canonical text is
 * written from the same table.
 */
#include "kernels/method_table.h"
#include "kernels/method_value.h"
#include "kernels/nearest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WORD_BYTES	160u	/* the longest value: a list of ranges */
#define BLANKS		" \t\n\r\v\f"	/* a file of one line ends in one */

struct parse {
	const char *at;
	struct ckv_method *m;
	char *why;
	const struct method_row *stage[N_STAGES];	/* NULL: not there */
	uint32_t given[N_STAGES];	/* bit per key of the row */
};

__attribute__((format(printf, 2, 3)))
static int fail(const struct parse *p, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->why, CKV_METHOD_WHY_BYTES, format, args);
	va_end(args);
	/* The text quotes what somebody wrote, and is shown on terminals and in logs. */
	for (char *c = p->why; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return -EINVAL;
}

static void skip_blanks(struct parse *p)
{
	p->at += strspn(p->at, BLANKS);
}

/* Letters up to a blank or a sign, blanks around; -EINVAL when none, or too many. */
static int word(struct parse *p, char out[WORD_BYTES])
{
	size_t n;

	skip_blanks(p);
	n = strcspn(p->at, BLANKS "=,()+");
	if (n == 0 || n >= WORD_BYTES)
		return -EINVAL;
	memcpy(out, p->at, n);
	out[n] = 0;
	p->at += n;
	skip_blanks(p);
	return 0;
}

/* ---- names that are not there ---- */

/* The name that was meant, or all of them. `known` is stride bytes from name to name. */
static int unknown(const struct parse *p, const char *of, const char *typed,
		   const char *const *known, size_t stride, uint32_t n)
{
	char text[CKV_METHOD_WHY_BYTES] = "";
	struct method_out list = { text, 0, sizeof text };
	const char *nearest = NULL;
	unsigned best = 3;

	for (uint32_t i = 0; i < n; i++) {
		const char *name = *(const char *const *)
				   ((const char *)known + i * stride);
		unsigned d = ckv_name_distance(typed, name);

		if (d < best) {
			best = d;
			nearest = name;
		}
		method_put(&list, "%s%s", i == 0 ? "" :
			   i + 1 < n ? ", " : " or ", name);
	}
	if (nearest != NULL)
		return fail(p, "%s %.31s; did you mean %s?", of, typed, nearest);
	return fail(p, "%s %.31s; expected %s", of, typed, text);
}

static int no_method(const struct parse *p, const char *typed)
{
	return unknown(p, "there is no method", typed, &method_row[0].info.name,
		       sizeof method_row[0], method_n_rows);
}

static int no_key(const struct parse *p, const struct method_row *row,
		  const char *typed)
{
	char of[32];

	snprintf(of, sizeof of, "%s has no", row->info.name);
	return unknown(p, of, typed, &row->info.key[0].name,
		       sizeof row->info.key[0], row->info.n_keys);
}

/* ---- one stage ---- */

static int parse_key(struct parse *p, const struct method_row *row)
{
	const struct ckv_method_key *key = row->info.key;
	char name[WORD_BYTES], value[WORD_BYTES];
	uint32_t i = 0;
	int r = word(p, name);

	if (r == 0 && *p->at == '=') {
		p->at++;
		r = word(p, value);
	} else {
		r = -EINVAL;
	}
	if (r < 0)
		return fail(p, "%s: expected key=value at \"%.40s\", as in "
			    "%s(%s=%s)", row->info.name, p->at, row->info.name,
			    key[0].name, key[0].init ? key[0].init : "1/4");
	while (i < row->info.n_keys && strcmp(key[i].name, name) != 0)
		i++;
	if (i == row->info.n_keys)
		return no_key(p, row, name);
	if (p->given[row->stage] >> i & 1)
		return fail(p, "%s: %s is given twice", row->info.name, name);
	p->given[row->stage] |= 1u << i;
	if (key[i].value->read(key[i].value, value, p->m) < 0)
		return fail(p, "%s: %s=%.40s: expected %s", row->info.name, name,
			    value, key[i].expected);
	return 0;
}

static int parse_keys(struct parse *p, const struct method_row *row)
{
	int r;

	skip_blanks(p);
	for (int more = *p->at != ')'; more;) {
		r = parse_key(p, row);
		if (r < 0)
			return r;
		more = *p->at == ',';
		p->at += more;
	}
	if (*p->at != ')')
		return fail(p, "%s: expected , or ) after a value, not \"%.40s\"",
			    row->info.name, p->at);
	p->at++;
	skip_blanks(p);
	return 0;
}

/* What the row stands for, and the defaults of its keys. */
static void begin_stage(struct ckv_method *m, const struct method_row *row)
{
	if (row->stage == STAGE_SELECTION) {
		m->select.kind = (enum ckv_selector)row->kind;
		m->select.keep_num = m->select.keep_den = 0;
	} else if (row->stage == STAGE_ENCODING) {
		m->encode.kind = (enum ckv_encode_kind)row->kind;
		m->encode.bits = row->bits;
	}
	for (uint32_t i = 0; i < row->info.n_keys; i++) {
		const struct ckv_method_key *key = &row->info.key[i];

		if (key->init != NULL)
			key->value->read(key->value, key->init, m);
	}
}

static int parse_stage(struct parse *p)
{
	const struct method_row *row = method_row;
	const struct method_row *end = row + method_n_rows;
	char name[WORD_BYTES];

	if (word(p, name) < 0) {
		skip_blanks(p);
		return fail(p, "there is no method \"%.40s\"; expected a name, as "
			    "in chunkkv(keep=1/4) + kivi(bits=4)", p->at);
	}
	while (row < end && strcmp(row->info.name, name) != 0)
		row++;
	if (row == end)
		return no_method(p, name);
	if (p->stage[row->stage] != NULL)
		return fail(p, "%s after %s: expected at most one %s", name,
			    p->stage[row->stage]->info.name, row->info.stage);
	for (int i = (int)row->stage + 1; i < N_STAGES; i++)
		if (p->stage[i] != NULL)
			return fail(p, "%s after %s: expected a selection, then "
				    "always, then an encoding", name,
				    p->stage[i]->info.name);
	p->stage[row->stage] = row;
	begin_stage(p->m, row);
	if (*p->at != '(')
		return 0;
	p->at++;
	return parse_keys(p, row);
}

/* ---- the whole ---- */

static int check_budget(const struct parse *p)
{
	const struct method_row *row = p->stage[STAGE_SELECTION];
	const struct ckv_method *m = p->m;
	int n = (m->select.keep_den != 0) + (m->select.n_keep != 0) +
		(m->bytes_den != 0);

	if (n == 0)
		return fail(p, "%s: keep is missing; expected keep=1/4, a share of "
			    "the tokens, or tokens=, their number, or bytes=, a "
			    "share of the bytes", row->info.name);
	if (n > 1)
		return fail(p, "%s: expected one of keep, tokens and bytes, not %s",
			    row->info.name, n == 3 ? "all three" : "two of them");
	return 0;
}

/*
 * A parameter that changes nothing, given the others, goes back to its default, so that
 * equal methods are equal. If it was written, and the table says what it needs, that is
 * an error.
 */
static int drop_idle(const struct parse *p, const struct method_row *row)
{
	for (uint32_t i = 0; i < row->info.n_keys; i++) {
		const struct ckv_method_key *key = &row->info.key[i];
		const struct ckv_method_value *v = key->value;

		if (v->counts == NULL || v->counts(p->m))
			continue;
		if (p->given[row->stage] >> i & 1 && v->with != NULL)
			return fail(p, "%s: %s counts with %s only",
				    row->info.name, key->name, v->with);
		if (key->init != NULL)
			v->read(v, key->init, p->m);
	}
	return 0;
}

static int check(const struct parse *p)
{
	const struct ckv_encode *e = &p->m->encode;
	uint32_t bits = p->m->bits_auto ? 4 : e->bits;

	if (p->stage[STAGE_SELECTION] != NULL) {
		if (check_budget(p) < 0)
			return -EINVAL;
	} else if (p->stage[STAGE_ALWAYS] != NULL) {
		return fail(p, "always: expected a selection before it, as in "
			    "snapkv(keep=1/4) + always(sinks=4)");
	}
	if (p->stage[STAGE_ALWAYS] != NULL && p->given[STAGE_ALWAYS] == 0)
		return fail(p, "always: expected sinks, recent or ranges, as in "
			    "always(sinks=4)");
	for (int s = 0; s < N_STAGES; s++)
		if (p->stage[s] != NULL && drop_idle(p, p->stage[s]) < 0)
			return -EINVAL;
	if (p->m->bits_auto && p->m->bytes_den == 0)
		return fail(p, "kivi: bits=auto: expected a selection with bytes=, "
			    "as in snapkv(bytes=1/8) + kivi(bits=auto)");
	if (e->kind == CKV_ENCODE_KIVI && e->group % (32 / bits) != 0)
		return fail(p, "%s: group=%u: expected a multiple of %u with %u "
			    "bits", p->stage[STAGE_ENCODING]->info.name, e->group,
			    32 / bits, bits);
	return 0;
}

/* Ranges that begin within the sinks, or where they end, are sinks. */
static void join_sinks(struct ckv_always *a)
{
	uint32_t n = 0;

	while (n < a->n_ranges && a->range[n].from <= a->n_sink) {
		if (a->range[n].to > a->n_sink)
			a->n_sink = a->range[n].to;
		n++;
	}
	a->n_ranges -= n;
	memmove(a->range, a->range + n, a->n_ranges * sizeof a->range[0]);
	memset(a->range + a->n_ranges, 0, n * sizeof a->range[0]);
}

/* One stage of the canonical text, with every parameter that counts. */
static void put_stage(struct method_out *out, const struct ckv_method *m,
		      const struct method_row *row)
{
	const char *before = "(";

	method_put(out, "%s%s", out->n ? " + " : "", row->info.name);
	for (uint32_t i = 0; i < row->info.n_keys; i++) {
		const struct ckv_method_key *key = &row->info.key[i];

		if (key->value->counts != NULL && !key->value->counts(m))
			continue;
		method_put(out, "%s%s=", before, key->name);
		key->value->write(key->value, m, out);
		before = ", ";
	}
	if (*before == ',')
		method_put(out, ")");
}

static int finish(const struct parse *p)
{
	struct ckv_method *m = p->m;
	struct method_out out = { m->text, 0, sizeof m->text };

	join_sinks(&m->select.always);
	if (p->stage[STAGE_SELECTION] != NULL)
		put_stage(&out, m, p->stage[STAGE_SELECTION]);
	if (m->select.always.n_sink || m->select.always.n_recent ||
	    m->select.always.n_ranges)
		put_stage(&out, m, p->stage[STAGE_ALWAYS]);
	if (m->encode.kind != CKV_ENCODE_PLAIN || out.n == 0)
		put_stage(&out, m, method_row_of(STAGE_ENCODING, m->encode.kind));
	if (out.n >= sizeof m->text)
		return fail(p, "the method is too long: written out it has %zu "
			    "characters, expected at most %zu", out.n,
			    sizeof m->text - 1);
	return 0;
}

int ckv_method_parse(const char *text, struct ckv_method *ret_method,
		     char why[CKV_METHOD_WHY_BYTES])
{
	struct ckv_method m;
	struct parse p = { .at = text, .m = &m, .why = why };

	memset(&m, 0, sizeof m);
	m.select.kind = CKV_KEEP_ALL;
	m.select.keep_num = m.select.keep_den = 1;
	m.encode.kind = CKV_ENCODE_PLAIN;
	for (;;) {
		if (parse_stage(&p) < 0)
			return -EINVAL;
		if (*p.at != '+')
			break;
		p.at++;
	}
	if (*p.at != 0)
		return fail(&p, "expected + or nothing after a method, not \"%.40s\"",
			    p.at);
	if (check(&p) < 0 || finish(&p) < 0)
		return -EINVAL;
	*ret_method = m;
	return 0;
}
