/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_ops.h - what a client asks for over its request ring.
 *
 * A request names a stretch of the lane's argument area; the daemon copies it
 * before it judges it. Answers per item are written to D's result area at the
 * same offset. The client may reuse the stretch when the completion has come.
 *
 * Every request completes exactly once, in any order, with its tag and a
 * result: 0, a count, or -errno. Answers every operation may give:
 *
 *   -EINVAL      a field is out of range; nothing was done
 *   -EOPNOTSUPP  the daemon does not know the operation
 *   -EACCES      the lane's space was attached read-only
 *   -EBUSY       too many requests of this lane are outstanding
 *
 * What only a broken or hostile client can send (a stretch outside the argument
 * area, a non-zero reserved field, a bad sequence number, a page number outside the
 * pool) closes the lane with EPROTO. A page that is not lent to this lane, or not
 * any more, is an honest mistake: it is answered, see ckv_page_name.
 */
#ifndef CKV_OPS_H
#define CKV_OPS_H

#include "proto/ckv_lane.h"
#include "proto/ckv_view.h"

#define CKV_BATCH_MAX	1024u	/* items in one request */

enum ckv_op {
	CKV_OP_NOP	= 1,	/* completes with 0 */
	CKV_OP_RESERVE	= 2,	/* struct ckv_reserve_arg, ckv_key[n] -> ckv_lent[n]; count lent */
	CKV_OP_PUBLISH	= 3,	/* ckv_publish_item[n] -> int32_t[n]; count published */
	CKV_OP_ABORT	= 4,	/* ckv_page_name[n] -> int32_t[n]; count given back by name */
	CKV_OP_PREFETCH	= 5,	/* ckv_key[n] -> none; count now at the nearest level */
	CKV_OP_COMPRESS	= 6,	/* struct ckv_compress_arg, ckv_page_name[n] -> ckv_view_reply; 0 */
	CKV_OP_DROP	= 8,	/* ckv_key[n] -> int32_t[n]; count dropped */
	CKV_OP_STAT	= 9,	/* struct ckv_view_query -> ckv_view_reply; 0 or -ENOENT */
};

enum ckv_req_flag {
	CKV_REQ_SCRATCH = 1,	/* RESERVE: pages without keys, for bulk inputs */
};

struct ckv_req {
	uint32_t seq;		/* the ring's */
	uint8_t	 op;		/* enum ckv_op */
	uint8_t	 flags;		/* enum ckv_req_flag */
	uint16_t zero0;
	uint64_t tag;		/* comes back in the completion */
	uint32_t arg_offset;	/* in the argument area, multiple of 8 */
	uint32_t arg_bytes;
	uint32_t n;		/* items */
	uint32_t zero1[9];
};
CKV_AT(struct ckv_req, seq, 0, 4);
CKV_AT(struct ckv_req, op, 4, 1);
CKV_AT(struct ckv_req, flags, 5, 1);
CKV_AT(struct ckv_req, zero0, 6, 2);
CKV_AT(struct ckv_req, tag, 8, 8);
CKV_AT(struct ckv_req, arg_offset, 16, 4);
CKV_AT(struct ckv_req, arg_bytes, 20, 4);
CKV_AT(struct ckv_req, n, 24, 4);
CKV_AT(struct ckv_req, zero1, 28, 36);
CKV_SIZE(struct ckv_req, 64);

struct ckv_comp {
	uint32_t seq;		/* the ring's */
	int32_t	 result;
	uint64_t tag;
	uint32_t arg_offset;	/* of the request: where the answers are */
	uint32_t n;		/* of the request */
	uint32_t zero[10];
};
CKV_AT(struct ckv_comp, seq, 0, 4);
CKV_AT(struct ckv_comp, result, 4, 4);
CKV_AT(struct ckv_comp, tag, 8, 8);
CKV_AT(struct ckv_comp, arg_offset, 16, 4);
CKV_AT(struct ckv_comp, n, 20, 4);
CKV_AT(struct ckv_comp, zero, 24, 40);
CKV_SIZE(struct ckv_comp, 64);

/*
 * RESERVE: keys[0]'s parent is `parent`, keys[i]'s is keys[i-1]. With
 * CKV_REQ_SCRATCH there are no keys and arg_bytes is 0.
 */
struct ckv_reserve_arg {
	struct ckv_key parent;	/* all zero: keys[0] is a root */
};
CKV_SIZE(struct ckv_reserve_arg, 32);

/*
 * One lending of one page: what a client was lent, told apart from whatever the page
 * was or will be lent for at another time. `lending` counts how often this daemon
 * has lent the page, and is never 0; `epoch` is the daemon's. Each name of a request is
 * judged by itself, in the order of the list. status:
 *   -ESTALE     another daemon lent it; or the page was lent anew since, or to
 *               another lane
 *   -EEXIST     this lending ended in PUBLISH: the request repeats one
 *   -ECANCELED  this lending ended without: by ABORT of this page or of one that it was
 *               reserved under
 *   else it is lent to this lane, and the operation says.
 */
struct ckv_page_name {
	uint32_t page;
	uint32_t lending;
	uint64_t epoch;
};
CKV_AT(struct ckv_page_name, page, 0, 4);
CKV_AT(struct ckv_page_name, lending, 4, 4);
CKV_AT(struct ckv_page_name, epoch, 8, 8);
CKV_SIZE(struct ckv_page_name, 16);

/*
 * The answer for one key. status:
 *   0           the page is lent to this lane until PUBLISH or ABORT
 *   -EEXIST     published already under this parent; slot and generation say where
 *   -EXDEV      published already under another parent: not a block of this chain
 *   -EALREADY   being written, by this lane or another
 *   -ENOENT     the parent is not there
 *   -ENOSPC     no page, and nothing that may be evicted; or the quota is used up
 *   -EXFULL     both index buckets of the key are full
 *   -EDQUOT     this client may not hold more lent pages
 *   -EAGAIN     the page's write mapping could not be sent now; try again
 *   -ECANCELED  not tried, or taken back, because an earlier key of the list failed
 *               with anything but -EEXIST
 */
struct ckv_lent {
	int32_t	 status;
	uint32_t page;		/* CKV_NONE unless status is 0 */
	uint32_t slot;		/* CKV_NONE for scratch */
	uint32_t generation;
	uint32_t lending;	/* with page and epoch: its ckv_page_name */
	uint32_t zero;
};
CKV_AT(struct ckv_lent, status, 0, 4);
CKV_AT(struct ckv_lent, page, 4, 4);
CKV_AT(struct ckv_lent, slot, 8, 4);
CKV_AT(struct ckv_lent, generation, 12, 4);
CKV_AT(struct ckv_lent, lending, 16, 4);
CKV_AT(struct ckv_lent, zero, 20, 4);
CKV_SIZE(struct ckv_lent, 24);

/*
 * PUBLISH one page. status per item: 0; that of a name; -ENOENT its parent is not
 * published (parents come first, in the same request if need be); -EINVAL n_tokens or
 * flags, or a scratch page. After the last two it stays lent. A client that wants to
 * go on reading sets a pin word to {slot, generation} before it sends this: the
 * block is then pinned from its first moment.
 */
struct ckv_publish_item {
	struct ckv_page_name name;
	uint16_t n_tokens;	/* 1 .. block_tokens */
	uint16_t flags;		/* CKV_ENTRY_SUMMED: checksum is given */
	uint32_t zero;
	uint64_t checksum;
};
CKV_AT(struct ckv_publish_item, name, 0, 16);
CKV_AT(struct ckv_publish_item, n_tokens, 16, 2);
CKV_AT(struct ckv_publish_item, flags, 18, 2);
CKV_AT(struct ckv_publish_item, zero, 20, 4);
CKV_AT(struct ckv_publish_item, checksum, 24, 8);
CKV_SIZE(struct ckv_publish_item, 32);

/*
 * ABORT one page: 0, or that of a name. What was reserved under the page goes with it,
 * also if it is named later in the same list: name the deepest first.
 * DROP one key: 0; -ENOENT; -EBUSY pinned, or it has children or a job reads it.
 */

/*
 * COMPRESS the chain that ends in `chain`. What the engine brings lies in the listed
 * scratch pages, one page after the other, each of these sections that is there at
 * the next multiple of 64:
 *
 *   queries       [layer][query head][n_window][dim_k] in query_dtype: post-RoPE
 *                 queries of the last n_window tokens; n_window 0: none
 *   log-sum-exps  float [layer][query head][n_window], with CKV_VIEW_LSE in inputs
 *   column sums   float [layer][n_sum_heads][n_sum_tokens], n_sum_heads as many as kv
 *                 heads or query heads, n_sum_tokens those of the chain; 0: none
 *
 * What the method does not read is not looked at and makes no other view.
 * Result 0, also when an equal view exists; -ENOENT chain; -EINVAL method or inputs
 * (the text in ckv_view_reply says what was expected); -EPERM the space's accuracy
 * floor (the text names the measured row); -ENOSPC view quota; -EDOM an input is NaN
 * or infinite (the text says where); -EAGAIN too many jobs; -ESTALE a page is not
 * lent to this lane, or not any more (the text says which).
 */
struct ckv_compress_arg {
	struct ckv_key chain;
	char	 method[CKV_METHOD_BYTES]; /* "chunkkv(keep=1/4, chunk=16)" */
	uint32_t n_query_heads;
	uint32_t n_window;
	uint32_t query_dtype;	/* enum ckv_dtype */
	uint32_t inputs;	/* CKV_VIEW_LSE or 0 */
	uint32_t n_sum_heads;
	uint32_t n_sum_tokens;
	uint32_t zero[2];
};
CKV_AT(struct ckv_compress_arg, chain, 0, 32);
CKV_AT(struct ckv_compress_arg, method, 32, 256);
CKV_AT(struct ckv_compress_arg, n_query_heads, 288, 4);
CKV_AT(struct ckv_compress_arg, n_window, 292, 4);
CKV_AT(struct ckv_compress_arg, query_dtype, 296, 4);
CKV_AT(struct ckv_compress_arg, inputs, 300, 4);
CKV_AT(struct ckv_compress_arg, n_sum_heads, 304, 4);
CKV_AT(struct ckv_compress_arg, n_sum_tokens, 308, 4);
CKV_AT(struct ckv_compress_arg, zero, 312, 8);
CKV_SIZE(struct ckv_compress_arg, 320);

/* STAT: the newest view of a chain by a method, without knowing the queries. */
struct ckv_view_query {
	struct ckv_key chain;
	char	 method[CKV_METHOD_BYTES];
};
CKV_AT(struct ckv_view_query, chain, 0, 32);
CKV_AT(struct ckv_view_query, method, 32, 256);
CKV_SIZE(struct ckv_view_query, 288);

struct ckv_view_reply {
	struct ckv_key key;	/* look it up like a block; the entry is a view */
	uint64_t bytes;
	struct ckv_view_sizes sizes;
	uint64_t n_kept_total;	/* over all layers and heads */
	uint32_t n_pages;
	uint32_t n_tokens;	/* of the chain */
	uint32_t n_kept_max;	/* longest (layer, head) */
	uint32_t n_kept_min;
	uint32_t n_always_lost;	/* tokens to be kept always, beyond a layer's budget */
	uint32_t zero;
	char	 text[200];	/* on failure: what was wrong, zero-terminated */
};
CKV_AT(struct ckv_view_reply, key, 0, 32);
CKV_AT(struct ckv_view_reply, bytes, 32, 8);
CKV_AT(struct ckv_view_reply, sizes, 40, 48);
CKV_AT(struct ckv_view_reply, n_kept_total, 88, 8);
CKV_AT(struct ckv_view_reply, n_pages, 96, 4);
CKV_AT(struct ckv_view_reply, n_tokens, 100, 4);
CKV_AT(struct ckv_view_reply, n_kept_max, 104, 4);
CKV_AT(struct ckv_view_reply, n_kept_min, 108, 4);
CKV_AT(struct ckv_view_reply, n_always_lost, 112, 4);
CKV_AT(struct ckv_view_reply, zero, 116, 4);
CKV_AT(struct ckv_view_reply, text, 120, 200);
CKV_SIZE(struct ckv_view_reply, 320);

#endif
