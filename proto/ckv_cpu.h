/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_cpu.h - which code for one kind of processor is compiled. Each piece of such code
 * has a twin in plain C, for all other processors.
 *
 * With -DCKV_PORTABLE the twins are compiled on x86-64 too, so that they are tested there.
 */
#ifndef CKV_CPU_H
#define CKV_CPU_H

#if defined(__x86_64__) && !defined(CKV_PORTABLE)
#define CKV_CPU_X86	1
#endif

/*
 * For functions that only prefetch. gcc at -O2 thinks that such a function has no
 * effect, and deletes each call of it that is not inlined.
 */
#define CKV_ASK static inline __attribute__((always_inline)) void

/* In a loop that waits for another processor's store. */
static inline void ckv_pause(void)
{
#ifdef CKV_CPU_X86
	__builtin_ia32_pause();
#elif defined(__aarch64__) && !defined(CKV_PORTABLE)
	__asm__ volatile("yield" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

#endif
