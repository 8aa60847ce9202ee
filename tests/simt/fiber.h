/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fiber.h - stacks that can be left and entered again.
 *
 * The switch is our own: swapcontext() makes a system call each time, and a block
 * switches some ten thousand times. ASan is told of every switch.
 */
#ifndef CKV_SIMT_FIBER_H
#define CKV_SIMT_FIBER_H

#include <stddef.h>

#define FIBER_STACK_BYTES	((size_t)128 << 10)	/* its lowest page is no page */

struct fiber {
	void *sp;		/* while it does not run */
	char *stack;		/* NULL: the program's own */
	size_t stack_bytes;
	void *fake_stack;	/* ASan's */
};

/* n stacks in one mapping; ends the process without memory. */
void fiber_map(struct fiber *fiber, size_t n);

/* The next switch to it begins `entry`, which ends with fiber_leave(). */
void fiber_reset(struct fiber *fiber, void (*entry)(void));

void fiber_switch(struct fiber *from, struct fiber *to);

/* fiber_switch() without a way back; and what `entry` does first. */
_Noreturn void fiber_leave(struct fiber *from, struct fiber *to);
void fiber_arrived(struct fiber *self);

#endif
