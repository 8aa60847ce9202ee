/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.c - finding rows in blocks, and copying chosen ones out.
 *
 * Rows that follow each other in a block are copied at once, and the rows after them
 * are asked for meanwhile. A large output is stored past the caches: it would push
 * everything else out of them, and an ordinary store first reads the line that it
 * overwrites, which makes three transfers of two.
 */
#include "kernels/ckv_kernels.h"

#include <errno.h>
#include <string.h>
#if defined(__SSE2__) && !defined(CKV_PORTABLE)
#include <emmintrin.h>
#endif

#define AHEAD_BYTES	4096u		/* of rows that are asked for */
#define PAST_CACHE_BYTES	(128u << 10)	/* outputs from this size on */

size_t ckv_elem_bytes(enum ckv_elem elem)
{
	switch (elem) {
	case CKV_ELEM_F32:
		return 4;
	case CKV_ELEM_F16:
	case CKV_ELEM_BF16:
		return 2;
	}
	return 0;
}

const void *ckv_rows_at(const struct ckv_rows *rows, uint32_t head,
			uint32_t token)
{
	const char *base = rows->block[token / rows->block_tokens];
	size_t row_bytes = rows->dim * ckv_elem_bytes(rows->elem);

	return base + rows->offset_bytes + head * rows->head_stride_bytes +
	       token % rows->block_tokens * row_bytes;
}

static int gather_check(const struct ckv_rows *rows, uint32_t head,
			const uint32_t *pos, uint32_t n)
{
	if (rows->block == NULL || rows->block_tokens == 0 || rows->dim == 0 ||
	    ckv_elem_bytes(rows->elem) == 0 || head >= rows->n_heads)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++)
		if (pos[i] >= rows->n_tokens)
			return -EINVAL;
	return 0;
}

/* Rows from pos[0] on that follow each other in one block. */
static uint32_t run_of(const struct ckv_rows *rows, const uint32_t *pos,
		       uint32_t n)
{
	uint32_t left = rows->block_tokens - pos[0] % rows->block_tokens;
	uint32_t i = 1;

	if (n > left)
		n = left;
	while (i < n && pos[i] == pos[0] + i)
		i++;
	return i;
}

/*
 * Always inline, because gcc takes a function that only prefetches for one without effect
 * and deletes the calls.
 */
static inline __attribute__((always_inline)) void
ask_for(const char *row, size_t row_bytes)
{
	for (size_t at = 0; at < row_bytes; at += 64)
		__builtin_prefetch(row + at);
}

/* Copy `bytes`, a multiple of 16 to a multiple of 16, past the caches. */
static void copy_past(char *to, const char *from, size_t bytes)
{
#if defined(__SSE2__) && !defined(CKV_PORTABLE)
	for (size_t i = 0; i < bytes; i += 16)
		_mm_stream_si128((__m128i *)(void *)(to + i),
				 _mm_loadu_si128((const __m128i *)(const void *)
						 (from + i)));
#else
	memcpy(to, from, bytes);
#endif
}

int ckv_gather(const struct ckv_rows *rows, uint32_t head, const uint32_t *pos,
	       uint32_t n, void *out)
{
	uint32_t n_ahead, n_asked = 0, n_run;
	size_t row_bytes;
	char *to = out;
	int past, r;

	r = gather_check(rows, head, pos, n);
	if (r < 0)
		return r;
	row_bytes = rows->dim * ckv_elem_bytes(rows->elem);
	n_ahead = (uint32_t)(AHEAD_BYTES / row_bytes) + 1;
	past = n * row_bytes >= PAST_CACHE_BYTES && row_bytes % 16 == 0 &&
	       (uintptr_t)out % 16 == 0;
	for (uint32_t i = 0; i < n; i += n_run) {
		const char *from = ckv_rows_at(rows, head, pos[i]);

		n_run = run_of(rows, pos + i, n - i);
		for (; n_asked < n && n_asked < i + n_run + n_ahead; n_asked++)
			ask_for(ckv_rows_at(rows, head, pos[n_asked]), row_bytes);
		if (past)
			copy_past(to, from, n_run * row_bytes);
		else
			memcpy(to, from, n_run * row_bytes);
		to += n_run * row_bytes;
	}
#if defined(__SSE2__) && !defined(CKV_PORTABLE)
	if (past)
		_mm_sfence();	/* before what tells others that it is there */
#endif
	return 0;
}
