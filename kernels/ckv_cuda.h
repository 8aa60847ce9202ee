/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_cuda.h - the operations of ckv_kernels.h on a GPU, all layers at once.
 *
 * Each launcher enqueues on `stream` (a CUstream or cudaStream_t; NULL is the legacy default
 * stream), whose context must be current, and returns. It never waits or prints, and
 * allocates no memory; what it launches takes every layer of an object, which is one
 * chain of blocks, together, and nothing between score, select and gather goes through the
 * host. Structs are the host's and are read during the call. All else is device memory
 * that stays until the stream has passed: every pointer in a struct, every array that is
 * an argument, the status word, and `work` areas, 256-byte aligned, as large as the
 * _work_bytes() beside the launcher says, which for what it does not refuse is never 0.
 *
 * Results are those of the functions of ckv_kernels.h with the same names: kept sets,
 * positions, codes, scales and checksums are the same bits; scores are within the
 * bound stated here. Equal inputs give equal bits on every run: sums have a fixed
 * order, atomics are integers.
 *
 * They go through the driver alone (cuda_driver.h), which is looked for at the first
 * call. They make, change and wait for no context, and the CUDA runtime of the process,
 * if it has one, notices nothing: an error that is pending there stays as it is. A
 * file's device code is loaded with the first launch of a kernel in it: that takes device
 * memory, the driver may wait for the context meanwhile, and launches of other threads
 * wait. So the first call of each launcher takes longer, by seconds where the driver
 * compiles PTX, and should not be one that is captured.
 *
 * To link: libckvcuda.a, kernels/cuda_image.o (the device code; `make CUDA=yes` of both),
 * libckvk.a, -lxxhash -lm -ldl -lpthread, in this order.
 *
 * Any thread may call them. A child of fork() may too, also one that was made during a
 * first call of another thread; but CUDA serves no child of a process that has used it,
 * so there they return -ENODEV.
 *
 * Errors: 0 or -errno of the call itself: -EINVAL impossible arguments; -ENODEV no
 * driver, or one before CUDA 12.0, no context is current, or no code for its device, or
 * none that its driver takes; -ENOMEM; -EIO the launch was refused, or the context is
 * lost. Of several launches the first that fails ends the call. A bad number that only
 * the device can see, a fault, is noted in the status word. After a fault the outputs
 * hold anything, but nothing outside them was written, and later launches that read them
 * are safe.
 */
#ifndef CKV_CUDA_H
#define CKV_CUDA_H

#include "kernels/ckv_encode.h"
#include "kernels/ckv_rows.h"
#include "kernels/ckv_select.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CKV_CUDA_ALIGN		256u	/* work areas, bytes */
#define CKV_CUDA_MAX_LAYERS	4096u

/* ------------------------------------------------------------ rows, status */

/*
 * Rows of several layers. `rows` describes layer 0; block[] and the blocks are device
 * memory, and each block is 16-byte aligned. In every block, layer l begins l *
 * layer_stride_bytes after layer 0. A launch works on the n_layers layers 0, layer_step,
 * 2 * layer_step, ...; an array [n_layers] has an entry for each of these and none for
 * the layers between.
 */
struct ckv_cuda_rows {
	struct ckv_rows rows;
	size_t layer_stride_bytes;
	uint32_t n_layers;
	uint32_t layer_step;	/* >= 1 */
};

/*
 * The status of all launches that were given the same word. Of several faults the
 * first in this order stays: error (-EDOM, -ERANGE, -EINVAL), layer, input, head, token,
 * dim. So it does not depend on what ran first. ckv_cuda_begin() sets the word to
 * CKV_CUDA_OK; copy it to the host once, at the end.
 */
#define CKV_CUDA_OK	UINT64_MAX

int ckv_cuda_begin(uint64_t *status, void *stream);

/*
 * What a copied word says: 0, -EDOM (a number is NaN or infinite), -ERANGE (finite,
 * but a result overflows) or -EINVAL (a position outside the rows). If it is
 * not 0, *ret_layer and *ret_fault say where; either may be NULL.
 */
int ckv_cuda_status(uint64_t word, uint32_t *ret_layer,
		    struct ckv_fault *ret_fault);

/* ------------------------------------------------------------------- score */

struct ckv_cuda_window {
	struct ckv_cuda_rows k;	/* [Hkv, T, D] in each layer */
	struct ckv_cuda_rows q;	/* [Hq, w, D], with k's layers */
	const float *lse;	/* [all layers, not n_layers][Hq][w], or NULL */
};

/*
 * score[n_layers][Hq][T-w] as ckv_window_score(), and its bound. bf16 and f16 keys
 * and queries are multiplied exactly and added in float, in a fixed order.
 */
size_t ckv_cuda_window_score_work_bytes(const struct ckv_cuda_window *in);
int ckv_cuda_window_score(const struct ckv_cuda_window *in, void *work,
			  float *score, uint64_t *status, void *stream);

/* norm[n_layers][Hkv][T]: within D * 2^-24 relative of the norm in double. */
int ckv_cuda_norms(const struct ckv_cuda_rows *k, float *norm, uint64_t *status,
		   void *stream);

/* score[n_layers][Hkv][T], within ckv_keydiff()'s bound of the score in double. */
size_t ckv_cuda_keydiff_work_bytes(const struct ckv_cuda_rows *k);
int ckv_cuda_keydiff(const struct ckv_cuda_rows *k, void *work, float *score,
		     uint64_t *status, void *stream);

/* ckv_pool() of each of n_rows rows of n numbers; the same bits. */
int ckv_cuda_pool(enum ckv_pool pool, uint32_t kernel, const float *in,
		  uint32_t n_rows, uint32_t n, float *out, void *stream);

/* out[n_groups][n] = ckv_reduce() over `group` rows each; the same bits. */
int ckv_cuda_reduce(enum ckv_reduce reduce, const float *in, uint32_t n_groups,
		    uint32_t group, uint32_t n, float *out, void *stream);

/*
 * ckv_snapkv_score() of n_layers layers, from score [n_layers][Hq][T-w] to
 * out [n_layers][Hkv][T-w]; the same bits. A pool of more than 4095 is -EINVAL. `max`, if
 * not NULL, is [n_layers] words that the caller set to 0: each becomes the key of the
 * layer's highest score, for ckv_cuda_chunk_scores().
 */
int ckv_cuda_snapkv_score(const struct ckv_snapkv *m,
			  const struct ckv_shape *shape, uint32_t n_layers,
			  const float *score, uint32_t *max, float *out,
			  void *stream);

/*
 * chunk_score[n_layers][n_chunks] as ckv_chunkkv_score(); the same bits. `in` is
 * [n_layers][Hkv][T-w] with `max` from ckv_cuda_snapkv_score() (KVPRESS), or window
 * scores [n_layers][Hq][T-w] and NULL (PAPER).
 */
int ckv_cuda_chunk_scores(const struct ckv_chunkkv *m,
			  const struct ckv_shape *shape, uint32_t n_layers,
			  const float *in, const uint32_t *max,
			  float *chunk_score, void *stream);

/* ------------------------------------------------------------------ select */

/*
 * Positions that survive, in device memory. `reuse` layers that follow each other share
 * them: those of the i-th of n_layers are pos[i / reuse][n_sets][max_n], so there are
 * ceil(n_layers / reuse) of these. Positions ascend; the first n[i / reuse] count (all
 * max_n where `n` is NULL). n_sets is 1 or Hkv.
 */
struct ckv_cuda_kept {
	uint32_t *pos;
	uint32_t *n;
	uint32_t n_sets;
	uint32_t max_n;
	uint32_t reuse;		/* >= 1 */
};

/*
 * The best of each row, in the order of ckv_kernels.h.
 *
 * Two kinds of tokens are taken before any by score: first those of `always` (of n
 * tokens), then those from n_scored to n, which have none. If there are more of the first
 * kind than k, the newest of them are taken; of the second kind the newest too or, with
 * `lowest_first`, those of the lowest positions.
 */
struct ckv_cuda_top {
	const float *score;	/* [n_rows], row_stride numbers apart */
	size_t row_stride;
	uint32_t n_rows;
	uint32_t n_scored;	/* scores in a row; 0: `score` may be NULL */
	uint32_t n;		/* tokens in a row, >= n_scored */
	uint32_t k;		/* of every row, <= n; or the most of row_k */
	const uint32_t *row_k;	/* NULL, or [n_rows]; more than k is taken as k */
	int smallest;		/* the smallest scores are the best; NaN still last */
	int lowest_first;
	struct ckv_always always;
};

/*
 * pos[n_rows][top.k]; of a row with a smaller row_k the rest stays as it was.
 * n_nan and n_lost, if not NULL, are [n_rows]: NaN among the scores, and tokens that
 * were to be kept always but did not fit.
 */
int ckv_cuda_select_top(const struct ckv_cuda_top *top, uint32_t *pos,
			uint32_t *n_nan, uint32_t *n_lost, void *stream);

/*
 * ckv_chunkkv_keep() of every layer, from chunk_score [n_layers][n_chunks]
 * (NULL where ckv_chunkkv_needs_score() is 0) to kept->pos with max_n at least
 * ckv_cuda_chunkkv_max_n(), and kept->n, which must be there. n_layers layers are
 * kept; kept->reuse is not read. kept->n_sets must be 1.
 */
uint32_t ckv_cuda_chunkkv_max_n(const struct ckv_chunkkv *m, uint32_t n_tokens);
int ckv_cuda_chunkkv_keep(const struct ckv_chunkkv *m, uint32_t n_tokens,
			  uint32_t n_layers, const float *chunk_score,
			  const struct ckv_cuda_kept *kept, void *stream);

/* What the layers of an object bring. Only what the selection needs is read. */
struct ckv_cuda_layers {
	/* The rows' layer 0 is this one of that many; budgets and draws go by both. */
	uint32_t first_layer, of_layers;
	/*
	 * [Hkv, T, D] in each of the n_layers layers at hand; layer_step 1. A selection
	 * that reads no keys reads n_heads, n_tokens and n_layers only.
	 */
	struct ckv_cuda_rows k;
	struct ckv_cuda_rows q;	/* [Hq, ckv_selection_window(), D], with k's layers */
	const float *lse;	/* [k.n_layers][Hq][window], or NULL */
	const float *sums;	/* [k.n_layers][n_sum_heads][T]: attention so far */
	uint32_t n_sum_heads;	/* Hkv or Hq */
};

/*
 * ckv_select() of all these layers: every selection of ckv_select.h (the papers are named
 * there), from keys, queries or sums to positions, with the tokens that are always kept.
 * Given the same scores the sets are the host's, bit for bit; scores are within the bounds
 * above, so two tokens whose scores differ by less may change places.
 *
 * ckv_cuda_select_shape() sets kept->n_sets, max_n and reuse, of the layers at hand: other
 * layers of the same object may have other shapes. n_sets is Hkv where any
 * layer has a set for each head; one that keeps every token then has Hkv equal sets.
 * reuse is chunkkv's n_reuse; n_layers for CKV_KEEP_ALL; else 1. Then the caller gives
 *
 *   kept->pos  [ceil(n_layers / reuse)][n_sets][max_n], and
 *   kept->n    [ceil(n_layers / reuse)], never NULL
 *
 * Both are the caller's, are in device memory, and hold positions and counts once the
 * stream has passed. What is in pos past a count stays as it was. Counts are those of
 * ckv_selection_budget(), known beforehand, but chunkkv's. `work` is not needed once the
 * stream has passed; all its scores are there at once, 4 * Hq * (T - window) bytes for
 * each layer whose queries are read.
 *
 * It does not wait. The caller begins the status word. Faults are those of ckv_select():
 * -EDOM, a key, a query or a sum (CKV_INPUT_SUM, `head` of n_sum_heads) that is NaN or
 * infinite; -ERANGE, finite keys or queries whose products overflow. Their layer is
 * counted from the rows' layer 0. Layers that ckv_select() does not read, since they keep
 * all or the newest, have none.
 *
 *   -EINVAL   a selection that ckv_select() refuses; kernel above 4095; layers beyond
 *             of_layers; first_layer no multiple of chunkkv's n_reuse; rows that cannot be
 *             or do not match; queries that are not the window's; kept of another shape
 *             than ckv_cuda_select_shape() said, or without pos or n; no status; work that
 *             is NULL or not aligned; a grid that is too large
 *   -ENODATA  keys, queries or sums are needed and not there (block or sums NULL)
 *   others    as said above
 *
 * All of these but the last, and the grid, are found before anything is launched.
 * ckv_cuda_select_shape() finds -EINVAL and -ENODATA of the first two arguments, and then
 * leaves *kept; ckv_cuda_select_work_bytes() is 0 for these.
 */
int ckv_cuda_select_shape(const struct ckv_selection *s,
			  const struct ckv_cuda_layers *in,
			  struct ckv_cuda_kept *kept);
size_t ckv_cuda_select_work_bytes(const struct ckv_selection *s,
				  const struct ckv_cuda_layers *in);
int ckv_cuda_select(const struct ckv_selection *s, const struct ckv_cuda_layers *in,
		    void *work, const struct ckv_cuda_kept *kept, uint64_t *status,
		    void *stream);

/* ----------------------------------------------------------------- encode */

/* Where the rows of one side go: an area for each (i-th of n_layers, head). */
struct ckv_cuda_out {
	void *base;
	size_t layer_stride_bytes;
	size_t head_stride_bytes;
};

/*
 * Survivors of K and V, bytes unchanged, one after another in each area: of every
 * (layer, head) the newest min(n_newest, n) of them (UINT32_MAX: all). `v` with its
 * output may be NULL. A position outside the rows is a fault (-EINVAL).
 */
int ckv_cuda_gather(const struct ckv_cuda_rows *k, const struct ckv_cuda_rows *v,
		    const struct ckv_cuda_kept *kept, uint32_t n_newest,
		    const struct ckv_cuda_out *out_k,
		    const struct ckv_cuda_out *out_v, uint64_t *status,
		    void *stream);

/* Codes and scales of one side: each area as ckv_encode_rows() fills it. */
struct ckv_cuda_coded {
	struct ckv_cuda_out code;
	struct ckv_cuda_out scale;	/* base NULL where there are none */
};

/*
 * Gather and encode one side in one read: rows kept->pos of each (layer, head), or
 * all tokens where `kept` is NULL, but for the newest e->n_full of them, which stay
 * plain and are ckv_cuda_gather()'s. All encodings of ckv_encode.h.
 */
size_t ckv_cuda_encode_work_bytes(const struct ckv_encode *e,
				  const struct ckv_cuda_rows *rows);
int ckv_cuda_encode(const struct ckv_encode *e, enum ckv_side side,
		    const struct ckv_cuda_rows *rows,
		    const struct ckv_cuda_kept *kept, void *work,
		    const struct ckv_cuda_coded *out, uint64_t *status,
		    void *stream);

/* What was encoded, and how many rows; for decoding. */
struct ckv_cuda_object {
	uint32_t n_layers, n_heads, dim;
	enum ckv_elem elem;		/* of the rows that were encoded */
	uint32_t n;			/* coded rows of a head, or the most of them */
	const uint32_t *layer_n;	/* NULL, or [n_layers]: those of each layer */
};

/* ckv_decode_rows() of every area, all rows, one after another in `out`. */
int ckv_cuda_decode(const struct ckv_encode *e, enum ckv_side side,
		    const struct ckv_cuda_object *object,
		    const struct ckv_cuda_coded *in, enum ckv_elem out_elem,
		    const struct ckv_cuda_out *out, void *stream);

/*
 * sum[i] = ckv_page_checksum(page[i], page_bytes). Pages are 16-byte aligned;
 * `digest` is work of n_pages * ceil(page_bytes / CKV_PIECE_BYTES) words.
 */
int ckv_cuda_page_checksum(const void *const *page, uint32_t n_pages,
			   size_t page_bytes, uint64_t *digest, uint64_t *sum,
			   void *stream);

/* ---------------------------------------------------------------- together */

/*
 * ChunkKV of a whole object, from keys and queries to encoded survivors.
 *
 * Layers l with l % method.n_reuse == 0 are scored; the window's rows have all
 * layers (layer_step 1). kept->reuse is method.n_reuse; kept->max_n and n_sets are
 * set by ckv_cuda_chunkkv_shape(), pos and n by the caller.
 */
struct ckv_cuda_chunkkv {
	struct ckv_chunkkv method;
	struct ckv_encode encode;
	struct ckv_cuda_window window;
	struct ckv_cuda_rows v;
};

/* max_n, n_sets and reuse of the result; pos and n as they were. -EINVAL. */
int ckv_cuda_chunkkv_shape(const struct ckv_cuda_chunkkv *in,
			   struct ckv_cuda_kept *kept);
size_t ckv_cuda_chunkkv_work_bytes(const struct ckv_cuda_chunkkv *in);

/*
 * Survivors to kept, their codes to out[side]; the newest encode.n_full of them
 * to full[side] (NULL where there are none). It begins the status word itself.
 */
int ckv_cuda_chunkkv(const struct ckv_cuda_chunkkv *in, void *work,
		     const struct ckv_cuda_kept *kept,
		     const struct ckv_cuda_coded out[2],
		     const struct ckv_cuda_out full[2], uint64_t *status,
		     void *stream);

#ifdef __cplusplus
}
#endif
#endif
