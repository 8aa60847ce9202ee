/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wake.pml - nobody sleeps while work waits for him. x86-TSO store buffers.
 *
 * proto/ckv_ring.h. Clients to the daemon (the default): each client puts
 * requests into its ring (WORK: ckv_ring_put), and if ckv_wake_needed()
 * (WAKE_FENCE, then the flag; here reactor_sleeping) writes its eventfd. The
 * daemon calls ckv_sleep_prepare() (flag, then SLEEP_FENCE), looks into every
 * ring again (ckv_ring_ready), waits for an eventfd, calls ckv_sleep_done().
 *
 * Daemon to a client (TO_CLIENT): the client calls ckv_futex_load(), then
 * ckv_sleep_prepare() on its need_wake, looks again, waits while the word has
 * the loaded value. The daemon completes, and if ckv_wake_needed() calls
 * ckv_futex_bump() and futex_wake.
 *
 * Eventfd and futex are the kernel's, so atomic; futex_wake orders the change
 * of the word before it looks for sleepers. The bounded sleep (100 ms) is left
 * out on purpose: a wake-up that only the time-out repairs is a lost one, and
 * shows here as an invalid end state.
 *
 * NO_SLEEPER_FENCE   the flag is still in the buffer at the second look
 * NO_WAKER_FENCE     the work is still in the buffer when the flag is read
 * FLAG_AFTER_LOOK    work that comes between the look and the flag is silent
 * NO_SECOND_LOOK     the same, without any second look
 * FUTEX_AFTER_LOOK   (TO_CLIENT) waits for the value that the wake-up left
 * NO_FUTEX_CHANGE    (TO_CLIENT) a wake-up before the wait leaves no trace
 */

#define DAEMON 0
#define CLIENT(c) (1 + (c))
#ifdef TO_CLIENT
#define N_CLIENTS 1
#define N_WORK 3
#else
#define N_CLIENTS 2
#define N_WORK 2
#endif
#define N_CPUS (1 + N_CLIENTS)
#define DEPTH 3

#define WORK(c) (c)			/* messages in the ring of client c */
#define NEED_WAKEUP (N_CLIENTS)
#define FUTEX (N_CLIENTS + 1)
#define N_WORDS (N_CLIENTS + 2)

#include "store_buffer.h"

bool never_blocked = true;

#ifdef REACH_SLEEP
#define SLEEPING never_blocked = false; assert(never_blocked)
#else
#define SLEEPING skip
#endif

#ifdef NO_SECOND_LOOK
#define EMPTY(look) true
#else
#define EMPTY(look) (look)
#endif

#ifndef TO_CLIENT
byte eventfd[N_CLIENTS];

proctype client(byte c)
{
	byte n, need;

	do
	:: n < N_WORK ->
		n++;
		st(CLIENT(c), WORK(c), n);
#ifndef NO_WAKER_FENCE
		fence_full(CLIENT(c));
#endif
		ld(CLIENT(c), NEED_WAKEUP, need);
		if
		:: need -> eventfd[c] = 1
		:: else
		fi
	:: else -> break
	od
}

proctype daemon()
{
	byte taken[N_CLIENTS], c, now;
	bool found;

	do
	:: taken[0] == N_WORK && taken[1] == N_WORK -> break
	:: else ->
		c = 0; found = false;
		do
		:: c < N_CLIENTS ->
			now = mem[WORK(c)];
			found = found || now != taken[c];
			taken[c] = now;
			c++
		:: else -> break
		od;
		if
		:: found -> goto awake
		:: else
		fi;
#ifndef FLAG_AFTER_LOOK
		st(DAEMON, NEED_WAKEUP, 1);
#ifndef NO_SLEEPER_FENCE
		fence_full(DAEMON);
#endif
#endif
		c = 0;
		do
		:: c < N_CLIENTS ->
			if
			:: EMPTY(mem[WORK(c)] == taken[c])
			:: !EMPTY(mem[WORK(c)] == taken[c]) -> goto awake
			fi;
			c++
		:: else -> break
		od;
#ifdef FLAG_AFTER_LOOK
		st(DAEMON, NEED_WAKEUP, 1);
		fence_full(DAEMON);
#endif
		SLEEPING;
		if
		:: eventfd[0] -> eventfd[0] = 0
		:: eventfd[1] -> eventfd[1] = 0
		fi;
awake:
		st(DAEMON, NEED_WAKEUP, 0)
	od
}

init { atomic { run memory(DAEMON); run memory(CLIENT(0)); run memory(CLIENT(1));
	run client(0); run client(1); run daemon() } }

#else
bool waiting;			/* the client is on the kernel's queue */

proctype client()
{
	byte taken, now, value;

	do
	:: taken == N_WORK -> break
	:: else ->
		now = mem[WORK(0)];
		if
		:: now != taken -> taken = now; goto awake
		:: else
		fi;
#ifndef FUTEX_AFTER_LOOK
		value = mem[FUTEX];
#endif
#ifndef FLAG_AFTER_LOOK
		st(CLIENT(0), NEED_WAKEUP, 1);
#ifndef NO_SLEEPER_FENCE
		fence_full(CLIENT(0));
#endif
#endif
		if
		:: EMPTY(mem[WORK(0)] == taken)
		:: !EMPTY(mem[WORK(0)] == taken) -> goto awake
		fi;
#ifdef FUTEX_AFTER_LOOK
		value = mem[FUTEX];
#endif
#ifdef FLAG_AFTER_LOOK
		st(CLIENT(0), NEED_WAKEUP, 1);
		fence_full(CLIENT(0));
#endif
		atomic {
			if
			:: mem[FUTEX] == value -> waiting = true; SLEEPING
			:: else
			fi
		}
		!waiting;
awake:
		st(CLIENT(0), NEED_WAKEUP, 0)
	od
}

proctype daemon()
{
	byte n, need, value;

	do
	:: n < N_WORK ->
		n++;
		st(DAEMON, WORK(0), n);
#ifndef NO_WAKER_FENCE
		fence_full(DAEMON);
#endif
		ld(DAEMON, NEED_WAKEUP, need);
		if
		:: need ->
#ifndef NO_FUTEX_CHANGE
			ld(DAEMON, FUTEX, value);
			st(DAEMON, FUTEX, value + 1);
#endif
			fence_full(DAEMON);
			waiting = false		/* futex_wake */
		:: else
		fi
	:: else -> break
	od
}

init { atomic { run memory(DAEMON); run memory(CLIENT(0)); run client(); run daemon() } }
#endif
