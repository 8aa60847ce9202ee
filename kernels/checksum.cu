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

static const uint32_t CHECKSUM_THREADS = 256, HASHES = CHECKSUM_THREADS / 4;

__device__ static inline void share_secret(uint64_t *secret)
{
	if (threadIdx.x < XXH3_SECRET_WORDS)
		secret[threadIdx.x] = xxh3_secret[threadIdx.x];
	__syncthreads();
}

/* Four lanes past the last piece hash nothing. */
__global__ void __launch_bounds__(CHECKSUM_THREADS)
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

__global__ void __launch_bounds__(CHECKSUM_THREADS)
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

int ckv_cuda_page_checksum(const void *const *page, uint32_t n_pages, size_t page_bytes,
			   uint64_t *digest, uint64_t *sum, void *stream)
{
	uint64_t page_pieces = ceil_div((uint64_t)page_bytes, (uint64_t)CKV_PIECE_BYTES);
	uint64_t n = n_pages * page_pieces, n_blocks = ceil_div(n, (uint64_t)HASHES);

	if (n_pages == 0)
		return 0;	/* an empty grid is a launch error */
	if (page == NULL || sum == NULL || page_bytes == 0 || digest == NULL ||
	    (uintptr_t)digest % 8 != 0 || (uintptr_t)sum % 8 != 0 ||
	    page_pieces > UINT32_MAX || n > UINT32_MAX - HASHES)
		return -EINVAL;
	CKV_LAUNCH(pieces_kernel, (uint32_t)n_blocks, CHECKSUM_THREADS,
		   XXH3_SECRET_WORDS * sizeof(uint64_t), stream, page, n_pages,
		   (uint64_t)page_bytes, (uint32_t)page_pieces, digest);
	CKV_LAUNCH(join_kernel, ceil_div(n_pages, (uint32_t)HASHES), CHECKSUM_THREADS,
		   XXH3_SECRET_WORDS * sizeof(uint64_t), stream, (const uint64_t *)digest,
		   n_pages, (uint32_t)page_pieces, sum);
	return launch_result();
}
