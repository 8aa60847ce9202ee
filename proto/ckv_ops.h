/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_ops.h - what a client can ask for over its request ring, and the answers.
 * request.md beside this file follows one request from call to return.
 *
 * A request names a part of the lane's argument area, by offset and size, where the
 * client has written the argument. The daemon copies the argument and checks the copy.
 * It writes the answers, one for each item, into D's result area at the same offset, and
 * puts a completion. When the client has taken that, it may use the part again.
 *
 * The requests of a lane are begun in their order, and complete in any order, each
 * exactly once, with the request's tag and a result: 0, a count, or -errno. The results
 * that every operation may have:
 *
 *   -EINVAL      a field is out of range; nothing was done
 *   -EOPNOTSUPP  the daemon does not know the operation
 *   -EACCES      the lane's space was attached read-only
 *
 * What no working client sends (a part outside the argument area, a reserved field that
 * is not zero, a wrong sequence number, a page outside the pool or at a level that lends
 * none) closes the lane with EPROTO, and is not answered. To name a page that is not lent to this lane, or not
 * any more, is a mistake that a working client may make: it is answered, see struct
 * ckv_page_name.
 */
#ifndef CKV_OPS_H
#define CKV_OPS_H

#include "proto/ckv_lane.h"
#include "proto/ckv_view.h"

#define CKV_BATCH_MAX	1024u	/* items in one request */

enum ckv_op {
	CKV_OP_NOP	= 1,	/* completes with 0 */
	/* argument -> answers; result */
	CKV_OP_RESERVE	= 2,	/* struct ckv_reserve_arg, ckv_key[n] -> ckv_lent[n]; count lent */
	CKV_OP_PUBLISH	= 3,	/* ckv_publish_item[n] -> int32_t[n]; count published */
	CKV_OP_ABORT	= 4,	/* ckv_page_name[n] -> int32_t[n]; count given back by name */
	CKV_OP_PREFETCH	= 5,	/* struct ckv_prefetch_arg, ckv_key[n] -> none; count that is there */
	CKV_OP_COMPRESS	= 6,	/* struct ckv_compress_arg, ckv_page_name[n] -> ckv_view_reply; 0 */
	CKV_OP_CANCEL	= 7,	/* struct ckv_cancel_arg -> none; 0 or -ENOENT */
	CKV_OP_DROP	= 8,	/* ckv_key[n] -> int32_t[n]; count dropped */
	CKV_OP_STAT	= 9,	/* struct ckv_view_query -> ckv_view_reply; 0 or -ENOENT */
};

enum ckv_req_flag {
	CKV_REQ_SCRATCH = 1,	/* RESERVE: pages without keys, for bulk inputs */
};

struct ckv_req {
	uint32_t seq;		/* sequence number, ckv_ring_put() sets it */
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
	uint32_t seq;		/* sequence number, ckv_ring_put() sets it */
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
 * RESERVE pages of `level`: the parent of keys[0] is `parent`, that of keys[i] is
 * keys[i - 1]. A block that is there, but farther away, is lent a page, too: until PUBLISH
 * readers find it where it is, and then its farther copies are gone. With CKV_REQ_SCRATCH
 * there is no argument: arg_bytes is 0, n says how many pages, and the space says at which
 * level.
 *
 *   -EINVAL     level
 *   -ENODEV     the space has no such level
 */
struct ckv_reserve_arg {
	struct ckv_key parent;	/* all zero: keys[0] is a root */
	uint32_t level;		/* CKV_LEVEL_HOST, CKV_LEVEL_DEVICE */
	uint32_t zero;
};
CKV_AT(struct ckv_reserve_arg, parent, 0, 32);
CKV_AT(struct ckv_reserve_arg, level, 32, 4);
CKV_AT(struct ckv_reserve_arg, zero, 36, 4);
CKV_SIZE(struct ckv_reserve_arg, 40);

/*
 * How a client names a page that it was lent. The same page is lent many times, to many
 * clients; `lending` counts how often this daemon has lent it, and is never 0, and
 * `epoch` is the daemon's. So the name stands for one lending: it never fits the page
 * when that is lent again. The daemon judges each name of a request by itself, in the
 * order of the list. status:
 *   -ESTALE     another daemon lent it; or the page was lent again since, or it was lent
 *               to another lane
 *   -EEXIST     this lending ended in PUBLISH: the client asks a second time
 *   -ECANCELED  this lending ended without PUBLISH: by ABORT of this page, or of a page
 *               that this one was reserved under
 *   else the page is lent to this lane, and the operation decides.
 */
struct ckv_page_name {
	uint32_t page;
	uint32_t lending;
	uint64_t epoch;
	uint32_t level;		/* enum ckv_level: where the page is, as RESERVE answered */
	uint32_t zero;
};
CKV_AT(struct ckv_page_name, page, 0, 4);
CKV_AT(struct ckv_page_name, lending, 4, 4);
CKV_AT(struct ckv_page_name, epoch, 8, 8);
CKV_AT(struct ckv_page_name, level, 16, 4);
CKV_AT(struct ckv_page_name, zero, 20, 4);
CKV_SIZE(struct ckv_page_name, 24);

/*
 * The answer for one key. status:
 *   0           the page is lent to this lane until PUBLISH or ABORT
 *   -EEXIST     there already, at this level or nearer, under this parent; slot and
 *               generation say where
 *   -EXDEV      published already under another parent: not a block of this chain; or the
 *               parent is at a farther level
 *   -EALREADY   reserved and not yet published, by this lane or another
 *   -ENOENT     the parent is neither published nor reserved by this lane
 *   -ENOSPC     no page is free and no block may be evicted, or the space's quota is used; or
 *               a page of this block at this level, which was replaced, is still read
 *   -EXFULL     both index buckets of the key are full of what may not be evicted
 *   -EDQUOT     this client, or its user, may not hold more lent pages
 *   -EAGAIN     the daemon could not send the slab's descriptor for writing now
 *   -ECANCELED  not tried, or lent and taken back, because an earlier key of the list
 *               failed with anything but -EEXIST
 */
struct ckv_lent {
	int32_t	 status;
	uint32_t page;		/* CKV_NONE unless status is 0 */
	uint32_t slot;		/* CKV_NONE for scratch */
	uint32_t generation;
	uint32_t lending;	/* with page, level and epoch: its ckv_page_name */
	uint32_t level;		/* enum ckv_level; CKV_LEVEL_NONE unless status is 0 */
};
CKV_AT(struct ckv_lent, status, 0, 4);
CKV_AT(struct ckv_lent, page, 4, 4);
CKV_AT(struct ckv_lent, slot, 8, 4);
CKV_AT(struct ckv_lent, generation, 12, 4);
CKV_AT(struct ckv_lent, lending, 16, 4);
CKV_AT(struct ckv_lent, level, 20, 4);
CKV_SIZE(struct ckv_lent, 24);

/*
 * PUBLISH one page. status of each item: 0; a status of its name; -ENOENT its parent is
 * not published at this level or nearer (parents come first, also within one request); -EINVAL n_tokens or flags
 * are out of range, or it is a scratch page. After -ENOENT and -EINVAL it stays lent. A
 * client that wants to go on reading the block pins it before it sends this (ckv_pin.h).
 */
struct ckv_publish_item {
	struct ckv_page_name name;
	uint16_t n_tokens;	/* 1 .. block_tokens */
	uint16_t flags;		/* CKV_ENTRY_SUMMED: checksum is given */
	uint32_t zero;
	uint64_t checksum;
};
CKV_AT(struct ckv_publish_item, name, 0, 24);
CKV_AT(struct ckv_publish_item, n_tokens, 24, 2);
CKV_AT(struct ckv_publish_item, flags, 26, 2);
CKV_AT(struct ckv_publish_item, zero, 28, 4);
CKV_AT(struct ckv_publish_item, checksum, 32, 8);
CKV_SIZE(struct ckv_publish_item, 40);

/*
 * ABORT one page, status: 0, or a status of its name. Pages that were reserved under it
 * are taken back, too. If such a page comes later in the same list its status is
 * -ECANCELED, so a client names the deepest page first.
 *
 * DROP one key, status: 0; -ENOENT no such block or view; -EBUSY it is pinned, has
 * children, or a job of the daemon reads it.
 */

/*
 * PREFETCH the chain of these keys; keys[0] may be in the middle of one. Completes
 * with the number of leading keys that are at `level` or nearer, when all that could come
 * has come: a block that somebody is writing is waited for until it is published or given
 * back; what nobody writes, and what another level does not hold, is not coming. At the
 * latest after timeout_ns.
 *
 *   -EINVAL     level or flags
 *   -ENODEV     the space has no such level
 *   -EAGAIN     too many prefetches wait already, of this user or of all; or but for one,
 *               which is left for CANCEL, all slots of the lane have requests that wait
 *   -EUSERS     CKV_PREFETCH_PIN: the pins of the client, its user or the space are used up
 *   -ECANCELED  by CANCEL
 *
 * With CKV_PREFETCH_PIN the daemon holds what is there, counted as one pin of the
 * client, until CANCEL names the request, which is then over, or its lane is served no
 * more: time enough for the client to pin it.
 */
enum ckv_prefetch_flag {
	CKV_PREFETCH_PIN = 1,
};

struct ckv_prefetch_arg {
	uint64_t timeout_ns;	/* from now; UINT64_MAX: for as long as somebody writes */
	uint32_t level;		/* CKV_LEVEL_HOST, CKV_LEVEL_DEVICE */
	uint32_t flags;		/* enum ckv_prefetch_flag */
};
CKV_AT(struct ckv_prefetch_arg, timeout_ns, 0, 8);
CKV_AT(struct ckv_prefetch_arg, level, 8, 4);
CKV_AT(struct ckv_prefetch_arg, flags, 12, 4);
CKV_SIZE(struct ckv_prefetch_arg, 16);

/*
 * CANCEL the request of this lane with this tag, if it completes later: a PREFETCH or
 * COMPRESS that waits completes with -ECANCELED, before this one; what a PREFETCH holds
 * is let go. -ENOENT: there is none, because it is over or was never sent.
 */
struct ckv_cancel_arg {
	uint64_t tag;
};
CKV_AT(struct ckv_cancel_arg, tag, 0, 8);
CKV_SIZE(struct ckv_cancel_arg, 8);

/*
 * COMPRESS the chain that ends in `chain`. What the engine brings lies in the scratch
 * pages of the list, as if they were one memory. Each of these sections that is there
 * begins at the next multiple of 64 bytes:
 *
 *   queries       [layer][query head][n_window][dim_k] in query_dtype: post-RoPE
 *                 queries of the last n_window tokens; n_window 0: none
 *   log-sum-exps  float [layer][query head][n_window], with CKV_VIEW_LSE in inputs
 *   column sums   float [layer][n_sum_heads][n_sum_tokens], n_sum_heads as many as kv
 *                 heads or query heads, n_sum_tokens those of the chain; 0: none
 *
 * Sections that the method does not read are not looked at, and the same view results
 * with them and without. The results, most with a sentence in ckv_view_reply.text:
 *
 *   0        the view, also when an equal one existed
 *   -ENOENT  the chain is not stored, or one of its pages does not match its checksum
 *   -EINVAL  the method, what it reads, a page of the list that was lent for a block,
 *            or a space whose pages cannot be compressed
 *   -EPERM   the space's accuracy floor; the text names the measured row
 *   -ENOSPC  no room for the view among the space's view pages, or in the index
 *   -EDOM    an input is NaN, infinite or too large
 *   -EBUSY   this lane has as many compressions under way as the daemon allows
 *   -EAGAIN  all lanes together, or those of this user, have; no memory for it now; or
 *            the daemon is stopping
 *   -ESTALE  a page of the list is not lent to this lane, or not any more
 *   -ECANCELED  by CANCEL; the view is made all the same
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

/*
 * STAT: the newest view of a chain by a method, whatever queries it was made with. 0 or
 * -ENOENT; with a sentence in ckv_view_reply.text: -EINVAL the method, -EAGAIN no memory
 * for it now.
 */
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
