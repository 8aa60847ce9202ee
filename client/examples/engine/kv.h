/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv.h - where a sequence's keys and values are.
 *
 * A sequence is read in this order: first, where there is one, a view (fewer
 * tokens than were read, for each layer and kv head its own rows, already
 * rotated), then pages of block_tokens tokens for the positions from `first`
 * on. A page is [layer][K then V][kv_head][token][dim], the layout of a ckv
 * page, and may be anybody's memory: a page that a cache lent for reading or
 * for writing, or one of our own. Attention reads it where it lies; the keys
 * and values of new tokens are written straight into it.
 */
#ifndef ENGINE_KV_H
#define ENGINE_KV_H

#include <stddef.h>
#include <stdint.h>

#include "client/examples/engine/vec.h"

struct kv_geometry {
	uint32_t n_layers;
	uint32_t n_kv_heads;
	uint32_t head_dim;
	uint32_t block_tokens;
	enum vec_dtype dtype;
};

/* Rows that follow each other: n keys and n values of head_dim each. */
struct kv_run {
	const uint8_t *k;
	const uint8_t *v;
	uint32_t n;
};

struct kv {
	struct kv_geometry geo;
	const struct kv_run *view;	/* [layer][kv_head], or NULL */
	uint32_t view_rows_max;		/* the longest of them */
	uint32_t first;			/* position of the pages' first token */
	uint8_t **page;			/* by (position - first) / block_tokens */
	uint8_t *own;			/* page i is ours to free */
	uint32_t n_pages;
	uint32_t room;			/* of the two arrays */
};

/* Bytes of one value, and of one page (rounded up to 4 KiB). */
size_t kv_value_bytes(enum vec_dtype dtype);
size_t kv_page_bytes(const struct kv_geometry *geo);

void kv_init(struct kv *kv, const struct kv_geometry *geo);

/*
 * Begin with a view of the first `first` tokens: `view` holds one run for each
 * layer and kv head and stays the caller's, alive as long as kv.
 */
void kv_init_view(struct kv *kv, const struct kv_geometry *geo,
		  const struct kv_run *view, uint32_t first);

/* Free our own pages and the arrays; lent pages are left alone. */
void kv_free(struct kv *kv);

/* Append a page that somebody else owns. 0 or -ENOMEM. */
int kv_add_page(struct kv *kv, uint8_t *page);

/* Append pages of our own until positions below `end` have a place. */
int kv_reserve(struct kv *kv, uint32_t end);

/* How many runs hold the tokens before `end` (a page, a view: one each). */
uint32_t kv_n_runs(const struct kv *kv, uint32_t end);

/* List those runs in reading order. Returns the number of rows in them. */
uint32_t kv_runs(const struct kv *kv, uint32_t layer, uint32_t head,
		 uint32_t end, struct kv_run *ret_runs);

/* Store the key and the value of one token and head. */
void kv_write(struct kv *kv, uint32_t layer, uint32_t head, uint32_t pos,
	      const float *k, const float *v);

#endif
