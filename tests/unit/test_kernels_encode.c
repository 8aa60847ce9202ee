/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_encode.c - encodings in vectors, in tiles and in slices are those
 * of the definition, byte for byte.
 */
#include "kernels/elem.h"
#include "kernels/encode.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define GUARD_BYTES	64
#define MAX_DIM		257

static const struct ckv_encode ways[] = {
	{ .kind = CKV_ENCODE_PLAIN },
	{ .kind = CKV_ENCODE_BF16 },
	{ .kind = CKV_ENCODE_F16 },
	{ .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_ONE },
	{ .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_TENSOR },
	{ .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_HEAD },
	{ .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_BLOCK, .block = 5 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 8, .group = 4 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 8, .group = 64 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 4, .group = 24 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 4, .group = 64 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 2, .group = 16 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 2, .group = 32 },
};
#define N_WAYS	((int)(sizeof ways / sizeof ways[0]))

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint32_t any_of(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 20) % n;
}

/* ------------------------------------------------------------------ memory */

/* Zeroed, with a guard behind it that guard_check() looks at; freed there. */
static void *guarded(size_t bytes)
{
	unsigned char *p = malloc(bytes + GUARD_BYTES);

	ck_assert_ptr_nonnull(p);
	memset(p, 0xcc, bytes);
	memset(p + bytes, 0x5a, GUARD_BYTES);
	return p;
}

static void guard_check(void *p, size_t bytes)
{
	for (size_t i = 0; i < GUARD_BYTES; i++)
		if (((unsigned char *)p)[bytes + i] != 0x5a)
			ck_abort_msg("byte %zu behind %zu was written", i, bytes);
	free(p);
}

/* -------------------------------------------------------------------- rows */

enum mood {
	NORMAL, EQUAL, ZEROS, TINY, TIES, OUTLIERS, HUGE_RANGE, ANY_BITS, BROKEN,
	N_MOODS
};

static float normal(void)
{
	return ((float)any_of(65536) + (float)any_of(65536) +
		(float)any_of(65536) + (float)any_of(65536)) / 32768.0f - 4.0f;
}

static float number(enum mood mood, enum ckv_elem elem, uint32_t d)
{
	static const float largest[] = { 3e38f, 60000.0f, 3e38f };
	static const float tiny[] = { 0x1p-149f, 0x1p-24f, 0x1p-133f };

	switch (mood) {
	case EQUAL:
		return d % 3 == 0 ? -1.5f : 0.25f;
	case ZEROS:
		return any_of(2) ? 0.0f : -0.0f;
	case TINY:
		return tiny[elem] * (float)((int)any_of(41) - 20);
	case TIES:
		return (float)any_of(31) * 0.5f;
	case OUTLIERS:
		return d % 7 == 0 ? 20.0f * normal() : normal();
	case HUGE_RANGE:
		return any_of(50) ? normal() : largest[elem] *
					       (any_of(2) ? 1.0f : -1.0f);
	case BROKEN:
		return any_of(400) ? normal() : any_of(2) ? NAN : -INFINITY;
	default:
		return normal();
	}
}

/* n rows of exactly their size, so that a sanitizer sees what is read beyond. */
static void *make_rows(enum mood mood, enum ckv_elem elem, size_t n, uint32_t dim)
{
	size_t bytes = ckv_elem_bytes(elem);
	char *rows = malloc(n * dim * bytes);

	ck_assert_ptr_nonnull(rows);
	for (size_t i = 0; i < n * dim; i++) {
		uint32_t bits = any_of(1u << 30) * 4u + any_of(4);

		if (mood != ANY_BITS)
			elem_put(rows, i, elem,
				 number(mood, elem, (uint32_t)(i % dim)));
		else
			memcpy(rows + i * bytes, &bits, bytes);
	}
	return rows;
}

/* ------------------------------------------------------- one side of a head */

struct coded {
	struct encode_area a;
	size_t code_bytes, scale_bytes;
	float amax;
	int r;
	struct ckv_fault fault;
};

static struct coded prepare(const struct ckv_encode *e, enum ckv_elem elem,
			    enum ckv_side side, size_t n, uint32_t dim)
{
	struct coded c = {
		.a = { .e = e, .elem = elem, .side = side, .n = n, .n_all = n,
		       .dim = dim },
		.code_bytes = ckv_code_bytes(e, elem, side, n, dim),
		.scale_bytes = ckv_scale_bytes(e, elem, side, n, dim),
	};

	c.a.code = guarded(c.code_bytes);
	c.a.scale = guarded(c.scale_bytes);
	return c;
}

static void encode(const struct encode_code *code, struct coded *c,
		   const void *rows)
{
	c->r = encode_amax(encode_code_plain(), c->a.elem, rows, c->a.n,
			   c->a.dim, &c->amax, NULL);
	if (c->r < 0)
		c->amax = 1.0f;
	c->r = encode_rows(code, &c->a, rows, c->amax, &c->fault);
}

static void release(struct coded *c)
{
	guard_check(c->a.code, c->code_bytes);
	guard_check(c->a.scale, c->scale_bytes);
}

static void *decode(const struct encode_code *code, const struct coded *c,
		    size_t first, size_t n, enum ckv_elem out_elem)
{
	struct encode_area a = c->a;
	void *out = guarded(n * a.dim * ckv_elem_bytes(out_elem));

	a.first = first;
	a.n = n;
	ck_assert_int_eq(decode_rows(code, &a, out_elem, out), 0);
	return out;
}

/* The first byte in which two differ is said. */
static void same(const char *what, const struct coded *c, const void *x,
		 const void *y, size_t bytes)
{
	const unsigned char *a = x, *b = y;

	if (memcmp(a, b, bytes) == 0)
		return;
	for (size_t i = 0; i < bytes; i++)
		if (a[i] != b[i])
			ck_abort_msg("%s of way %d, type %d, side %d, %zu rows of "
				     "%u: byte %zu is %#x, expected %#x", what,
				     (int)(c->a.e - ways), c->a.elem, c->a.side,
				     c->a.n, c->a.dim, i, a[i], b[i]);
}

static const struct encode_code *vectors(int i)
{
	return i == 0 ? encode_code_base() : encode_code_avx2();
}

/* -------------------------------------------------------- vectors and plain */

static void same_decoded(const struct encode_code *code, const struct coded *c,
			 enum ckv_elem out_elem)
{
	size_t bytes = c->a.n * c->a.dim * ckv_elem_bytes(out_elem);
	void *want = decode(encode_code_plain(), c, 0, c->a.n, out_elem);
	void *got = decode(code, c, 0, c->a.n, out_elem);

	same("decoding", c, got, want, bytes);
	guard_check(got, bytes);
	guard_check(want, bytes);
}

static void compare(const struct encode_code *code, const struct ckv_encode *e,
		    enum ckv_elem elem, enum ckv_side side, size_t n,
		    uint32_t dim)
{
	struct coded want = prepare(e, elem, side, n, dim);
	struct coded got = prepare(e, elem, side, n, dim);
	/* A NaN, which plain takes, need not be the same NaN as a float. */
	uint32_t n_moods = e->kind == CKV_ENCODE_PLAIN ? ANY_BITS : N_MOODS;
	void *rows = make_rows((enum mood)any_of(n_moods), elem, n, dim);

	encode(encode_code_plain(), &want, rows);
	encode(code, &got, rows);
	ck_assert_int_eq(got.r, want.r);
	ck_assert_uint_eq(got.fault.token, want.fault.token);
	ck_assert_uint_eq(got.fault.dim, want.fault.dim);
	if (want.r == 0) {
		same("codes", &got, got.a.code, want.a.code, got.code_bytes);
		same("scales", &got, got.a.scale, want.a.scale, got.scale_bytes);
		same_decoded(code, &got, elem);
		same_decoded(code, &got, CKV_ELEM_F32);
	}
	free(rows);
	release(&want);
	release(&got);
}

/* For every dim and some odd n, keys or values, common and nasty numbers of each type. */
START_TEST(vectors_are_the_definition)
{
	const struct encode_code *code = vectors(_i / N_WAYS);

	if (code == NULL)
		return;
	for (uint32_t dim = 1; dim <= MAX_DIM; dim++)
		for (uint32_t k = 0; k < 3; k++)
			compare(code, &ways[_i % N_WAYS], (enum ckv_elem)k,
				(enum ckv_side)((dim + k) / 2 % 2),
				1 + 2 * (dim * 7 % 19), dim);
}
END_TEST

/* Every bf16 and f16 number, under many scales, is the same fp8 in vectors. */
START_TEST(vectors_know_every_number)
{
	static uint16_t all[1 << 16];
	static uint8_t want[1 << 16], got[1 << 16];
	const struct encode_code *code = vectors(_i / 2);
	enum ckv_elem elem = _i % 2 ? CKV_ELEM_F16 : CKV_ELEM_BF16;

	for (uint32_t i = 0; i < 1u << 16; i++)
		all[i] = (uint16_t)i;
	for (int k = 0; k < 40 && code != NULL; k++) {
		float scale = k == 0 ? 1.0f : k < 10 ? ldexpf(1.0f, 20 * k - 140)
						     : expf(2 * normal());

		plain_fp8_encode(elem, all, 1 << 16, scale, want);
		code->fp8_encode(elem, all, 1 << 16, scale, got);
		for (uint32_t i = 0; i < 1u << 16; i++)
			if (isfinite(elem_at(all, i, elem)) && got[i] != want[i])
				ck_abort_msg("%#x / %a is %#x, expected %#x", i,
					     (double)scale, got[i], want[i]);
	}
}
END_TEST

/* Every fp8 code, NaN too, is read in vectors as it is one by one. */
START_TEST(vectors_read_every_code)
{
	uint8_t codes[256];
	const struct encode_code *code = vectors(_i / 3);
	enum ckv_elem elem = (enum ckv_elem)(_i % 3);

	for (uint32_t i = 0; i < 256; i++)
		codes[i] = (uint8_t)i;
	for (int k = 0; k < 40 && code != NULL; k++) {
		float scale = k == 0 ? 0.0f : ldexpf(normal(), 6 * k - 120);
		float want[256], got[256];

		plain_fp8_decode(codes, 256, scale, elem, want);
		code->fp8_decode(codes, 256, scale, elem, got);
		for (uint32_t i = 0; i < 256; i++) {
			float x = elem_at(got, i, elem);
			float y = elem_at(want, i, elem);

			if (isnan(x) ? !isnan(y) : elem_bits(x) != elem_bits(y))
				ck_abort_msg("%#x * %a is %a, expected %a", i,
					     (double)scale, (double)x, (double)y);
		}
	}
}
END_TEST

/* ------------------------------------------------------- tiles and slices */

/* Rows a tile may be cut at. */
static size_t cut(const struct coded *c, size_t n)
{
	size_t together = encode_rows_together(c->a.e, c->a.side);

	return together == 0 ? n : n - n % together;
}

/* A head encoded tile by tile, the last one first, is the head encoded at once. */
START_TEST(tiles_make_the_whole)
{
	for (int k = 0; k < 60; k++) {
		enum ckv_elem elem = (enum ckv_elem)(k % 3);
		enum ckv_side side = (enum ckv_side)(k / 3 % 2);
		size_t n = 1 + any_of(300), end;
		uint32_t dim = 1 + any_of(90);
		struct coded whole = prepare(&ways[_i], elem, side, n, dim);
		struct coded tiled = prepare(&ways[_i], elem, side, n, dim);
		char *rows = make_rows(NORMAL, elem, n, dim);

		encode(encode_code_plain(), &whole, rows);
		for (end = n; end > 0; end = tiled.a.first) {
			tiled.a.first = cut(&tiled, any_of((uint32_t)end));
			tiled.a.n = end - tiled.a.first;
			ck_assert_int_eq(ckv_encode_rows(
				&ways[_i], elem, side,
				rows + tiled.a.first * dim * ckv_elem_bytes(elem),
				tiled.a.first, tiled.a.n, n, dim, whole.amax,
				tiled.a.code, tiled.a.scale, NULL), 0);
		}
		same("codes", &whole, tiled.a.code, whole.a.code,
		     whole.code_bytes);
		same("scales", &whole, tiled.a.scale, whole.a.scale,
		     whole.scale_bytes);
		free(rows);
		release(&whole);
		release(&tiled);
	}
}
END_TEST

/* Any range of rows decodes to that range of all rows decoded. */
START_TEST(slices_are_of_the_whole)
{
	for (int k = 0; k < 60; k++) {
		enum ckv_elem elem = (enum ckv_elem)(k % 3);
		enum ckv_elem out_elem = k % 2 ? CKV_ELEM_F32 : elem;
		enum ckv_side side = (enum ckv_side)(k / 3 % 2);
		size_t n = 1 + any_of(300), first = any_of((uint32_t)n + 1);
		size_t n_slice = any_of((uint32_t)(n - first) + 1), row_bytes;
		uint32_t dim = 1 + any_of(90);
		struct coded c = prepare(&ways[_i], elem, side, n, dim);
		void *rows = make_rows(NORMAL, elem, n, dim);
		char *whole, *slice;

		row_bytes = dim * ckv_elem_bytes(out_elem);
		encode(encode_code_plain(), &c, rows);
		whole = decode(encode_code_plain(), &c, 0, n, out_elem);
		slice = guarded(n_slice * row_bytes);
		ck_assert_int_eq(ckv_decode_rows(&ways[_i], elem, side, c.a.code,
						 c.a.scale, first, n_slice, n,
						 dim, out_elem, slice), 0);
		same("slice", &c, slice, whole + first * row_bytes,
		     n_slice * row_bytes);
		guard_check(whole, n * row_bytes);
		guard_check(slice, n_slice * row_bytes);
		free(rows);
		release(&c);
	}
}
END_TEST

CHECK_MAIN("kernels_encode",
	CASE("all"),
	LOOP(vectors_are_the_definition, 2 * N_WAYS),
	LOOP(vectors_know_every_number, 4),
	LOOP(vectors_read_every_code, 6),
	LOOP(tiles_make_the_whole, N_WAYS),
	LOOP(slices_are_of_the_whole, N_WAYS))
