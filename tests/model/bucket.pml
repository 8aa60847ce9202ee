/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket.pml - the sequence word of an index bucket. Stores may overtake each
 * other as C11 allows (WEAK_STORES), and the reader's loads are done in any
 * order that its fences allow.
 *
 * proto/ckv_index.h. Writer: ckv_bucket_open() (sequence odd, SEQ_OPEN fence),
 * ckv_entry_store() and ckv_bucket_set_tag() (fields), ckv_bucket_close()
 * (sequence even, SEQ_END). Reader, ckv_bucket_find(): sequence (SEQ_BEGIN),
 * ckv_entry_load() (fields), SEQ_CHECK fence, sequence again: even and the same.
 *
 * Promised: what a reader accepts is one entry, not halves of two.
 *
 * NO_ODD            fields change under an even sequence
 * NO_WRITER_FENCE   fields may be visible before the odd sequence
 * PLAIN_EVEN        the even sequence may be visible before the fields
 * NO_ACQUIRE        fields may be loaded before the first look
 * NO_READER_FENCE   the second look may be done before the fields are loaded
 * NO_SECOND_LOOK    nobody sees that the entry changed meanwhile
 * ODD_IS_FINE       the reader starts while the writer is at work
 */

#define WEAK_STORES
#define WRITER 0
#define N_CPUS 1
#define DEPTH 5
#define N_WRITES 2

#define SEQ 0
#define F1 1			/* two fields, always written alike */
#define F2 2
#define N_WORDS 3

#include "store_buffer.h"

bool entry_is_whole = true, never_read_new = true;

proctype writer()
{
	byte n;

	do
	:: n < N_WRITES ->
		n++;
#ifndef NO_ODD
		st(WRITER, SEQ, 2 * n - 1);
#endif
#ifndef NO_WRITER_FENCE
		fence_release(WRITER);
#endif
		st(WRITER, F1, n);
		st(WRITER, F2, n);
#ifdef PLAIN_EVEN
		st(WRITER, SEQ, 2 * n)
#else
		st_release(WRITER, SEQ, 2 * n)
#endif
	:: else -> break
	od
}

#ifdef NO_ACQUIRE
#define AFTER_FIRST_LOOK true
#else
#define AFTER_FIRST_LOOK did[0]
#endif
#ifdef NO_READER_FENCE
#define AFTER_FIELDS true
#else
#define AFTER_FIELDS (did[1] && did[2])
#endif

proctype reader()
{
	byte got[4];
	bool did[4];

	/* Loads of one word stay in order (coherence): first look, second look. */
	do
	:: !did[0] -> d_step { got[0] = mem[SEQ]; did[0] = true }
	:: !did[1] && AFTER_FIRST_LOOK -> d_step { got[1] = mem[F1]; did[1] = true }
	:: !did[2] && AFTER_FIRST_LOOK -> d_step { got[2] = mem[F2]; did[2] = true }
	:: did[0] && !did[3] && AFTER_FIELDS -> d_step { got[3] = mem[SEQ]; did[3] = true }
	:: did[0] && did[1] && did[2] && did[3] -> break
	od;
	if
#ifndef ODD_IS_FINE
	:: got[0] % 2 == 1		/* a miss, after some retries */
#endif
#ifndef NO_SECOND_LOOK
	:: got[0] != got[3]
#endif
	:: else ->
#ifdef REACH_NEW
		never_read_new = got[1] != N_WRITES;
		assert(never_read_new);
#endif
		entry_is_whole = got[1] == got[2];
		assert(entry_is_whole)
	fi
}

init { atomic { run memory(WRITER); run writer(); run reader() } }
