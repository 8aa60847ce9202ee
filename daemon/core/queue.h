/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - a doubly linked queue through the elements of an array: the copies of
 * slots at one level, or pages.
 */
#ifndef CKV_CORE_QUEUE_H
#define CKV_CORE_QUEUE_H

#include "daemon/core/policy.h"

struct queue {
	uint32_t head, tail;	/* CKV_NONE when empty */
	uint32_t n;
};

struct links {			/* those of an array's elements */
	char *first;
	size_t stride;
};

static inline struct links copy_links(struct copies copies)
{
	return (struct links){
		copies.first + offsetof(struct copy, link), copies.stride,
	};
}

static inline struct link *link_of(struct links links, uint32_t i)
{
	return (struct link *)(void *)(links.first + i * links.stride);
}

static inline void queue_init(struct queue *q)
{
	q->head = q->tail = CKV_NONE;
	q->n = 0;
}

/* Put element `i` just behind `after`, nearer the tail; CKV_NONE: at the head. */
static inline void queue_put_after(struct queue *q, struct links links,
				   uint32_t i, uint32_t after)
{
	uint32_t next = after == CKV_NONE ? q->head : link_of(links, after)->next;

	*link_of(links, i) = (struct link){ .prev = after, .next = next };
	if (after == CKV_NONE)
		q->head = i;
	else
		link_of(links, after)->next = i;
	if (next == CKV_NONE)
		q->tail = i;
	else
		link_of(links, next)->prev = i;
	q->n++;
}

static inline void queue_put_head(struct queue *q, struct links links, uint32_t i)
{
	queue_put_after(q, links, i, CKV_NONE);
}

static inline void queue_remove(struct queue *q, struct links links, uint32_t i)
{
	struct link at = *link_of(links, i);

	if (at.prev == CKV_NONE)
		q->head = at.next;
	else
		link_of(links, at.prev)->next = at.next;
	if (at.next == CKV_NONE)
		q->tail = at.prev;
	else
		link_of(links, at.next)->prev = at.prev;
	q->n--;
}

/*
 * Insert `slot` in the order of stamps, the newest at the head. The search starts
 * at the tail and gives up after 16 steps; then the slot goes to the head, which
 * errs towards keeping the block.
 */
static inline void queue_put_by_stamp(struct queue *q, struct copies copies,
				      uint32_t slot)
{
	uint32_t stamp = copy_in(copies, slot)->stamp;
	uint32_t at = q->tail;

	for (int i = 0; i < 16 && at != CKV_NONE; i++) {
		const struct copy *copy = copy_in(copies, at);

		if ((int32_t)(copy->stamp - stamp) >= 0) {
			queue_put_after(q, copy_links(copies), slot, at);
			return;
		}
		at = copy->link.prev;
	}
	queue_put_head(q, copy_links(copies), slot);
}

#endif
