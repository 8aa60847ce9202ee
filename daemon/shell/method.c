/*
 * method.c - NAME(key=value, ...), each key from a table.
 *
 * The canonical text names every parameter that counts, in one order, so that
 * it can be compared and hashed.
 */
#include "daemon/shell/method.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECTED_METHOD	"chunkkv(keep=1/4, chunk=16, window=32, kernel=5, " \
			"mode=kvpress|paper, reuse=1)"
#define KEEP_DEN_MAX	1000000u

struct parse {
	const char *at;
	struct method *method;
	char *why;
	unsigned int given;	/* bit per row of the table */
};

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Digits up to `max`, all of the text; -EINVAL. */
static int whole(const char *text, uint32_t max, uint32_t *ret_n)
{
	char *end;
	unsigned long n;

	if (!isdigit((unsigned char)text[0]) || strlen(text) > 9)
		return -EINVAL;
	n = strtoul(text, &end, 10);
	if (*end != 0 || n > max)
		return -EINVAL;
	*ret_n = (uint32_t)n;
	return 0;
}

/* "0.25" as 25 / 100: decimals are taken as they are written. */
static int decimal(const char *text, uint32_t *ret_num, uint32_t *ret_den)
{
	uint32_t num = 0, den = 1;
	const char *p = text;

	if (*p != '0' && *p != '1')
		return -EINVAL;
	num = (uint32_t)(*p++ - '0');
	if (*p == '.')
		for (p++; isdigit((unsigned char)*p) && den < KEEP_DEN_MAX; p++) {
			num = num * 10 + (uint32_t)(*p - '0');
			den *= 10;
		}
	if (*p != 0)
		return -EINVAL;
	*ret_num = num;
	*ret_den = den;
	return 0;
}

static int set_keep(struct method *m, char *value)
{
	char *slash = strchr(value, '/');
	uint32_t num, den, common;
	int r;

	if (slash != NULL) {
		*slash = 0;
		r = whole(value, KEEP_DEN_MAX, &num);
		if (r == 0)
			r = whole(slash + 1, KEEP_DEN_MAX, &den);
		*slash = '/';
	} else {
		r = decimal(value, &num, &den);
	}
	if (r < 0 || num == 0 || den == 0 || num > den)
		return -EINVAL;
	common = gcd(num, den);
	m->keep_num = num / common;
	m->keep_den = den / common;
	return 0;
}

static int set_chunk(struct method *m, char *value)
{
	return whole(value, 65536, &m->chunkkv.chunk) < 0 ||
	       m->chunkkv.chunk == 0 ? -EINVAL : 0;
}

static int set_window(struct method *m, char *value)
{
	return whole(value, CKV_KERNEL_MAX_WINDOW, &m->chunkkv.window) < 0 ||
	       m->chunkkv.window == 0 ? -EINVAL : 0;
}

static int set_kernel(struct method *m, char *value)
{
	return whole(value, 4095, &m->chunkkv.kernel) < 0 ||
	       m->chunkkv.kernel % 2 == 0 ? -EINVAL : 0;
}

static int set_mode(struct method *m, char *value)
{
	if (strcmp(value, "kvpress") == 0)
		m->chunkkv.mode = CKV_CHUNKKV_KVPRESS;
	else if (strcmp(value, "paper") == 0)
		m->chunkkv.mode = CKV_CHUNKKV_PAPER;
	else
		return -EINVAL;
	return 0;
}

static int set_reuse(struct method *m, char *value)
{
	return whole(value, 1024, &m->chunkkv.n_reuse) < 0 ||
	       m->chunkkv.n_reuse == 0 ? -EINVAL : 0;
}

static const struct {
	const char *name;
	const char *expected;
	int (*set)(struct method *method, char *value);
} key_row[] = {
	{ "keep", "a fraction such as 1/4 or 0.25, above 0, at most 1",
	  set_keep },
	{ "chunk", "1 to 65536 tokens", set_chunk },
	{ "window", "1 to 4096 tokens", set_window },
	{ "kernel", "an odd number, 1 to 4095", set_kernel },
	{ "mode", "kvpress or paper", set_mode },
	{ "reuse", "1 to 1024 layers", set_reuse },
};
#define N_KEYS (sizeof key_row / sizeof key_row[0])

static void skip_blanks(struct parse *p)
{
	while (*p->at == ' ')
		p->at++;
}

/* Letters up to a blank or one of `stop`; -EINVAL when there are none. */
static int word(struct parse *p, const char *stop, char *out, size_t room)
{
	size_t n;

	skip_blanks(p);
	n = strcspn(p->at, stop);
	memcpy(out, p->at, n < room ? n : room - 1);
	out[n < room ? n : room - 1] = 0;
	p->at += n;
	skip_blanks(p);
	return n == 0 || n >= room ? -EINVAL : 0;
}

static int parse_key(struct parse *p)
{
	char name[32], value[32];
	size_t i = 0;
	int r = word(p, " =,()", name, sizeof name);

	if (r == 0 && *p->at == '=') {
		p->at++;
		r = word(p, " =,()", value, sizeof value);
	} else {
		r = -EINVAL;
	}
	if (r < 0) {
		snprintf(p->why, METHOD_WHY_BYTES, "expected key=value at \"%.40s\"; "
			 "as in " EXPECTED_METHOD, p->at);
		return -EINVAL;
	}
	while (i < N_KEYS && strcmp(key_row[i].name, name) != 0)
		i++;
	if (i == N_KEYS) {
		snprintf(p->why, METHOD_WHY_BYTES, "chunkkv has no %s; expected "
			 EXPECTED_METHOD, name);
		return -EINVAL;
	}
	if (p->given >> i & 1) {
		snprintf(p->why, METHOD_WHY_BYTES, "%s is given twice", name);
		return -EINVAL;
	}
	p->given |= 1u << i;
	if (key_row[i].set(p->method, value) < 0) {
		snprintf(p->why, METHOD_WHY_BYTES, "%s=%s: expected %s", name,
			 value, key_row[i].expected);
		return -EINVAL;
	}
	return 0;
}

static int parse_keys(struct parse *p)
{
	int r;

	skip_blanks(p);
	if (*p->at == ')') {
		p->at++;
		return 0;
	}
	for (;;) {
		r = parse_key(p);
		if (r < 0)
			return r;
		if (*p->at == ')') {
			p->at++;
			return 0;
		}
		if (*p->at++ != ',') {
			snprintf(p->why, METHOD_WHY_BYTES, "expected , or ) after "
				 "a value; as in " EXPECTED_METHOD);
			return -EINVAL;
		}
	}
}

static void finish(struct method *m)
{
	struct ckv_chunkkv *c = &m->chunkkv;
	int n;

	c->removed = (double)(m->keep_den - m->keep_num) / m->keep_den;
	memset(m->text, 0, sizeof m->text);
	n = snprintf(m->text, sizeof m->text, "chunkkv(keep=%u/%u, chunk=%u, "
		     "window=%u, ", m->keep_num, m->keep_den, c->chunk,
		     c->window);
	if (c->mode == CKV_CHUNKKV_KVPRESS)	/* paper does not pool */
		n += snprintf(m->text + n, sizeof m->text - (size_t)n,
			      "kernel=%u, ", c->kernel);
	snprintf(m->text + n, sizeof m->text - (size_t)n, "mode=%s, reuse=%u)",
		 c->mode == CKV_CHUNKKV_KVPRESS ? "kvpress" : "paper",
		 c->n_reuse);
}

int method_parse(const char *text, struct method *ret_method,
		 char why[METHOD_WHY_BYTES])
{
	struct method m = {
		.chunkkv = { .mode = CKV_CHUNKKV_KVPRESS, .chunk = 16,
			     .window = 32, .kernel = 5, .n_reuse = 1 },
	};
	struct parse p = { .at = text, .method = &m, .why = why };
	char name[32];

	if (memchr(text, 0, CKV_METHOD_BYTES) == NULL) {
		snprintf(why, METHOD_WHY_BYTES, "the method has no end");
		return -EINVAL;
	}
	if (word(&p, " (", name, sizeof name) < 0 ||
	    strcmp(name, "chunkkv") != 0) {
		snprintf(why, METHOD_WHY_BYTES, "there is no method %s; expected "
			 EXPECTED_METHOD, name);
		return -EINVAL;
	}
	if (*p.at != '(') {
		snprintf(why, METHOD_WHY_BYTES, "expected ( after the name; as in "
			 EXPECTED_METHOD);
		return -EINVAL;
	}
	p.at++;
	if (parse_keys(&p) < 0)
		return -EINVAL;
	skip_blanks(&p);
	if (*p.at != 0) {
		snprintf(why, METHOD_WHY_BYTES, "expected nothing after ), not "
			 "\"%.40s\"", p.at);
		return -EINVAL;
	}
	if ((p.given & 1) == 0) {
		snprintf(why, METHOD_WHY_BYTES, "keep is missing: %s",
			 key_row[0].expected);
		return -EINVAL;
	}
	finish(&m);
	*ret_method = m;
	return 0;
}
