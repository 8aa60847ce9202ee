/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_task.h - what launchers and kernels agree on: arguments, threads, tiles.
 *
 * Plain C, read by both: the launchers (cuda_*.c) by the C compiler, the kernels (.cu)
 * by nvcc. A struct here goes to the device as the bytes it is made of.
 */
#ifndef CKV_KERNELS_CUDA_TASK_H
#define CKV_KERNELS_CUDA_TASK_H

#include "kernels/cuda_args.h"

#include <stdbool.h>

/* ----------------------------------------------------------------- lengths */

/*
 * A length by which each thread divides, with its reciprocal: x / n is x * mul >> shift for
 * x up to 2^31 and a block more. Where 2^s is n or the next power of two, mul is
 * 2^(31 + s) / n, rounded up by less than 1. That makes the quotient larger by less than
 * x / 2^(31 + s), which is less than the 1 / n that it would take to be another one.
 */
struct cuda_length {
	uint32_t n, mul, shift;
};

static inline struct cuda_length cuda_length_of(uint32_t n)
{
	struct cuda_length l = { n, 0, 31 };

	while (1u << (l.shift - 31) < n)
		l.shift++;
	l.mul = (uint32_t)(((UINT64_C(1) << l.shift) + n - 1) / n);
	return l;
}

CUDA_BOTH static inline uint32_t cuda_over(uint32_t x, struct cuda_length l)
{
	return (uint32_t)((uint64_t)x * l.mul >> l.shift);
}

/* ---------------------------------------------------------------- checksum */

enum {
	CHECKSUM_THREADS = 256, CHECKSUM_HASHES = CHECKSUM_THREADS / 4,
	CHECKSUM_SECRET_BYTES = 24 * 8,		/* in shared memory */
};

/* -------------------------------------------------------------------- pool */

enum { POOL_THREADS = 256, SNAPKV_TILE = 256, SNAPKV_MAX_KERNEL = 4095 };

struct snapkv_task {
	enum ckv_pool pool;
	enum ckv_reduce reduce;
	bool pools_first;	/* KVPRESS: pool each query head, then reduce */
	uint32_t window, kernel, n_kv_heads, group, n, n_tiles;
};

/* ------------------------------------------------------------------ chunks */

enum { CHUNK_THREADS = 256, CHUNK_TILE = 1024 };

struct chunk_task {
	uint32_t chunk, n_chunks, n_chunked;
	uint32_t n_scored;	/* T - w; later tokens have the pad */
	uint32_t n_heads;	/* rows of the input in a layer */
	uint32_t per_block, n_blocks;	/* chunks of a block, blocks of a layer */
	bool mean;
};

struct keep_task {
	uint32_t chunk, n_chunks, n_chunked, window;
	uint32_t n_scored;	/* chunks past it lie in the window: they go first */
	uint32_t keep;		/* chunks to keep, >= 1 */
	uint32_t budget;	/* PAPER: tokens beside the window */
	bool paper;
	uint32_t max_n;		/* from one layer's positions to the next */
};

/* ------------------------------------------------------------------ select */

enum { SELECT_ITEMS = 8, SELECT_BINS = 2048, SELECT_FEW = 256, SELECT_MANY = 1024 };

struct select_room {		/* in shared memory */
	uint32_t bin[SELECT_BINS];
	uint32_t warp[32];
	uint32_t found[4];
};

/* -------------------------------------------------------- every selection */

enum { PICK_THREADS = 256, PICK_BUDGETS = 512, PICK_RUNS = 33, PICK_PAIRS = 512 };

/* What some of the layers keep; as many as an argument has room for. */
struct pick_budgets {
	uint32_t first, n_layers;
	uint32_t n[PICK_BUDGETS];
};

/* A status word for each run of layers, and the layer that each begins with. */
struct pick_faults {
	uint64_t *word;
	uint32_t n_runs;
	uint32_t first[PICK_RUNS];
};

struct sums_task {
	const float *sums;	/* [layers][n_heads * group][T] */
	enum ckv_reduce reduce;
	uint32_t n_heads, group, n_tokens, n_tiles;
};

/* L2 norm in blocks: how many of each block stay. */
struct blocks_task {
	uint32_t block, n_tokens, n_blocks, n_tiles;
	uint32_t whole, rest;	/* of a whole block, of the last shorter one; or, if */
	uint32_t all;		/* not 0, each has its part of so many of all tokens */
};

/* ------------------------------------------------------------------- norms */

#define KEYS_LANE_BITS	3u	/* lanes that share a key are 2^3 or more */

enum { NORMS_THREADS = 256, NORMS_AT_ONCE = 8 };

/* ----------------------------------------------------------------- keydiff */

enum { KEYDIFF_THREADS = 256, KEYDIFF_AT_ONCE = 4, KEYDIFF_TILE = 128 };

struct keydiff_task {
	struct ckv_cuda_rows k;
	uint32_t n_access, row_bytes;
	uint32_t lane_bits;	/* how many lanes share a row, a power of two */
	uint32_t n_tiles;
	double *tile_sum;	/* [layers * heads][n_tiles][dim] */
	float *unit;		/* [layers * heads][dim] */
};

/* n_cols threads beside each other read one row; a block has n_slots rows at a time. */
struct keydiff_grid {
	uint32_t n_cols, n_slots;
};

CUDA_BOTH static inline struct keydiff_grid keydiff_grid_of(uint32_t n_access)
{
	uint32_t n_cols = n_access < (uint32_t)KEYDIFF_THREADS ? n_access
							       : (uint32_t)KEYDIFF_THREADS;
	struct keydiff_grid g = { n_cols, KEYDIFF_THREADS / n_cols };

	return g;
}

struct held_task {		/* KeyDiff in blocks */
	struct ckv_cuda_rows k;
	uint32_t n_access, row_bytes, lanes;
	uint32_t n, block, room;	/* room: of a list, at most n + block */
	uint32_t *token;	/* [layers * heads][2][room] */
	float *value;		/* [layers * heads][2][room] */
};

/*
 * Shared memory of its block: [n_slots][dim] sums and one of each warp, in double; the
 * anchor [dim] and 1 / |key| of a tile, in float; the selection.
 */
CUDA_BOTH static inline size_t held_shared_bytes(uint32_t dim, uint32_t n_slots)
{
	return ((size_t)n_slots * dim + KEYDIFF_THREADS / 32) * sizeof(double) +
	       ((size_t)dim + KEYDIFF_TILE) * sizeof(float) + sizeof(struct select_room);
}

/* ------------------------------------------------------------------ gather */

enum { GATHER_THREADS = 256, GATHER_AT_ONCE = 8 };

struct gather_side {
	struct ckv_cuda_rows rows;
	struct ckv_cuda_out out;
	uint32_t row_bytes, row_units;
};

struct gather_task {
	struct gather_side side[2];
	struct ckv_cuda_kept kept;
	uint32_t n_sides, n_newest, n_tiles;
};

/* ------------------------------------------------------------------ encode */

#define ENCODE_THREADS	256u
#define ENCODE_AT_ONCE	4u	/* vectors a thread */

struct encode_task {
	struct ckv_cuda_rows rows;
	struct ckv_cuda_kept kept;	/* pos NULL: all tokens */
	struct ckv_cuda_coded out;
	struct ckv_encode e;
	enum ckv_input input;		/* for faults */
	uint32_t row_bytes;
	uint32_t max_n;			/* coded rows of an area, at most */
	uint32_t *amax;			/* [n_layers][n_heads], bits of a float; fp8 */
	uint64_t *status;
};

struct encode_walk {
	uint32_t n_tiles;	/* of an area */
	uint32_t row_units;	/* vectors of a row */
	uint32_t n_scales;	/* fp8 by block: of a block of threads */
};

#define FP8_AT_ONCE	4u	/* vectors a thread, if they are all that its block has */

/* What has one scale, while it is found and when it is. */
struct fp8_room {
	uint32_t most;		/* largest magnitude, bits of a float */
	float by, inverse, factor;
};

#define KIVI_LONE_THREADS	128u

/*
 * Threads of a block of keys, at most. It leaves each 80 registers, so that three blocks of
 * 256 fit on a multiprocessor.
 */
#define KIVI_KEYS_THREADS	768u

struct kivi_block {		/* how a block's threads lie over its groups */
	uint32_t n_tiles;	/* of an area */
	uint32_t columns;	/* threads that share a row */
	uint32_t runs;		/* of a group */
	uint32_t n_groups;	/* of a block */
};

#define KIVI_VALUES_THREADS	256u
#define KIVI_VALUES_AT_ONCE	2u
#define KIVI_VALUE_NUMBERS	16u

struct kivi_walk {
	uint32_t n_tiles;	/* of an area */
	uint32_t group_bits;	/* a group has 2^group_bits lanes, up to 32 */
	struct cuda_length row_lanes;	/* of all groups of a row, the last one's whole */
};

/* ------------------------------------------------------------------ decode */

#define DECODE_THREADS	256u
#define DECODE_AT_ONCE	4u
#define DECODE_VALUE_ROWS	8u	/* KIVI's values: rows a thread */

struct decode_task {
	struct ckv_cuda_object object;
	struct ckv_cuda_coded in;
	struct ckv_cuda_out out;
	struct ckv_encode e;
	uint32_t n_tiles;	/* of an area */
	uint32_t row_units;	/* threads that share a row */
	uint32_t n_rows;	/* KIVI's values: of a block at once */
	uint32_t row_groups;	/* likewise: groups of a row */
};

/* ------------------------------------------------------------------ window */

#define WINDOW_WARPS	4u
#define WINDOW_THREADS	(WINDOW_WARPS * 32)
#define WINDOW_ROWS	128u
#define WINDOW_SEGMENT	512u

#define LOG2_E		1.4426950408889634f

/* Bytes of a query in the stage: half numbers, as many as fit; else its address. */
#define WINDOW_ROW_BYTES(max_dim)	(2u * (max_dim))
#define WINDOW_PLAIN_BYTES		8u

enum pass {			/* in the order of CKV_PASSES() */
	PASS_SUMS,		/* maxima and sums, into the partials */
	PASS_SCORES,		/* from partials to scores */
	PASS_LSE,		/* from the engine's log-sum-exp to scores */
};

struct window_task {
	struct ckv_cuda_window in;
	float *score;		/* [n_layers][Hq][T-w] */
	void *partial;		/* float2 [n_layers][Hq][n_segments][w]: maximum, sum */
	uint64_t *status;
	uint32_t group, window, n_scored;	/* G, w, T-w */
	uint32_t head_rows, unit_heads, n_groups, n_chunks, n_segments, n_units;
	uint32_t k_bytes, q_bytes;		/* of a row */
	float scale;		/* of a product, to a logit in base 2 */
};

#endif
