/*
 * test_shell_compress.c - the view that a method makes of pages: what the kernels give
 * when they are asked directly, region by region, and zeros between.
 */
#include "daemon/shell/compress.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS	3u
#define HEADS	2u
#define DIM_K	8u
#define DIM_V	4u
#define BLOCK	16u
#define BLOCKS	44u
#define TOKENS	700u		/* several tiles, and a last block that is part full */
#define WINDOW	32u

static char why[CKV_METHOD_WHY_BYTES];
static const struct ckv_key chain = { { 1 } }, digest = { { 2 } };

static struct ckv_geometry geometry = {
	.model = "m", .n_layers = LAYERS, .n_kv_heads = HEADS, .dim_k = DIM_K,
	.dim_v = DIM_V, .block_tokens = BLOCK, .n_ranks = 1,
	.layout = CKV_LAYOUT_HEAD_MAJOR, .key_scheme = CKV_KEYS_SHA256,
};
static unsigned char page[BLOCKS][LAYERS * HEADS * BLOCK * (DIM_K + DIM_V) * 4];
static const void *pages[BLOCKS];
/* The same numbers as ordinary arrays. */
static unsigned char flat[2][LAYERS][HEADS * TOKENS * DIM_K * 4];
static float queries[LAYERS * 4 * WINDOW * DIM_K];
static float lse[LAYERS * 4 * WINDOW];
static float sums[LAYERS * HEADS * TOKENS];
static struct inputs inputs;

static uint32_t width(void)
{
	return ckv_dtype_bytes(geometry.dtype);
}

static void put(void *at, float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof bits);
	if (geometry.dtype == CKV_DTYPE_BF16)
		memcpy(at, (char *)&bits + 2, 2);
	else
		memcpy(at, &x, sizeof x);
}

static void *element(uint32_t layer, bool value, uint32_t head, uint32_t token,
		     uint32_t dim)
{
	uint32_t row = value ? DIM_V : DIM_K;
	uint32_t at = layer * HEADS * BLOCK * (DIM_K + DIM_V) +
		      (value ? HEADS * BLOCK * DIM_K : 0) + head * BLOCK * row +
		      token % BLOCK * row + dim;

	return &page[token / BLOCK][at * width()];
}

static void *flat_row(uint32_t layer, bool value, uint32_t head, uint32_t token)
{
	uint32_t row = value ? DIM_V : DIM_K;

	return &flat[value][layer][(head * TOKENS + token) * row * width()];
}

/* Numbers that are all different enough, in pages and as arrays. */
static void fill(uint32_t dtype)
{
	uint32_t seed = 7;

	geometry.dtype = dtype;
	for (uint32_t i = 0; i < BLOCKS; i++)
		pages[i] = page[i];
	for (uint32_t t = 0; t < TOKENS; t++)
		for (uint32_t lh = 0; lh < 2 * LAYERS * HEADS; lh++) {
			uint32_t l = lh / 2 / HEADS, h = lh / 2 % HEADS;
			bool value = lh % 2;
			uint32_t dim = value ? DIM_V : DIM_K;

			for (uint32_t d = 0; d < dim; d++) {
				seed = seed * 1664525u + 1013904223u;
				put(element(l, value, h, t, d),
				    (float)(seed >> 8) / (1 << 22) - 2);
			}
			memcpy(flat_row(l, value, h, t),
			       element(l, value, h, t, 0), dim * width());
		}
	for (uint32_t j = 0; j < sizeof queries / sizeof queries[0]; j++)
		queries[j] = (float)(j * 13 % 89) / 40 - 1;
	for (uint32_t j = 0; j < sizeof lse / sizeof lse[0]; j++)
		lse[j] = 30;
	for (uint32_t j = 0; j < sizeof sums / sizeof sums[0]; j++)
		sums[j] = (float)(j * 7919 % 1013);
}

/* Checked, and given what it reads. */
static struct compress request(const struct ckv_method *m, uint32_t n_tokens)
{
	struct compress c = {
		.geometry = &geometry, .method = m, .page = pages,
		.n_tokens = n_tokens, .inputs = &inputs,
	};
	unsigned needs;

	ck_assert_msg(compress_check(&c, 4, why) == 0, "%s", why);
	needs = ckv_selection_needs(&c.settled.select);
	inputs = (struct inputs){ .memory = NULL };
	if (needs & CKV_NEED_QUERIES) {
		inputs.n_query_heads = 4;
		inputs.n_window = ckv_selection_window(&c.settled.select);
		inputs.query_dtype = CKV_DTYPE_F32;
		inputs.part[INPUT_QUERIES].data = queries;
		inputs.part[INPUT_QUERIES].bytes = sizeof queries;
	}
	if (needs & CKV_NEED_SUMS) {
		inputs.n_sum_heads = HEADS;
		inputs.n_sum_tokens = n_tokens;
		inputs.part[INPUT_SUMS].data = sums;
		inputs.part[INPUT_SUMS].bytes = sizeof sums;
	}
	return c;
}

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

/* A view in memory of exactly its size, which held something else before. */
static char *view_of(struct compress *c)
{
	char *view;

	ck_assert_msg(compress_select(c, why) == 0, "%s", why);
	view = aligned_alloc(64, c->head.n_bytes);
	memset(view, 0xa5, c->head.n_bytes);
	ck_assert_msg(compress_write(c, &chain, &digest, view, why) == 0, "%s",
		      why);
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
	view = (void *)view_of(&c);
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
	view = view_of(&c);
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
	view = view_of(&c);
	run = (const void *)(view + CKV_VIEW_HEAD_BYTES);
	ck_assert_uint_eq(run[0].positions, run[1].positions);
	ck_assert_uint_eq(run[0].positions, run[2].positions);
	ck_assert_uint_ne(run[0].positions, run[4].positions);
	compress_free(&c);
	free(view);
}
END_TEST

/* ---- numbers that are no numbers ---- */

static const struct {
	const char *method, *text;
	uint32_t layer, head, token, dim;
	bool value;
	float x;
} bad[] = {
	{ "chunkkv(keep=1/4)", "layer 2: a key is NaN or infinite: kv head 1, "
	  "token 37, element 5", 2, 1, 37, 5, false, NAN },
	{ "keydiff(keep=1/4)", "layer 0: a key is NaN or infinite: kv head 0, "
	  "token 699, element 7", 0, 0, 699, 7, false, INFINITY },
	{ "kivi(bits=4, group=64)", "layer 1: a value is NaN or infinite: kv head 1, "
	  "token 650, element 3", 1, 1, 650, 3, true, NAN },
	{ "fp8(scale=head)", "layer 1: a key is NaN or infinite: kv head 0, "
	  "token 300, element 0", 1, 0, 300, 0, false, -INFINITY },
	{ "fp8(scale=tensor)", "layer 2: a value is NaN or infinite: kv head 1, "
	  "token 299, element 1", 2, 1, 299, 1, true, NAN },
	{ "kivi(bits=8, group=32)", "layer 0: a key is too large to encode: kv head "
	  "1, token 512, element 2", 0, 1, 512, 2, false, 3.4e38f },
	{ "fp16", "layer 2: a value is too large to encode: kv head 0, token 1, "
	  "element 0", 2, 0, 1, 0, true, 70000.0f },
};

static int compress_all(struct compress *c)
{
	char *view;
	int r = compress_select(c, why);

	if (r < 0)
		return r;
	view = aligned_alloc(64, c->head.n_bytes);
	r = compress_write(c, &chain, &digest, view, why);
	free(view);
	return r;
}

/* What cannot be scored or encoded is named: layer, side, head, token, element. */
START_TEST(a_bad_number_is_named)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	/* A range that overflows has a far end: the first number of its group is named. */
	if (bad[_i].x > 1e38f && isfinite(bad[_i].x))
		put(element(bad[_i].layer, bad[_i].value, bad[_i].head,
			    bad[_i].token + 1, bad[_i].dim), -bad[_i].x);
	put(element(bad[_i].layer, bad[_i].value, bad[_i].head, bad[_i].token,
		    bad[_i].dim), bad[_i].x);
	ck_assert_int_eq(ckv_method_parse(bad[_i].method, &m, why), 0);
	c = request(&m, TOKENS);
	ck_assert_int_eq(compress_all(&c), -EDOM);
	ck_assert_str_eq(why, bad[_i].text);
	compress_free(&c);
}
END_TEST

/* And so are queries, log-sum-exps and column sums. */
START_TEST(a_bad_input_is_named)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("chunkkv(keep=1/4)", &m, why), 0);
	c = request(&m, TOKENS);
	queries[(1 * 4 + 3) * WINDOW * DIM_K + 2] = INFINITY;
	ck_assert_int_eq(compress_all(&c), -EDOM);
	ck_assert_str_eq(why, "layer 1: a query is NaN or infinite: query head 3, "
			 "window row 0, element 2");
	compress_free(&c);

	fill(CKV_DTYPE_F32);
	c = request(&m, TOKENS);
	lse[(2 * 4 + 1) * WINDOW + 9] = NAN;
	inputs.part[INPUT_LSE].data = lse;
	ck_assert_int_eq(compress_all(&c), -EDOM);
	ck_assert_str_eq(why, "layer 2: a log-sum-exp is NaN, infinite or below its "
			 "logits: query head 1, window row 9");
	compress_free(&c);

	ck_assert_int_eq(ckv_method_parse("h2o(keep=1/4)", &m, why), 0);
	c = request(&m, TOKENS);
	sums[(1 * HEADS + 1) * TOKENS + 33] = NAN;
	ck_assert_int_eq(compress_all(&c), -EDOM);
	ck_assert_str_eq(why, "layer 1: a column sum is NaN or infinite: head 1, "
			 "token 33");
	compress_free(&c);
}
END_TEST

/* A plain view takes any bits, as the pages do. */
START_TEST(plain_rows_are_not_judged)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	put(element(1, true, 1, 699, 3), NAN);
	ck_assert_int_eq(ckv_method_parse("streamingllm(keep=1/2)", &m, why), 0);
	c = request(&m, TOKENS);
	ck_assert_int_eq(compress_all(&c), 0);
	compress_free(&c);
}
END_TEST

/* ---- what does not fit ---- */

/* Inputs that are missing are asked for; a chain within its window needs none. */
START_TEST(missing_inputs_are_asked_for)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("snapkv(keep=1/4, window=48)", &m, why), 0);
	c = request(&m, TOKENS);
	inputs = (struct inputs){ .memory = NULL };
	ck_assert_int_eq(compress_all(&c), -EINVAL);
	ck_assert_str_eq(why, "this needs the queries of the last 48 tokens, and "
			 "none came");
	compress_free(&c);
	c = request(&m, 40);
	inputs = (struct inputs){ .memory = NULL };
	ck_assert_int_eq(compress_all(&c), 0);
	ck_assert_uint_eq(c.kept[0].n, 10);
	compress_free(&c);
	ck_assert_int_eq(ckv_method_parse("h2o(keep=1/4)", &m, why), 0);
	c = request(&m, TOKENS);
	inputs = (struct inputs){ .memory = NULL };
	ck_assert_int_eq(compress_all(&c), -EINVAL);
	ck_assert_str_eq(why, "this needs the column sums of attention, and none "
			 "came");
	compress_free(&c);
}
END_TEST

static bool told_to_stop(void *context)
{
	return --*(int *)context < 0;
}

/* A daemon that goes down is waited for by a layer at most, in either stage. */
START_TEST(a_stop_is_heeded_between_layers)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("kivi", &m, why), 0);
	for (int after = 0; after <= 2 * (int)LAYERS; after++) {
		int left = after;

		c = request(&m, TOKENS);
		c.stop = told_to_stop;
		c.context = &left;
		ck_assert_int_eq(compress_all(&c), after < 2 * (int)LAYERS ?
				 -ECANCELED : 0);
		compress_free(&c);
	}
}
END_TEST

START_TEST(other_element_types_are_refused)
{
	struct ckv_method m;
	struct compress c;

	fill(CKV_DTYPE_F32);
	ck_assert_int_eq(ckv_method_parse("plain", &m, why), 0);
	c = request(&m, TOKENS);
	geometry.dtype = CKV_DTYPE_F8_E4M3;
	ck_assert_int_eq(compress_check(&c, 0, why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "expected f32, f16 or bf16"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("shell_compress");
	TCase *t = tcase_create("views");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, a_view_is_what_the_kernels_give, 0, 2 * N_METHODS);
	tcase_add_test(t, log_sum_exps_are_read);
	tcase_add_test(t, shared_positions_are_stored_once);
	tcase_add_loop_test(t, a_bad_number_is_named, 0,
			    (int)(sizeof bad / sizeof bad[0]));
	tcase_add_test(t, a_bad_input_is_named);
	tcase_add_test(t, plain_rows_are_not_judged);
	tcase_add_test(t, missing_inputs_are_asked_for);
	tcase_add_test(t, a_stop_is_heeded_between_layers);
	tcase_add_test(t, other_element_types_are_refused);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
