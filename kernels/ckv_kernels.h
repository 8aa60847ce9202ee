/*
 * ckv_kernels.h - what a compression method computes, callable from C.
 *
 * A method is built from operations: score tokens, pool, reduce, select,
 * gather. Each has a file of its own and is tested by itself; the two methods
 * here, SnapKV (arXiv 2404.14469) and ChunkKV (arXiv 2502.00299), are short
 * compositions of them. Nothing here knows about pools, spaces or clients.
 *
 *   letters    Hkv, Hq kv heads, query heads     G  Hq / Hkv, heads of a group
 *              T  tokens                         w  window: the last w tokens
 *              D  numbers in a row               n  tokens kept
 *
 * Query head h belongs to kv head h / G. All keys and queries carry their
 * rotation (RoPE) already; survivors keep theirs. Scores are float.
 *
 * Order of scores, everywhere: score descending, then index ascending; NaN
 * after every number; -0 equals +0. Positions come out ascending.
 *
 * Threads: no function keeps state, allocates, locks or prints. What needs
 * room takes `scratch`, 64-byte aligned, as large as the _scratch_bytes()
 * beside it says; two threads need two scratches. Work may be cut at kv heads
 * and layers in any way: every cut gives the same bits on the same machine.
 * (Another kind of processor may round the last bits of a score differently.)
 *
 * Errors: 0 or -errno. After an error the `ret_` outputs are as before;
 * output arrays may hold anything. -EINVAL everywhere means impossible
 * arguments: a zero or contradicting size, an unknown enum, a NULL, a
 * scratch that is not aligned.
 */
#ifndef CKV_KERNELS_H
#define CKV_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CKV_SCRATCH_ALIGN	64u	/* bytes */
#define CKV_KERNEL_MAX_DIM	1024u	/* D */
#define CKV_KERNEL_MAX_WINDOW	4096u	/* w */
#define CKV_KERNEL_MAX_ROWS	(1u << 16)	/* G * w */
#define CKV_KERNEL_MAX_TOKENS	(1u << 26)
#define CKV_KERNEL_MAX_HEADS	1024u

enum ckv_elem {			/* how one number is stored */
	CKV_ELEM_F32,
	CKV_ELEM_F16,		/* IEEE binary16 */
	CKV_ELEM_BF16,		/* the upper half of a binary32 */
};

/* Bytes of one number; 0 for an unknown kind. */
size_t ckv_elem_bytes(enum ckv_elem elem);

/*
 * Rows [n_heads, n_tokens, dim] that lie in blocks, used in place.
 *
 * The row of (head, token) is at
 *
 *   block[token / block_tokens] + offset_bytes + head * head_stride_bytes
 *                               + token % block_tokens * row bytes
 *
 * A page of layout [layer][K then V][kv_head][token][dim] has head stride =
 * block_tokens rows, and its K and V of a layer differ in the offset only. An
 * ordinary array is one block with block_tokens = n_tokens. Rows must be
 * aligned to their element. The memory is only read.
 */
struct ckv_rows {
	const void *const *block;	/* ceil(n_tokens / block_tokens) of them */
	size_t offset_bytes;
	size_t head_stride_bytes;
	uint32_t block_tokens;
	uint32_t n_heads;
	uint32_t n_tokens;
	uint32_t dim;
	enum ckv_elem elem;
};

/* Address of one row. Arguments are not checked. */
const void *ckv_rows_at(const struct ckv_rows *rows, uint32_t head,
			uint32_t token);

enum ckv_input { CKV_INPUT_KEY, CKV_INPUT_QUERY, CKV_INPUT_LSE };

struct ckv_fault {		/* the first number that is NaN or infinite */
	enum ckv_input input;
	uint32_t head;		/* kv head for keys, else query head */
	uint32_t token;		/* position; row of the window for the others */
	uint32_t dim;		/* 0 for lse */
};

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
 * Keys are read once, in float32, whatever they are stored in. The tiles of
 * exp(logit) wait in the scratch for their denominators, at most 32 MiB;
 * beyond it they are computed twice. With `lse` nothing waits.
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

/*
 * Copy the rows of one head at pos[0..n) to `out`, one after another, bytes
 * unchanged. `out` must not overlap the rows.
 *
 *   -EINVAL  also a position outside the rows; nothing was copied
 */
int ckv_gather(const struct ckv_rows *rows, uint32_t head, const uint32_t *pos,
	       uint32_t n, void *out);

/*
 * Checksum of a page: XXH3-64 of each piece of 4 KiB (seed: the piece's
 * number; the last piece may be shorter), then XXH3-64, seed 0, over those
 * digests in order as little-endian words. So pieces may be summed anywhere
 * in any order: ckv_page_piece() is one of them, ckv_page_join() the end.
 */
#define CKV_PIECE_BYTES	4096u
uint64_t ckv_page_checksum(const void *page, size_t page_bytes);
uint64_t ckv_page_piece(const void *piece, size_t piece_bytes, uint64_t index);
uint64_t ckv_page_join(const uint64_t *digest, size_t n_pieces);

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

#ifdef __cplusplus
}
#endif
#endif
