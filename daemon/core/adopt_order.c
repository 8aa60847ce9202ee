/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt_order.c - what was taken over (adopt.c), in the order in which it was used before.
 */
#include "daemon/core/state.h"

#define AHEAD	16u		/* slots: prefetched so far ahead */

/* A sorted list is made of words with a 32-bit key in the high half. */
static uint64_t pair(uint32_t key, uint32_t value)
{
	return (uint64_t)key << 32 | value;
}

/*
 * Keys are times of a clock that wraps. Where between two digits there is the longest
 * gap without a key, there is the end of time: the oldest comes behind it. Returns the
 * first digit behind the gap.
 */
static uint32_t oldest_digit(const uint32_t *n_of, uint32_t n_digits)
{
	uint32_t best = 0, length = 0, first = 0;

	for (uint32_t i = 0; i < 2 * n_digits; i++) {
		length = n_of[i % n_digits] == 0 ? length + 1 : 0;
		if (length > best && length <= n_digits) {
			best = length;
			first = (i + 1) % n_digits;
		}
	}
	return first;
}

/* Sort by one digit of the key; `wraps`: it is the last one, so mind the clock's wrap. */
static void sort_by_digit(const uint64_t *from, uint64_t *to, uint32_t n,
			  uint32_t shift, bool wraps)
{
	enum { DIGITS = 1 << 11 };
	uint32_t n_of[DIGITS] = { 0 }, at[DIGITS], first, next = 0;

	for (uint32_t i = 0; i < n; i++)
		n_of[from[i] >> shift & (DIGITS - 1)]++;
	first = wraps ? oldest_digit(n_of, DIGITS / 2) : 0;
	for (uint32_t i = 0; i < DIGITS; i++) {
		uint32_t digit = wraps ? (first + i) % (DIGITS / 2) : i;

		at[digit] = next;
		next += n_of[digit];
		if (wraps && i == DIGITS / 2 - 1)
			break;
	}
	for (uint32_t i = 0; i < n; i++)
		to[at[from[i] >> shift & (DIGITS - 1)]++] = from[i];
}

/* Sort `a`, the oldest first; `b` is as long. Returns where the result is. */
static uint64_t *sort(uint64_t *a, uint64_t *b, uint32_t n)
{
	sort_by_digit(a, b, n, 32, false);
	sort_by_digit(b, a, n, 43, false);
	sort_by_digit(a, b, n, 54, true);
	return b;
}

/* Two lists as long as there are slots, in memory that nothing else uses yet. */
static uint64_t *list_a(const struct space *s)
{
	return (uint64_t *)(void *)s->witnesses;
}

static uint64_t *list_b(const struct space *s)
{
	return (uint64_t *)(void *)s->sums;
}

/*
 * Give all blocks with a copy at a level, or all views, to their policy in the order in which
 * they were used, as far as the nodes of before tell. Each gets a new time, also those that
 * may not go.
 */
static void restore_order(struct space *s, uint32_t level, bool views)
{
	uint64_t *list = list_a(s);
	uint32_t n = 0;

	for (uint32_t slot = 0; slot < s->n_slots; slot++)
		if (node_of(s, slot)->state == NODE_PUBLISHED &&
		    copy_there(s, slot, level) && node_is_view(s, slot) == views)
			list[n++] = pair(copy_of(s, slot, level)->stamp, slot);
	list = sort(list, list_b(s), n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = (uint32_t)list[i];
		struct candidates *c = candidates_of(s, slot, level);

		if (i + AHEAD < n)
			__builtin_prefetch(node_of(s, (uint32_t)list[i + AHEAD]), 1);
		c->ops->insert(c->policy, slot, POLICY_KNOWN);
		if (!copy_may_go(s, slot, level)) {
			c->ops->remove(c->policy, slot);
			copy_put(s, slot, level, POLICY_KNOWN);	/* it may be tied */
		}
	}
}

/* The names of views, each with its views in the order in which they were made. */
static void restore_names(struct space *s)
{
	uint64_t *list = list_a(s);
	uint32_t n = 0;

	for (uint32_t i = 0; i < work_pool(s)->n_view_pages; i++) {
		uint64_t number = s->view_rows[i].number;

		if (s->runs[i].n_pages == 0)
			continue;
		list[n++] = pair((uint32_t)number, i);
		if (number > s->view_number)
			s->view_number = number;
	}
	list = sort(list, list_b(s), n);
	for (uint32_t i = 0; i < n; i++)
		view_name(s, (uint32_t)list[i]);
}

static bool is_summed(const struct space *s, uint32_t slot)
{
	return record_of(s, slot, level_of(s, slot))->flags & CKV_ENTRY_SUMMED;
}

/* Forget what nodes of before say of slots that are free, and fill the other queues. */
static void restore_queues(struct space *s)
{
	for (uint32_t slot = 0; slot < s->n_slots; slot++) {
		struct node *node = node_of(s, slot);

		if (node->state == NODE_FREE)
			node->mark = 0;
		if (node->mark & NODE_SUM_QUEUED)
			s->sums[s->n_sums++] = slot;
		if (node->state == NODE_PUBLISHED && !is_summed(s, slot))
			ckv_count(&s->stats->unsummed, 1);
		if (node->state == NODE_PUBLISHED && node_children(s, slot) == 0)
			tip_enqueue(s, slot);
	}
}

void adopt_order(struct space *s)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		restore_order(s, l, false);
	restore_order(s, s->config.work_level, true);
	restore_names(s);
	restore_queues(s);
}
