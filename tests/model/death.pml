/* SPDX-License-Identifier: Apache-2.0 */
/*
 * death.pml - the daemon dies at any step, the next one takes the memory over,
 * and a reader still holds the old mappings. x86-TSO store buffers.
 *
 * One block K in page 0. The old daemon evicts it (ckv_evict_mark, _fence,
 * ckv_pin_slot, then _restore or free) and lends the page to a writing client.
 * `killed` may strike between any two steps; the kernel then marks the life
 * word. The old index is frozen, perhaps with an odd generation in it. The new
 * daemon calls ckv_world_raise_epoch, then ckv_world_set_life, restores what
 * the page records say is published, reads the pin tables it inherited, and
 * gives page 0 to another block if nobody claims it. The reader attached under
 * epoch 0 and goes on with ckv_pin_set, ckv_pin_confirm, ckv_pin_drop.
 *
 * Promised: a pinned page keeps its bytes across the restart; a published page
 * has its own bytes; a lookup that begins after the death misses; nobody waits
 * for ever.
 *
 * Reader: NO_EPOCH_CHECK  NO_LIFE_CHECK  NO_READER_FENCE
 *         EPOCH_BEFORE_FENCE (compared too early to mean anything)
 *         WAIT_FOR_EVEN (an odd generation may stay odd for ever)
 * Daemon: EPOCH_AFTER_REUSE  LIFE_BEFORE_EPOCH  PINS_FORGOTTEN
 *         NO_EPOCH_FENCE (raised, but still in the buffer at the scan)
 *         RECORD_LATE (the page is lent before its record says unpublished)
 *         LENT_IS_FREE (a page lent before the death is given away while the
 *         client that holds it still writes)
 *
 * ONLY_PAGES leaves out "a lookup after the death misses", to see what the
 * bytes of a page depend on. The life word and the epoch's fence cover for each
 * other there: between the kernel's mark and the new life word nothing is
 * confirmed, and the new life word is stored after the epoch. So one of
 * them missing is survived, both missing is not.
 */

#define DAEMON 0			/* the old one, then the new one */
#define READER 1
#define WRITER 2
#define N_CPUS 3
#define DEPTH 4

#define GEN    0			/* generation in the old index */
#define RECORD 1			/* page record: the published block, or 0 */
#define LENT   2			/* page record: lent to the writer */
#define DATA   3			/* whose bytes page 0 holds */
#define PIN    4
#define LIFE   5
#define EPOCH  6
#define N_WORDS 7

#define K 1				/* the block; X what the writer fills */
#define X 2				/* in, N what the new daemon puts there */
#define N 3

#include "store_buffer.h"

bool killed, writer_gone;
bool pinned_page_is_right = true, published_page_is_right = true;
bool missed_after_death = true, no_hit = true;

proctype reader()
{
	byte attempts, g, epoch;
	bool dead;

	do
	:: attempts < 2 ->
		attempts++;
		dead = mem[LIFE] == 0;
		g = mem[GEN];
		if
#ifdef WAIT_FOR_EVEN
		:: g == 1 -> (mem[GEN] != 1); goto next
#else
		:: g == 1 -> goto next
#endif
		:: g == 2 -> goto next		/* freed: the key is gone */
		:: else
		fi;
#ifdef EPOCH_BEFORE_FENCE
		epoch = mem[EPOCH];
#endif
		st(READER, PIN, 1);
#ifndef NO_READER_FENCE
		fence_full(READER);
#endif
		if
		:: mem[GEN] != g -> goto unpin
		:: else
		fi;
#ifndef NO_LIFE_CHECK
		if
		:: mem[LIFE] == 0 -> goto unpin
		:: else
		fi;
#endif
#ifndef EPOCH_BEFORE_FENCE
		epoch = mem[EPOCH];
#endif
#ifndef NO_EPOCH_CHECK
		if
		:: epoch != 0 -> goto unpin
		:: else
		fi;
#endif
#ifndef ONLY_PAGES
		d_step { missed_after_death = !dead; assert(missed_after_death) }
#endif
#ifdef REACH_HIT
		no_hit = mem[EPOCH] == 0;	/* pinned when the new one starts */
		assert(no_hit);
#endif
		d_step {
			pinned_page_is_right = mem[DATA] == K;
			assert(pinned_page_is_right)
		}
unpin:
		st(READER, PIN, 0);
next:
		skip;
		d_step { g = 0; epoch = 0; dead = false }
	:: else -> break
	od
}

/* A client that was lent the page writes it when it likes, or goes. */
proctype writer()
{
	if
	:: mem[LENT] == 1 -> st(WRITER, DATA, X)
	:: true
	fi;
	fence_full(WRITER);
	writer_gone = true
}

inline old_daemon()
{
	st(DAEMON, GEN, 1);
	fence_full(DAEMON);
	if
	:: mem[PIN] != 0 ->
		st(DAEMON, GEN, 0)
	:: else ->
#ifndef RECORD_LATE
		st(DAEMON, RECORD, 0);
#endif
		st(DAEMON, GEN, 2);
		st(DAEMON, LENT, 1);
#ifdef RECORD_LATE
		st(DAEMON, RECORD, 0);
#endif
	fi;
	false				/* idle until it is killed */
}

/* Page 0 gets block N. */
inline reuse()
{
	st(DAEMON, DATA, N);
	now = N
}

inline new_daemon()
{
	now = 0;
#ifdef LIFE_BEFORE_EPOCH
	st(DAEMON, LIFE, 1);
#endif
#ifndef EPOCH_AFTER_REUSE
	st(DAEMON, EPOCH, 1);
#ifndef NO_EPOCH_FENCE
	fence_full(DAEMON);
#endif
#endif
#ifndef LIFE_BEFORE_EPOCH
	st(DAEMON, LIFE, 1);
#endif
	if
	:: mem[RECORD] == K -> now = K		/* restored, and kept */
#ifdef PINS_FORGOTTEN
	:: mem[RECORD] == K -> reuse()
#else
	:: mem[RECORD] == K && mem[PIN] == 0 -> reuse()
#endif
#ifdef LENT_IS_FREE
	:: mem[RECORD] == 0 -> reuse()
#else
	:: mem[RECORD] == 0 && mem[LENT] == 0 -> reuse()
	:: mem[RECORD] == 0 && mem[LENT] == 1 -> (writer_gone); reuse()
#endif
	fi;
#ifdef EPOCH_AFTER_REUSE
	st(DAEMON, EPOCH, 1);
#endif
	fence_full(DAEMON);
	writer_gone;
	d_step {
		published_page_is_right = mem[DATA] == now;
		assert(published_page_is_right)
	}
}

proctype daemon()
{
	byte now;

	{ old_daemon() } unless { killed };
	fence_full(DAEMON);			/* what it stored is stored */
	mem[LIFE] = 0;				/* by the kernel */
	new_daemon()
}

proctype killer() { killed = true }

init {
	atomic {
		mem[RECORD] = K; mem[DATA] = K; mem[LIFE] = 1;
		run memory(DAEMON); run memory(READER); run memory(WRITER);
		run daemon(); run reader(); run writer(); run killer()
	}
}
