/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fill.pml - a lookup fills handles while the daemon adds and removes copies nearer to
 * the reader. x86-TSO store buffers.
 *
 * A chain of two blocks, 0 and its child 1. Each may have a device copy and a host copy;
 * each copy has a place of its own. A block's level is the nearest one with a copy, and
 * is never nearer than its parent's.
 *
 *   reader  search: the level of each block, one entry after the other (a block counts
 *           as found only if it and its parent are there); n_at[DEVICE], n_at[HOST].
 *           Pins the deepest block of each level, as its entry is found then: it has a
 *           copy at that level; fence, and the generation is confirmed. Then it looks
 *           at each entry and makes a handle: the device copy for i < n_at[DEVICE], the
 *           host copy for the rest. If one has no such copy, nothing is handed out
 *   daemon  adds a device copy of a block whose parent has one, or a host copy of a block
 *           that has none: the generation stays, no pin word is read
 *           removes a copy: if the block's child has none at that level, and the block
 *           then is not farther than its child; odd, fence, scan, a new generation. The
 *           place gets somebody else's bytes at once
 *           replaces a host copy by a device copy, as PUBLISH does: the entry names the
 *           host copy no more, and the generation stays. The replaced copy is stale: it is
 *           one of the block's copies until it is removed
 *
 * Promised: a handle's bytes stay while the pins are held.
 *
 * Mutants: LEVEL_AT_FILL (the nearest copy that the entry has at that moment)
 *          NO_LOOK_AT_FILL (a copy at the level is taken for granted)
 *          PIN_ANY_LEVEL (the block that is pinned may have lost its copy at the level, and
 *          get another: meanwhile its parent's was nobody's)
 *          ONE_PIN (of the deepest block only)
 *          NO_CONFIRM  NO_READER_FENCE  NO_DAEMON_FENCE
 *          ABOVE_CHILD (a copy goes although the child has one at that level)
 *          REMOVE_UNSEEN (without a scan)
 *          STALE_ABOVE_CHILD (a stale copy goes although the child has one at that level)
 *          STALE_IS_NO_CHILD (a parent's copy goes although the child has a stale one at
 *          that level, which may be pinned)
 */

#ifndef CHANGES
#define CHANGES 2		/* new generations of a block */
#endif

#define DAEMON 0
#define READER 1
#define N_CPUS 2
#define DEPTH 3

#define ENTRY(b) (b)		/* generation * 4 + copies */
#define PIN(l)	(2 + (l))	/* word of a level: 0 or 1 + block */
#define N_WORDS 4

#include "store_buffer.h"

#define DEVICE 1		/* copies */
#define HOST   2
#define COPIES(e) ((e) % 4)
#define GENERATION(e) ((e) / 4)
#define EVEN(e) (GENERATION(e) % 2 == 0)

byte has[2];			/* copies of each block, as the daemon knows them */
byte stale[2];			/* HOST: and a stale one */
bool handle[4];			/* HANDLE(b, l): the reader reads this copy */
#define HANDLE(b, l) handle[2 * (b) + ((l) == HOST -> 1 : 0)]

bool copy_stays = true, copy_is_there = true, not_mixed = true;

#ifdef PIN_ANY_LEVEL
#define PIN_COVERS(l_) true
#else
#define PIN_COVERS(l_) ((e & (l_)) != 0)
#endif

/* Pin block b, if its entry has a copy at the level that the pin is to cover. */
inline pin(w, b, l_)
{
	e = mem[ENTRY(b)];
	if
	:: COPIES(e) == 0 || !EVEN(e) || !PIN_COVERS(l_) -> goto unpin
	:: else
	fi;
	st(READER, PIN(w), 1 + b);
#ifndef NO_READER_FENCE
	fence_full(READER);
#endif
#ifndef NO_CONFIRM
	if
	:: GENERATION(mem[ENTRY(b)]) != GENERATION(e) -> goto unpin
	:: else
	fi
#else
	skip
#endif
}

/* The handle of block b, if the entry has a copy at the level that a pin covers. */
inline fill(b, ret)
{
	d_step {
		e = mem[ENTRY(b)];
#ifdef LEVEL_AT_FILL
		ret = ((e & DEVICE) != 0 -> DEVICE : HOST);
#else
		ret = (b < n_device -> DEVICE : HOST);
#endif
#ifndef NO_LOOK_AT_FILL
		ret = ((e & ret) != 0 -> ret : 0);
#endif
		e = 0
	}
	if
	:: ret == 0 -> goto unpin
	:: else
	fi
}

/* The lookup hands out what it has filled. */
inline hand_out(b, l)
{
	copy_is_there = copy_is_there && (has[b] & l) + stale[b] != 0;
	assert(copy_is_there);
	HANDLE(b, l) = true
}

proctype reader()
{
	byte e, l0, l1, n_device, n_host;

	e = mem[ENTRY(0)];
	n_host = (COPIES(e) != 0 -> 1 : 0);
	n_device = ((e & DEVICE) != 0 -> 1 : 0);
	e = mem[ENTRY(1)];
	d_step {
		n_device = n_device + (n_host == 1 && n_device == 1 && (e & DEVICE) != 0 -> 1 : 0);
		n_host = n_host + (n_host == 1 && COPIES(e) != 0 -> 1 : 0);
		e = 0
	}
	if
	:: n_host == 0 -> goto unpin
	:: else
	fi;
	pin(0, n_host - 1, (n_device == n_host -> DEVICE : HOST));
#ifndef ONE_PIN
	if
	:: n_device > 0 && n_device < n_host -> pin(1, n_device - 1, DEVICE)
	:: else
	fi;
#endif
	fill(0, l0);
	if
	:: n_host > 1 -> fill(1, l1)
	:: else
	fi;
	d_step {
		hand_out(0, l0);
		if
		:: l1 != 0 -> hand_out(1, l1)
		:: else
		fi;
		l0 = 0; l1 = 0
	}
#ifdef REACH_MIXED
	not_mixed = !(HANDLE(0, DEVICE) && HANDLE(1, HOST) && (mem[ENTRY(1)] & DEVICE) != 0);
	assert(not_mixed);
#endif
unpin:
	skip;
	d_step { handle[0] = false; handle[1] = false; handle[2] = false; handle[3] = false }
	st(READER, PIN(0), 0);
	st(READER, PIN(1), 0)
}

inline add(b, l)
{
	ld(DAEMON, ENTRY(b), e);
	st(DAEMON, ENTRY(b), e + l)
}

inline remove_copy(b, l)
{
	ld(DAEMON, ENTRY(b), e);
	st(DAEMON, ENTRY(b), e + 4);
#ifndef NO_DAEMON_FENCE
	fence_full(DAEMON);
#endif
	if
#ifndef REMOVE_UNSEEN
	:: mem[PIN(0)] == 1 + b || mem[PIN(1)] == 1 + b -> st(DAEMON, ENTRY(b), e)
#endif
	:: else ->
		d_step { has[b] = has[b] - l; n[b]++ }
		st(DAEMON, ENTRY(b), e + 8 - l);
		d_step {
			copy_stays = !HANDLE(b, l);
			assert(copy_stays)
		}
	fi
}

inline replace(b)
{
	d_step { has[b] = DEVICE; stale[b] = HOST }
	ld(DAEMON, ENTRY(b), e);
	st(DAEMON, ENTRY(b), e + DEVICE - HOST)
}

inline remove_stale(b)
{
	ld(DAEMON, ENTRY(b), e);
	st(DAEMON, ENTRY(b), e + 4);
	fence_full(DAEMON);
	if
	:: mem[PIN(0)] == 1 + b || mem[PIN(1)] == 1 + b -> st(DAEMON, ENTRY(b), e)
	:: else ->
		d_step { stale[b] = 0; n[b]++ }
		st(DAEMON, ENTRY(b), e + 8);
		d_step {
			copy_stays = !HANDLE(b, HOST);
			assert(copy_stays)
		}
	fi
}

#ifdef STALE_IS_NO_CHILD
#define ALL_OF(b) has[b]
#else
#define ALL_OF(b) (has[b] | stale[b])
#endif
#ifdef ABOVE_CHILD
#define NO_CHILD_AT(b, l) true
#else
#define NO_CHILD_AT(b, l) (b == 1 || (ALL_OF(1) & l) == 0)
#endif
#ifdef STALE_ABOVE_CHILD
#define STALE_MAY_GO(b) true
#else
#define STALE_MAY_GO(b) NO_CHILD_AT(b, HOST)
#endif
/* Without a device copy the parent is at the host's level, so its child must be, too; and a
 * block without any copy has no child. */
#define NOT_FARTHER(b, l) \
	(b == 1 || (l == DEVICE && (has[0] & HOST) != 0 && (has[1] & DEVICE) == 0) || \
	 (l == HOST && (has[0] & DEVICE) != 0) || has[1] == 0)

proctype daemon()
{
	byte e, n[2];

end:
	do
	:: has[0] != 0 && (has[0] & DEVICE) == 0 -> has[0] = has[0] + DEVICE; add(0, DEVICE)
	:: has[1] != 0 && (has[1] & DEVICE) == 0 && (has[0] & DEVICE) != 0 ->
		has[1] = has[1] + DEVICE; add(1, DEVICE)
	:: has[0] == DEVICE && stale[0] == 0 -> has[0] = DEVICE + HOST; add(0, HOST)
	:: has[1] == DEVICE && stale[1] == 0 -> has[1] = DEVICE + HOST; add(1, HOST)
	:: has[0] == HOST -> replace(0)
	:: has[1] == HOST && (has[0] & DEVICE) != 0 -> replace(1)
	:: stale[0] != 0 && STALE_MAY_GO(0) && n[0] < CHANGES -> remove_stale(0)
	:: stale[1] != 0 && n[1] < CHANGES -> remove_stale(1)
	:: (has[0] & DEVICE) != 0 && NO_CHILD_AT(0, DEVICE) && NOT_FARTHER(0, DEVICE) &&
	   n[0] < CHANGES -> remove_copy(0, DEVICE)
	:: (has[0] & HOST) != 0 && NO_CHILD_AT(0, HOST) && NOT_FARTHER(0, HOST) &&
	   n[0] < CHANGES -> remove_copy(0, HOST)
	:: (has[1] & DEVICE) != 0 && n[1] < CHANGES -> remove_copy(1, DEVICE)
	:: (has[1] & HOST) != 0 && n[1] < CHANGES -> remove_copy(1, HOST)
	od
}

init {
	atomic {
		mem[ENTRY(0)] = HOST; mem[ENTRY(1)] = HOST;
		has[0] = HOST; has[1] = HOST;
		run memory(DAEMON); run memory(READER);
		run daemon(); run reader()
	}
}
