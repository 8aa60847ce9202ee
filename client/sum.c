/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum.c - page checksums, alone and fused with the copy into a lent page.
 *
 * A page is summed in pieces of 4 KiB, so pieces may be summed in any order and
 * in parallel elsewhere. Here each piece is summed first, which brings it into
 * the nearest cache, and stored from there past the caches: the
 * destination is a page of a large pool that this thread will not read, and
 * plain stores would fetch every line before overwriting it.
 */
#include "client/lib.h"
#include "kernels/xxh3.h"

#ifdef CKV_CPU_X86
#include <emmintrin.h>
#endif

enum { BATCH = 512 };		/* digests summed at once: one page of 2 MiB */

#ifdef CKV_CPU_X86
/* Store a multiple of 64 bytes to 16-byte aligned memory, past the caches. */
static void stream(void *to, const void *from, size_t bytes)
{
	const __m128i *s = from;
	__m128i *d = to;

	for (size_t i = 0; i < bytes / sizeof *d; i += 4) {
		__m128i a = _mm_loadu_si128(s + i);
		__m128i b = _mm_loadu_si128(s + i + 1);
		__m128i c = _mm_loadu_si128(s + i + 2);
		__m128i e = _mm_loadu_si128(s + i + 3);

		_mm_stream_si128(d + i, a);
		_mm_stream_si128(d + i + 1, b);
		_mm_stream_si128(d + i + 2, c);
		_mm_stream_si128(d + i + 3, e);
	}
}

static void copy_piece(void *to, const void *from, size_t bytes)
{
	if (bytes % 64 == 0 && (uintptr_t)to % sizeof(__m128i) == 0)
		stream(to, from, bytes);
	else
		memcpy(to, from, bytes);
}

/* Such stores are ordered by nothing else; PUBLISH comes after them. */
static void stream_end(void)
{
	_mm_sfence();
}
#else
static void copy_piece(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}

static void stream_end(void)
{
}
#endif

/* Sum `data`, and copy it to `to` on the way unless that is NULL. */
static uint64_t sum(void *to, const void *data, size_t bytes)
{
	uint64_t digest[BATCH], n = 0;
	XXH3_state_t state;
	int streamed = 0;

	for (size_t at = 0; at < bytes; at += CKV_PIECE_BYTES) {
		const char *piece = (const char *)data + at;
		size_t left = bytes - at;

		if (left > CKV_PIECE_BYTES)
			left = CKV_PIECE_BYTES;
		if (n == BATCH) {
			if (!streamed)
				XXH3_64bits_reset(&state);
			streamed = 1;
			xxh3_add(&state, digest, sizeof digest);
			n = 0;
		}
		digest[n++] = xxh3_sum_seeded(piece, left, at / CKV_PIECE_BYTES);
		if (to != NULL)
			copy_piece((char *)to + at, piece, left);
	}
	if (!streamed)
		return xxh3_sum(digest, n * sizeof *digest);
	xxh3_add(&state, digest, n * sizeof *digest);
	return XXH3_64bits_digest(&state);
}

uint64_t ckv_checksum(const void *data, size_t bytes)
{
	return sum(NULL, data, bytes);
}

uint64_t ckv_copy(void *page, const void *from, size_t bytes)
{
	uint64_t checksum = sum(page, from, bytes);

	stream_end();
	return checksum;
}
