/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.c - kernels/cuda_launch.h by simt.h: every kernel, by its number. */
#include "kernels/cuda_launch.h"
#include "simt.h"

#include <errno.h>

#define DECLARE(file, name)	extern const struct simt_kernel simt_##name;
CKV_CUDA_KERNELS(DECLARE)

#define ADDRESS(file, name)	&simt_##name,
static const struct simt_kernel *const kernels[N_CUDA_KERNELS] = { CKV_CUDA_KERNELS(ADDRESS) };

int cuda_launch(uint32_t kernel, struct cuda_shape shape, void *stream, void *const *args)
{
	(void)stream;
	return kernels[kernel]->launch(shape.n_blocks, shape.n_threads, shape.shared_bytes,
				       args) < 0 ? -EIO : 0;
}

uint32_t cuda_blocks_at_once(uint32_t kernel, uint32_t n_threads, size_t shared_bytes)
{
	(void)kernel;
	(void)n_threads;
	(void)shared_bytes;
	return 3 * simt_multiprocessors;
}
