/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checksum.c - the checksum of a page, in pieces that may be summed anywhere.
 *
 * The digests of a page are joined through a small buffer with the streaming form,
 * so a page of any size needs no memory.
 */
#include "kernels/ckv_kernels.h"
#include "kernels/xxh3.h"

#include <assert.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "digests are hashed as little-endian words"
#endif

#define JOIN_DIGESTS	512u	/* 4 KiB of them: a page of 2 MiB at once */

uint64_t ckv_page_piece(const void *piece, size_t piece_bytes, uint64_t index)
{
	return xxh3_sum_seeded(piece, piece_bytes, index);
}

uint64_t ckv_page_join(const uint64_t *digest, size_t n_pieces)
{
	return xxh3_sum(digest, n_pieces * sizeof *digest);
}

static size_t piece_bytes_at(size_t page_bytes, size_t index)
{
	size_t left = page_bytes - index * CKV_PIECE_BYTES;

	return left < CKV_PIECE_BYTES ? left : CKV_PIECE_BYTES;
}

uint64_t ckv_page_checksum(const void *page, size_t page_bytes)
{
	size_t n_pieces = (page_bytes + CKV_PIECE_BYTES - 1) / CKV_PIECE_BYTES;
	uint64_t digest[JOIN_DIGESTS];
	const char *bytes = page;
	XXH3_state_t state;
	XXH_errorcode r;

	r = XXH3_64bits_reset(&state);
	assert(r == XXH_OK);
	for (size_t first = 0; first < n_pieces; first += JOIN_DIGESTS) {
		size_t n = n_pieces - first;

		if (n > JOIN_DIGESTS)
			n = JOIN_DIGESTS;
		for (size_t i = 0; i < n; i++)
			digest[i] = ckv_page_piece(
				bytes + (first + i) * CKV_PIECE_BYTES,
				piece_bytes_at(page_bytes, first + i),
				first + i);
		if (first == 0 && n == n_pieces)
			return ckv_page_join(digest, n);
		xxh3_add(&state, digest, n * sizeof *digest);
	}
	return XXH3_64bits_digest(&state);
}
