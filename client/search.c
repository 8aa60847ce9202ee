/*
 * search.c - how much of a chain the index holds, and at which levels.
 *
 * Along a chain the level only falls, so every boundary is found by search, not
 * by walking. One probe costs two dependent cache misses (the key, then the
 * bucket's tags), so a round makes many independent probes at once and divides
 * the range by many: 8 192 blocks take four rounds instead of thirteen.
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
	PROBES = 11,		/* of one round of the tag search */
	LEVEL_PROBES = 7,	/* of one round of the level search */
};

static int tag_present(const struct ckv_index *index,
		       const struct ckv_place *place)
{
	return ckv_bucket_match(&index->buckets[place->bucket[0]],
				place->tag) != 0 ||
	       ckv_bucket_match(&index->buckets[place->bucket[1]],
				place->tag) != 0;
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

/* One round: narrow [*lo, *hi), the range in which the first absent key lies. */
static void tag_round(const struct ckv_index *index, const struct ckv_key *keys,
		      const uint32_t *at, uint32_t n, uint32_t *lo, uint32_t *hi)
{
	struct ckv_place place[PROBES + 2];

	for (uint32_t i = 0; i < n; i++) {
		place[i] = ckv_index_place(index, &keys[at[i]]);
		ckv_index_prefetch(index, &place[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (!tag_present(index, &place[i])) {
			*hi = at[i];
			return;
		}
		*lo = at[i] + 1;
	}
}

/* Number of leading keys whose tags are present. */
static uint32_t tag_prefix(const struct ckv_index *index,
			   const struct ckv_key *keys, uint32_t n_keys)
{
	uint32_t lo = 0, hi = n_keys, n, at[PROBES + 2];

	/* Both ends first: nothing and everything are the common answers. */
	at[0] = 0;
	n = n_keys > 2 ? 1 + spread(1, n_keys - 1, PROBES - 1, at + 1) : 1;
	if (n_keys > 1)
		at[n++] = n_keys - 1;
	tag_round(index, keys, at, n, &lo, &hi);
	while (lo < hi) {
		n = spread(lo, hi, PROBES, at);
		tag_round(index, keys, at, n, &lo, &hi);
	}
	return lo;
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
		ckv_index_prefetch(index, &place[i]);
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

	ckv_index_prefetch_entry(index, &place);
	last->at = n_keys - 1;
	return ckv_index_find(index, &place, &keys[n_keys - 1], &last->slot,
			      &last->block);
}

/*
 * Find the longest prefix of keys[0 .. n_keys) that is in the index, and how
 * much of it lies at each level or nearer.
 */
void lib_search(const struct ckv_index *index, const struct ckv_key *keys,
		uint32_t n_keys, struct lib_found *ret_found)
{
	struct lib_hit *last = &ret_found->last;
	struct ckv_place place;
	uint32_t n = n_keys;
	uint8_t first, level;

	for (;; n--) {
		if (n > 1)
			n = tag_prefix(index, keys, n);
		if (n == 0 || find_last(index, keys, n, last))
			break;
	}
	first = level = n > 0 ? last->block.level : 0;
	if (n > 1) {
		place = ckv_index_place(index, &keys[0]);
		first = level_of(index, &keys[0], &place);
	}
	/* Lower only if the chain was freed from its root while we looked. */
	if (first > level)
		level_bounds(index, keys, n, first, level, ret_found->n_at);
	else
		for (int l = 0; l < CKV_LEVELS; l++)
			ret_found->n_at[l] = l <= level ? n : 0;
}
