/* SPDX-License-Identifier: Apache-2.0 */
/* test_emu_ptx.c - PTX in C does what the PTX ISA says: examples.txt and meet.ptx. */
#include "tests/cuda/emu/ptx.h"
#include "tests/lib/check_main.h"
#include "tests/lib/dies.h"

#include <errno.h>

static const struct simt_dim one = { 1, 1, 1 };

static int launch(const char *name, uint32_t n_threads, size_t shared_bytes, void *const *arg)
{
	const struct ptx_kernel *kernel = ptx_find(name);
	struct simt_dim block = { n_threads, 1, 1 };
	unsigned char *params;
	int r;

	ck_assert_msg(kernel != NULL, "there is no kernel %s", name);
	if (!ptx_fits(kernel, one, block, shared_bytes))
		return -EINVAL;
	params = ptx_params(kernel, arg);
	r = ptx_run(kernel, one, block, shared_bytes, params);
	free(params);
	return r;
}

/* ---- one instruction each ---- */

static const struct {
	const char *kernel, *text;
	uint64_t operand[4], result;
} examples[] = {
#define EXAMPLE(kernel, text, a, b, c, d, result)	{ kernel, text, { a, b, c, d }, result },
#include "build-emu/examples.h"
};

START_TEST(instructions_give_what_their_examples_say)
{
	for (size_t i = 0; i < COUNT(examples); i++) {
		uint64_t operand[4], got = 0, *at = &got;
		void *arg[] = { &operand[0], &operand[1], &operand[2], &operand[3], &at };

		memcpy(operand, examples[i].operand, sizeof operand);
		ck_assert_int_eq(launch(examples[i].kernel, 1, 0, arg), 0);
		ck_assert_msg(got == examples[i].result, "%s gave %llx", examples[i].text,
			      (unsigned long long)got);
	}
}
END_TEST

/* ---- threads together ---- */

START_TEST(a_block_meets_at_a_barrier)
{
	uint32_t in[96], out[96], *from = in, *to = out;
	void *arg[] = { &from, &to };

	for (uint32_t i = 0; i < 96; i++)
		in[i] = i * i;
	simt_schedule((enum simt_order)_i, 7);
	ck_assert_int_eq(launch("reverse", 96, 0, arg), 0);
	for (uint32_t i = 0; i < 96; i++)
		ck_assert_uint_eq(out[i], in[95 - i]);
}
END_TEST

START_TEST(a_block_larger_than_its_kernel_allows_is_refused)
{
	uint32_t in[160] = { 0 }, out[160], *from = in, *to = out;
	void *arg[] = { &from, &to };

	ck_assert_int_eq(launch("reverse", 160, 0, arg), -EINVAL);
	ck_assert_int_eq(launch("lanes", 32, SIMT_MAX_SHARED + 1, arg), -EINVAL);
}
END_TEST

START_TEST(lanes_get_what_the_isa_says)
{
	uint32_t in[32], out[32][16], *from = in;
	void *to = out, *arg[] = { &from, &to };
	uint32_t sum = 0, odd = 0, all = 0;

	for (uint32_t i = 0; i < 32; i++) {
		in[i] = 3 * i + 1;
		sum += in[i];
		all |= in[i];
		odd |= (in[i] & 1) << i;
	}
	ck_assert_int_eq(launch("lanes", 32, 0, arg), 0);
	for (uint32_t i = 0; i < 32; i++) {
		const uint32_t want[] = {
			in[5], in[i / 8 * 8 + 3], in[i < 2 ? i : i - 2], i >= 2,
			in[i % 16 < 13 ? i + 3 : i], i % 16 < 13, in[i ^ 9], odd,
			1, 0, sum, in[31], in[0], all,
			(uint32_t)__builtin_popcount(odd), 1,
		};

		for (uint32_t j = 0; j < COUNT(want); j++)
			ck_assert_msg(out[i][j] == want[j], "lane %u, word %u: %u, not %u",
				      i, j, out[i][j], want[j]);
	}
}
END_TEST

/* Small whole numbers are the same in bf16, and their sums exact. */
static uint32_t bf16_of(int x)
{
	float f = (float)x;
	uint32_t bits;

	memcpy(&bits, &f, sizeof bits);
	return bits >> 16;
}

/*
 * The tables of "Matrix Fragments for mma.m16n8k16" in the PTX ISA, read the other way
 * than ptx.c reads them: from a lane's element to its row and column.
 */
START_TEST(a_matrix_product_takes_fragments_as_the_isa_lays_them_out)
{
	int a[16][16], b[16][8], want[16][8];
	uint32_t fa[32][4] = { 0 }, fb[32][2] = { 0 };
	float d[32][4];
	void *at_a = fa, *at_b = fb, *at_d = d, *arg[] = { &at_a, &at_b, &at_d };

	for (int i = 0; i < 16; i++)
		for (int k = 0; k < 16; k++) {
			a[i][k] = (i * 7 + k * 3) % 11 - 5;
			b[k][i % 8] = (k * 5 + i % 8 * 2) % 13 - 6;
		}
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 8; j++) {
			want[i][j] = i;
			for (int k = 0; k < 16; k++)
				want[i][j] += a[i][k] * b[k][j];
		}
	for (int lane = 0; lane < 32; lane++) {
		int group = lane / 4, in_group = lane % 4;

		for (int i = 0; i < 8; i++) {
			int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
			int col = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);

			fa[lane][i / 2] |= bf16_of(a[row][col]) << i % 2 * 16;
		}
		for (int i = 0; i < 4; i++) {
			int row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);

			fb[lane][i / 2] |= bf16_of(b[row][group]) << i % 2 * 16;
			d[lane][i] = (float)(i < 2 ? group : group + 8);
		}
	}
	simt_schedule((enum simt_order)_i, 3);
	ck_assert_int_eq(launch("multiply", 32, 0, arg), 0);
	for (int lane = 0; lane < 32; lane++)
		for (int i = 0; i < 4; i++)
			ck_assert_int_eq((int)d[lane][i],
					 want[lane / 4 + (i < 2 ? 0 : 8)]
					     [lane % 4 * 2 + (i & 1)]);
}
END_TEST

START_TEST(each_kind_of_memory_is_itself)
{
	struct {
		uint32_t unused, word;
		int8_t small, rest[7];
	} args = { 0, 123456, -3, { 0 } };
	_Alignas(16) int32_t out[8] = { 0 };
	void *to = out, *arg[] = { &args, &to };
	const int32_t want[8] = { -3, 123456, 7, 40, 42, 42, 7, 1 };

	ck_assert_int_eq(launch("places", 1, 16, arg), 0);
	ck_assert_mem_eq(out, want, sizeof want);
}
END_TEST

/* ---- what no GPU does ---- */

enum { PAST_SHARED = 1, MISALIGNED };

static void body_wrong(int how)
{
	uint32_t word[2], *at = word;
	void *arg[] = { &how, &at };

	launch("wrong", 1, 16, arg);
}

START_TEST(a_wrong_store_is_named_with_its_line)
{
	char text[4096];

	dies(body_wrong, MISALIGNED, text, sizeof text);
	ck_assert_ptr_nonnull(strstr(text, "simt: wrong: block (0,0,0) thread (0,0,0): "
				     "meet.ptx:"));
	ck_assert_ptr_nonnull(strstr(text, "store: 4 bytes at "));
	ck_assert_ptr_nonnull(strstr(text, "which is not aligned"));
#ifdef __SANITIZE_ADDRESS__
	dies(body_wrong, PAST_SHARED, text, sizeof text);
	ck_assert_ptr_nonnull(strstr(text, "which is nobody's"));
#else
	body_wrong(PAST_SHARED);
#endif
}
END_TEST

CHECK_MAIN("emu_ptx",
	CASE("one instruction"),
	TEST(instructions_give_what_their_examples_say),
	CASE("together"),
	LOOP(a_block_meets_at_a_barrier, 3),
	TEST(a_block_larger_than_its_kernel_allows_is_refused),
	TEST(lanes_get_what_the_isa_says),
	LOOP(a_matrix_product_takes_fragments_as_the_isa_lays_them_out, 3),
	TEST(each_kind_of_memory_is_itself),
	TEST(a_wrong_store_is_named_with_its_line))
