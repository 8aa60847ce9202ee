/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_any.c - what holds for every selection, over all of them.
 *
 * One table of methods, one of shapes; each property runs over both, with
 * several budgets and sets of tokens that are always kept.
 */
#include "kernels/ckv_kernels.h"
#include "tests/lib/check_main.h"
#include "tests/lib/rows.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS		6u

enum {
	NESTED = 1,	/* best n of the best m are the best n, m > n */
	WINDOWED = 2,	/* the last `window` are kept before all others */
	CHUNKS = 4,	/* n may differ from the budget by a chunk */
};

static const struct method {
	const char *name;
	struct ckv_selection s;
	unsigned how;
} methods[] = {
	{ "chunkkv kvpress", { .kind = CKV_CHUNKKV, .mode = CKV_OF_KVPRESS,
		.chunk = 10, .window = 8, .kernel = 5, .n_reuse = 2 }, CHUNKS },
	{ "chunkkv paper", { .kind = CKV_CHUNKKV, .mode = CKV_OF_PAPER,
		.chunk = 10, .window = 8, .n_reuse = 1 }, CHUNKS | WINDOWED },
	{ "snapkv kvpress", { .kind = CKV_SNAPKV, .mode = CKV_OF_KVPRESS,
		.window = 8, .kernel = 5 }, WINDOWED },
	{ "snapkv official", { .kind = CKV_SNAPKV, .mode = CKV_OF_OFFICIAL,
		.pool = CKV_POOL_MAX, .reduce = CKV_REDUCE_SUM, .window = 8,
		.kernel = 7 }, WINDOWED },
	{ "pyramidkv official", { .kind = CKV_PYRAMIDKV, .mode = CKV_OF_OFFICIAL,
		.window = 8, .kernel = 5, .beta = 20 }, WINDOWED },
	{ "pyramidkv kvpress", { .kind = CKV_PYRAMIDKV, .mode = CKV_OF_KVPRESS,
		.window = 8, .kernel = 5, .beta = 4 }, WINDOWED },
	{ "l2norm kvpress", { .kind = CKV_L2NORM, .mode = CKV_OF_KVPRESS },
		NESTED },
	{ "l2norm official", { .kind = CKV_L2NORM, .mode = CKV_OF_OFFICIAL,
		.skip = 3 }, NESTED },
	{ "l2norm in blocks", { .kind = CKV_L2NORM, .mode = CKV_OF_KVPRESS,
		.block = 16 }, 0 },
	{ "keydiff", { .kind = CKV_KEYDIFF }, 0 },
	{ "keydiff in blocks", { .kind = CKV_KEYDIFF, .block = 16 }, 0 },
	{ "tova", { .kind = CKV_TOVA, .window = 1 }, WINDOWED },
	{ "h2o", { .kind = CKV_H2O, .window = 12, .n_recent = 12 },
		WINDOWED | NESTED },
	{ "streamingllm", { .kind = CKV_STREAMINGLLM, .n_sink = 4 }, NESTED },
	{ "random", { .kind = CKV_RANDOM, .seed = 5 }, 0 },
};

static const struct shape {
	uint32_t n_kv, group, n_tokens, dim, block_tokens;
	enum ckv_elem elem;
} shapes[] = {
	{ 1, 1, 1, 64, 16, CKV_ELEM_BF16 },
	{ 2, 2, 5, 64, 16, CKV_ELEM_F32 },
	{ 2, 1, 8, 65, 16, CKV_ELEM_BF16 },
	{ 1, 4, 9, 64, 1, CKV_ELEM_F16 },
	{ 3, 2, 37, 96, 16, CKV_ELEM_BF16 },
	{ 2, 4, 130, 128, 16, CKV_ELEM_BF16 },
	{ 1, 1, 131, 33, 131, CKV_ELEM_F32 },
	{ 4, 1, 101, 256, 7, CKV_ELEM_F16 },
};

struct budget { uint32_t num, den, n; };
static const struct budget budgets[] = {
	{ 1, 2, 0 }, { 1, 16, 0 }, { 1, 1, 0 }, { 0, 0, 1 }, { 0, 0, 30 },
};

static const struct ckv_always always[] = {
	{ 0 },
	{ .n_sink = 4 },
	{ .n_sink = 2, .n_recent = 9, .n_ranges = 3,
	  .range = { { 20, 25 }, { 3, 6 }, { 23, 1000000 } } },
	{ .n_sink = 1000, .n_ranges = 1, .range = { { 7, 7 } } },
};

/* What a layer is made of, so that it can be made again otherwise. */
struct input {
	struct made_rows k, q;
	float *sums;		/* [Hq, T] */
	struct ckv_layer layer;
};

static void set_layer(struct input *i)
{
	i->layer = (struct ckv_layer){
		.layer = 1, .n_layers = LAYERS, .k = i->k.rows, .q = i->q.rows,
		.sums = i->sums, .n_sum_heads = i->q.rows.n_heads };
}

static void make(const struct shape *s, uint32_t window, struct input *to)
{
	const struct rows_shape k = { s->n_kv, s->n_tokens, s->dim,
				      s->block_tokens, s->elem };
	const struct rows_shape q = { s->n_kv * s->group, window ? window : 1,
				      s->dim, 16, s->elem };
	size_t n = (size_t)q.n_heads * s->n_tokens;
	uint64_t seed = 99;

	rows_make(&to->k, &k);
	rows_fill(&to->k, &seed, 1.0f);
	rows_make(&to->q, &q);
	rows_fill(&to->q, &seed, 2.0f);
	to->sums = malloc(n * sizeof *to->sums);
	for (size_t i = 0; i < n; i++)
		to->sums[i] = rows_noise(&seed) + 1.0f;
	set_layer(to);
}

/* The kv heads head[0..n) of `from`, with their queries and sums. */
static void regroup(const struct input *from, uint32_t block_tokens,
		    const uint32_t *head, uint32_t n, struct input *to)
{
	uint32_t group = from->q.rows.n_heads / from->k.rows.n_heads;
	uint32_t n_tokens = from->k.rows.n_tokens, q_head[32];

	for (uint32_t i = 0; i < n * group; i++)
		q_head[i] = head[i / group] * group + i % group;
	rows_copy(&from->k, block_tokens, head, n, &to->k);
	rows_copy(&from->q, block_tokens, q_head, n * group, &to->q);
	to->sums = malloc((size_t)n * group * n_tokens * sizeof *to->sums);
	for (uint32_t i = 0; i < n * group; i++)
		memcpy(to->sums + (size_t)i * n_tokens,
		       from->sums + (size_t)q_head[i] * n_tokens,
		       n_tokens * sizeof *to->sums);
	set_layer(to);
}

static void drop(struct input *i)
{
	rows_free(&i->k);
	rows_free(&i->q);
	free(i->sums);
}

struct result {
	struct ckv_kept kept;
	uint32_t *pos;
};

/* Scratch and positions as large as they are said to be, the scratch dirty. */
static int select_in(const struct ckv_selection *s, const struct ckv_layer *in,
		     int dirt, struct result *to)
{
	size_t bytes = ckv_selection_scratch_bytes(s, in);
	size_t max = ckv_selection_max_kept(s, in);
	void *scratch;
	int r;

	ck_assert_uint_gt(max, 0);
	ck_assert_uint_eq(bytes % CKV_SCRATCH_ALIGN, 0);
	scratch = aligned_alloc(CKV_SCRATCH_ALIGN, bytes);
	memset(scratch, dirt, bytes);
	to->pos = malloc(max * sizeof *to->pos);
	memset(&to->kept, 0xa5, sizeof to->kept);
	r = ckv_select(s, in, scratch, to->pos, &to->kept, NULL);
	free(scratch);
	if (r == 0)
		ck_assert_uint_le((size_t)to->kept.n_sets * to->kept.n, max);
	return r;
}

static struct result must(const struct ckv_selection *s,
			  const struct ckv_layer *in)
{
	struct result r;

	ck_assert_int_eq(select_in(s, in, 0xff, &r), 0);
	return r;
}

static const uint32_t *set_of(const struct result *r, uint32_t head)
{
	return r->pos + (r->kept.n_sets == 1 ? 0 : (size_t)head * r->kept.n);
}

static int has(const struct result *r, uint32_t head, uint32_t token)
{
	const uint32_t *pos = set_of(r, head);

	for (uint32_t i = 0; i < r->kept.n; i++)
		if (pos[i] == token)
			return 1;
	return 0;
}

static void assert_same(const struct result *a, uint32_t head_a,
			const struct result *b, uint32_t head_b)
{
	ck_assert_uint_eq(a->kept.n, b->kept.n);
	ck_assert_mem_eq(set_of(a, head_a), set_of(b, head_b),
			 a->kept.n * sizeof *a->pos);
}

/* A method with one budget and one set of tokens kept always. */
static struct ckv_selection with(const struct method *m, const struct budget *b,
				 const struct ckv_always *a)
{
	struct ckv_selection s = m->s;

	s.keep_num = b->num;
	s.keep_den = b->den;
	s.n_keep = b->n;
	s.always = *a;
	return s;
}

/* Calls `check` for every combination of one shape. */
static void each(const struct shape *shape,
		 void (*check)(const struct method *m,
			       const struct ckv_selection *s, struct input *in))
{
	for (uint32_t i = 0; i < COUNT(methods); i++) {
		struct input in;

		make(shape, methods[i].s.window, &in);
		for (uint32_t b = 0; b < COUNT(budgets); b++)
			for (uint32_t a = 0; a < COUNT(always); a++) {
				struct ckv_selection s = with(&methods[i],
							      &budgets[b],
							      &always[a]);

				check(&methods[i], &s, &in);
			}
		drop(&in);
	}
}

/* ---------------------------------------------------------- properties */

static void check_counts(const struct method *m, const struct ckv_selection *s,
			 struct input *in)
{
	struct result r = must(s, &in->layer);
	uint32_t n_tokens = in->layer.k.n_tokens;
	uint32_t n = ckv_selection_budget(s, 1, LAYERS, n_tokens);

	ck_assert_msg(r.kept.n_sets == 1 || r.kept.n_sets == in->layer.k.n_heads,
		      "%s: %u sets", m->name, r.kept.n_sets);
	if (m->how & CHUNKS)
		ck_assert_uint_le(r.kept.n, n + s->chunk);
	else
		ck_assert_uint_eq(r.kept.n, n);
	ck_assert_uint_ge(r.kept.n, 1);
	ck_assert_uint_eq(r.kept.n_nan, 0);
	for (uint32_t h = 0; h < r.kept.n_sets; h++)
		for (uint32_t i = 0; i < r.kept.n; i++) {
			uint32_t p = r.pos[(size_t)h * r.kept.n + i];

			ck_assert_uint_lt(p, n_tokens);
			ck_assert_msg(i == 0 || p > set_of(&r, h)[i - 1],
				      "%s: %u does not ascend", m->name, p);
		}
	free(r.pos);
}

/* n is what the budget says; positions ascend, inside the context. */
START_TEST(budgets_are_exact_and_positions_ascend)
{
	each(&shapes[_i], check_counts);
}
END_TEST

static int is_always(const struct ckv_always *a, uint32_t t, uint32_t n_tokens)
{
	int is = t < a->n_sink || n_tokens - t <= a->n_recent;

	for (uint32_t i = 0; i < a->n_ranges; i++)
		is |= t >= a->range[i].from && t < a->range[i].to;
	return is;
}

/* Beside the selection without the set: what came in, what had to go. */
static void check_always(const struct method *m, const struct ckv_selection *s,
			 struct input *in)
{
	struct ckv_selection plain = *s;
	struct result r = must(s, &in->layer), base;
	uint32_t n_tokens = in->layer.k.n_tokens, n_set = 0;

	plain.always = (struct ckv_always){ 0 };
	base = must(&plain, &in->layer);
	ck_assert_uint_eq(r.kept.n, base.kept.n);
	for (uint32_t t = 0; t < n_tokens; t++)
		n_set += (uint32_t)is_always(&s->always, t, n_tokens);
	ck_assert_uint_eq(r.kept.n_always_lost,
			  n_set > r.kept.n ? n_set - r.kept.n : 0);
	for (uint32_t h = 0; h < in->layer.k.n_heads; h++) {
		uint32_t n_newer = 0;

		for (uint32_t t = n_tokens; t-- > 0;) {
			if (!is_always(&s->always, t, n_tokens)) {
				ck_assert_msg(!has(&r, h, t) || has(&base, h, t),
					      "%s: %u came in", m->name, t);
				continue;
			}
			ck_assert_msg(has(&r, h, t) == (n_newer < r.kept.n),
				      "%s: %u of the set", m->name, t);
			n_newer++;
		}
	}
	free(r.pos);
	free(base.pos);
}

/* What is always kept is there, in place of chosen tokens only; n stays. */
START_TEST(always_keep_displaces_and_adds_nothing_else)
{
	each(&shapes[_i], check_always);
}
END_TEST

/* A window token is lost only where all that is kept is newer, or of the set. */
static void check_window(const struct method *m, const struct ckv_selection *s,
			 struct input *in)
{
	uint32_t n_tokens = in->layer.k.n_tokens;
	struct result r;

	if (!(m->how & WINDOWED))
		return;
	r = must(s, &in->layer);
	for (uint32_t h = 0; h < in->layer.k.n_heads; h++)
		for (uint32_t i = 1; i <= s->window && i <= n_tokens; i++) {
			uint32_t lost = n_tokens - i;

			if (has(&r, h, lost))
				continue;
			for (uint32_t k = 0; k < r.kept.n; k++)
				ck_assert_msg(set_of(&r, h)[k] > lost ||
					      is_always(&s->always,
							set_of(&r, h)[k],
							n_tokens),
					      "%s: %u of the window gave way to %u",
					      m->name, lost, set_of(&r, h)[k]);
		}
	free(r.pos);
}

/* Windows, recent tokens and TOVA's last go last, the oldest first. */
START_TEST(windows_are_kept)
{
	each(&shapes[_i], check_window);
}
END_TEST

static void check_again(const struct method *m, const struct ckv_selection *s,
			struct input *in)
{
	struct result a, b;

	(void)m;
	ck_assert_int_eq(select_in(s, &in->layer, 0x00, &a), 0);
	ck_assert_int_eq(select_in(s, &in->layer, 0x7f, &b), 0);
	ck_assert_mem_eq(&a.kept, &b.kept, sizeof a.kept);
	ck_assert_mem_eq(a.pos, b.pos, (size_t)a.kept.n_sets * a.kept.n *
				       sizeof *a.pos);
	free(a.pos);
	free(b.pos);
}

/* Whatever the scratch held, the same sets again. */
START_TEST(every_run_keeps_the_same)
{
	each(&shapes[_i], check_again);
}
END_TEST

/* Combinations take their turns with what is too slow for each of them. */
static uint32_t turn;

static void check_pages(const struct method *m, const struct ckv_selection *s,
			struct input *in)
{
	static const uint32_t page[] = { 1, 11, 1000 };
	uint32_t n = in->layer.k.n_heads, head[8] = { 0, 1, 2, 3 };
	struct result a = must(s, &in->layer), b;
	struct input other;

	(void)m;
	regroup(in, page[turn++ % COUNT(page)], head, n, &other);
	b = must(s, &other.layer);
	ck_assert_mem_eq(&a.kept, &b.kept, sizeof a.kept);
	for (uint32_t h = 0; h < n; h++)
		assert_same(&a, h, &b, h);
	free(b.pos);
	drop(&other);
	free(a.pos);
}

/* Pages of another size, with other padding after T, change nothing. */
START_TEST(pages_and_padding_change_nothing)
{
	each(&shapes[_i], check_pages);
}
END_TEST

static void check_heads(const struct method *m, const struct ckv_selection *s,
			struct input *in)
{
	static const uint32_t turned[] = { 2, 0, 3, 1 }, two[] = { 1, 0 },
			      three[] = { 1, 2, 0 };
	uint32_t n = in->layer.k.n_heads;
	const uint32_t *head = n == 4 ? turned : n == 3 ? three : two;
	struct result a = must(s, &in->layer), b;
	struct input other;

	(void)m;
	if (n > 1) {
		regroup(in, 16, head, n, &other);
		b = must(s, &other.layer);
		ck_assert_uint_eq(a.kept.n_sets, b.kept.n_sets);
		for (uint32_t h = 0; h < n; h++)
			assert_same(&a, head[h], &b, h);
		free(b.pos);
		drop(&other);
	}
	/* Heads that choose for themselves choose alone as in company. */
	if (a.kept.n_sets > 1) {
		uint32_t h = turn++ % n;

		regroup(in, 16, &h, 1, &other);
		b = must(s, &other.layer);
		assert_same(&a, h, &b, 0);
		free(b.pos);
		drop(&other);
	}
	free(a.pos);
}

/* Heads in another order: their sets in that order; cut apart: the same. */
START_TEST(heads_may_be_turned_and_cut)
{
	each(&shapes[_i], check_heads);
}
END_TEST

/* Another budget after the first, over head 0's survivors: as if at once. */
static void check_nested(const struct method *m, const struct ckv_selection *s,
			 struct input *in)
{
	struct ckv_selection first = *s, then = *s;
	struct ckv_layer whole = in->layer, left;
	uint32_t n = whole.k.n_tokens;
	struct result r, direct, nested;
	struct made_rows k;
	float *sums;

	if (!(m->how & NESTED) || s->always.n_sink > 0 || n < 4 ||
	    whole.n_sum_heads != whole.k.n_heads)
		return;
	whole.layer = 5;		/* none that l2norm skips */
	first.keep_den = then.keep_den = 0;
	first.n_keep = n * 3 / 4;
	then.n_keep = n / 2;
	r = must(&first, &whole);
	direct = must(&then, &whole);
	rows_make(&k, &(struct rows_shape){ 1, r.kept.n, whole.k.dim, 16,
					    whole.k.elem });
	sums = malloc(r.kept.n * sizeof *sums);
	for (uint32_t i = 0; i < r.kept.n; i++) {
		ck_assert_int_eq(ckv_gather(&whole.k, 0, &r.pos[i], 1,
					    rows_write_at(&k, 0, i)), 0);
		sums[i] = in->sums[r.pos[i]];
	}
	left = (struct ckv_layer){ .layer = 5, .n_layers = LAYERS, .k = k.rows,
				   .sums = sums, .n_sum_heads = 1 };
	nested = must(&then, &left);
	ck_assert_uint_eq(nested.kept.n, direct.kept.n);
	for (uint32_t i = 0; i < nested.kept.n; i++)
		ck_assert_uint_eq(r.pos[nested.pos[i]], direct.pos[i]);
	rows_free(&k);
	free(sums);
	free(r.pos);
	free(direct.pos);
	free(nested.pos);
}

/* Methods that score a token by itself may be applied twice. */
START_TEST(selecting_again_is_selecting_at_once)
{
	each(&shapes[_i], check_nested);
}
END_TEST

/* Survivors are the rows they were, byte for byte. */
static void check_gather(const struct method *m, const struct ckv_selection *s,
			 struct input *in)
{
	const struct ckv_rows *k = &in->layer.k;
	size_t row_bytes = k->dim * ckv_elem_bytes(k->elem);
	struct result r = must(s, &in->layer);
	char *out = malloc(r.kept.n * row_bytes);

	(void)m;
	for (uint32_t h = 0; h < k->n_heads; h++) {
		ck_assert_int_eq(ckv_gather(k, h, set_of(&r, h), r.kept.n, out),
				 0);
		for (uint32_t i = 0; i < r.kept.n; i++)
			ck_assert_mem_eq(out + i * row_bytes,
					 ckv_rows_at(k, h, set_of(&r, h)[i]),
					 row_bytes);
	}
	free(out);
	free(r.pos);
}

START_TEST(survivors_keep_their_bytes)
{
	each(&shapes[_i], check_gather);
}
END_TEST

CHECK_MAIN("kernels_any",
	CASE("all", .timeout = 120),
	EACH(budgets_are_exact_and_positions_ascend, shapes),
	EACH(always_keep_displaces_and_adds_nothing_else, shapes),
	EACH(windows_are_kept, shapes),
	EACH(every_run_keeps_the_same, shapes),
	EACH(pages_and_padding_change_nothing, shapes),
	EACH(heads_may_be_turned_and_cut, shapes),
	EACH(selecting_again_is_selecting_at_once, shapes),
	EACH(survivors_keep_their_bytes, shapes))
