/* SPDX-License-Identifier: Apache-2.0 */
/* fiber.c - see fiber.h. */
#include "fiber.h"

#include <assert.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(__x86_64__)
#error "the harness switches stacks by hand, which is written for x86-64"
#endif

/* Registers that a call keeps go on the old stack and come from the new one. */
void fiber_swap_stacks(void **ret_sp, void *sp);
__asm__(
	".text\n"
	".globl fiber_swap_stacks\n"
	".type fiber_swap_stacks, @function\n"
	"fiber_swap_stacks:\n"
	"	push %rbp\n	push %rbx\n	push %r12\n"
	"	push %r13\n	push %r14\n	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n"
	"	pop %r12\n	pop %rbx\n	pop %rbp\n"
	"	ret\n"
	".size fiber_swap_stacks, . - fiber_swap_stacks\n");

static void *main_stack;
static size_t main_stack_bytes;

void fiber_map(struct fiber *fiber, size_t n)
{
	char *base = mmap(NULL, n * FIBER_STACK_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (base == MAP_FAILED) {
		perror("simt: stacks");
		exit(EXIT_FAILURE);
	}
	for (size_t i = 0; i < n; i++) {
		char *low = base + i * FIBER_STACK_BYTES;

		if (mprotect(low, page, PROT_NONE) < 0) {
			perror("simt: guard page");
			exit(EXIT_FAILURE);
		}
		fiber[i] = (struct fiber){
			.stack = low + page,
			.stack_bytes = FIBER_STACK_BYTES - page,
		};
	}
}

void fiber_reset(struct fiber *fiber, void (*entry)(void))
{
	uintptr_t top = (uintptr_t)(fiber->stack + fiber->stack_bytes);
	void **sp = (void **)top;

	/* At `entry` the stack is as after a call: 8 below a multiple of 16. */
	*--sp = NULL;
	*--sp = (void *)(uintptr_t)entry;
	for (int i = 0; i < 6; i++)
		*--sp = NULL;
	fiber->sp = sp;
	fiber->fake_stack = NULL;
}

static void announce(void **fake_stack, const struct fiber *to)
{
	if (to->stack != NULL)
		__sanitizer_start_switch_fiber(fake_stack, to->stack,
					       to->stack_bytes);
	else
		__sanitizer_start_switch_fiber(fake_stack, main_stack,
					       main_stack_bytes);
}

void fiber_arrived(struct fiber *self)
{
	const void *bottom;
	size_t bytes;

	__sanitizer_finish_switch_fiber(self->fake_stack, &bottom, &bytes);
	/* Fibers are only entered from the program's own stack. */
	if (self->stack != NULL) {
		main_stack = (void *)(uintptr_t)bottom;
		main_stack_bytes = bytes;
	}
}

void fiber_switch(struct fiber *from, struct fiber *to)
{
	announce(&from->fake_stack, to);
	fiber_swap_stacks(&from->sp, to->sp);
	fiber_arrived(from);
}

_Noreturn void fiber_leave(struct fiber *from, struct fiber *to)
{
	announce(NULL, to);
	fiber_swap_stacks(&from->sp, to->sp);
	abort();
}
