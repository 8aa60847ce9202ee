/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.h - inside norms and key difference: what their parts share.
 *
 * Both read the keys of one head, eight rows at a time; the code for that is
 * in keys_body.h, compiled once per instruction set.
 */
#ifndef CKV_KERNELS_KEYS_H
#define CKV_KERNELS_KEYS_H

#include "kernels/ckv_kernels.h"

/* Below this sum of squares float loses digits; such rows are done in double. */
#define KEYS_TINY_SQUARES	1e-30f

/* One instruction set's code. Errors are those of ckv_norms(). */
struct keys_code {
	/* The norm of each key of one head, [T]. */
	int (*norms)(const struct ckv_rows *k, uint32_t head, float *norm,
		     struct ckv_fault *fault);
	/*
	 * Key difference within a set of one head: keys pos[0..n), or the first n
	 * where pos is NULL. score[i] is that of the i-th of them.
	 */
	int (*keydiff)(const struct ckv_rows *k, uint32_t head,
		       const uint32_t *pos, uint32_t n, float *score,
		       struct ckv_fault *fault);
};

/* NULL where the compiler or the processor cannot. base is always there. */
const struct keys_code *keys_code_base(void);
const struct keys_code *keys_code_avx2(void);
const struct keys_code *keys_code_avx512(void);

/* The fastest that this processor runs. */
const struct keys_code *keys_code_best(void);

/* 0, or -EINVAL: rows that cannot be, or heads that they do not have. */
int keys_check(const struct ckv_rows *k, uint32_t first_head, uint32_t n_heads);

/*
 * Sum of squares of one key in double. -EDOM with its place, -ERANGE if float
 * could not hold it.
 */
int keys_squares(const struct ckv_rows *k, uint32_t head, uint32_t token,
		 double *ret_squares, struct ckv_fault *ret_fault);

#endif
