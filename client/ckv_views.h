/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_views.h - compression: methods, making views of stored chains, reading them.
 *
 * A part of ckv.h, which includes it and explains the lines Blocks to Errors.
 */
#ifndef CKV_VIEWS_H
#define CKV_VIEWS_H

#ifndef CKV_H
#error "include ckv.h"
#endif

/* ---- methods ---------------------------------------------------------- */

enum { CKV_METHOD_SIZE = 256, CKV_REASON_SIZE = 200 };

/*
 * Judge the text of a compression method; no daemon is asked. On success ret_text
 * holds its canonical form: every parameter that counts, in one order, so that equal
 * methods have equal texts. Either array may be NULL.
 *
 *   Blocks:  never
 *   Threads: any
 *   Failed:  ret_reason says what is wrong and what was expected
 *   Errors:  -EINVAL  it is no method, or its canonical form has over 255 characters
 */
int ckv_method_check(const char *text, char ret_text[CKV_METHOD_SIZE],
		     char ret_reason[CKV_REASON_SIZE]);

struct ckv_method_entry {	/* constant text */
	const char *name;
	const char *stage;	/* "selection", "always", "encoding": in this order */
	const char *help;
	const char *needs;	/* from the engine, beside the chain */
	const char *paper;	/* "": none */
	uint32_t    n_params;
};

struct ckv_method_param {
	const char *name;
	const char *expected;	/* "1 to 4096 tokens" */
	const char *init;	/* default; NULL: none, one of those without is given */
	const char *help;
};

/*
 * What this library knows: the i-th method, and its k-th parameter.
 *
 *   Blocks:  never
 *   Threads: any
 *   Owner:   the texts are constant
 *   Errors:  -ENOENT  i or k is past the last
 */
int ckv_method_get(uint32_t i, struct ckv_method_entry *ret_entry);
int ckv_method_get_param(uint32_t i, uint32_t k,
			 struct ckv_method_param *ret_param);

/* ---- compressing ------------------------------------------------------ */

/*
 * What the engine brings beside the chain. `ckv methods` says what a method reads;
 * the rest is not looked at and makes no other view.
 */
struct ckv_queries {
	const struct ckv_page *pages; /* scratch pages, filled one after the other */
	uint32_t n_pages;
	uint32_t n_query_heads;
	uint32_t n_window;	/* post-RoPE queries of so many last tokens; 0: none */
	uint32_t type;		/* their enum ckv_type */
	uint32_t with_lse;	/* 1: and the log-sum-exp of each of their rows */
	uint32_t n_sum_heads;	/* column sums of attention: kv or query heads; 0: none */
	uint32_t n_sum_tokens;	/* of the chain */
};

/* Where each part begins in the pages; `bytes` is what all of them take. */
struct ckv_queries_layout {
	uint64_t queries;	/* [layer][query head][n_window][dim_k] */
	uint64_t lse;		/* float [layer][query head][n_window], natural log */
	uint64_t sums;		/* float [layer][n_sum_heads][n_sum_tokens] */
	uint64_t bytes;
};

/*
 * Where the parts lie. `pages` and `n_pages` are not looked at.
 *
 *   Blocks:  never
 *   Threads: any
 *   Errors:  -EINVAL  no such type; the space is not CKV_HEAD_MAJOR; or absurd counts,
 *                     whose product no 64 bits hold
 */
int ckv_queries_lay_out(const struct ckv_space *space,
			const struct ckv_queries *queries,
			struct ckv_queries_layout *ret_layout);

/*
 * Copy into the pages, which must be lent, from `offset` on and across their borders.
 *
 *   Blocks:  never; copies `bytes` bytes
 *   Threads: any, for different parts
 *   Errors:  -EINVAL  the pages have no room for it
 *            -ECHILD  the space was attached before fork()
 */
int ckv_queries_write(const struct ckv_space *space,
		      const struct ckv_queries *queries, uint64_t offset,
		      const void *from, size_t bytes);

struct ckv_view_info {
	uint8_t	 key[32];
	uint64_t bytes;		/* exact; the sum of the next five */
	uint64_t head_bytes, position_bytes;
	uint64_t code_bytes;	/* and rows that stay plain */
	uint64_t scale_bytes, padding_bytes;
	uint64_t plain_bytes;	/* what all tokens take as they are stored, K and V */
	uint64_t n_kept_total;	/* rows over all layers and heads */
	uint32_t n_pages;
	uint32_t n_tokens;	/* of the chain */
	uint32_t n_kept_max, n_kept_min; /* of a (layer, kv head) */
	uint32_t n_always_lost;	/* tokens to be kept always, beyond a layer's budget */
};

/*
 * Make a view of the chain that ends in `chain` by a method, such as
 * "chunkkv(keep=1/4, chunk=16, window=32) + kivi(bits=4, group=64)"; an equal
 * request gives the same view. `queries` may be NULL. ckv_view_open() finds it by
 * ret_info->key. For each of its own errors ckv_why() says what was wrong.
 *
 *   Blocks:  for answer: milliseconds to seconds, by the length of the chain
 *   Threads: lane
 *   Owner:   the view is the daemon's, and may be evicted when nobody pins it
 *   Errors:  ASK
 *            -ENOENT  the chain is not stored, or a page does not match its checksum
 *            -EINVAL  the method, or what it reads; a page of `queries` that was not lent,
 *                     or not as scratch; a space that cannot be compressed
 *            -EACCES  the space is attached read-only
 *            -EPERM   the space's accuracy floor; ckv_why() names the measured row
 *            -ENOSPC  the space's view pages are used up, or its index has no place
 *            -EDOM    NaN or infinite input, or one too large to encode
 *            -EBUSY   this lane has as many compressions under way as the daemon allows
 *            -EAGAIN  also: the daemon has as many of all lanes, or of this user's, as it
 *                     can, no memory for it now, or is stopping
 *            -ESTALE  also: a page of `queries` is not lent to this lane, or not any more
 */
int ckv_compress(struct ckv_lane *lane, const uint8_t *chain, const char *method,
		 const struct ckv_queries *queries, struct ckv_view_info *ret_info);

/*
 * The newest view of a chain by a method, whoever made it.
 *
 *   Blocks:  for answer
 *   Threads: lane
 *   Owner:   as of ckv_compress()
 *   Errors:  ASK
 *            -ENOENT  there is none
 *            -EINVAL  the method; ckv_why() says what was expected
 *            -EAGAIN  also: the daemon has no memory for it now
 */
int ckv_view_find(struct ckv_lane *lane, const uint8_t *chain,
		  const char *method, struct ckv_view_info *ret_info);

enum ckv_coding {		/* how the rows of a view are stored */
	CKV_CODED_PLAIN = 1,	/* in the space's type */
	CKV_CODED_BF16 = 2, CKV_CODED_F16 = 3,
	CKV_CODED_FP8 = 4,	/* e4m3, x = code * scale */
	CKV_CODED_KIVI = 5,	/* bits a number, x = code * scale + min */
};

enum ckv_scale {		/* fp8: what has a scale of its own */
	CKV_SCALE_ONE = 0,	/* nothing: 1, not stored */
	CKV_SCALE_TENSOR = 1, CKV_SCALE_HEAD = 2,
	CKV_SCALE_BLOCK = 3,	/* `block` rows of a head */
};

struct ckv_view {
	const void *data;
	uint64_t    bytes;
	uint32_t    n_tokens;	/* of the chain: the next query's position */
	uint32_t    coding;	/* enum ckv_coding */
	uint32_t    bits;	/* kivi: 8, 4 or 2 */
	uint32_t    group;	/* kivi: numbers that share a scale and a min */
	uint32_t    scale;	/* fp8: enum ckv_scale */
	uint32_t    block;
	uint32_t    n_full;	/* so many newest rows of a run are plain */
	struct ckv_pin pin;
};

/*
 * What one (layer, kv head) kept. The first n = n_kept - n_full rows are codes, with
 * cpw = 32 / bits of them in a word, lowest bits first:
 *
 *   bf16, f16  code: the numbers in that type, [n][dim]
 *   fp8        code: uint8_t [n][dim]      scale: float, none, 1, or [ceil(n / block)]
 *   kivi       k_code: uint32_t [ceil(n / cpw)][dim]; k_scale, in the space's type:
 *              scale [ceil(n / group)][dim], then as many mins
 *              v_code: uint32_t [n][ceil(dim / cpw)]; v_scale:
 *              scale [n][ceil(dim / group)], then as many mins
 *
 * The newest n_full rows are [n_full][dim] in the space's type.
 */
struct ckv_run {
	const uint32_t *positions; /* [n_kept], ascending */
	const void *k, *v;	/* CKV_CODED_PLAIN: [n_kept][dim]; else NULL */
	uint32_t    n_kept;
	uint32_t    n_full;
	const void *k_code, *k_scale, *k_full;
	const void *v_code, *v_scale, *v_full;
};

/*
 * Find a view by its key and pin it.
 *
 *   Blocks:  never; without a daemon: briefly
 *   Threads: lane
 *   Owner:   ret_view->pin is the caller's, for ckv_unpin(); ret_view->data may be read
 *            until then
 *   Errors:  -ENOENT   there is no such view, or no daemon
 *            -EAGAIN   every pin word of this lane is in use
 *            -EBADMSG  it is damaged: something in it points outside of it
 *            -ENOMEM   no memory to check it
 *            -EPROTO, -ECHILD  as of LANE
 */
int ckv_view_open(struct ckv_lane *lane, const uint8_t *key,
		  struct ckv_view *ret_view);

/*
 * What one (layer, kv head) of an opened view kept, and where.
 *
 *   Blocks:  never
 *   Threads: lane
 *   Owner:   what ret_run points to may be read until the view's pin is given back
 *   Errors:  -EINVAL   no such layer or kv head
 *            -EBADMSG  the view is damaged, or was changed since it was opened
 *            -ECHILD   the lane was opened before fork()
 */
int ckv_view_run(const struct ckv_lane *lane, const struct ckv_view *view,
		 uint32_t layer, uint32_t kv_head, struct ckv_run *ret_run);

enum ckv_half { CKV_K = 0, CKV_V = 1 };

/*
 * Decode rows [first, first + n_rows) of one run, of any coding, into
 * out[n_rows][dim] of `type`: CKV_F32 or the space's. Whatever the pages hold, nothing
 * outside the view is read.
 *
 *   Blocks:  never
 *   Threads: lane
 *   Errors:  -EINVAL   no such layer, kv head, half or type; the run has fewer rows; the
 *                      space's type is CKV_F8_E4M3
 *            -EBADMSG  the view is damaged
 *            -ECHILD   the lane was opened before fork()
 */
int ckv_view_decode(const struct ckv_lane *lane, const struct ckv_view *view,
		    uint32_t layer, uint32_t kv_head, enum ckv_half half,
		    uint32_t first, uint32_t n_rows, enum ckv_type type,
		    void *out);

#endif
