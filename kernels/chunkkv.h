/*
 * chunkkv.h - inside ChunkKV: what its two files share.
 */
#ifndef CKV_KERNELS_CHUNKKV_H
#define CKV_KERNELS_CHUNKKV_H

#include "kernels/ckv_kernels.h"

/* 0, or -EINVAL for parameters that no prompt could meet. */
int chunkkv_check(const struct ckv_chunkkv *m);

/* The SnapKV whose scores the KVPRESS mode adds up. */
struct ckv_snapkv chunkkv_inner(const struct ckv_chunkkv *m);

/* A prompt shorter than one chunk is left to that SnapKV. */
int chunkkv_falls_back(const struct ckv_chunkkv *m, uint32_t n_tokens);

/* Chunks before those that lie wholly in the window (KVPRESS, T > w). */
uint32_t chunkkv_n_scored(const struct ckv_chunkkv *m, uint32_t n_tokens);

/* Tokens that are cut into chunks: T, or T - w in PAPER mode. */
uint32_t chunkkv_n_chunked(const struct ckv_chunkkv *m, uint32_t n_tokens);

#endif
