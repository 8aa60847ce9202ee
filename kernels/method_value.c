/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method_value.c - the values of a method's text, read and written.
 *
 * Shares stay rational: 0.1 is 1/10, never a binary fraction near it. Lists are
 * sorted and joined as they are read, so that equal lists have one text.
 */
#include "kernels/method_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARE_DEN_MAX	1000000u
#define SKIP_LAYERS	64u	/* bits of ckv_selection.skip */

void method_put(struct method_out *out, const char *format, ...)
{
	size_t left = out->n < out->room ? out->room - out->n : 0;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(left ? out->text + out->n : NULL, left, format, args);
	va_end(args);
	if (n > 0)
		out->n += (size_t)n;
}

static uint32_t get(const struct ckv_method_value *v, const struct ckv_method *m)
{
	uint32_t n;

	memcpy(&n, (const char *)m + v->at, sizeof n);
	return n;
}

static void set(const struct ckv_method_value *v, struct ckv_method *m, uint32_t n)
{
	memcpy((char *)m + v->at, &n, sizeof n);
}

/* Digits up to `max`; what follows them in *ret_end. -EINVAL. */
static int digits(const char *text, uint64_t max, uint64_t *ret_n,
		  const char **ret_end)
{
	size_t n_digits = strspn(text, "0123456789");
	uint64_t n;

	if (n_digits == 0 || n_digits > 18)
		return -EINVAL;
	n = strtoull(text, NULL, 10);
	if (n > max)
		return -EINVAL;
	*ret_n = n;
	*ret_end = text + n_digits;
	return 0;
}

/* All of the text is a number up to `max`. */
static int whole(const char *text, uint64_t max, uint64_t *ret_n)
{
	const char *end;
	uint64_t n;

	if (digits(text, max, &n, &end) < 0 || *end != 0)
		return -EINVAL;
	*ret_n = n;
	return 0;
}

int value_read_number(const struct ckv_method_value *v, const char *text,
		      struct ckv_method *m)
{
	uint64_t n;

	if (whole(text, v->max, &n) < 0 || n < v->min)
		return -EINVAL;
	set(v, m, (uint32_t)n);
	return 0;
}

int value_read_odd(const struct ckv_method_value *v, const char *text,
		   struct ckv_method *m)
{
	uint64_t n;

	if (whole(text, v->max, &n) < 0 || n < v->min || n % 2 == 0)
		return -EINVAL;
	set(v, m, (uint32_t)n);
	return 0;
}

void value_write_number(const struct ckv_method_value *v,
			const struct ckv_method *m, struct method_out *out)
{
	method_put(out, "%u", get(v, m));
}

int value_read_word(const struct ckv_method_value *v, const char *text,
		    struct ckv_method *m)
{
	for (const struct method_word *w = v->word; w->word != NULL; w++)
		if (strcmp(w->word, text) == 0) {
			set(v, m, w->is);
			return 0;
		}
	return -EINVAL;
}

void value_write_word(const struct ckv_method_value *v,
		      const struct ckv_method *m, struct method_out *out)
{
	const struct method_word *w = v->word;

	while (w->word != NULL && w->is != get(v, m))
		w++;
	method_put(out, "%s", w->word);
}

/* ---- shares ---- */

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* "0.25" as 25 / 100: decimals are taken as they are written. */
static int decimal(const char *text, uint32_t *ret_num, uint32_t *ret_den)
{
	uint32_t num, den = 1;
	const char *p = text;

	if (*p != '0' && *p != '1')
		return -EINVAL;
	num = (uint32_t)(*p++ - '0');
	if (*p == '.')
		for (p++; isdigit((unsigned char)*p) && den < SHARE_DEN_MAX; p++) {
			num = num * 10 + (uint32_t)(*p - '0');
			den *= 10;
		}
	if (*p != 0)
		return -EINVAL;
	*ret_num = num;
	*ret_den = den;
	return 0;
}

/* "1/4". */
static int quotient(const char *text, uint32_t *ret_num, uint32_t *ret_den)
{
	uint64_t num, den;
	const char *end;

	if (digits(text, SHARE_DEN_MAX, &num, &end) < 0 || *end != '/' ||
	    whole(end + 1, SHARE_DEN_MAX, &den) < 0)
		return -EINVAL;
	*ret_num = (uint32_t)num;
	*ret_den = (uint32_t)den;
	return 0;
}

int value_read_share(const struct ckv_method_value *v, const char *text,
		     struct ckv_method *m)
{
	uint32_t share[2], common;
	int r = strchr(text, '/') != NULL ?
		quotient(text, &share[0], &share[1]) :
		decimal(text, &share[0], &share[1]);

	if (r < 0 || share[0] == 0 || share[0] > share[1])
		return -EINVAL;
	common = gcd(share[0], share[1]);
	share[0] /= common;
	share[1] /= common;
	memcpy((char *)m + v->at, share, sizeof share);
	return 0;
}

void value_write_share(const struct ckv_method_value *v,
		       const struct ckv_method *m, struct method_out *out)
{
	uint32_t share[2];

	memcpy(share, (const char *)m + v->at, sizeof share);
	method_put(out, "%u/%u", share[0], share[1]);
}

int value_read_seed(const struct ckv_method_value *v, const char *text,
		    struct ckv_method *m)
{
	(void)v;
	return whole(text, UINT64_MAX, &m->select.seed);
}

void value_write_seed(const struct ckv_method_value *v,
		      const struct ckv_method *m, struct method_out *out)
{
	(void)v;
	method_put(out, "%llu", (unsigned long long)m->select.seed);
}

/* ---- lists ---- */

/* "5" or "5-9", and the `/` after it unless the text ends: [*ret_from, *ret_to). */
static int range(const char **text, uint64_t max, uint64_t *ret_from,
		 uint64_t *ret_to)
{
	uint64_t from, last;
	const char *p;

	if (digits(*text, max, &from, &p) < 0)
		return -EINVAL;
	last = from;
	if (*p == '-' && digits(p + 1, max, &last, &p) < 0)
		return -EINVAL;
	if (last < from || (*p != 0 && (*p != '/' || p[1] == 0)))
		return -EINVAL;
	*text = *p == '/' ? p + 1 : p;
	*ret_from = from;
	*ret_to = last + 1;
	return 0;
}

static void put_range(struct method_out *out, int first, uint32_t from,
		      uint32_t to)
{
	method_put(out, "%s%u", first ? "" : "/", from);
	if (to - from > 1)
		method_put(out, "-%u", to - 1);
}

int value_read_layers(const struct ckv_method_value *v, const char *text,
		      struct ckv_method *m)
{
	uint64_t skip = 0, from, to;

	(void)v;
	if (strcmp(text, "none") == 0) {
		m->select.skip = 0;
		return 0;
	}
	do {
		if (range(&text, SKIP_LAYERS - 1, &from, &to) < 0)
			return -EINVAL;
		for (uint64_t l = from; l < to; l++)
			skip |= 1ull << l;
	} while (*text != 0);
	m->select.skip = skip;
	return 0;
}

void value_write_layers(const struct ckv_method_value *v,
			const struct ckv_method *m, struct method_out *out)
{
	uint64_t skip = m->select.skip;
	int first = 1;

	(void)v;
	if (skip == 0)
		method_put(out, "none");
	for (uint32_t l = 0; l < SKIP_LAYERS; l++) {
		uint32_t from = l;

		while (l < SKIP_LAYERS && skip >> l & 1)
			l++;
		if (l > from) {
			put_range(out, first, from, l);
			first = 0;
		}
	}
}

/* Put [from, to) into the sorted ranges, joined with what it touches. -EINVAL: no room. */
static int add_range(struct ckv_always *a, uint32_t from, uint32_t to)
{
	uint32_t n = 0, at;

	for (uint32_t i = 0; i < a->n_ranges; i++) {
		if (a->range[i].to < from || to < a->range[i].from) {
			a->range[n++] = a->range[i];
			continue;
		}
		from = a->range[i].from < from ? a->range[i].from : from;
		to = a->range[i].to > to ? a->range[i].to : to;
	}
	if (n == CKV_ALWAYS_RANGES)
		return -EINVAL;
	for (at = n; at > 0 && a->range[at - 1].from > from; at--)
		a->range[at] = a->range[at - 1];
	a->range[at].from = from;
	a->range[at].to = to;
	a->n_ranges = n + 1;
	return 0;
}

int value_read_ranges(const struct ckv_method_value *v, const char *text,
		      struct ckv_method *m)
{
	struct ckv_always a = { .n_ranges = 0 };
	uint64_t from, to;

	if (strcmp(text, "none") != 0)
		do {
			if (range(&text, v->max, &from, &to) < 0 ||
			    add_range(&a, (uint32_t)from, (uint32_t)to) < 0)
				return -EINVAL;
		} while (*text != 0);
	memset(m->select.always.range, 0, sizeof a.range);
	memcpy(m->select.always.range, a.range, a.n_ranges * sizeof a.range[0]);
	m->select.always.n_ranges = a.n_ranges;
	return 0;
}

void value_write_ranges(const struct ckv_method_value *v,
			const struct ckv_method *m, struct method_out *out)
{
	const struct ckv_always *a = &m->select.always;

	(void)v;
	for (uint32_t i = 0; i < a->n_ranges; i++)
		put_range(out, i == 0, a->range[i].from, a->range[i].to);
}

/* ---- bits ---- */

int value_read_bits(const struct ckv_method_value *v, const char *text,
		    struct ckv_method *m)
{
	(void)v;
	m->bits_auto = strcmp(text, "auto") == 0;
	if (m->bits_auto)
		m->encode.bits = 0;
	else if (strcmp(text, "2") == 0 || strcmp(text, "4") == 0 ||
		 strcmp(text, "8") == 0)
		m->encode.bits = (uint32_t)(text[0] - '0');
	else
		return -EINVAL;
	return 0;
}

void value_write_bits(const struct ckv_method_value *v,
		      const struct ckv_method *m, struct method_out *out)
{
	(void)v;
	if (m->bits_auto)
		method_put(out, "auto");
	else
		method_put(out, "%u", m->encode.bits);
}
