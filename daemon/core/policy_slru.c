/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_slru.c - segmented LRU (Karedla, Love and Wherry, Computer 27(3), 1994)
 * over childless blocks.
 *
 * New blocks enter the probation queue. A block that is used moves to the protected
 * queue. That holds at most 1/16 of all queued blocks; beyond it the oldest block
 * returns to probation. Victims come from probation first. So blocks that are used
 * once pass through probation and do not push out blocks that are used again.
 *
 * To use a block is to use its ancestors. So a block whose last child was a victim
 * inherits the child's recency and its `heat`, that is whether it was used.
 */
#include "daemon/core/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define PROTECTED_SHARE	16u	/* at most 1/16 of the queued blocks is protected */

enum { OUT, PROBATION, PROTECTED };

struct policy {
	struct node *nodes;
	struct queue queue[3];
	uint32_t clock;		/* ticks at each use; wraps, so compare by difference */
	uint32_t victim_stamp;	/* stamp and heat of the last victim */
	uint8_t	 victim_heat;
};

static int slru_create(struct node *nodes, uint32_t n_slots,
		       struct policy **ret_policy)
{
	struct policy *slru = calloc(1, sizeof *slru);

	(void)n_slots;
	if (slru == NULL)
		return -ENOMEM;
	slru->nodes = nodes;
	queue_init(&slru->queue[PROBATION]);
	queue_init(&slru->queue[PROTECTED]);
	*ret_policy = slru;
	return 0;
}

static size_t slru_private_bytes(uint32_t n_slots)
{
	(void)n_slots;
	return sizeof(struct policy);
}

static void slru_destroy(struct policy *slru)
{
	free(slru);
}

static void slru_remove(struct policy *slru, uint32_t slot)
{
	struct node *node = &slru->nodes[slot];

	assert(node->queue == PROBATION || node->queue == PROTECTED);
	queue_remove(&slru->queue[node->queue], node_links(slru->nodes), slot);
	node->queue = OUT;
}

static void enter(struct policy *slru, uint32_t slot, uint8_t queue)
{
	struct node *node = &slru->nodes[slot];

	node->queue = queue;
	node->stamp = ++slru->clock;
	queue_put_head(&slru->queue[queue], node_links(slru->nodes), slot);
}

/* If too many blocks are protected, move the oldest of them to probation. */
static void keep_share(struct policy *slru)
{
	struct queue *protected = &slru->queue[PROTECTED];
	uint32_t n = protected->n + slru->queue[PROBATION].n;

	if (protected->n > n / PROTECTED_SHARE) {
		uint32_t slot = protected->tail;

		slru_remove(slru, slot);
		slru->nodes[slot].heat = 0;
		enter(slru, slot, PROBATION);
	}
}

static void slru_insert(struct policy *slru, uint32_t slot,
			enum policy_origin origin)
{
	struct node *node = &slru->nodes[slot];

	assert(node->queue == OUT);
	if (origin == POLICY_HEIR) {
		if ((int32_t)(node->stamp - slru->victim_stamp) < 0)
			node->stamp = slru->victim_stamp;
		node->heat |= slru->victim_heat;
	}
	if (origin == POLICY_HEIR || origin == POLICY_KEPT) {
		node->queue = node->heat ? PROTECTED : PROBATION;
		queue_put_by_stamp(&slru->queue[node->queue], slru->nodes, slot);
	} else {
		enter(slru, slot, node->heat ? PROTECTED : PROBATION);
	}
	keep_share(slru);
}

static void slru_touch(struct policy *slru, uint32_t slot)
{
	struct node *node = &slru->nodes[slot];

	node->heat = 1;
	if (node->queue == OUT) {
		node->stamp = ++slru->clock;
		return;
	}
	slru_remove(slru, slot);
	enter(slru, slot, PROTECTED);
	keep_share(slru);
}

static uint32_t slru_victim(struct policy *slru)
{
	uint32_t slot = slru->queue[PROBATION].tail;

	if (slot == CKV_NONE)
		slot = slru->queue[PROTECTED].tail;
	if (slot != CKV_NONE) {
		slru_remove(slru, slot);
		slru->victim_stamp = slru->nodes[slot].stamp;
		slru->victim_heat = slru->nodes[slot].heat;
	}
	return slot;
}

static uint32_t slru_next_victim(const struct policy *slru, uint32_t after)
{
	uint32_t slot = after == CKV_NONE ? slru->queue[PROBATION].tail :
			slru->nodes[after].link.prev;

	if (slot == CKV_NONE &&
	    (after == CKV_NONE || slru->nodes[after].queue == PROBATION))
		slot = slru->queue[PROTECTED].tail;
	return slot;
}

const struct policy_ops policy_slru = {
	.name = "slru",
	.help = "segmented LRU: blocks used once do not push out blocks used again",
	.create = slru_create,
	.private_bytes = slru_private_bytes,
	.destroy = slru_destroy,
	.insert = slru_insert,
	.touch = slru_touch,
	.remove = slru_remove,
	.victim = slru_victim,
	.next_victim = slru_next_victim,
};
