/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - the eviction policies: which block is evicted first.
 *
 * A policy orders the blocks that may be evicted: those without children. The
 * space calls insert() when a block becomes evictable, touch() when it is used,
 * remove() when it is evictable no longer (it got a child, or it is freed), and
 * victim() to take the coldest one, or take() for another that is to go before it. Each
 * takes constant time; only create() allocates.
 *
 * Each level has a policy of its own. A block is identified by its slot in the
 * index; its struct copy holds what the space and the policy keep about it at that
 * level, with the links of intrusive lists. `heat` and `stamp` survive remove() and
 * victim(), so that a block which is inserted again keeps its history; the space
 * clears both when the block is published.
 *
 * Words such as hold, tip and lending: the glossary in CONTRIBUTING.md.
 */
#ifndef CKV_POLICY_H
#define CKV_POLICY_H

#include "proto/ckv_space.h"

#include <stddef.h>

struct link {			/* in a queue (queue.h) */
	uint32_t prev, next;
};

enum copy_mark {		/* state.h tells more of each */
	COPY_LENT	= 1,	/* a page is lent for it: not there until PUBLISH */
	COPY_STALE	= 2,	/* replaced: not there any more, but its page may be pinned */
	COPY_TIED	= 4,	/* it is in its level's queue `tied` */
	COPY_QUEUED	= 8,	/* the slot is in its level's queue `unsaved` */
	COPY_WANTED	= 16,	/* it shall come to this level: in the queue `wanted` */
	COPY_LEAVING	= 32,	/* in the batch: this copy leaves */
};

struct copy {			/* of a block at one level */
	struct link link;	/* policy's; the space's if parked, tied or stale */
	uint32_t stamp;		/* policy: time of the last use, by the policy's clock */
	uint8_t	 heat;		/* policy: not 0 if the block was used */
	uint8_t	 queue;		/* policy: which of its queues; 0: none */
	uint8_t	 parked;	/* 1: known to be pinned, so in no policy (pinned.c) */
	uint8_t	 mark;		/* flags, enum copy_mark */
	uint32_t n_children;	/* children with a copy at this level, lent ones, and holds */
	uint32_t place;		/* where the bytes are; a view's first page; CKV_NONE */
};

/* The copies at one level of all slots, which lie `stride` bytes from each other. */
struct copies {
	char *first;
	size_t stride;
};

static inline struct copy *copy_in(struct copies copies, uint32_t slot)
{
	return (struct copy *)(void *)(copies.first + slot * copies.stride);
}

/* Why a block is inserted: it decides the block's place in the order. */
enum policy_origin {
	POLICY_NEW,		/* it was just published */
	POLICY_HEIR,		/* its last child was a victim, whose recency it inherits */
	POLICY_BACK,		/* it was pinned or held, or its child aborted or dropped */
	POLICY_KEPT,		/* held for an automatic view, which is no use: old place */
	POLICY_KNOWN,		/* of an earlier daemon; these come before all, the oldest first */
};

struct policy;

struct policy_ops {
	const char *name;	/* as the configuration spells it */
	const char *help;

	/* 0 or -ENOMEM; the caller owns *ret_policy. */
	int (*create)(struct copies copies, struct policy **ret_policy);
	size_t (*private_bytes)(void);
	void (*destroy)(struct policy *policy);

	void (*insert)(struct policy *policy, uint32_t slot,
		       enum policy_origin origin);
	/* The block may have children: then the use counts when it is inserted. */
	void (*touch)(struct policy *policy, uint32_t slot);
	void (*remove)(struct policy *policy, uint32_t slot);
	/* Remove and return the coldest block; CKV_NONE if there is none. */
	uint32_t (*victim)(struct policy *policy);
	/* Remove a block as if it were the coldest one: its parent will be its heir. */
	void (*take)(struct policy *policy, uint32_t slot);
	/* The victim that would follow `after` (CKV_NONE: the first); changes nothing. */
	uint32_t (*next_victim)(const struct policy *policy, uint32_t after);
};

/* The policy of this name; NULL if there is none. */
const struct policy_ops *policy_find(const char *name);

/* The i-th policy, the default first; NULL past the last. For help and tests. */
const struct policy_ops *policy_at(uint32_t i);

extern const struct policy_ops policy_lru;
extern const struct policy_ops policy_slru;

#endif
