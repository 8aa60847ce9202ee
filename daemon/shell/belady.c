/* SPDX-License-Identifier: Apache-2.0 */
/*
 * belady.c - the most hits any cache can have (Belady's MIN, with bypass).
 *
 * MIN knows the future. A block that is used is kept if its next use comes earlier
 * than the latest next use of a cached block; that cached block is evicted instead. No
 * policy has more hits in a cache of the same size. A parent is always used again
 * before its child, so MIN never keeps a child without its parent: it obeys the rule
 * that the core's policies obey.
 *
 * A binary heap finds the block of the latest next use. When a block is hit, its next
 * use becomes later and it gets a new element in the heap. The old element is
 * recognised as outdated, and dropped, when it comes to the top.
 */
#include "daemon/shell/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NEVER	UINT32_MAX

struct use {
	uint32_t next;		/* position of the next use */
	uint32_t block;
};

struct heap {			/* the latest next use at the top */
	struct use *uses;
	uint32_t n;
};

static void heap_push(struct heap *h, struct use use)
{
	uint32_t i = h->n++;

	for (; i > 0 && h->uses[(i - 1) / 2].next < use.next; i = (i - 1) / 2)
		h->uses[i] = h->uses[(i - 1) / 2];
	h->uses[i] = use;
}

static void heap_pop(struct heap *h)
{
	struct use last = h->uses[--h->n];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < h->n) {
		if (child + 1 < h->n &&
		    h->uses[child + 1].next > h->uses[child].next)
			child++;
		if (h->uses[child].next <= last.next)
			break;
		h->uses[i] = h->uses[child];
		i = child;
	}
	h->uses[i] = last;
}

/* next[i]: the position of the next use of the block used at i. */
static void find_next(const struct trace *t, uint32_t *next, uint32_t *last)
{
	memset(last, 0xff, t->n_blocks * sizeof *last);
	for (uint32_t i = t->n_refs; i-- > 0; ) {
		next[i] = last[t->refs[i]];
		last[t->refs[i]] = i;
	}
}

/* cached[b]: next use of block b + 1; 0: not cached. A block that is not used again never is. */
static uint64_t run(const struct trace *t, uint32_t n_cached,
		    const uint32_t *next, uint32_t *cached, struct heap *heap)
{
	uint64_t n_hits = 0;
	uint32_t n = 0;

	memset(cached, 0, t->n_blocks * sizeof *cached);
	for (uint32_t i = 0; i < t->n_refs; i++) {
		uint32_t block = t->refs[i];

		if (cached[block] != 0) {
			cached[block] = 0;
			n_hits++;
			n--;
		}
		if (next[i] == NEVER)
			continue;
		while (n >= n_cached && heap->n > 0 &&
		       heap->uses[0].next > next[i]) {
			struct use far = heap->uses[0];

			heap_pop(heap);
			if (cached[far.block] != far.next + 1)
				continue;
			cached[far.block] = 0;
			n--;
		}
		if (n >= n_cached)
			continue;
		cached[block] = next[i] + 1;
		heap_push(heap, (struct use){ next[i], block });
		n++;
	}
	return n_hits;
}

int trace_belady(const struct trace *t, uint32_t n_cached,
		 uint64_t *ret_n_hits)
{
	uint32_t *next = realloc(NULL, t->n_refs * sizeof *next);
	uint32_t *words = realloc(NULL, t->n_blocks * sizeof *words);
	struct heap heap = {
		.uses = realloc(NULL, t->n_refs * sizeof *heap.uses),
	};
	int ret = -ENOMEM;

	if (next != NULL && words != NULL && heap.uses != NULL) {
		find_next(t, next, words);
		*ret_n_hits = run(t, n_cached, next, words, &heap);
		ret = 0;
	}
	free(heap.uses);
	free(words);
	free(next);
	return ret;
}
