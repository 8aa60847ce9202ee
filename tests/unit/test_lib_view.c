/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_view.c - views as libckv reads them: right numbers from any encoding, and
 * nothing outside a view whatever its header, runs and codes say.
 *
 * A view lies at the very end of mapped memory, so that one byte too far is a fault.
 */
#include "client/lib.h"
#include "daemon/shell/compress.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define TOKENS	200u
#define LAYERS	2u
#define HEADS	2u
#define DIM_K	24u
#define DIM_V	40u

static const char *const method[] = {
	"plain", "bf16", "fp16(full=5)", "fp8(scale=one)", "fp8(scale=tensor)",
	"fp8(scale=head, full=33)", "fp8(scale=block, block=48)",
	"int8(group=16)", "kivi(bits=4, group=32, full=7)",
	"kivi(bits=2, group=64)", "keydiff(keep=1/2) + kivi(bits=4)",
	"kivi(full=1000)",
};
#define N_METHODS (int)(sizeof method / sizeof method[0])

static struct ckv_geometry geometry = {
	.model = "m", .n_layers = LAYERS, .n_kv_heads = HEADS, .dim_k = DIM_K,
	.dim_v = DIM_V, .block_tokens = TOKENS, .n_ranks = 1,
	.dtype = CKV_DTYPE_BF16, .layout = CKV_LAYOUT_HEAD_MAJOR,
	.key_scheme = CKV_KEYS_SHA256,
};
static uint16_t page[LAYERS * HEADS * TOKENS * (DIM_K + DIM_V)];
static const uint32_t alive = 1;
static struct ckv_space space;
static struct ckv_lane lane;

static struct {
	char *map, *data;	/* data ends where a page without access begins */
	size_t map_bytes, bytes;
	struct compress c;
	struct ckv_method m;
} made;

static void make(const char *text)
{
	static struct inputs none;
	static const void *block = page;
	const struct ckv_key key = { { 1 } };
	char why[CKV_METHOD_WHY_BYTES];
	uint32_t seed = 3;

	space.geometry = geometry;
	lane = (struct ckv_lane){ .mine = &alive, .space = &space };
	for (size_t i = 0; i < sizeof page / sizeof page[0]; i++) {
		seed = seed * 1664525u + 1013904223u;
		page[i] = (uint16_t)(0x3f00 | (seed >> 16 & 0x80ff));
	}
	ck_assert_int_eq(ckv_method_parse(text, &made.m, why), 0);
	made.c = (struct compress){
		.geometry = &geometry, .method = &made.m, .page = &block,
		.n_tokens = TOKENS, .inputs = &none,
	};
	ck_assert_int_eq(compress_check(&made.c, 0, why), 0);
	ck_assert_int_eq(compress_select(&made.c, why), 0);
	made.bytes = made.c.head.n_bytes;
	made.map_bytes = ckv_round_up(made.bytes, 4096) + 4096;
	made.map = mmap(NULL, made.map_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(made.map, MAP_FAILED);
	ck_assert_int_eq(mprotect(made.map + made.map_bytes - 4096, 4096,
				  PROT_NONE), 0);
	made.data = made.map + made.map_bytes - 4096 - made.bytes;
	ck_assert_int_eq(compress_write(&made.c, &key, &key, made.data, why), 0);
}

static void unmake(void)
{
	compress_free(&made.c);
	munmap(made.map, made.map_bytes);
}

/* ---- right numbers ---- */

static float from_bf16(uint16_t x)
{
	uint32_t bits = (uint32_t)x << 16;
	float f;

	memcpy(&f, &bits, sizeof f);
	return f;
}

/* Row i of a run, decoded by the kernels alone. */
static void row_by_kernels(const struct ckv_run *run, uint32_t head, uint32_t layer,
			   int half, uint32_t i, float *ret)
{
	uint32_t dim = half == CKV_V ? DIM_V : DIM_K, n = run->n_kept - run->n_full;
	const struct ckv_encode *e = &made.c.settled.encode;
	size_t at = layer * HEADS * TOKENS * (DIM_K + DIM_V) +
		    (half == CKV_V ? HEADS * TOKENS * DIM_K : 0) +
		    (head * TOKENS + run->positions[i]) * dim;

	if (i < n) {
		ck_assert_int_eq(ckv_decode_rows(e, CKV_ELEM_BF16, half,
			half == CKV_V ? run->v_code : run->k_code,
			half == CKV_V ? run->v_scale : run->k_scale, i, 1, n, dim,
			CKV_ELEM_F32, ret), 0);
		return;
	}
	/* The newest rows are those of the page, bit for bit. */
	for (uint32_t d = 0; d < dim; d++)
		ret[d] = from_bf16(page[at + d]);
}

static void check_run(const struct ckv_view *view, uint32_t layer, uint32_t head,
		      int half)
{
	static float all[TOKENS * DIM_V], part[TOKENS * DIM_V], one[DIM_V];
	uint32_t dim = half == CKV_V ? DIM_V : DIM_K;
	struct ckv_run run;

	ck_assert_int_eq(ckv_view_run(&lane, view, layer, head, &run), 0);
	ck_assert_int_eq(ckv_view_decode(&lane, view, layer, head, half, 0,
					 run.n_kept, CKV_F32, all), 0);
	for (uint32_t i = 0; i < run.n_kept; i++) {
		row_by_kernels(&run, head, layer, half, i, one);
		ck_assert_mem_eq(all + i * dim, one, dim * sizeof one[0]);
	}
	for (uint32_t first = 0; first <= run.n_kept; first += 13)
		for (uint32_t n = 0; first + n <= run.n_kept; n += 29) {
			ck_assert_int_eq(ckv_view_decode(&lane, view, layer, head,
				half, first, n, CKV_F32, part), 0);
			ck_assert_mem_eq(part, all + first * dim,
					 n * dim * sizeof part[0]);
		}
}

/* Any rows of any run, of any encoding, also across where the plain ones begin. */
START_TEST(rows_are_decoded)
{
	struct ckv_view view;

	make(method[_i]);
	ck_assert_int_eq(lib_view_judge(&geometry, made.data, made.bytes, &view), 0);
	for (uint32_t i = 0; i < LAYERS * HEADS * 2; i++)
		check_run(&view, i / 4, i / 2 % 2, i % 2);
	unmake();
}
END_TEST

/* Plain views are read in place, others are not; both decode to the space's type. */
START_TEST(plain_rows_are_in_place)
{
	static uint16_t rows[TOKENS * DIM_K];
	struct ckv_view view;
	struct ckv_run run;

	make("plain");
	ck_assert_int_eq(lib_view_judge(&geometry, made.data, made.bytes, &view), 0);
	ck_assert_int_eq(ckv_view_run(&lane, &view, 1, 1, &run), 0);
	ck_assert_ptr_nonnull(run.k);
	ck_assert_int_eq(ckv_view_decode(&lane, &view, 1, 1, CKV_K, 0, TOKENS,
					 CKV_BF16, rows), 0);
	ck_assert_mem_eq(rows, run.k, sizeof rows);
	unmake();
	make("kivi");
	ck_assert_int_eq(lib_view_judge(&geometry, made.data, made.bytes, &view), 0);
	ck_assert_int_eq(ckv_view_run(&lane, &view, 1, 1, &run), 0);
	ck_assert_ptr_null(run.k);
	ck_assert_ptr_null(run.v);
	unmake();
}
END_TEST

START_TEST(wrong_questions_are_refused)
{
	float out[DIM_V];
	struct ckv_view view;
	struct ckv_run run;

	make("kivi(bits=4, group=32, full=7)");
	ck_assert_int_eq(lib_view_judge(&geometry, made.data, made.bytes, &view), 0);
	ck_assert_int_eq(ckv_view_run(&lane, &view, LAYERS, 0, &run), -EINVAL);
	ck_assert_int_eq(ckv_view_run(&lane, &view, 0, HEADS, &run), -EINVAL);
#define DECODE(layer, head, half, first, n, type) \
	ckv_view_decode(&lane, &view, layer, head, half, first, n, type, out)
	ck_assert_int_eq(DECODE(LAYERS, 0, CKV_K, 0, 1, CKV_F32), -EINVAL);
	ck_assert_int_eq(DECODE(0, HEADS, CKV_K, 0, 1, CKV_F32), -EINVAL);
	ck_assert_int_eq(DECODE(0, 0, 2, 0, 1, CKV_F32), -EINVAL);
	ck_assert_int_eq(DECODE(0, 0, CKV_K, TOKENS, 1, CKV_F32), -EINVAL);
	ck_assert_int_eq(DECODE(0, 0, CKV_K, TOKENS + 1, 0, CKV_F32), -EINVAL);
	ck_assert_int_eq(DECODE(0, 0, CKV_K, 1, UINT32_MAX, CKV_F32), -EINVAL);
	ck_assert_int_eq(DECODE(0, 0, CKV_K, 0, 1, CKV_F16), -EINVAL);
	ck_assert_int_eq(DECODE(0, 0, CKV_K, 0, 1, CKV_F8_E4M3), -EINVAL);
	ck_assert_int_eq(DECODE(0, 0, CKV_V, TOKENS - 1, 1, CKV_F32), 0);
	unmake();
}
END_TEST

/* Nothing asks that heads keep equally many; a reader takes each as it is. */
START_TEST(runs_need_not_be_equally_long)
{
	struct ckv_view_head *head;
	struct ckv_view_run *run;
	struct ckv_view view;
	struct ckv_run got;
	float out[DIM_K];

	make("kivi(bits=8, group=32, full=10)");
	head = (void *)made.data;
	run = (void *)(head + 1);
	run[1].n_kept = 10;	/* the plain ones only */
	run[2].n_kept = 0;
	run[2].n_full = 0;
	head->n_kept_total -= 2 * TOKENS - 10;
	ck_assert_int_eq(lib_view_judge(&geometry, made.data, made.bytes, &view),
			 -EBADMSG);
	head->n_kept_min = 0;
	ck_assert_int_eq(lib_view_judge(&geometry, made.data, made.bytes, &view), 0);
	ck_assert_int_eq(ckv_view_run(&lane, &view, 0, 1, &got), 0);
	ck_assert_uint_eq(got.n_kept, 10);
	ck_assert_uint_eq(got.n_full, 10);
	ck_assert_int_eq(ckv_view_decode(&lane, &view, 0, 1, CKV_K, 9, 1, CKV_F32,
					 out), 0);
	ck_assert_int_eq(ckv_view_decode(&lane, &view, 0, 1, CKV_K, 9, 2, CKV_F32,
					 out), -EINVAL);
	ck_assert_int_eq(ckv_view_decode(&lane, &view, 1, 0, CKV_K, 0, 0, CKV_F32,
					 out), 0);
	ck_assert_int_eq(ckv_view_decode(&lane, &view, 1, 0, CKV_K, 0, 1, CKV_F32,
					 out), -EINVAL);
	unmake();
}
END_TEST

/* ---- a hostile writer ---- */

/* What the caller was told at open still holds, or no run is given. */
START_TEST(another_encoding_later_is_noticed)
{
	struct ckv_view_head *head;
	struct ckv_view view;
	struct ckv_run run;

	make("kivi(bits=8, group=32)");
	head = (void *)made.data;
	ck_assert_int_eq(lib_view_judge(&geometry, made.data, made.bytes, &view), 0);
	head->bits = 4;		/* fits, and would be read as half of the codes */
	ck_assert_int_eq(ckv_view_run(&lane, &view, 0, 0, &run), -EBADMSG);
	head->bits = 8;
	ck_assert_int_eq(ckv_view_run(&lane, &view, 0, 0, &run), 0);
	unmake();
}
END_TEST

static float sink[TOKENS * DIM_V];

/* Everything a reader does; the answers may be wrong, but none is read elsewhere. */
static int read_all(const struct ckv_view *view)
{
	int n_refused = 0, wrong = 0;

	for (uint32_t i = 0; i < LAYERS * HEADS; i++) {
		struct ckv_run run;
		int r = ckv_view_run(&lane, view, i / HEADS, i % HEADS, &run);
		uint32_t sum = 0;

		n_refused += r < 0;
		wrong |= r != 0 && r != -EBADMSG;
		if (r == 0) {
			wrong |= run.n_kept > view->n_tokens;
			for (uint32_t k = 0; k < run.n_kept; k++)
				sum += run.positions[k];
			sink[0] = (float)sum;
		}
		for (uint32_t first = 0; first < TOKENS; first += 97)
			for (int half = CKV_K; half <= CKV_V; half++)
				(void)ckv_view_decode(&lane, view, i / HEADS,
					i % HEADS, half, first, 3, CKV_F32,
					sink);
	}
	if (wrong)
		ck_abort_msg("an answer is neither a run nor damage");
	return n_refused;
}

/* The interesting values for a word that held x. */
static uint32_t lie(uint32_t x, int which)
{
	switch (which) {
	case 0: return 0;
	case 1: return UINT32_MAX;
	case 2: return x + 1;
	case 3: return x - 1;
	case 4: return x + 64;
	case 5: return x - 64;
	case 6: return (uint32_t)made.bytes;
	case 7: return (uint32_t)made.bytes - 64;
	case 8: return x ^ 0x80000000u;
	case 9: return x * 2;
	case 10: return 3;
	default: return UINT32_MAX / 64 * 64;
	}
}
enum { N_LIES = 12 };

/*
 * Each word of the header and of every run is spoilt, before the view is opened and
 * after. Most of it is noticed; what is not leads nowhere.
 */
START_TEST(no_header_leads_outside)
{
	struct ckv_view sound, view;
	uint32_t n_refused = 0, n_words;

	make(method[_i]);
	ck_assert_int_eq(lib_view_judge(&geometry, made.data, made.bytes, &sound), 0);
	n_words = (uint32_t)ckv_view_table_bytes(&geometry) / 4;
	for (uint32_t w = 0; w < n_words; w++)
		for (int which = 0; which < N_LIES; which++) {
			uint32_t *word = (uint32_t *)(void *)made.data + w;
			uint32_t was = *word;

			*word = lie(was, which);
			if (lib_view_judge(&geometry, made.data, made.bytes,
					   &view) == 0)
				(void)read_all(&view);
			else
				n_refused++;
			(void)read_all(&sound);
			*word = was;
		}
	/* Of the header's 128 words 25 and of a run all are for reading. */
	ck_assert_uint_gt(n_refused, 400);
	ck_assert_int_eq(read_all(&sound), 0);
	unmake();
}
END_TEST

/* Two words at once: one that lets another through. */
START_TEST(no_two_words_lead_outside)
{
	uint32_t seed = (uint32_t)_i * 77 + 5, n_words;
	struct ckv_view sound, view;

	make(method[_i]);
	ck_assert_int_eq(lib_view_judge(&geometry, made.data, made.bytes, &sound), 0);
	n_words = (uint32_t)ckv_view_table_bytes(&geometry) / 4;
	for (int i = 0; i < 500; i++) {
		uint32_t *words = (uint32_t *)(void *)made.data, w[3], was[3];

		for (int k = 0; k < 3; k++) {
			seed = seed * 1664525u + 1013904223u;
			w[k] = k == 0 ? (seed >> 8) % 52 : (seed >> 8) % n_words;
			was[k] = words[w[k]];
			words[w[k]] = lie(was[k], (int)(seed >> 24) % N_LIES);
		}
		if (lib_view_judge(&geometry, made.data, made.bytes, &view) == 0)
			(void)read_all(&view);
		(void)read_all(&sound);
		for (int k = 3; k-- > 0; )
			words[w[k]] = was[k];
	}
	ck_assert_int_eq(read_all(&sound), 0);
	unmake();
}
END_TEST

/* Codes and scales may be anything. */
START_TEST(any_codes_are_decoded)
{
	struct ckv_view sound;

	make(method[_i]);
	ck_assert_int_eq(lib_view_judge(&geometry, made.data, made.bytes, &sound), 0);
	for (int round = 0; round < 4; round++) {
		uint32_t seed = (uint32_t)round;

		for (size_t i = ckv_view_table_bytes(&geometry); i < made.bytes;
		     i++) {
			seed = seed * 1664525u + 1013904223u;
			made.data[i] = round == 0 ? 0 : round == 1 ? -1 :
				       (char)(seed >> 24);
		}
		ck_assert_int_eq(read_all(&sound), 0);
	}
	unmake();
}
END_TEST

/* Too few pages for what the header says: refused, however few. */
START_TEST(a_view_that_is_cut_is_refused)
{
	struct ckv_view view;
	char *whole;

	make("kivi");
	whole = malloc(made.bytes);
	memcpy(whole, made.data, made.bytes);
	for (size_t n = 0; n < made.bytes; n += 64) {
		char *cut = made.data + made.bytes - n;	/* ends at the border */

		memcpy(cut, whole, n);
		ck_assert_int_eq(lib_view_judge(&geometry, cut, n, &view), -EBADMSG);
	}
	free(whole);
	unmake();
}
END_TEST

CHECK_MAIN("lib_view",
	CASE("views"),
	LOOP(rows_are_decoded, N_METHODS),
	TEST(plain_rows_are_in_place),
	TEST(wrong_questions_are_refused),
	TEST(runs_need_not_be_equally_long),
	TEST(another_encoding_later_is_noticed),
	LOOP(no_header_leads_outside, N_METHODS),
	LOOP(no_two_words_lead_outside, N_METHODS),
	LOOP(any_codes_are_decoded, N_METHODS),
	TEST(a_view_that_is_cut_is_refused))
