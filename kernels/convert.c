/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert.c - rows in another type, and the largest magnitude of rows: the
 * definition.
 */
#include "kernels/elem.h"
#include "kernels/encode.h"

static uint32_t larger(uint32_t max, float x)
{
	uint32_t magnitude = elem_bits(x) & 0x7fffffffu;

	return magnitude > max ? magnitude : max;
}

uint32_t plain_amax(enum ckv_elem elem, const void *x, size_t n)
{
	uint32_t max = 0;

	for (size_t i = 0; i < n; i++)
		max = larger(max, elem_at(x, i, elem));
	return max;
}

uint32_t plain_convert(enum ckv_elem from, const void *x, size_t n,
		       enum ckv_elem to, void *out)
{
	uint32_t max = 0;

	for (size_t i = 0; i < n; i++) {
		float f = elem_at(x, i, from);

		elem_put(out, i, to, f);
		max = larger(larger(max, f), elem_at(out, i, to));
	}
	return max;
}
