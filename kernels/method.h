/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method.h - inside the methods: what SnapKV and ChunkKV share.
 */
#ifndef CKV_KERNELS_METHOD_H
#define CKV_KERNELS_METHOD_H

#include "kernels/ckv_kernels.h"

/* 0, or -EINVAL: heads that do not divide, no tokens, beyond the limits. */
int shape_check(const struct ckv_shape *shape);
/* 0, or -EINVAL: no blocks, sizes of 0 or beyond the limits, odd offsets. */
int rows_check(const struct ckv_rows *rows);
/* 0, or -EINVAL: ratio outside [0, 1), a scratch that is not aligned. */
int removed_check(double removed);
int scratch_check(const void *scratch);

/*
 * Where in the scratch of ckv_snapkv_select() the scores [Hkv, T-w] are that it
 * chose by, and those of chunks in that of ckv_chunkkv_select().
 */
const float *snapkv_chosen_by(const struct ckv_window *in, const void *scratch);
const float *chunkkv_chosen_by(const struct ckv_window *in, const void *scratch);

/* pos[0..n) = the newest n of n_tokens. */
void keep_newest(uint32_t n_tokens, uint32_t n, uint32_t *pos);

#endif
