/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_lru.c - least recently used.
 *
 * One queue of childless blocks, the most recently used at the head. A block whose
 * last child was a victim inherits the child's recency: it goes near the tail, so a
 * chain is evicted from its end. A block that was itself used after that child keeps
 * its own place, and so does one that comes back as POLICY_KEPT.
 */
#include "daemon/core/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct policy {
	struct copies copies;
	struct queue queue;
	uint32_t clock;		/* ticks at each use; wraps, so compare by difference */
	uint32_t victim_stamp;	/* stamp of the last victim */
};

static int lru_create(struct copies copies, struct policy **ret_policy)
{
	struct policy *lru = calloc(1, sizeof *lru);

	if (lru == NULL)
		return -ENOMEM;
	lru->copies = copies;
	queue_init(&lru->queue);
	*ret_policy = lru;
	return 0;
}

static size_t lru_private_bytes(void)
{
	return sizeof(struct policy);
}

static void lru_destroy(struct policy *lru)
{
	free(lru);
}

static void lru_put_heir(struct policy *lru, uint32_t slot)
{
	struct copy *copy = copy_in(lru->copies, slot);

	if ((int32_t)(copy->stamp - lru->victim_stamp) < 0)
		copy->stamp = lru->victim_stamp;
	queue_put_by_stamp(&lru->queue, lru->copies, slot);
}

static void lru_insert(struct policy *lru, uint32_t slot,
		       enum policy_origin origin)
{
	struct copy *copy = copy_in(lru->copies, slot);

	assert(copy->queue == 0);
	copy->queue = 1;
	if (origin == POLICY_HEIR) {
		lru_put_heir(lru, slot);
		return;
	}
	if (origin == POLICY_KEPT) {
		queue_put_by_stamp(&lru->queue, lru->copies, slot);
		return;
	}
	copy->stamp = ++lru->clock;
	queue_put_head(&lru->queue, copy_links(lru->copies), slot);
}

static void lru_touch(struct policy *lru, uint32_t slot)
{
	struct copy *copy = copy_in(lru->copies, slot);

	copy->stamp = ++lru->clock;
	if (copy->queue != 0) {
		queue_remove(&lru->queue, copy_links(lru->copies), slot);
		queue_put_head(&lru->queue, copy_links(lru->copies), slot);
	}
}

static void lru_remove(struct policy *lru, uint32_t slot)
{
	assert(copy_in(lru->copies, slot)->queue == 1);
	copy_in(lru->copies, slot)->queue = 0;
	queue_remove(&lru->queue, copy_links(lru->copies), slot);
}

static void lru_take(struct policy *lru, uint32_t slot)
{
	lru_remove(lru, slot);
	lru->victim_stamp = copy_in(lru->copies, slot)->stamp;
}

static uint32_t lru_victim(struct policy *lru)
{
	uint32_t slot = lru->queue.tail;

	if (slot != CKV_NONE)
		lru_take(lru, slot);
	return slot;
}

static uint32_t lru_next_victim(const struct policy *lru, uint32_t after)
{
	return after == CKV_NONE ? lru->queue.tail : copy_in(lru->copies, after)->link.prev;
}

const struct policy_ops policy_lru = {
	.name = "lru",
	.help = "least recently used first",
	.create = lru_create,
	.private_bytes = lru_private_bytes,
	.destroy = lru_destroy,
	.insert = lru_insert,
	.touch = lru_touch,
	.remove = lru_remove,
	.victim = lru_victim,
	.take = lru_take,
	.next_victim = lru_next_victim,
};
