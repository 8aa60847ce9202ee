/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunkkv.c - one layer of ChunkKV on one thread: 8 kv heads, group of 4,
 * D 128, 8 192 tokens, window 32, K, V and Q in bf16.
 *
 * Beside it the same work by kvpress on the same numbers, one thread too, where
 * python3 (or $CKV_PYTHON) can import torch and kvpress: the faster of its bf16
 * and fp32. kvpress gathers the surviving keys and values, so ours does as well.
 */
#include "kernels/ckv_kernels.h"
#include "tests/bench/bench.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

enum { SIDE = KV_HEADS * BLOCK_TOKENS * DIM };	/* K or V of one page */

/* K and V lie in pages of 16 tokens, as the daemon has them. */
static void describe(struct ckv_window *in, const void **blocks,
		     const uint16_t *kv, const void **query, const uint16_t *q)
{
	for (size_t i = 0; i < TOKENS / BLOCK_TOKENS; i++)
		blocks[i] = kv + i * 2 * SIDE;
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

static const struct ckv_chunkkv method = {
	.mode = CKV_CHUNKKV_KVPRESS, .chunk = 16, .window = WINDOW,
	.kernel = 5, .n_reuse = 1, .removed = 0.75,
};

static struct ckv_rows values_of(const struct ckv_window *in)
{
	struct ckv_rows v = in->k;

	v.offset_bytes = SIDE * sizeof(uint16_t);
	return v;
}

/* Score, choose and gather K and V of one layer. Tokens kept. */
static uint32_t compress(const struct ckv_window *in, void *scratch,
			 uint16_t *out)
{
	static uint32_t pos[TOKENS];
	const struct ckv_rows v = values_of(in);
	struct ckv_fault fault;
	struct ckv_kept kept;

	if (ckv_chunkkv_select(&method, in, scratch, pos, &kept, &fault) < 0)
		abort();
	for (uint32_t h = 0; out != NULL && h < KV_HEADS; h++) {
		uint16_t *to = out + (size_t)h * 2 * kept.n * DIM;

		if (ckv_gather(&in->k, h, pos, kept.n, to) < 0 ||
		    ckv_gather(&v, h, pos, kept.n, to + (size_t)kept.n * DIM) < 0)
			abort();
	}
	return kept.n;
}

/* Median milliseconds of compress(). */
static double measure(const struct bench *b, const struct ckv_window *in,
		      void *scratch, uint16_t *out)
{
	struct bench_sample s;
	double ms;

	sample_init(&s, b->quick ? 3 : 5);
	compress(in, scratch, out);
	for (size_t i = 0; i < s.size; i++) {
		uint64_t t = now_ns();

		compress(in, scratch, out);
		sample_add(&s, (double)(now_ns() - t));
	}
	ms = sample_percentile(&s, 50) / 1e6;
	sample_free(&s);
	return ms;
}

/* ---- kvpress ---- */

static void save(const struct bench *b, const char *name, const void *data,
		 size_t bytes)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", b->work_dir, name);
	f = fopen(path, "wb");
	if (f == NULL || fwrite(data, 1, bytes, f) != bytes || fclose(f) != 0) {
		perror(path);
		exit(1);
	}
}

/* One side of all pages as [head][token][dim], as kvpress wants it. */
static void save_side(const struct bench *b, const char *name,
		      const struct ckv_rows *rows, uint16_t *tmp)
{
	for (uint32_t h = 0; h < KV_HEADS; h++)
		for (uint32_t t = 0; t < TOKENS; t++)
			memcpy(tmp + ((size_t)h * TOKENS + t) * DIM,
			       ckv_rows_at(rows, h, t), DIM * sizeof *tmp);
	save(b, name, tmp, (size_t)KV_HEADS * TOKENS * DIM * sizeof *tmp);
}

/* Run the peer: its answer, or NULL and the reason. */
static json_t *ask_peer(const struct bench *b, char *why, size_t why_bytes)
{
	const char *python = getenv("CKV_PYTHON");
	char command[512], line[1024] = "";
	json_t *json;
	FILE *f;

	snprintf(command, sizeof command, "%s tests/bench/peer_kvpress.py %s %d "
		 "2>%s/kvpress.err", python != NULL ? python : "python3",
		 b->work_dir, b->quick ? 2 : 3, b->work_dir);
	f = popen(command, "r");
	if (f == NULL)
		return NULL;
	if (fgets(line, sizeof line, f) == NULL)
		line[0] = 0;
	pclose(f);
	json = json_loads(line, 0, NULL);
	if (json != NULL)
		return json;
	snprintf(command, sizeof command, "%s/kvpress.err", b->work_dir);
	f = fopen(command, "r");
	snprintf(why, why_bytes, "kvpress did not run");
	if (f != NULL && fgets(why, (int)why_bytes, f) != NULL)
		why[strcspn(why, "\n")] = 0;
	if (f != NULL)
		fclose(f);
	return NULL;
}

static double least(const json_t *list)
{
	double ms = INFINITY;
	size_t i;
	json_t *value;

	json_array_foreach(list, i, value)
		ms = fmin(ms, json_number_value(value));
	return ms;
}

static void compare(struct bench *b, const struct ckv_window *in,
		    double ours_ms, uint32_t n_kept, uint16_t *tmp)
{
	const struct ckv_rows v = values_of(in);
	char why[160], shape[96];
	double bf16_ms, fp32_ms;
	json_t *peer;

	snprintf(shape, sizeof shape, "%d %d %d %d %d %u %.17g\n", KV_HEADS,
		 Q_HEADS, TOKENS, DIM, WINDOW, method.chunk, method.removed);
	save(b, "shape", shape, strlen(shape));
	save_side(b, "k.bf16", &in->k, tmp);
	save_side(b, "v.bf16", &v, tmp);
	save(b, "q.bf16", in->q.block[0],
	     (size_t)Q_HEADS * WINDOW * DIM * sizeof *tmp);
	peer = ask_peer(b, why, sizeof why);
	if (peer == NULL) {
		bench_why(b, "chunkkv_kvpress_ratio", "%s", why);
		bench_why(b, "chunkkv_kvpress_fp32_ratio", "%s", why);
		return;
	}
	bf16_ms = least(json_object_get(peer, "bf16_ms"));
	fp32_ms = least(json_object_get(peer, "fp32_ms"));
	if (json_integer_value(json_object_get(peer, "fp32_kept")) != n_kept)
		bench_why(b, "chunkkv_kvpress_ratio", "kvpress kept another "
			  "number of tokens than %u", n_kept);
	else
		bench_add(b, "chunkkv_kvpress_ratio",
			  fmin(bf16_ms, fp32_ms) / ours_ms);
	bench_add(b, "chunkkv_kvpress_fp32_ratio", fp32_ms / ours_ms);
	json_decref(peer);
}

void bench_chunkkv(struct bench *b)
{
	static const void *blocks[TOKENS / BLOCK_TOKENS], *query[1];
	static uint16_t kv[2 * KV_HEADS * TOKENS * DIM], q[Q_HEADS * WINDOW * DIM];
	static uint16_t out[2 * KV_HEADS * TOKENS * DIM];
	struct ckv_window in;
	double ms, whole_ms;
	void *scratch;
	size_t bytes;

	fill_bf16(kv, sizeof kv / 2, 42);
	fill_bf16(q, sizeof q / 2, 43);
	describe(&in, blocks, kv, query, q);
	bytes = ckv_select_scratch_bytes(&in);
	scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
	if (scratch == NULL)
		abort();
	ms = measure(b, &in, scratch, NULL);
	bench_add(b, "chunkkv_ms", ms);
	bench_add(b, "chunkkv_read_gbps", sizeof kv / 2 / ms / 1e6);
	whole_ms = measure(b, &in, scratch, out);
	compare(b, &in, whole_ms, compress(&in, scratch, out), out);
	free(scratch);
}
