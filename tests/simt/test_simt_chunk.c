/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_simt_chunk.c - pools, reductions and chunks under the harness: the CPU's bits.
 */
#include "object.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 2 };

/* n scores as attention gives them: positive, few large; one in `nan` is NaN. */
static float *scores_make(size_t n, uint64_t seed, uint32_t nan)
{
	float *score = object_area(n * sizeof *score);

	for (size_t i = 0; i < n; i++) {
		float x = (float)object_random(&seed) * 0x1p-32f;

		score[i] = x * x * x * x;
		if (nan > 0 && object_random(&seed) % nan == 0)
			score[i] = NAN;
	}
	return score;
}

struct rows {
	enum ckv_pool pool;
	enum ckv_reduce reduce;
	uint32_t kernel, n_rows, group, n;
	const float *in;
	float *out;
};

static int run_pool(void *arg)
{
	struct rows *r = arg;

	return ckv_cuda_pool(r->pool, r->kernel, r->in, r->n_rows, r->n, r->out,
			     NULL);
}

static int run_reduce(void *arg)
{
	struct rows *r = arg;

	return ckv_cuda_reduce(r->reduce, r->in, r->n_rows, r->group, r->n, r->out,
			       NULL);
}

static const uint32_t lengths[] = { 1, 2, 15, 16, 17, 33, 257 };

/* Pooling gives the CPU's bits, at the borders and around NaN. */
START_TEST(pools_are_the_cpus)
{
	static const uint32_t kernels[] = { 1, 3, 7, 63, 999 };
	struct rows r = { .pool = _i % 2 ? CKV_POOL_MAX : CKV_POOL_AVG,
			  .n_rows = 3, .n = lengths[_i / 2] };
	float *want = object_area(r.n * sizeof *want);
	float *in = scores_make(3 * r.n, 5, 20);

	r.in = in;
	r.out = object_area(3 * r.n * sizeof *r.out);
	for (size_t k = 0; k < COUNT(kernels); k++) {
		r.kernel = kernels[k];
		ck_assert_int_eq(object_run(run_pool, &r, r.out, 12 * r.n), 0);
		for (uint32_t row = 0; row < 3; row++) {
			ckv_pool(r.pool, r.kernel, in + row * r.n, r.n, want);
			ck_assert_mem_eq(r.out + row * r.n, want, 4 * r.n);
		}
	}
	free(want);
	free(in);
	free(r.out);
}
END_TEST

/* Reductions give the CPU's bits. */
START_TEST(reductions_are_the_cpus)
{
	static const uint32_t groups[] = { 1, 4, 8, 33 };
	uint32_t n = lengths[_i];
	float *want = object_area(n * sizeof *want);

	for (size_t g = 0; g < COUNT(groups); g++) {
		float *in = scores_make((size_t)2 * groups[g] * n, g, 50);
		struct rows r = { .n_rows = 2, .group = groups[g], .n = n,
				  .in = in };

		r.out = object_area(2 * n * sizeof *r.out);
		for (int reduce = 0; reduce < 3; reduce++) {
			r.reduce = (enum ckv_reduce)reduce;
			ck_assert_int_eq(object_run(run_reduce, &r, r.out, 8 * n),
					 0);
			for (uint32_t row = 0; row < 2; row++) {
				ckv_reduce(r.reduce, in + (size_t)row * groups[g] * n,
					   groups[g], n, n, want);
				ck_assert_mem_eq(r.out + row * n, want, 4 * n);
			}
		}
		free(in);
		free(r.out);
	}
	free(want);
}
END_TEST

struct snapkv {
	struct ckv_snapkv m;
	struct ckv_shape shape;
	const float *score;
	float *out;
};

static int run_snapkv(void *arg)
{
	struct snapkv *s = arg;

	return ckv_cuda_snapkv_score(&s->m, &s->shape, LAYERS, s->score, NULL,
				     s->out, NULL);
}

/* SnapKV's scores have the CPU's bits in both modes, both pools, all reductions. */
START_TEST(snapkv_scores_are_the_cpus)
{
	const struct shape *s = object_shape((uint32_t)_i);
	uint32_t n = s->n_tokens - s->window, n_kv = s->n_heads;
	struct snapkv run = { .shape = { n_kv, n_kv * s->group, s->n_tokens } };
	float *score = scores_make((size_t)LAYERS * n_kv * s->group * n, 3, 0);
	void *scratch = object_work(ckv_pick_scratch_bytes(&run.shape));
	float *want = object_area((size_t)n_kv * n * 4);
	size_t bytes = (size_t)n_kv * n * 4;

	run.score = score;
	run.out = object_area(LAYERS * bytes);
	for (uint32_t i = 0; i < 12; i++) {
		run.m = (struct ckv_snapkv){
			.mode = i % 2 ? CKV_SNAPKV_OFFICIAL : CKV_SNAPKV_KVPRESS,
			.pool = i / 2 % 2 ? CKV_POOL_MAX : CKV_POOL_AVG,
			.reduce = (enum ckv_reduce)(i / 4),
			.window = s->window, .kernel = 1 + 2 * (i % 4),
			.n_keep = 1, .removed = 0.5 };
		ck_assert_int_eq(object_run(run_snapkv, &run, run.out,
					    LAYERS * bytes), 0);
		for (uint32_t l = 0; l < LAYERS; l++) {
			ck_assert_int_eq(ckv_snapkv_score(
				&run.m, &run.shape, 0, n_kv,
				score + (size_t)l * n_kv * s->group * n, scratch,
				want), 0);
			ck_assert_msg(memcmp((char *)run.out + l * bytes, want,
					     bytes) == 0, "%s: %u",
				      object_name(s), i);
		}
	}
	free(score);
	free(scratch);
	free(want);
	free(run.out);
}
END_TEST

struct chunks {
	struct ckv_chunkkv m;
	struct ckv_shape shape;
	const float *score;
	float *head_score, *out;
};

/* As the composed path does it: SnapKV's scores with their maximum, then chunks. */
static int run_chunks(void *arg)
{
	struct chunks *c = arg;
	struct ckv_snapkv inner = { .mode = CKV_SNAPKV_KVPRESS,
		.pool = CKV_POOL_AVG, .reduce = CKV_REDUCE_MEAN,
		.window = c->m.window, .kernel = c->m.kernel };
	uint32_t max[LAYERS] = { 0 };
	int r;

	if (c->m.mode == CKV_CHUNKKV_PAPER)
		return ckv_cuda_chunk_scores(&c->m, &c->shape, LAYERS, c->score,
					     NULL, c->out, NULL);
	r = ckv_cuda_snapkv_score(&inner, &c->shape, LAYERS, c->score, max,
				  c->head_score, NULL);
	if (r == 0)
		r = ckv_cuda_chunk_scores(&c->m, &c->shape, LAYERS, c->head_score,
					  max, c->out, NULL);
	return r;
}

static void assert_chunks(enum ckv_chunkkv_mode mode, uint32_t n_tokens,
			  uint32_t window, uint32_t chunk, uint32_t n_heads,
			  uint32_t group)
{
	struct chunks c = {
		.m = { .mode = mode, .chunk = chunk, .window = window,
		       .kernel = 5, .n_keep = n_tokens / 2, .n_reuse = 1,
		       .removed = 0.5 },
		.shape = { n_heads, n_heads * group, n_tokens } };
	uint32_t n_chunks = ckv_chunkkv_n_chunks(&c.m, n_tokens);
	uint32_t n = n_tokens - window;
	float *score = scores_make((size_t)LAYERS * n_heads * group * n, chunk, 0);
	void *scratch = object_work(ckv_pick_scratch_bytes(&c.shape) + 4 * n_chunks);
	float *want = object_area(n_chunks * sizeof *want);

	c.score = score;
	c.head_score = object_area((size_t)LAYERS * n_heads * n * 4);
	c.out = object_area((size_t)LAYERS * n_chunks * 4);
	ck_assert_int_eq(object_run(run_chunks, &c, c.out,
				    (size_t)LAYERS * n_chunks * 4), 0);
	for (uint32_t l = 0; l < LAYERS; l++) {
		ck_assert_int_eq(ckv_chunkkv_score(
			&c.m, &c.shape, score + (size_t)l * n_heads * group * n,
			scratch, want), 0);
		ck_assert_msg(memcmp(c.out + l * n_chunks, want, 4 * n_chunks) == 0,
			      "mode %d, %u tokens, chunk %u", (int)mode, n_tokens,
			      chunk);
	}
	free(score);
	free(scratch);
	free(want);
	free(c.head_score);
	free(c.out);
}

/* Chunk scores have the CPU's bits: partial chunks, the window's pad, long chunks. */
START_TEST(chunk_scores_are_the_cpus)
{
	enum ckv_chunkkv_mode mode = _i ? CKV_CHUNKKV_PAPER : CKV_CHUNKKV_KVPRESS;

	assert_chunks(mode, 2, 1, 1, 1, 1);
	assert_chunks(mode, 17, 5, 16, 2, 4);
	assert_chunks(mode, 33, 8, 10, 3, 1);
	assert_chunks(mode, 333, 32, 20, 1, 8);
	assert_chunks(mode, 1100, 64, 16, 2, 2);
	assert_chunks(mode, 1300, 7, 1, 1, 1);
	assert_chunks(mode, 2600, 100, 1500, 1, 2);
	assert_chunks(mode, 40, 8, 100, 1, 1);
}
END_TEST

struct keep {
	struct ckv_chunkkv m;
	uint32_t n_tokens;
	const float *chunk_score;
	struct ckv_cuda_kept kept;
};

static int run_keep(void *arg)
{
	struct keep *k = arg;

	return ckv_cuda_chunkkv_keep(&k->m, k->n_tokens, LAYERS, k->chunk_score,
				     &k->kept, NULL);
}

/* Scores of few values, so that there are ties at the cut. */
static void assert_keep(const struct ckv_chunkkv *m, uint32_t n_tokens,
			int has_ties)
{
	struct keep k = { .m = *m, .n_tokens = n_tokens,
			  .kept = { .n_sets = 1, .reuse = 1 } };
	uint32_t n_chunks = ckv_chunkkv_n_chunks(m, n_tokens), n;
	float *score = scores_make(LAYERS * n_chunks, n_tokens + m->chunk, 30);
	uint32_t *want = object_area(4 * n_tokens), *area, max_n;
	uint32_t *scratch = object_area(4 * n_chunks);

	for (uint32_t i = 0; has_ties && i < LAYERS * n_chunks; i++)
		score[i] = rintf(score[i] * 2);
	k.chunk_score = score;
	max_n = k.kept.max_n = ckv_cuda_chunkkv_max_n(m, n_tokens);
	area = object_area(4 * LAYERS * (max_n + 1));
	k.kept.n = area;
	k.kept.pos = area + LAYERS;
	ck_assert_int_eq(object_run(run_keep, &k, area, 4 * LAYERS * (max_n + 1)),
			 0);
	for (uint32_t l = 0; l < LAYERS; l++) {
		ck_assert_int_eq(ckv_chunkkv_keep(m, n_tokens,
						  score + l * n_chunks, scratch,
						  want, &n), 0);
		ck_assert_msg(k.kept.n[l] == n && n <= max_n &&
			      memcmp(k.kept.pos + l * max_n, want, 4 * n) == 0,
			      "mode %d, %u tokens, chunk %u, window %u, keep %u, "
			      "removed %g, layer %u: %u for %u", (int)m->mode,
			      n_tokens, m->chunk, m->window, m->n_keep,
			      m->removed, l, k.kept.n[l], n);
	}
	free(score);
	free(want);
	free(area);
	free(scratch);
}

static const struct {
	uint32_t n_tokens, chunk, window;
} cuts[] = {
	{ 1, 1, 1 }, { 2, 1, 1 }, { 17, 16, 1 }, { 40, 10, 7 }, { 67, 16, 9 },
	{ 64, 16, 40 }, { 97, 5, 30 }, { 333, 20, 32 }, { 15, 16, 20 },
};

/* kvpress's mode: every budget keeps the CPU's tokens. */
START_TEST(kvpress_chunks_are_kept_like_the_cpus)
{
	static const double removed[] = { 0.0, 0.1, 0.5, 0.75, 0.95 };
	struct ckv_chunkkv m = { .mode = CKV_CHUNKKV_KVPRESS,
		.chunk = cuts[_i].chunk, .window = cuts[_i].window, .kernel = 1,
		.n_reuse = 1 };

	for (size_t i = 0; i < COUNT(removed); i++) {
		m.removed = removed[i];
		assert_keep(&m, cuts[_i].n_tokens, i % 2);
	}
}
END_TEST

/* The paper's mode: the worst chosen chunk loses its tail, wherever the cut falls. */
START_TEST(paper_chunks_are_kept_like_the_cpus)
{
	struct ckv_chunkkv m = { .mode = CKV_CHUNKKV_PAPER,
		.chunk = cuts[_i].chunk, .window = cuts[_i].window,
		.n_reuse = 1 };
	uint32_t n = cuts[_i].n_tokens, step = n / 12 + 1;

	for (m.n_keep = 1; m.n_keep <= n + step; m.n_keep += step)
		assert_keep(&m, n, m.n_keep % 2 == 0);
}
END_TEST

/* More chunks than one block holds in registers. */
START_TEST(many_chunks_are_kept_in_tiles)
{
	struct ckv_chunkkv m = { .mode = CKV_CHUNKKV_PAPER, .chunk = 2,
		.window = 3, .n_reuse = 1, .n_keep = 4001 };

	assert_keep(&m, 16600, 1);
}
END_TEST

CHECK_MAIN("simt chunk",
	CASE("chunk", .timeout = 200),
	LOOP(pools_are_the_cpus, 2 * COUNT(lengths)),
	EACH(reductions_are_the_cpus, lengths),
	/* The last shape has no token before its window. */
	LOOP(snapkv_scores_are_the_cpus, object_shapes() - 1),
	LOOP(chunk_scores_are_the_cpus, 2),
	EACH(kvpress_chunks_are_kept_like_the_cpus, cuts),
	EACH(paper_chunks_are_kept_like_the_cpus, cuts),
	TEST(many_chunks_are_kept_in_tiles))
