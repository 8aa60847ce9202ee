/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.h - a made-up KV object in pages, for the CPU's functions and for .cu's.
 *
 * Pages have ckv's layout [layer][K then V][kv head][token][dim], each in a heap
 * block of its own, so that ASan sees any access outside. Rows past the last token
 * are NaN: who reads one, reports one.
 */
#ifndef CKV_SIMT_OBJECT_H
#define CKV_SIMT_OBJECT_H

#include "kernels/ckv_kernels.h"
#include "simt.h"

struct shape {
	uint32_t n_layers, n_heads, group, n_tokens, dim, block_tokens, window;
	enum ckv_elem elem;
};

struct object {
	struct shape s;
	void **page;
	struct ckv_cuda_rows k, v, q;
	float *q_block;		/* queries of all layers, the object's elem */
	const void *q_page[1];
};

/* Numbers about +-1, seeded; freed by object_free(). */
void object_make(const struct shape *s, uint64_t seed, struct object *ret);
void object_free(struct object *o);

/* One layer of K, V or Q as the CPU's functions take it. */
struct ckv_rows object_layer(const struct ckv_cuda_rows *rows, uint32_t layer);

/* Overwrite one number of K, V or Q. */
void object_put(const struct ckv_cuda_rows *rows, uint32_t layer, uint32_t head,
		uint32_t token, uint32_t dim, float x);
float object_get(const struct ckv_cuda_rows *rows, uint32_t layer, uint32_t head,
		 uint32_t token, uint32_t dim);

/* A seeded number: uniform in [0, 2^32). */
uint32_t object_random(uint64_t *state);

/* The i-th of the shapes that every kernel is tried on; NULL past the last. */
const struct shape *object_shape(uint32_t i);
uint32_t object_shapes(void);	/* how many */
/* "1 layers 2 heads ..." for messages; one static buffer. */
const char *object_name(const struct shape *s);

/* `bytes` of heap full of 0x5a, freed by free(); never NULL. */
void *object_area(size_t bytes);

/* The same for a work area: aligned as launchers want it. */
void *object_work(size_t bytes);

/*
 * Run launch(arg) in every order of threads; `out` of `bytes` must come out the same
 * each time (it is refilled with 0x5a before each). Returns launch()'s last result.
 */
int object_run(int (*launch)(void *arg), void *arg, void *out, size_t bytes);

#endif
