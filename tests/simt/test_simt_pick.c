/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_simt_pick.c - every selection from inputs to positions under the harness, against
 * the CPU's.
 */
#include "object.h"
#include "kernels/cuda_task.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct method {
	const char *name;
	struct ckv_selection s;
} methods[] = {
	{ "all", { .kind = CKV_KEEP_ALL } },
	{ "chunkkv kvpress", { .kind = CKV_CHUNKKV, .mode = CKV_OF_KVPRESS, .chunk = 10,
		.window = 8, .kernel = 5, .n_reuse = 2 } },
	{ "chunkkv, chunks in the window", { .kind = CKV_CHUNKKV, .mode = CKV_OF_KVPRESS,
		.chunk = 3, .window = 8, .kernel = 1, .n_reuse = 1 } },
	{ "chunkkv paper", { .kind = CKV_CHUNKKV, .mode = CKV_OF_PAPER, .chunk = 6,
		.window = 8, .n_reuse = 3 } },
	{ "snapkv kvpress", { .kind = CKV_SNAPKV, .mode = CKV_OF_KVPRESS, .window = 8,
		.kernel = 5 } },
	{ "snapkv official", { .kind = CKV_SNAPKV, .mode = CKV_OF_OFFICIAL,
		.pool = CKV_POOL_MAX, .reduce = CKV_REDUCE_SUM, .window = 8,
		.kernel = 7 } },
	{ "snapkv of one token", { .kind = CKV_SNAPKV, .mode = CKV_OF_KVPRESS,
		.reduce = CKV_REDUCE_MAX, .window = 1, .kernel = 1 } },
	{ "pyramidkv official", { .kind = CKV_PYRAMIDKV, .mode = CKV_OF_OFFICIAL,
		.window = 4, .kernel = 5, .beta = 20 } },
	{ "pyramidkv kvpress", { .kind = CKV_PYRAMIDKV, .mode = CKV_OF_KVPRESS,
		.window = 2, .kernel = 3, .beta = 4 } },
	{ "l2norm kvpress", { .kind = CKV_L2NORM, .mode = CKV_OF_KVPRESS } },
	{ "l2norm official", { .kind = CKV_L2NORM, .mode = CKV_OF_OFFICIAL, .skip = 0x15,
		.prune_after = 9 } },
	{ "l2norm in blocks", { .kind = CKV_L2NORM, .mode = CKV_OF_KVPRESS,
		.block = 16 } },
	{ "l2norm official in blocks", { .kind = CKV_L2NORM, .mode = CKV_OF_OFFICIAL,
		.block = 7 } },
	{ "keydiff", { .kind = CKV_KEYDIFF } },
	{ "keydiff in blocks", { .kind = CKV_KEYDIFF, .block = 16 } },
	{ "tova", { .kind = CKV_TOVA } },
	{ "h2o", { .kind = CKV_H2O, .n_recent = 12 } },
	{ "h2o by maxima", { .kind = CKV_H2O, .reduce = CKV_REDUCE_MAX } },
	{ "streamingllm", { .kind = CKV_STREAMINGLLM, .n_sink = 4 } },
	{ "random", { .kind = CKV_RANDOM, .seed = 5 } },
};

/* Layers, heads, group, tokens, dim, page, window (the method's), kind of number. */
static const struct shape shapes[] = {
	{ 3, 2, 2,  67,  16, 16, 0, CKV_ELEM_BF16 },
	{ 2, 1, 4,  31,  33, 48, 0, CKV_ELEM_F16 },
	{ 1, 3, 1, 130,  24, 16, 0, CKV_ELEM_F32 },
	{ 3, 2, 1,   9,   8,  1, 0, CKV_ELEM_BF16 },
	{ 2, 1, 1,   1,   8, 16, 0, CKV_ELEM_F32 },
};

/* For layers that differ. */
static const struct shape seven = { 7, 2, 2, 67, 16, 16, 0, CKV_ELEM_BF16 };

static const struct { uint32_t num, den; } budgets[] = {	/* den 0: tokens */
	{ 1, 2 }, { 1, 16 }, { 9, 10 }, { 1, 0 }, { 30, 0 }, { 1, 1 },
};

static const struct ckv_always always[] = {
	{ 0 },
	{ .n_sink = 4 },
	{ .n_sink = 2, .n_recent = 3, .n_ranges = 3,
	  .range = { { 20, 25 }, { 3, 6 }, { 23, 1000000 } } },
	{ .n_sink = 1000, .n_ranges = 1, .range = { { 7, 7 } } },
};

struct pick {
	struct object o;
	struct ckv_selection s;
	struct ckv_cuda_layers in;
	struct ckv_cuda_kept kept;
	float *sums;
	void *work;
	uint32_t *area;		/* counts, then positions */
	size_t bytes;
	uint64_t status;
};

static int run_pick(void *arg)
{
	struct pick *p = arg;
	int r;

	p->status = 0;
	r = ckv_cuda_begin(&p->status, NULL);
	return r < 0 ? r
		: ckv_cuda_select(&p->s, &p->in, p->work, &p->kept, &p->status, NULL);
}

/* Keys, queries and sums; where `equal`, few different keys and sums, queries of zeros. */
static void fill(struct pick *p, int equal)
{
	const struct shape *s = &p->o.s;
	uint32_t n_q = s->n_heads * s->group;
	size_t n_sums = (size_t)s->n_layers * n_q * s->n_tokens;
	uint64_t seed = 77;

	p->sums = object_area(n_sums * sizeof *p->sums);
	for (size_t i = 0; i < n_sums; i++)
		p->sums[i] = (float)(object_random(&seed) >> (equal ? 30 : 8));
	for (uint32_t l = 0; equal && l < s->n_layers; l++) {
		for (uint32_t h = 0; h < s->n_heads; h++)
			for (uint32_t t = 5; t < s->n_tokens; t++)
				for (uint32_t d = 0; d < s->dim; d++)
					object_put(&p->o.k, l, h, t, d, object_get(
						&p->o.k, l, h, t * 7 % 5, d));
		for (uint32_t h = 0; h < n_q; h++)
			for (uint32_t t = 0; t < s->window; t++)
				for (uint32_t d = 0; d < s->dim; d++)
					object_put(&p->o.q, l, h, t, d, 0.0f);
	}
}

/* The object's inputs for a method; budgets and what is always kept come later. */
static void make(const struct shape *shape, const struct ckv_selection *selection, int equal,
		 struct pick *p)
{
	struct shape s = *shape;
	struct ckv_selection known = *selection;

	memset(p, 0, sizeof *p);
	known.n_keep = 1;
	s.window = ckv_selection_window(&known);
	if (s.window == 0)
		s.window = 1;
	object_make(&s, 40 + s.n_tokens, &p->o);
	fill(p, equal);
	p->s = *selection;
	p->in = (struct ckv_cuda_layers){ .of_layers = s.n_layers, .k = p->o.k, .q = p->o.q,
		.sums = p->sums, .n_sum_heads = s.n_heads * s.group };
}

/* Room for what comes out, and for work. */
static void place(struct pick *p)
{
	uint32_t n_layers;

	ck_assert_int_eq(ckv_cuda_select_shape(&p->s, &p->in, &p->kept), 0);
	n_layers = (p->in.k.n_layers + p->kept.reuse - 1) / p->kept.reuse;
	p->bytes = (size_t)n_layers * (1 + (size_t)p->kept.n_sets * p->kept.max_n) * 4;
	p->area = object_area(p->bytes);
	p->kept.n = p->area;
	p->kept.pos = p->area + n_layers;
	p->work = object_work(ckv_cuda_select_work_bytes(&p->s, &p->in));
}

static void unplace(struct pick *p)
{
	free(p->area);
	free(p->work);
}

static void pick_free(struct pick *p)
{
	free(p->sums);
	object_free(&p->o);
}

/* What the CPU makes of layer l of the rows. */
static struct ckv_layer layer_of(const struct pick *p, uint32_t l)
{
	const struct shape *s = &p->o.s;
	uint32_t n_q = s->n_heads * s->group;

	return (struct ckv_layer){
		.layer = p->in.first_layer + l, .n_layers = p->in.of_layers,
		.k = object_layer(&p->in.k, l), .q = object_layer(&p->in.q, l),
		.lse = p->in.lse == NULL ? NULL : p->in.lse + (size_t)l * n_q * s->window,
		.sums = p->sums + (size_t)l * p->in.n_sum_heads * s->n_tokens,
		.n_sum_heads = p->in.n_sum_heads };
}

/* Sets of one layer are the CPU's, and nothing is written past them. */
static void assert_layer(const struct pick *p, uint32_t l, const char *what)
{
	struct ckv_layer in = layer_of(p, l / p->kept.reuse * p->kept.reuse);
	size_t set = l / p->kept.reuse * p->kept.n_sets;
	void *scratch = object_work(ckv_selection_scratch_bytes(&p->s, &in));
	uint32_t *want = object_area(4 * ckv_selection_max_kept(&p->s, &in));
	struct ckv_kept kept;

	ck_assert_int_eq(ckv_select(&p->s, &in, scratch, want, &kept, NULL), 0);
	ck_assert_msg(kept.n == p->kept.n[l / p->kept.reuse], "%s: layer %u: %u, not %u",
		      what, l, p->kept.n[l / p->kept.reuse], kept.n);
	ck_assert(kept.n_sets == 1 || kept.n_sets == p->kept.n_sets);
	ck_assert_uint_le(kept.n, p->kept.max_n);
	for (uint32_t i = 0; i < p->kept.n_sets; i++) {
		const uint32_t *pos = p->kept.pos + (set + i) * p->kept.max_n;
		uint32_t from = kept.n_sets > 1 ? i : 0;

		ck_assert_msg(memcmp(pos, want + (size_t)from * kept.n, 4 * kept.n) == 0,
			      "%s: layer %u, set %u", what, l, i);
		for (uint32_t j = kept.n; j < p->kept.max_n; j++)
			ck_assert_uint_eq(pos[j], 0x5a5a5a5a);
	}
	free(scratch);
	free(want);
}

/* In every order of threads where it says so, which takes three times as long. */
static void assert_picks(struct pick *p, int orders, const char *what)
{
	place(p);
	ck_assert_int_eq(orders ? object_run(run_pick, p, p->area, p->bytes) : run_pick(p), 0);
	ck_assert_uint_eq(p->status, CKV_CUDA_OK);
	for (uint32_t l = 0; l < p->in.k.n_layers; l++)
		assert_layer(p, l, what);
	unplace(p);
}

/* A share, or with den = 0 a number of tokens. */
static void set_budget(struct pick *p, uint32_t num, uint32_t den)
{
	p->s.keep_num = den == 0 ? 0 : num;
	p->s.keep_den = den;
	p->s.n_keep = den == 0 ? num : 0;
}

/* What a run leaves in the status word, whatever the order of threads; then free. */
static void assert_status(struct pick *p, uint64_t want)
{
	place(p);
	ck_assert_int_eq(object_run(run_pick, p, &p->status, sizeof p->status), 0);
	ck_assert_msg(p->status == want, "%#llx, not %#llx", (unsigned long long)p->status,
		      (unsigned long long)want);
	unplace(p);
	pick_free(p);
}

/* Every budget with every set of tokens that are always kept, or a third of these. */
static void assert_budgets(const struct method *method, const struct shape *shape, int equal,
			   int third)
{
	struct pick p;
	char what[300];

	make(shape, &method->s, equal, &p);
	for (size_t b = 0; b < COUNT(budgets); b++)
		for (size_t a = 0; a < COUNT(always); a++) {
			if (third && (b * COUNT(always) + a) % 3 != 0)
				continue;
			set_budget(&p, budgets[b].num, budgets[b].den);
			p.s.always = always[a];
			snprintf(what, sizeof what, "%s, budget %zu, always %zu, %s",
				 method->name, b, a, object_name(&p.o.s));
			assert_picks(&p, b == 0 && a == 2, what);
		}
	pick_free(&p);
}

/* Positions are the CPU's, of every method, for every shape, budget and kept token. */
START_TEST(selections_are_the_cpus)
{
	for (size_t i = 0; i < COUNT(shapes); i++)
		assert_budgets(&methods[_i], &shapes[i], 0, i > 0);
}
END_TEST

/* Equal scores go by position here as there. */
START_TEST(ties_are_the_cpus)
{
	assert_budgets(&methods[_i], &shapes[0], 1, 1);
}
END_TEST

/* ------------------------------------------------------------------- layers */

/* Layers of an object may come a few at a time: budgets and draws are the whole's. */
START_TEST(a_part_of_the_layers_is_as_in_the_whole)
{
	struct shape part = shapes[0];
	struct pick p;

	part.n_layers = 3;
	make(&part, &methods[_i].s, 0, &p);
	p.in.first_layer = 6;	/* a multiple of every reuse in the table */
	p.in.of_layers = 9;
	set_budget(&p, 1, 3);
	assert_picks(&p, 0, methods[_i].name);
	pick_free(&p);
}
END_TEST

/* More layers than one launch has budgets for, each with its own. */
START_TEST(many_layers_have_their_own_budgets)
{
	static const struct shape many = { 2 * PICK_BUDGETS + 3, 1, 1, 16, 1, 16, 0,
					   CKV_ELEM_F32 };
	static const struct ckv_selection s = { .kind = CKV_PYRAMIDKV,
		.mode = CKV_OF_KVPRESS, .window = 1, .kernel = 1, .beta = 8, .keep_num = 1,
		.keep_den = 2 };
	struct pick p;

	make(&many, &s, 0, &p);
	assert_picks(&p, 0, "many layers");
	ck_assert_uint_gt(p.kept.max_n, 8);
	pick_free(&p);
}
END_TEST

/* Rows that the selection reads in tiles; l2norm's blocks that a thread cannot look through. */
START_TEST(long_rows_are_the_cpus)
{
	static const struct shape shape = { 1, 1, 1, 2100, 4, 48, 0, CKV_ELEM_BF16 };
	static const struct method longer[] = {
		{ "blocks", { .kind = CKV_L2NORM, .mode = CKV_OF_KVPRESS, .block = 600,
			.keep_num = 1, .keep_den = 3 } },
		{ "parts of a number", { .kind = CKV_L2NORM, .mode = CKV_OF_KVPRESS,
			.block = 513, .n_keep = 900 } },
		{ "held", { .kind = CKV_KEYDIFF, .block = 500, .n_keep = 1700 } },
		{ "drawn", { .kind = CKV_RANDOM, .seed = 1, .n_keep = 2050,
			.always = { .n_recent = 9 } } },
		{ "streaming", { .kind = CKV_STREAMINGLLM, .n_sink = 3, .n_keep = 2 } },
	};
	struct pick p;

	for (size_t i = 0; i < COUNT(longer); i++)
		for (int equal = 0; equal < 2; equal++) {
			make(&shape, &longer[i].s, equal, &p);
			assert_picks(&p, 0, longer[i].name);
			pick_free(&p);
		}
}
END_TEST

/* With the logarithms of denominators that the engine brings, of each layer its own. */
START_TEST(lse_is_each_layers_own)
{
	const struct shape *s = &seven;
	uint32_t n_rows = s->n_heads * s->group * 4;
	float *lse = object_area(s->n_layers * n_rows * sizeof *lse);
	struct pick p;

	make(s, &methods[7].s, 0, &p);
	set_budget(&p, 37, 0);
	for (uint32_t i = 0; i < s->n_layers * n_rows; i++)
		lse[i] = 6.0f + (float)(i / n_rows + i % 3) * 0.5f;
	p.in.lse = lse;
	assert_picks(&p, 0, "lse");
	pick_free(&p);
	free(lse);
}
END_TEST

/* However many layers there are, the launches are as many. */
START_TEST(layers_share_launches)
{
	uint64_t n_launches[2];

	for (uint32_t i = 0; i < 2; i++) {
		struct shape shape = shapes[0];
		struct pick p;

		shape.n_layers = 1 + 4 * i;
		make(&shape, &methods[_i].s, 0, &p);
		set_budget(&p, 1, 4);
		p.s.skip = 0;
		p.s.always.n_sink = 1;
		n_launches[i] = simt_n_launches();
		place(&p);
		ck_assert_int_eq(run_pick(&p), 0);
		n_launches[i] = simt_n_launches() - n_launches[i];
		unplace(&p);
		pick_free(&p);
	}
	ck_assert_uint_le(n_launches[1], 10);
	/* A pyramid's lower layers are a run of their own, where one layer is none. */
	ck_assert(n_launches[0] == n_launches[1] || methods[_i].s.kind == CKV_PYRAMIDKV);
}
END_TEST

/* ------------------------------------------------------------------- faults */

static const struct broken {
	int method;		/* of the table */
	uint32_t num, den;
	uint32_t layer, token;
	enum ckv_input input;
} broken[] = {
	{ 4, 1, 2, 4, 11, CKV_INPUT_KEY },	/* snapkv */
	{ 4, 1, 2, 6, 3, CKV_INPUT_QUERY },
	{ 7, 37, 0, 3, 60, CKV_INPUT_KEY },	/* pyramidkv: layer 0 keeps all */
	{ 9, 1, 2, 6, 66, CKV_INPUT_KEY },	/* l2norm */
	{ 10, 1, 2, 3, 5, CKV_INPUT_KEY },	/* official: layers 1, 3, 5 and 6 are read */
	{ 10, 1, 2, 6, 0, CKV_INPUT_KEY },
	{ 11, 1, 2, 2, 20, CKV_INPUT_KEY },	/* in blocks */
	{ 13, 1, 2, 5, 66, CKV_INPUT_KEY },	/* keydiff */
	{ 14, 1, 2, 5, 66, CKV_INPUT_KEY },
	{ 15, 1, 0, 5, 65, CKV_INPUT_KEY },	/* tova, of which the last stays anyway */
	{ 16, 1, 2, 5, 66, CKV_INPUT_SUM },	/* h2o, a token that is kept anyway */
	{ 1, 1, 2, 4, 33, CKV_INPUT_KEY },	/* chunkkv */
};

/* A number that is none is named with its layer, wherever the layer's run begins. */
START_TEST(a_broken_number_is_named)
{
	const struct broken *b = &broken[_i];
	struct pick p;
	uint32_t head = b->input == CKV_INPUT_KEY ? 1 : 2, dim = 3;

	make(&seven, &methods[b->method].s, 0, &p);
	set_budget(&p, b->num, b->den);
	if (b->input == CKV_INPUT_SUM) {
		dim = 0;
		p.sums[(b->layer * p.in.n_sum_heads + head) * p.o.s.n_tokens + b->token] =
			-INFINITY;
	} else {
		object_put(b->input == CKV_INPUT_KEY ? &p.o.k : &p.o.q, b->layer, head,
			   b->token, dim, NAN);
	}
	assert_status(&p, cuda_fault_word(CUDA_FAULT_DOM, b->layer, b->input, head,
					  b->token, dim));
}
END_TEST

/* Of two faults in different runs the first layer's stays. */
START_TEST(the_first_layer_of_two_is_named)
{
	struct pick p;

	make(&seven, &methods[10].s, 0, &p);
	p.s.n_keep = 20;
	object_put(&p.o.k, 3, 0, 9, 0, INFINITY);
	object_put(&p.o.k, 5, 0, 1, 0, INFINITY);
	assert_status(&p, cuda_fault_word(CUDA_FAULT_DOM, 3, CKV_INPUT_KEY, 0, 9, 0));
}
END_TEST

/* Layers that keep every token, or no more than the window, are not read. */
START_TEST(layers_that_keep_all_are_not_read)
{
	static const struct { int method; uint32_t num, den, layer; } kept[] = {
		{ 10, 1, 2, 0 }, { 10, 1, 2, 4 }, { 7, 37, 0, 0 }, { 4, 1, 1, 2 },
		{ 4, 8, 0, 2 } };
	struct pick p;

	for (size_t i = 0; i < COUNT(kept); i++) {
		make(&seven, &methods[kept[i].method].s, 0, &p);
		set_budget(&p, kept[i].num, kept[i].den);
		object_put(&p.o.k, kept[i].layer, 1, 5, 0, NAN);
		assert_picks(&p, 0, methods[kept[i].method].name);
		pick_free(&p);
	}
}
END_TEST

/* ----------------------------------------------------------------- refusals */

/* The call and its two queries refuse `p` with `error`; nothing is launched. */
static void assert_refused(struct pick *p, int error)
{
	struct ckv_cuda_kept kept = { .n_sets = 77 };
	uint64_t before = simt_n_launches();

	ck_assert_int_eq(ckv_cuda_select_shape(&p->s, &p->in, &kept), error);
	ck_assert_uint_eq(kept.n_sets, 77);
	ck_assert_uint_eq(ckv_cuda_select_work_bytes(&p->s, &p->in), 0);
	ck_assert_int_eq(ckv_cuda_select(&p->s, &p->in, p->work, &p->kept, &p->status, NULL),
			 error);
	ck_assert_uint_eq(simt_n_launches(), before);
}

#define REFUSED(error, change)	do {						\
	struct pick bad = p;							\
	change;									\
	assert_refused(&bad, error);						\
} while (0)

START_TEST(impossible_layers_are_refused)
{
	struct pick p;

	make(&shapes[0], &methods[1].s, 0, &p);
	p.s.n_keep = 20;
	REFUSED(-EINVAL, bad.in.k.n_layers = 0);
	REFUSED(-EINVAL, bad.in.k.layer_step = 2);
	REFUSED(-EINVAL, bad.in.of_layers = 2);
	REFUSED(-EINVAL, bad.in.first_layer = 1; bad.in.of_layers = 4);	/* reuse is 2 */
	REFUSED(-EINVAL, bad.in.first_layer = 2);
	REFUSED(-EINVAL, bad.in.k.rows.n_tokens = 0);
	REFUSED(-EINVAL, bad.in.k.rows.n_heads = CKV_KERNEL_MAX_HEADS + 1);
	REFUSED(-EINVAL, bad.in.k.rows.block_tokens = 0);
	REFUSED(-EINVAL, bad.in.k.rows.offset_bytes = 1);
	REFUSED(-EINVAL, bad.in.q.n_layers = 2);
	REFUSED(-EINVAL, bad.in.q.layer_step = 2);
	REFUSED(-EINVAL, bad.in.q.rows.n_tokens = 7);
	REFUSED(-EINVAL, bad.in.q.rows.n_heads = 3);
	REFUSED(-EINVAL, bad.in.q.rows.dim = 15);
	REFUSED(-ENODATA, bad.in.k.rows.block = NULL);
	REFUSED(-ENODATA, bad.in.q.rows.block = NULL);
	pick_free(&p);
}
END_TEST

START_TEST(impossible_selections_are_refused)
{
	struct pick p;

	make(&shapes[0], &methods[4].s, 0, &p);
	p.s.n_keep = 20;
	REFUSED(-EINVAL, bad.s.kind = CKV_N_SELECTORS);
	REFUSED(-EINVAL, bad.s.n_keep = 0);
	REFUSED(-EINVAL, bad.s.keep_num = 3; bad.s.keep_den = 2);
	REFUSED(-EINVAL, bad.s.window = 0);
	REFUSED(-EINVAL, bad.s.kernel = 2);
	REFUSED(-EINVAL, bad.s.kernel = 4097);
	REFUSED(-EINVAL, bad.s.pool = (enum ckv_pool)9);
	REFUSED(-EINVAL, bad.s.reduce = (enum ckv_reduce)9);
	REFUSED(-EINVAL, bad.s.always.n_ranges = 9);
	REFUSED(-EINVAL, bad.s.kind = CKV_CHUNKKV);	/* whose chunk is 0 */
	REFUSED(-ENODATA, bad.s.kind = CKV_H2O; bad.in.sums = NULL);
	REFUSED(-EINVAL, bad.s.kind = CKV_H2O; bad.in.n_sum_heads = 3);
	REFUSED(-EINVAL, bad.s.kind = CKV_H2O; bad.in.n_sum_heads = 0);
	pick_free(&p);
}
END_TEST

#define NOT_TAKEN(change)	do {						\
	struct pick bad = p;							\
	uint64_t before = simt_n_launches();					\
	uint64_t *status = &bad.status;						\
	change;									\
	ck_assert_int_eq(ckv_cuda_select(&bad.s, &bad.in, bad.work, &bad.kept, status,	\
					 NULL), -EINVAL);			\
	ck_assert_uint_eq(simt_n_launches(), before);				\
} while (0)

START_TEST(places_that_do_not_fit_are_refused)
{
	struct pick p;

	make(&shapes[0], &methods[4].s, 0, &p);
	p.s.n_keep = 20;
	place(&p);
	NOT_TAKEN(bad.kept.max_n++);
	NOT_TAKEN(bad.kept.n_sets = 1);
	NOT_TAKEN(bad.kept.reuse = 2);
	NOT_TAKEN(bad.kept.pos = NULL);
	NOT_TAKEN(bad.kept.n = NULL);
	NOT_TAKEN(bad.work = NULL);
	NOT_TAKEN(bad.work = (char *)bad.work + 16);
	NOT_TAKEN(status = NULL);
	ck_assert_int_eq(ckv_cuda_select_shape(&p.s, &p.in, NULL), -EINVAL);
	ck_assert_int_eq(ckv_cuda_select_shape(NULL, &p.in, &p.kept), -EINVAL);
	ck_assert_int_eq(ckv_cuda_select_shape(&p.s, NULL, &p.kept), -EINVAL);
	unplace(&p);
	pick_free(&p);
}
END_TEST

/* What a selection does not read need not be there. */
START_TEST(what_is_not_read_may_be_missing)
{
	static const struct { int method, keys; } needs[] = {
		{ 0, 0 }, { 9, 1 }, { 13, 1 }, { 16, 0 }, { 18, 0 }, { 19, 0 } };
	struct pick p;

	for (size_t i = 0; i < COUNT(needs); i++) {
		make(&shapes[0], &methods[needs[i].method].s, 0, &p);
		p.s.n_keep = 20;
		p.in.q.rows = (struct ckv_rows){ 0 };
		if (!needs[i].keys)
			p.in.k.rows.block = NULL;
		if (p.s.kind != CKV_H2O)
			p.in.sums = NULL;
		assert_status(&p, CKV_CUDA_OK);
	}
}
END_TEST

CHECK_MAIN("simt pick",
	CASE("selections", .timeout = 200),
	EACH(selections_are_the_cpus, methods),
	EACH(ties_are_the_cpus, methods),
	CASE("layers", .timeout = 200),
	EACH(a_part_of_the_layers_is_as_in_the_whole, methods),
	TEST(many_layers_have_their_own_budgets),
	TEST(long_rows_are_the_cpus),
	TEST(lse_is_each_layers_own),
	EACH(layers_share_launches, methods),
	CASE("faults", .timeout = 200),
	EACH(a_broken_number_is_named, broken),
	TEST(the_first_layer_of_two_is_named),
	TEST(layers_that_keep_all_are_not_read),
	TEST(impossible_layers_are_refused),
	TEST(impossible_selections_are_refused),
	TEST(places_that_do_not_fit_are_refused),
	TEST(what_is_not_read_may_be_missing))
