/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.pml - one producer, one consumer, sequence numbers inside the slots,
 * credits written back in batches. Stores may overtake each other as C11
 * allows (WEAK_STORES); x86 alone would hide a missing release.
 *
 * proto/ckv_ring.h. Producer: ckv_ring_put(): wait for a credit, write the
 * message, write the slot's sequence number with release (RING_PUT). Consumer:
 * ckv_ring_take(): look at the sequence number of the next slot, copy the
 * message; after every BATCH messages ckv_ring_credit() with release
 * (CREDIT_PUT). The upper half of the word that carries the sequence number is
 * message too, but arrives with it.
 *
 * Promised: a message is whole when it is seen, a slot is not written again
 * before it was read, and neither side waits for ever.
 *
 * SEQUENCE_FIRST    the number is written before the message
 * PLAIN_SEQUENCE    the number is written last, but not with release
 * TAKE_EARLY        the message is loaded before the number: what a take without
 *                   acquire allows
 * CREDIT_EARLY      credits go back before the slot was copied: also what a
 *                   credit without release allows, as loads may then sink
 *                   below the store
 * NO_CREDIT         the producer does not wait
 * BATCH_TOO_LARGE   credits kept back for longer than the ring has slots
 */

#define WEAK_STORES
#define PRODUCER 0
#define CONSUMER 1
#define N_CPUS 2
#define DEPTH 4

#define N_SLOTS 2
#define N_MESSAGES 5
#ifdef BATCH_TOO_LARGE
#define BATCH 3
#else
#define BATCH 2
#endif

#define A(n)   (((n) % N_SLOTS) * 3)		/* the message: two words */
#define B(n)   (((n) % N_SLOTS) * 3 + 1)
#define SEQ(n) (((n) % N_SLOTS) * 3 + 2)
#define CREDIT (N_SLOTS * 3)			/* messages taken so far */
#define N_WORDS (N_SLOTS * 3 + 1)

#include "store_buffer.h"

bool message_is_whole = true, first_lap = true;

proctype producer()
{
	byte n;

	do
	:: n < N_MESSAGES ->
		n++;
#ifndef NO_CREDIT
		(n - mem[CREDIT] <= N_SLOTS);
#endif
#ifdef SEQUENCE_FIRST
		st_release(PRODUCER, SEQ(n), n);
#endif
		st(PRODUCER, A(n), n);
		st(PRODUCER, B(n), n);
#ifdef PLAIN_SEQUENCE
		st(PRODUCER, SEQ(n), n)
#elif !defined(SEQUENCE_FIRST)
		st_release(PRODUCER, SEQ(n), n)
#endif
	:: else -> break
	od
}

proctype consumer()
{
	byte n, a, b, owed;

	do
	:: n < N_MESSAGES ->
		n++;
#ifdef TAKE_EARLY
		a = mem[A(n)];
		b = mem[B(n)];
#endif
		(mem[SEQ(n)] == n);
#ifdef REACH_WRAP
		first_lap = n <= N_SLOTS;
		assert(first_lap);
#endif
		owed++;
#ifdef CREDIT_EARLY
		if
		:: owed == BATCH -> st_release(CONSUMER, CREDIT, n); owed = 0
		:: else
		fi;
#endif
#ifndef TAKE_EARLY
		a = mem[A(n)];
		b = mem[B(n)];
#endif
		d_step {
			message_is_whole = a == n && b == n;
			assert(message_is_whole);
			a = 0; b = 0
		}
#ifndef CREDIT_EARLY
		if
		:: owed == BATCH -> st_release(CONSUMER, CREDIT, n); owed = 0
		:: else
		fi
#endif
	:: else -> break
	od
}

init { atomic { run memory(PRODUCER); run memory(CONSUMER);
	run producer(); run consumer() } }
