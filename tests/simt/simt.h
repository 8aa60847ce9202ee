/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simt.h - runs the device code of kernels/ on this processor, strictly.
 *
 * A launch runs its blocks one after another and the threads of a block as fibers.
 * A thread runs until it meets others (barrier, warp operation) or ends; a warp
 * runs as far as it comes without the others; the order is the test's choice. So
 * whatever lies between two barriers happens in one order here and in the opposite
 * order there: a missing barrier shows as a different result.
 *
 * What would be undefined on a GPU ends the process with the kernel, block, thread
 * and source line: threads that meet at different lines, threads that others wait
 * for and that have ended, lanes that are named and not there, a shuffle from a
 * lane that does not take part. Shared memory is exactly what the launch asked for,
 * full of garbage, between poisoned zones; everything runs under ASan and UBSan.
 *
 * The launchers of kernels/ are those of the product; kernels.c has cuda_launch() run the
 * kernel here.
 *
 * Not here: CUB, tensor-core instructions, cp.async, inline PTX. Where a kernel uses
 * one it has a plain twin of that one function under #ifndef __CUDACC__.
 */
#ifndef CKV_SIMT_H
#define CKV_SIMT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SIMT_WARP		32u
#define SIMT_MAX_THREADS	1024u
#define SIMT_MAX_SHARED		(227u << 10)	/* what an H100 block can have */

struct simt_dim {
	uint32_t x, y, z;
};

/* ---- what a test chooses ---- */

enum simt_order { SIMT_FORWARD, SIMT_REVERSE, SIMT_RANDOM };

/* Order of threads and of blocks, for the launches that follow. */
void simt_schedule(enum simt_order order, uint64_t seed);

/* What launchers that size their grid by the device are told; results do not change. */
extern uint32_t simt_multiprocessors;

/* Launches since the start. */
uint64_t simt_n_launches(void);

/* ---- what a launch does ---- */

struct simt_launch {
	const char *kernel;
	struct simt_dim grid, block;
	size_t shared_bytes;
	void (*body)(void *arg);	/* one thread */
	void *arg;
};

/* 0, or -EINVAL for a launch that a GPU would refuse. */
int simt_run(const struct simt_launch *launch);

/* A kernel of kernels/, as CKV_ENTRY() leaves it: simt_<name>. */
struct simt_kernel {
	int (*launch)(uint32_t grid, uint32_t block, size_t shared_bytes, void *const *args);
};

/* ---- what device code calls, through simt.cuh ---- */

struct simt_thread {
	struct simt_dim thread, block;	/* threadIdx, blockIdx */
	struct simt_dim block_dim, grid_dim;
};
extern struct simt_thread *simt_self;

void *simt_shared(void);

enum simt_op {
	SIMT_SYNC, SIMT_COUNT, SIMT_ALL, SIMT_ANY,	/* of a warp or a block */
	SIMT_SHUFFLE, SIMT_BALLOT, SIMT_MATCH,		/* of a warp */
	SIMT_ADD, SIMT_MIN, SIMT_MAX, SIMT_AND, SIMT_OR,
};

/* Where in the source, for messages. */
struct simt_site {
	const char *name, *file;
	int line;
};

/*
 * Wait for all lanes of `mask` at the same site, then return this lane's result.
 * SIMT_SHUFFLE: the value of lane `from`. The others: of all the values.
 */
uint64_t simt_meet_warp(enum simt_op op, uint32_t mask, uint64_t value,
			uint32_t from, struct simt_site site);

/* The same for all threads of the block. */
uint64_t simt_meet_block(enum simt_op op, uint64_t value, struct simt_site site);

uint32_t simt_lane(void);

/* End the process: `what` happened at `site` in this thread. */
void simt_die(struct simt_site site, const char *what, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
