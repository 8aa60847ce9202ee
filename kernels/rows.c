/*
 * rows.c - finding rows in blocks, and copying chosen ones out.
 *
 * A gather moves whole rows of 128 to 512 bytes, so memcpy is the fast path;
 * the next row is asked for while one is copied.
 */
#include "kernels/ckv_kernels.h"

#include <errno.h>
#include <string.h>

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

int ckv_gather(const struct ckv_rows *rows, uint32_t head, const uint32_t *pos,
	       uint32_t n, void *out)
{
	enum { AHEAD = 4 };
	size_t row_bytes;
	char *to = out;
	int r;

	r = gather_check(rows, head, pos, n);
	if (r < 0)
		return r;
	row_bytes = rows->dim * ckv_elem_bytes(rows->elem);
	for (uint32_t i = 0; i < n; i++, to += row_bytes) {
		if (i + AHEAD < n)
			__builtin_prefetch(ckv_rows_at(rows, head,
						       pos[i + AHEAD]));
		memcpy(to, ckv_rows_at(rows, head, pos[i]), row_bytes);
	}
	return 0;
}
