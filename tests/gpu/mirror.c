/* SPDX-License-Identifier: Apache-2.0 */
/* mirror.c - see mirror.h. */
#include "mirror.h"
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_BYTES	512u
#define GUARD_BYTE	0xa5

struct mirror *mirror_begin(void)
{
	static struct mirror m;

	m.n = 0;
	return &m;
}

static void *add(struct mirror *m, void *host, size_t bytes, int back)
{
	struct mirror_piece *p = &m->piece[m->n];
	size_t into = (size_t)((uintptr_t)host % CKV_CUDA_ALIGN);

	if (host == NULL)
		return NULL;
	if (m->n++ == MIRROR_MAX) {
		fprintf(stderr, "gpu-check: a call of more than %u pieces\n", MIRROR_MAX);
		exit(EXIT_FAILURE);
	}
	*p = (struct mirror_piece){ .host = host, .bytes = bytes, .back = back };
	p->base = gpu_alloc(into + bytes + GUARD_BYTES);
	p->device = (char *)p->base + into;
	gpu_fill((char *)p->device + bytes, GUARD_BYTE, GUARD_BYTES);
	gpu_put(p->device, host, bytes);
	return p->device;
}

const void *mirror_in(struct mirror *m, const void *host, size_t bytes)
{
	return add(m, (void *)(uintptr_t)host, bytes, 0);
}

void *mirror_inout(struct mirror *m, void *host, size_t bytes)
{
	return add(m, host, bytes, 1);
}

struct ckv_cuda_rows mirror_rows(struct mirror *m, const struct ckv_cuda_rows *rows)
{
	struct ckv_cuda_rows d = *rows;
	const struct ckv_rows *r = &rows->rows;
	uint32_t n_blocks = (r->n_tokens + r->block_tokens - 1) / r->block_tokens;
	size_t row_bytes = r->dim * ckv_elem_bytes(r->elem);
	size_t bytes = r->offset_bytes +
		       (size_t)(rows->n_layers - 1) * rows->layer_step *
				rows->layer_stride_bytes +
		       (r->n_heads - 1) * r->head_stride_bytes +
		       r->block_tokens * row_bytes;
	const void **block = malloc(n_blocks * sizeof *block);

	if (block == NULL)
		exit(EXIT_FAILURE);
	for (uint32_t i = 0; i < n_blocks; i++)
		block[i] = mirror_in(m, r->block[i], bytes);
	d.rows.block = mirror_in(m, block, n_blocks * sizeof *block);
	free(block);
	return d;
}

struct ckv_cuda_out mirror_out(struct mirror *m, const struct ckv_cuda_out *out,
			       uint32_t n_layers, uint32_t n_heads, size_t bytes)
{
	struct ckv_cuda_out d = *out;

	d.base = mirror_inout(m, out->base, (n_layers - 1) * out->layer_stride_bytes +
			      (n_heads - 1) * out->head_stride_bytes + bytes);
	return d;
}

static void check_guard(const struct mirror_piece *p)
{
	unsigned char guard[GUARD_BYTES];

	gpu_get(guard, (char *)p->device + p->bytes, sizeof guard);
	for (size_t i = 0; i < sizeof guard; i++)
		if (guard[i] != GUARD_BYTE) {
			fprintf(stderr, "gpu-check: written %zu bytes past the end of %zu\n",
				i, p->bytes);
			exit(EXIT_FAILURE);
		}
}

int mirror_finish(struct mirror *m, int r)
{
	gpu_must(gpu.cuCtxSynchronize(), "kernel");
	for (uint32_t i = 0; i < m->n; i++) {
		const struct mirror_piece *p = &m->piece[i];

		check_guard(p);
		if (p->back && r == 0)
			gpu_get(p->host, p->device, p->bytes);
		gpu_free(p->base);
	}
	return r;
}
