/* SPDX-License-Identifier: Apache-2.0 */
/* object.c - see object.h. */
#include "object.h"

#include "kernels/elem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* layers, heads, group, tokens, dim, block, window, elem */
static const struct shape shapes[] = {
	{ 1, 1, 1,   2,  64, 16, 1, CKV_ELEM_BF16 },
	{ 2, 2, 4,  15,  64, 16, 3, CKV_ELEM_F16 },
	{ 1, 1, 8,  16,  72, 16, 4, CKV_ELEM_F32 },
	{ 3, 2, 1,  17,  80,  1, 5, CKV_ELEM_BF16 },
	{ 2, 1, 4,  31,  96, 48, 8, CKV_ELEM_F16 },
	{ 1, 3, 1,  32, 128, 16, 8, CKV_ELEM_BF16 },
	{ 2, 2, 4,  33, 128, 48, 7, CKV_ELEM_F32 },
	{ 1, 1, 1,  49, 256,  1, 16, CKV_ELEM_BF16 },
	{ 2, 2, 2,  67,  33, 16, 9, CKV_ELEM_BF16 },
	{ 1, 2, 1, 129,   1, 48, 2, CKV_ELEM_F16 },
	{ 1, 1, 4, 333,  64, 16, 32, CKV_ELEM_BF16 },
	{ 1, 1, 1,   1, 128, 16, 1, CKV_ELEM_F32 },
};

enum { N_SHAPES = sizeof(shapes) / sizeof *shapes };

const struct shape *object_shape(uint32_t i)
{
	return i < N_SHAPES ? &shapes[i] : NULL;
}

uint32_t object_shapes(void)
{
	return N_SHAPES;
}

const char *object_name(const struct shape *s)
{
	static const char *const elem[] = { "f32", "f16", "bf16" };
	static char name[160];

	snprintf(name, sizeof name, "%u layers, %u heads, group %u, %u tokens, "
		 "dim %u, pages of %u, window %u, %s", s->n_layers, s->n_heads,
		 s->group, s->n_tokens, s->dim, s->block_tokens, s->window,
		 elem[s->elem]);
	return name;
}

uint32_t object_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 32);
}

void *object_area(size_t bytes)
{
	void *area = malloc(bytes > 0 ? bytes : 1);

	if (area == NULL)
		abort();
	memset(area, 0x5a, bytes);
	return area;
}

void *object_work(size_t bytes)
{
	void *area;

	if (posix_memalign(&area, CKV_CUDA_ALIGN, bytes > 0 ? bytes : 1) != 0)
		abort();
	memset(area, 0x5a, bytes);
	return area;
}

/* Nearest value of the kind, ties away; test inputs need no more. */
static void store(void *row, size_t i, enum ckv_elem elem, float x)
{
	_Float16 half = (_Float16)x;
	uint32_t bits;

	memcpy(&bits, &x, sizeof bits);
	switch (elem) {
	case CKV_ELEM_F32:
		((float *)row)[i] = x;
		return;
	case CKV_ELEM_F16:
		memcpy((char *)row + 2 * i, &half, sizeof half);
		return;
	case CKV_ELEM_BF16:
		((uint16_t *)row)[i] = (uint16_t)(bits >> 16);
		return;
	}
}

struct ckv_rows object_layer(const struct ckv_cuda_rows *rows, uint32_t layer)
{
	struct ckv_rows r = rows->rows;

	r.offset_bytes += layer * rows->layer_stride_bytes;
	return r;
}

void object_put(const struct ckv_cuda_rows *rows, uint32_t layer, uint32_t head,
		uint32_t token, uint32_t dim, float x)
{
	struct ckv_rows r = object_layer(rows, layer);

	store((void *)(uintptr_t)ckv_rows_at(&r, head, token), dim, r.elem, x);
}

float object_get(const struct ckv_cuda_rows *rows, uint32_t layer, uint32_t head,
		 uint32_t token, uint32_t dim)
{
	struct ckv_rows r = object_layer(rows, layer);

	return elem_at(ckv_rows_at(&r, head, token), dim, r.elem);
}

static void fill(const struct ckv_cuda_rows *rows, uint64_t seed)
{
	const struct ckv_rows *r = &rows->rows;

	for (uint32_t l = 0; l < rows->n_layers; l++)
		for (uint32_t h = 0; h < r->n_heads; h++)
			for (uint32_t t = 0; t < r->n_tokens; t++)
				for (uint32_t d = 0; d < r->dim; d++)
					object_put(rows, l, h, t, d,
						   (float)(int32_t)object_random(
							   &seed) * 0x1p-31f);
}

static void fill_nan(void *page, size_t bytes)
{
	/* 0x7fff is a NaN in bf16 and f16, 0x7fff7fff in f32. */
	for (size_t i = 0; i < bytes / 2; i++)
		((uint16_t *)page)[i] = 0x7fff;
}

static void make_pages(struct object *o)
{
	const struct shape *s = &o->s;
	size_t row_bytes = s->dim * ckv_elem_bytes(s->elem);
	size_t side_bytes = s->n_heads * s->block_tokens * row_bytes;
	size_t page_bytes = s->n_layers * 2 * side_bytes;
	uint32_t n_pages = (s->n_tokens + s->block_tokens - 1) / s->block_tokens;

	o->page = object_area(n_pages * sizeof *o->page);
	for (uint32_t i = 0; i < n_pages; i++) {
		o->page[i] = object_area(page_bytes);
		fill_nan(o->page[i], page_bytes);
	}
	o->k = (struct ckv_cuda_rows){
		.rows = { .block = (const void *const *)o->page,
			  .head_stride_bytes = s->block_tokens * row_bytes,
			  .block_tokens = s->block_tokens,
			  .n_heads = s->n_heads, .n_tokens = s->n_tokens,
			  .dim = s->dim, .elem = s->elem },
		.layer_stride_bytes = 2 * side_bytes,
		.n_layers = s->n_layers, .layer_step = 1 };
	o->v = o->k;
	o->v.rows.offset_bytes = side_bytes;
}

static void make_queries(struct object *o)
{
	const struct shape *s = &o->s;
	size_t head_bytes = s->window * s->dim * ckv_elem_bytes(s->elem);
	uint32_t n_heads = s->n_heads * s->group;

	o->q_block = object_area(s->n_layers * n_heads * head_bytes);
	o->q_page[0] = o->q_block;
	o->q = (struct ckv_cuda_rows){
		.rows = { .block = o->q_page, .head_stride_bytes = head_bytes,
			  .block_tokens = s->window, .n_heads = n_heads,
			  .n_tokens = s->window, .dim = s->dim,
			  .elem = s->elem },
		.layer_stride_bytes = n_heads * head_bytes,
		.n_layers = s->n_layers, .layer_step = 1 };
}

void object_make(const struct shape *s, uint64_t seed, struct object *ret)
{
	ret->s = *s;
	make_pages(ret);
	make_queries(ret);
	fill(&ret->k, seed);
	fill(&ret->v, seed + 1);
	fill(&ret->q, seed + 2);
}

void object_free(struct object *o)
{
	uint32_t n = (o->s.n_tokens + o->s.block_tokens - 1) / o->s.block_tokens;

	for (uint32_t i = 0; i < n; i++)
		free(o->page[i]);
	free(o->page);
	free(o->q_block);
}

int object_run(int (*launch)(void *arg), void *arg, void *out, size_t bytes)
{
	void *first = object_area(bytes);
	int r = 0;

	for (uint64_t turn = 0; turn < 3; turn++) {
		simt_schedule(turn == 0 ? SIMT_FORWARD : turn == 1 ? SIMT_REVERSE
							  : SIMT_RANDOM, turn);
		memset(out, 0x5a, bytes);
		r = launch(arg);
		if (turn == 0)
			memcpy(first, out, bytes);
		if (memcmp(first, out, bytes) != 0) {
			fprintf(stderr, "simt: another order, other results\n");
			abort();
		}
	}
	free(first);
	return r;
}
