/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_begin.c - launcher of begin.cu. */
#include "kernels/cuda_launch.h"
#include "kernels/cuda_task.h"

#include <errno.h>

int ckv_cuda_begin(uint64_t *status, void *stream)
{
	void *const args[] = { &status };

	if (status == NULL)
		return -EINVAL;
	return cuda_launch(KERNEL_begin, (struct cuda_shape){ 1, 1, 0 }, stream, args);
}
