/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fp8_body.h - fp8 in vectors; included by encode_body.h only.
 *
 * To fp8: let p be the largest power of two not above |x|, or 2^-6 where |x| is
 * smaller. An fp8 number near x has steps of p / 8, and so has a float near 2^20 * p. So
 * the sum |x| + 2^20 * p is |x| rounded to such steps, and the last bits of the float
 * count them. p's own exponent, moved beside them, completes the code.
 */
#define FP8_SMALLEST	0x3c800000	/* 2^-6, the smallest normal number */
#define FP8_LARGEST	0x43e00000	/* 448 */
#define FP8_OFFSET	(8 * (20 + 121))
#define FP8_SCALE_MAX	0x1p119f	/* times 2^8 it is still finite */

/* The code without sign, plus FP8_OFFSET, in the lower half of each lane. */
INLINE vu fp8_lanes(vf x)
{
	vu magnitude = min_s32((vu)x & 0x7fffffff, (vu){ 0 } + FP8_LARGEST);
	vu power = max_s32(magnitude & 0x7f800000,
			   (vu){ 0 } + FP8_SMALLEST) + (20u << 23);

	return (vu)((vf)magnitude + (vf)power) + (power >> 20);
}

INLINE vb fp8_codes(struct raw stored, vf scale, enum ckv_elem elem)
{
	struct pair x = raw_pair(stored, elem);
	struct words w = { fp8_lanes(x.a / scale), fp8_lanes(x.b / scale) };
	vh code, sign = (vh)stored.a;

	w = words_in(w, elem, CKV_ELEM_BF16);
	code = (vh)((w.a & 0xffff) | w.b << 16) - FP8_OFFSET;
	if (elem == CKV_ELEM_F32) {
		w = split_of((struct words){ stored.a, stored.b });
		sign = (vh)(w.a >> 16 | (w.b & 0xffff0000));
	}
	return store_codes(code | (sign >> 8 & 0x80));
}

INLINE uint32_t fp8_encode_as(enum ckv_elem elem, const void *x, size_t n,
			      float scale, uint8_t *to)
{
	vf by = splat(scale);
	struct raw max = { { 0 }, { 0 } };
	uint32_t most, rest;
	size_t i = 0;

	for (; i + PAIR <= n; i += PAIR) {
		struct raw stored = raw_load(x, i, elem);

		max = raw_max(max, raw_abs(stored, elem), elem);
		*(vb_loose *)(to + i) = fp8_codes(stored, by, elem);
	}
	most = raw_largest(max, elem);
	rest = plain_fp8_encode(elem, (const char *)x + i * bytes_of(elem),
				n - i, scale, to + i);
	return rest > most ? rest : most;
}

static TARGET uint32_t fp8_encode(enum ckv_elem elem, const void *x, size_t n,
				  float scale, uint8_t *to)
{
	switch (elem) {
	case CKV_ELEM_F32:
		return fp8_encode_as(CKV_ELEM_F32, x, n, scale, to);
	case CKV_ELEM_F16:
		return fp8_encode_as(CKV_ELEM_F16, x, n, scale, to);
	case CKV_ELEM_BF16:
		return fp8_encode_as(CKV_ELEM_BF16, x, n, scale, to);
	}
	return 0;
}

/*
 * A code's exponent and mantissa, put where those of an f16 are (whose mantissa's upper
 * three bits they fill), are a number that is 2^8 times too small, because the exponents
 * count from 7 and from 15. That holds below the smallest normal number as well. The
 * results are in out_elem's order.
 */
INLINE struct pair fp8_values(vb code, enum ckv_elem out_elem)
{
	vh c, magnitude, bits;

	if (is_split(out_elem) && !is_split(CKV_ELEM_F16))
		code = __builtin_shufflevector(code, code, EVEN_FIRST);
	c = load_codes(code);
	magnitude = c & 0x7f;
	bits = magnitude << 7 | (c & 0x80) << 8 |
	       ((vh)(magnitude == 0x7f) & 0x7f80);
	return raw_pair((struct raw){ (vu)bits, { 0 } }, CKV_ELEM_F16);
}

INLINE void fp8_decode_as(const uint8_t *from, size_t n, float scale,
			  enum ckv_elem out_elem, void *out)
{
	vf by = splat(scale * 256.0f);
	size_t i = 0;

	for (; i + PAIR <= n; i += PAIR) {
		struct pair x = fp8_values(*(const vb_loose *)(from + i),
					   out_elem);

		if (out_elem == CKV_ELEM_F32)
			x = pair_in(x, CKV_ELEM_F16, CKV_ELEM_F32);
		x.a *= by;
		x.b *= by;
		store_pair(out, i, out_elem, x);
	}
	plain_fp8_decode(from + i, n - i, scale, out_elem,
			 (char *)out + i * bytes_of(out_elem));
}

static TARGET void fp8_decode(const uint8_t *from, size_t n, float scale,
			      enum ckv_elem out_elem, void *out)
{
	if (!(scale < FP8_SCALE_MAX)) {
		plain_fp8_decode(from, n, scale, out_elem, out);
		return;
	}
	switch (out_elem) {
	case CKV_ELEM_F32:
		fp8_decode_as(from, n, scale, CKV_ELEM_F32, out);
		return;
	case CKV_ELEM_F16:
		fp8_decode_as(from, n, scale, CKV_ELEM_F16, out);
		return;
	case CKV_ELEM_BF16:
		fp8_decode_as(from, n, scale, CKV_ELEM_BF16, out);
		return;
	}
}
