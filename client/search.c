/* SPDX-License-Identifier: Apache-2.0 */
/*
 * search.c - how much of a chain the index holds, and at which levels.
 *
 * Along a chain the level only falls, so every boundary is found by search, not
 * by walking. One probe costs two dependent cache misses (the key, then the
 * bucket's tags), so a round makes many independent probes at once and divides
 * the range by many: 8 192 blocks take four rounds instead of thirteen. A search is
 * made of steps, each of which ends by asking for what the next one reads, so several
 * searches can wait together.
 *
 * The first phase asks the tags only, which cannot miss a block that is there
 * but takes one key in some thousand for another. The deepest block it finds is
 * then looked up whole; if that was a mistake, the search goes on below it. The
 * two ends of what was found usually have the same level, and then all
 * between have it too; else the boundaries between levels are searched for,
 * whole entries this time.
 *
 * An entry whose generation is odd counts as present: it is being judged.
 */
#include "client/lib.h"

enum {
	LEVEL_PROBES = 7,	/* of one round of the level search */
};

/* Is the tag there? If so and `entry`, ask for the entry that it stands for. */
static inline __attribute__((always_inline)) int
tag_present(const struct ckv_index *index, const struct ckv_place *place,
	    int entry)
{
	const struct ckv_bucket *b0 = &index->buckets[place->bucket[0]];
	const struct ckv_bucket *b1 = &index->buckets[place->bucket[1]];
	uint32_t hits0 = ckv_bucket_match(b0, place->tag);
	uint32_t hits1 = ckv_bucket_match(b1, place->tag);

	if (entry && hits0 != 0)
		__builtin_prefetch(&b0->entry[__builtin_ctz(hits0)]);
	else if (entry && hits1 != 0)
		__builtin_prefetch(&b1->entry[__builtin_ctz(hits1)]);
	return (hits0 | hits1) != 0;
}

/* Spread up to `max` probes over [lo, hi), not at lo - 1 or hi. */
static uint32_t spread(uint32_t lo, uint32_t hi, uint32_t max,
		       uint32_t *ret_at)
{
	uint32_t span = hi - lo, n = span < max ? span : max;

	for (uint32_t i = 0; i < n; i++)
		ret_at[i] = lo + (uint32_t)((uint64_t)(i + 1) * (span + 1) /
					    (n + 1)) - 1;
	return n;
}

/* Ask for what the round at `at` reads. */
static void ask(struct lib_search *s, const struct ckv_index *index)
{
	for (uint32_t i = 0; i < s->n; i++) {
		s->place[i] = ckv_index_place(index, &s->keys[s->at[i]]);
		ckv_index_prefetch(index, &s->place[i]);
	}
}

void lib_search_begin(struct lib_search *s, const struct ckv_index *index,
		      const struct ckv_key *keys, uint32_t n_keys)
{
	s->keys = keys;
	s->lo = s->n = s->n_places = 0;
	s->hi = n_keys;
	if (n_keys == 0)
		return;
	/* Both ends first: nothing and everything are the common answers. */
	s->at[s->n++] = 0;
	if (n_keys > 2)
		s->n += spread(1, n_keys - 1, n_keys <= LIB_WHOLE ? LIB_WHOLE :
			       LIB_PROBES - 1, s->at + 1);
	if (n_keys > 1)
		s->at[s->n++] = n_keys - 1;
	ask(s, index);
	s->first = s->place[0];
	s->n_places = s->n == n_keys ? n_keys : 0;
}

/* The deepest block may be the last one seen, and its parent is looked at, too. */
static void ask_ends(const struct lib_search *s, const struct ckv_index *index)
{
	struct ckv_place place;

	if (s->lo < 2)
		return;
	place = ckv_index_place(index, &s->keys[s->lo - 2]);
	ckv_index_prefetch_entry(index, &place);
	place = ckv_index_place(index, &s->keys[s->lo - 1]);
	ckv_index_prefetch_hit(index, &place);
}

int lib_search_step(struct lib_search *s, const struct ckv_index *index)
{
	/* In the last round each of the probes may be the deepest block. */
	int last_round = s->n >= s->hi - s->lo;

	for (uint32_t i = 0; i < s->n; i++) {
		if (!tag_present(index, &s->place[i], last_round)) {
			s->hi = s->at[i];
			break;
		}
		s->lo = s->at[i] + 1;
	}
	if (s->lo >= s->hi) {
		s->n = 0;
		return 0;
	}
	s->n = spread(s->lo, s->hi, LIB_PROBES, s->at);
	ask(s, index);
	if (s->n >= s->hi - s->lo)
		ask_ends(s, index);
	return 1;
}

static uint8_t level_of(const struct ckv_index *index, const struct ckv_key *key,
			const struct ckv_place *place)
{
	struct ckv_block block;
	uint32_t slot;

	return ckv_index_find(index, place, key, &slot, &block) ? block.level :
								  0;
}

/* One round of the level search over (lo, hi) of level `t`; every probe tells of all levels. */
static void level_round(const struct ckv_index *index,
			const struct ckv_key *keys, uint32_t lo[CKV_LEVELS],
			uint32_t hi[CKV_LEVELS], int t)
{
	struct ckv_place place[LEVEL_PROBES];
	uint32_t at[LEVEL_PROBES], n;

	n = spread(lo[t], hi[t], LEVEL_PROBES, at);
	for (uint32_t i = 0; i < n; i++) {
		place[i] = ckv_index_place(index, &keys[at[i]]);
		ckv_index_prefetch_entry(index, &place[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		uint8_t level = level_of(index, &keys[at[i]], &place[i]);

		for (int l = 1; l < CKV_LEVELS; l++) {
			if (l <= level && lo[l] <= at[i])
				lo[l] = at[i] + 1;
			if (l > level && hi[l] > at[i])
				hi[l] = at[i];
		}
	}
}

/* n_at of a prefix of `found` blocks whose ends have these levels. */
static void level_bounds(const struct ckv_index *index,
			 const struct ckv_key *keys, uint32_t n_found,
			 uint8_t first, uint8_t last, uint32_t ret_n_at[CKV_LEVELS])
{
	uint32_t lo[CKV_LEVELS], hi[CKV_LEVELS];

	for (int l = 0; l < CKV_LEVELS; l++) {
		lo[l] = l <= last ? n_found : l <= first ? 1 : 0;
		hi[l] = l > first ? 0 : l <= last ? n_found : n_found - 1;
	}
	for (int l = 1; l < CKV_LEVELS; l++)
		while (lo[l] < hi[l])
			level_round(index, keys, lo, hi, l);
	/* What changed while we looked may have crossed the bounds. */
	for (int l = CKV_LEVELS - 1; l > 0; l--)
		if (l < CKV_LEVELS - 1 && lo[l] < lo[l + 1])
			lo[l] = lo[l + 1];
	memcpy(ret_n_at, lo, sizeof lo);
	ret_n_at[0] = n_found;
}

static int find_last(const struct ckv_index *index, const struct ckv_key *keys,
		     uint32_t n_keys, struct lib_hit *last)
{
	struct ckv_place place = ckv_index_place(index, &keys[n_keys - 1]);

	last->at = n_keys - 1;
	return ckv_index_find(index, &place, &keys[n_keys - 1], &last->slot,
			      &last->block);
}

void lib_search_end(struct lib_search *s, const struct ckv_index *index,
		    struct lib_found *ret_found)
{
	const struct ckv_key *keys = s->keys;
	struct lib_hit *last = &ret_found->last;
	uint32_t n = s->lo;
	uint8_t first, level;

	while (n > 0 && !find_last(index, keys, n, last)) {
		lib_search_begin(s, index, keys, n - 1);
		while (lib_search_step(s, index))
			;
		n = s->lo;
	}
	first = level = n > 0 ? last->block.level : 0;
	if (n > 1)
		first = level_of(index, &keys[0], &s->first);
	/* Lower only if the chain was freed from its root while we looked. */
	if (first > level)
		level_bounds(index, keys, n, first, level, ret_found->n_at);
	else
		for (int l = 0; l < CKV_LEVELS; l++)
			ret_found->n_at[l] = l <= level ? n : 0;
}

/*
 * Find the longest prefix of keys[0 .. n_keys) that is in the index, and how
 * much of it lies at each level or nearer.
 */
void lib_search(struct lib_search *s, const struct ckv_index *index,
		const struct ckv_key *keys, uint32_t n_keys,
		struct lib_found *ret_found)
{
	lib_search_begin(s, index, keys, n_keys);
	while (lib_search_step(s, index))
		;
	lib_search_end(s, index, ret_found);
}
