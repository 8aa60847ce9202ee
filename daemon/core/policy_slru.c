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
	struct copies copies;
	struct queue queue[3];
	uint32_t clock;		/* ticks at each use; wraps, so compare by difference */
	uint32_t victim_stamp;	/* stamp and heat of the last victim */
	uint8_t	 victim_heat;
};

static int slru_create(struct copies copies, struct policy **ret_policy)
{
	struct policy *slru = calloc(1, sizeof *slru);

	if (slru == NULL)
		return -ENOMEM;
	slru->copies = copies;
	queue_init(&slru->queue[PROBATION]);
	queue_init(&slru->queue[PROTECTED]);
	*ret_policy = slru;
	return 0;
}

static size_t slru_private_bytes(void)
{
	return sizeof(struct policy);
}

static void slru_destroy(struct policy *slru)
{
	free(slru);
}

static void slru_remove(struct policy *slru, uint32_t slot)
{
	struct copy *copy = copy_in(slru->copies, slot);

	assert(copy->queue == PROBATION || copy->queue == PROTECTED);
	queue_remove(&slru->queue[copy->queue], copy_links(slru->copies), slot);
	copy->queue = OUT;
}

static void enter(struct policy *slru, uint32_t slot, uint8_t queue)
{
	struct copy *copy = copy_in(slru->copies, slot);

	copy->queue = queue;
	copy->stamp = ++slru->clock;
	queue_put_head(&slru->queue[queue], copy_links(slru->copies), slot);
}

/* If too many blocks are protected, move the oldest of them to probation. */
static void keep_share(struct policy *slru)
{
	struct queue *protected = &slru->queue[PROTECTED];
	uint32_t n = protected->n + slru->queue[PROBATION].n;

	if (protected->n > n / PROTECTED_SHARE) {
		uint32_t slot = protected->tail;

		slru_remove(slru, slot);
		copy_in(slru->copies, slot)->heat = 0;
		enter(slru, slot, PROBATION);
	}
}

static void slru_insert(struct policy *slru, uint32_t slot,
			enum policy_origin origin)
{
	struct copy *copy = copy_in(slru->copies, slot);

	assert(copy->queue == OUT);
	if (origin == POLICY_HEIR) {
		if ((int32_t)(copy->stamp - slru->victim_stamp) < 0)
			copy->stamp = slru->victim_stamp;
		copy->heat |= slru->victim_heat;
	}
	if (origin == POLICY_HEIR || origin == POLICY_KEPT) {
		copy->queue = copy->heat ? PROTECTED : PROBATION;
		queue_put_by_stamp(&slru->queue[copy->queue], slru->copies, slot);
	} else {
		enter(slru, slot, copy->heat ? PROTECTED : PROBATION);
	}
	/* The oldest protected ones come first, when their share is still small. */
	if (origin != POLICY_KNOWN)
		keep_share(slru);
}

static void slru_touch(struct policy *slru, uint32_t slot)
{
	struct copy *copy = copy_in(slru->copies, slot);

	copy->heat = 1;
	if (copy->queue == OUT) {
		copy->stamp = ++slru->clock;
		return;
	}
	slru_remove(slru, slot);
	enter(slru, slot, PROTECTED);
	keep_share(slru);
}

static void slru_take(struct policy *slru, uint32_t slot)
{
	slru_remove(slru, slot);
	slru->victim_stamp = copy_in(slru->copies, slot)->stamp;
	slru->victim_heat = copy_in(slru->copies, slot)->heat;
}

static uint32_t slru_victim(struct policy *slru)
{
	uint32_t slot = slru->queue[PROBATION].tail;

	if (slot == CKV_NONE)
		slot = slru->queue[PROTECTED].tail;
	if (slot != CKV_NONE)
		slru_take(slru, slot);
	return slot;
}

static uint32_t slru_next_victim(const struct policy *slru, uint32_t after)
{
	uint32_t slot = after == CKV_NONE ? slru->queue[PROBATION].tail :
			copy_in(slru->copies, after)->link.prev;

	if (slot == CKV_NONE &&
	    (after == CKV_NONE || copy_in(slru->copies, after)->queue == PROBATION))
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
	.take = slru_take,
	.next_victim = slru_next_victim,
};
