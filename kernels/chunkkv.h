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

/* Tokens that are cut into chunks: T, or T - w in PAPER mode. */
uint32_t chunkkv_n_chunked(const struct ckv_chunkkv *m, uint32_t n_tokens);

#endif
