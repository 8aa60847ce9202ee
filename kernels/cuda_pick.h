/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_pick.h - inside ckv_cuda_select(): what a selection comes to for some layers.
 *
 * cuda_pick.c settles it once, from sizes and parameters: budgets, which layers are
 * scored and by whom, how many tokens have a score. Each method is a function that
 * enqueues the scores of a run of layers (cuda_pick_score.c); what comes after the
 * scores is the same for all.
 */
#ifndef CKV_KERNELS_CUDA_PICK_H
#define CKV_KERNELS_CUDA_PICK_H

#include "kernels/cuda_task.h"

/* Areas of ChunkKV in the work; NULL where nothing is scored. */
struct pick_chunks {
	uint32_t *max;		/* [layers] keys of the highest scores; begins as 0 */
	float *score;		/* [layers][Hq][T-w], as ckv_cuda_window_score() left it */
	float *head_score;	/* [layers][Hkv][T-w] */
	float *chunk_score;	/* [layers][n_chunks] */
};

/* Lay them out from `used` on. Returns what is used then. */
size_t pick_chunks_lay_out(const struct ckv_chunkkv *m, const struct ckv_shape *shape,
			   uint32_t n_layers, void *work, size_t used,
			   struct pick_chunks *ret);

/* From window scores to positions and counts of whole chunks. */
int pick_chunks_keep(const struct ckv_chunkkv *m, const struct ckv_shape *shape,
		     uint32_t n_layers, const struct pick_chunks *w,
		     const struct ckv_cuda_kept *kept, void *stream);

/* Layers that follow each other and are scored together; every reuse-th counts. */
struct pick_run {
	uint32_t from, n;
	uint64_t *status;	/* layers in it are counted from `from` */
};

struct pick {
	const struct ckv_selection *s;
	const struct ckv_cuda_layers *in;
	const struct pick_method *method;	/* NULL: nothing is scored */
	struct ckv_shape shape;
	struct ckv_snapkv snapkv;	/* whose scores; or */
	struct ckv_chunkkv chunkkv;
	struct ckv_cuda_kept kept;	/* its shape; then as it was given */
	uint32_t n_layers;	/* with sets of their own: every reuse-th */
	uint32_t n;		/* what each keeps; 0: differs, or is not known */
	uint32_t window;	/* rows of queries; 0: not read */
	uint32_t n_scored;	/* tokens of a row that have a score */
	size_t row_stride;	/* of `score` */
	bool merges;		/* some tokens are always kept */
	struct pick_run run[PICK_RUNS];
	uint32_t n_runs;
	/* Areas in the work. */
	struct pick_chunks chunks;	/* `score` alone: all that read queries */
	float *norm;		/* l2norm in blocks: before the blocks */
	float *score;		/* [n_layers][n_sets][row_stride] */
	uint32_t *row_k;	/* [n_layers][n_sets], where budgets differ */
	uint64_t *fault;	/* [PICK_RUNS] */
	void *scratch;		/* of whichever launch is at hand */
};

struct pick_method {
	bool one_set;		/* for all kv heads */
	/* Areas from `used` on; returns what is used then. NULL: only `score`. */
	size_t (*lay_out)(struct pick *p, void *work, size_t used);
	int (*score)(const struct pick *p, const struct pick_run *run, void *stream);
};

/* The methods, but for what decides between them: CKV_KEEP_ALL has none. */
extern const struct pick_method *const pick_methods[CKV_N_SELECTORS];

/* What the scores of a run read. */
struct ckv_cuda_rows pick_rows(const struct pick *p, const struct ckv_cuda_rows *all,
			       const struct pick_run *run);
struct ckv_cuda_window pick_window(const struct pick *p, const struct pick_run *run);

#endif
