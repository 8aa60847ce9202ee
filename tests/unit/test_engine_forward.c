/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_forward.c - the forward pass against one written from the
 * formulas in double, and its promise that a token's logits are the same bits
 * however the prompt was cut and wherever the pages are.
 *
 * The model is small and random, of sizes that divide nothing: heads of 24,
 * an output of 37, so that every remainder loop runs.
 */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "client/examples/engine/engine.h"
#include "tests/lib/check_main.h"

enum {
	HIDDEN = 40, MLP = 56, LAYERS = 2, HEADS = 6, KV = 2, DIM = 24,
	VOCAB = 37, TOKENS = 75, VIEWED = 50,
};

/* The weights once more, as the formulas write them: [out][in]. */
static struct raw_layer {
	float q[HEADS * DIM][HIDDEN], k[KV * DIM][HIDDEN], v[KV * DIM][HIDDEN];
	float o[HIDDEN][HEADS * DIM], gate[MLP][HIDDEN], up[MLP][HIDDEN];
	float down[HIDDEN][MLP], attn_norm[HIDDEN], mlp_norm[HIDDEN];
} raw[LAYERS];
static float raw_embed[VOCAB][HIDDEN], raw_head[VOCAB][HIDDEN];
static float raw_norm[HIDDEN];

static struct model model;
static uint32_t ids[TOKENS];
static const struct vec_ops *ops;

/* What the reference remembers of every position. */
static double ref_k[LAYERS][KV][TOKENS][DIM], ref_v[LAYERS][KV][TOKENS][DIM];
static double ref_q[LAYERS][HEADS][TOKENS][DIM];
static bool kept[LAYERS][KV][TOKENS];

static float noise(float scale)
{
	return ((float)rand() / (float)RAND_MAX - 0.5f) * 2 * scale;
}

static void fill(void *to, size_t bytes, float scale, float around)
{
	float *f = to;

	for (size_t i = 0; i < bytes / sizeof(*f); i++)
		f[i] = around + noise(scale);
}

static struct matrix pack(const void *from, uint32_t n_out, uint32_t n_in)
{
	size_t rows = (n_out + VEC_PANEL - 1) / VEC_PANEL * VEC_PANEL;
	float *to = calloc(rows * n_in, sizeof(*to));
	const float *f = from;

	ck_assert_ptr_nonnull(to);
	for (size_t o = 0; o < n_out; o++)
		for (size_t i = 0; i < n_in; i++)
			to[(o / VEC_PANEL * n_in + i) * VEC_PANEL +
			   o % VEC_PANEL] = f[o * n_in + i];
	return (struct matrix){ .panel = to, .n_in = n_in, .n_out = n_out };
}

static void make_layer(struct raw_layer *r, struct layer *l)
{
	fill(r, sizeof(*r), 0.4f, 0);
	fill(r->attn_norm, sizeof(r->attn_norm), 0.3f, 1);
	fill(r->mlp_norm, sizeof(r->mlp_norm), 0.3f, 1);
	l->attn_norm = r->attn_norm;
	l->mlp_norm = r->mlp_norm;
	l->q = pack(r->q, HEADS * DIM, HIDDEN);
	l->k = pack(r->k, KV * DIM, HIDDEN);
	l->v = pack(r->v, KV * DIM, HIDDEN);
	l->o = pack(r->o, HIDDEN, HEADS * DIM);
	l->gate = pack(r->gate, MLP, HIDDEN);
	l->up = pack(r->up, MLP, HIDDEN);
	l->down = pack(r->down, HIDDEN, MLP);
}

static void make_model(void)
{
	static struct layer layers[LAYERS];
	static float inv_freq[DIM / 2];

	srand(7);
	fill(raw_embed, sizeof(raw_embed), 1, 0);
	fill(raw_head, sizeof(raw_head), 0.5f, 0);
	fill(raw_norm, sizeof(raw_norm), 0.3f, 1);
	for (int l = 0; l < LAYERS; l++)
		make_layer(&raw[l], &layers[l]);
	for (int i = 0; i < DIM / 2; i++)
		inv_freq[i] = powf(10000, -2.0f * (float)i / DIM);
	model = (struct model){
		.cfg = { .hidden = HIDDEN, .mlp = MLP, .n_layers = LAYERS,
			 .n_heads = HEADS, .n_kv_heads = KV, .head_dim = DIM,
			 .n_vocab = VOCAB, .max_tokens = 2 * TOKENS,
			 .rope_theta = 10000, .norm_eps = 1e-5f },
		.embed = &raw_embed[0][0], .norm = raw_norm,
		.head = pack(raw_head, VOCAB, HIDDEN),
		.layer = layers, .inv_freq = inv_freq,
	};
	for (int i = 0; i < TOKENS; i++)
		ids[i] = (uint32_t)rand() % VOCAB;
	for (int j = 0; j < LAYERS * KV * TOKENS; j++)
		(&kept[0][0][0])[j] = rand() % 3 == 0;
	kept[1][0][0] = true;
}

static void setup(void)
{
	make_model();
	ops = &vec_portable;
}

/* ---- the reference ---------------------------------------------------- */

static void ref_norm(const double *x, const float *w, double *y)
{
	double sum = 0;

	for (int i = 0; i < HIDDEN; i++)
		sum += x[i] * x[i];
	for (int i = 0; i < HIDDEN; i++)
		y[i] = x[i] / sqrt(sum / HIDDEN + 1e-5) * (double)w[i];
}

static void ref_product(const void *w, int n_out, int n_in, const double *x,
			double *y)
{
	const float *f = w;

	for (int o = 0; o < n_out; o++) {
		y[o] = 0;
		for (int i = 0; i < n_in; i++)
			y[o] += (double)f[o * n_in + i] * x[i];
	}
}

static void ref_rotate(const double *x, int pos, double *y)
{
	for (int i = 0; i < DIM / 2; i++) {
		double a = pos * pow(10000, -2.0 * i / DIM);

		y[i] = x[i] * cos(a) - x[i + DIM / 2] * sin(a);
		y[i + DIM / 2] = x[i + DIM / 2] * cos(a) + x[i] * sin(a);
	}
}

/* Attention of one head; from position `after` on, the rest is only a view. */
static void ref_attend(int l, int h, int pos, int after, double *out)
{
	int g = h / (HEADS / KV);
	double p[TOKENS], sum = 0;

	memset(out, 0, DIM * sizeof(*out));
	for (int j = 0; j <= pos; j++) {
		double s = 0;

		for (int d = 0; d < DIM; d++)
			s += ref_q[l][h][pos][d] * ref_k[l][g][j][d];
		p[j] = pos >= after && j < after && !kept[l][g][j] ? 0 :
		       exp(s / sqrt(DIM));
		sum += p[j];
	}
	for (int j = 0; j <= pos; j++)
		for (int d = 0; d < DIM; d++)
			out[d] += p[j] / sum * ref_v[l][g][j][d];
}

static void ref_layer(int l, int pos, int after, double *x)
{
	double n[HIDDEN], q[HEADS * DIM], k[KV * DIM], v[KV * DIM];
	double o[HIDDEN], gate[MLP], up[MLP], mix[HEADS * DIM];

	ref_norm(x, raw[l].attn_norm, n);
	ref_product(raw[l].q, HEADS * DIM, HIDDEN, n, q);
	ref_product(raw[l].k, KV * DIM, HIDDEN, n, k);
	ref_product(raw[l].v, KV * DIM, HIDDEN, n, v);
	for (int h = 0; h < HEADS; h++)
		ref_rotate(q + h * DIM, pos, ref_q[l][h][pos]);
	for (int h = 0; h < KV; h++) {
		ref_rotate(k + h * DIM, pos, ref_k[l][h][pos]);
		memcpy(ref_v[l][h][pos], v + h * DIM, DIM * sizeof(*v));
	}
	for (int h = 0; h < HEADS; h++)
		ref_attend(l, h, pos, after, mix + h * DIM);
	ref_product(raw[l].o, HIDDEN, HEADS * DIM, mix, o);
	for (int i = 0; i < HIDDEN; i++)
		x[i] += o[i];
	ref_norm(x, raw[l].mlp_norm, n);
	ref_product(raw[l].gate, MLP, HIDDEN, n, gate);
	ref_product(raw[l].up, MLP, HIDDEN, n, up);
	for (int i = 0; i < MLP; i++)
		gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
	ref_product(raw[l].down, HIDDEN, MLP, gate, o);
	for (int i = 0; i < HIDDEN; i++)
		x[i] += o[i];
}

static void ref_forward(int n, int after, double *logits)
{
	double x[HIDDEN], last[HIDDEN];

	for (int pos = 0; pos < n; pos++) {
		for (int i = 0; i < HIDDEN; i++)
			x[i] = (double)raw_embed[ids[pos]][i];
		for (int l = 0; l < LAYERS; l++)
			ref_layer(l, pos, after, x);
	}
	ref_norm(x, raw_norm, last);
	ref_product(raw_head, VOCAB, HIDDEN, last, logits);
}

/* ---- the engine ------------------------------------------------------- */

struct way {			/* of computing the same thing */
	uint32_t batch, block, cut;
	enum vec_dtype dtype;
};

static void compute(struct way w, struct kv *kv, float *logits)
{
	struct kv_geometry geo = engine_geometry(&model, w.block, w.dtype);
	struct engine eng;

	ck_assert_int_eq(engine_init(&eng, &model, ops, w.batch), 0);
	kv_init(kv, &geo);
	for (uint32_t at = 0; at < TOKENS; at += w.cut)
		ck_assert_int_eq(engine_forward(&eng, kv, ids + at,
			TOKENS - at < w.cut ? TOKENS - at : w.cut, at, logits),
			0);
	engine_free(&eng);
}

static void assert_near(const float *logits, const double *ref, double tol)
{
	for (int i = 0; i < VOCAB; i++)
		ck_assert_msg(fabs((double)logits[i] - ref[i]) <= tol,
			      "logit %d: %g, not %g", i, (double)logits[i],
			      ref[i]);
}

static bool use_ops(int i)
{
	ops = i == 0 ? &vec_portable : vec_avx2();
	return ops != NULL;
}

/* Logits are those of the formulas. */
START_TEST(logits_are_right)
{
	double ref[VOCAB];
	float logits[VOCAB];
	struct kv kv;

	if (!use_ops(_i))
		return;
	ref_forward(TOKENS, TOKENS, ref);
	compute((struct way){ 48, 16, TOKENS, VEC_F32 }, &kv, logits);
	assert_near(logits, ref, 2e-4);
	kv_free(&kv);
}
END_TEST

/* Batch size, cuts of the prompt and page size do not change a bit. */
START_TEST(no_way_of_cutting_changes_a_bit)
{
	static const struct way ways[] = {
		{ 1, 16, TOKENS, VEC_F32 }, { 7, 16, TOKENS, VEC_F32 },
		{ 64, 16, TOKENS, VEC_F32 }, { 64, 5, TOKENS, VEC_F32 },
		{ 64, 128, TOKENS, VEC_F32 }, { 64, 16, 11, VEC_F32 },
		{ 3, 1, 1, VEC_F32 },
	};
	float first[VOCAB], logits[VOCAB];
	struct kv kv;

	if (!use_ops(_i))
		return;
	compute((struct way){ 48, 16, TOKENS, VEC_F32 }, &kv, first);
	kv_free(&kv);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		compute(ways[i], &kv, logits);
		ck_assert_mem_eq(logits, first, sizeof(logits));
		kv_free(&kv);
	}
}
END_TEST

/* The same with keys and values in bf16, and near what they are in f32. */
START_TEST(bf16_pages_are_as_exact)
{
	double ref[VOCAB];
	float first[VOCAB], logits[VOCAB];
	struct kv kv;

	if (!use_ops(_i))
		return;
	ref_forward(TOKENS, TOKENS, ref);
	compute((struct way){ 48, 16, TOKENS, VEC_BF16 }, &kv, first);
	assert_near(first, ref, 0.1);
	kv_free(&kv);
	compute((struct way){ 7, 5, 11, VEC_BF16 }, &kv, logits);
	ck_assert_mem_eq(logits, first, sizeof(logits));
	kv_free(&kv);
}
END_TEST

/* Read the rest after `n_pages` lent pages; they are not written. */
static void go_on(uint8_t *const *pages, uint32_t n_pages, float *logits)
{
	struct kv_geometry geo = engine_geometry(&model, 16, VEC_F32);
	struct engine eng;
	struct kv kv;

	ck_assert_int_eq(engine_init(&eng, &model, ops, 48), 0);
	kv_init(&kv, &geo);
	for (uint32_t i = 0; i < n_pages; i++)
		ck_assert_int_eq(kv_add_page(&kv, pages[i]), 0);
	ck_assert_int_eq(engine_forward(&eng, &kv, ids + n_pages * 16,
					TOKENS - n_pages * 16, n_pages * 16,
					logits), 0);
	kv_free(&kv);
	engine_free(&eng);
}

/* Pages that another run has written give the same bits as computing them. */
START_TEST(found_pages_change_no_bit)
{
	float first[VOCAB], logits[VOCAB];
	struct kv kv;

	if (!use_ops(_i))
		return;
	compute((struct way){ 48, 16, TOKENS, VEC_F32 }, &kv, first);
	for (uint32_t n = 1; n <= TOKENS / 16; n++) {
		go_on(kv.page, n, logits);
		ck_assert_mem_eq(logits, first, sizeof(logits));
	}
	kv_free(&kv);
}
END_TEST

/* One flipped bit anywhere in a found page is seen in the logits. */
START_TEST(flipped_bit_is_seen)
{
	float first[VOCAB], logits[VOCAB];
	struct kv kv;

	if (!use_ops(_i))
		return;
	compute((struct way){ 48, 16, TOKENS, VEC_F32 }, &kv, first);
	for (size_t at = 2; at < LAYERS * 2 * KV * 16 * DIM * 4; at += 404) {
		kv.page[2][at] ^= 0x40;
		go_on(kv.page, 4, logits);
		ck_assert(memcmp(logits, first, sizeof(logits)) != 0);
		kv.page[2][at] ^= 0x40;
	}
	kv_free(&kv);
}
END_TEST

/* The rows that `kept` names, of pages of 16, as a view. */
static void make_view(const struct kv *kv, struct kv_run *view, float *rows)
{
	for (int r = 0; r < LAYERS * KV; r++) {
		const bool *keep = kept[r / KV][r % KV];
		struct kv_run runs[8];
		float *k = rows + (size_t)r * 2 * TOKENS * DIM;
		float *v = k + TOKENS * DIM;
		uint32_t n = 0;

		kv_runs(kv, (uint32_t)r / KV, (uint32_t)r % KV, VIEWED, runs);
		for (int j = 0; j < VIEWED; j++) {
			size_t at = (size_t)(j % 16) * DIM * sizeof(float);

			if (!keep[j])
				continue;
			memcpy(k + n * DIM, runs[j / 16].k + at,
			       DIM * sizeof(*k));
			memcpy(v + n++ * DIM, runs[j / 16].v + at,
			       DIM * sizeof(*v));
		}
		view[r] = (struct kv_run){ .k = (uint8_t *)k,
					   .v = (uint8_t *)v, .n = n };
	}
}

/* A view with other rows for every head, and a question at its true position. */
START_TEST(views_are_attended)
{
	static float rows[LAYERS * KV * 2 * TOKENS * DIM];
	struct kv_run view[LAYERS * KV];
	double ref[VOCAB];
	float logits[VOCAB];
	struct kv kv, over;
	struct engine eng;

	if (!use_ops(_i))
		return;
	ref_forward(TOKENS, VIEWED, ref);
	compute((struct way){ 48, 16, TOKENS, VEC_F32 }, &kv, logits);
	make_view(&kv, view, rows);
	ck_assert_int_eq(engine_init(&eng, &model, ops, 10), 0);
	kv_init_view(&over, &kv.geo, view, VIEWED);
	ck_assert_int_eq(engine_forward(&eng, &over, ids + VIEWED,
					TOKENS - VIEWED, VIEWED, logits), 0);
	assert_near(logits, ref, 2e-4);
	kv_free(&over);
	kv_free(&kv);
	engine_free(&eng);
}
END_TEST

/* The queries that a compression method asks for are the rotated ones. */
START_TEST(queries_are_captured)
{
	static float q[LAYERS][HEADS][9][DIM];
	struct kv_geometry geo = engine_geometry(&model, 16, VEC_F32);
	double ref[VOCAB];
	struct engine eng;
	struct kv kv;

	ref_forward(TOKENS, TOKENS, ref);
	ck_assert_int_eq(engine_init(&eng, &model, ops, 7), 0);
	eng.capture = (struct capture){ .to = (uint8_t *)q, .first = 40,
					.n = 9, .dtype = VEC_F32 };
	kv_init(&kv, &geo);
	ck_assert_int_eq(engine_forward(&eng, &kv, ids, TOKENS, 0, NULL), 0);
	for (int l = 0; l < LAYERS; l++)
		for (int h = 0; h < HEADS; h++)
			for (int i = 0; i < 9 * DIM; i++)
				ck_assert(fabs((double)(&q[l][h][0][0])[i] -
					  (&ref_q[l][h][40][0])[i]) < 1e-4);
	kv_free(&kv);
	engine_free(&eng);
}
END_TEST

/* Greedy decoding goes on with the largest logit and stops at the stop word. */
START_TEST(decoding_is_greedy)
{
	float logits[VOCAB], more[VOCAB];
	uint32_t out[8], next;
	struct engine eng;
	struct kv kv;

	compute((struct way){ 48, 16, TOKENS, VEC_F32 }, &kv, logits);
	ck_assert_int_eq(engine_init(&eng, &model, ops, 48), 0);
	next = engine_argmax(logits, VOCAB);
	memcpy(more, logits, sizeof(more));
	ck_assert_int_eq(engine_decode(&eng, &kv, more, TOKENS, VOCAB, 3, out),
			 3);
	ck_assert_uint_eq(out[0], next);
	ck_assert_int_eq(engine_forward(&eng, &kv, out, 2, TOKENS, more), 0);
	ck_assert_uint_eq(out[2], engine_argmax(more, VOCAB));
	ck_assert_int_eq(engine_decode(&eng, &kv, logits, TOKENS, next, 3, out),
			 1);
	kv_free(&kv);
	engine_free(&eng);
}
END_TEST

/* Positions and ids that the model lacks are refused, and nothing is written. */
START_TEST(impossible_input_is_refused)
{
	struct kv_geometry geo = engine_geometry(&model, 16, VEC_F32);
	uint32_t bad = VOCAB;
	struct engine eng;
	struct kv kv;

	ck_assert_int_eq(engine_init(&eng, &model, ops, 48), 0);
	kv_init(&kv, &geo);
	ck_assert_int_eq(engine_forward(&eng, &kv, &bad, 1, 0, NULL), -ERANGE);
	ck_assert_int_eq(engine_forward(&eng, &kv, ids, 1, 2 * TOKENS, NULL),
			 -ERANGE);
	ck_assert_int_eq(engine_forward(&eng, &kv, ids, 1, UINT32_MAX, NULL),
			 -ERANGE);
	ck_assert_uint_eq(kv.n_pages, 0);
	engine_free(&eng);
}
END_TEST

CHECK_MAIN("engine_forward",
	CASE("forward", .setup = setup),
	LOOP(logits_are_right, 2),
	LOOP(no_way_of_cutting_changes_a_bit, 2),
	LOOP(bf16_pages_are_as_exact, 2),
	LOOP(found_pages_change_no_bit, 2),
	LOOP(flipped_bit_is_seen, 2),
	LOOP(views_are_attended, 2),
	TEST(queries_are_captured),
	TEST(decoding_is_greedy),
	TEST(impossible_input_is_refused))
