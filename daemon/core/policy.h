/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - which block goes first.
 *
 * A policy orders the blocks that may be evicted: those without children. The
 * space tells it when a block becomes one (insert), is used (touch) or stops
 * being one (remove: it got a child, or it is gone), and asks for the coldest
 * (victim). Everything is constant time and nothing is allocated after create.
 *
 * Blocks are named by their page; node[page] is an intrusive list element of
 * which a policy owns five fields. They survive remove() and victim(),
 * so a block that comes back is known; the space clears them when the page is
 * published anew.
 */
#ifndef CKV_POLICY_H
#define CKV_POLICY_H

#include "proto/ckv_space.h"

struct node {
	uint32_t n_children;	/* blocks, reservations and holds that need it */
	uint32_t lending;	/* how often the page was lent; names the last time */
	uint16_t lane;		/* a lent page's lane; else NODE_NO_LANE */
	uint16_t last_lane;	/* whose the last lending is or was */
	uint8_t	 mark;		/* enum node_mark of the space */
	uint8_t	 parked;	/* pinned when last judged: in the space's own queue */

	uint8_t	 heat;		/* policy: uses seen */
	uint8_t	 queue;		/* policy: 0 outside every queue */
	uint32_t stamp;		/* policy: when it was last used */
	uint32_t prev, next;	/* policy: a queue; the space's while lent, parked or free */

	uint32_t witness_word;	/* where its pin was seen last: a word ... */
	uint16_t witness_lane;	/* ... of this lane; NODE_NO_LANE: nowhere */
};

enum policy_origin {
	POLICY_NEW,		/* just published */
	POLICY_HEIR,		/* its last child went cold and was taken */
	POLICY_BACK,		/* it was in use: pinned, held, or had a child that was aborted or dropped */
	POLICY_KEPT,		/* it was held for the space's own sake, which is no use */
};

struct policy;

struct policy_ops {
	const char *name;	/* in the configuration */
	const char *help;

	/* For at most n_pages blocks. 0 or -ENOMEM; the caller owns it. */
	int (*create)(struct node *nodes, const struct ckv_record *records,
		      uint32_t n_pages, struct policy **ret_policy);
	size_t (*private_bytes)(uint32_t n_pages);
	void (*destroy)(struct policy *policy);

	void (*insert)(struct policy *policy, uint32_t page,
		       enum policy_origin origin);
	/* Also of a block with children: remembered until it is inserted. */
	void (*touch)(struct policy *policy, uint32_t page);
	void (*remove)(struct policy *policy, uint32_t page);
	/* Removes and returns the coldest; CKV_NONE if there is none. */
	uint32_t (*victim)(struct policy *policy);
	/* The one that would follow `after` (CKV_NONE: the first); changes nothing. */
	uint32_t (*next_victim)(const struct policy *policy, uint32_t after);
};

/* NULL if there is no such policy. */
const struct policy_ops *policy_find(const char *name);

/* The i-th policy, the default first; NULL past the last. For help and tests. */
const struct policy_ops *policy_at(uint32_t i);

extern const struct policy_ops policy_lru;
extern const struct policy_ops policy_slru;

#endif
