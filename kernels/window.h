/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.h - inside window scoring: what the parts share.
 *
 * One kv head is one piece of work. Its G*w query rows are packed in panels
 * of a few rows; its keys come in tiles of a few dozen tokens. Each panel
 * meets each tile in registers. Everything lies in the caller's scratch:
 *
 *   q       [n_panels][dim][panel_rows]      queries, rows past the end zero
 *   k       [dim][tile_tokens]               the tile at hand, transposed
 *   kept    [n_kept][rows_pad][tile_tokens]  exp(logit - ref) of the first n_kept
 *                                            tiles, until the rows' sums are known
 *   ref     [n_kept][rows_pad]               what each kept tile subtracted
 *   row_ref [rows_pad]                       what each row subtracts now
 *   row_sum [rows_pad][lanes]                sums of exp(logit - row_ref)
 *   row_inv [rows_pad]                       1 / the whole sum, at the end
 *   factor  [rows_pad]                       of the tile being reduced
 *
 * `kept` has one tile more than n_kept: room for one that is not kept.
 */
#ifndef CKV_KERNELS_WINDOW_H
#define CKV_KERNELS_WINDOW_H

#include "kernels/ckv_kernels.h"

#define WINDOW_KEEP_BYTES	((size_t)32 << 20)
#define WINDOW_ROW_ALIGN	16u

/* Larger products q . k are refused: below FLT_MAX with room to add. */
#define WINDOW_LOGIT_LIMIT	1e37f

/* A row's reference is raised only when a logit is so far above it. */
#define WINDOW_SLACK		24.0f

/* An engine's lse may be so far below a logit and still be right but for rounding. */
#define WINDOW_LSE_SLACK	0.02f

struct window_head {
	const struct ckv_window *in;
	uint32_t head;		/* kv head */
	uint32_t group;		/* G */
	uint32_t window;	/* w */
	uint32_t n_rows;	/* G * w; row g*w + i is query i of head g */
	uint32_t rows_pad;	/* n_rows up to a multiple of WINDOW_ROW_ALIGN */
	uint32_t n_scored;	/* T - w */
	uint32_t n_tiles;	/* over T */
	uint32_t n_kept;	/* tiles whose exponentials are kept */
	float scale;		/* 1 / sqrt(D) */
	float *q, *k, *kept, *ref, *row_ref, *row_inv, *factor;
	double *row_sum;
	float *score;		/* [G][n_scored] of this kv head */
	struct ckv_fault *fault;
};

/* One instruction set's code. */
struct window_code {
	uint32_t tile_tokens, panel_rows, lanes;
	/* 0, or as ckv_window_score(), *w->fault set on -EDOM */
	int (*score_head)(struct window_head *w);
};

/* NULL where the compiler or the processor cannot. base is always there. */
const struct window_code *window_code_base(void);
const struct window_code *window_code_avx2(void);
const struct window_code *window_code_avx512(void);

/* ckv_window_score() and its scratch with chosen code. */
size_t window_scratch_bytes(const struct window_code *code,
			    const struct ckv_window *in);
int window_score(const struct window_code *code, const struct ckv_window *in,
		 uint32_t first_head, uint32_t n_heads, void *scratch,
		 float *score, struct ckv_fault *ret_fault);

/* 0, or -EINVAL if the sizes of `in` are impossible. */
int window_check(const struct ckv_window *in, uint32_t first_head,
		 uint32_t n_heads);

/* First number of a row that is not finite; dim if there is none. */
uint32_t window_row_fault(const void *row, uint32_t dim, enum ckv_elem elem);

#endif
