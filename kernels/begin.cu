/* SPDX-License-Identifier: Apache-2.0 */
/* begin.cu - the status word of what follows on the stream. */
#include "common.cuh"

__global__ void begin_kernel(uint64_t *status)
{
	*status = CKV_CUDA_OK;
}

int ckv_cuda_begin(uint64_t *status, void *stream)
{
	if (status == NULL)
		return -EINVAL;
	CKV_LAUNCH(begin_kernel, 1, 1, 0, stream, status);
	return launch_result();
}
