/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_record.h - what the daemon notes of each page, for the daemon that comes after it.
 *
 * Records lie in memory that only the daemon maps and that outlives it, as the pages do.
 * A later daemon builds the index again from them, and from nothing else. Each level of
 * pages has records of its own; a block with copies at several levels has a record at each.
 *
 *      0  record[n]       64 bytes for each page of all slabs
 *   64 n  view row[m]     192 bytes for each page that may be the first of a view
 *
 * Seals. A record ends with a seal: a hash of all its other bytes, its page's number and
 * the space's fingerprint. A record is valid if its seal is right. A seal of 0 is a free
 * page's, whatever else stands in the record, and no other record has it. A page whose
 * record is not valid rests: a later daemon lends it to nobody as long as a process of
 * before may still read or write it.
 *
 * Kills. A daemon can be killed between any two instructions. Its stores up to there are
 * in memory, in the order of the program, and no later one (ckv_kill_fence()). So each
 * change of a record is made so that every store of it leaves the page quiet, which
 * means that nobody gets a page that somebody else may write or reads as something else:
 *
 *   free -> LENT       The fields, then the seal. Before it the page is free; nobody was
 *                      told of it yet.
 *   LENT -> PUBLISHED  The fields, then the seal. In between no seal is right and the page
 *                      rests. Its client has said that it is written, and no reader finds
 *                      it yet: the index shows it after that. So nothing is lost that
 *                      was answered. The parent's record was sealed before.
 *   free -> LOADING    The fields, then the seal: before a device is told to write to the page.
 *   LOADING -> PUBLISHED, or a block of a published record gets a new generation, as another
 *                      copy of it has left: the fields, then the seal. In between the page
 *                      rests, and its block is lost.
 *   any -> free        One store, of the seal: before it nothing has changed. A client has
 *                      let go of the page or is dead; or the block was found unpinned with
 *                      its generation odd, so nobody can pin it any more. The records of its
 *                      children were freed before.
 *   gets a checksum    The checksum, then the seal, then the flag SUMMED. The seal covers
 *                      the checksum only if it covers the flag, too, so the one store of the
 *                      seal decides, and ckv_record_ok() sets the flag by it. There is no
 *                      moment at which a published block would be lost.
 *   a view is made     The records of its pages, all as VIEW, then its row. The pages of a
 *                      run without a valid row rest; nobody was told of the view.
 *   a view is freed    Its row's seal, then its records. It was found unpinned as a block
 *                      is.
 *   PUBLISHED -> QUARANTINE
 *                      PUBLISH has replaced this copy of a block by one at a nearer level, whose
 *                      record was sealed before. The fields, then the seal. Until then both
 *                      records are right, and a later daemon believes the nearer one if they
 *                      differ, or have no checksum.
 *   LENT -> QUARANTINE The lane has ended, and something may still write the page. The fields,
 *                      then the seal: in between no seal is right, and it is not known who
 *                      writes the page; so it rests until all is quiet.
 *   any -> QUARANTINE, LENT -> LENT
 *                      By a later daemon. The fields, then the seal: in between no seal is
 *                      right, and the page rests.
 */
#ifndef CKV_RECORD_H
#define CKV_RECORD_H

#include "proto/ckv_view.h"

enum ckv_record_state {
	CKV_RECORD_FREE	      = 0,
	CKV_RECORD_LENT	      = 1, /* reserved, or a part of a view that is being made */
	CKV_RECORD_LOADING    = 2, /* a device may be writing it; not used yet */
	CKV_RECORD_QUARANTINE = 3, /* it rests */
	CKV_RECORD_PUBLISHED  = 4,
	CKV_RECORD_VIEW	      = 5,
};

struct ckv_record {
	struct ckv_key key;
	uint64_t checksum;	/* LENT: serial of the lane that it is lent to; 0: no lane.
				   QUARANTINE: lanes with a lower serial may be blind; 0: none */
	_Atomic uint64_t seal;	/* 0: the page is free */
	uint32_t parent_slot;	/* CKV_NONE at a root and in a view */
	uint32_t slot;		/* CKV_NONE: scratch; QUARANTINE: of a block that was there, or none */
	uint32_t generation;
	uint16_t n_tokens;	/* PUBLISHED */
	uint8_t	 flags;		/* enum ckv_entry_flag */
	uint8_t	 state;		/* enum ckv_record_state */
};
CKV_AT(struct ckv_record, key, 0, 32);
CKV_AT(struct ckv_record, checksum, 32, 8);
CKV_AT(struct ckv_record, seal, 40, 8);
CKV_AT(struct ckv_record, parent_slot, 48, 4);
CKV_AT(struct ckv_record, slot, 52, 4);
CKV_AT(struct ckv_record, generation, 56, 4);
CKV_AT(struct ckv_record, n_tokens, 60, 2);
CKV_AT(struct ckv_record, flags, 62, 1);
CKV_AT(struct ckv_record, state, 63, 1);
CKV_SIZE(struct ckv_record, 64);

/* Row i is that of a view whose first page is number first_view_page + i. */
struct ckv_view_row {
	struct ckv_key key;	/* of the view itself, as in the index */
	struct ckv_key name;	/* digest of {chain, method} */
	uint64_t n_bytes;
	uint64_t checksum;
	uint64_t n_kept_total;
	uint64_t number;	/* of two views of one name the newer one has the higher number */
	struct ckv_view_sizes sizes;
	uint32_t first_page;
	uint32_t n_pages;
	uint32_t n_tokens;	/* of the chain it was made from */
	uint32_t n_kept_max, n_kept_min, n_always_lost;
	uint64_t zero[2];
	_Atomic uint64_t seal;	/* 0: there is no view */
};
CKV_AT(struct ckv_view_row, key, 0, 32);
CKV_AT(struct ckv_view_row, name, 32, 32);
CKV_AT(struct ckv_view_row, n_bytes, 64, 8);
CKV_AT(struct ckv_view_row, checksum, 72, 8);
CKV_AT(struct ckv_view_row, n_kept_total, 80, 8);
CKV_AT(struct ckv_view_row, number, 88, 8);
CKV_AT(struct ckv_view_row, sizes, 96, 48);
CKV_AT(struct ckv_view_row, first_page, 144, 4);
CKV_AT(struct ckv_view_row, n_pages, 148, 4);
CKV_AT(struct ckv_view_row, n_tokens, 152, 4);
CKV_AT(struct ckv_view_row, n_kept_max, 156, 4);
CKV_AT(struct ckv_view_row, n_kept_min, 160, 4);
CKV_AT(struct ckv_view_row, n_always_lost, 164, 4);
CKV_AT(struct ckv_view_row, zero, 168, 16);
CKV_AT(struct ckv_view_row, seal, 184, 8);
CKV_SIZE(struct ckv_view_row, 192);

static inline uint32_t ckv_pool_pages(const struct ckv_pool_shape *pool)
{
	return pool->slab_pages * pool->n_slabs;
}

/* Bytes of the memory of all records and view rows; and where the rows are in it. */
static inline size_t ckv_records_bytes(const struct ckv_pool_shape *pool)
{
	return ckv_pool_pages(pool) * sizeof(struct ckv_record) +
	       pool->n_view_pages * sizeof(struct ckv_view_row);
}

static inline struct ckv_view_row *ckv_view_rows(struct ckv_record *records,
						 const struct ckv_pool_shape *pool)
{
	return (struct ckv_view_row *)(void *)(records + ckv_pool_pages(pool));
}

/* The seal that a record with these fields has; never 0. */
static inline uint64_t ckv_record_seal(const struct ckv_record *record,
				       uint64_t fingerprint, uint32_t page)
{
	bool unsummed = record->state == CKV_RECORD_PUBLISHED &&
			!(record->flags & CKV_ENTRY_SUMMED);
	uint64_t sum = unsummed ? 0x589965cc75374cc3u : record->checksum;
	uint64_t flags = record->flags & (uint8_t)~CKV_ENTRY_SUMMED;
	uint64_t a = record->parent_slot | (uint64_t)record->slot << 32;
	uint64_t b = record->generation | (uint64_t)record->n_tokens << 32 |
		     flags << 48 | (uint64_t)record->state << 56;
	uint64_t k[4], h, t;

	memcpy(k, &record->key, sizeof k);
	h = ckv_fold(k[0] ^ 0xa0761d6478bd642fu, k[1] ^ 0xe7037ed1a0b428dbu) ^
	    ckv_fold(k[2] ^ 0x8ebc6af09c88c6e3u, k[3] ^ 0x1d8e4e27c47d124fu);
	t = ckv_fold(a ^ 0xeb44accab455d165u, b ^ 0x9e3779b97f4a7c15u);
	h = ckv_fold(h + sum, t ^ (fingerprint + page * 0xd6e8feb86659fd93u));
	return h != 0 ? h : 1;
}

/* Seal a record whose fields were just written. */
static inline void ckv_record_close(struct ckv_record *record, uint64_t fingerprint,
				    uint32_t page)
{
	ckv_kill_fence();
	ckv_hint_store64(&record->seal, ckv_record_seal(record, fingerprint, page));
	ckv_kill_fence();
}

/*
 * Write and seal the record of a page that holds no block. Until then it has the seal that
 * it had: if that was 0 the page is free, else it rests.
 */
static inline void ckv_record_blank(struct ckv_record *record, uint64_t fingerprint,
				    uint32_t page, uint8_t state, uint64_t checksum)
{
	memset(&record->key, 0, sizeof record->key);
	record->checksum = checksum;
	record->parent_slot = record->slot = CKV_NONE;
	record->generation = 0;
	record->n_tokens = 0;
	record->flags = 0;
	record->state = state;
	ckv_record_close(record, fingerprint, page);
}

/*
 * Of a page that rests: who may still write it. The serial of a lane that has ended; or
 * CKV_WRITER_UNKNOWN; 0: nobody. It is the first word of the key.
 */
#define CKV_WRITER_UNKNOWN UINT64_MAX

static inline uint64_t ckv_record_writer(const struct ckv_record *record)
{
	uint64_t writer;

	memcpy(&writer, &record->key, sizeof writer);
	return writer;
}

/* The same for a page that rests. `slot`: of the block whose page it was, or CKV_NONE. */
static inline void ckv_record_rest(struct ckv_record *record, uint64_t fingerprint,
				   uint32_t page, uint32_t slot, uint64_t since,
				   uint64_t writer)
{
	memset(&record->key, 0, sizeof record->key);
	memcpy(&record->key, &writer, sizeof writer);
	record->checksum = since;
	record->parent_slot = CKV_NONE;
	record->slot = slot;
	record->generation = 0;
	record->n_tokens = 0;
	record->flags = 0;
	record->state = CKV_RECORD_QUARANTINE;
	ckv_record_close(record, fingerprint, page);
}

static inline void ckv_record_free(struct ckv_record *record)
{
	ckv_hint_store64(&record->seal, 0);
	ckv_kill_fence();
	record->state = CKV_RECORD_FREE;
}

/* Give the block of a published record a checksum. */
static inline void ckv_record_sum(struct ckv_record *record, uint64_t fingerprint,
				  uint32_t page, uint64_t checksum)
{
	struct ckv_record summed;

	record->checksum = checksum;
	ckv_kill_fence();
	memcpy(&summed, record, sizeof summed);
	summed.flags |= CKV_ENTRY_SUMMED;
	ckv_hint_store64(&record->seal, ckv_record_seal(&summed, fingerprint, page));
	ckv_kill_fence();
	record->flags |= CKV_ENTRY_SUMMED;
}

/*
 * Is the record of a page that is not free valid? If a daemon was killed while it noted
 * the checksum, the seal says whether it got to it, and this corrects the flag SUMMED.
 */
static inline bool ckv_record_ok(struct ckv_record *record, uint64_t fingerprint,
				 uint32_t page)
{
	uint64_t seal = ckv_hint_load64(&record->seal);

	if (seal == ckv_record_seal(record, fingerprint, page))
		return true;
	if (record->state != CKV_RECORD_PUBLISHED)
		return false;
	record->flags ^= CKV_ENTRY_SUMMED;
	if (seal == ckv_record_seal(record, fingerprint, page))
		return true;
	record->flags ^= CKV_ENTRY_SUMMED;
	return false;
}

/* The seal that a view's row has; never 0. */
static inline uint64_t ckv_view_row_seal(const struct ckv_view_row *row,
					 uint64_t fingerprint)
{
	uint64_t word[offsetof(struct ckv_view_row, seal) / 8];
	uint64_t h = fingerprint ^ 0x2d358dccaa6c78a5u;

	memcpy(word, row, sizeof word);
	for (size_t i = 0; i < sizeof word / 8; i++)
		h = ckv_fold(h ^ word[i], 0x8bb84b93962eacc9u + i) + word[i];
	return h != 0 ? h : 1;
}

#endif
