/* SPDX-License-Identifier: Apache-2.0 */
/* rows.c - rows in pages, for tests of the kernels. */
#include "tests/lib/rows.h"
#include "kernels/elem.h"

#include <stdlib.h>
#include <string.h>

static void *allocate(size_t bytes)
{
	void *p = malloc(bytes);

	if (p == NULL)
		abort();
	return p;
}

void rows_make(struct made_rows *to, const struct rows_shape *shape)
{
	size_t row_bytes = shape->dim * ckv_elem_bytes(shape->elem);
	size_t bytes = (2 + (size_t)shape->n_heads * shape->block_tokens) *
		       row_bytes;

	to->n_blocks = (shape->n_tokens + shape->block_tokens - 1) /
		       shape->block_tokens;
	to->block = allocate(to->n_blocks * sizeof *to->block);
	for (uint32_t b = 0; b < to->n_blocks; b++) {
		to->block[b] = allocate(bytes);
		memset(to->block[b], 0xff, bytes);
	}
	to->rows = (struct ckv_rows){
		.block = (const void *const *)to->block,
		.offset_bytes = 2 * row_bytes,
		.head_stride_bytes = shape->block_tokens * row_bytes,
		.block_tokens = shape->block_tokens,
		.n_heads = shape->n_heads,
		.n_tokens = shape->n_tokens,
		.dim = shape->dim,
		.elem = shape->elem,
	};
}

void rows_free(struct made_rows *r)
{
	for (uint32_t b = 0; b < r->n_blocks; b++)
		free(r->block[b]);
	free(r->block);
	*r = (struct made_rows){ 0 };
}

void *rows_write_at(const struct made_rows *r, uint32_t head, uint32_t token)
{
	return (void *)(uintptr_t)ckv_rows_at(&r->rows, head, token);
}

void rows_put(const struct made_rows *r, uint32_t head, uint32_t token,
	      uint32_t dim, float x)
{
	elem_put(rows_write_at(r, head, token), dim, r->rows.elem, x);
}

float rows_noise(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (float)(int32_t)(*seed >> 32) * 0x1p-31f;
}

void rows_fill(const struct made_rows *r, uint64_t *seed, float loudness)
{
	for (uint32_t h = 0; h < r->rows.n_heads; h++)
		for (uint32_t t = 0; t < r->rows.n_tokens; t++) {
			float x = loudness * (t % 97 == 13 ? 6.0f : 1.0f);

			for (uint32_t d = 0; d < r->rows.dim; d++)
				rows_put(r, h, t, d, x * rows_noise(seed));
		}
}

void rows_copy(const struct made_rows *from, uint32_t block_tokens,
	       const uint32_t *head, uint32_t n_heads, struct made_rows *to)
{
	const struct ckv_rows *r = &from->rows;
	struct rows_shape shape = { n_heads, r->n_tokens, r->dim, block_tokens,
				    r->elem };

	rows_make(to, &shape);
	for (uint32_t h = 0; h < n_heads; h++)
		for (uint32_t t = 0; t < r->n_tokens; t++)
			memcpy(rows_write_at(to, h, t),
			       ckv_rows_at(r, head == NULL ? h : head[h], t),
			       r->dim * ckv_elem_bytes(r->elem));
}
