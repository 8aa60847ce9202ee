/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels.c - what one core reads and copies, and how near the kernels come.
 *
 * An operation and the plain read or copy of as many bytes run in turn, each
 * time over another part of a memory that is larger than the caches. A turn is
 * shorter than a time slice and the best of each counts, so that what else
 * the machine does is left out.
 */
#include "kernels/ckv_kernels.h"
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Pages of 16 tokens with K and V of all layers, as the daemon has them. */
enum { LAYERS = 16, KV_HEADS = 8, DIM = 128, BLOCK_TOKENS = 16, PAGES = 256,
       TOKENS = PAGES * BLOCK_TOKENS, HEAD = BLOCK_TOKENS * DIM,
       LAYER = 2 * KV_HEADS * HEAD, PAGE = LAYERS * LAYER };

void bench_in_turn(const struct bench *b, void (*ours)(void *),
		   void (*theirs)(void *), void *arg, double *ret_ours_ns,
		   double *ret_theirs_ns)
{
	double best[2] = { 0.0, 0.0 };

	for (int i = 0; i < 2 * (b->quick ? 32 : 96); i++) {
		uint64_t t = now_ns();
		double ns;

		(i % 2 ? theirs : ours)(arg);
		ns = (double)(now_ns() - t);
		if (i < 2 || ns < best[i % 2])
			best[i % 2] = ns;
	}
	*ret_ours_ns = best[0];
	*ret_theirs_ns = best[1];
}

void *bench_memory(size_t bytes)
{
	void *p = aligned_alloc((size_t)2 << 20, bytes);

	if (p == NULL)
		abort();
	madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
uint64_t bench_read(const void *from, size_t bytes)
{
	typedef uint64_t line __attribute__((vector_size(64)));
	const line *at = from;
	line s[4] = { { 0 } }, all;

	for (size_t i = 0; i + 4 <= bytes / sizeof *at; i += 4) {
		__builtin_prefetch((const char *)&at[i] + 4096);
		__builtin_prefetch((const char *)&at[i] + 4096 + 64);
		__builtin_prefetch((const char *)&at[i] + 4096 + 128);
		__builtin_prefetch((const char *)&at[i] + 4096 + 192);
		for (size_t k = 0; k < 4; k++)
			s[k] += at[i + k];
	}
	all = s[0] + s[1] + s[2] + s[3];
	return all[0] + all[1] + all[2] + all[3] + all[4] + all[5] + all[6] +
	       all[7];
}

/* ------------------------------------------------------------------ norms */

struct pool {
	uint16_t *bytes;
	const void *block[PAGES];
	float *norm;
	size_t turn;
	uint64_t sum;		/* so that reading is not left out */
};

/* bf16 numbers between -2 and 2; a norm does not mind how they lie. */
static void fill(struct pool *p)
{
	uint64_t state = 42;

	p->bytes = bench_memory((size_t)PAGES * PAGE * sizeof *p->bytes);
	random_fill(&state, p->bytes, (size_t)PAGES * PAGE * sizeof *p->bytes);
	for (size_t i = 0; i < (size_t)PAGES * PAGE; i++)
		p->bytes[i] &= 0xbfff;
	for (size_t i = 0; i < PAGES; i++)
		p->block[i] = p->bytes + i * PAGE;
	p->norm = bench_memory((size_t)2 << 20);
}

/* Keys of one layer, the next at each turn. */
static struct ckv_rows rows_of_layer(struct pool *p)
{
	return (struct ckv_rows){
		.block = p->block, .block_tokens = BLOCK_TOKENS,
		.offset_bytes = p->turn++ % LAYERS * LAYER * sizeof *p->bytes,
		.head_stride_bytes = HEAD * sizeof *p->bytes,
		.n_heads = KV_HEADS, .n_tokens = TOKENS, .dim = DIM,
		.elem = CKV_ELEM_BF16 };
}

static void norms_of_layer(void *arg)
{
	struct pool *p = arg;
	const struct ckv_rows k = rows_of_layer(p);

	if (ckv_norms(&k, 0, KV_HEADS, p->norm, NULL) < 0)
		abort();
}

/* As many bytes as K of a layer has, one after another. */
static void read_as_much(void *arg)
{
	struct pool *p = arg;
	size_t n = (size_t)PAGES * LAYER / 2;
	const uint16_t *from = p->bytes + p->turn++ % LAYERS * 2 * n;

	p->sum += bench_read(from, n * sizeof *from);
}

void bench_norms(struct bench *b)
{
	struct pool p = { 0 };
	double ours, theirs, bytes = (double)PAGES * LAYER / 2 * sizeof *p.bytes;

	fill(&p);
	bench_in_turn(b, norms_of_layer, read_as_much, &p, &ours, &theirs);
	bench_add(b, "core_read_gbps", bytes / theirs);
	bench_add(b, "norms_gbps", bytes / ours);
	bench_add(b, "norms_read_ratio", theirs / ours);
	free(p.bytes);
	free(p.norm);
}

/* ----------------------------------------------------------------- gather */

enum { OUT_TURNS = 64 };

struct gathering {
	struct pool pool;
	uint32_t pos[TOKENS], n;
	char *out;		/* room for OUT_TURNS */
	size_t turn, bytes;	/* of a turn */
};

static char *turn_out(struct gathering *g)
{
	return g->out + g->turn % OUT_TURNS * g->bytes;
}

/* The chosen rows of every head of one layer. */
static void gather_layer(void *arg)
{
	struct gathering *g = arg;
	const struct ckv_rows k = rows_of_layer(&g->pool);
	char *out = turn_out(g);

	for (uint32_t h = 0; h < KV_HEADS; h++)
		if (ckv_gather(&k, h, g->pos, g->n,
			       out + h * (g->bytes / KV_HEADS)) < 0)
			abort();
	g->turn++;
}

static void copy_as_much(void *arg)
{
	struct gathering *g = arg;
	const char *from = (const char *)g->pool.bytes +
			   g->pool.turn++ % LAYERS * g->bytes;

	memcpy(turn_out(g), from, g->bytes);
	g->turn++;
}

/* A quarter of the tokens, in whole pages or one by one, ascending. */
static void choose(struct gathering *g, uint32_t together)
{
	uint64_t state = 7;

	g->n = 0;
	for (uint32_t t = 0; t < TOKENS; t += together)
		if (random_next(&state) % 4 == 0)
			for (uint32_t i = 0; i < together; i++)
				g->pos[g->n++] = t + i;
	g->bytes = (size_t)g->n * KV_HEADS * DIM * sizeof *g->pool.bytes;
}

void bench_gather(struct bench *b)
{
	static struct gathering g;
	double ours, theirs;

	fill(&g.pool);
	choose(&g, 1);
	g.out = bench_memory((size_t)OUT_TURNS * PAGES * LAYER);
	memset(g.out, 1, (size_t)OUT_TURNS * PAGES * LAYER);
	bench_in_turn(b, gather_layer, copy_as_much, &g, &ours, &theirs);
	bench_add(b, "core_copy_gbps", 2 * (double)g.bytes / theirs);
	bench_add(b, "gather_memcpy_ratio", theirs / ours);
	choose(&g, BLOCK_TOKENS);
	bench_in_turn(b, gather_layer, copy_as_much, &g, &ours, &theirs);
	bench_add(b, "gather_chunks_memcpy_ratio", theirs / ours);
	free(g.out);
	free(g.pool.bytes);
	free(g.pool.norm);
}
