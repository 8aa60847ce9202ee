/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_ring.h - one-way message ring between a client and the daemon.
 *
 * One producer, one consumer, in two processes that do not trust each other.
 * A slot is 64 bytes; the low half of its first word is the sequence number,
 * which the producer writes last. Message number p (from 0, wrapping at 2^32)
 * lives in slot p % n_slots and carries sequence p + 1, so a slot that holds an
 * older message is never mistaken for a new one. Slots start as zero.
 *
 * The producer may be n_slots ahead of the credit word: the count of messages
 * that the consumer has copied, which it writes back when it likes. Each end
 * keeps its own position in private memory; what it reads from the other side
 * is judged (-EPROTO) and never used to compute an address.
 */
#ifndef CKV_RING_H
#define CKV_RING_H

#include "proto/ckv_order.h"

#include <errno.h>
#include <stdbool.h>

struct ckv_slot {
	_Atomic uint64_t word[8];
};
CKV_SIZE(struct ckv_slot, 64);

/* A message in private memory. The low half of word[0] belongs to the ring. */
struct ckv_msg {
	uint64_t word[8];
};
CKV_SIZE(struct ckv_msg, 64);

/* One process's end. n_slots is a power of two. */
struct ckv_ring_end {
	struct ckv_slot	 *slots;
	_Atomic uint32_t *credit;	/* written by the consumer's process */
	uint32_t	  n_slots;
	uint32_t	  pos;		/* next message to put or take */
	uint32_t	  credit_seen;	/* producer: last credit believed */
};

/*
 * Put one message. -EAGAIN: the consumer has not freed a slot; -EPROTO: its
 * credit word claims messages that were never sent, or takes some back.
 */
static inline int ckv_ring_put(struct ckv_ring_end *end,
			       const struct ckv_msg *msg)
{
	struct ckv_slot *slot = &end->slots[end->pos & (end->n_slots - 1)];
	uint32_t credit, seq = end->pos + 1;

	if (end->pos - end->credit_seen >= end->n_slots) {
		credit = atomic_load_explicit(end->credit,
					      CKV_ORDER_CREDIT_TAKE);
		if (end->pos - credit > end->n_slots)
			return -EPROTO;
		if (end->pos - credit == end->n_slots)
			return -EAGAIN;
		end->credit_seen = credit;
	}
	for (int i = 1; i < 8; i++)
		atomic_store_explicit(&slot->word[i], msg->word[i], CKV_RELAXED);
	/* RING_PUT: the words above are seen before this sequence number. */
	atomic_store_explicit(&slot->word[0],
			      (msg->word[0] & 0xffffffff00000000u) | seq,
			      CKV_ORDER_RING_PUT);
	end->pos = seq;
	return 0;
}

/*
 * Is there anything to take, a message or a wrong sequence number? A hint:
 * ckv_ring_take() decides.
 */
static inline int ckv_ring_ready(const struct ckv_ring_end *end)
{
	const struct ckv_slot *slot = &end->slots[end->pos & (end->n_slots - 1)];
	uint32_t seq = (uint32_t)atomic_load_explicit(&slot->word[0],
						      CKV_RELAXED);

	return seq == end->pos + 1 ||
	       (seq != end->pos + 1 - end->n_slots && seq != 0);
}

/*
 * Copy the oldest message to private memory. -EAGAIN if there is none.
 * -EPROTO: the slot's sequence number is neither the next one nor an old one.
 */
static inline int ckv_ring_take(struct ckv_ring_end *end,
				struct ckv_msg *ret_msg)
{
	struct ckv_slot *slot = &end->slots[end->pos & (end->n_slots - 1)];
	struct ckv_msg msg;
	uint32_t old = end->pos + 1 - end->n_slots;
	uint32_t seq;

	/* RING_TAKE: the words below are at least as new as this one. */
	msg.word[0] = atomic_load_explicit(&slot->word[0], CKV_ORDER_RING_TAKE);
	seq = (uint32_t)msg.word[0];
	if (seq != end->pos + 1)
		return seq == old || seq == 0 ? -EAGAIN : -EPROTO;
	for (int i = 1; i < 8; i++)
		msg.word[i] = atomic_load_explicit(&slot->word[i], CKV_RELAXED);
	end->pos++;
	*ret_msg = msg;
	return 0;
}

/* Consumer: give back every slot taken so far. */
static inline void ckv_ring_credit(struct ckv_ring_end *end)
{
	/* CREDIT_PUT: the copies are finished before the slots are reused. */
	atomic_store_explicit(end->credit, end->pos, CKV_ORDER_CREDIT_PUT);
}

/*
 * Sleeping and waking. `flag` is the sleeper's NEED_WAKEUP word.
 *
 *   sleeper: ckv_sleep_prepare(flag); look at the ring again; sleep;
 *            ckv_sleep_done(flag)
 *   waker:   put; if (ckv_wake_needed(flag)) wake
 *
 * A sleeper on a futex loads the futex word before ckv_sleep_prepare() and
 * waits for that value; the waker changes it before it wakes.
 */
static inline void ckv_sleep_prepare(_Atomic uint32_t *flag)
{
	atomic_store_explicit(flag, 1, CKV_RELAXED);
	atomic_thread_fence(CKV_ORDER_SLEEP_FENCE);
}

static inline void ckv_sleep_done(_Atomic uint32_t *flag)
{
	atomic_store_explicit(flag, 0, CKV_RELAXED);
}

/* Sleeper: the same for an event message; look at the ring again afterwards. */
static inline void ckv_event_raise(_Atomic uint32_t *arm)
{
	atomic_store_explicit(arm,
			      atomic_load_explicit(arm, CKV_RELAXED) + 1,
			      CKV_RELAXED);
	atomic_thread_fence(CKV_ORDER_SLEEP_FENCE);
}

static inline int ckv_wake_needed(const _Atomic uint32_t *flag)
{
	atomic_thread_fence(CKV_ORDER_WAKE_FENCE);
	return atomic_load_explicit(flag, CKV_RELAXED) != 0;
}

/* Waker: change the futex word, so that a sleeper about to wait does not. */
static inline void ckv_futex_bump(_Atomic uint32_t *futex)
{
	atomic_store_explicit(futex,
			      atomic_load_explicit(futex, CKV_RELAXED) + 1,
			      CKV_ORDER_STATE_PUT);
}

static inline uint32_t ckv_futex_load(const _Atomic uint32_t *futex)
{
	return atomic_load_explicit(futex, CKV_ORDER_STATE_TAKE);
}

#endif
