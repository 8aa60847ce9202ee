/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_rows.h - numbers, rows of them in pages, copying and summing them.
 */
#ifndef CKV_ROWS_H
#define CKV_ROWS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CKV_SCRATCH_ALIGN	64u	/* bytes */
#define CKV_KERNEL_MAX_DIM	1024u	/* D */
#define CKV_KERNEL_MAX_WINDOW	4096u	/* w */
#define CKV_KERNEL_MAX_ROWS	(1u << 16)	/* G * w */
#define CKV_KERNEL_MAX_TOKENS	(1u << 26)
#define CKV_KERNEL_MAX_HEADS	1024u

enum ckv_elem {			/* how one number is stored */
	CKV_ELEM_F32,
	CKV_ELEM_F16,		/* IEEE binary16 */
	CKV_ELEM_BF16,		/* the upper half of a binary32 */
};

/* Bytes of one number; 0 for an unknown kind. */
size_t ckv_elem_bytes(enum ckv_elem elem);

/*
 * Rows [n_heads, n_tokens, dim] that lie in blocks, used in place.
 *
 * The row of (head, token) is at
 *
 *   block[token / block_tokens] + offset_bytes + head * head_stride_bytes
 *                               + token % block_tokens * row bytes
 *
 * A page of layout [layer][K then V][kv_head][token][dim] has head stride =
 * block_tokens rows, and its K and V of a layer differ in the offset only. An
 * ordinary array is one block with block_tokens = n_tokens. Rows must be
 * aligned to their element. The memory is only read.
 */
struct ckv_rows {
	const void *const *block;	/* ceil(n_tokens / block_tokens) of them */
	size_t offset_bytes;
	size_t head_stride_bytes;
	uint32_t block_tokens;
	uint32_t n_heads;
	uint32_t n_tokens;
	uint32_t dim;
	enum ckv_elem elem;
};

/* Address of one row. Arguments are not checked. */
const void *ckv_rows_at(const struct ckv_rows *rows, uint32_t head,
			uint32_t token);

enum ckv_input {
	CKV_INPUT_KEY, CKV_INPUT_QUERY, CKV_INPUT_LSE, CKV_INPUT_VALUE,
	CKV_INPUT_SUM,
};

struct ckv_fault {		/* the first number that is NaN or infinite */
	enum ckv_input input;
	uint32_t head;		/* kv head for keys and values, else as the input's */
	uint32_t token;		/* position; row of the window for queries and lse */
	uint32_t dim;		/* 0 for lse and sums */
};

/*
 * Copy the rows of one head at pos[0..n) to `out`, one after another, bytes
 * unchanged. `out` must not overlap the rows. An output of 128 KiB or more is written
 * past the caches: a caller that reads it soon gathers less at a time.
 *
 *   -EINVAL  also a position outside the rows; nothing was copied
 */
int ckv_gather(const struct ckv_rows *rows, uint32_t head, const uint32_t *pos,
	       uint32_t n, void *out);

/*
 * Checksum of a page: XXH3-64 of each piece of 4 KiB (seed: the piece's
 * number; the last piece may be shorter), then XXH3-64, seed 0, over those
 * digests in order as little-endian words. So pieces may be summed anywhere
 * in any order: ckv_page_piece() is one of them, ckv_page_join() the end.
 */
#define CKV_PIECE_BYTES	4096u
uint64_t ckv_page_checksum(const void *page, size_t page_bytes);
uint64_t ckv_page_piece(const void *piece, size_t piece_bytes, uint64_t index);
uint64_t ckv_page_join(const uint64_t *digest, size_t n_pieces);

#ifdef __cplusplus
}
#endif
#endif
