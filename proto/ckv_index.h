/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_index.h - the index of one space: which blocks exist, and where.
 *
 * Only the daemon writes it; the clients of the space map it read-only. The hash of a
 * key names two buckets, and its entry is in one of them. An entry stays in its place
 * from the reservation of its key to the end of the block, so a slot number (bucket
 * number * 28 + number in the bucket) names it.
 *
 *     0  header, one page          daemon, once
 *  4096  bucket[n_buckets]         1856 bytes each
 *
 *  bucket    0  sequence           odd while the daemon changes the bucket
 *            4  used               bit i: entry i is taken (reserved or published)
 *            8  tag[28]            0: nothing to find here
 *           64  entry[28]          64 bytes each
 *
 *  entry     0  key                32 bytes
 *           32  meta               generation 32 | level 8 | flags 8 | tokens 16
 *           40  pages              device page 32 | host page 32 (high half)
 *           48  chain              parent slot 32 | number of pages 32 (high half)
 *           56  checksum           of the host page; valid with CKV_ENTRY_SUMMED
 *
 * How a client reads. It loads the sequence number (which must be even), compares the
 * 28 tags, 16 bits of each key's hash, copies the entries whose tags fit, loads the
 * sequence number again, and starts anew if that has changed. Then it compares all 32
 * bytes of the key. It reads no page before it has pinned the block: ckv_pin.h, which
 * also says what the generation is. An entry with an odd generation is a block that is
 * stored; the client waits a moment for an even one and pins it then.
 *
 * A key that a writer has reserved has an entry with level 0 and tag 0, so clients do
 * not find it. PUBLISH sets level and tag.
 *
 * Homes, which matter for speed only. The first 24 entries of a bucket are six homes of
 * four adjacent entries. The hash of a key also names one of the six, the same in both
 * buckets, and the daemon puts its entry there if there is room. So a client can ask
 * the processor for the tags and for both homes at the same time, and waits for memory
 * once. Without homes it would ask for the entry only after it had compared the tags,
 * and wait twice.
 */
#ifndef CKV_INDEX_H
#define CKV_INDEX_H

#include "proto/ckv_cpu.h"
#include "proto/ckv_order.h"

#include <stdbool.h>
#include <string.h>
#ifdef CKV_CPU_X86
#include <emmintrin.h>
#endif

#define CKV_INDEX_MAGIC		0x69766b63u	/* "ckvi" */
#define CKV_INDEX_HEAD_BYTES	4096u
#define CKV_BUCKET_ENTRIES	28u
#define CKV_HOMES		6u	/* in a bucket */
#define CKV_HOME_ENTRIES	4u	/* in a home; the bucket's last four are in none */
#define CKV_HOME_WORTH		2u	/* see ckv_place_choose() */
#define CKV_INDEX_READ_TRIES	64	/* copies that changed; then it is a miss */
#define CKV_GENERATION_FIRST	2u
#define CKV_GENERATION_LAST	0xfffffff0u /* from here on the slot is not used again */

enum ckv_entry_flag {
	CKV_ENTRY_VIEW	 = 1,	/* a view: n_pages consecutive pages, no parent */
	CKV_ENTRY_SUMMED = 2,	/* checksum is that of the host page */
};

struct ckv_index_head {
	uint32_t magic;
	uint32_t layout_version;
	uint32_t n_buckets;
	uint32_t pad;
	uint64_t seed[4];	/* of ckv_index_place(); random; stays when blocks are adopted */
};
CKV_AT(struct ckv_index_head, magic, 0, 4);
CKV_AT(struct ckv_index_head, layout_version, 4, 4);
CKV_AT(struct ckv_index_head, n_buckets, 8, 4);
CKV_AT(struct ckv_index_head, seed, 16, 32);
CKV_SIZE(struct ckv_index_head, 48);

struct ckv_entry {
	_Atomic uint64_t key[4];
	_Atomic uint64_t meta;
	_Atomic uint64_t pages;
	_Atomic uint64_t chain;
	_Atomic uint64_t checksum;
};
CKV_AT(struct ckv_entry, key, 0, 32);
CKV_AT(struct ckv_entry, meta, 32, 8);
CKV_AT(struct ckv_entry, pages, 40, 8);
CKV_AT(struct ckv_entry, chain, 48, 8);
CKV_AT(struct ckv_entry, checksum, 56, 8);
CKV_SIZE(struct ckv_entry, 64);

struct ckv_bucket {
	_Atomic uint32_t sequence;
	_Atomic uint32_t used;
	_Atomic uint64_t tags[7];	/* 28 tags of 16 bits, first one lowest */
	struct ckv_entry entry[CKV_BUCKET_ENTRIES];
};
CKV_AT(struct ckv_bucket, sequence, 0, 4);
CKV_AT(struct ckv_bucket, used, 4, 4);
CKV_AT(struct ckv_bucket, tags, 8, 56);
CKV_AT(struct ckv_bucket, entry, 64, 28 * 64);
CKV_SIZE(struct ckv_bucket, 1856);

/* A copy of an entry, taken apart. */
struct ckv_block {
	struct ckv_key key;
	uint32_t generation;
	uint8_t	 level;		/* enum ckv_level */
	uint8_t	 flags;		/* enum ckv_entry_flag */
	uint16_t n_tokens;
	uint32_t device_page, host_page;
	uint32_t parent_slot;	/* CKV_NONE at a root and in a view */
	uint32_t n_pages;	/* 1; more in a view */
	uint64_t checksum;
};

/* A block of which nothing is known. */
static inline struct ckv_block ckv_block_none(void)
{
	return (struct ckv_block){
		.device_page = CKV_NONE,
		.host_page = CKV_NONE,
		.parent_slot = CKV_NONE,
	};
}

/* Where a block's page at a level is named, if that level is one of pages. */
static inline uint32_t *ckv_block_page(struct ckv_block *block, uint8_t level)
{
	return level == CKV_LEVEL_DEVICE ? &block->device_page :
	       level == CKV_LEVEL_HOST ? &block->host_page : NULL;
}

/* One process's mapping of an index. n_buckets and seed are copies of the header. */
struct ckv_index {
	struct ckv_bucket *buckets;
	uint32_t n_buckets;
	uint64_t seed[4];
};

struct ckv_place {		/* where a key may be */
	uint32_t bucket[2];
	uint16_t tag;		/* never 0 */
};

static inline size_t ckv_index_bytes(uint32_t n_buckets)
{
	return CKV_INDEX_HEAD_BYTES +
	       (size_t)n_buckets * sizeof(struct ckv_bucket);
}

/* Both halves of the 128-bit product, by exclusive or: a fast hash of two words. */
static inline uint64_t ckv_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 p = (unsigned __int128)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/*
 * The buckets and the tag of a key. Keys may be hashes that an engine made, with bytes
 * that hardly differ, so all 256 bits are hashed again.
 */
static inline struct ckv_place ckv_index_place(const struct ckv_index *index,
					       const struct ckv_key *key)
{
	const uint64_t *s = index->seed;
	struct ckv_place place;
	uint64_t k[4], h, t;

	memcpy(k, key, sizeof k);
	h = ckv_fold(k[0] ^ s[0], k[1] ^ s[1]) ^
	    ckv_fold(k[2] ^ s[2], k[3] ^ s[3]);
	h = ckv_fold(h ^ s[0], 0x9e3779b97f4a7c15u ^ s[1]);
	t = ckv_fold(h ^ s[2], 0xd6e8feb86659fd93u ^ s[3]);

	place.bucket[0] = (uint32_t)(((h & 0xffffffffu) * index->n_buckets) >> 32);
	place.bucket[1] = (uint32_t)(((h >> 32) * index->n_buckets) >> 32);
	if (place.bucket[1] == place.bucket[0] &&
	    ++place.bucket[1] == index->n_buckets)
		place.bucket[1] = 0;
	place.tag = (uint16_t)t;
	if (place.tag == 0)
		place.tag = 1;
	return place;
}

static inline struct ckv_entry *ckv_index_entry(const struct ckv_index *index,
						uint32_t slot)
{
	return &index->buckets[slot / CKV_BUCKET_ENTRIES]
			.entry[slot % CKV_BUCKET_ENTRIES];
}

/* Client: have the processor load the tags of a key's two buckets (a prefetch). */
CKV_ASK ckv_index_prefetch(const struct ckv_index *index,
			   const struct ckv_place *place)
{
	__builtin_prefetch(&index->buckets[place->bucket[0]]);
	__builtin_prefetch(&index->buckets[place->bucket[1]]);
}

/* The number, in either bucket, of the first entry of a key's home. */
static inline uint32_t ckv_place_home(const struct ckv_place *place)
{
	return (place->tag * CKV_HOMES >> 16) * CKV_HOME_ENTRIES;
}

CKV_ASK ckv_bucket_prefetch_home(const struct ckv_bucket *bucket, uint32_t home)
{
	__builtin_prefetch(&bucket->entry[home]);
	__builtin_prefetch(&bucket->entry[home + 1]);
	__builtin_prefetch(&bucket->entry[home + 2]);
	__builtin_prefetch(&bucket->entry[home + 3]);
}

/* Client: prefetch what ckv_index_find() is likely to read: tags and homes. */
CKV_ASK ckv_index_prefetch_entry(const struct ckv_index *index,
				 const struct ckv_place *place)
{
	uint32_t home = ckv_place_home(place);

	ckv_index_prefetch(index, place);
	ckv_bucket_prefetch_home(&index->buckets[place->bucket[0]], home);
	ckv_bucket_prefetch_home(&index->buckets[place->bucket[1]], home);
}

/*
 * Daemon: choose a free entry for a new key. used[b] has a bit for each entry of its
 * bucket b that is taken. Returns the bucket, 0 or 1, or -1 if both are full.
 *
 * The emptier bucket is taken, so that all buckets fill evenly. But if the key's home is
 * full there and has room in the other bucket, that one is taken, unless it has over
 * CKV_HOME_WORTH more entries. In the bucket: an entry of the key's home, else one of
 * the last four, which are in no home, else any.
 */
static inline int ckv_place_choose(const struct ckv_place *place,
				   const uint32_t used[2], uint32_t *ret_entry)
{
	const uint32_t all = (1u << CKV_BUCKET_ENTRIES) - 1;
	const uint32_t nobodys = all & ~0u << CKV_HOMES * CKV_HOME_ENTRIES;
	uint32_t n[2] = { (uint32_t)__builtin_popcount(used[0]),
			  (uint32_t)__builtin_popcount(used[1]) };
	uint32_t home = ((1u << CKV_HOME_ENTRIES) - 1) << ckv_place_home(place);
	int b = n[1] < n[0];
	uint32_t free = all & ~used[b];

	if (free == 0)
		return -1;
	if ((free & home) == 0 && (~used[!b] & home) != 0 &&
	    n[!b] <= n[b] + CKV_HOME_WORTH) {
		b = !b;
		free = all & ~used[b];
	}
	if ((free & home) != 0)
		free &= home;
	else if ((free & nobodys) != 0)
		free &= nobodys;
	*ret_entry = (uint32_t)__builtin_ctz(free);
	return b;
}

static inline uint64_t ckv_meta_pack(uint32_t generation, uint8_t level,
				     uint8_t flags, uint16_t n_tokens)
{
	return (uint64_t)generation | (uint64_t)level << 32 |
	       (uint64_t)flags << 40 | (uint64_t)n_tokens << 48;
}

/*
 * Copy an entry as it is now. The daemon may be changing it: whether the copy is whole
 * is known only when the sequence number of the bucket was loaded again.
 */
static inline void ckv_entry_load(const struct ckv_entry *entry,
				  struct ckv_block *ret)
{
	uint64_t k[4], meta, pages, chain;

	for (int i = 0; i < 4; i++)
		k[i] = atomic_load_explicit(&entry->key[i], CKV_RELAXED);
	/* GEN_LOAD: the words that are loaded below are as new as the generation, or newer. */
	meta = atomic_load_explicit(&entry->meta, CKV_ORDER_GEN_LOAD);
	pages = atomic_load_explicit(&entry->pages, CKV_RELAXED);
	chain = atomic_load_explicit(&entry->chain, CKV_RELAXED);

	memcpy(&ret->key, k, sizeof k);
	ret->generation = (uint32_t)meta;
	ret->level = (uint8_t)(meta >> 32);
	ret->flags = (uint8_t)(meta >> 40);
	ret->n_tokens = (uint16_t)(meta >> 48);
	ret->device_page = (uint32_t)pages;
	ret->host_page = (uint32_t)(pages >> 32);
	ret->parent_slot = (uint32_t)chain;
	ret->n_pages = (uint32_t)(chain >> 32);
	ret->checksum = atomic_load_explicit(&entry->checksum, CKV_RELAXED);
}

#define CKV_TAGS(i) atomic_load_explicit(&bucket->tags[i], CKV_RELAXED)
#ifdef CKV_CPU_X86
/* Compare eight tags, four in each word, with those in `same`: all ones where equal. */
static inline __m128i ckv_tags_match(uint64_t low, uint64_t high, __m128i same)
{
	return _mm_cmpeq_epi16(same, _mm_set_epi64x((long long)high,
						    (long long)low));
}

/* Bit i set: tag i of the bucket equals `tag`. */
static inline uint32_t ckv_bucket_match(const struct ckv_bucket *bucket,
					uint16_t tag)
{
	const uint32_t all = (1u << CKV_BUCKET_ENTRIES) - 1;
	__m128i same = _mm_set1_epi16((short)tag);
	__m128i a = ckv_tags_match(CKV_TAGS(0), CKV_TAGS(1), same);
	__m128i b = ckv_tags_match(CKV_TAGS(2), CKV_TAGS(3), same);
	__m128i c = ckv_tags_match(CKV_TAGS(4), CKV_TAGS(5), same);
	__m128i d = ckv_tags_match(CKV_TAGS(6), 0, same);

	return all & ((uint32_t)_mm_movemask_epi8(_mm_packs_epi16(a, b)) |
		      (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(c, d)) << 16);
}
#else
/* Compare four tags with those in `same`: bit i is set where tag i is equal. */
static inline uint32_t ckv_tags_match(uint64_t four, uint64_t same)
{
	const uint64_t low = 0x7fff7fff7fff7fffu;
	uint64_t x = four ^ same;

	/* Set the top bit of each 16-bit part that is 0. No carry leaves a part. */
	x = ~(((x & low) + low) | x) & ~low;
	return (uint32_t)(x >> 15 & 1) | (uint32_t)(x >> 30 & 2) |
	       (uint32_t)(x >> 45 & 4) | (uint32_t)(x >> 60 & 8);
}

static inline uint32_t ckv_bucket_match(const struct ckv_bucket *bucket,
					uint16_t tag)
{
	uint64_t same = tag * 0x0001000100010001u;
	uint32_t hits = 0;

	for (uint32_t i = 0; i < CKV_BUCKET_ENTRIES / 4; i++)
		hits |= ckv_tags_match(CKV_TAGS(i), same) << 4 * i;
	return hits;
}
#endif
#undef CKV_TAGS

/* Client, when the tags are in the cache: prefetch the entry that is probably the key's. */
CKV_ASK ckv_index_prefetch_hit(const struct ckv_index *index,
			       const struct ckv_place *place)
{
	const struct ckv_bucket *a = &index->buckets[place->bucket[0]];
	const struct ckv_bucket *b = &index->buckets[place->bucket[1]];
	uint32_t hits = ckv_bucket_match(a, place->tag);

	if (hits == 0) {
		hits = ckv_bucket_match(b, place->tag);
		a = b;
	}
	if (hits != 0)
		__builtin_prefetch(&a->entry[__builtin_ctz(hits)]);
}

/*
 * Search one bucket for a key. 1: found, *ret_slot is its slot and *ret_block a whole
 * copy of its entry. 0: it is not there. -1: the daemon changed the bucket meanwhile, so
 * search again. With 0 and -1 *ret_block holds nothing of use.
 */
static inline int ckv_bucket_find(const struct ckv_index *index,
				  uint32_t bucket_no, uint16_t tag,
				  const struct ckv_key *key,
				  uint32_t *ret_slot, struct ckv_block *ret_block)
{
	const struct ckv_bucket *bucket = &index->buckets[bucket_no];
	uint32_t sequence, hits;

	/* SEQ_BEGIN: what is loaded below is as new as this sequence number, or newer. */
	sequence = atomic_load_explicit(&bucket->sequence, CKV_ORDER_SEQ_BEGIN);
	for (hits = ckv_bucket_match(bucket, tag); hits; hits &= hits - 1) {
		uint32_t i = (uint32_t)__builtin_ctz(hits);

		ckv_entry_load(&bucket->entry[i], ret_block);
		/* SEQ_CHECK: the copy is made before the sequence number is loaded again. */
		atomic_thread_fence(CKV_ORDER_SEQ_CHECK);
		if ((sequence & 1) ||
		    atomic_load_explicit(&bucket->sequence, CKV_RELAXED) !=
		    sequence)
			return -1;
		if (memcmp(&ret_block->key, key, sizeof *key) != 0 ||
		    ret_block->level == CKV_LEVEL_NONE)
			continue;
		*ret_slot = bucket_no * CKV_BUCKET_ENTRIES + i;
		return 1;
	}
	return 0;
}

/*
 * Find a key in its two buckets: 1, or 0 if it is not there, or if the daemon has
 * changed a bucket under each of CKV_INDEX_READ_TRIES attempts.
 */
static inline int ckv_index_find(const struct ckv_index *index,
				 const struct ckv_place *place,
				 const struct ckv_key *key,
				 uint32_t *ret_slot, struct ckv_block *ret_block)
{
	for (int tries = 0; tries < CKV_INDEX_READ_TRIES; tries++) {
		int a, b;

		a = ckv_bucket_find(index, place->bucket[0], place->tag, key,
				    ret_slot, ret_block);
		if (a > 0)
			return 1;
		b = ckv_bucket_find(index, place->bucket[1], place->tag, key,
				    ret_slot, ret_block);
		if (b > 0)
			return 1;
		if (a == 0 && b == 0)
			return 0;
	}
	return 0;
}

/*
 * Daemon: begin to change a bucket. Its sequence number is odd until
 * ckv_bucket_close(); clients that copy an entry meanwhile start again.
 */
static inline void ckv_bucket_open(struct ckv_bucket *bucket)
{
	atomic_store_explicit(&bucket->sequence,
			      atomic_load_explicit(&bucket->sequence,
						   CKV_RELAXED) + 1,
			      CKV_RELAXED);
	/* SEQ_OPEN: who sees a change made below sees the odd number, too. */
	atomic_thread_fence(CKV_ORDER_SEQ_OPEN);
}

/* Daemon: the change is over, the sequence number even again. */
static inline void ckv_bucket_close(struct ckv_bucket *bucket)
{
	/* SEQ_END: who sees the even number sees every change made before it. */
	atomic_store_explicit(&bucket->sequence,
			      atomic_load_explicit(&bucket->sequence,
						   CKV_RELAXED) + 1,
			      CKV_ORDER_SEQ_END);
}

/* Daemon, between open and close: write a whole entry. */
static inline void ckv_entry_store(struct ckv_entry *entry,
				   const struct ckv_block *block)
{
	uint64_t k[4];

	memcpy(k, &block->key, sizeof k);
	for (int i = 0; i < 4; i++)
		atomic_store_explicit(&entry->key[i], k[i], CKV_RELAXED);
	atomic_store_explicit(&entry->pages, (uint64_t)block->device_page |
			      (uint64_t)block->host_page << 32, CKV_RELAXED);
	atomic_store_explicit(&entry->chain, (uint64_t)block->parent_slot |
			      (uint64_t)block->n_pages << 32, CKV_RELAXED);
	atomic_store_explicit(&entry->checksum, block->checksum, CKV_RELAXED);
	/* GEN_STORE: who sees this generation sees the words that were stored above. */
	atomic_store_explicit(&entry->meta,
			      ckv_meta_pack(block->generation, block->level,
					    block->flags, block->n_tokens),
			      CKV_ORDER_GEN_STORE);
}

/* Daemon, between open and close: change these words of an entry; the rest stays. */
static inline void ckv_entry_show(struct ckv_entry *entry, uint8_t level,
				  uint8_t flags, uint16_t n_tokens,
				  uint64_t checksum)
{
	uint64_t meta = atomic_load_explicit(&entry->meta, CKV_RELAXED);

	atomic_store_explicit(&entry->checksum, checksum, CKV_RELAXED);
	/* GEN_STORE: who sees the new level sees the checksum that was stored above. */
	atomic_store_explicit(&entry->meta,
			      ckv_meta_pack((uint32_t)meta, level, flags,
					    n_tokens),
			      CKV_ORDER_GEN_STORE);
}

/* Daemon, between open and close: set or clear (0) the tag of entry i. */
static inline void ckv_bucket_set_tag(struct ckv_bucket *bucket, uint32_t i,
				      uint16_t tag)
{
	_Atomic uint64_t *word = &bucket->tags[i / 4];
	uint32_t shift = 16 * (i % 4);
	uint64_t four = atomic_load_explicit(word, CKV_RELAXED);

	four &= ~((uint64_t)0xffff << shift);
	atomic_store_explicit(word, four | (uint64_t)tag << shift, CKV_RELAXED);
}

/* Daemon: note that entry i is taken or free. No client decides anything by this word. */
static inline void ckv_bucket_set_used(struct ckv_bucket *bucket, uint32_t i,
				       bool taken)
{
	uint32_t used = ckv_hint_load32(&bucket->used);

	ckv_hint_store32(&bucket->used,
			 taken ? used | 1u << i : used & ~(1u << i));
}

#endif
