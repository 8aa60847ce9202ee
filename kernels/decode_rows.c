/* SPDX-License-Identifier: Apache-2.0 */
/* decode_rows.c - the walk over the rows that are decoded. */
#include "kernels/encode.h"

#include <errno.h>
#include <string.h>

struct piece {			/* consecutive rows that share a scale */
	const struct encode_code *code;
	const struct encode_area *a;
	size_t row, n;
	enum ckv_elem out_elem;
	void *out;
};

static void decode_converted(const struct piece *p)
{
	const struct encode_area *a = p->a;
	enum ckv_elem stored = encode_stored(a->e, a->elem);
	size_t row_bytes = a->dim * ckv_elem_bytes(stored);
	const char *from = (const char *)a->code + p->row * row_bytes;

	if (stored == p->out_elem)
		memcpy(p->out, from, p->n * row_bytes);
	else
		p->code->convert(stored, from, p->n * a->dim, p->out_elem,
				 p->out);
}

static void decode_fp8(const struct piece *p)
{
	const struct ckv_encode *e = p->a->e;
	const float *scale = p->a->scale;
	float x = 1.0f;

	if (e->scale == CKV_FP8_BLOCK)
		x = scale[p->row / e->block];
	else if (e->scale != CKV_FP8_ONE)
		x = scale[0];
	p->code->fp8_decode((const uint8_t *)p->a->code + p->row * p->a->dim,
			    p->n * p->a->dim, x, p->out_elem, p->out);
}

static void decode_kivi(const struct piece *p)
{
	const struct encode_area *a = p->a;
	const struct kivi_form f = { .elem = a->elem, .bits = a->e->bits,
				     .group = a->e->group, .dim = a->dim };
	struct kivi_place at;

	if (a->side == CKV_SIDE_KEY) {
		size_t into = p->row % f.group;

		at = encode_kivi_place(a, p->row - into);
		p->code->kivi_decode_keys(&f, at.code, at.scale, at.min, into,
					  p->n, p->out_elem, p->out);
		return;
	}
	at = encode_kivi_place(a, p->row);
	p->code->kivi_decode_values(&f, at.code, at.scale, at.min, p->n,
				    p->out_elem, p->out);
}

int decode_rows(const struct encode_code *code, const struct encode_area *a,
		enum ckv_elem out_elem, void *out)
{
	struct piece p = { .code = code, .a = a, .out_elem = out_elem };
	size_t together, row_bytes;

	if (encode_area_check(a) < 0 || (out == NULL && a->n > 0) ||
	    (out_elem != CKV_ELEM_F32 && out_elem != a->elem))
		return -EINVAL;
	together = encode_rows_together(a->e, a->side);
	row_bytes = a->dim * ckv_elem_bytes(out_elem);
	for (size_t i = 0; i < a->n; i += p.n) {
		p.row = a->first + i;
		p.out = (char *)out + i * row_bytes;
		p.n = a->n - i;
		if (together > 0 && p.n > together - p.row % together)
			p.n = together - p.row % together;
		if (a->e->kind == CKV_ENCODE_FP8)
			decode_fp8(&p);
		else if (a->e->kind == CKV_ENCODE_KIVI)
			decode_kivi(&p);
		else
			decode_converted(&p);
	}
	return 0;
}
