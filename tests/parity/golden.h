/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden.h - one case of a golden file: its arguments, inputs, expectations.
 *
 * A file holds one input and several cases; case i has arguments
 * c<i>.arg.<name> in the metadata and expected tensors c<i>.<name>. Nothing
 * in a file is taken on trust: whatever is missing or impossible becomes the
 * reason the case fails, never an assertion.
 */
#ifndef CKV_TESTS_GOLDEN_H
#define CKV_TESTS_GOLDEN_H

#include <stdint.h>

#include "client/examples/engine/st.h"
#include "kernels/ckv_kernels.h"

#define GOLDEN_WHY_BYTES	256
#define GOLDEN_BLOCK_TOKENS	16u	/* of the paged store */

/* How the inputs are stored when the kernels read them. */
enum golden_store {
	GOLDEN_AS_GIVEN,	/* float32, one array */
	GOLDEN_PAGES,		/* bfloat16 in pages; only if that is exact */
	GOLDEN_N_STORES
};

struct golden {
	const struct st_file *file;
	unsigned index;		/* of the case */
	enum golden_store store;
	double rel, abs;	/* tolerance of scores */
	struct golden_memory *memory;
	char why[GOLDEN_WHY_BYTES];
};

/* Set g->why; returns -1. */
int golden_fail(struct golden *g, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Zeroed, aligned as scratch must be; lives until golden_free(). */
void *golden_alloc(struct golden *g, size_t bytes);
void golden_free(struct golden *g);

/* Arguments of the case. 0, or -1 with the reason. golden_arg: NULL if none. */
const char *golden_arg(const struct golden *g, const char *name);
int golden_count(struct golden *g, const char *name, uint32_t *ret_count);
int golden_ratio(struct golden *g, const char *name, double *ret_ratio);

/* Expected tensor c<i>.<name>; NULL if none. */
const struct st_tensor *golden_expected(const struct golden *g,
					const char *name);

/*
 * The tensor that an argument names, NULL if there is no such argument. -1
 * with the reason if there is, but the file lacks the tensor.
 */
int golden_named(struct golden *g, const char *arg,
		 const struct st_tensor **ret_tensor);

/*
 * Keys and the last `window` queries of one layer. 0; -1 with the reason; 1 if
 * the case cannot be stored that way without rounding.
 */
int golden_window(struct golden *g, uint32_t layer, uint32_t window,
		  struct ckv_window *ret_in);

/* The keys alone, likewise. */
int golden_keys(struct golden *g, uint32_t layer, struct ckv_rows *ret_keys);

/* Number of layers of the inputs: 1 where they have no layer axis. */
uint32_t golden_n_layers(const struct golden *g);

/* Compare n values at `first` of a tensor that must hold n_all. NULL passes. */
int golden_same_scores(struct golden *g, const struct st_tensor *want,
		       size_t n_all, size_t first, const float *got, size_t n);
int golden_same_positions(struct golden *g, const struct st_tensor *want,
			  size_t first, const uint32_t *got, size_t n);

/* Arguments pooling and gqa_score_agg, as KVCache-Factory names them. */
int golden_pool(struct golden *g, enum ckv_pool *ret_pool);
int golden_reduce(struct golden *g, enum ckv_reduce *ret_reduce);

/* SnapKV, the official way, as the arguments of the case say. */
int golden_snapkv_official(struct golden *g, struct ckv_snapkv *ret_m);

/* What is kept after `removed`, or after the argument compression_ratio. */
int golden_keep_of(struct golden *g, double removed, struct ckv_selection *s);
int golden_removed(struct golden *g, struct ckv_selection *s);

/* ckv_select() beside c<i>.kept; SnapKV's scores beside those of the case. */
int golden_select(struct golden *g, const struct ckv_selection *s,
		  const struct ckv_layer *in);
int golden_snapkv_scores(struct golden *g, const struct ckv_selection *s,
			 const struct ckv_window *in);

/* The methods that are built: 0 passed, -1 failed with the reason. */
int golden_chunkkv(struct golden *g);
int golden_fp8(struct golden *g);
int golden_h2o(struct golden *g);
int golden_keydiff(struct golden *g);
int golden_kivi(struct golden *g);
int golden_l2norm(struct golden *g);
int golden_pyramidkv(struct golden *g);
int golden_qpruning(struct golden *g);
int golden_snapkv(struct golden *g);
int golden_streamingllm(struct golden *g);
int golden_tova(struct golden *g);

#endif
