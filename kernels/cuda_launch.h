/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_launch.h - inside the launchers: how a kernel gets onto a stream.
 *
 * cuda_launch.c does it through the driver. The harness of the tests has functions of
 * the same names, which run the kernel on this processor.
 */
#ifndef CKV_KERNELS_CUDA_LAUNCH_H
#define CKV_KERNELS_CUDA_LAUNCH_H

#include "kernels/cuda_kernels.h"

#include <stddef.h>

/* A grid of one dimension; shared memory of a block, beyond 48 KiB too. */
struct cuda_shape {
	uint32_t n_blocks, n_threads;
	size_t shared_bytes;
};

/*
 * Enqueue `kernel` (enum cuda_kernel) on `stream`, whose context is the current one.
 * args[i] points at the i-th argument, of exactly its parameter's type; arguments are
 * copied during the call.
 *
 * 0, -ENODEV, -ENOMEM or -EIO, as ckv_cuda.h says.
 */
int cuda_launch(uint32_t kernel, struct cuda_shape shape, void *stream, void *const *args);

/* Blocks of that shape that run at once on the current context's device; at least 1. */
uint32_t cuda_blocks_at_once(uint32_t kernel, uint32_t n_threads, size_t shared_bytes);

/* The device code of each file; NULL: there was no nvcc when this was built. */
extern const void *const cuda_image[N_CUDA_FILES];

/* Pieces of `by` that n needs. */
static inline uint64_t cuda_pieces(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

#endif
