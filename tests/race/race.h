/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race.h - what the two-thread tests share: start, wait a little, give a verdict.
 *
 * Each test is a program that prints one line of TAP. ThreadSanitizer
 * makes it exit with 66 after a data race. The payloads are plain memory that only
 * the named ordering pair protects, which is what makes a weakened pair a race; the
 * shared words themselves are atomics and never race.
 */
#ifndef CKV_TESTS_RACE_H
#define CKV_TESTS_RACE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define race_check(condition)						\
	do {								\
		if (!(condition)) {					\
			fprintf(stderr, "%s:%d: %s\n", __FILE__,	\
				__LINE__, #condition);			\
			printf("not ok 1 - %s\n", race_name);		\
			fflush(stdout);					\
			_exit(EXIT_FAILURE);				\
		}							\
	} while (0)

/* Run both sides to their end; `a` in a thread of its own. */
static inline void race_run(void *(*a)(void *), void *(*b)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, a, arg) != 0)
		exit(EXIT_FAILURE);
	b(arg);
	pthread_join(thread, NULL);
}

/* Let the other side run; with few processors spinning would starve it. */
static inline void race_pause(unsigned *spins)
{
	if (++*spins % 64 == 0)
		sched_yield();
}

static inline int race_passed(const char *name)
{
	printf("ok 1 - %s\n", name);
	return EXIT_SUCCESS;
}

#endif
