/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer.h - one small layer for tests that say in advance what is kept.
 *
 * A test program has one at a time: keys, queries and sums of zeros, of which
 * it sets a few.
 */
#ifndef CKV_TESTS_LAYER_H
#define CKV_TESTS_LAYER_H

#include "tests/lib/rows.h"

#define LAYER_MAX_SUMS	512u

extern struct one_layer {
	struct made_rows k, q;		/* float */
	float sums[LAYER_MAX_SUMS];	/* [Hkv, T] unless the test says otherwise */
	struct ckv_layer in;		/* layer 0 of 32 */
	/* What the last layer_select() gave. */
	struct ckv_kept kept;
	struct ckv_fault fault;
	uint32_t *pos;
} one;

void layer_make(uint32_t n_kv, uint32_t group, uint32_t n_tokens, uint32_t dim,
		uint32_t window);
void layer_drop(void);

/* The first number of a key, or of query `row` of a query head. */
void layer_key(uint32_t head, uint32_t token, float x);
void layer_query(uint32_t head, uint32_t row, float x);

/*
 * ckv_select() with scratch and room for positions as large as they are said to
 * have to be. kept and fault are 0xa5 before.
 */
int layer_select(const struct ckv_selection *s);

/* Is set i just want[0..n)? If not, the first difference is printed. */
int layer_set_is(uint32_t i, const uint32_t *want, uint32_t n);
int layer_set_is_run(uint32_t i, uint32_t from, uint32_t to);

#define LAYER_SET_IS(i, ...)						\
	layer_set_is(i, (const uint32_t[]){ __VA_ARGS__ },		\
		     (uint32_t)(sizeof (const uint32_t[]){ __VA_ARGS__ } / \
				sizeof(uint32_t)))

#endif
