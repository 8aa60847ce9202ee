/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_checksum.c - launcher of checksum.cu. */
#include "kernels/cuda_launch.h"
#include "kernels/cuda_task.h"

#include <errno.h>

int ckv_cuda_page_checksum(const void *const *page, uint32_t n_pages, size_t page_bytes,
			   uint64_t *digest, uint64_t *sum, void *stream)
{
	uint64_t bytes = page_bytes, n_pieces = cuda_pieces(bytes, CKV_PIECE_BYTES);
	uint64_t n = n_pages * n_pieces;
	uint32_t page_pieces = (uint32_t)n_pieces;
	struct cuda_shape pieces = { (uint32_t)cuda_pieces(n, CHECKSUM_HASHES),
				     CHECKSUM_THREADS, CHECKSUM_SECRET_BYTES };
	struct cuda_shape join = { (uint32_t)cuda_pieces(n_pages, CHECKSUM_HASHES),
				   CHECKSUM_THREADS, CHECKSUM_SECRET_BYTES };
	void *const of_pieces[] = { &page, &n_pages, &bytes, &page_pieces, &digest };
	void *const of_join[] = { &digest, &n_pages, &page_pieces, &sum };
	int r;

	if (n_pages == 0)
		return 0;	/* an empty grid is a launch error */
	if (page == NULL || sum == NULL || page_bytes == 0 || digest == NULL ||
	    (uintptr_t)digest % 8 != 0 || (uintptr_t)sum % 8 != 0 ||
	    n_pieces > UINT32_MAX || n > UINT32_MAX - CHECKSUM_HASHES)
		return -EINVAL;
	r = cuda_launch(KERNEL_pieces, pieces, stream, of_pieces);
	if (r == 0)
		r = cuda_launch(KERNEL_join, join, stream, of_join);
	return r;
}
