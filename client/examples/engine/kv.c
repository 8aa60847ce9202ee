/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kv.c - addresses within pages, and the growth of the list of pages.
 *
 * Allocation may fail (-ENOMEM) and then changes nothing; all else is
 * arithmetic on indexes that the engine itself chose, so it is asserted.
 */
#include "client/examples/engine/kv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_ALIGN	4096u

size_t kv_value_bytes(enum vec_dtype dtype)
{
	return dtype == VEC_BF16 ? sizeof(uint16_t) : sizeof(float);
}

size_t kv_page_bytes(const struct kv_geometry *geo)
{
	size_t bytes = (size_t)geo->n_layers * 2 * geo->n_kv_heads *
		       geo->block_tokens * geo->head_dim *
		       kv_value_bytes(geo->dtype);

	return (bytes + PAGE_ALIGN - 1) / PAGE_ALIGN * PAGE_ALIGN;
}

void kv_init(struct kv *kv, const struct kv_geometry *geo)
{
	memset(kv, 0, sizeof(*kv));
	kv->geo = *geo;
}

void kv_init_view(struct kv *kv, const struct kv_geometry *geo,
		  const struct kv_run *view, uint32_t first)
{
	kv_init(kv, geo);
	kv->view = view;
	kv->first = first;
	for (uint32_t i = 0; i < geo->n_layers * geo->n_kv_heads; i++)
		if (view[i].n > kv->view_rows_max)
			kv->view_rows_max = view[i].n;
}

void kv_free(struct kv *kv)
{
	for (uint32_t i = 0; i < kv->n_pages; i++)
		if (kv->own[i])
			free(kv->page[i]);
	free(kv->page);
	free(kv->own);
	memset(kv, 0, sizeof(*kv));
}

static int make_room(struct kv *kv)
{
	uint32_t room = kv->room != 0 ? 2 * kv->room : 32;
	uint8_t **page;
	uint8_t *own;

	if (kv->n_pages < kv->room)
		return 0;
	page = realloc(kv->page, room * sizeof(*page));
	if (page == NULL)
		return -ENOMEM;
	kv->page = page;
	own = realloc(kv->own, room * sizeof(*own));
	if (own == NULL)
		return -ENOMEM;
	kv->own = own;
	kv->room = room;
	return 0;
}

static int append(struct kv *kv, uint8_t *page, uint8_t own)
{
	int r = make_room(kv);

	if (r < 0)
		return r;
	kv->page[kv->n_pages] = page;
	kv->own[kv->n_pages] = own;
	kv->n_pages++;
	return 0;
}

int kv_add_page(struct kv *kv, uint8_t *page)
{
	assert(page != NULL);
	return append(kv, page, 0);
}

int kv_reserve(struct kv *kv, uint32_t end)
{
	uint32_t n = kv->geo.block_tokens;
	uint32_t want = end > kv->first ? (end - kv->first + n - 1) / n : 0;

	while (kv->n_pages < want) {
		uint8_t *page = aligned_alloc(PAGE_ALIGN,
					      kv_page_bytes(&kv->geo));
		int r = page == NULL ? -ENOMEM : append(kv, page, 1);

		if (r < 0) {
			free(page);
			return r;
		}
	}
	return 0;
}

uint32_t kv_n_runs(const struct kv *kv, uint32_t end)
{
	uint32_t n = kv->geo.block_tokens;

	return (kv->view != NULL) + (end - kv->first + n - 1) / n;
}

/* Where the rows of one half (0: K, 1: V) of one layer and head begin. */
static uint8_t *rows(const struct kv *kv, uint32_t page, uint32_t layer,
		     uint32_t half, uint32_t head)
{
	const struct kv_geometry *g = &kv->geo;
	size_t row = ((size_t)layer * 2 + half) * g->n_kv_heads + head;

	assert(page < kv->n_pages);
	return kv->page[page] + row * g->block_tokens * g->head_dim *
	       kv_value_bytes(g->dtype);
}

uint32_t kv_runs(const struct kv *kv, uint32_t layer, uint32_t head,
		 uint32_t end, struct kv_run *ret_runs)
{
	uint32_t left = end - kv->first;
	uint32_t n_rows = 0, n = 0;

	assert(end >= kv->first);
	if (kv->view != NULL) {
		ret_runs[n++] = kv->view[layer * kv->geo.n_kv_heads + head];
		n_rows = ret_runs[0].n;
	}
	for (uint32_t page = 0; left > 0; page++) {
		uint32_t here = left < kv->geo.block_tokens ?
				left : kv->geo.block_tokens;

		ret_runs[n++] = (struct kv_run){
			.k = rows(kv, page, layer, 0, head),
			.v = rows(kv, page, layer, 1, head),
			.n = here,
		};
		n_rows += here;
		left -= here;
	}
	return n_rows;
}

static void write_row(uint8_t *to, const float *from, uint32_t n,
		      enum vec_dtype dtype)
{
	uint16_t *half = (uint16_t *)(void *)to;

	if (dtype == VEC_F32) {
		memcpy(to, from, n * sizeof(*from));
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		half[i] = vec_to_bf16(from[i]);
}

void kv_write(struct kv *kv, uint32_t layer, uint32_t head, uint32_t pos,
	      const float *k, const float *v)
{
	const struct kv_geometry *g = &kv->geo;
	uint32_t page = (pos - kv->first) / g->block_tokens;
	size_t at = (size_t)((pos - kv->first) % g->block_tokens) *
		    g->head_dim * kv_value_bytes(g->dtype);

	assert(pos >= kv->first);
	write_row(rows(kv, page, layer, 0, head) + at, k, g->head_dim,
		  g->dtype);
	write_row(rows(kv, page, layer, 1, head) + at, v, g->head_dim,
		  g->dtype);
}
