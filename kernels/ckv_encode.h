/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_encode.h - how surviving rows are stored.
 *
 * An encoding works on one side (keys or values) of one (layer, kv head) at a
 * time: n rows of dim numbers, one after another, in order of position. It yields
 * codes and scales:
 *
 *   plain  codes: the rows                                        scales: none
 *   bf16, f16  codes: the rows in that type, rounded to nearest even    none
 *   fp8    codes: e4m3fn bytes [n][dim]    scales: float, none, 1, or [ceil(n/block)]
 *   kivi   keys    codes: u32 [ceil(n/cpw)][dim]     scale, then min: [ceil(n/group)][dim]
 *          values  codes: u32 [n][ceil(dim/cpw)]     scale, then min: [n][ceil(dim/group)]
 *
 * cpw = 32 / bits codes in a word, lowest bits first; unused high codes are 0. The
 * last group of a row or column may be shorter. Scales of kivi are of the rows' own
 * type. Codes and scales are 4-byte aligned.
 *
 * kivi (arXiv 2402.02750), every step computed in float, rounded once to the rows' type:
 *   scale = (max - min) / (2^bits - 1);  code = rint(clamp((x - min) / scale, 0, 2^bits - 1))
 *   x' = code * scale, then + min;  for bf16 rows in float. A computed scale of 0:
 *   code 0, x' = min. Halves go to even; -0 is below 0 where a minimum is sought.
 * fp8: code = e4m3fn(clamp(x / scale, +-448)), scale = amax / 448 in float; a computed
 *   scale of 0: codes 0; x' = value * scale in float.
 * plain judges nothing: rows are copied as they are.
 *
 * Errors: -EINVAL; -EDOM a number is NaN or infinite: its row (of all rows) and column
 * are in *ret_fault, whose head the caller sets. -ERANGE kivi: max - min of a group, or
 * the x' of its largest code, is too large for the rows' type; *ret_fault has the first
 * number of the first such group. -ERANGE otherwise: a number is too large for the type
 * that it is stored in or, as it is stored, for the rows' own. So whatever was encoded
 * decodes to finite numbers.
 */
#ifndef CKV_ENCODE_H
#define CKV_ENCODE_H

#include "kernels/ckv_rows.h"

#ifdef __cplusplus
extern "C" {
#endif

enum ckv_encode_kind {
	CKV_ENCODE_PLAIN = 1, CKV_ENCODE_BF16 = 2, CKV_ENCODE_F16 = 3,
	CKV_ENCODE_FP8 = 4, CKV_ENCODE_KIVI = 5,
};

enum ckv_fp8_scale {
	CKV_FP8_ONE,		/* scale 1, not stored */
	CKV_FP8_TENSOR,		/* one for all heads of a layer's keys, or values */
	CKV_FP8_HEAD,		/* one for a head */
	CKV_FP8_BLOCK,		/* one for each `block` rows of a head */
};

struct ckv_encode {
	enum ckv_encode_kind kind;
	uint32_t bits;			/* kivi: 8, 4 or 2 */
	uint32_t group;			/* kivi: a multiple of 32 / bits */
	enum ckv_fp8_scale scale;	/* fp8 */
	uint32_t block;			/* fp8 with CKV_FP8_BLOCK */
	uint32_t n_full;		/* newest survivors that stay plain */
};

enum ckv_side { CKV_SIDE_KEY, CKV_SIDE_VALUE };

/* 0, or -EINVAL: parameters that are wrong whatever the rows. */
int ckv_encode_check(const struct ckv_encode *e);

/* Bytes of the codes, and of scales (and mins), of n rows. 0 for none. */
size_t ckv_code_bytes(const struct ckv_encode *e, enum ckv_elem elem,
		      enum ckv_side side, size_t n, uint32_t dim);
size_t ckv_scale_bytes(const struct ckv_encode *e, enum ckv_elem elem,
		       enum ckv_side side, size_t n, uint32_t dim);

/*
 * Largest magnitude of n rows; what CKV_FP8_TENSOR and _HEAD are scaled by. -EDOM, with
 * row and column in *ret_fault.
 */
int ckv_amax(enum ckv_elem elem, const void *rows, size_t n, uint32_t dim,
	     float *ret_amax, struct ckv_fault *ret_fault);

/*
 * Encode rows [first, first + n) of the n_all rows of one side of one head: `rows` are
 * those n rows, codes and scales the whole areas. `first`, and n except in the last
 * piece, is a multiple of the group (kivi keys) or block (fp8), so a head can be
 * encoded tile by tile while it is gathered; the bytes are the same for any tiles in any
 * order. `amax` is read with CKV_FP8_TENSOR and _HEAD only.
 */
int ckv_encode_rows(const struct ckv_encode *e, enum ckv_elem elem,
		    enum ckv_side side, const void *rows, size_t first,
		    size_t n, size_t n_all, uint32_t dim, float amax,
		    void *code, void *scale, struct ckv_fault *ret_fault);

/*
 * Decode rows [first, first + n), any range, as `out_elem`: float, or the rows' own
 * type (each x' rounded to it once). Never fails on what it reads; -EINVAL.
 */
int ckv_decode_rows(const struct ckv_encode *e, enum ckv_elem elem,
		    enum ckv_side side, const void *code, const void *scale,
		    size_t first, size_t n, size_t n_all, uint32_t dim,
		    enum ckv_elem out_elem, void *out);

/* One number, the plain way: what the vectorised code is compared with. */
uint8_t ckv_fp8_from_float(float x);	/* saturates; NaN is 0x7f or 0xff */
float ckv_fp8_to_float(uint8_t code);

#ifdef __cplusplus
}
#endif
#endif
