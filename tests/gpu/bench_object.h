/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_object.h - a KV object on the device, and places for what becomes of it.
 *
 * 32 layers, 8 kv heads of 4 query heads, 8192 tokens of 128 bf16 numbers, in pages of
 * 16 tokens as ckv keeps them: K and V are half a GiB each, so one pass over either is
 * more than four times any L2 and nothing of it is left there for the next. For an emulated
 * device, where only the way is tried, it is of another size.
 */
#ifndef CKV_GPU_BENCH_OBJECT_H
#define CKV_GPU_BENCH_OBJECT_H

#include "kernels/ckv_kernels.h"

enum {
	OBJECT_LAYERS = 32, OBJECT_HEADS = 8, OBJECT_GROUP = 4, OBJECT_TOKENS = 8192,
	OBJECT_DIM = 128, OBJECT_WINDOW = 32, OBJECT_PAGE_TOKENS = 16,
	SMALL_LAYERS = 1, SMALL_TOKENS = 256,
};

#define OBJECT_AREAS	((size_t)OBJECT_LAYERS * OBJECT_HEADS)
#define OBJECT_ROWS	(OBJECT_AREAS * OBJECT_TOKENS)

struct bench_object {
	uint32_t n_layers, n_tokens, n_kept, n_pages;
	size_t n_areas, n_rows, page_bytes;
	struct ckv_cuda_rows k, v, q;
	const void **page;		/* on the device, addresses of the device */
	struct ckv_cuda_kept kept;	/* a quarter of the tokens, other ones per layer */
	float *lse, *score;
	void *work, *rows, *rows_v;	/* room for every kernel's results */
	size_t work_bytes;
	uint64_t *status;
};

/* Exits the program where memory does not suffice. */
void bench_object_make(uint32_t n_layers, uint32_t n_tokens, struct bench_object *ret);
void bench_object_free(struct bench_object *o);

#endif
