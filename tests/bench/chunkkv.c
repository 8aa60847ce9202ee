/*
 * chunkkv.c - one layer of ChunkKV on one thread: 8 kv heads, group of 4,
 * D 128, 8 192 tokens, window 32, K and Q in bf16.
 */
#include "kernels/ckv_kernels.h"
#include "tests/bench/bench.h"

#include <stdlib.h>

enum { KV_HEADS = 8, Q_HEADS = 32, DIM = 128, TOKENS = 8192, WINDOW = 32,
       BLOCK_TOKENS = 16 };

static void fill_bf16(uint16_t *to, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++) {
		union { float f; uint32_t u; } x;
		uint64_t r = random_next(&seed);

		/* The sum of four uniform numbers is near enough to normal. */
		x.f = ((float)(r & 0xffff) + (float)(r >> 16 & 0xffff) +
		       (float)(r >> 32 & 0xffff) + (float)(r >> 48)) / 32768 - 4;
		to[i] = (uint16_t)(x.u >> 16);
	}
}

/* K lies in pages of 16 tokens, as the daemon has it. */
static void describe(struct ckv_window *in, const void **blocks,
		     const uint16_t *k, const void **query, const uint16_t *q)
{
	for (size_t i = 0; i < TOKENS / BLOCK_TOKENS; i++)
		blocks[i] = k + i * KV_HEADS * BLOCK_TOKENS * DIM;
	query[0] = q;
	*in = (struct ckv_window){
		.k = { .block = blocks, .block_tokens = BLOCK_TOKENS,
		       .head_stride_bytes = BLOCK_TOKENS * DIM * 2,
		       .n_heads = KV_HEADS, .n_tokens = TOKENS, .dim = DIM,
		       .elem = CKV_ELEM_BF16 },
		.q = { .block = query, .block_tokens = WINDOW,
		       .head_stride_bytes = WINDOW * DIM * 2,
		       .n_heads = Q_HEADS, .n_tokens = WINDOW, .dim = DIM,
		       .elem = CKV_ELEM_BF16 },
	};
}

void bench_chunkkv(struct bench *b)
{
	static const void *blocks[TOKENS / BLOCK_TOKENS], *query[1];
	static uint16_t k[KV_HEADS * TOKENS * DIM], q[Q_HEADS * WINDOW * DIM];
	static uint32_t pos[TOKENS];
	const struct ckv_chunkkv method = {
		.mode = CKV_CHUNKKV_KVPRESS, .chunk = 16, .window = WINDOW,
		.kernel = 5, .n_reuse = 1, .removed = 0.75,
	};
	struct ckv_window in;
	struct ckv_fault fault;
	struct ckv_kept kept;
	struct bench_sample s;
	void *scratch;
	size_t bytes;

	fill_bf16(k, sizeof k / 2, 42);
	fill_bf16(q, sizeof q / 2, 43);
	describe(&in, blocks, k, query, q);
	bytes = ckv_select_scratch_bytes(&in);
	scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
	if (scratch == NULL)
		abort();
	sample_init(&s, b->quick ? 3 : 5);
	ckv_chunkkv_select(&method, &in, scratch, pos, &kept, &fault);
	for (size_t i = 0; i < s.size; i++) {
		uint64_t t = now_ns();

		if (ckv_chunkkv_select(&method, &in, scratch, pos, &kept,
				       &fault) < 0)
			abort();
		sample_add(&s, (double)(now_ns() - t));
	}
	bench_add(b, "chunkkv_ms", sample_percentile(&s, 50) / 1e6);
	bench_add(b, "chunkkv_read_gbps", sizeof k / sample_percentile(&s, 50));
	sample_free(&s);
	free(scratch);
}
