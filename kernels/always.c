/* SPDX-License-Identifier: Apache-2.0 */
/*
 * always.c - tokens that are kept whatever they score.
 *
 * This is done after a method has chosen. Each token of the set that the method
 * did not choose takes the place of the worst chosen token that is not of the set.
 * The result is the same as if the set had better scores than everything else; but
 * there is no such score, since a real one can be as high as a float goes.
 */
#include "kernels/select_any.h"

#include <errno.h>
#include <stdlib.h>

int always_check(const struct ckv_always *a)
{
	if (a->n_ranges > CKV_ALWAYS_RANGES)
		return -EINVAL;
	for (uint32_t i = 0; i < a->n_ranges; i++)
		if (a->range[i].from > a->range[i].to)
			return -EINVAL;
	return 0;
}

/* Insert [from, to), joined with what it touches; ranges stay ascending. */
static void insert(struct always_set *set, uint32_t from, uint32_t to)
{
	uint32_t at = 0, end;

	if (from >= to)
		return;
	while (at < set->n_ranges && set->range[at].to < from)
		at++;
	for (end = at; end < set->n_ranges && set->range[end].from <= to; end++) {
		if (set->range[end].from < from)
			from = set->range[end].from;
		if (set->range[end].to > to)
			to = set->range[end].to;
	}
	/* Ranges at .. end - 1 become one. */
	if (end == at)
		for (uint32_t i = set->n_ranges; i > at; i--)
			set->range[i] = set->range[i - 1];
	else
		for (uint32_t i = end; i < set->n_ranges; i++)
			set->range[i - (end - at) + 1] = set->range[i];
	set->n_ranges = set->n_ranges + 1 - (end - at);
	set->range[at].from = from;
	set->range[at].to = to;
}

struct always_set always_of(const struct ckv_always *a, uint32_t n_tokens)
{
	struct always_set set = { 0 };

	insert(&set, 0, a->n_sink < n_tokens ? a->n_sink : n_tokens);
	insert(&set, a->n_recent < n_tokens ? n_tokens - a->n_recent : 0,
	       n_tokens * (a->n_recent > 0));
	for (uint32_t i = 0; i < a->n_ranges; i++)
		insert(&set, a->range[i].from,
		       a->range[i].to < n_tokens ? a->range[i].to : n_tokens);
	for (uint32_t i = 0; i < set.n_ranges; i++)
		set.n_tokens += set.range[i].to - set.range[i].from;
	return set;
}

/* The newest n of the set. */
static void newest_of(const struct always_set *set, uint32_t n, uint32_t *pos)
{
	for (uint32_t r = set->n_ranges; r-- > 0 && n > 0;)
		for (uint32_t t = set->range[r].to;
		     t-- > set->range[r].from && n > 0;)
			pos[--n] = t;
}

/* Positions that are not of the set to other[]. Returns how many. */
static uint32_t others_of(const struct always_set *set, const uint32_t *pos,
			  uint32_t n, uint32_t *other)
{
	uint32_t n_other = 0, r = 0;

	for (uint32_t i = 0; i < n; i++) {
		while (r < set->n_ranges && set->range[r].to <= pos[i])
			r++;
		if (r == set->n_ranges || pos[i] < set->range[r].from)
			other[n_other++] = pos[i];
	}
	return n_other;
}

/*
 * Keep the best `keep` of other[0..n), ascending, in place. score: of the
 * tokens below n_scored. value, chosen: room for n.
 */
static void keep_best(const float *score, uint32_t n_scored, uint32_t *other,
		      uint32_t n, uint32_t keep, float *value, uint32_t *chosen)
{
	uint32_t n_low = 0, n_high, n_best;

	while (n_low < n && other[n_low] < n_scored)
		n_low++;
	n_high = n - n_low;
	if (n_high > keep)
		n_high = keep;
	n_best = keep - n_high;
	for (uint32_t i = 0; i < n_low; i++)
		value[i] = score[other[i]];
	ckv_select_top(value, n_low, n_best, 0, chosen, NULL);
	for (uint32_t i = 0; i < n_best; i++)
		other[i] = other[chosen[i]];
	for (uint32_t i = 0; i < n_high; i++)
		other[n_best + i] = other[n - n_high + i];
}

/* The set and other[0..n), which are disjoint, ascending to pos. */
static void join(const struct always_set *set, const uint32_t *other, uint32_t n,
		 uint32_t *pos)
{
	uint32_t i = 0;

	for (uint32_t r = 0; r < set->n_ranges; r++) {
		while (i < n && other[i] < set->range[r].from)
			*pos++ = other[i++];
		for (uint32_t t = set->range[r].from; t < set->range[r].to; t++)
			*pos++ = t;
	}
	while (i < n)
		*pos++ = other[i++];
}

uint32_t always_merge(const struct always_set *set,
		      const struct select_choice *choice, uint32_t index,
		      void *scratch, uint32_t *pos)
{
	uint32_t n = choice->kept.n, *other = scratch, n_other;
	const float *score = choice->score == NULL ? NULL
		: choice->score + index * choice->stride;

	if (set->n_tokens >= n) {
		newest_of(set, n, pos);
		return set->n_tokens - n;
	}
	n_other = others_of(set, pos, n, other);
	if (n_other + set->n_tokens > n)
		keep_best(score, choice->n_scored, other, n_other,
			  n - set->n_tokens, (float *)(other + n), pos);
	join(set, other, n - set->n_tokens, pos);
	return 0;
}
