/* SPDX-License-Identifier: Apache-2.0 */
/* begin.cu - the status word of what follows on the stream. */
#include "common.cuh"

CKV_ENTRY(begin, (1), (uint64_t *status), *status = CKV_CUDA_OK)
