/* SPDX-License-Identifier: Apache-2.0 */
/* chunkkv.cu - what ChunkKV of an object begins with: status, maxima, counts. */
#include "common.cuh"

__device__ static __forceinline__ void
chunkkv_begin_kernel(uint64_t *status, uint32_t *max, uint32_t n_max, uint32_t *n_kept,
		     uint32_t n)
{
	if (threadIdx.x == 0)
		*status = CKV_CUDA_OK;
	for (uint32_t i = threadIdx.x; i < n_max; i += blockDim.x) {
		if (max != nullptr)
			max[i] = 0;
		n_kept[i] = n;
	}
}

CKV_ENTRY(chunkkv_begin, (CHUNK_THREADS),
	  (uint64_t *status, uint32_t *max, uint32_t n_max, uint32_t *n_kept, uint32_t n),
	  chunkkv_begin_kernel(status, max, n_max, n_kept, n))
