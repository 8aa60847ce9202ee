/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.c - blocks in sequence, their threads as fibers in a chosen order.
 */
#include "sched.h"

#include <errno.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ZONE_BYTES	((size_t)256 << 10)	/* poisoned, on either side */

struct simt_fiber simt_fibers[SIMT_MAX_THREADS];
uint32_t simt_n_fibers;
struct simt_thread *simt_self;
uint32_t simt_multiprocessors = 2;

static const struct simt_launch *launch;
static struct fiber home = { .stack = NULL };
static char *zone;			/* ZONE, shared memory, ZONE */
static enum simt_order order;
static uint64_t random_state = 1;
static uint64_t n_launches;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

void simt_schedule(enum simt_order new_order, uint64_t seed)
{
	order = new_order;
	random_state = seed * 0x9e3779b97f4a7c15u | 1;
}

uint64_t simt_n_launches(void)
{
	return n_launches;
}

struct simt_fiber *simt_current(void)
{
	return (struct simt_fiber *)simt_self;
}

uint32_t simt_index(const struct simt_fiber *fiber)
{
	return (uint32_t)(fiber - simt_fibers);
}

uint32_t simt_lane(void)
{
	return simt_index(simt_current()) % SIMT_WARP;
}

void *simt_shared(void)
{
	return zone + ZONE_BYTES;
}

void simt_die(struct simt_site site, const char *what, ...)
{
	const struct simt_thread *t = simt_self;
	va_list args;

	fprintf(stderr, "simt: %s: block (%u,%u,%u) thread (%u,%u,%u): %s:%d: %s: ",
		launch->kernel, t->block.x, t->block.y, t->block.z, t->thread.x,
		t->thread.y, t->thread.z, site.file, site.line, site.name);
	va_start(args, what);
	vfprintf(stderr, what, args);
	va_end(args);
	fputc('\n', stderr);
	_Exit(EXIT_FAILURE);
}

void simt_wait(struct simt_fiber *self)
{
	fiber_switch(&self->fiber, &home);
}

static void run_thread(void)
{
	struct simt_fiber *self = simt_current();

	fiber_arrived(&self->fiber);
	launch->body(launch->arg);
	self->state = SIMT_ENDED;
	simt_check_ended(self);
	fiber_leave(&self->fiber, &home);
}

/* Which numbers 0..n-1 come when. */
static void shuffle(uint32_t *turn, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		turn[i] = order == SIMT_REVERSE ? n - 1 - i : i;
	for (uint32_t i = n; order == SIMT_RANDOM && i > 1; i--) {
		uint32_t j = (uint32_t)(next_random() % i), t = turn[j];

		turn[j] = turn[i - 1];
		turn[i - 1] = t;
	}
}

static struct simt_dim dim_at(uint64_t index, struct simt_dim dim)
{
	return (struct simt_dim){
		(uint32_t)(index % dim.x), (uint32_t)(index / dim.x % dim.y),
		(uint32_t)(index / dim.x / dim.y) };
}

static void begin_block(struct simt_dim block)
{
	unsigned char *shared = simt_shared();

	simt_meet_reset();
	for (size_t i = 0; i < launch->shared_bytes; i++)
		shared[i] = (unsigned char)(next_random() >> 32);
	for (uint32_t i = 0; i < simt_n_fibers; i++) {
		struct simt_fiber *f = &simt_fibers[i];

		f->self = (struct simt_thread){ dim_at(i, launch->block), block,
						launch->block, launch->grid };
		f->state = SIMT_READY;
		fiber_reset(&f->fiber, run_thread);
	}
}

/* Run the ready ones of a warp, at most `rounds` times each. Returns how often. */
static uint32_t run_warp(uint32_t warp, uint32_t rounds)
{
	struct simt_fiber *first = simt_fibers + warp * SIMT_WARP;
	uint32_t left = simt_n_fibers - warp * SIMT_WARP, turn[SIMT_WARP];
	uint32_t n_lanes = left < SIMT_WARP ? left : SIMT_WARP, n, n_all = 0;

	shuffle(turn, n_lanes);
	do {
		n = 0;
		for (uint32_t i = 0; i < n_lanes; i++) {
			struct simt_fiber *f = first + turn[i];

			if (f->state != SIMT_READY)
				continue;
			simt_self = &f->self;
			fiber_switch(&home, &f->fiber);
			n++;
		}
		n_all += n;
	} while (n > 0 && --rounds > 0);
	return n_all;
}

/*
 * A turn of every warp: as far as it comes alone, so that warps are as far apart as
 * barriers let them be; in a random order now and then one step only.
 */
static uint32_t run_turn(void)
{
	uint32_t turn[SIMT_MAX_THREADS / SIMT_WARP], n = 0;
	uint32_t n_warps = (simt_n_fibers + SIMT_WARP - 1) / SIMT_WARP;

	shuffle(turn, n_warps);
	for (uint32_t i = 0; i < n_warps; i++) {
		int one = order == SIMT_RANDOM && next_random() % 4 == 0;

		n += run_warp(turn[i], one ? 1 : UINT32_MAX);
	}
	return n;
}

static void run_block(struct simt_dim block)
{
	begin_block(block);
	while (run_turn() > 0)
		;
	for (uint32_t i = 0; i < simt_n_fibers; i++)
		if (simt_fibers[i].state != SIMT_ENDED)
			simt_die_stuck();
}

static int launch_check(const struct simt_launch *l)
{
	uint64_t n = (uint64_t)l->block.x * l->block.y * l->block.z;

	if (n == 0 || n > SIMT_MAX_THREADS || l->block.z > 64 ||
	    l->shared_bytes > SIMT_MAX_SHARED)
		return -EINVAL;
	if (l->grid.x == 0 || l->grid.y == 0 || l->grid.z == 0 ||
	    l->grid.x > INT32_MAX || l->grid.y > UINT16_MAX ||
	    l->grid.z > UINT16_MAX)
		return -EINVAL;
	return 0;
}

static void begin_launch(const struct simt_launch *l)
{
	if (zone == NULL) {
		size_t bytes = 2 * ZONE_BYTES + SIMT_MAX_SHARED;

		zone = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (zone == MAP_FAILED) {
			perror("simt: shared memory");
			exit(EXIT_FAILURE);
		}
		__asan_poison_memory_region(zone, bytes);
		for (uint32_t i = 0; i < SIMT_MAX_THREADS; i += 128) {
			struct fiber fiber[128];

			fiber_map(fiber, 128);
			for (uint32_t j = 0; j < 128; j++)
				simt_fibers[i + j].fiber = fiber[j];
		}
	}
	launch = l;
	simt_n_fibers = l->block.x * l->block.y * l->block.z;
	__asan_unpoison_memory_region(simt_shared(), l->shared_bytes);
}

int simt_run(const struct simt_launch *l)
{
	uint64_t n_blocks;
	uint32_t *turn;
	int r = launch_check(l);

	if (r < 0)
		return r;
	begin_launch(l);
	n_launches++;
	n_blocks = (uint64_t)l->grid.x * l->grid.y * l->grid.z;
	turn = malloc(n_blocks * sizeof *turn);
	if (turn == NULL || n_blocks > UINT32_MAX)
		abort();
	shuffle(turn, (uint32_t)n_blocks);
	for (uint64_t i = 0; i < n_blocks; i++)
		run_block(dim_at(turn[i], l->grid));
	free(turn);
	__asan_poison_memory_region(simt_shared(), l->shared_bytes);
	launch = NULL;
	return 0;
}
