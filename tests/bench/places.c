/* SPDX-License-Identifier: Apache-2.0 */
/*
 * places.c - what bounds the index: a dependent miss of memory like its own, and how
 * often a key finds no place in it.
 */
#include "proto/ckv_index.h"
#include "tests/bench/bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { LOADS = 1000000 };

/* Shared memory at a multiple of 2 MiB, touched, then made of huge pages if it can be. */
static char *shared_memory(size_t bytes, char **ret_range, size_t *ret_bytes)
{
	size_t huge = CKV_HUGE_BYTES;
	int fd = memfd_create("ckv-bench", MFD_CLOEXEC);
	char *range, *base;

	*ret_bytes = bytes + huge;
	range = mmap(NULL, *ret_bytes, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	base = (char *)ckv_round_up((uintptr_t)range, huge);
	if (fd < 0 || range == MAP_FAILED || ftruncate(fd, (off_t)bytes) < 0 ||
	    mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 0) == MAP_FAILED)
		abort();
	close(fd);
	memset(base, 0, bytes);
	madvise(base, bytes, MADV_COLLAPSE);
	*ret_range = range;
	return base;
}

double bench_dependent_miss(size_t bytes)
{
	size_t whole = ckv_round_up(bytes, CKV_HUGE_BYTES), n = whole / CKV_LINE;
	uint32_t *order = malloc(n * sizeof *order);
	uint64_t state = 88172645463325252u, t;
	size_t mapped;
	char *range, *base = shared_memory(whole, &range, &mapped);
	void **at;

	if (order == NULL)
		abort();
	/* One ring through all lines, so that no load is seen coming. */
	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (size_t i = n - 1; i > 0; i--) {
		size_t k = random_next(&state) % i;
		uint32_t line = order[i];

		order[i] = order[k];
		order[k] = line;
	}
	for (size_t i = 0; i < n; i++)
		*(void **)(void *)(base + (size_t)order[i] * CKV_LINE) =
			base + (size_t)order[(i + 1) % n] * CKV_LINE;
	at = (void **)(void *)base;
	t = now_ns();
	for (int i = 0; i < LOADS; i++)
		at = *at;
	t = now_ns() - t;
	if (at == NULL)
		abort();
	munmap(range, mapped);
	free(order);
	return (double)t / LOADS;
}

enum { BUCKETS = 40000, LOAD = BUCKETS * 28 / 10 * 8 };

struct placed {
	struct ckv_place place;
	uint8_t bucket, entry;
};

static bool put(uint32_t *used, struct placed *p, uint64_t *state)
{
	const struct ckv_index index = { .n_buckets = BUCKETS,
					 .seed = { 3, 5, 7, 11 } };
	struct ckv_key key;
	uint32_t both[2], entry;
	int b;

	random_fill(state, &key, sizeof key);
	p->place = ckv_index_place(&index, &key);
	both[0] = used[p->place.bucket[0]];
	both[1] = used[p->place.bucket[1]];
	b = ckv_place_choose(&p->place, both, &entry);
	if (b < 0)
		return false;
	p->bucket = (uint8_t)b;
	p->entry = (uint8_t)entry;
	used[p->place.bucket[b]] |= 1u << entry;
	return true;
}

/* Fill to 80 %, then replace blocks one by one, as the daemon does. */
void bench_places(struct bench *b)
{
	static uint32_t used[BUCKETS];
	static struct placed placed[LOAD];
	static uint64_t state = 0x9e3779b97f4a7c15u;
	uint64_t n = b->quick ? 4000000 : 20000000, n_refused = 0;

	memset(used, 0, sizeof used);
	for (uint32_t i = 0; i < LOAD; i++)
		n_refused += !put(used, &placed[i], &state);
	for (uint64_t i = 0; i < n; i++) {
		struct placed *p = &placed[random_next(&state) % LOAD];
		struct placed next;

		used[p->place.bucket[p->bucket]] &= ~(1u << p->entry);
		if (!put(used, &next, &state)) {
			/* The block stays, and another key comes next. */
			used[p->place.bucket[p->bucket]] |= 1u << p->entry;
			n_refused++;
			continue;
		}
		*p = next;
	}
	bench_add(b, "index_refusals_per_million",
		  (double)n_refused * 1e6 / (double)(LOAD + n));
}
