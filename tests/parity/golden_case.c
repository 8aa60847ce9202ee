/* SPDX-License-Identifier: Apache-2.0 */
/* golden_case.c - arguments, inputs and comparisons of one golden case. */
#include "tests/parity/golden.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct golden_memory {
	struct golden_memory *next;
	char pad[CKV_SCRATCH_ALIGN - sizeof(void *)];
	char bytes[];
};

int golden_fail(struct golden *g, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(g->why, sizeof g->why, format, args);
	va_end(args);
	return -1;
}

void *golden_alloc(struct golden *g, size_t bytes)
{
	size_t all = sizeof(struct golden_memory) + bytes;
	struct golden_memory *m;

	all = (all + CKV_SCRATCH_ALIGN) / CKV_SCRATCH_ALIGN * CKV_SCRATCH_ALIGN;
	m = aligned_alloc(CKV_SCRATCH_ALIGN, all);
	if (m == NULL) {
		fprintf(stderr, "golden: out of memory\n");
		exit(EXIT_FAILURE);
	}
	memset(m, 0, all);
	m->next = g->memory;
	g->memory = m;
	return m->bytes;
}

void golden_free(struct golden *g)
{
	while (g->memory != NULL) {
		struct golden_memory *m = g->memory;

		g->memory = m->next;
		free(m);
	}
}

const char *golden_arg(const struct golden *g, const char *name)
{
	char key[128];

	snprintf(key, sizeof key, "c%u.arg.%s", g->index, name);
	return st_file_meta(g->file, key);
}

int golden_count(struct golden *g, const char *name, uint32_t *ret_count)
{
	const char *text = golden_arg(g, name);
	unsigned long value;
	char *end;

	if (text == NULL)
		return golden_fail(g, "no argument %s", name);
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value > UINT32_MAX ||
	    text[0] == '-')
		return golden_fail(g, "%s = %s is not a count", name, text);
	*ret_count = (uint32_t)value;
	return 0;
}

int golden_ratio(struct golden *g, const char *name, double *ret_ratio)
{
	const char *text = golden_arg(g, name);
	char *end;

	if (text == NULL)
		return golden_fail(g, "no argument %s", name);
	*ret_ratio = strtod(text, &end);
	if (end == text || *end != '\0')
		return golden_fail(g, "%s = %s is not a number", name, text);
	return 0;
}

const struct st_tensor *golden_expected(const struct golden *g,
					const char *name)
{
	char key[128];

	snprintf(key, sizeof key, "c%u.%s", g->index, name);
	return st_file_find(g->file, key);
}

int golden_named(struct golden *g, const char *arg,
		 const struct st_tensor **ret_tensor)
{
	const char *name = golden_arg(g, arg);
	const struct st_tensor *t = NULL;

	if (name != NULL)
		t = st_file_find(g->file, name);
	if (name != NULL && t == NULL)
		return golden_fail(g, "%s: no tensor %s", arg, name);
	*ret_tensor = t;
	return 0;
}

uint32_t golden_n_layers(const struct golden *g)
{
	const struct st_tensor *k = st_file_find(g->file, "keys");

	return k != NULL && k->n_dims == 4 && k->dim[0] <= UINT32_MAX
		? (uint32_t)k->dim[0] : 1;
}

/* An input [Hkv,T,D] or [L,Hkv,T,D] as rows of one layer, in place. */
static int rows_of(struct golden *g, const char *name, uint32_t layer,
		   struct ckv_rows *ret_rows)
{
	const struct st_tensor *t = st_file_find(g->file, name);
	const size_t *dim;
	const void **block;

	if (t == NULL)
		return golden_fail(g, "no tensor %s", name);
	if (t->dtype != ST_F32 || t->n_dims < 3 || t->n_dims > 4 || t->n_elems == 0)
		return golden_fail(g, "%s is not F32 [Hkv,T,D] or [L,Hkv,T,D]",
				   name);
	dim = t->dim + (t->n_dims - 3);
	if (dim[0] > CKV_KERNEL_MAX_HEADS || dim[1] > CKV_KERNEL_MAX_TOKENS ||
	    dim[2] > CKV_KERNEL_MAX_DIM)
		return golden_fail(g, "%s is larger than the kernels take",
				   name);
	if (t->n_dims == 4 && layer >= t->dim[0])
		return golden_fail(g, "%s has no layer %u", name, layer);
	block = golden_alloc(g, sizeof *block);
	block[0] = (const float *)(const void *)t->data + layer * dim[0] * dim[1] * dim[2];
	*ret_rows = (struct ckv_rows){
		.block = block,
		.head_stride_bytes = dim[1] * dim[2] * sizeof(float),
		.block_tokens = (uint32_t)dim[1],
		.n_heads = (uint32_t)dim[0],
		.n_tokens = (uint32_t)dim[1],
		.dim = (uint32_t)dim[2],
		.elem = CKV_ELEM_F32,
	};
	return 0;
}

/* One row as bfloat16. 1 if a number would be rounded. */
static int to_bf16(const float *from, uint32_t dim, uint16_t *to)
{
	for (uint32_t d = 0; d < dim; d++) {
		uint32_t bits;

		memcpy(&bits, &from[d], sizeof bits);
		if (bits & 0xffff)
			return 1;
		to[d] = (uint16_t)(bits >> 16);
	}
	return 0;
}

/* Move rows into bfloat16 pages that also hold something else in front. */
static int to_pages(struct golden *g, struct ckv_rows *rows)
{
	const uint32_t n = GOLDEN_BLOCK_TOKENS;
	uint32_t n_blocks = (rows->n_tokens + n - 1) / n;
	struct ckv_rows to = *rows;
	const void **block = golden_alloc(g, n_blocks * sizeof *block);

	to.block = block;
	to.elem = CKV_ELEM_BF16;
	to.block_tokens = n;
	to.head_stride_bytes = (size_t)n * rows->dim * sizeof(uint16_t);
	to.offset_bytes = to.head_stride_bytes;
	for (uint32_t b = 0; b < n_blocks; b++)
		block[b] = golden_alloc(g, to.offset_bytes + rows->n_heads *
						   to.head_stride_bytes);
	for (uint32_t h = 0; h < rows->n_heads; h++)
		for (uint32_t t = 0; t < rows->n_tokens; t++)
			if (to_bf16(ckv_rows_at(rows, h, t), rows->dim,
				    (uint16_t *)(uintptr_t)ckv_rows_at(&to, h,
								       t)))
				return 1;
	*rows = to;
	return 0;
}

int golden_keys(struct golden *g, uint32_t layer, struct ckv_rows *ret_keys)
{
	struct ckv_rows k;
	int r = rows_of(g, "keys", layer, &k);

	if (r == 0 && g->store == GOLDEN_PAGES)
		r = to_pages(g, &k);
	if (r == 0)
		*ret_keys = k;
	return r;
}

int golden_window(struct golden *g, uint32_t layer, uint32_t window,
		  struct ckv_window *ret_in)
{
	struct ckv_window in = { 0 };
	int r = 0;

	if (rows_of(g, "keys", layer, &in.k) < 0 ||
	    rows_of(g, "queries", layer, &in.q) < 0)
		return -1;
	if (in.q.dim != in.k.dim || in.q.n_heads % in.k.n_heads != 0)
		return golden_fail(g, "queries and keys do not fit together");
	if (window == 0 || window > in.q.n_tokens)
		return golden_fail(g, "window of %u, but %u queries", window,
				   in.q.n_tokens);
	in.q.offset_bytes = (size_t)(in.q.n_tokens - window) * in.q.dim *
			    sizeof(float);
	in.q.n_tokens = window;
	if (g->store == GOLDEN_PAGES) {
		r = to_pages(g, &in.k);
		if (r == 0)
			r = to_pages(g, &in.q);
	}
	if (r == 0)
		*ret_in = in;
	return r;
}

int golden_same_scores(struct golden *g, const struct st_tensor *want,
		       size_t n_all, size_t first, const float *got, size_t n)
{
	const float *w;

	if (want == NULL)
		return 0;
	if (want->dtype != ST_F32 || want->n_elems != n_all)
		return golden_fail(g, "%s is not %zu F32 scores", want->name,
				   n_all);
	w = (const float *)(const void *)want->data + first;
	for (size_t i = 0; i < n; i++) {
		double a = (double)got[i], b = (double)w[i];

		if (!(fabs(a - b) <= g->abs + g->rel * fabs(b)))
			return golden_fail(g, "%s[%zu] is %.9g, expected %.9g",
					   want->name, first + i, a, b);
	}
	return 0;
}

int golden_same_positions(struct golden *g, const struct st_tensor *want,
			  size_t first, const uint32_t *got, size_t n)
{
	const int32_t *w;

	if (want->dtype != ST_I32)
		return golden_fail(g, "%s is not I32", want->name);
	if (first > want->n_elems || n > want->n_elems - first)
		return golden_fail(g, "kept %zu positions from %zu on, %s has "
				   "%zu", n, first, want->name, want->n_elems);
	w = (const int32_t *)(const void *)want->data + first;
	for (size_t i = 0; i < n; i++)
		if ((int64_t)got[i] != w[i])
			return golden_fail(g, "%s[%zu] is %u, expected %d",
					   want->name, first + i, got[i], w[i]);
	return 0;
}
