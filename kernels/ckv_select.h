/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_select.h - which tokens survive: scores, and the selection methods.
 *
 * Conventions, letters and errors: ckv_kernels.h.
 */
#ifndef CKV_SELECT_H
#define CKV_SELECT_H

#include "kernels/ckv_rows.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ score */

/*
 * One layer's keys and the queries of its last w tokens.
 *
 * `lse`, if there, is [Hq, w]: the natural logarithm of each row's softmax
 * denominator over all T keys, as FlashAttention returns it.
 */
struct ckv_window {
	struct ckv_rows k;	/* [Hkv, T, D] */
	struct ckv_rows q;	/* [Hq, w, D]: positions T-w .. T-1 */
	const float *lse;	/* NULL: computed here */
};

size_t ckv_window_score_scratch_bytes(const struct ckv_window *in);

/*
 * Attention that each key gets from the window, of kv heads
 * [first_head, first_head + n_heads).
 *
 *   logit[h,i,j] = q[h,i] . k[h/G,j] / sqrt(D), for j <= T-w+i
 *   p[h,i,:]     = softmax of the row over every key it sees, window included
 *   score[h,j]   = sum over i of p[h,i,j], for j < T-w
 *
 * `score` is the whole array [Hq, T-w]; only the range's rows are written.
 * Keys are read once and computed with as float32, whatever they are stored in.
 * What exp(logit) is divided by is known only at the end, so its tiles are kept
 * in the scratch, up to 32 MiB; those beyond are computed a second time. With
 * `lse` the divisors are known and nothing is kept.
 *
 * Bound: with a = max over rows of sum |q||k| / sqrt(D), against
 * ckv_window_score_ref(), |score - ref| <= ref * (2^-23 (D+4) a + 4e-6) + 1e-30.
 *
 *   -EINVAL  also T <= w, or Hq not a multiple of Hkv
 *   -EDOM    a NaN or an infinity, in *ret_fault; or a row's lse is smaller
 *            than its logits allow (a probability above 1)
 *   -ERANGE  finite, but so large that a logit could overflow
 */
int ckv_window_score(const struct ckv_window *in, uint32_t first_head,
		     uint32_t n_heads, void *scratch, float *score,
		     struct ckv_fault *ret_fault);

/* What ckv_window_score() means: the same in double, term by term, slow. */
int ckv_window_score_ref(const struct ckv_window *in, uint32_t first_head,
			 uint32_t n_heads, double *score,
			 struct ckv_fault *ret_fault);

/*
 * L2 norm of each key of kv heads [first_head, first_head + n_heads) into
 * norm[Hkv, T] (only the range's rows are written): squares added in float in
 * one fixed order, one square root. Within (D + 4) * 2^-24 relative + 1e-21 of
 * the norm in double, and the same bits on every call, for every cut of the
 * range and for every size of page.
 *
 *   -EDOM    a NaN or an infinity, in *ret_fault
 *   -ERANGE  finite, but the sum of squares overflows a float
 */
int ckv_norms(const struct ckv_rows *k, uint32_t first_head, uint32_t n_heads,
	      float *norm, struct ckv_fault *ret_fault);
/* The definition, in double. */
int ckv_norms_ref(const struct ckv_rows *k, uint32_t first_head,
		  uint32_t n_heads, double *norm, struct ckv_fault *ret_fault);

/*
 * KeyDiff's scores (arXiv 2504.15364) into score[Hkv, T]:
 *
 *   anchor[h] = mean over t of k[h,t] / |k[h,t]|       score = -cos(k[h,t], anchor[h])
 *
 * A zero key adds nothing to the anchor and scores 0; so does every key of a zero
 * anchor. Within (D + 16) * 2^-22 / |anchor| of the score in double: where keys
 * nearly cancel each other, what is left as anchor is mostly rounding error. The bits
 * are the same for every cut of the range, as with ckv_norms(), whose errors these are.
 */
int ckv_keydiff(const struct ckv_rows *k, uint32_t first_head, uint32_t n_heads,
		float *score, struct ckv_fault *ret_fault);
int ckv_keydiff_ref(const struct ckv_rows *k, uint32_t first_head,
		    uint32_t n_heads, double *score, struct ckv_fault *ret_fault);

/* ---------------------------------------------------------- small pieces */

enum ckv_pool { CKV_POOL_AVG, CKV_POOL_MAX };
enum ckv_reduce { CKV_REDUCE_MEAN, CKV_REDUCE_SUM, CKV_REDUCE_MAX };

/*
 * Pool `in` over `kernel` neighbours (odd), stride 1, into `out`; both hold n.
 *
 * Outside [0, n) an average sees zeros and still divides by `kernel`; a
 * maximum sees nothing. `in` and `out` must not overlap.
 */
int ckv_pool(enum ckv_pool pool, uint32_t kernel, const float *in, uint32_t n,
	     float *out);

/*
 * Reduce n_rows rows of n numbers, row_stride numbers apart, to one row.
 * Sums are formed in double and rounded once. `out` must not overlap `in`.
 */
int ckv_reduce(enum ckv_reduce reduce, const float *in, uint32_t n_rows,
	       size_t row_stride, uint32_t n, float *out);

/*
 * The k best of n scores, ascending positions, each plus `base`, into pos[k].
 * Returns 0. *ret_n_nan, if not NULL, is the number of NaN among the scores.
 *
 *   -EINVAL  k > n
 */
int ckv_select_top(const float *score, uint32_t n, uint32_t k, uint32_t base,
		   uint32_t *pos, uint32_t *ret_n_nan);

/* All n indexes in order of score, best first, into order[n]. */
int ckv_rank(const float *score, uint32_t n, uint32_t *order);

/* int(n * (1 - removed)) in binary64, as Python computes it. removed in [0,1). */
uint32_t ckv_budget_kvpress(uint32_t n, double removed);

/* floor(n * num / den), exact. den > 0, num <= den. */
uint32_t ckv_budget_ratio(uint32_t n, uint32_t num, uint32_t den);

/* ---------------------------------------------------------------- methods */

struct ckv_shape {
	uint32_t n_kv_heads;
	uint32_t n_q_heads;
	uint32_t n_tokens;
};

/*
 * What was kept: n_sets sets of n positions each, one after another.
 * n_sets is 1 (one set, shared by all kv heads) or the number of kv heads.
 */
struct ckv_kept {
	uint32_t n_sets;
	uint32_t n;
	uint32_t n_nan;		/* scores that were NaN; they rank last */
	uint32_t n_always_lost;	/* always-keep tokens beyond the budget */
};

/* Scratch of any _pick() below. */
size_t ckv_pick_scratch_bytes(const struct ckv_shape *shape);

/*
 * SnapKV: per kv head the tokens the window attends to most, and the window.
 *
 *   KVPRESS   mean over the window, pool per query head, then reduce the
 *             group; n = int(T * (1 - removed)), window included
 *   OFFICIAL  sum over the window, reduce the group, then pool; n = n_keep,
 *             window included; fewer than n_keep tokens: all are kept
 *
 * Both: n <= w keeps the newest n, without scoring.
 */
enum ckv_snapkv_mode { CKV_SNAPKV_KVPRESS, CKV_SNAPKV_OFFICIAL };

struct ckv_snapkv {
	enum ckv_snapkv_mode mode;
	enum ckv_pool pool;
	enum ckv_reduce reduce;
	uint32_t window;	/* w >= 1 */
	uint32_t kernel;	/* odd */
	uint32_t n_keep;	/* OFFICIAL */
	double removed;		/* KVPRESS: fraction dropped, in [0, 1) */
};

/* Positions `pos` must have room for. */
size_t ckv_snapkv_max_kept(const struct ckv_snapkv *m,
			   const struct ckv_shape *shape);

/* Does a selection need scores at all? 0: `score` may be NULL. */
int ckv_snapkv_needs_score(const struct ckv_snapkv *m,
			   const struct ckv_shape *shape);

/*
 * The method's score of each token, of kv heads [first_head, +n_heads), from
 * score [Hq, T-w] as ckv_window_score() left it; `out` is [Hkv, T-w].
 */
int ckv_snapkv_score(const struct ckv_snapkv *m, const struct ckv_shape *shape,
		     uint32_t first_head, uint32_t n_heads, const float *score,
		     void *scratch, float *out);

/* What kvpress gives every window token: one above the highest score. */
float ckv_window_pad(const float *head_score, size_t n_scores);

/* Select from window scores [Hq, T-w]. */
int ckv_snapkv_pick(const struct ckv_snapkv *m, const struct ckv_shape *shape,
		    const float *score, void *scratch, uint32_t *pos,
		    struct ckv_kept *ret_kept);

/*
 * ChunkKV: whole chunks of `chunk` tokens, one set per layer for all heads.
 *
 *   KVPRESS  SnapKV's scores (average pool, mean), summed over kv heads;
 *            a window token scores ckv_window_pad() per head; a chunk scores
 *            the mean of its tokens, the last partial one of those it has.
 *            max(1, int(C * (1 - removed))) of all C chunks are kept. Chunks
 *            wholly in the window go before all others, lowest first. A
 *            prompt shorter than one chunk falls back to SnapKV, per head.
 *            removed = 0 keeps everything. T <= w: the newest
 *            int(T * (1 - removed)).
 *   PAPER    sums over window and query heads, no pooling, chunks of [0,T-w),
 *            the last cut at T-w; a chunk scores the sum of its tokens. The
 *            best floor(n_keep / chunk) give their tokens in rank order until
 *            there are n_keep - w, so the worst chosen loses its tail; then
 *            the window. May be fewer than n_keep. n_keep <= w, or T <= w:
 *            the newest n_keep.
 */
enum ckv_chunkkv_mode { CKV_CHUNKKV_KVPRESS, CKV_CHUNKKV_PAPER };

struct ckv_chunkkv {
	enum ckv_chunkkv_mode mode;
	uint32_t chunk;		/* tokens, >= 1 */
	uint32_t window;	/* w >= 1 */
	uint32_t kernel;	/* KVPRESS: odd, 1 = no pooling */
	uint32_t n_keep;	/* PAPER */
	uint32_t n_reuse;	/* layers that share a set, >= 1; 1 = none */
	double removed;		/* KVPRESS: fraction dropped, in [0, 1) */
};

size_t ckv_chunkkv_max_kept(const struct ckv_chunkkv *m,
			    const struct ckv_shape *shape);
int ckv_chunkkv_needs_score(const struct ckv_chunkkv *m,
			    const struct ckv_shape *shape);

/* The layer whose set `layer` takes: n_reuse * floor(layer / n_reuse). */
uint32_t ckv_chunkkv_source_layer(const struct ckv_chunkkv *m, uint32_t layer);

/* Chunks, and tokens that are chunked: T, or T-w in PAPER mode. */
uint32_t ckv_chunkkv_n_chunks(const struct ckv_chunkkv *m, uint32_t n_tokens);

/*
 * Scores of the chunks, [n_chunks], from window scores [Hq, T-w].
 *
 *   -EINVAL  also T <= w
 */
int ckv_chunkkv_score(const struct ckv_chunkkv *m, const struct ckv_shape *shape,
		      const float *score, void *scratch, float *chunk_score);

/*
 * Select from chunk scores: the last stage alone. scratch: n_chunks words.
 * pos has room for T; *ret_n are written.
 */
int ckv_chunkkv_keep(const struct ckv_chunkkv *m, uint32_t n_tokens,
		     const float *chunk_score, uint32_t *scratch, uint32_t *pos,
		     uint32_t *ret_n);

/* Select from window scores [Hq, T-w]: chunk scores, then keep. */
int ckv_chunkkv_pick(const struct ckv_chunkkv *m, const struct ckv_shape *shape,
		     const float *score, void *scratch, uint32_t *pos,
		     struct ckv_kept *ret_kept);

/*
 * One layer from keys and queries to positions: ckv_window_score() of all
 * heads where it is needed, then _pick(). Errors are theirs. A caller with
 * several threads calls the two itself.
 */
size_t ckv_select_scratch_bytes(const struct ckv_window *in);
int ckv_snapkv_select(const struct ckv_snapkv *m, const struct ckv_window *in,
		      void *scratch, uint32_t *pos, struct ckv_kept *ret_kept,
		      struct ckv_fault *ret_fault);
int ckv_chunkkv_select(const struct ckv_chunkkv *m, const struct ckv_window *in,
		       void *scratch, uint32_t *pos, struct ckv_kept *ret_kept,
		       struct ckv_fault *ret_fault);

/* -------------------------------------------------- every selection, alike */

enum ckv_selector {
	CKV_KEEP_ALL, CKV_CHUNKKV, CKV_SNAPKV, CKV_PYRAMIDKV, CKV_L2NORM,
	CKV_KEYDIFF, CKV_TOVA, CKV_H2O, CKV_STREAMINGLLM, CKV_RANDOM,
	CKV_N_SELECTORS
};

/* Whose arithmetic: the same method is not the same in every code. */
enum ckv_mode_of { CKV_OF_KVPRESS, CKV_OF_OFFICIAL, CKV_OF_PAPER };

#define CKV_ALWAYS_RANGES	8u

/*
 * Tokens that are kept whatever they score: the first n_sink, the last n_recent, and
 * ranges [from, to), as far as the context goes. They are put in after a method has
 * chosen and do not raise the budget: each one that the method did not choose takes the
 * place of the worst token that it did choose and that is not one of them. The worst is
 * the token of the lowest score, of equal ones the one at the highest position; in
 * chunkkv, the last token of the worst chunk. Tokens that a method keeps without a score
 * (a window, the last token) give way after all others, the oldest first. If there are
 * more tokens to be kept than the budget, the newest of them are, and
 * ckv_kept.n_always_lost counts the others.
 */
struct ckv_always {
	uint32_t n_sink, n_recent, n_ranges;
	struct { uint32_t from, to; } range[CKV_ALWAYS_RANGES];
};

/*
 * One selection with its parameters. A method reads only the fields that it names here;
 * a value that is wrong whatever the chain is -EINVAL.
 *
 *   all           keeps every token
 *   chunkkv       mode (kvpress, paper), chunk, window, kernel, n_reuse
 *   snapkv        mode (kvpress, official), pool, reduce, window, kernel
 *   pyramidkv     mode (official, kvpress), the same and beta (arXiv 2406.02069)
 *   l2norm        mode (kvpress, official); official: skip, prune_after; block
 *                 (0: the whole context; else n = max(1, budget of the block) in
 *                 every block of that many tokens) (arXiv 2406.11430)
 *   keydiff       block (0, or the paper's block-iterative form) (arXiv 2504.15364)
 *   tova          one set for all heads; the last query row; the last token is kept
 *                 (arXiv 2401.06104)
 *   h2o           reduce, n_recent: the best by column sums below T - n_recent,
 *                 then the last n_recent (arXiv 2306.14048)
 *   streamingllm  n_sink, then the newest (arXiv 2309.17453)
 *   random        seed: a fixed draw of positions for all heads, another per layer.
 *                 The best by mix(mix(mix(seed) + layer) + position) >> 34, where mix
 *                 is SplitMix64's step (add 0x9e3779b97f4a7c15, then its finaliser)
 *
 * Budget: keep_num / keep_den of the tokens, or n_keep tokens where keep_den is 0.
 * The kvpress modes, keydiff, tova and streamingllm take kvpress's arithmetic,
 * int(T * (1 - removed)) in binary64 with removed = (keep_den - keep_num) / keep_den;
 * official l2norm is ceil, the others are floor. pyramidkv: the average over
 * layers. At least one token is kept. Where a budget is every token, all are kept and
 * nothing is read.
 *
 * Two methods know shares only. With n_keep, chunkkv in kvpress's mode keeps n_keep /
 * chunk chunks, at least one, and l2norm in blocks gives each block its part of n_keep.
 */
struct ckv_selection {
	enum ckv_selector kind;
	enum ckv_mode_of mode;
	enum ckv_pool pool;
	enum ckv_reduce reduce;
	uint32_t keep_num, keep_den, n_keep;
	uint32_t chunk, window, kernel, n_reuse, beta;
	uint32_t n_sink, n_recent, block, prune_after;
	uint64_t skip;			/* l2norm: bit l: layer l keeps everything */
	uint64_t seed;
	struct ckv_always always;
};

enum ckv_need {				/* what a selection reads */
	CKV_NEED_KEYS	 = 1,
	CKV_NEED_QUERIES = 2,		/* of the last `window` tokens */
	CKV_NEED_SUMS	 = 4,		/* column sums of attention */
};
unsigned ckv_selection_needs(const struct ckv_selection *s);

/* Rows of queries a selection wants: its window; 1 for tova; 0 for none. */
uint32_t ckv_selection_window(const struct ckv_selection *s);

/* What one layer brings. Only what the selection needs is read. */
struct ckv_layer {
	uint32_t layer, n_layers;
	struct ckv_rows k;		/* [Hkv, T, D] */
	struct ckv_rows q;		/* [Hq, window, D] */
	const float *lse;		/* [Hq, window], or NULL */
	const float *sums;		/* [n_sum_heads, T]: attention each token got */
	uint32_t n_sum_heads;		/* Hkv or Hq */
};

/* Of all layers the most; pos has room for max_kept, scratch 64-byte aligned. */
size_t ckv_selection_scratch_bytes(const struct ckv_selection *s,
				   const struct ckv_layer *in);
size_t ckv_selection_max_kept(const struct ckv_selection *s,
			      const struct ckv_layer *in);

/* The layer whose set `layer` takes; its own number unless the method shares. */
uint32_t ckv_selection_source(const struct ckv_selection *s, uint32_t layer);

/* Tokens that a layer of n_tokens is meant to keep; chunkkv may differ by a chunk. */
uint32_t ckv_selection_budget(const struct ckv_selection *s, uint32_t layer,
			      uint32_t n_layers, uint32_t n_tokens);

/*
 * Positions that survive in one layer, ascending, ret_kept->n_sets sets of n: one
 * where all heads share it or keep every token, else one for each kv head. Errors
 * are those of the scores. -ENODATA: an input that it needs is not there. -EDOM:
 * also column sums that are NaN or infinite.
 */
int ckv_select(const struct ckv_selection *s, const struct ckv_layer *in,
	       void *scratch, uint32_t *pos, struct ckv_kept *ret_kept,
	       struct ckv_fault *ret_fault);

#ifdef __cplusplus
}
#endif
#endif
