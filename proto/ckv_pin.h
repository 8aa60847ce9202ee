/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_pin.h - pins: how a client keeps a chain of blocks where it is. The protocol is
 * told here and nowhere else.
 *
 * The problem. A client finds a block in the index and reads its page for as long as it
 * likes. Meanwhile the daemon may evict the block and lend the page to a writer. The
 * two must agree without a lock, a system call or a count in shared memory.
 *
 * A pin is a hazard pointer: one 64-bit word {slot, generation} in the pin table of the
 * lane, in the C segment, which only this client writes. 0 is an empty word; a
 * generation is never 0, so a word in use is never 0. `pin_high` in the same segment is
 * one more than the highest word that was ever in use, so the daemon reads no further.
 *
 * A generation belongs to a slot of the index. It is even while the block may be
 * pinned, and odd while the daemon judges whether the block leaves. Each time the slot
 * is freed it grows to the next even number, so an old pin never fits a new block. It
 * grows, too, when a page of the block that clients read is taken away. It stays when the
 * block gets one more: whoever reads an older one reads on. A slot whose generation comes
 * near 2^32 is never used again.
 *
 *   client, in ckv_lookup()              daemon's reactor, in space_step()
 *   C1 find the entry of the deepest     D1 choose a batch of victims: a block only
 *      block: slot, generation g            together with all its descendants
 *   C2 raise pin_high if need be         D2 ckv_evict_mark() each: generation odd
 *   C3 ckv_pin_put(): word = {slot, g}   D3 ckv_evict_fence(): EVICT_FENCE
 *   C4 ckv_pin_fence(): PIN_FENCE        D4 ckv_pin_slot() of every pin word of the
 *   C5 ckv_pin_confirm(): generation        space, once, up to each lane's pin_high
 *      still g, and even; daemon alive   D5 ckv_evict_restore() each block whose slot
 *   C6 use page numbers, read pages         a pin names, with its ancestors in the
 *   C7 ckv_pin_drop(): word = 0             batch: the even generation as before
 *                                        D6 free the rest: new generations, the pages
 *                                           may be lent to writers
 *
 * If C5 fails the client clears the word and searches again. While a generation is odd
 * it looks a bounded number of times, then calls the block a miss.
 *
 * Why it is safe. Client and daemon each store a word (C3, D2), pass a full fence, and
 * load the word of the other (C5, D4). So at least one of them sees the other's store
 * (ckv_order.h): the daemon reads the pin and restores the block, or the client reads
 * an odd or newer generation and gives up the pin. The same holds for every later batch
 * while the word is set. When C7 is visible to the daemon the client's reads are over
 * (PIN_DROP, PIN_SCAN), so what a writer stores in the page afterwards is never read
 * through this pin.
 *
 *   - Page numbers are loaded after C5, or come from a copy of the entry that was made
 *     under the same generation g. Both name the pages that the pin protects.
 *   - One pin protects all ancestors of its block, because of D1 and D5: a block never
 *     leaves before its descendants. So a lookup pins only the deepest block it returns
 *     (and the deepest one on the device, where there are some).
 *   - With several levels this holds for each of them: a copy leaves its level only when
 *     no child has a copy there. So a pin covers the copies at one level, of its block and
 *     of all ancestors. The block has a copy there in the entry that is pinned, and the
 *     lookup returns pages of that level, whatever nearer ones the entries name by then.
 *   - The daemon compares slots only. A pin that protects too much costs room; one that
 *     is overlooked would cost a reader its bytes.
 *   - Several words may be set before one fence; each is confirmed after it.
 *   - A writer pins what it publishes: it sets a word to the slot and generation of its
 *     lent page and passes the fence before it sends PUBLISH. The daemon does not evict
 *     a lent page, so this pin needs no C5.
 *
 * Pin words are claims. The daemon ignores a slot that is not in its batch, reads no
 * more words than the lane was granted, and believes nothing else of them. A client can
 * keep blocks from eviction, and their number is limited; it can do no other harm.
 *
 * Death, stop, fork
 *
 *   - The client dies, at any instruction. Its pidfd becomes readable, the reactor ends
 *     its lanes, and their tables are not read any more: all pins end at once. Nothing
 *     was counted, so nothing is to be repaired. A pin that was not confirmed yet
 *     protects a block for nothing until then.
 *   - The client is stopped (SIGSTOP, a debugger). Its pins stay, for it may go on.
 *     `ckv clients` shows them, `ckv kick` ends the process.
 *   - Its socket breaks but the process lives. The lanes are not served any more, and
 *     their pins stay until the process closes the lanes over a new connection, or dies.
 *   - The client forks. The child has no C segment and no pages (MADV_DONTFORK), so it
 *     has no pins, and does not extend the life of its parent's.
 *   - The daemon dies or stops. The kernel marks the life word, or the daemon clears it:
 *     C5 fails from then on. Pins that are set stay as they are, and nobody evicts their
 *     pages while there is no daemon. Where something keeps the daemon's memory for it
 *     (systemd, a keeper), the next daemon adopts the pages with their blocks, and the pin
 *     tables: it reads the old tables with its own (D4), so a pin of before holds its block
 *     until it is cleared (C7), its lane is closed, or its process dies. Without a keeper
 *     the next daemon makes new memory, and the old pages belong to whoever still has
 *     them mapped. The client cannot tell which, so it does the same in both cases: it
 *     attaches again, opens new lanes, and closes an old lane by its serial when the last
 *     pin and the last lent page of it are given back.
 *
 * tests/model/pin.pml and death.pml are this protocol as a model; fill.pml and move.pml
 * have several levels, restart.pml the next daemon. Their mutants, each without one rule,
 * show which rules are needed.
 */
#ifndef CKV_PIN_H
#define CKV_PIN_H

#include "proto/ckv_index.h"
#include "proto/ckv_world.h"

/*
 * Client, C3: set a pin word. The caller has raised pin_high (C2), and calls
 * ckv_pin_fence() after the last word that it sets.
 */
static inline void ckv_pin_put(_Atomic uint64_t *word, uint32_t slot,
			       uint32_t generation)
{
	atomic_store_explicit(word, (uint64_t)slot << 32 | generation,
			      CKV_RELAXED);
}

/* Client, C4. */
static inline void ckv_pin_fence(void)
{
	/* PIN_FENCE: the client sees an odd generation, or the daemon sees the pin. */
	atomic_thread_fence(CKV_ORDER_PIN_FENCE);
}

/* Client, C3 and C4 of one word. The block is pinned if ckv_pin_confirm() says so. */
static inline void ckv_pin_set(_Atomic uint64_t *word, uint32_t slot,
			       uint32_t generation)
{
	ckv_pin_put(word, slot, generation);
	ckv_pin_fence();
}

/*
 * Client, C5: is the block of this generation pinned now? If not, the caller clears the
 * word with ckv_pin_drop() and does not read the pages.
 */
static inline bool ckv_pin_confirm(const struct ckv_entry *entry,
				   uint32_t generation,
				   const struct ckv_world *world, uint64_t epoch)
{
	/* GEN_LOAD: page numbers that are loaded after this belong to this generation. */
	uint64_t meta = atomic_load_explicit(&entry->meta, CKV_ORDER_GEN_LOAD);

	return (uint32_t)meta == generation && (generation & 1) == 0 &&
	       ckv_world_alive(world, epoch);
}

/* Client, after ckv_pin_confirm(): the host page of the pinned entry. */
static inline uint32_t ckv_pinned_host_page(const struct ckv_entry *entry)
{
	return (uint32_t)(atomic_load_explicit(&entry->pages, CKV_RELAXED) >> 32);
}

/* Client, C7: clear a pin word. Every read of the pages comes before this. */
static inline void ckv_pin_drop(_Atomic uint64_t *word)
{
	/* PIN_DROP: the client's reads are over before the daemon sees the word empty. */
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

	/* GEN_STORE: who sees this generation sees the pages that were stored before. */
	atomic_store_explicit(&entry->meta,
			      (meta & 0xffffffff00000000u) | generation,
			      CKV_ORDER_GEN_STORE);
}

/* Daemon, D2: make the generation odd. From now on no new pin of it is confirmed. */
static inline void ckv_evict_mark(struct ckv_entry *entry)
{
	ckv_entry_set_generation(entry, ckv_entry_generation(entry) | 1);
}

/* Daemon, D5: a pin names it: the generation is what it was, and pins are confirmed. */
static inline void ckv_evict_restore(struct ckv_entry *entry)
{
	ckv_entry_set_generation(entry, ckv_entry_generation(entry) & ~1u);
}

/* Daemon, D3: between the last ckv_evict_mark() and the first ckv_pin_slot(). */
static inline void ckv_evict_fence(void)
{
	/* EVICT_FENCE: the daemon sees a pin, or its client sees an odd generation. */
	atomic_thread_fence(CKV_ORDER_EVICT_FENCE);
}

/*
 * Daemon, D4: the slot in a pin word, CKV_NONE if the word is empty. The client may have
 * written any number: the caller checks that there is such a slot.
 */
static inline uint32_t ckv_pin_slot(const _Atomic uint64_t *word)
{
	/* PIN_SCAN: an empty word means that the client's reads are over. */
	uint64_t pin = atomic_load_explicit(word, CKV_ORDER_PIN_SCAN);

	return pin == 0 ? CKV_NONE : (uint32_t)(pin >> 32);
}

/* Daemon, D4 of several words at once: are they all empty? Most are. */
#define CKV_PINS_AT_ONCE	8u
static inline bool ckv_pins_empty(const _Atomic uint64_t word[CKV_PINS_AT_ONCE])
{
	uint64_t any = 0;

	for (uint32_t i = 0; i < CKV_PINS_AT_ONCE; i++)
		/* PIN_SCAN: as in ckv_pin_slot(). */
		any |= atomic_load_explicit(&word[i], CKV_ORDER_PIN_SCAN);
	return any == 0;
}

#endif
