/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checksum.cu - checksums of pages: digests of their pieces, then of the digests.
 *
 * Four lanes hash a piece of 4 KiB, so 2 048 threads work on a page of 2 MiB. The time is
 * that of reading the page once: hashing takes about one instruction a byte, and a GPU
 * can do some ten while a byte arrives. The digests of a page, 1/512 of its size, are
 * joined by four lanes in a second launch.
 */
#include "kernels/xxh3.cuh"

static const uint32_t HASHES = CHECKSUM_HASHES;
static_assert(XXH3_SECRET_WORDS * sizeof(uint64_t) == CHECKSUM_SECRET_BYTES, "shared");

__device__ static inline void share_secret(uint64_t *secret)
{
	if (threadIdx.x < XXH3_SECRET_WORDS)
		secret[threadIdx.x] = xxh3_secret[threadIdx.x];
	__syncthreads();
}

/* Four lanes past the last piece hash nothing. */
__device__ static __forceinline__ void
pieces_kernel(const void *const *page, uint32_t n_pages, uint64_t page_bytes,
	      uint32_t page_pieces, uint64_t *digest)
{
	CKV_SHARED(uint64_t, secret);
	uint32_t i = blockIdx.x * HASHES + threadIdx.x / 4, piece = i % page_pieces;
	uint64_t from = (uint64_t)piece * CKV_PIECE_BYTES, n = 0, hash;
	const uint8_t *p = nullptr;

	share_secret(secret);
	if (i < n_pages * page_pieces) {
		p = (const uint8_t *)page[i / page_pieces] + from;
		n = min(page_bytes - from, (uint64_t)CKV_PIECE_BYTES);
	}
	hash = xxh3_four<true>(p, n, secret, piece);
	if (p != nullptr && threadIdx.x % 4 == 0)
		digest[i] = hash;
}

__device__ static __forceinline__ void
join_kernel(const uint64_t *digest, uint32_t n_pages, uint32_t page_pieces, uint64_t *sum)
{
	CKV_SHARED(uint64_t, secret);
	uint32_t i = blockIdx.x * HASHES + threadIdx.x / 4;
	uint64_t hash;

	share_secret(secret);
	hash = xxh3_four<false>((const uint8_t *)(digest + (size_t)(i < n_pages ? i : 0) *
						  page_pieces),
				i < n_pages ? page_pieces * sizeof *digest : 0, secret, 0);
	if (i < n_pages && threadIdx.x % 4 == 0)
		sum[i] = hash;
}

CKV_ENTRY(pieces, (CHECKSUM_THREADS),
	  (const void *const *page, uint32_t n_pages, uint64_t page_bytes,
	   uint32_t page_pieces, uint64_t *digest),
	  pieces_kernel(page, n_pages, page_bytes, page_pieces, digest))

CKV_ENTRY(join, (CHECKSUM_THREADS),
	  (const uint64_t *digest, uint32_t n_pages, uint32_t page_pieces, uint64_t *sum),
	  join_kernel(digest, n_pages, page_pieces, sum))
