/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.h - waiting for what another process or thread will do.
 *
 * The limit is for a machine that does many other things; nothing waits that long where all
 * is well. Assert the condition afterwards.
 */
#ifndef CKV_TESTS_WAIT_H
#define CKV_TESTS_WAIT_H

#include <time.h>

enum { WAIT_MOMENTS = 10000 };	/* twenty seconds */

static inline void wait_moment(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

#define WAIT_UNTIL(condition)						\
	for (int moment_ = 0; moment_ < WAIT_MOMENTS && !(condition); moment_++) \
		wait_moment()

#endif
