/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_encode.h - inside the encoding launchers: the parts, by kind. */
#ifndef CKV_KERNELS_CUDA_ENCODE_H
#define CKV_KERNELS_CUDA_ENCODE_H

#include "kernels/cuda_launch.h"
#include "kernels/cuda_task.h"

/* Each launches what encodes t's rows: 0 or -errno of the launches. */
int cuda_encode_pointwise(const struct encode_task *t, void *stream);
int cuda_encode_fp8_blocks(const struct encode_task *t, void *stream);
int cuda_encode_kivi_keys(const struct encode_task *t, void *stream);
int cuda_encode_kivi_values(const struct encode_task *t, void *stream);

#endif
