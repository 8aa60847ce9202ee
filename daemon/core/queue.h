/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - a queue of pages, doubly linked through the `prev` and `next` of
 * their nodes.
 */
#ifndef CKV_CORE_QUEUE_H
#define CKV_CORE_QUEUE_H

#include "daemon/core/policy.h"

struct queue {
	uint32_t head, tail;	/* CKV_NONE when empty */
	uint32_t n;
};

static inline void queue_init(struct queue *q)
{
	q->head = q->tail = CKV_NONE;
	q->n = 0;
}

/* Put `page` just behind `after`, nearer the tail; CKV_NONE: at the head. */
static inline void queue_put_after(struct queue *q, struct node *nodes,
				   uint32_t page, uint32_t after)
{
	uint32_t next = after == CKV_NONE ? q->head : nodes[after].next;

	nodes[page].prev = after;
	nodes[page].next = next;
	if (after == CKV_NONE)
		q->head = page;
	else
		nodes[after].next = page;
	if (next == CKV_NONE)
		q->tail = page;
	else
		nodes[next].prev = page;
	q->n++;
}

static inline void queue_put_head(struct queue *q, struct node *nodes,
				  uint32_t page)
{
	queue_put_after(q, nodes, page, CKV_NONE);
}

static inline void queue_put_tail(struct queue *q, struct node *nodes,
				  uint32_t page)
{
	queue_put_after(q, nodes, page, q->tail);
}

static inline void queue_remove(struct queue *q, struct node *nodes,
				uint32_t page)
{
	uint32_t prev = nodes[page].prev, next = nodes[page].next;

	if (prev == CKV_NONE)
		q->head = next;
	else
		nodes[prev].next = next;
	if (next == CKV_NONE)
		q->tail = prev;
	else
		nodes[next].prev = prev;
	q->n--;
}

/*
 * Insert `page` in the order of stamps, the newest at the head. The search starts
 * at the tail and gives up after 16 steps; then the page goes to the head, which
 * errs towards keeping the block.
 */
static inline void queue_put_by_stamp(struct queue *q, struct node *nodes,
				      uint32_t page)
{
	uint32_t at = q->tail;

	for (int i = 0; i < 16 && at != CKV_NONE; i++) {
		if ((int32_t)(nodes[at].stamp - nodes[page].stamp) >= 0) {
			queue_put_after(q, nodes, page, at);
			return;
		}
		at = nodes[at].prev;
	}
	queue_put_head(q, nodes, page);
}

#endif
