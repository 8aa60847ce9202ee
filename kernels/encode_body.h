/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode_body.h - the steps of encode.h in vectors.
 *
 * Included once per instruction set, after encode_vector.h and these, which take and
 * give its vectors:
 *
 *   min_s32 max_s32 min_s16 max_s16    of signed lanes of that many bits
 *   least_s16    the least of all lanes
 *   any_lane     is any lane not 0?
 *   min_f32      the second argument where either is NaN
 *   whole        floats from 0 to 2^22 to whole numbers, halves to even
 *   f16_low f16_high    half of PAIR numbers as floats: the first and the last where
 *                F16_HARDWARE is 1, else the even and the odd ones
 *   f16_join     two vectors of floats rounded and put together, in that order
 *   f16_round    floats rounded to f16, as floats
 *   load_codes store_codes    PAIR bytes as 16-bit lanes, and back
 *   load_32_16 load_32_8 load_64_8    from memory to lanes of so many bits, from so
 *                many each; store_ back, numbers that fit
 *
 * Numbers at the end of a run that fill no whole vector go through the definition, one
 * after another.
 */
#include "kernels/encode_lanes.h"

INLINE uint32_t amax_as(enum ckv_elem elem, const void *x, size_t n)
{
	struct raw max = { { 0 }, { 0 } };
	uint32_t most, rest;
	size_t i = 0;

	for (; i + PAIR <= n; i += PAIR)
		max = raw_max(max, raw_abs(raw_load(x, i, elem), elem), elem);
	most = raw_largest(max, elem);
	rest = plain_amax(elem, (const char *)x + i * bytes_of(elem), n - i);
	return rest > most ? rest : most;
}

static TARGET uint32_t amax(enum ckv_elem elem, const void *x, size_t n)
{
	switch (elem) {
	case CKV_ELEM_F32:
		return amax_as(CKV_ELEM_F32, x, n);
	case CKV_ELEM_F16:
		return amax_as(CKV_ELEM_F16, x, n);
	case CKV_ELEM_BF16:
		return amax_as(CKV_ELEM_BF16, x, n);
	}
	return 0;
}

INLINE uint32_t convert_as(enum ckv_elem from, const void *x, size_t n,
			   enum ckv_elem to, void *out)
{
	struct raw in_max = { { 0 }, { 0 } }, out_max = in_max;
	uint32_t most, rest;
	size_t i = 0;

	for (; i + PAIR <= n; i += PAIR) {
		struct raw in = raw_load(x, i, from);
		struct raw stored = pair_raw(pair_in(raw_pair(in, from), from,
						     to), to);

		in_max = raw_max(in_max, raw_abs(in, from), from);
		out_max = raw_max(out_max, raw_abs(stored, to), to);
		raw_store(out, i, to, stored);
	}
	most = raw_largest(in_max, from);
	rest = raw_largest(out_max, to);
	most = rest > most ? rest : most;
	rest = plain_convert(from, (const char *)x + i * bytes_of(from), n - i,
			     to, (char *)out + i * bytes_of(to));
	return rest > most ? rest : most;
}

INLINE uint32_t convert_from(enum ckv_elem from, const void *x, size_t n,
			     enum ckv_elem to, void *out)
{
	switch (to) {
	case CKV_ELEM_F32:
		return convert_as(from, x, n, CKV_ELEM_F32, out);
	case CKV_ELEM_F16:
		return convert_as(from, x, n, CKV_ELEM_F16, out);
	case CKV_ELEM_BF16:
		return convert_as(from, x, n, CKV_ELEM_BF16, out);
	}
	return 0;
}

static TARGET uint32_t convert(enum ckv_elem from, const void *x, size_t n,
			       enum ckv_elem to, void *out)
{
	switch (from) {
	case CKV_ELEM_F32:
		return convert_from(CKV_ELEM_F32, x, n, to, out);
	case CKV_ELEM_F16:
		return convert_from(CKV_ELEM_F16, x, n, to, out);
	case CKV_ELEM_BF16:
		return convert_from(CKV_ELEM_BF16, x, n, to, out);
	}
	return 0;
}

#include "kernels/fp8_body.h"
#include "kernels/kivi_body.h"

static const struct encode_code code = {
	.amax = amax,
	.convert = convert,
	.fp8_encode = fp8_encode,
	.fp8_decode = fp8_decode,
	.kivi_encode_keys = kivi_encode_keys,
	.kivi_encode_values = kivi_encode_values,
	.kivi_decode_keys = kivi_decode_keys,
	.kivi_decode_values = kivi_decode_values,
};
