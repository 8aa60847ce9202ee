/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_compress.c - the view that a method makes of pages: what the kernels give
 * when they are asked directly, region by region, and zeros between.
 */
#include "tests/lib/chain.h"
#include "tests/lib/check_main.h"

#include <stdlib.h>
#include <string.h>

/* ---- what the kernels give, asked directly ---- */

static struct ckv_rows flat_rows(const void *const *block)
{
	return (struct ckv_rows){
		.block = block, .head_stride_bytes = TOKENS * DIM_K * width(),
		.block_tokens = TOKENS, .n_heads = HEADS, .n_tokens = TOKENS,
		.dim = DIM_K, .elem = geometry.dtype == CKV_DTYPE_BF16 ?
				      CKV_ELEM_BF16 : CKV_ELEM_F32,
	};
}

/* One layer's positions; *ret_pos is to be freed. */
static struct ckv_kept select_flat(const struct ckv_selection *s, uint32_t l,
				   uint32_t **ret_pos)
{
	const void *k = flat[0][l], *q = queries;
	struct ckv_layer in = {
		.layer = l, .n_layers = LAYERS, .k = flat_rows(&k),
	};
	struct ckv_fault fault;
	struct ckv_kept kept;
	void *scratch;

	if (inputs.n_window > 0)
		in.q = (struct ckv_rows){
			.block = &q, .offset_bytes = l * 4 * inputs.n_window *
						     DIM_K * sizeof(float),
			.head_stride_bytes = inputs.n_window * DIM_K *
					     sizeof(float),
			.block_tokens = inputs.n_window, .n_heads = 4,
			.n_tokens = inputs.n_window, .dim = DIM_K,
			.elem = CKV_ELEM_F32,
		};
	if (inputs.part[INPUT_LSE].data != NULL)
		in.lse = lse + l * 4 * inputs.n_window;
	if (inputs.n_sum_heads > 0) {
		in.sums = sums + l * HEADS * TOKENS;
		in.n_sum_heads = HEADS;
	}
	scratch = aligned_alloc(64, ckv_selection_scratch_bytes(s, &in) / 64 * 64 +
				    64);
	*ret_pos = malloc(4 * ckv_selection_max_kept(s, &in) + 4);
	ck_assert_int_eq(ckv_select(s, &in, scratch, *ret_pos, &kept, &fault), 0);
	free(scratch);
	return kept;
}

struct seen {			/* a view, and which of its bytes were compared */
	const char *view;
	unsigned char *mark;
	uint64_t n_bytes;
};

static void region_is(struct seen *seen, uint64_t offset, const void *bytes,
		      size_t n)
{
	ck_assert_uint_le(offset + n, seen->n_bytes);
	ck_assert_uint_eq(offset % 64, 0);
	ck_assert_mem_eq(seen->view + offset, bytes, n);
	memset(seen->mark + offset, 1, n);
}

static float amax_of(const struct ckv_encode *e, uint32_t l, int side,
		     uint32_t h, const uint32_t *pos, size_t stride, uint32_t n)
{
	uint32_t from = e->scale == CKV_FP8_TENSOR ? 0 : h;
	uint32_t to = e->scale == CKV_FP8_TENSOR ? HEADS : h + 1;
	uint32_t dim = side ? DIM_V : DIM_K;
	float amax = 0, one;
	struct ckv_fault fault;

	for (uint32_t i = from; i < to; i++)
		for (uint32_t t = 0; t < n; t++) {
			enum ckv_elem elem = geometry.dtype == CKV_DTYPE_BF16 ?
					     CKV_ELEM_BF16 : CKV_ELEM_F32;

			ck_assert_int_eq(ckv_amax(elem, flat_row(l, side, i,
				pos[i * stride + t]), 1, dim, &one, &fault), 0);
			amax = one > amax ? one : amax;
		}
	return amax;
}

/* One side of one run, encoded whole. */
static void check_side(struct seen *seen, const struct ckv_encode *e, uint32_t l,
		       uint32_t h, int side, const struct ckv_view_run *run,
		       const uint32_t *pos, size_t stride)
{
	enum ckv_elem elem = geometry.dtype == CKV_DTYPE_BF16 ? CKV_ELEM_BF16 :
								CKV_ELEM_F32;
	uint32_t dim = side ? DIM_V : DIM_K, n = run->n_kept - run->n_full;
	size_t row = dim * width(), code = ckv_code_bytes(e, elem, side, n, dim);
	size_t scale = ckv_scale_bytes(e, elem, side, n, dim);
	char *rows = malloc(run->n_kept * row + 1);
	void *codes = aligned_alloc(64, code / 64 * 64 + 64);
	void *scales = aligned_alloc(64, scale / 64 * 64 + 64);
	struct ckv_fault fault;

	for (uint32_t i = 0; i < run->n_kept; i++)
		memcpy(rows + i * row,
		       flat_row(l, side, h, pos[h * stride + i]), row);
	if (n > 0)
		ck_assert_int_eq(ckv_encode_rows(e, elem, side, rows, 0, n, n,
			dim, amax_of(e, l, side, h, pos, stride, n), codes,
			scales, &fault), 0);
	region_is(seen, run->code[side], codes, code);
	region_is(seen, run->scale[side], scales, scale);
	region_is(seen, run->full[side], rows + n * row, run->n_full * row);
	free(rows);
	free(codes);
	free(scales);
}

/* Everything of a view that was made of `c`. */
static void check_view(const struct compress *c, const char *view)
{
	const struct ckv_view_head *head = (const void *)view;
	const struct ckv_view_run *run = (const void *)(head + 1);
	struct seen seen = { view, calloc(1, head->n_bytes), head->n_bytes };
	uint64_t padding = 0, dirty = 0;

	memset(seen.mark, 1, head->sizes.heads);
	for (uint32_t l = 0; l < LAYERS; l++) {
		uint32_t source = ckv_selection_source(&c->settled.select, l);
		uint32_t *pos;
		struct ckv_kept kept = select_flat(&c->settled.select, source,
						   &pos);
		size_t stride = kept.n_sets == 1 ? 0 : kept.n;

		for (uint32_t h = 0; h < HEADS; h++, run++) {
			ck_assert_uint_eq(run->n_kept, kept.n);
			region_is(&seen, run->positions, pos + h * stride,
				  4 * kept.n);
			for (int side = 0; side < 2; side++)
				check_side(&seen, &c->settled.encode, l, h, side,
					   run, pos, stride);
		}
		free(pos);
	}
	for (uint64_t i = 0; i < head->n_bytes; i++) {
		padding += !seen.mark[i];
		dirty += !seen.mark[i] && view[i] != 0;
	}
	ck_assert_uint_eq(dirty, 0);
	ck_assert_uint_eq(padding, head->sizes.padding);
	free(seen.mark);
}

static char *sound_view_of(struct compress *c)
{
	int error = 0;
	char *view = view_of(c, &error);

	ck_assert_msg(view != NULL, "%d: %s", error, why);
	return view;
}

static const char *const method[] = {
	"chunkkv(keep=1/4)", "chunkkv(keep=1/2, mode=paper, reuse=2)",
	"chunkkv(keep=1)", "chunkkv(keep=1/3, chunk=7, kernel=1)",
	"snapkv(keep=1/4)", "snapkv(tokens=100, mode=official, pool=max)",
	"pyramidkv(keep=1/3)", "l2norm(keep=1/2)",
	"l2norm(keep=1/3, mode=official, skip=1)", "keydiff(keep=1/3)",
	"keydiff(keep=1/3, block=128)", "tova(keep=1/5)", "h2o(keep=1/3)",
	"streamingllm(keep=1/10)", "random(keep=1/10)",
	"fp8(scale=one)", "fp8(scale=tensor)", "fp8(scale=head, full=64)",
	"fp8(scale=block, block=96)", "int8", "kivi(bits=4, group=64)",
	"kivi(bits=2, group=32, full=100)", "kivi(bits=4, group=4096)",
	"bf16", "fp16(full=3)", "plain",
	"chunkkv(keep=1/2) + kivi(bits=4, group=32)",
	"snapkv(bytes=1/8) + always(sinks=4) + kivi(bits=auto, full=32)",
	"tova(keep=1/2) + always(recent=16, ranges=100-120) + fp8(scale=tensor)",
	"keydiff(bytes=1/4) + fp8(scale=block, block=16, full=1000)",
};
#define N_METHODS (int)(sizeof method / sizeof method[0])

/* Each region is what the kernels give; nothing else is in the view. */
START_TEST(a_view_is_what_the_kernels_give)
{
	struct ckv_method m;
	struct compress c;
	struct ckv_view_head *view;

	fill(_i % 2 ? CKV_DTYPE_BF16 : CKV_DTYPE_F32);
	ck_assert_msg(ckv_method_parse(method[_i / 2], &m, why) == 0, "%s", why);
	c = request(&m, TOKENS);
	view = (void *)sound_view_of(&c);
	ck_assert(ckv_view_ok(view, c.head.n_bytes, &geometry));
	ck_assert(!ckv_view_ok(view, c.head.n_bytes - 1, &geometry));
	ck_assert_str_eq(view->method, m.text);
	ck_assert_mem_eq(&view->chain, &chain, sizeof chain);
	ck_assert_mem_eq(&view->input_digest, &digest, sizeof digest);
	ck_assert_uint_eq(view->n_tokens, TOKENS);
	ck_assert_uint_eq(view->n_window, inputs.n_window);
	ck_assert_uint_eq(view->sizes.plain, (uint64_t)LAYERS * HEADS * TOKENS *
					     (DIM_K + DIM_V) * width());
	if (m.bytes_den != 0)
		ck_assert_uint_le(view->n_bytes, view->sizes.plain *
						 m.bytes_num / m.bytes_den);
	check_view(&c, (const char *)view);
	compress_free(&c);
	free(view);
}
END_TEST

/* Log-sum-exps that came are used: they decide what is kept. */
START_TEST(log_sum_exps_are_read)
{
	struct ckv_method m;
	struct compress c;
	char *view;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("snapkv(keep=1/4)", &m, why), 0);
	c = request(&m, TOKENS);
	inputs.part[INPUT_LSE].data = lse;
	inputs.part[INPUT_LSE].bytes = sizeof lse;
	view = sound_view_of(&c);
	check_view(&c, view);
	ck_assert_uint_eq(((struct ckv_view_head *)view)->inputs,
			  CKV_VIEW_QUERIES | CKV_VIEW_LSE);
	compress_free(&c);
	free(view);
}
END_TEST

/* Layers that share a set share its place. */
START_TEST(shared_positions_are_stored_once)
{
	struct ckv_method m;
	struct compress c;
	const struct ckv_view_run *run;
	char *view;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("chunkkv(keep=1/2, reuse=2)", &m, why), 0);
	c = request(&m, TOKENS);
	view = sound_view_of(&c);
	run = (const void *)(view + CKV_VIEW_HEAD_BYTES);
	ck_assert_uint_eq(run[0].positions, run[1].positions);
	ck_assert_uint_eq(run[0].positions, run[2].positions);
	ck_assert_uint_ne(run[0].positions, run[4].positions);
	compress_free(&c);
	free(view);
}
END_TEST

/* A latent cache has keys only. */
START_TEST(a_space_without_values_is_compressed)
{
	static const char *const text[] = {
		"plain", "fp8(scale=tensor)", "fp8(scale=head, full=9)", "fp8(scale=block)",
		"kivi", "keydiff(keep=1/3) + int8", "snapkv(keep=1/4)",
	};
	const struct ckv_geometry whole = geometry;
	struct ckv_method m;
	struct compress c;
	struct ckv_view_head *view;
	struct ckv_view_run run;

	fill(CKV_DTYPE_F32);
	geometry.dim_v = 0;
	for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
		ck_assert_int_eq(ckv_method_parse(text[i], &m, why), 0);
		c = request(&m, TOKENS);
		view = (void *)sound_view_of(&c);
		ck_assert(ckv_view_ok(view, c.head.n_bytes, &geometry));
		memcpy(&run, view + 1, sizeof run);
		ck_assert_uint_eq(view->sizes.plain, LAYERS * HEADS * TOKENS *
						     DIM_K * sizeof(float));
		ck_assert_uint_gt(run.n_kept, 0);
		compress_free(&c);
		free(view);
	}
	geometry = whole;
}
END_TEST

/* Rows are found by the head-major layout; a chain that lies otherwise is not begun. */
START_TEST(another_layout_is_not_compressed)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("plain", &m, why), 0);
	c = request(&m, TOKENS);
	geometry.layout = CKV_LAYOUT_TOKEN_MAJOR;
	ck_assert_int_eq(compress_check(&c, 0, why), -EINVAL);
	geometry.layout = CKV_LAYOUT_HEAD_MAJOR;
	ck_assert_str_eq(why, "layout token-major cannot be compressed; expected "
			 "head-major");
	ck_assert_int_eq(compress_check(&c, 0, why), 0);
}
END_TEST

CHECK_MAIN("shell_compress",
	CASE("views"),
	LOOP(a_view_is_what_the_kernels_give, 2 * N_METHODS),
	TEST(another_layout_is_not_compressed),
	TEST(log_sum_exps_are_read),
	TEST(shared_positions_are_stored_once),
	TEST(a_space_without_values_is_compressed))
