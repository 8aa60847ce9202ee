/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pin.pml - a reader pins the deepest block of a chain while the daemon
 * evicts, moves and promotes it. x86-TSO store buffers.
 *
 * Two entries hold block P and its child C (slots 0 and 1, pages 0 and 1;
 * page 2 is free). proto/ckv_pin.h, step by step:
 *
 *   reader  FIND: ckv_index_find() for slot and generation g (even, else retry)
 *           HIGH: pin_high; PIN and fence_full: ckv_pin_set() with PIN_FENCE
 *           ckv_pin_confirm() (life and epoch: see death.pml)
 *           FIND of P again, then PAGE: ckv_pinned_host_page()
 *           unpin: ckv_pin_drop()
 *   daemon  make_odd: ckv_evict_mark(); fence_full: ckv_evict_fence()
 *           scan: pin_high, then ckv_pin_slot(), slots only
 *           given back: ckv_evict_restore()
 *           free_slot, publish: ckv_bucket_open() .. ckv_bucket_close(), with
 *           tag and generation changed inside (bucket.pml)
 *
 * Only C is pinned, both pages are used. The daemon writes foreign bytes into
 * every page it freed.
 *
 * Promised: while the pin is held, both pages hold their own block's bytes,
 * and P is found.
 *
 * Reader: NO_READER_FENCE  NO_CONFIRM  HIGH_AFTER_FENCE  UNPIN_EARLY
 *         ODD_IS_ABSENT (an entry being judged is taken for a missing one)
 *         ANCESTORS_FROM_SEARCH (slots found before the pin, not after)
 *         PAGE_BEFORE_GENERATION (page read, then the generation to pin)
 * Daemon: NO_DAEMON_FENCE  SCAN_BEFORE_ODD  FREE_BEFORE_SCAN  NO_ANCESTORS
 *         COMPARE_GENERATIONS (a pin older than a promotion is overlooked)
 *         SAME_GENERATION (a freed slot keeps its generation)
 *         OUTSIDE_SEQUENCE (a slot is freed with the bucket closed: its new
 *         generation is seen together with its old key)
 *         PART_OF_CHAIN (a block is taken without its descendants)
 * Two rules cover for each other, so only both together fail:
 *         PAGE_BEFORE_PIN (page read with the generation, before the pin)
 *         MOVE_KEEPS_GENERATION
 * WEAK_STORES: the same under stores that overtake each other. PLAIN_GENERATION
 *         then shows that the bucket's sequence alone orders the generation
 *         (GEN_STORE is a second line).
 */

#ifndef ROUNDS
#define ROUNDS 3		/* batches the daemon judges */
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2		/* lookups the reader tries */
#endif

#define DAEMON 0
#define READER 1
#define N_CPUS 2
#define DEPTH 4

#define GEN(s)  (s)		/* generation of the entry in slot s */
#define KEY(s)  (2 + (s))	/* its key, 0 = empty */
#define PAGE(s) (4 + (s))	/* its page number */
#define DATA(p) (6 + (p))	/* whose bytes page p holds */
#define PIN	9		/* pin word: 0 or 1 + slot + 2 * generation */
#define HIGH	10		/* pin words in use, at most */
#define SEQ	11		/* bucket sequence: 1 while it is open */
#define N_WORDS 12

#define P 1
#define C 2
#define X 3			/* some other block */

#include "store_buffer.h"

#define PIN_SLOT(w) (((w) - 1) % 2)
#define PIN_GEN(w)  (((w) - 1) / 2)
#define IS_ODD(g)   ((g) % 2 == 1)
#define NONE 9

bool content_is_right = true, parent_is_found = true, no_hit = true;

/* One validated read of the bucket: slot and generation of a key. */
#define BUCKET_STABLE (mem[SEQ] == 0)
#define FIND(key, slot, gen)						\
	slot = NONE;							\
	if								\
	:: mem[KEY(0)] == (key) -> slot = 0; gen = mem[GEN(0)]		\
	:: mem[KEY(1)] == (key) -> slot = 1; gen = mem[GEN(1)]		\
	:: else								\
	fi

#define CHECK_PAGE(slot, key)						\
	pg = mem[PAGE(slot)];						\
	d_step {							\
		content_is_right = mem[DATA(pg)] == (key);		\
		assert(content_is_right)				\
	}

proctype reader()
{
	byte sp = NONE, sc = NONE, g, now, pg, n, early;

	do
	:: n < ATTEMPTS ->
		n++;
		d_step { BUCKET_STABLE; FIND(P, sp, now) }
		if
		:: sp == NONE -> goto next
		:: else
		fi;
#ifdef PAGE_BEFORE_GENERATION
		d_step { BUCKET_STABLE; FIND(C, sc, now); early = (sc == NONE -> 0 : mem[PAGE(sc)]) }
#endif
		d_step {
			BUCKET_STABLE;
			FIND(C, sc, g);
#ifdef PAGE_BEFORE_PIN
			early = (sc == NONE -> 0 : mem[PAGE(sc)])
#endif
		}
		if
		:: sc == NONE || IS_ODD(g) -> goto next
		:: else
		fi;
#ifndef HIGH_AFTER_FENCE
		st(READER, HIGH, 1);
#endif
		st(READER, PIN, 1 + sc + 2 * g);
#ifndef NO_READER_FENCE
		fence_full(READER);
#endif
#ifdef HIGH_AFTER_FENCE
		st(READER, HIGH, 1);
#endif
		now = mem[GEN(sc)];
#ifndef NO_CONFIRM
		if
		:: now != g -> goto unpin
		:: else
		fi;
#endif
#ifdef REACH_HIT
		no_hit = false;
		assert(no_hit);
#endif
#ifdef UNPIN_EARLY
		st_release(READER, PIN, 0);
#endif
#ifndef ANCESTORS_FROM_SEARCH
		d_step {
			BUCKET_STABLE;
			FIND(P, sp, now);
			parent_is_found = sp != NONE;
#ifdef ODD_IS_ABSENT
			parent_is_found = parent_is_found && !IS_ODD(now);
#endif
			assert(parent_is_found)
		}
#endif
		CHECK_PAGE(sp, P);
#if defined(PAGE_BEFORE_PIN) || defined(PAGE_BEFORE_GENERATION)
		d_step {
			content_is_right = mem[DATA(early)] == C;
			assert(content_is_right)
		}
#else
		CHECK_PAGE(sc, C);
#endif
unpin:
		st_release(READER, PIN, 0);
next:
		skip;
		d_step { sp = NONE; sc = NONE; g = 0; now = 0; pg = 0; early = 0 }
	:: else -> break
	od
}

#ifdef COMPARE_GENERATIONS
#define SAME_CLAIM(w) (PIN_GEN(w) == old[PIN_SLOT(w)])
#else
#define SAME_CLAIM(w) true
#endif

/* What the pin table claims, slots only. */
inline scan()
{
	n_high = mem[HIGH];
	if
	:: n_high > 0 ->
		d_step {
			w = mem[PIN];
			if
			:: w != 0 && SAME_CLAIM(w) -> pinned[PIN_SLOT(w)] = true
			:: else
			fi;
			w = 0; n_high = 0
		}
	:: else
	fi
}

#ifdef PLAIN_GENERATION
#define ST_GEN(s, g) st(DAEMON, GEN(s), g)
#else
#define ST_GEN(s, g) st_release(DAEMON, GEN(s), g)
#endif

#ifdef OUTSIDE_SEQUENCE
#define OPEN skip
#define CLOSE skip
#elif defined(WEAK_STORES)
#define OPEN st(DAEMON, SEQ, 1); fence_release(DAEMON)
#define CLOSE st_release(DAEMON, SEQ, 0)
#else
#define OPEN st(DAEMON, SEQ, 1)
#define CLOSE st(DAEMON, SEQ, 0)
#endif

/* The page goes to a client that writes it: its completion is a release. */
#ifdef WEAK_STORES
#define LEND fence_release(DAEMON)
#else
#define LEND skip
#endif

inline make_odd(s)
{
	if
	:: in[s] -> ST_GEN(s, old[s] + 1)
	:: else
	fi
}

inline free_slot(s)
{
	OPEN;
#ifdef SAME_GENERATION
	ST_GEN(s, old[s]);
#else
	ST_GEN(s, old[s] + 2);
#endif
	st(DAEMON, KEY(s), 0);
	CLOSE;
	freed[s] = true
}

/* Is slot s claimed, by itself or by a child that was judged with it? */
#ifdef NO_ANCESTORS
#define CLAIMED(s) pinned[s]
#else
#define CLAIMED(s) (pinned[s] || \
	(key[s] == P && key[1 - s] == C && in[1 - s] && pinned[1 - s]))
#endif

inline judge(s)
{
	if
	:: in[s] && CLAIMED(s) -> ST_GEN(s, old[s])	/* given back */
	:: in[s] && !CLAIMED(s) -> free_slot(s)
	:: else
	fi
}

/* The page gets another block's bytes, then the block becomes visible. */
inline publish(s, k)
{
	key[s] = k;
	LEND;
	st(DAEMON, DATA(page[s]), k);
	OPEN;
	st(DAEMON, KEY(s), k);
	CLOSE
}

inline load_own(s)
{
	ld(DAEMON, GEN(s), old[s]);
	ld(DAEMON, KEY(s), key[s]);
	ld(DAEMON, PAGE(s), page[s])
}

inline odd_fence_scan()
{
#ifdef SCAN_BEFORE_ODD
	scan();
	make_odd(0); make_odd(1);
	fence_full(DAEMON);
#else
	make_odd(0); make_odd(1);
#ifndef NO_DAEMON_FENCE
	fence_full(DAEMON);
#endif
#ifndef FREE_BEFORE_SCAN
	scan();
#endif
#endif
}

proctype daemon()
{
	byte round, w, n_high, spare = 2, s;
	byte old[2], key[2], page[2];
	bool in[2], pinned[2], freed[2];

	do
	:: round < ROUNDS ->
		d_step { round++; load_own(0); load_own(1) }
		if
		:: true ->			/* evict */
			if
			:: key[0] != 0 -> in[0] = true
			:: key[1] != 0 -> in[1] = true
			:: key[0] != 0 && key[1] != 0 -> in[0] = true; in[1] = true
			fi;
#ifndef PART_OF_CHAIN
			d_step {		/* only with all descendants */
				if
				:: key[0] == P && key[1] == C && in[0] -> in[1] = true
				:: key[1] == P && key[0] == C && in[1] -> in[0] = true
				:: else
				fi
			}
#endif
			odd_fence_scan();
			judge(0);
			judge(1);
			if			/* what takes the free slots */
			:: freed[0] && freed[1] -> publish(1, P); publish(0, C)
			:: freed[0] && freed[1] -> publish(0, P); publish(1, C)
			:: freed[0] && !freed[1] -> publish(0, X)
			:: freed[1] && !freed[0] -> publish(1, X)
			:: freed[1] && !freed[0] -> publish(1, key[1])
			:: !freed[0] && !freed[1]
			fi
		:: key[0] == C || key[1] == C ->	/* move C: copy, commit */
			s = (key[0] == C -> 0 : 1);
			in[s] = true;
			st(DAEMON, DATA(spare), C);
			odd_fence_scan();
			if
			:: pinned[s] -> ST_GEN(s, old[s])
			:: else ->
				OPEN;
				st(DAEMON, PAGE(s), spare);
#ifdef MOVE_KEEPS_GENERATION
				ST_GEN(s, old[s]);
#else
				ST_GEN(s, old[s] + 2);
#endif
				CLOSE;
				spare = page[s];
				LEND;
				st(DAEMON, DATA(spare), X)
			fi
		:: key[0] == C || key[1] == C ->	/* promote C: frees nothing */
			s = (key[0] == C -> 0 : 1);
			OPEN;
			ST_GEN(s, old[s] + 2);
			CLOSE
		fi;
		d_step {
			in[0] = false; in[1] = false; pinned[0] = false;
			pinned[1] = false; freed[0] = false; freed[1] = false; s = 0
		}
	:: else -> break
	od
}

init {
	atomic {
		mem[KEY(0)] = P; mem[KEY(1)] = C;
		mem[PAGE(0)] = 0; mem[PAGE(1)] = 1;
		mem[DATA(0)] = P; mem[DATA(1)] = C;
		run memory(DAEMON); run memory(READER);
		run daemon(); run reader()
	}
}
