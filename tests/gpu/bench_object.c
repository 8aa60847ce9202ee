/* SPDX-License-Identifier: Apache-2.0 */
/* bench_object.c - see bench_object.h. */
#include "bench_object.h"
#include "device.h"

#include <stdio.h>
#include <stdlib.h>

#define N_KINDS	8u		/* pages of different content */

static uint32_t random_at(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 32);
}

/* bf16 numbers in +-1 of every size down to 2^-8. */
static uint16_t random_bf16(uint64_t *state)
{
	uint32_t r = random_at(state);

	return (uint16_t)((r & 0x8000u) | (119u + (r >> 16) % 8u) << 7 | (r & 0x7fu));
}

static void *to_device(const void *host, size_t bytes)
{
	void *p = gpu_alloc(bytes);

	gpu_put(p, host, bytes);
	return p;
}

static void *host_alloc(size_t bytes)
{
	void *p = malloc(bytes);

	if (p == NULL) {
		fprintf(stderr, "gpu-check: out of memory\n");
		exit(EXIT_FAILURE);
	}
	return p;
}

static void make_pages(struct bench_object *o)
{
	uint16_t *numbers = host_alloc(N_KINDS * o->page_bytes);
	char *pages = gpu_alloc(o->n_pages * o->page_bytes);
	const void **page = host_alloc(o->n_pages * sizeof *page);
	uint64_t seed = 1;

	for (size_t i = 0; i < N_KINDS * o->page_bytes / 2; i++)
		numbers[i] = random_bf16(&seed);
	for (uint32_t i = 0; i < o->n_pages; i++) {
		/* Neighbouring tokens' pages do not lie side by side. */
		size_t at = (size_t)(i * 37u % o->n_pages);

		page[i] = pages + at * o->page_bytes;
		gpu_put(pages + at * o->page_bytes,
			(char *)numbers + i % N_KINDS * o->page_bytes, o->page_bytes);
	}
	o->page = to_device(page, o->n_pages * sizeof *page);
	free(page);
	free(numbers);
}

static void make_queries(struct bench_object *o)
{
	size_t n_rows = o->n_areas * OBJECT_GROUP * OBJECT_WINDOW;
	uint16_t *numbers = host_alloc(n_rows * OBJECT_DIM * 2);
	float *lse = host_alloc(n_rows * sizeof *lse);
	const void *block;
	uint64_t seed = 2;

	for (size_t i = 0; i < n_rows * OBJECT_DIM; i++)
		numbers[i] = random_bf16(&seed);
	for (size_t i = 0; i < n_rows; i++)
		lse[i] = 30.0f;		/* more than any row's: only smaller ones are wrong */
	block = to_device(numbers, n_rows * OBJECT_DIM * 2);
	o->q.rows.block = to_device(&block, sizeof block);
	o->lse = to_device(lse, n_rows * sizeof *lse);
	free(numbers);
	free(lse);
}

/* Every fourth token or so, ascending, other ones in each layer. */
static void make_kept(struct bench_object *o)
{
	uint32_t *pos = host_alloc((size_t)o->n_layers * o->n_kept * sizeof *pos);
	uint32_t *n = host_alloc(o->n_layers * sizeof *n);
	uint64_t seed = 3;

	for (uint32_t l = 0; l < o->n_layers; l++) {
		n[l] = o->n_kept;
		for (uint32_t i = 0; i < o->n_kept; i++)
			pos[l * o->n_kept + i] = 4 * i + random_at(&seed) % 4;
	}
	o->kept = (struct ckv_cuda_kept){
		.pos = to_device(pos, (size_t)o->n_layers * o->n_kept * sizeof *pos),
		.n = to_device(n, o->n_layers * sizeof *n), .n_sets = 1, .max_n = o->n_kept, .reuse = 1 };
	free(pos);
	free(n);
}

void bench_object_make(uint32_t n_layers, uint32_t n_tokens, struct bench_object *o)
{
	const size_t row = OBJECT_DIM * 2, head = OBJECT_PAGE_TOKENS * row;

	*o = (struct bench_object){
		.n_layers = n_layers, .n_tokens = n_tokens, .n_kept = n_tokens / 4,
		.n_pages = n_tokens / OBJECT_PAGE_TOKENS,
		.n_areas = (size_t)n_layers * OBJECT_HEADS,
		.n_rows = (size_t)n_layers * OBJECT_HEADS * n_tokens,
		.page_bytes = n_layers * 2 * OBJECT_HEADS * head };
	make_pages(o);
	o->k = (struct ckv_cuda_rows){
		.rows = { .block = o->page, .head_stride_bytes = head,
			  .block_tokens = OBJECT_PAGE_TOKENS, .n_heads = OBJECT_HEADS,
			  .n_tokens = o->n_tokens, .dim = OBJECT_DIM,
			  .elem = CKV_ELEM_BF16 },
		.layer_stride_bytes = 2 * OBJECT_HEADS * head,
		.n_layers = o->n_layers, .layer_step = 1 };
	o->v = o->k;
	o->v.rows.offset_bytes = OBJECT_HEADS * head;
	o->q = o->k;
	o->q.rows.n_heads = OBJECT_HEADS * OBJECT_GROUP;
	o->q.rows.n_tokens = o->q.rows.block_tokens = OBJECT_WINDOW;
	o->q.rows.head_stride_bytes = OBJECT_WINDOW * row;
	o->q.layer_stride_bytes = (size_t)o->q.rows.n_heads * OBJECT_WINDOW * row;
	make_queries(o);
	make_kept(o);
	o->score = gpu_alloc(o->n_rows * OBJECT_GROUP * sizeof(float));
	o->work_bytes = (size_t)256 << 20;
	o->work = gpu_alloc(o->work_bytes);
	o->rows = gpu_alloc(o->n_rows * row);
	o->rows_v = gpu_alloc(o->n_rows * row);
	o->status = gpu_alloc(sizeof *o->status);
}

void bench_object_free(struct bench_object *o)
{
	gpu_must(gpu.cuCtxSynchronize(), "the end");
	gpu_free(o->score);
	gpu_free(o->work);
	gpu_free(o->rows);
	gpu_free(o->rows_v);
}
