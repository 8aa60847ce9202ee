/* SPDX-License-Identifier: Apache-2.0 */
/*
 * no_asan.c - what tests/simt tells ASan, where there is none: nobody listens.
 *
 * Weak, so that a program under ASan that loads the library keeps its own.
 */
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

#define UNHEARD	__attribute__((weak))

UNHEARD void __asan_poison_memory_region(void const volatile *at, size_t bytes)
{
	(void)at;
	(void)bytes;
}

UNHEARD void __asan_unpoison_memory_region(void const volatile *at, size_t bytes)
{
	(void)at;
	(void)bytes;
}

UNHEARD void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t bytes)
{
	(void)save;
	(void)bottom;
	(void)bytes;
}

UNHEARD void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *bytes)
{
	(void)save;
	*bottom = NULL;
	*bytes = 0;
}
