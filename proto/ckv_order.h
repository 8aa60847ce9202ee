/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_order.h - the memory order of every access to shared memory, by name.
 *
 * No other file names a memory order (memory_order_acquire and so on). The code uses
 * a name of this file instead, and a comment with that name stands at the access. All
 * other atomic accesses are relaxed.
 *
 * Each name is one side of a pair. Below: the pair, its two functions, then the word
 * that both sides access, and what the pair guarantees.
 *
 * 1. Release and acquire. If the load of the right side reads what the store of the
 * left side wrote, then all that the left process wrote before its store is visible
 * to the right process after its load.
 *
 *   RING_PUT -> RING_TAKE        producer ckv_ring_put() -> consumer ckv_ring_take()
 *     The first word of a ring slot, with the sequence number. Who sees the number
 *     sees the whole message, and what was written before the message was put: the
 *     argument or the answers, the bytes of pages.
 *   CREDIT_PUT -> CREDIT_TAKE    consumer ckv_ring_credit() -> producer ckv_ring_put()
 *     The count of messages that the consumer has copied. Its reads of those slots are
 *     over when the producer writes new messages into them.
 *   SEQ_END -> SEQ_BEGIN         daemon ckv_bucket_close() -> ckv_bucket_find()
 *     The sequence number of an index bucket, even again. A reader that sees it sees
 *     everything that the daemon changed in the bucket before.
 *   SEQ_OPEN -> SEQ_CHECK        daemon ckv_bucket_open() -> ckv_bucket_find()
 *     Two fences. The daemon stores an odd sequence number, passes the release fence,
 *     changes the bucket. The reader copies an entry, passes the acquire fence, loads
 *     the number again. If its copy has any word of the change, this load reads the
 *     odd number or a later one: the reader knows that the copy is a mixture.
 *   GEN_STORE -> GEN_LOAD        daemon ckv_entry_store(), ckv_entry_show(),
 *                                ckv_entry_set_generation() -> ckv_entry_load(),
 *                                ckv_pin_confirm()
 *     The word of an index entry that holds its generation. Page numbers that are
 *     loaded after it are those of this generation, or newer.
 *   PIN_DROP -> PIN_SCAN         client ckv_pin_drop() -> daemon ckv_pin_slot(),
 *                                ckv_pins_empty()
 *     A pin word that became 0. The client's reads of the pinned pages are over when
 *     the daemon lets somebody else write them.
 *   STATE_PUT -> STATE_TAKE      ckv_lane_shut() -> ckv_lane_state();
 *     ckv_world_set_life(), ckv_world_raise_epoch() -> ckv_world_alive();
 *     ckv_futex_bump() -> ckv_futex_load(); ckv_client_set_state() ->
 *     ckv_client_state(); ckv_state_store32() -> ckv_state_load32()
 *     A word that says how something stands. Who sees a new state sees what was
 *     written before it.
 *
 * 2. Full fences, memory_order_seq_cst. Two processes each store one word and then
 * load the word that the other one stores. A processor may do the load first, while
 * its store still waits in the store buffer, and neither release nor acquire forbids
 * it; then both would read old values. With a full fence between store and load on
 * both sides at least one process reads what the other stored.
 *
 *   PIN_FENCE    client, ckv_pin_fence(): stores its pin word, loads the generation
 *   EVICT_FENCE  daemon, ckv_evict_fence(): stores an odd generation, loads pin words
 *     Either the daemon sees the pin, or the client sees that the daemon is about to
 *     evict the block. ckv_pin.h tells the whole protocol.
 *   SLEEP_FENCE  who goes to sleep, ckv_sleep_prepare(), ckv_event_raise(): stores its
 *                "wake me" flag, looks at its ring
 *   WAKE_FENCE   who has put a message, ckv_wake_needed(): stores the message, loads
 *                the flag
 *     Either the waker sees the flag and wakes the sleeper, or the sleeper sees the
 *     message and does not sleep.
 *   EPOCH_FENCE  daemon at its start, ckv_world_raise_epoch(): stores its epoch, loads
 *                pin words
 *   PIN_FENCE    client: stores its pin word, loads the epoch
 *     For a daemon that takes over the memory of a dead one: either it sees a pin of
 *     that time, or the client sees the new epoch. The life word covers for it: no pin
 *     is confirmed until that is the new daemon's, and it is stored after the epoch.
 *
 * 3. ckv_kill_fence(): what one thread stored when it is killed. The processor makes the
 * stores of a thread in the order of its instructions, as far as a later process can
 * tell, so only the compiler must be kept from changing their order.
 *
 * How this is tested. Each order can be weakened for one build, for example by
 * -DCKV_ORDER_PIN_FENCE=memory_order_relaxed; `tests/mutants/run orders` does so with each
 * and expects a race test, the stress test or a model to fail. No functional test and
 * no ThreadSanitizer run sees a missing full fence; the models in tests/model do, and
 * their README says which model decides about which order.
 */
#ifndef CKV_ORDER_H
#define CKV_ORDER_H

#include "proto/ckv_abi.h"

#ifndef CKV_ORDER_RING_PUT
#define CKV_ORDER_RING_PUT	memory_order_release
#endif
#ifndef CKV_ORDER_RING_TAKE
#define CKV_ORDER_RING_TAKE	memory_order_acquire
#endif
#ifndef CKV_ORDER_CREDIT_PUT
#define CKV_ORDER_CREDIT_PUT	memory_order_release
#endif
#ifndef CKV_ORDER_CREDIT_TAKE
#define CKV_ORDER_CREDIT_TAKE	memory_order_acquire
#endif
#ifndef CKV_ORDER_SEQ_END
#define CKV_ORDER_SEQ_END	memory_order_release
#endif
#ifndef CKV_ORDER_SEQ_BEGIN
#define CKV_ORDER_SEQ_BEGIN	memory_order_acquire
#endif
#ifndef CKV_ORDER_SEQ_OPEN
#define CKV_ORDER_SEQ_OPEN	memory_order_release
#endif
#ifndef CKV_ORDER_SEQ_CHECK
#define CKV_ORDER_SEQ_CHECK	memory_order_acquire
#endif
#ifndef CKV_ORDER_GEN_STORE
#define CKV_ORDER_GEN_STORE	memory_order_release
#endif
#ifndef CKV_ORDER_GEN_LOAD
#define CKV_ORDER_GEN_LOAD	memory_order_acquire
#endif
#ifndef CKV_ORDER_PIN_DROP
#define CKV_ORDER_PIN_DROP	memory_order_release
#endif
#ifndef CKV_ORDER_PIN_SCAN
#define CKV_ORDER_PIN_SCAN	memory_order_acquire
#endif
#ifndef CKV_ORDER_STATE_PUT
#define CKV_ORDER_STATE_PUT	memory_order_release
#endif
#ifndef CKV_ORDER_STATE_TAKE
#define CKV_ORDER_STATE_TAKE	memory_order_acquire
#endif
#ifndef CKV_ORDER_PIN_FENCE
#define CKV_ORDER_PIN_FENCE	memory_order_seq_cst
#endif
#ifndef CKV_ORDER_EVICT_FENCE
#define CKV_ORDER_EVICT_FENCE	memory_order_seq_cst
#endif
#ifndef CKV_ORDER_SLEEP_FENCE
#define CKV_ORDER_SLEEP_FENCE	memory_order_seq_cst
#endif
#ifndef CKV_ORDER_WAKE_FENCE
#define CKV_ORDER_WAKE_FENCE	memory_order_seq_cst
#endif
#ifndef CKV_ORDER_EPOCH_FENCE
#define CKV_ORDER_EPOCH_FENCE	memory_order_seq_cst
#endif

#define CKV_RELAXED		memory_order_relaxed

/*
 * Counters and hints, with relaxed loads and stores: nothing else is concluded from
 * them, so an old value does no harm. Only one thread writes each of them.
 */
static inline uint64_t ckv_hint_load64(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, CKV_RELAXED);
}

static inline void ckv_hint_store64(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, CKV_RELAXED);
}

static inline uint32_t ckv_hint_load32(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, CKV_RELAXED);
}

static inline void ckv_hint_store32(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, CKV_RELAXED);
}

/* STATE_TAKE and STATE_PUT for any word: who sees the new value sees what led to it. */
static inline uint32_t ckv_state_load32(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, CKV_ORDER_STATE_TAKE);
}

static inline void ckv_state_store32(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, CKV_ORDER_STATE_PUT);
}

/* What stands before it is stored before what stands after it, if a kill comes between. */
static inline void ckv_kill_fence(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

/* Only one thread writes a counter, so adding needs no atomic read-modify-write. */
static inline void ckv_count(_Atomic uint64_t *counter, uint64_t n)
{
	ckv_hint_store64(counter, ckv_hint_load64(counter) + n);
}

#endif
