/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xxh3.h - XXH3-64 by the fastest code that this processor runs.
 *
 * libxxhash chooses (SSE2, AVX2 or AVX-512) in functions that Debian's libxxhash.a does
 * not have: the references are weak, so that a program which is linked statically has
 * the plain ones. All give the same digest.
 */
#ifndef CKV_XXH3_H
#define CKV_XXH3_H

#define XXH_STATIC_LINKING_ONLY	/* the streaming state, on the stack */
#include <xxhash.h>

#if defined(__x86_64__) && !defined(CKV_PORTABLE)
#include <xxh_x86dispatch.h>
#undef XXH3_64bits
#undef XXH3_64bits_withSeed
#undef XXH3_64bits_update
#pragma weak XXH3_64bits_dispatch
#pragma weak XXH3_64bits_withSeed_dispatch
#pragma weak XXH3_64bits_update_dispatch
#define XXH3_BEST(name) (name##_dispatch != NULL ? name##_dispatch : name)
#else
#define XXH3_BEST(name) name
#endif

static inline uint64_t xxh3_sum(const void *data, size_t bytes)
{
	return XXH3_BEST(XXH3_64bits)(data, bytes);
}

static inline uint64_t xxh3_sum_seeded(const void *data, size_t bytes, uint64_t seed)
{
	return XXH3_BEST(XXH3_64bits_withSeed)(data, bytes, seed);
}

/* It cannot fail: neither is NULL. */
static inline void xxh3_add(XXH3_state_t *state, const void *data, size_t bytes)
{
	(void)XXH3_BEST(XXH3_64bits_update)(state, data, bytes);
}

#endif
