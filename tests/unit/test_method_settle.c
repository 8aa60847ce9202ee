/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_method_settle.c - the bytes of a view, counted before it is made.
 */
#include "kernels/ckv_kernels.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS	5u
#define HEADS	2u
#define GROUP	2u
#define DIM_K	16u
#define DIM_V	8u
#define WINDOW	4u
#define TOKENS	70u

static char why[CKV_METHOD_WHY_BYTES];

static struct ckv_object object(uint32_t n_tokens)
{
	return (struct ckv_object){
		.n_layers = LAYERS, .n_kv_heads = HEADS,
		.n_q_heads = HEADS * GROUP, .n_tokens = n_tokens,
		.dim_k = DIM_K, .dim_v = DIM_V, .elem = CKV_ELEM_F16,
		.head_bytes = 512, .run_bytes = 64, .align = 64,
	};
}

static uint64_t plain_bytes(uint32_t n_tokens)
{
	return (uint64_t)LAYERS * HEADS * n_tokens * (DIM_K + DIM_V) * 2;
}

static struct ckv_method method(const char *text)
{
	struct ckv_method m;

	ck_assert_msg(ckv_method_parse(text, &m, why) == 0, "%s: %s", text, why);
	return m;
}

/* `format` with a share of the bytes for its first two %. */
static struct ckv_method with_bytes(const char *format, uint64_t num, uint64_t den)
{
	char text[CKV_METHOD_TEXT_BYTES];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(text, sizeof text, format, (unsigned)num, (unsigned)den);
#pragma GCC diagnostic pop
	return method(text);
}

/* ---- sizes ---- */

/*
 * Counted by hand for 21 rows of 10 and 6 numbers of 2 bytes, 3 of them plain where
 * anything is encoded; 2 layers of 2 heads, 1 set of positions in the first, none in
 * the second. Before the layers: 512 + 4 * 64 = 768; positions: 84, 128 with padding.
 */
static const struct {
	const char *text;
	uint64_t codes, scales;		/* of one head */
	uint64_t padded;		/* of one head, with its padding */
} by_hand[] = {
	/* 21 * 20, 21 * 12 */
	{ "plain", 420 + 252, 0, 448 + 256 },
	/* 18 * 20, 18 * 12, 3 * 20, 3 * 12 */
	{ "fp16(full=3)", 360 + 216 + 60 + 36, 0, 384 + 256 + 64 + 64 },
	/* 18 * 10, 18 * 6, full as above */
	{ "fp8(scale=one, full=3)", 180 + 108 + 96, 0, 192 + 128 + 128 },
	{ "fp8(scale=head, full=3)", 180 + 108 + 96, 4 + 4,
	  192 + 128 + 128 + 64 + 64 },
	/* ceil(18 / 16) = 2 floats */
	{ "fp8(scale=block, full=3)", 180 + 108 + 96, 8 + 8,
	  192 + 128 + 128 + 64 + 64 },
	/*
	 * 8 numbers to a word. Keys: ceil(18 / 8) * 10 words; ceil(18 / 8) groups of
	 * 10, scale and min of 2 bytes. Values: 18 * ceil(6 / 8) words; 18 groups.
	 */
	{ "kivi(bits=4, group=8, full=3)", 120 + 72 + 96, 120 + 72,
	  128 + 128 + 128 + 128 + 128 },
	/* 16 to a word, 16 to a group: ceil(18 / 16) * 10; 18 */
	{ "kivi(bits=2, group=16, full=3)", 80 + 72 + 96, 80 + 72,
	  128 + 128 + 128 + 128 + 128 },
	/* 4 to a word, 64 to a group: ceil(18 / 4) * 10; 18 * ceil(6 / 4) */
	{ "int8(full=3)", 200 + 144 + 96, 40 + 72, 256 + 64 + 192 + 128 + 128 },
	/* all of them plain */
	{ "int8(full=22)", 420 + 252, 0, 448 + 256 },
};

START_TEST(a_size_is_the_sum_of_its_regions)
{
	struct ckv_method m = method(by_hand[_i].text);
	struct ckv_object o = object(100);
	const struct ckv_layer_kept layer[] = { { 1, 21 }, { 0, 21 } };
	struct ckv_sizes s;

	o.n_layers = 2;
	o.dim_k = 10;
	o.dim_v = 6;
	ckv_object_sizes(&o, &m.encode, layer, &s);
	ck_assert_uint_eq(s.heads, 768);
	ck_assert_uint_eq(s.positions, 84);
	ck_assert_uint_eq(s.codes, 4 * by_hand[_i].codes);
	ck_assert_uint_eq(s.scales, 4 * by_hand[_i].scales);
	ck_assert_uint_eq(s.total, 768 + 128 + 4 * by_hand[_i].padded);
	ck_assert_uint_eq(s.total, s.heads + s.positions + s.codes + s.scales +
				   s.padding);
	ck_assert_uint_eq(s.plain, 2 * 2 * 100 * 16 * 2);
}
END_TEST

/* Regions lie one after the other, aligned, without a gap that padding does not need. */
START_TEST(regions_do_not_overlap)
{
	struct ckv_method m = method(by_hand[_i].text);
	const struct ckv_object o = object(100);
	struct ckv_layer_layout lay;
	uint64_t at = 0;

	ckv_layer_lay_out(&o, &m.encode, &(struct ckv_layer_kept){ 2, 33 }, 1280,
			  &lay);
	ck_assert_uint_eq(lay.positions, 1280);
	ck_assert_uint_eq(lay.set_stride, 192);		/* 33 * 4 */
	ck_assert_uint_eq(lay.heads, 1280 + 2 * 192);
	ck_assert_uint_eq(lay.n_coded + lay.n_full, 33);
	for (int p = 0; p < CKV_N_PARTS; p++) {
		ck_assert_uint_eq(lay.part[p].offset, at);
		at += (lay.part[p].bytes + 63) / 64 * 64;
	}
	ck_assert_uint_eq(lay.head_stride, at);
	ck_assert_uint_eq(lay.end, lay.heads + HEADS * at);
}
END_TEST

/* ---- bytes= ---- */

static const char *const encoding[] = {
	"", " + bf16", " + fp8(scale=one)", " + fp8(scale=tensor)", " + fp8",
	" + fp8(scale=block, block=5)", " + int8(group=12)", " + kivi(group=8)",
	" + kivi(bits=2, group=16)", " + kivi(group=24, full=9)", " + fp8(full=70)",
};
#define N_ENCODINGS (sizeof encoding / sizeof encoding[0])

static const char *const selection[] = {
	"tova(%s)", "random(%s)", "streamingllm(%s)", "h2o(%s)", "keydiff(%s)",
	"snapkv(%s, window=4)", "l2norm(%s)", "l2norm(%s, block=9)",
	"l2norm(%s, mode=official, skip=1)", "pyramidkv(%s, window=4)",
	"pyramidkv(%s, window=4, mode=kvpress)", "chunkkv(%s, window=4, chunk=6)",
	"chunkkv(%s, window=4, chunk=7, reuse=2)", "chunkkv(%s, window=4, chunk=99)",
	"chunkkv(%s, window=4, chunk=6, mode=paper)",
	"snapkv(%s, window=4) + always(sinks=3, ranges=20-22)",
};
#define N_SELECTIONS (sizeof selection / sizeof selection[0])

static void fill_text(char *text, const char *budget, int select, int encode)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	size_t n = (size_t)snprintf(text, CKV_METHOD_TEXT_BYTES,
				    selection[select], budget);
#pragma GCC diagnostic pop

	snprintf(text + n, CKV_METHOD_TEXT_BYTES - n, "%s", encoding[encode]);
}

/* What ckv_select() keeps of one layer when it is told to keep m->select.n_keep. */
static struct ckv_layer_kept select_layer(const struct ckv_method *m,
					  uint32_t layer)
{
	static float key[HEADS * TOKENS * DIM_K], query[HEADS * GROUP * WINDOW * DIM_K];
	static float sums[HEADS * TOKENS];
	static uint32_t pos[HEADS * TOKENS];
	static const void *k_block = key, *q_block = query;
	uint32_t window = ckv_selection_window(&m->select);
	struct ckv_layer in = {
		.layer = layer, .n_layers = LAYERS, .sums = sums,
		.n_sum_heads = HEADS,
		.k = { &k_block, 0, TOKENS * DIM_K * sizeof(float), TOKENS, HEADS,
		       TOKENS, DIM_K, CKV_ELEM_F32 },
		.q = { &q_block, 0, window * DIM_K * sizeof(float), window,
		       HEADS * GROUP, window, DIM_K, CKV_ELEM_F32 },
	};
	struct ckv_kept kept;
	struct ckv_fault fault;
	void *scratch;

	for (uint32_t i = 0; i < HEADS * TOKENS * DIM_K; i++)
		key[i] = (float)((i * 31 + layer * 7) % 97) / 50 - 1;
	for (uint32_t i = 0; i < HEADS * GROUP * WINDOW * DIM_K; i++)
		query[i] = (float)(i * 13 % 89) / 40 - 1;
	for (uint32_t i = 0; i < HEADS * TOKENS; i++)
		sums[i] = (float)(i * 29 % 83);
	ck_assert_uint_le(ckv_selection_max_kept(&m->select, &in),
			  HEADS * TOKENS);
	scratch = aligned_alloc(64, (ckv_selection_scratch_bytes(&m->select, &in) +
				     127) / 64 * 64);
	ck_assert_int_eq(ckv_select(&m->select, &in, scratch, pos, &kept, &fault),
			 0);
	free(scratch);
	return (struct ckv_layer_kept){ kept.n_sets, kept.n };
}

/* What the layers of a view have: kept by ckv_select(), or charged for chunks. */
static void all_layers(const struct ckv_method *m,
		       struct ckv_layer_kept layer[LAYERS])
{
	const struct ckv_selection *s = &m->select;

	for (uint32_t l = 0; l < LAYERS; l++) {
		uint32_t source = ckv_selection_source(s, l);

		layer[l] = source == l ? select_layer(m, l) : layer[source];
		/* Whole chunks, however short the last one is. */
		if (s->kind == CKV_CHUNKKV && s->chunk < TOKENS &&
		    s->n_keep < TOKENS) {
			uint32_t n = s->n_keep;

			if (s->mode == CKV_OF_KVPRESS)
				n = n < s->chunk ? s->chunk :
				    n / s->chunk * s->chunk;
			ck_assert_uint_le(layer[l].n, n);
			layer[l].n = n;
		}
		if (source != l)
			layer[l].n_sets = 0;
	}
}

/* What every number of tokens takes, [1, TOKENS], in every encoding. */
static void all_sizes(int select, uint64_t size[N_ENCODINGS][TOKENS + 1])
{
	const struct ckv_object o = object(TOKENS);
	char text[CKV_METHOD_TEXT_BYTES], tokens[32];

	for (uint32_t n = 1; n <= TOKENS; n++) {
		struct ckv_layer_kept layer[LAYERS];

		snprintf(tokens, sizeof tokens, "tokens=%u", n);
		for (int e = 0; e < (int)N_ENCODINGS; e++) {
			struct ckv_sizes sizes;
			struct ckv_method m;

			fill_text(text, tokens, select, e);
			m = method(text);
			if (e == 0)
				all_layers(&m, layer);
			ckv_object_sizes(&o, &m.encode, layer, &sizes);
			size[e][n] = sizes.total;
		}
	}
}

/* The most tokens of these sizes within `bytes`; 0 for none. */
static uint32_t most_within(const uint64_t size[TOKENS + 1], uint64_t bytes)
{
	uint32_t most = TOKENS;

	while (most > 0 && size[most] > bytes)
		most--;
	return most;
}

/* Settle for so many bytes; the tokens, or 0. */
static uint32_t tokens_for(int select, int encode, uint64_t bytes)
{
	char text[CKV_METHOD_TEXT_BYTES], share[64];
	const struct ckv_object o = object(TOKENS);
	struct ckv_method m, settled;

	snprintf(share, sizeof share, "bytes=%u/%u", (unsigned)bytes,
		 (unsigned)plain_bytes(TOKENS));
	fill_text(text, share, select, encode);
	m = method(text);
	if (ckv_method_settle(&m, &o, &settled, why) < 0) {
		ck_assert_msg(strstr(why, "bytes=") != NULL, "%s", why);
		return 0;
	}
	ck_assert_uint_eq(settled.select.keep_den, 0);
	ck_assert_uint_eq(settled.bytes_den, 0);
	ck_assert_str_eq(settled.text, m.text);
	if (settled.select.kind == CKV_CHUNKKV && settled.select.chunk < TOKENS &&
	    settled.select.mode == CKV_OF_KVPRESS &&
	    settled.select.n_keep < TOKENS)
		ck_assert_uint_eq(settled.select.n_keep % settled.select.chunk, 0);
	return settled.select.n_keep;
}

/*
 * With exactly the bytes of a view it is made, with one byte less the next smaller one.
 * What a view takes is counted from what ckv_select() really keeps.
 */
START_TEST(the_most_tokens_that_fit_are_kept)
{
	static uint64_t all[N_ENCODINGS][TOKENS + 1];
	int chunks = strstr(selection[_i], "chunk=") != NULL;

	all_sizes(_i, all);
	for (int e = 0; e < (int)N_ENCODINGS; e++)
		for (uint32_t i = 2; i < 2 * TOKENS + 2; i++) {
			uint64_t bytes = all[e][i / 2] - i % 2;
			uint32_t most = most_within(all[e], bytes), got;

			if (bytes > plain_bytes(TOKENS))
				continue;
			got = tokens_for(_i, e, bytes);
			/* The same chunks, counted in tokens. */
			if (chunks && got < most)
				ck_assert_uint_eq(all[e][got], all[e][most]);
			else
				ck_assert_uint_eq(got, most);
		}
}
END_TEST

/*
 * Many layers, whose budgets fall with more tokens wherever their slope rises by one:
 * still the most that fit, at the border of every size.
 */
static const char *const pyramid[] = {
	"pyramidkv(%s, window=8)", "pyramidkv(%s, window=8, beta=2) + fp8",
	"pyramidkv(%s, window=8, mode=kvpress) + kivi(bits=2, group=128)",
	"pyramidkv(%s, window=3, beta=7) + kivi(group=32, full=5)",
};

START_TEST(a_pyramid_is_as_high_as_it_can_be)
{
	enum { T = 400 };
	struct ckv_object o = object(T);
	const uint64_t plain = 24 * HEADS * T * (DIM_K + DIM_V) * 2;
	char budget[64], text[CKV_METHOD_TEXT_BYTES];
	uint64_t size[T + 1];
	struct ckv_method m, settled;
	unsigned n_falls = 0;

	o.n_layers = 24;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	for (uint32_t n = 1; n <= T; n++) {
		struct ckv_layer_kept layer[24];
		struct ckv_sizes sizes;

		snprintf(budget, sizeof budget, "tokens=%u", n);
		snprintf(text, sizeof text, pyramid[_i], budget);
		m = method(text);
		for (uint32_t l = 0; l < 24; l++) {
			layer[l].n = ckv_selection_budget(&m.select, l, 24, T);
			layer[l].n_sets = layer[l].n == T ? 1 : HEADS;
		}
		ckv_object_sizes(&o, &m.encode, layer, &sizes);
		size[n] = sizes.total;
		n_falls += n > 1 && size[n] < size[n - 1];
	}
	for (uint32_t i = 2; i < 2 * T + 2; i++) {
		uint64_t bytes = size[i / 2] - i % 2;
		uint32_t most = T;

		while (most > 0 && size[most] > bytes)
			most--;
		if (bytes > plain || most == 0)
			continue;
		snprintf(budget, sizeof budget, "bytes=%u/%u", (unsigned)bytes,
			 (unsigned)plain);
		snprintf(text, sizeof text, pyramid[_i], budget);
		m = method(text);
		ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why), 0);
		ck_assert_uint_eq(settled.select.n_keep, most);
	}
#pragma GCC diagnostic pop
	if (strstr(pyramid[_i], "mode=kvpress") == NULL)
		ck_assert_uint_gt(n_falls, 5);	/* or it is no trap */
}
END_TEST

/* A share of the bytes is cut to whole bytes, and compared with whole bytes. */
START_TEST(a_share_is_truncated_exactly)
{
	const struct ckv_object o = object(TOKENS);
	static uint64_t all[N_ENCODINGS][TOKENS + 1];
	const uint64_t plain = plain_bytes(TOKENS), *size = all[0];
	struct ckv_method m, settled;

	all_sizes(0, all);
	/* The fewest millionths of the bytes in which n tokens fit, and one less. */
	for (uint32_t n = 4; n < 60; n++) {
		uint64_t parts = (size[n] * 1000000 + plain - 1) / plain;

		ck_assert_uint_ge(parts * plain / 1000000, size[n]);
		ck_assert_uint_lt((parts - 1) * plain / 1000000, size[n]);
		for (uint64_t less = 0; less <= 1; less++) {
			m = with_bytes("tova(bytes=%u/%u)", parts - less, 1000000);
			ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why),
					 0);
			ck_assert_uint_eq(settled.select.n_keep,
					  most_within(size, size[n] - less));
		}
	}
}
END_TEST

/* Too few bytes for one token: the answer names a share, and that share is enough. */
START_TEST(too_few_bytes_are_answered_with_enough)
{
	const struct ckv_object o = object(TOKENS);
	struct ckv_method m = method("snapkv(bytes=1/100) + kivi"), settled;
	struct ckv_method before;
	char text[64];
	const char *at;

	memset(&settled, 0x5a, sizeof settled);
	before = settled;
	ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why), -EINVAL);
	ck_assert_mem_eq(&settled, &before, sizeof settled);
	ck_assert_msg(strstr(why, "snapkv: bytes=1/100 are 336 bytes, the "
			     "smallest view takes ") == why, "%s", why);
	at = strstr(why, "expected at least bytes=");
	ck_assert_ptr_nonnull(at);
	snprintf(text, sizeof text, "snapkv(%s) + kivi", strrchr(why, 'b'));
	m = method(text);
	ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why), 0);
	ck_assert_uint_ge(settled.select.n_keep, 1);
	/* And where no share is enough. */
	m = method("snapkv(bytes=1) + kivi");
	ck_assert_int_eq(ckv_method_settle(&m, &(struct ckv_object){
		.n_layers = 1, .n_kv_heads = 1, .n_tokens = 1, .dim_k = 4,
		.dim_v = 4, .elem = CKV_ELEM_F16, .head_bytes = 512,
		.run_bytes = 64, .align = 64 }, &settled, why), -EINVAL);
	ck_assert_msg(strstr(why, "expected a longer context") != NULL, "%s", why);
}
END_TEST

/* bits=auto: 8 while all tokens fit in it, else 4 and as many tokens as fit. */
START_TEST(bits_are_the_finest_with_all_tokens)
{
	const struct ckv_object o = object(TOKENS);
	const uint64_t plain = plain_bytes(TOKENS);
	const struct ckv_layer_kept all[LAYERS] = {
		{ 1, TOKENS }, { 1, TOKENS }, { 1, TOKENS }, { 1, TOKENS },
		{ 1, TOKENS },
	};
	struct ckv_method m = method("int8(group=8)"), settled;
	struct ckv_sizes eight, four;

	ckv_object_sizes(&o, &m.encode, all, &eight);
	m = method("kivi(bits=4, group=8)");
	ckv_object_sizes(&o, &m.encode, all, &four);
	ck_assert_uint_lt(four.total, eight.total);
	m = with_bytes("snapkv(bytes=%u/%u, window=4) + kivi(bits=auto, group=8)",
		       eight.total, plain);
	ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why), 0);
	ck_assert_uint_eq(settled.encode.bits, 8);
	ck_assert_uint_eq(settled.select.n_keep, TOKENS);
	ck_assert_uint_eq(settled.bits_auto, 0);
	m = with_bytes("snapkv(bytes=%u/%u, window=4) + kivi(bits=auto, group=8)",
		       eight.total - 1, plain);
	ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why), 0);
	ck_assert_uint_eq(settled.encode.bits, 4);
	ck_assert_uint_eq(settled.select.n_keep, TOKENS);
	m = with_bytes("snapkv(bytes=%u/%u, window=4) + kivi(bits=auto, group=8)",
		       four.total - 1, plain);
	ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why), 0);
	ck_assert_uint_eq(settled.encode.bits, 4);
	ck_assert_uint_lt(settled.select.n_keep, TOKENS);
	ck_assert_uint_eq(settled.select.n_keep,
			  tokens_for(5, 7, four.total - 1));
}
END_TEST

/* What is not asked for in bytes is left as it is. */
START_TEST(other_methods_stay_as_they_are)
{
	static const char *const text[] = {
		"plain", "fp8", "snapkv(keep=1/4) + kivi(bits=2)",
		"pyramidkv(tokens=9999) + int8",
		"l2norm(keep=1/2, mode=official, skip=0-4)",
	};
	const struct ckv_object o = object(TOKENS);
	struct ckv_method m = method(text[_i]), settled;

	ck_assert_msg(ckv_method_settle(&m, &o, &settled, why) == 0, "%s", why);
	ck_assert_mem_eq(&m, &settled, sizeof m);
	/* Settled once is settled. */
	m = method("snapkv(bytes=1/2, window=4)");
	ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why), 0);
	ck_assert_int_eq(ckv_method_settle(&settled, &o, &m, why), 0);
	ck_assert_mem_eq(&m, &settled, sizeof m);
}
END_TEST

/* ---- objects that a method does not fit ---- */

static const struct {
	const char *text;
	struct ckv_object o;
	const char *part;
} misfit[] = {
	{ "fp8", { .elem = 9 }, "elements of this type cannot be compressed" },
	{ "fp8", { .n_tokens = 1u << 27 }, "the chain has 134217728 tokens; "
	  "expected 1 to 67108864" },
	{ "fp8", { .dim_v = 2048 }, "dim_k=16, dim_v=2048: expected at most 1024" },
	{ "fp8", { .n_kv_heads = 2048 }, "expected at least one layer and 1 to 1024 "
	  "kv heads" },
	{ "snapkv(keep=1/4)", { .n_q_heads = 3 }, "3 query heads; expected a "
	  "multiple of 2, at most 1024" },
	{ "snapkv(bytes=1/2)", { .n_q_heads = 3 }, "3 query heads; expected" },
	{ "tova(keep=1/4)", { .n_q_heads = 2048 }, "2048 query heads; expected" },
	{ "snapkv(keep=1/4, window=4096)", { .n_q_heads = 64 }, "snapkv: "
	  "window=4096: expected at most 2048 with 32 query heads to a kv head" },
	{ "l2norm(keep=1/2, mode=official, skip=1/7-9)", { 0 }, "l2norm: skip=7: "
	  "expected layers 0 to 4" },
};

START_TEST(an_object_that_does_not_fit_is_refused)
{
	const struct ckv_object *with = &misfit[_i].o;
	struct ckv_object o = object(TOKENS);
	struct ckv_method m = method(misfit[_i].text), settled;

	if (with->elem)
		o.elem = with->elem;
	if (with->n_tokens)
		o.n_tokens = with->n_tokens;
	if (with->dim_v)
		o.dim_v = with->dim_v;
	if (with->n_kv_heads)
		o.n_kv_heads = with->n_kv_heads;
	if (with->n_q_heads)
		o.n_q_heads = with->n_q_heads;
	ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why), -EINVAL);
	ck_assert_msg(strstr(why, misfit[_i].part) != NULL, "%s", why);
}
END_TEST

/* Queries that nobody reads may be of any shape; keys without values are fine. */
START_TEST(what_is_not_read_is_not_judged)
{
	struct ckv_object o = object(TOKENS);
	struct ckv_method m = method("random(keep=1/4)"), settled;

	o.n_q_heads = 3;
	o.dim_v = 0;
	ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why), 0);
	m = method("snapkv(keep=1/4)");
	o.n_q_heads = 0;
	ck_assert_int_eq(ckv_method_settle(&m, &o, &settled, why), 0);
}
END_TEST

CHECK_MAIN("method_settle",
	CASE("settle"),
	EACH(a_size_is_the_sum_of_its_regions, by_hand),
	EACH(regions_do_not_overlap, by_hand),
	LOOP(the_most_tokens_that_fit_are_kept, N_SELECTIONS),
	LOOP(a_pyramid_is_as_high_as_it_can_be, 4),
	TEST(a_share_is_truncated_exactly),
	TEST(too_few_bytes_are_answered_with_enough),
	TEST(bits_are_the_finest_with_all_tokens),
	LOOP(other_methods_stay_as_they_are, 5),
	EACH(an_object_that_does_not_fit_is_refused, misfit),
	TEST(what_is_not_read_is_not_judged))
