/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunkkv.h - inside ChunkKV: what its files share.
 */
#ifndef CKV_KERNELS_CHUNKKV_H
#define CKV_KERNELS_CHUNKKV_H

#include "kernels/ckv_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 0, or -EINVAL for parameters that are wrong whatever the prompt. */
int chunkkv_check(const struct ckv_chunkkv *m);

/* The SnapKV whose scores the KVPRESS mode adds up. */
struct ckv_snapkv chunkkv_inner(const struct ckv_chunkkv *m);

/* A prompt shorter than one chunk is left to that SnapKV. */
int chunkkv_falls_back(const struct ckv_chunkkv *m, uint32_t n_tokens);

/* Chunks before those that lie wholly in the window (KVPRESS, T > w). */
uint32_t chunkkv_n_scored(const struct ckv_chunkkv *m, uint32_t n_tokens);

/* Tokens that are cut into chunks: T, or T - w in PAPER mode. */
uint32_t chunkkv_n_chunked(const struct ckv_chunkkv *m, uint32_t n_tokens);

/* Is a prompt so short, below one chunk, that it is left to SnapKV? */
int chunkkv_falls_back(const struct ckv_chunkkv *m, uint32_t n_tokens);

/* Are the newest tokens kept without looking at scores? *ret_n of them. */
int chunkkv_keeps_newest(const struct ckv_chunkkv *m, uint32_t n_tokens,
			 uint32_t *ret_n);

#ifdef __cplusplus
}
#endif
#endif
