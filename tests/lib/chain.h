/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain.h - a chain of known numbers, twice: in pages, as the daemon stores it, and in
 * plain arrays, for calling the kernels directly; and the queries and sums that a
 * compression of it reads.
 */
#ifndef CKV_TEST_CHAIN_H
#define CKV_TEST_CHAIN_H

#include "daemon/shell/compress.h"

#define LAYERS	3u
#define HEADS	2u
#define DIM_K	8u
#define DIM_V	4u
#define BLOCK	16u
#define BLOCKS	44u
#define TOKENS	700u		/* several tiles, and a last block that is part full */
#define WINDOW	32u

extern struct ckv_geometry geometry;	/* f32 or bf16, by fill() */
extern unsigned char flat[2][LAYERS][HEADS * TOKENS * DIM_K * 4]; /* K, V: [head][token][dim] */
extern float queries[LAYERS * 4 * WINDOW * DIM_K];	/* of 4 query heads */
extern float lse[LAYERS * 4 * WINDOW];
extern float sums[LAYERS * HEADS * TOKENS];
extern struct inputs inputs;
extern char why[CKV_METHOD_WHY_BYTES];
extern const struct ckv_key chain, digest;

/* All numbers anew, finite and different enough. */
void fill(uint32_t dtype);

uint32_t width(void);			/* bytes of one number */
void put(void *at, float x);		/* as one number of the space's type */

/* Where a number is in the pages, and a row in the arrays. */
void *element(uint32_t layer, bool value, uint32_t head, uint32_t token,
	      uint32_t dim);
void *flat_row(uint32_t layer, bool value, uint32_t head, uint32_t token);

/* A compression of the first n_tokens: checked, and given what it reads. */
struct compress request(const struct ckv_method *m, uint32_t n_tokens);

/*
 * Select and write: a view in memory of exactly its size, which held something else
 * before. NULL: *ret_error says why, and `why`.
 */
char *view_of(struct compress *c, int *ret_error);

#endif
