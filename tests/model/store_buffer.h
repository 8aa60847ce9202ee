/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_buffer.h - shared memory as the processor gives it, for Spin.
 *
 * The including model defines N_WORDS (shared words), N_CPUS (processes with
 * a store buffer) and DEPTH (stores a buffer holds). A store goes to its own
 * process's buffer; memory sees it when the `memory` process flushes it, at
 * any later moment. A load looks into its own buffer first (newest store of
 * that word), then into memory. A full fence waits until the own buffer is
 * empty. A full buffer makes the next store wait, so a store is late by at
 * most DEPTH others.
 *
 * Plain buffers flush first in, first out: x86-TSO. With WEAK_STORES defined a
 * store of one word may overtake stores of other words unless it is a release
 * (st_release: everything before it is flushed first) or a release fence lies
 * between them: what C11 allows for stores. Loads are never reordered here.
 */

#define NO_WORD 255		/* a release fence in the buffer */

typedef store_buffer {
	byte n;
	byte word[DEPTH];
	byte value[DEPTH];
	bool release[DEPTH];
};

byte mem[N_WORDS];
store_buffer buf[N_CPUS];
byte sb_i, sb_j;		/* scratch of d_steps, 0 between them */
bool sb_ok;

inline st_entry(cpu, w, v, rel)
{
	d_step {
		buf[cpu].n < DEPTH ->
		buf[cpu].word[buf[cpu].n] = w;
		buf[cpu].value[buf[cpu].n] = v;
		buf[cpu].release[buf[cpu].n] = rel;
		buf[cpu].n++
	}
}

inline st(cpu, w, v)		{ st_entry(cpu, w, v, false) }
inline st_release(cpu, w, v)	{ st_entry(cpu, w, v, true) }
inline fence_release(cpu)	{ st_entry(cpu, NO_WORD, 0, false) }
inline fence_full(cpu)		{ (buf[cpu].n == 0) }

inline ld(cpu, w, ret)
{
	d_step {
		sb_i = buf[cpu].n;
		do
		:: sb_i == 0 ->
			ret = mem[w];
			break
		:: sb_i > 0 && buf[cpu].word[sb_i - 1] == w ->
			ret = buf[cpu].value[sb_i - 1];
			break
		:: else ->
			sb_i--
		od;
		sb_i = 0
	}
}

/* Move entry k of a buffer to memory; what is behind it moves up. */
inline flush_entry(cpu, k)
{
	if
	:: buf[cpu].word[k] != NO_WORD ->
		mem[buf[cpu].word[k]] = buf[cpu].value[k]
	:: else
	fi;
	sb_i = k + 1;
	do
	:: sb_i < buf[cpu].n ->
		buf[cpu].word[sb_i - 1] = buf[cpu].word[sb_i];
		buf[cpu].value[sb_i - 1] = buf[cpu].value[sb_i];
		buf[cpu].release[sb_i - 1] = buf[cpu].release[sb_i];
		sb_i++
	:: else -> break
	od;
	sb_i = 0;
	buf[cpu].n--;
	buf[cpu].word[buf[cpu].n] = 0;
	buf[cpu].value[buf[cpu].n] = 0;
	buf[cpu].release[buf[cpu].n] = false
}

#ifdef WEAK_STORES
/* May entry k go now? Nothing before it may be a fence or the same word. */
inline may_flush(cpu, k)
{
	sb_ok = k < buf[cpu].n && (k == 0 || (!buf[cpu].release[k] &&
					     buf[cpu].word[k] != NO_WORD));
	sb_j = 0;
	do
	:: sb_j < k ->
		if
		:: buf[cpu].word[sb_j] == NO_WORD ||
		   buf[cpu].word[sb_j] == buf[cpu].word[k] -> sb_ok = false
		:: else
		fi;
		sb_j++
	:: else -> break
	od;
	sb_j = 0
}

proctype memory(byte cpu)
{
	byte k;
end:
	do
	:: atomic {
		buf[cpu].n > 0 ->
		k = 0;
		do
		:: k + 1 < buf[cpu].n -> k++
		:: break
		od;
		d_step {
			may_flush(cpu, k);
			if
			:: sb_ok -> sb_ok = false; flush_entry(cpu, k)
			:: else
			fi;
			k = 0
		}
	}
	od
}
#else
proctype memory(byte cpu)
{
end:
	do
	:: d_step { buf[cpu].n > 0 -> flush_entry(cpu, 0) }
	od
}
#endif
