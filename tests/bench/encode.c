/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.c - encodings and the checksum beside memcpy, on one core.
 *
 * What counts is bytes read and written per second. Each turn works on other 2 MiB
 * of rows of a memory that is larger than the caches, and its peer copies as many
 * bytes as give the same sum.
 */
#include "kernels/ckv_kernels.h"
#include "tests/bench/bench.h"

#include <stdlib.h>
#include <string.h>

/* 2 MiB of bf16 rows, the first half keys, the second values of one head. */
enum { DIM = 128, ROWS = 4096, SIDE = ROWS * DIM * 2, TURN = 2 * SIDE, TURNS = 64 };

struct coding {
	struct ckv_encode e;
	char *rows, *coded;	/* TURNS times TURN bytes; codes take less */
	size_t turn, moved;	/* bytes read and written in a turn */
};

static char *turn_of(char *memory, struct coding *c)
{
	return memory + c->turn++ % TURNS * TURN;
}

static size_t code_bytes(const struct coding *c, enum ckv_side side)
{
	return ckv_code_bytes(&c->e, CKV_ELEM_BF16, side, ROWS, DIM);
}

static size_t scale_bytes(const struct coding *c, enum ckv_side side)
{
	return ckv_scale_bytes(&c->e, CKV_ELEM_BF16, side, ROWS, DIM);
}

static void encode_turn(void *arg)
{
	struct coding *c = arg;
	size_t turn = c->turn;
	char *rows = turn_of(c->rows, c), *to = c->coded + turn % TURNS * TURN;

	for (int side = CKV_SIDE_KEY; side <= CKV_SIDE_VALUE; side++) {
		char *code = to + side * SIDE;
		enum ckv_side s = (enum ckv_side)side;

		if (ckv_encode_rows(&c->e, CKV_ELEM_BF16, s, rows + side * SIDE,
				    0, ROWS, ROWS, DIM, 4.0f, code,
				    code + code_bytes(c, s), NULL) < 0)
			abort();
	}
}

static void decode_turn(void *arg)
{
	struct coding *c = arg;
	size_t turn = c->turn;
	char *rows = turn_of(c->rows, c);
	const char *from = c->coded + turn % TURNS * TURN;

	for (int side = CKV_SIDE_KEY; side <= CKV_SIDE_VALUE; side++) {
		const char *code = from + side * SIDE;
		enum ckv_side s = (enum ckv_side)side;

		if (ckv_decode_rows(&c->e, CKV_ELEM_BF16, s, code,
				    code + code_bytes(c, s), 0, ROWS, ROWS, DIM,
				    CKV_ELEM_BF16, rows + side * SIDE) < 0)
			abort();
	}
}

static void checksum_turn(void *arg)
{
	struct coding *c = arg;
	uint64_t sum = ckv_page_checksum(turn_of(c->rows, c), TURN);

	memcpy(c->coded, &sum, sizeof sum);
}

/* Copied bytes are read and written. */
static void copy_turn(void *arg)
{
	struct coding *c = arg;
	size_t turn = c->turn;

	memcpy(c->coded + turn % TURNS * TURN, turn_of(c->rows, c), c->moved / 2);
}

static void measure(struct bench *b, const char *key, struct coding *c,
		    void (*turn)(void *))
{
	double ours, theirs;

	bench_in_turn(b, turn, copy_turn, c, &ours, &theirs);
	bench_add(b, key, theirs / ours);
}

/* A decode finds the codes of the encode before it: copies take every second turn. */
static void measure_both(struct bench *b, struct coding *c, const char *encode,
			 const char *decode)
{
	c->moved = TURN + code_bytes(c, CKV_SIDE_KEY) +
		   scale_bytes(c, CKV_SIDE_KEY) + code_bytes(c, CKV_SIDE_VALUE) +
		   scale_bytes(c, CKV_SIDE_VALUE);
	measure(b, encode, c, encode_turn);
	measure(b, decode, c, decode_turn);
}

void bench_encode(struct bench *b)
{
	struct coding c = {
		.e = { .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_HEAD } };
	uint64_t state = 42;

	c.rows = bench_memory((size_t)TURNS * TURN);
	c.coded = bench_memory((size_t)TURNS * TURN);
	random_fill(&state, c.rows, (size_t)TURNS * TURN);
	memset(c.coded, 0, (size_t)TURNS * TURN);
	/* bf16 numbers between -2 and 2. */
	for (size_t i = 1; i < (size_t)TURNS * TURN; i += 2)
		c.rows[i] = (char)(c.rows[i] & 0xbf);
	c.moved = TURN;
	measure(b, "checksum_memcpy_ratio", &c, checksum_turn);
	measure_both(b, &c, "fp8_memcpy_ratio", "fp8_decode_memcpy_ratio");
	c.e = (struct ckv_encode){ .kind = CKV_ENCODE_KIVI, .bits = 4,
				   .group = 64 };
	measure_both(b, &c, "int4_memcpy_ratio", "int4_decode_memcpy_ratio");
	free(c.rows);
	free(c.coded);
}
