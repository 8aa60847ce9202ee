/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.h - keys, queries and values in pages, for tests of the kernels.
 *
 * The rows do not begin where the page begins, and all the rest of a page is NaN: code
 * that reads beside a row, or past the last one, gets NaN into its result.
 */
#ifndef CKV_TESTS_ROWS_H
#define CKV_TESTS_ROWS_H

#include "kernels/ckv_kernels.h"

struct rows_shape {
	uint32_t n_heads, n_tokens, dim, block_tokens;
	enum ckv_elem elem;
};

struct made_rows {
	struct ckv_rows rows;
	void **block;
	uint32_t n_blocks;
};

/* Rows of NaN. Give them back with rows_free(). */
void rows_make(struct made_rows *to, const struct rows_shape *shape);
void rows_free(struct made_rows *r);

/* The row as something to write. */
void *rows_write_at(const struct made_rows *r, uint32_t head, uint32_t token);
void rows_put(const struct made_rows *r, uint32_t head, uint32_t token,
	      uint32_t dim, float x);

/* Between -loudness and loudness; some tokens are six times as loud. */
void rows_fill(const struct made_rows *r, uint64_t *seed, float loudness);

/* One number of -1 .. 1; the seed moves on. */
float rows_noise(uint64_t *seed);

/*
 * `to` becomes the same rows in pages of block_tokens, head i being head[i] of
 * `from`, n_heads of them; a NULL head is all, in order.
 */
void rows_copy(const struct made_rows *from, uint32_t block_tokens,
	       const uint32_t *head, uint32_t n_heads, struct made_rows *to);

#endif
