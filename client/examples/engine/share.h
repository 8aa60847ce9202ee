/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share.h - a text's blocks in the shared cache: found, borrowed, published.
 *
 * A text claims what it needs before it is read: pages that are there already are
 * pinned and read where they lie, and for the full blocks that must be computed
 * pages are borrowed, which the engine writes and then publishes. A request to the
 * daemon names at most 1024 blocks, and a client may not hold any number of pages
 * unpublished, so a long text goes in parts: each is borrowed under the last block
 * of the part before it. What is written is published as the engine goes on, so
 * that others need not wait for the end, and do not lose all when the engine dies.
 *
 * Where another engine is just writing the blocks that are missing, the text waits
 * for them instead (ckv_prefetch()), for a limited time: that one may be stopped.
 * Whatever the cache refuses (it is full, the daemon is gone) only means that
 * the engine computes into memory of its own.
 */
#ifndef ENGINE_SHARE_H
#define ENGINE_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/ckv.h"
#include "client/examples/engine/err.h"
#include "client/examples/engine/kv.h"
#include "client/examples/engine/model.h"
#include "client/examples/engine/options.h"

struct share {
	struct ckv *ckv;
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct ckv_space_info info;
	bool verify;			/* check the bytes of what is found */
	uint32_t batch;			/* blocks that a request may name */
	uint64_t join_ns;		/* how long a text waits for others' work */
};

struct claim {
	uint8_t *keys;			/* of the text's full blocks */
	uint32_t n_keys;
	uint32_t n_ask;			/* of them, those that need not be computed here */
	uint32_t n_found;		/* of these, pages found */
	uint32_t n_joined;		/* of these, written by another engine meanwhile */
	uint64_t until_ns;		/* nothing is waited for any longer */
	struct ckv_pin found;		/* pins them */
	uint32_t n_placed;		/* blocks that have a page by now */
	struct ckv_page *lent;		/* pages for blocks after those found */
	uint32_t *lent_block;		/* which blocks */
	uint32_t n_lent;
	uint32_t n_published;		/* of these */
	struct ckv_pin own;		/* pins the published ones */
	bool lost;			/* a page is no more what it was */
	int refused;			/* why the cache gave less; 0 or -errno */
};

/*
 * Attach o->space of the daemon at o->socket, for this model and o's pages.
 *
 *   -ENOENT, -ECONNREFUSED  no daemon there
 *   -ENODEV                 the daemon has no such space
 *   else what ckv_open(), ckv_attach() and ckv_lane_open() say, and the reason
 *   in the library's words
 */
int share_open(struct share *share, const struct options *o,
	       const struct model *m, struct err *e);

/* Everything claimed goes with it. */
void share_close(struct share *share);

/*
 * Claim the blocks of ids[0 .. n_ids) and append their pages to kv, which is
 * empty: those found first, but none that reaches into the last n_own tokens,
 * which the caller wants to compute itself; then those lent, of the first part.
 * Blocks that another engine is writing are waited for, share->join_ns at most.
 * *ret_claim is the caller's and goes to claim_end(). Only -ENOMEM is an error.
 */
int claim_begin(struct share *share, struct kv *kv, const uint32_t *ids,
		uint32_t n_ids, uint32_t n_own, struct claim *ret_claim);

/* Whether there is another part, once the blocks that have a page are written. */
bool claim_has_more(const struct claim *claim);

/*
 * These are written: borrow pages for the next part, and publish all of them but the
 * last, so that who waits for the text sees that more is coming. -ENOMEM.
 */
int claim_more(struct share *share, struct kv *kv, struct claim *claim);

/*
 * The text's first n_written blocks are written: publish those of them that were lent.
 * What went wrong is in claim->refused.
 */
void claim_publish(struct share *share, struct claim *claim, uint32_t n_written);

/* Whether the pages are still what they were: 0 or -ESTALE. */
int claim_valid(const struct share *share, const struct claim *claim);

/* Unpin, and give back what was lent and not published. */
void claim_end(struct share *share, struct claim *claim);

#endif
