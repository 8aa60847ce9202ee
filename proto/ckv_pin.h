/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_pin.h - a client's claim that keeps a chain where it is.
 *
 * A pin is one word {slot, generation} in the client's own table (a hazard
 * pointer). Nothing is counted in shared memory, so a dead client leaves nothing
 * behind: its pins vanish with its table.
 *
 *   client                               daemon
 *   find the entry: slot, generation g   choose a batch: a block only with all
 *   ckv_pin_set(word, slot, g)             its descendants at that level
 *     [store, PIN_FENCE]                 ckv_evict_mark() each: generation odd
 *   ckv_pin_confirm()                    ckv_evict_fence()
 *     generation still g, daemon alive   ckv_pin_slot() of every pin, once
 *   now read the page numbers            ckv_evict_restore() what is pinned and
 *   ... read the pages ...                 its ancestors in the batch
 *   ckv_pin_drop()                       free the rest
 *
 * One of the two sees the other: either the daemon reads the pin, or the client
 * reads an odd (or newer) generation and lets go. The daemon compares slots only,
 * because a generation may have been restored since the pin was set.
 *
 * A block is never taken without its descendants, so pinning the deepest block
 * of a chain protects all of it.
 *
 * Several words may be written before one fence, each confirmed after it.
 *
 * pin_high, one past the highest word in use, bounds the scan; it is raised
 * before the word is set and the same fence orders both.
 */
#ifndef CKV_PIN_H
#define CKV_PIN_H

#include "proto/ckv_index.h"
#include "proto/ckv_world.h"

/* Client: write a claim. Raise pin_high first; then the fence, one for any number. */
static inline void ckv_pin_put(_Atomic uint64_t *word, uint32_t slot,
			       uint32_t generation)
{
	atomic_store_explicit(word, (uint64_t)slot << 32 | generation,
			      CKV_RELAXED);
}

static inline void ckv_pin_fence(void)
{
	/* PIN_FENCE, with EVICT_FENCE: we see odd, or the daemon sees us. */
	atomic_thread_fence(CKV_ORDER_PIN_FENCE);
}

/* Client: claim. Raise pin_high first. Not a pin until confirmed. */
static inline void ckv_pin_set(_Atomic uint64_t *word, uint32_t slot,
			       uint32_t generation)
{
	ckv_pin_put(word, slot, generation);
	ckv_pin_fence();
}

/* Client: did the claim come in time? Read pages only if so. */
static inline bool ckv_pin_confirm(const struct ckv_entry *entry,
				   uint32_t generation,
				   const struct ckv_world *world, uint64_t epoch)
{
	/* GEN_LOAD: the pages read after this belong to this generation. */
	uint64_t meta = atomic_load_explicit(&entry->meta, CKV_ORDER_GEN_LOAD);

	return (uint32_t)meta == generation && (generation & 1) == 0 &&
	       ckv_world_alive(world, epoch);
}

/* Client, after ckv_pin_confirm(): the host page of the pinned entry. */
static inline uint32_t ckv_pinned_host_page(const struct ckv_entry *entry)
{
	return (uint32_t)(atomic_load_explicit(&entry->pages, CKV_RELAXED) >> 32);
}

/* Client: let go. Every read of the pages comes before this. */
static inline void ckv_pin_drop(_Atomic uint64_t *word)
{
	/* PIN_DROP: our reads are over before the daemon sees the word empty. */
	atomic_store_explicit(word, 0, CKV_ORDER_PIN_DROP);
}

static inline uint32_t ckv_entry_generation(const struct ckv_entry *entry)
{
	return (uint32_t)atomic_load_explicit(&entry->meta, CKV_RELAXED);
}

static inline void ckv_entry_set_generation(struct ckv_entry *entry,
					    uint32_t generation)
{
	uint64_t meta = atomic_load_explicit(&entry->meta, CKV_RELAXED);

	/* GEN_STORE */
	atomic_store_explicit(&entry->meta,
			      (meta & 0xffffffff00000000u) | generation,
			      CKV_ORDER_GEN_STORE);
}

/* Daemon: this entry is being judged; new pins do not confirm. */
static inline void ckv_evict_mark(struct ckv_entry *entry)
{
	ckv_entry_set_generation(entry, ckv_entry_generation(entry) | 1);
}

/* Daemon: pinned after all; old pins and new ones are good again. */
static inline void ckv_evict_restore(struct ckv_entry *entry)
{
	ckv_entry_set_generation(entry, ckv_entry_generation(entry) & ~1u);
}

/* Daemon: between marking a batch and reading the pin tables. */
static inline void ckv_evict_fence(void)
{
	atomic_thread_fence(CKV_ORDER_EVICT_FENCE);
}

/* Daemon: the slot in a pin word, CKV_NONE if it is empty. A claim: check it. */
static inline uint32_t ckv_pin_slot(const _Atomic uint64_t *word)
{
	/* PIN_SCAN, with PIN_DROP: an empty word means the reads are over. */
	uint64_t pin = atomic_load_explicit(word, CKV_ORDER_PIN_SCAN);

	return pin == 0 ? CKV_NONE : (uint32_t)(pin >> 32);
}

/* Daemon: are these words all empty? Most are; each is read like ckv_pin_slot() does. */
#define CKV_PINS_AT_ONCE	8u
static inline bool ckv_pins_empty(const _Atomic uint64_t word[CKV_PINS_AT_ONCE])
{
	uint64_t any = 0;

	for (uint32_t i = 0; i < CKV_PINS_AT_ONCE; i++)
		/* PIN_SCAN */
		any |= atomic_load_explicit(&word[i], CKV_ORDER_PIN_SCAN);
	return any == 0;
}

#endif
