/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heir.c - what a process had queued when it was killed is done after its death.
 *
 * A GPU goes on writing for a while when its process is dead already. The heir is a
 * process that shares this one's memory, so that its mappings live on, and nothing else:
 * no descriptor stays open, and whoever watches the dead one sees it dead. It waits
 * half to the whole of CKV_EMU_HEIR_MS, then does what it comes to, and ends.
 *
 * While the process lives the heir only waits, by system calls of its own: it runs on
 * another thread's thread-local storage. Afterwards all that is nobody's. A lock that a
 * dead thread holds is held for ever, so it takes none, and an alarm ends it if the
 * library's own stand in its way.
 */
#include "emu.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES	((size_t)1 << 20)
#define LIMIT_S		10u

#if !defined(__x86_64__)
#error "system calls without errno are written for x86-64"
#endif

static long call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return r;
}

/* Do the first of a stream's work, if it can be done now. */
static int do_first(CUstream s)
{
	struct emu_work *w = s->first;

	if (w == NULL || emu_lost(s->context->device) != CUDA_SUCCESS ||
	    (w->kind == EMU_AFTER && w->after.stream->n_done < w->after.ticket) ||
	    (w->kind == EMU_WAIT && !emu_is_reached(w)))
		return 0;
	emu_do_memory(w, s);
	s->first = w->next;
	s->n_done++;
	return 1;
}

static int is_anything_left(void)
{
	for (CUstream s = emu_streams; s != NULL; s = s->next)
		if (s->first != NULL)
			return 1;
	return 0;
}

/* Functions of the host are not called: that is dead. */
static void do_all(void)
{
	int n;

	do {
		n = 0;
		for (CUstream s = emu_streams; s != NULL; s = s->next)
			n += do_first(s);
	} while (n > 0);
}

static int live(void *arg)
{
	long process = (long)(intptr_t)arg;
	struct pollfd wait = { .events = POLLIN };
	uint64_t ms = emu_number("CKV_EMU_HEIR_MS", 0), random = emu_number("CKV_EMU_SEED", 1);

	call(SYS_close_range, 0, UINT32_MAX, 0, 0);
	wait.fd = (int)call(SYS_pidfd_open, process, 0, 0, 0);
	if (wait.fd >= 0)
		while (call(SYS_ppoll, (long)(intptr_t)&wait, 1, 0, 0) != 1)
			;
	if (!is_anything_left())
		call(SYS_exit_group, 0, 0, 0, 0);
	emu_random(&random);
	ms = ms / 2 + emu_random(&random) % (ms / 2 + 1);
	nanosleep(&(struct timespec){ (time_t)(ms / 1000), (long)(ms % 1000 * 1000000) }, NULL);
	alarm(LIMIT_S);
	do_all();
	call(SYS_exit_group, 0, 0, 0, 0);
	return 0;
}

int emu_heir_start(void)
{
	char *stack;

	if (emu_number("CKV_EMU_HEIR_MS", 0) == 0)
		return 1;
	stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	/* Without a signal at its end, so that no wait() of the process sees it. */
	return stack != MAP_FAILED &&
	       clone(live, stack + STACK_BYTES, CLONE_VM, (void *)(intptr_t)getpid()) > 0;
}
