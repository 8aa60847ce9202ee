/* SPDX-License-Identifier: Apache-2.0 */
/*
 * many.c - look up several chains at once: the requests of one scheduler step.
 *
 * The searches advance side by side, so each round of probes waits for memory once for all
 * of them, and one PIN_FENCE is enough for all their pin words. A chain that needs two pin
 * words, whose pin is not confirmed, or whose blocks are not linked, is looked up again by
 * itself.
 */
#include "client/lib.h"

#include <errno.h>
#include <limits.h>

enum { GROUP = 16 };		/* chains that are looked up together */

struct one {
	struct lib_chain chain;
	long n;			/* found, or -EAGAIN */
	int quick;		/* one word will hold it, or holds it */
};

/* Search for all of them; every round waits for memory once. */
static void search_group(const struct ckv_index *index, struct one *group,
			 size_t n)
{
	int more;

	for (size_t i = 0; i < n; i++)
		lib_search_begin(&group[i].chain.search, index, group[i].chain.keys,
				 group[i].chain.n_keys);
	do {
		more = 0;
		for (size_t i = 0; i < n; i++)
			more |= lib_search_step(&group[i].chain.search, index);
	} while (more);
	for (size_t i = 0; i < n; i++)
		lib_search_end(&group[i].chain.search, index, &group[i].chain.found);
}

/* Pin those that need one word, with one fence for all, and fill their handles. */
static void pin_group(struct ckv_lane *lane, struct one *group, size_t n,
		      unsigned flags)
{
	for (size_t i = 0; i < n; i++) {
		struct one *o = &group[i];
		struct lib_hit *last = &o->chain.found.last;
		const uint32_t *n_at = o->chain.found.n_at;

		lib_pin_none(&o->chain.pin);
		o->n = n_at[CKV_LEVEL_REMOTE];
		o->quick = o->n > 0 && n_at[CKV_LEVEL_HOST] == o->n &&
			   (n_at[CKV_LEVEL_DEVICE] == 0 ||
			    n_at[CKV_LEVEL_DEVICE] == o->n);
		if (o->quick && lib_pin_put(lane, last->slot,
					    last->block.generation,
					    &o->chain.pin.word[0]) < 0)
			o->n = -EAGAIN;
	}
	ckv_pin_fence();
	for (size_t i = 0; i < n; i++) {
		struct one *o = &group[i];
		const struct lib_hit *last = &o->chain.found.last;
		int in_time;

		if (!o->quick || o->n < 0)
			continue;
		in_time = lib_pin_in_time(lane, last->slot,
					  last->block.generation);
		o->quick = in_time &&
			   lib_fill(lane, &o->chain, (uint32_t)o->n, flags) ==
			   o->n;
		if (o->quick)
			lib_pin_hold(lane, &o->chain.pin);
		else
			lib_pin_give_all(lane, &o->chain.pin);
	}
}

static void lookup_group(struct ckv_lane *lane, struct one *group, size_t n,
			 unsigned flags)
{
	int together = n > 1 && (flags & CKV_EXISTS) == 0;

	if (together) {
		search_group(&lane->index, group, n);
		pin_group(lane, group, n, flags);
	}
	for (size_t i = 0; i < n; i++) {
		struct one *o = &group[i];

		if (!together || (o->n > 0 && !o->quick))
			o->n = lib_lookup_chain(lane, &o->chain, flags);
		else if (o->n >= 0)
			lib_claim(lane, &o->chain, flags);
	}
}

static int all_ok(const struct ckv_chain *chains, size_t n_chains, unsigned flags)
{
	for (size_t i = 0; i < n_chains; i++) {
		struct lib_chain c;

		c.keys = (const struct ckv_key *)chains[i].keys;
		c.handles = chains[i].ret_handles;
		if (!lib_chain_ok(&c, chains[i].n_keys, flags, &chains[i].pin))
			return 0;
	}
	return 1;
}

long ckv_lookup_many(struct ckv_lane *lane, struct ckv_chain *chains,
		     size_t n_chains, unsigned flags)
{
	struct one group[GROUP];
	LIB_INSIDE(lane);
	long n_answered = 0;
	int ready;

	if (lib_forked(lane->mine))
		return lib_plain(lane->ckv, -ECHILD);
	if ((flags & ~3u) || (n_chains > 0 && chains == NULL) ||
	    n_chains > LONG_MAX || !all_ok(chains, n_chains, flags))
		return lib_plain(lane->ckv, -EINVAL);
	ready = lib_lane_ready(lane);
	if (ready < 0 && ready != -ESTALE)
		return lib_plain(lane->ckv, ready);
	for (size_t at = 0; at < n_chains; at += GROUP) {
		size_t n = n_chains - at < GROUP ? n_chains - at : GROUP;

		for (size_t i = 0; i < n; i++) {
			struct ckv_chain *chain = &chains[at + i];

			group[i].chain.keys = (const void *)chain->keys;
			group[i].chain.n_keys = (uint32_t)chain->n_keys;
			group[i].chain.handles = chain->ret_handles;
		}
		if (ready == 0)
			lookup_group(lane, group, n, flags);
		for (size_t i = 0; i < n; i++) {
			struct ckv_chain *chain = &chains[at + i];

			if (ready < 0)
				group[i].n = lib_lookup_none(&group[i].chain);
			chain->result = group[i].n;
			if (group[i].n < 0)
				continue;
			lib_hand_out(&group[i].chain, group[i].n, &chain->pin);
			n_answered++;
		}
	}
	return n_answered;
}
