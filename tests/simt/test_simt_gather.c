/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_simt_gather.c - the gather under the harness: the bytes that ckv_gather() copies.
 */
#include "object.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct gather {
	struct object o;
	struct ckv_cuda_kept kept;
	struct ckv_cuda_out out[2];
	uint32_t n_newest;
	uint64_t status;
	uint32_t *pos;
	char *area;
	size_t bytes;
};

static int run_gather(void *arg)
{
	struct gather *g = arg;

	ck_assert_int_eq(ckv_cuda_begin(&g->status, NULL), 0);
	return ckv_cuda_gather(&g->o.k, &g->o.v, &g->kept, g->n_newest, &g->out[0],
			       &g->out[1], &g->status, NULL);
}

/* n ascending positions for each set: every third token and then the last ones. */
static void make_kept(struct gather *g, uint32_t n_sets, uint32_t n,
		      uint32_t reuse)
{
	const struct shape *s = &g->o.s;
	uint32_t n_kept = (s->n_layers + reuse - 1) / reuse;

	g->pos = object_area((size_t)n_kept * n_sets * n * sizeof *g->pos);
	for (uint32_t i = 0; i < n_kept * n_sets; i++)
		for (uint32_t j = 0; j < n; j++) {
			uint32_t newest = s->n_tokens - n + j;
			uint32_t early = 3 * j + i % 3;

			g->pos[i * n + j] = early < newest ? early : newest;
		}
	g->kept = (struct ckv_cuda_kept){ .pos = g->pos, .n_sets = n_sets,
					  .max_n = n, .reuse = reuse };
}

/* Both sides in one area of exact size: [side][layer][head][n][dim]. */
static void make_out(struct gather *g)
{
	const struct shape *s = &g->o.s;
	uint32_t n = g->kept.max_n < g->n_newest ? g->kept.max_n : g->n_newest;
	size_t head = (size_t)n * s->dim * ckv_elem_bytes(s->elem);
	size_t side = head * s->n_heads * s->n_layers;

	g->bytes = 2 * side;
	g->area = object_area(g->bytes);
	for (int i = 0; i < 2; i++)
		g->out[i] = (struct ckv_cuda_out){ g->area + (size_t)i * side,
						   head * s->n_heads, head };
}

static void assert_gathered(const struct gather *g)
{
	const struct shape *s = &g->o.s;
	uint32_t max_n = g->kept.max_n;

	for (uint32_t i = 0; i < 2 * s->n_layers * s->n_heads; i++) {
		uint32_t side = i % 2, head = i / 2 % s->n_heads;
		uint32_t layer = i / 2 / s->n_heads, set = layer / g->kept.reuse;
		struct ckv_rows rows = object_layer(side ? &g->o.v : &g->o.k, layer);
		uint32_t n = g->kept.n == NULL ? max_n : g->kept.n[set];
		uint32_t n_rows = n < g->n_newest ? n : g->n_newest;
		const uint32_t *pos = g->pos + n - n_rows + (size_t)max_n *
			(set * g->kept.n_sets + (g->kept.n_sets > 1 ? head : 0));
		const char *got = (const char *)g->out[side].base +
				  layer * g->out[side].layer_stride_bytes +
				  head * g->out[side].head_stride_bytes;
		size_t bytes = (size_t)n_rows * s->dim * ckv_elem_bytes(s->elem);
		char *want = object_area(bytes);

		ck_assert_int_eq(ckv_gather(&rows, head, pos, n_rows, want), 0);
		ck_assert_msg(memcmp(got, want, bytes) == 0,
			      "%s: side %u, layer %u, head %u", object_name(s),
			      side, layer, head);
		free(want);
	}
}

static void gather_free(struct gather *g)
{
	free(g->pos);
	free(g->area);
	object_free(&g->o);
}

static void assert_gather(const struct shape *s, uint32_t n_sets, uint32_t n,
			  uint32_t reuse, uint32_t n_newest)
{
	struct gather g = { .n_newest = n_newest };

	object_make(s, n, &g.o);
	make_kept(&g, n_sets, n, reuse);
	make_out(&g);
	ck_assert_int_eq(object_run(run_gather, &g, g.area, g.bytes), 0);
	ck_assert_uint_eq(g.status, CKV_CUDA_OK);
	assert_gathered(&g);
	gather_free(&g);
}

/* Every shape, one set or one per head, no, one, some and all tokens. */
START_TEST(gather_copies_what_the_cpu_does)
{
	const struct shape *s = object_shape((uint32_t)_i);

	assert_gather(s, 1, 0, 1, UINT32_MAX);
	assert_gather(s, s->n_heads, 1, 1, UINT32_MAX);
	assert_gather(s, 1, s->n_tokens / 3, 2, UINT32_MAX);
	assert_gather(s, s->n_heads, s->n_tokens, 1, UINT32_MAX);
	assert_gather(s, 1, s->n_tokens, 3, 3);
}
END_TEST

/* Layers have their own counts in device memory; the rest of the area stays. */
START_TEST(layers_keep_different_numbers)
{
	const struct shape s = { 3, 2, 1, 40, 64, 16, 1, CKV_ELEM_BF16 };
	uint32_t n[3] = { 12, 0, 7 };
	struct gather g = { .n_newest = UINT32_MAX };
	const unsigned char *second;

	object_make(&s, 1, &g.o);
	make_kept(&g, 1, 12, 1);
	make_out(&g);
	g.kept.n = n;
	ck_assert_int_eq(object_run(run_gather, &g, g.area, g.bytes), 0);
	assert_gathered(&g);
	second = (const unsigned char *)g.out[0].base + g.out[0].layer_stride_bytes;
	for (size_t i = 0; i < g.out[0].layer_stride_bytes; i++)
		ck_assert_uint_eq(second[i], 0x5a);
	g.n_newest = 5;
	ck_assert_int_eq(object_run(run_gather, &g, g.area, g.bytes), 0);
	assert_gathered(&g);
	gather_free(&g);
}
END_TEST

/* A position outside the rows is named and not read. */
START_TEST(positions_outside_are_faults)
{
	const struct shape s = { 2, 2, 1, 40, 72, 16, 1, CKV_ELEM_F32 };
	struct gather g = { .n_newest = UINT32_MAX };
	struct ckv_fault fault;
	uint32_t layer;

	object_make(&s, 1, &g.o);
	make_kept(&g, 2, 8, 1);
	make_out(&g);
	g.pos[3 * 8 + 7] = UINT32_MAX;
	g.pos[1 * 8 + 6] = 40;
	ck_assert_int_eq(object_run(run_gather, &g, g.area, g.bytes), 0);
	ck_assert_int_eq(ckv_cuda_status(g.status, &layer, &fault), -EINVAL);
	ck_assert_uint_eq(layer, 0);
	ck_assert_uint_eq(fault.head, 1);
	ck_assert_uint_eq(fault.token, 40);
	ck_assert_uint_eq(fault.input, CKV_INPUT_KEY);
	gather_free(&g);
}
END_TEST

/* Sides that do not belong together, and sets that rows cannot have, are refused. */
START_TEST(impossible_gathers_are_refused)
{
	const struct shape s = { 2, 2, 1, 40, 64, 16, 1, CKV_ELEM_F32 };
	struct gather g = { .n_newest = UINT32_MAX };
	struct ckv_cuda_kept kept;

	object_make(&s, 1, &g.o);
	make_kept(&g, 2, 8, 1);
	make_out(&g);
	kept = g.kept;
	g.kept.n_sets = 3;
	ck_assert_int_eq(run_gather(&g), -EINVAL);
	g.kept = kept;
	g.kept.reuse = 0;
	ck_assert_int_eq(run_gather(&g), -EINVAL);
	g.kept = kept;
	g.kept.max_n = 41;
	ck_assert_int_eq(run_gather(&g), -EINVAL);
	g.kept = kept;
	g.o.v.n_layers = 1;
	ck_assert_int_eq(run_gather(&g), -EINVAL);
	g.o.v.n_layers = 2;
	g.out[1].base = (char *)g.out[1].base + 2;
	ck_assert_int_eq(run_gather(&g), -EINVAL);
	g.out[1].base = (char *)g.out[1].base - 2;
	ck_assert_int_eq(run_gather(&g), 0);
	gather_free(&g);
}
END_TEST

CHECK_MAIN("simt gather",
	CASE("gather", .timeout = 200),
	LOOP(gather_copies_what_the_cpu_does, object_shapes()),
	TEST(layers_keep_different_numbers),
	TEST(positions_outside_are_faults),
	TEST(impossible_gathers_are_refused))
