/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_cpu.h - what is written for one kind of processor, each with its plain twin.
 *
 * -DCKV_PORTABLE takes the twins on x86-64 too, so that they are tested there.
 */
#ifndef CKV_CPU_H
#define CKV_CPU_H

#if defined(__x86_64__) && !defined(CKV_PORTABLE)
#define CKV_CPU_X86	1
#endif

/*
 * For functions that do nothing but ask for memory: gcc at -O2 takes such a function
 * for one without effect and deletes the calls that it has not inlined.
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
