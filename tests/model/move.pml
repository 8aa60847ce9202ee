/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.pml - a block's copies come and go at two levels while it is read, while bytes
 * are being moved, and while a client stores it anew at the nearer level. x86-TSO store
 * buffers.
 *
 * One slot. Places 1 and 2 are near, 3 and 4 far; a block has at most one copy at each
 * level. The block's key is B; when the slot was freed another block, C, may take it.
 * A parent is near or far, and the block is never nearer.
 *
 *   begin    a move to the level without a copy: both places are held until its end. The
 *            mover, a worker, reads the one place and writes the other some time later
 *   commit   at the mover's end: the copy is added if the block is the same (its
 *            generation), if it has none there, and if the parent is near enough now. The
 *            generation stays, so pins stay, and no pin word is read
 *   drop     one copy of two goes: odd, fence, scan; then a new generation
 *   evict    the block goes with all its copies: odd, fence, scan, new generation
 *   reserve  a near page for a block that is far; publish: the page becomes its near copy,
 *            and the farther one is stale: the entry names it no more, the generation stays,
 *            and it is dropped later like any copy. A move under way is cancelled
 *   reader   copies the entry, pins, confirms the generation, reads the page that the
 *            copy names, or the one that the entry names now; or its far page, as the
 *            handle of a block that came nearer after the search
 *
 * A place that is given back gets somebody else's bytes at once.
 *
 * Promised: what a reader with a confirmed pin reads is its block's; a mover writes no
 * place that was given back; the block is not nearer than its parent.
 *
 * Mutants: NO_DAEMON_FENCE  NO_READER_FENCE  DROP_UNSEEN (a copy goes without a scan)
 *          DROP_KEEPS_GENERATION (the page of a copy from before the drop is read)
 *          SHOW_BEFORE_COPY (the copy is added when the move begins)
 *          COMMIT_OLD (the generation is not asked again)
 *          COMMIT_NEARER (the parent is not asked again)
 *          COMMIT_OVER (a copy that PUBLISH made meanwhile is not looked for)
 *          TARGET_LEAVES (the place that the mover writes is given back before its end)
 *          PUBLISH_UNSEEN (what PUBLISH replaces is given back without a scan)
 *          RESERVATION_NO_CHILD (a reservation does not keep the parent near)
 */

#ifndef CHANGES
#define CHANGES 2		/* new generations */
#endif

#define DAEMON 0
#define READER 1
#define N_CPUS 2
#define DEPTH 3

#define GEN   0			/* of the entry */
#define PAGES 1			/* near place (0: none) + 5 * far place */
#define KEY   2			/* 0: no block */
#define SEQ   3			/* 1 while the bucket is open */
#define PIN   4
#define N_WORDS 5

#include "store_buffer.h"

#define B 1
#define C 2
#define X 3

#define FREE   0		/* who has a place */
#define COPY   1
#define TARGET 2
#define LENT   3
#define SOURCE 4		/* a move reads it, and its block has gone */

#define IS_FAR(p) ((p) > 2)
#define NEAR_OF(pages) ((pages) % 5)
#define FAR_OF(pages)  ((pages) / 5)
#define MOVING (m_from != 0)
#ifdef SHOW_BEFORE_COPY
#define SHOWN(p) true
#else
#define SHOWN(p) false
#endif

byte own[5], data[5], reading[5];
byte m_from, m_to;
bool m_done;
byte w_page;			/* lent for the near copy */
bool parent_near = true;

bool bytes_are_right = true, nobody_reads = true, target_is_held = true;
bool levels_fall = true, not_both = true;

proctype reader()
{
	byte k, g, pages, p;

	d_step { mem[SEQ] == 0; k = mem[KEY]; g = mem[GEN]; pages = mem[PAGES] }
	if
	:: k == 0 || g % 2 == 1 -> goto done
	:: else
	fi;
	st(READER, PIN, 1);
#ifndef NO_READER_FENCE
	fence_full(READER);
#endif
	if
	:: mem[GEN] != g -> goto unpin
	:: else
	fi;
	if
	:: true
	:: pages = mem[PAGES]
	fi;
	if
	:: NEAR_OF(pages) != 0 -> p = NEAR_OF(pages)
	:: NEAR_OF(pages) == 0 || FAR_OF(pages) != 0 -> p = FAR_OF(pages)
	fi;
	d_step {
		reading[p]++;
		bytes_are_right = data[p] == k;
		assert(bytes_are_right);
#ifdef REACH_BOTH
		not_both = !(IS_FAR(p) && NEAR_OF(mem[PAGES]) != 0 && w_page == 0);
		assert(not_both)
#endif
	}
	d_step { reading[p]--; p = 0 }
unpin:
	st(READER, PIN, 0);
done:
	skip
}

proctype mover()
{
	byte bytes;
end:
	do
	:: MOVING && !m_done ->
		bytes = data[m_from];
		d_step {
			target_is_held = own[m_to] == TARGET || SHOWN(m_to);
			assert(target_is_held);
			data[m_to] = bytes;
			bytes = 0;
			m_done = true
		}
	od
}

/* Nobody needs place p any more: it is somebody else's now. */
inline give(p)
{
	if
	:: MOVING && m_from == p -> own[p] = SOURCE
	:: else ->
		nobody_reads = nobody_reads && reading[p] == 0;
		assert(nobody_reads);
		own[p] = FREE;
		data[p] = X
	fi
}

/* Which place of a level is free? 0: none. */
#define FREE_NEAR (own[1] == FREE -> 1 : (own[2] == FREE -> 2 : 0))
#define FREE_FAR  (own[3] == FREE -> 3 : (own[4] == FREE -> 4 : 0))

inline change(pages_, gen_, key_)
{
	d_step { near = NEAR_OF(pages_); far = FAR_OF(pages_); gen = gen_; key = key_ }
	st(DAEMON, SEQ, 1);
	st(DAEMON, PAGES, near + 5 * far);
	st(DAEMON, GEN, gen);
	st(DAEMON, KEY, key);
	st(DAEMON, SEQ, 0)
}

inline judge()
{
	st(DAEMON, GEN, gen + 1);
#ifndef NO_DAEMON_FENCE
	fence_full(DAEMON);
#endif
	pinned = mem[PIN] != 0
}

#ifdef DROP_KEEPS_GENERATION
#define DROPPED gen
#else
#define DROPPED (gen + 2)
#endif

inline begin(to)
{
	m_from = (near != 0 -> near : far);
	m_to = to;
	m_gen = gen;
	own[to] = TARGET
}

inline commit()
{
	ok = true;
#ifndef COMMIT_OLD
	ok = ok && m_gen == gen;
#endif
#ifndef COMMIT_NEARER
	ok = ok && (IS_FAR(m_to) || parent_near);
#endif
#ifndef COMMIT_OVER
	ok = ok && (IS_FAR(m_to) -> far : near) == 0 && !cancelled;
#endif
	ok = ok && key != 0 && own[m_to] == TARGET
}

inline levels()
{
	levels_fall = near == 0 || parent_near;
	assert(levels_fall)
}

#ifdef RESERVATION_NO_CHILD
#define PARENT_MAY_GO (near == 0)
#else
#define PARENT_MAY_GO (near == 0 && w_page == 0)
#endif

proctype daemon()
{
	byte near, far = 3, stale, gen, key = B, m_gen, pages, old;
	bool pinned, ok, cancelled;
end:
	do
	:: d_step { key != 0 && !MOVING && near == 0 && parent_near && FREE_NEAR != 0 ->
		begin(FREE_NEAR) }
#ifdef SHOW_BEFORE_COPY
	   d_step { own[m_to] = COPY; pages = m_to + 5 * far }
	   change(pages, gen, key)
#endif
	:: d_step { key != 0 && !MOVING && far == 0 && FREE_FAR != 0 -> begin(FREE_FAR) }
#ifdef SHOW_BEFORE_COPY
	   d_step { own[m_to] = COPY; pages = near + 5 * m_to }
	   change(pages, gen, key)
#endif
	:: d_step { m_done -> commit() }	/* or the move has failed: */
	   if
	   :: ok ->
		d_step {
			own[m_to] = COPY;
			old = (IS_FAR(m_to) -> far : near);
			pages = (IS_FAR(m_to) -> near + 5 * m_to : m_to + 5 * far)
		}
		change(pages, gen, key);
		d_step {
			if
			:: old != 0 -> give(old)
			:: else
			fi;
			levels()
		}
	   :: true ->
		d_step {
			if
			:: own[m_to] == TARGET -> own[m_to] = FREE; data[m_to] = X
			:: else
			fi
		}
	   fi;
	   d_step {
		old = m_from;
		m_from = 0; m_to = 0; m_done = false; m_gen = 0; ok = false;
		cancelled = false;
		if
		:: own[old] == SOURCE -> give(old)
		:: else
		fi;
		old = 0; pages = 0
	   }
	:: key != 0 && near != 0 && far != 0 && gen < 2 * CHANGES ->	/* drop one */
	   if
	   :: pages = near; old = far
	   :: pages = 5 * far; old = near
	   fi;
#ifdef DROP_UNSEEN
	   pinned = false;
#else
	   judge();
#endif
	   if
	   :: MOVING && m_from == old -> pinned = true	/* the move's source stays */
	   :: else
	   fi;
	   if
	   :: pinned -> st(DAEMON, GEN, gen)
	   :: else ->
		change(pages, DROPPED, key);
		fence_full(DAEMON);
		d_step { give(old) }
	   fi;
	   d_step { pinned = false; pages = 0; old = 0 }
	:: key != 0 && gen < 2 * CHANGES ->	/* evict: all copies */
	   judge();
	   if
	   :: pinned -> st(DAEMON, GEN, gen)
	   :: else ->
		d_step { pages = near; old = far }
		change(0, gen + 2, 0);
		fence_full(DAEMON);
		d_step {
			if
			:: pages != 0 -> give(pages)
			:: else
			fi;
			if
			:: old != 0 -> give(old)
			:: else
			fi;
			if
			:: stale != 0 -> give(stale); stale = 0
			:: else
			fi
#ifdef TARGET_LEAVES
			;
			if
			:: MOVING -> give(m_to)
			:: else
			fi
#endif
		}
	   fi;
	   d_step { pinned = false; pages = 0; old = 0 }
	:: d_step { key == 0 && FREE_FAR != 0 ->	/* another block takes the slot */
		old = FREE_FAR;
		own[old] = COPY;
		data[old] = C
	   }
	   change(5 * old, gen, C);
	   old = 0
	:: d_step { key != 0 && near == 0 && w_page == 0 && parent_near && FREE_NEAR != 0 ->
		w_page = FREE_NEAR;
		own[w_page] = LENT;
		data[w_page] = key		/* the client writes it */
	   }
	:: d_step { w_page != 0 && (near != 0 || key != data[w_page]) ->
		own[w_page] = FREE;		/* -EEXIST, or ABORT */
		data[w_page] = X;
		w_page = 0
	   }
	:: d_step { w_page != 0 && key == data[w_page] && near == 0 && stale == 0 ->
		own[w_page] = COPY;		/* publish */
		cancelled = MOVING
	   }
	   d_step { stale = far; pages = w_page }
	   change(pages, gen, key);
	   d_step {
		w_page = 0; pages = 0;
#ifdef PUBLISH_UNSEEN
		give(stale);
		stale = 0;
#endif
		levels()
	   }
	:: stale != 0 && key != 0 && gen < 2 * CHANGES ->	/* drop what is stale */
	   judge();
	   if
	   :: pinned -> st(DAEMON, GEN, gen)
	   :: else ->
		d_step { pages = near + 5 * far; old = stale; stale = 0 }
		change(pages, gen + 2, key);
		fence_full(DAEMON);
		d_step { give(old) }
	   fi;
	   d_step { pinned = false; pages = 0; old = 0 }
	:: d_step { parent_near && PARENT_MAY_GO -> parent_near = false }
	:: d_step { !parent_near -> parent_near = true }
	od
}

init {
	atomic {
		mem[KEY] = B; mem[PAGES] = 5 * 3;
		own[3] = COPY; data[3] = B;
		data[1] = X; data[2] = X; data[4] = X;
		run memory(DAEMON); run memory(READER);
		run daemon(); run reader(); run mover()
	}
}
