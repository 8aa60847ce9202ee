/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_order.h - every ordering pair between processes, by name.
 *
 * No other place in the project names a memory order. Each site in proto/ is
 * labelled with its name here. A test may build with one of them weakened
 * (-DCKV_ORDER_PIN_FENCE=memory_order_relaxed): a race test, the stress or a
 * model must then fail.
 *
 *   release side                          acquire side
 *   RING_PUT   a slot's first word     -> RING_TAKE   a message is whole before it is seen
 *   CREDIT_PUT the consumer's count    -> CREDIT_TAKE a slot is read before it is reused
 *   SEQ_END    bucket sequence, even   -> SEQ_BEGIN   a bucket's lines are whole
 *   SEQ_OPEN   fence after odd         -> SEQ_CHECK   fence before the re-read: a torn copy is seen
 *   GEN_STORE  an entry's generation   -> GEN_LOAD    page numbers belong to the generation
 *   PIN_DROP   pin word cleared        -> PIN_SCAN    all reads of the page are over
 *   STATE_PUT  lane state, life, epoch -> STATE_TAKE  what led to the change is seen
 *
 *   full fences: each side stores its own word, then loads the other's
 *   PIN_FENCE   client:  pin word | generation   with EVICT_FENCE daemon: generation odd | pin words
 *   SLEEP_FENCE sleeper: flag | ring             with WAKE_FENCE  waker:  ring | flag
 *   EPOCH_FENCE daemon:  epoch | pin words       with PIN_FENCE
 *
 * The full fences are invisible to functional tests and to ThreadSanitizer;
 * the models in tests/model decide about them.
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
 * Counters and hints: a late value costs nothing but a wrong number. One
 * process writes each of them.
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

/* Like a lane's state: who sees the new value sees what led to it. */
static inline uint32_t ckv_state_load32(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, CKV_ORDER_STATE_TAKE);
}

static inline void ckv_state_store32(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, CKV_ORDER_STATE_PUT);
}

/* The one writer of a counter adds to it; no locked instruction is needed. */
static inline void ckv_count(_Atomic uint64_t *counter, uint64_t n)
{
	ckv_hint_store64(counter, ckv_hint_load64(counter) + n);
}

#endif
