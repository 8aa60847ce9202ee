/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_ring.h - a ring of messages in one direction, and how its two ends sleep.
 *
 * A lane has two rings: requests from the client to the daemon, completions back. A ring
 * has one producer and one consumer, in two processes that do not trust each other.
 *
 * A slot has 64 bytes. The low half of its first word is the sequence number, which the
 * producer stores last. Message number p (counted from 0, modulo 2^32) goes into slot
 * p % n_slots with sequence number p + 1, so the consumer never takes an older message
 * in that slot for the new one. All slots are zero at first.
 *
 * The credit word counts the messages that the consumer has copied; the consumer stores
 * it once for several messages. The producer never puts message p before the credit is
 * p - n_slots + 1 or more, so it overwrites no slot that is not copied yet.
 *
 * Each end keeps its own position in private memory. What it reads from the other side's
 * memory is checked (-EPROTO) and never used to compute an address.
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

/* One end of a ring, in the private memory of its process. */
struct ckv_ring_end {
	struct ckv_slot	 *slots;
	_Atomic uint32_t *credit;	/* the consumer stores it */
	uint32_t	  n_slots;	/* a power of two */
	uint32_t	  pos;		/* number of the next message to put or take */
	uint32_t	  credit_seen;	/* producer: the last credit that was plausible */
};

/*
 * Producer: put one message. -EAGAIN: all slots hold messages that the consumer has not
 * copied. -EPROTO: the credit cannot be: it counts more messages than were put, or less
 * than it did before.
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
	/* RING_PUT: who sees this sequence number sees the words above. */
	atomic_store_explicit(&slot->word[0],
			      (msg->word[0] & 0xffffffff00000000u) | seq,
			      CKV_ORDER_RING_PUT);
	end->pos = seq;
	return 0;
}

/*
 * Consumer: is there anything to take, be it a message or a wrong sequence number? Only
 * a hint, by a relaxed load: ckv_ring_take() decides.
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
 * Consumer: copy the oldest message to private memory. -EAGAIN: there is none. -EPROTO:
 * the slot's sequence number is neither that of this message nor that of an older one.
 */
static inline int ckv_ring_take(struct ckv_ring_end *end,
				struct ckv_msg *ret_msg)
{
	struct ckv_slot *slot = &end->slots[end->pos & (end->n_slots - 1)];
	struct ckv_msg msg;
	uint32_t old = end->pos + 1 - end->n_slots;
	uint32_t seq;

	/* RING_TAKE: the words that are loaded below belong to this sequence number. */
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

/* Consumer: let the producer use again every slot that was copied so far. */
static inline void ckv_ring_credit(struct ckv_ring_end *end)
{
	/* CREDIT_PUT: the copies are made before the producer overwrites the slots. */
	atomic_store_explicit(end->credit, end->pos, CKV_ORDER_CREDIT_PUT);
}

/*
 * Sleeping and waking. `flag` is the sleeper's "wake me" word: need_wake of a client,
 * reactor_sleeping of the daemon.
 *
 *   sleeper: ckv_sleep_prepare(flag); look at the ring once more; if it is empty, sleep
 *            in the kernel; ckv_sleep_done(flag)
 *   waker:   ckv_ring_put(); if (ckv_wake_needed(flag)) wake the sleeper
 *
 * So a waker makes a system call only if the other side sleeps. The daemon sleeps in its
 * event loop, and a client wakes it through the eventfd of its lane. A client sleeps on
 * D's futex word. It loads the word before ckv_sleep_prepare(), and the kernel lets it
 * sleep only while the word has that value; the daemon changes the word before it wakes
 * (ckv_futex_bump()). So a wake-up that comes just before the sleep is not lost.
 */
static inline void ckv_sleep_prepare(_Atomic uint32_t *flag)
{
	atomic_store_explicit(flag, 1, CKV_RELAXED);
	/* SLEEP_FENCE: the waker sees the flag, or the sleeper sees the message. */
	atomic_thread_fence(CKV_ORDER_SLEEP_FENCE);
}

/* Sleeper: awake again. */
static inline void ckv_sleep_done(_Atomic uint32_t *flag)
{
	atomic_store_explicit(flag, 0, CKV_RELAXED);
}

/*
 * Client: ask for one EVENT message at the next completion, by another number in
 * event_arm. As with ckv_sleep_prepare(), the caller looks at the ring once more.
 */
static inline void ckv_event_raise(_Atomic uint32_t *arm)
{
	atomic_store_explicit(arm,
			      atomic_load_explicit(arm, CKV_RELAXED) + 1,
			      CKV_RELAXED);
	/* SLEEP_FENCE: the daemon sees the number, or the client sees the completion. */
	atomic_thread_fence(CKV_ORDER_SLEEP_FENCE);
}

/* Waker, after ckv_ring_put(): does the other side sleep, or is it about to? */
static inline int ckv_wake_needed(const _Atomic uint32_t *flag)
{
	/* WAKE_FENCE: the waker sees the flag, or the sleeper sees the message. */
	atomic_thread_fence(CKV_ORDER_WAKE_FENCE);
	return atomic_load_explicit(flag, CKV_RELAXED) != 0;
}

/* Daemon: change the futex word, so that a client that is about to sleep on it does not. */
static inline void ckv_futex_bump(_Atomic uint32_t *futex)
{
	atomic_store_explicit(futex,
			      atomic_load_explicit(futex, CKV_RELAXED) + 1,
			      CKV_ORDER_STATE_PUT);
}

/* Client: the value of the futex word to sleep on. */
static inline uint32_t ckv_futex_load(const _Atomic uint32_t *futex)
{
	return atomic_load_explicit(futex, CKV_ORDER_STATE_TAKE);
}

#endif
