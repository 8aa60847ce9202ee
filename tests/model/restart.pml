/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restart.pml - a daemon is killed at any instruction, and the next one takes over its
 * pool, its records and its clients' pins. x86-TSO store buffers.
 *
 * Two slots with two keys, K in slot 0 and N in slot 1; two pages. At first K is stored
 * in page 0. Each daemon has an index of its own, ENTRY(d, s); a client goes on looking
 * into the one that it attached to. What lasts: pages, their records, the pin words,
 * the world page, and the lanes that the descriptor store and the ledger have.
 *
 *   daemon 0  opens a lane for the reader: the segment is stored, the ledger's row
 *             written, then LANE_OPENED; lends a page to the writer (a free one, or
 *             that of a block which it evicts first); does its PUBLISH; sums page 0.
 *             A page's record (proto/ckv_record.h) is three stores: fields, state, seal. The
 *             seal is a hash of fields and state. Killed between any two of its steps.
 *   daemon 1  ckv_world_raise_epoch(), ckv_world_set_life(), looks at lanes and records,
 *             shows what is published at the same slot, then lends pages to writers of
 *             its own time and evicts for them
 *   reader    a lookup in the first index: pin put, fence, confirm, read, unpin, then
 *             LANE_CLOSE with the lane's serial
 *   other     a thread of the reader's process that attaches to daemon 1 and reads there
 *   writer    writes the page that it was lent, pins it, asks for PUBLISH, reads it when
 *             that was answered; or lets go, or dies, at any moment
 *
 * Promised: no page is lent while somebody reads it, or while it is lent; what was
 * published and not evicted is found after the restart, with its bytes; what was never
 * published is not. One bit of a record may be damaged; then its block may be lost, but
 * nothing else happens.
 *
 * The rules of adoption:
 *   a seal of 0         the page is free
 *   LENT, sealed        it stays with its lane; free if there is no such lane
 *   PUBLISHED, sealed   a block, at the same slot
 *   any other           it rests until all lanes of before have ended
 * A lane of before that holds nothing is ended, unless a page rests: that may be the one
 * that its client writes.
 *
 * Mutants of the client's side:
 *   CLOSE_AT_REATTACH   the process says LANE_CLOSE when it attaches again
 *   NO_READER_FENCE     NO_LIFE_OR_EPOCH_CHECK
 * of daemon 0:
 *   ANSWER_BEFORE_BARRIER  LANE_OPENED before the segment is known to be stored
 *   ANSWER_BEFORE_ROW      ... or before the ledger has it
 *   LEND_BEFORE_RECORD     a page is lent before its record says so
 *   SHOW_BEFORE_RECORD     a block is found before its record says so
 *   STATE_FIRST            of the record's stores; alone it is covered by the seal
 * of daemon 1:
 *   NO_SEAL_CHECK       needed if there is damage (or not: NO_DAMAGE) or with STATE_FIRST
 *   SUM_BREAKS          a record that is killed while its sum is noted is no block
 *   EPOCH_AFTER_LOOK    the lanes are looked at before the epoch is raised ...
 *   NO_EPOCH_FENCE      ... or while that store waits; as in death.pml the life word
 *   LIFE_BEFORE_EPOCH   covers for each, if it is set after the epoch
 *   PINS_FORGOTTEN      pins of before are not read
 *   ONLY_REATTACHED     ... unless their process has attached again
 *   ENDED_WITH_PIN      a lane of before with a pin is ended
 *   CLOSE_BY_NUMBER     LANE_CLOSE names a number, which another lane has now
 *   OTHER_SLOT          a block comes back at another slot
 *   LENT_IS_FREE        BROKEN_IS_FREE  LENT_IS_PUBLISHED
 *   REST_FOR_HOLDERS    a page rests for lanes only that are seen to hold something
 *   REST_FOR_ONE        ... until one of them ends
 */

#define DAEMON 0
#define READER 1
#define N_CPUS 2
#define DEPTH  2

#define ENTRY(d, s) (2 * (d) + (s))	/* 0, or 1 + page + 2 * generation */
#define PIN(l)	(4 + (l))		/* of reader, other, writer: 0 or 1 + slot */
#define LIFE	7
#define EPOCH	8
#define N_WORDS 9

#include "store_buffer.h"

#define LENT	  1			/* states of a record */
#define PUBLISHED 2

#define LANE_WRITER 1			/* fields of a lent page: the lane's serial */
#define BLOCK(s)    (4 + (s))		/* fields of a block ... */
#define SUMMED	    8			/* ... and with a checksum */
#define SEAL(f, st) (1 + 4 * (f) + (st))

#define NOBODY 0			/* whom a daemon has given a page to */
#define HAS_BLOCK(s) (1 + (s))
#define HAS_WRITER   3
#define HAS_LATER    4
#define RESTS	     5

#define NONE 9
#define KEY(s) (1 + (s))		/* whose bytes a page holds; of somebody else: */
#define FOREIGN 3

byte fields[2], state[2], seal[2];	/* the records */
byte data[2];
byte reading[2], lent[2];		/* how many read a page; to how many it is lent */
bool published[2], was_asked[2];	/* a slot's block; its writer was done with it */
bool damaged;
bool killed, serving;			/* daemon 1 serves */
bool asked, stored, row, opened;	/* the reader's lane */
bool other_opened, reader_closed, other_attached;
byte w_page = NONE;			/* of the writer: lent to it ... */
bool w_asked, w_answered, w_gone;

bool nobody_reads = true, lent_once = true, block_is_found = true;
bool was_published = true, bytes_are_right = true, not_both = true, not_rests = true;

/* ---- clients ---- */

inline begins_to_read(p, s)
{
	reading[p]++;
	bytes_are_right = data[p] == KEY(s);
	assert(bytes_are_right)
}

proctype reader()
{
	byte e, s;

end:
	atomic {
		opened;
		if
		:: s = 0
		:: s = 1
		fi;
		e = mem[ENTRY(0, s)]
	}
	if
	:: e == 0 || ((e - 1) / 2) % 2 == 1 -> goto done
	:: else
	fi;
	st(READER, PIN(0), 1 + s);
#ifndef NO_READER_FENCE
	fence_full(READER);
#endif
	if
	:: mem[ENTRY(0, s)] != e -> goto unpin
	:: else
	fi;
#ifndef NO_LIFE_OR_EPOCH_CHECK
	if
	:: mem[LIFE] == 0 -> goto unpin
	:: else
	fi;
	if
	:: mem[EPOCH] != 0 -> goto unpin
	:: else
	fi;
#endif
	d_step { begins_to_read((e - 1) % 2, s) }
	d_step { reading[(e - 1) % 2]-- }
unpin:
	st(READER, PIN(0), 0);
done:
	atomic { buf[READER].n == 0; reader_closed = true }
}

/* pin.pml has how it pins; here it is one step. */
proctype other()
{
	byte e, s;

end:
	atomic {
		other_opened;
		if
		:: s = 0
		:: s = 1
		fi;
		e = mem[ENTRY(1, s)];
		if
		:: e > 0 && ((e - 1) / 2) % 2 == 0 ->
			mem[PIN(1)] = 1 + s;
			begins_to_read((e - 1) % 2, s)
#ifdef REACH_BOTH
			;
			not_both = reading[(e - 1) % 2] == 1;
			assert(not_both)
#endif
		:: else -> e = 0
		fi
	}
	d_step {
		if
		:: e > 0 -> reading[(e - 1) % 2]--; mem[PIN(1)] = 0
		:: else
		fi
	}
}

/* Asked for PUBLISH, the client never writes the page again, whatever the answer is. */
proctype writer()
{
end:
	if
	:: d_step { w_page != NONE; data[w_page] = KEY(1);
		     mem[PIN(2)] = 2; lent[w_page]--; was_asked[1] = true; w_asked = true }
	   if
	   :: d_step { w_answered -> reading[w_page]++ }
	      d_step { reading[w_page]--; mem[PIN(2)] = 0 }
	   :: d_step { mem[EPOCH] == 1; mem[PIN(2)] = 0 }
	   fi;
	   w_gone = true
	:: d_step { w_page != NONE; data[w_page] = FOREIGN; lent[w_page]--; w_gone = true }
	fi
}

proctype store()
{
end:
	asked;
	stored = true
}

/* ---- both daemons ---- */

inline record_set(p, f, s_)
{
#ifdef STATE_FIRST
	state[p] = s_;
	fields[p] = f;
#else
	fields[p] = f;
	state[p] = s_;
#endif
	seal[p] = SEAL(f, s_)
}

inline record_free(p)
{
	seal[p] = 0
}

#define PINNED(l, s) (mem[PIN(l)] == 1 + (s))
#ifdef PINS_FORGOTTEN
#define LANE_READ(k) (k && d == 0)
#elif defined(ONLY_REATTACHED)
#define LANE_READ(k) (k && (d == 0 || other_attached))
#else
#define LANE_READ(k) (k)
#endif

/* Evict the block in slot s from page p, or find it pinned: then p is not NOBODY's. */
inline evict(p, s)
{
	st(DAEMON, ENTRY(d, s), 1 + p + 2 * (gen[s] + 1));
	fence_full(DAEMON);
	if
	:: LANE_READ(has_reader) && PINNED(0, s) || has_other && PINNED(1, s) ||
	   LANE_READ(has_writer) && PINNED(2, s) ->
		st(DAEMON, ENTRY(d, s), 1 + p + 2 * gen[s])
	:: else ->
		published[s] = false;
		record_free(p);
		gen[s] = gen[s] + 2;
		st(DAEMON, ENTRY(d, s), 0);
		has[p] = NOBODY
	fi
}

inline make_free(p)
{
	if
	:: has[p] == HAS_BLOCK(0) -> evict(p, 0)
	:: has[p] == HAS_BLOCK(1) -> evict(p, 1)
	:: else
	fi
}

inline choose_page(p)
{
	if
	:: p = 0
	:: p = 1
	fi
}

/* From now on somebody writes the page, whenever he likes. */
inline lend(p)
{
	nobody_reads = reading[p] == 0;
	assert(nobody_reads);
	lent_once = lent[p] == 0;
	assert(lent_once);
	lent[p]++
}

/* ---- daemon 0 ---- */

inline open_lane()
{
	asked = true;
#ifndef ANSWER_BEFORE_BARRIER
	stored;
#endif
#ifndef ANSWER_BEFORE_ROW
	row = true;
#endif
	has_reader = true;
	opened = true;
#ifdef ANSWER_BEFORE_ROW
	row = true
#endif
}

inline lend_writer(p)
{
	make_free(p);
	if
	:: has[p] == NOBODY ->
		has[p] = HAS_WRITER;
#ifdef LEND_BEFORE_RECORD
		atomic { lend(p); w_page = p };
		record_set(p, LANE_WRITER, LENT)
#else
		record_set(p, LANE_WRITER, LENT);
		atomic { lend(p); w_page = p }
#endif
	:: else
	fi
}

inline publish(p)
{
#ifdef SHOW_BEFORE_RECORD
	st(DAEMON, ENTRY(d, 1), 1 + p + 2 * gen[1]);
	record_set(p, BLOCK(1), PUBLISHED);
#else
	record_set(p, BLOCK(1), PUBLISHED);
	st(DAEMON, ENTRY(d, 1), 1 + p + 2 * gen[1]);
#endif
	has[p] = HAS_BLOCK(1);
	fence_full(DAEMON);
	atomic { published[1] = true; w_answered = true }
}

inline sum(p, s)
{
	fields[p] = BLOCK(s) + SUMMED;
	seal[p] = SEAL(fields[p], PUBLISHED)
}

inline first_daemon()
{
	do
	:: !asked -> open_lane()
	:: w_page == NONE -> choose_page(p); lend_writer(p)
	:: w_asked && !w_answered && has[w_page] == HAS_WRITER -> publish(w_page)
	:: has[0] == HAS_BLOCK(0) && fields[0] < SUMMED -> sum(0, 0)
	od
}

/* ---- daemon 1 ---- */

#define IS_FREE(p) (seal[p] == 0)
#ifdef NO_SEAL_CHECK
#define SEALED(p) true
#elif defined(SUM_BREAKS)
#define SEALED(p) (seal[p] == SEAL(fields[p], state[p]))
#else
#define SEALED(p) (seal[p] == SEAL(fields[p], state[p]) || \
	(state[p] == PUBLISHED && fields[p] >= SUMMED && \
	 seal[p] == SEAL(fields[p] - SUMMED, PUBLISHED)))
#endif

/* What its record says of page p. */
inline judge(p)
{
	if
	:: IS_FREE(p) -> has[p] = NOBODY
	:: !IS_FREE(p) && SEALED(p) && state[p] == LENT ->
		has[p] = (fields[p] == LANE_WRITER && !w_gone -> HAS_WRITER : NOBODY)
	:: !IS_FREE(p) && SEALED(p) && state[p] == PUBLISHED ->
		has[p] = HAS_BLOCK(fields[p] % 2)
	:: else -> has[p] = RESTS
	fi;
#ifdef LENT_IS_FREE
	has[p] = (has[p] == HAS_WRITER -> NOBODY : has[p]);
#endif
#ifdef LENT_IS_PUBLISHED
	has[p] = (has[p] == HAS_WRITER -> HAS_BLOCK(1) : has[p]);
#endif
#ifdef BROKEN_IS_FREE
	has[p] = (has[p] == RESTS -> NOBODY : has[p]);
#endif
#ifdef OTHER_SLOT
	has[p] = (has[p] == HAS_BLOCK(0) -> HAS_BLOCK(1) : has[p]);
#endif
	skip
}

#define RESTING (has[0] == RESTS || has[1] == RESTS)
#define HAS(x) (has[0] == (x) || has[1] == (x))
#ifdef REST_FOR_HOLDERS
#define REST_KEEPS false
#else
#define REST_KEEPS RESTING
#endif

/* Which lanes of before are kept. */
inline look_at_lanes()
{
	has_reader = stored && row && (mem[PIN(0)] != 0 || REST_KEEPS);
	has_writer = !w_gone && (mem[PIN(2)] != 0 || HAS(HAS_WRITER) || REST_KEEPS)
}

inline show_block(p)
{
	if
	:: has[p] == HAS_BLOCK(0) -> st(DAEMON, ENTRY(1, 0), 1 + p + 2 * gen[0])
	:: has[p] == HAS_BLOCK(1) -> st(DAEMON, ENTRY(1, 1), 1 + p + 2 * gen[1])
	:: else
	fi
}

/* Is what was adopted what was there? */
inline see(p, s)
{
	block_is_found = block_is_found && (!published[s] || damaged || HAS(HAS_BLOCK(s)));
	assert(block_is_found);
	was_published = was_published &&
		(has[p] != HAS_BLOCK(s) ||
		 was_asked[s] && data[p] == KEY(s) && fields[p] >= BLOCK(0));
	assert(was_published);
	published[s] = published[s] || HAS(HAS_BLOCK(s))
}

inline adopt()
{
#ifdef EPOCH_AFTER_LOOK
	d_step { judge(0); judge(1); look_at_lanes() }
#endif
#ifdef LIFE_BEFORE_EPOCH
	st(DAEMON, LIFE, 1);
#endif
	st(DAEMON, EPOCH, 1);
#ifndef NO_EPOCH_FENCE
	fence_full(DAEMON);
#endif
#ifndef LIFE_BEFORE_EPOCH
	st(DAEMON, LIFE, 1);
#endif
#ifndef EPOCH_AFTER_LOOK
	d_step { judge(0); judge(1); look_at_lanes() }
#endif
#ifndef OTHER_SLOT
	d_step { see(0, 0); see(0, 1); see(1, 0); see(1, 1) }
#endif
	d_step { gen[0] = 0; gen[1] = 0 }
	show_block(0);
	show_block(1);
	fence_full(DAEMON);
#ifdef REACH_REST
	not_rests = !(RESTING && reading[0] > 0);
	assert(not_rests);
#endif
	serving = true
}

inline other_attaches()
{
	has_other = true;
	other_attached = true;
#ifdef CLOSE_AT_REATTACH
	reader_closed = true;
#endif
	other_opened = true
}

/* LANE_CLOSE of the reader's lane of before; or the daemon sees that it holds nothing. */
inline end_reader()
{
#ifdef CLOSE_BY_NUMBER
	has_other = has_other && !reader_closed;
#endif
	has_reader = false;
#ifdef REST_FOR_ONE
	rest_ends()
#endif
}

inline end_writer()
{
	has_writer = false;
	d_step {
		has[0] = (has[0] == HAS_WRITER -> NOBODY : has[0]);
		has[1] = (has[1] == HAS_WRITER -> NOBODY : has[1])
	}
#ifdef REST_FOR_ONE
	rest_ends()
#endif
}

inline rest_ends()
{
	d_step {
		has[0] = (has[0] == RESTS -> NOBODY : has[0]);
		has[1] = (has[1] == RESTS -> NOBODY : has[1])
	}
}

inline lend_later(p)
{
	make_free(p);
	if
	:: has[p] == NOBODY ->
		has[p] = HAS_LATER;
		d_step { lend(p); data[p] = FOREIGN }
	:: else
	fi
}

#ifdef ENDED_WITH_PIN
#define READER_HOLDS false
#else
#define READER_HOLDS (mem[PIN(0)] != 0 || REST_KEEPS)
#endif

inline second_daemon()
{
	adopt();
end:
	do
	:: !has_other && !other_attached -> other_attaches()
	:: has_reader && (reader_closed || !READER_HOLDS) -> end_reader()
	:: has_writer && w_gone -> end_writer()
	:: RESTING && !has_reader && !has_writer -> rest_ends()
	:: n == 0 -> n++; choose_page(p); lend_later(p)
	od
}

proctype daemon()
{
	byte d, p, n;
	byte has[2], gen[2];		/* what it knows of pages and slots */
	bool has_reader, has_other, has_writer = true;	/* lanes that count */

	has[0] = HAS_BLOCK(0);
	{ first_daemon() } unless { killed };
	fence_full(DAEMON);			/* what it stored is stored */
	mem[LIFE] = 0;				/* by the kernel */
	atomic {
		d = 1; p = 0;
		if
		:: true
#ifndef NO_DAMAGE
		:: fields[0] = fields[0] ^ 1; damaged = true
#endif
		fi
	}
	second_daemon()
}

proctype killer() { killed = true }

init {
	atomic {
		mem[ENTRY(0, 0)] = 1; mem[LIFE] = 1;
		data[0] = KEY(0); published[0] = true; was_asked[0] = true;
		fields[0] = BLOCK(0); state[0] = PUBLISHED; seal[0] = SEAL(BLOCK(0), PUBLISHED);
		run memory(DAEMON); run memory(READER);
		run daemon(); run reader(); run other(); run writer(); run store();
		run killer()
	}
}
