/* SPDX-License-Identifier: Apache-2.0 */
/* bench.c - see bench.h: what is timed, and what it must move. */
#include "bench.h"
#include "bench_object.h"
#include "device.h"

#include <errno.h>
#include <string.h>

#define LAUNCHER(name)	extern __typeof__(ckv_cuda_##name) gpu_##name
LAUNCHER(begin);
LAUNCHER(window_score);
LAUNCHER(norms);
LAUNCHER(select_top);
LAUNCHER(gather);
LAUNCHER(encode);
LAUNCHER(decode);
LAUNCHER(page_checksum);
LAUNCHER(chunkkv);

#define K_BYTES		((double)OBJECT_ROWS * OBJECT_DIM * 2)
#define KEPT_BYTES	(K_BYTES / 4)			/* of K, or V */

static const struct ckv_encode fp8_one = { .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_ONE };
static const struct ckv_encode fp8_block = {
	.kind = CKV_ENCODE_FP8, .scale = CKV_FP8_BLOCK, .block = 64 };
static const struct ckv_encode kivi4 = { .kind = CKV_ENCODE_KIVI, .bits = 4, .group = 64 };

/* ------------------------------------------------------- one launch of each */

static int run_copy(struct bench_object *o)
{
	return cuda_errno(gpu.cuMemcpyDtoDAsync((uintptr_t)o->rows_v, (uintptr_t)o->rows,
						o->n_rows * OBJECT_DIM * 2, NULL));
}

static int score(struct bench_object *o, uint32_t window, const float *lse)
{
	struct ckv_cuda_window in = { .k = o->k, .q = o->q, .lse = lse };

	in.q.rows.n_tokens = window;
	return gpu_window_score(&in, o->work, o->score, o->status, NULL);
}

static int run_score_lse_128(struct bench_object *o)
{
	return score(o, 32, o->lse);
}

static int run_score_lse_32(struct bench_object *o)
{
	return score(o, 8, o->lse);
}

static int run_score_128(struct bench_object *o)
{
	return score(o, 32, NULL);
}

static int run_norms(struct bench_object *o)
{
	return gpu_norms(&o->k, o->score, o->status, NULL);
}

/* Areas of `bytes` each for all layers and heads. */
static struct ckv_cuda_out areas(void *base, size_t bytes)
{
	return (struct ckv_cuda_out){ base, bytes * OBJECT_HEADS, bytes };
}

static int run_gather(struct bench_object *o)
{
	const size_t bytes = (size_t)o->n_kept * OBJECT_DIM * 2;
	struct ckv_cuda_out k = areas(o->rows, bytes), v = areas(o->rows_v, bytes);

	return gpu_gather(&o->k, &o->v, &o->kept, UINT32_MAX, &k, &v, o->status, NULL);
}

/* Codes at the beginning of rows_v, scales far behind them. */
static struct ckv_cuda_coded coded(const struct bench_object *o, const struct ckv_encode *e,
				   enum ckv_side side, uint32_t n)
{
	size_t code = ckv_code_bytes(e, CKV_ELEM_BF16, side, n, OBJECT_DIM);
	size_t scale = ckv_scale_bytes(e, CKV_ELEM_BF16, side, n, OBJECT_DIM);

	scale = (scale + 15) / 16 * 16;
	return (struct ckv_cuda_coded){
		areas(o->rows_v, code), areas((char *)o->rows_v + o->n_areas * code, scale) };
}

static int encode(struct bench_object *o, const struct ckv_encode *e, enum ckv_side side)
{
	struct ckv_cuda_coded out = coded(o, e, side, o->n_tokens);

	return gpu_encode(e, side, side == CKV_SIDE_KEY ? &o->k : &o->v, NULL, o->work, &out,
			  o->status, NULL);
}

static int run_fp8(struct bench_object *o) { return encode(o, &fp8_one, CKV_SIDE_KEY); }
static int run_fp8_block(struct bench_object *o) { return encode(o, &fp8_block, CKV_SIDE_KEY); }
static int run_int4_keys(struct bench_object *o) { return encode(o, &kivi4, CKV_SIDE_KEY); }
static int run_int4_values(struct bench_object *o) { return encode(o, &kivi4, CKV_SIDE_VALUE); }

/* Decodes what the same encoding's run_ encoded, which is to run before. */
static int decode(struct bench_object *o, const struct ckv_encode *e, enum ckv_side side)
{
	const struct ckv_cuda_object object = {
		.n_layers = o->n_layers, .n_heads = OBJECT_HEADS, .dim = OBJECT_DIM,
		.elem = CKV_ELEM_BF16, .n = o->n_tokens };
	struct ckv_cuda_coded in = coded(o, e, side, o->n_tokens);
	struct ckv_cuda_out out = areas(o->rows, (size_t)o->n_tokens * OBJECT_DIM * 2);

	return gpu_decode(e, side, &object, &in, CKV_ELEM_BF16, &out, NULL);
}

static int run_fp8_back(struct bench_object *o) { return decode(o, &fp8_block, CKV_SIDE_KEY); }
static int run_keys_back(struct bench_object *o) { return decode(o, &kivi4, CKV_SIDE_KEY); }
static int run_values_back(struct bench_object *o) { return decode(o, &kivi4, CKV_SIDE_VALUE); }

/* A quarter of a window's scores, which are 8 MiB, in turn. */
static int run_top(struct bench_object *o)
{
	static uint32_t turn;
	const struct ckv_cuda_top top = {
		.score = o->score + turn++ % OBJECT_GROUP * o->n_rows,
		.row_stride = o->n_tokens, .n_rows = (uint32_t)o->n_areas,
		.n_scored = o->n_tokens, .n = o->n_tokens, .k = o->n_kept };

	return gpu_select_top(&top, (uint32_t *)o->work, NULL, NULL, NULL);
}

static int run_checksum(struct bench_object *o)
{
	uint64_t *digest = o->work, *sum = digest + o->n_pages * o->page_bytes /
						    CKV_PIECE_BYTES;

	return gpu_page_checksum(o->page, o->n_pages, o->page_bytes, digest, sum, NULL);
}

static int run_chunkkv(struct bench_object *o)
{
	struct ckv_cuda_chunkkv in = {
		.method = { .mode = CKV_CHUNKKV_KVPRESS, .chunk = 16,
			    .window = OBJECT_WINDOW, .kernel = 5, .n_reuse = 1,
			    .removed = 0.75 },
		.encode = kivi4,
		.window = { .k = o->k, .q = o->q, .lse = o->lse }, .v = o->v };
	const struct ckv_cuda_out none[2] = { { 0 }, { 0 } };
	struct ckv_cuda_coded out[2];
	struct ckv_cuda_kept kept = o->kept;
	struct bench_object keys = *o;

	if (ckv_cuda_chunkkv_shape(&in, &kept) < 0 || kept.max_n > o->n_kept ||
	    ckv_cuda_chunkkv_work_bytes(&in) > o->work_bytes)
		return -EINVAL;
	kept.pos = (uint32_t *)o->score;
	kept.n = kept.pos + (size_t)o->n_layers * o->n_kept;
	keys.rows_v = o->rows;
	out[CKV_SIDE_KEY] = coded(&keys, &kivi4, CKV_SIDE_KEY, kept.max_n);
	out[CKV_SIDE_VALUE] = coded(o, &kivi4, CKV_SIDE_VALUE, kept.max_n);
	return gpu_chunkkv(&in, o->work, &kept, out, none, o->status, NULL);
}

/* ------------------------------------------------------------- what to move */

struct bench_case {
	const char *name;
	int (*run)(struct bench_object *o);
	int (*before)(struct bench_object *o);	/* once; NULL: nothing */
	double bytes, target_share, target_us;
};

#define SCORES(w)	((double)OBJECT_AREAS * OBJECT_GROUP * (OBJECT_TOKENS - (w)) * 4)
#define QUERIES(w)	((double)OBJECT_AREAS * OBJECT_GROUP * (w) * (OBJECT_DIM * 2 + 4))
#define NORMS		((double)OBJECT_ROWS * 4)
#define INT4_BYTES	(K_BYTES / 4 + K_BYTES / 64 * 2)	/* codes, scales and mins */

static const struct bench_case cases[] = {
	{ "window_score_lse_128", run_score_lse_128, NULL, K_BYTES + QUERIES(32) + SCORES(32), 0.70, 0 },
	{ "window_score_lse_32", run_score_lse_32, NULL, K_BYTES + QUERIES(8) + SCORES(8), 0.70, 0 },
	{ "window_score_128", run_score_128, NULL, 2 * K_BYTES + 2 * QUERIES(32) + SCORES(32), 0, 0 },
	{ "norms", run_norms, NULL, K_BYTES + NORMS, 0.85, 0 },
	{ "top_256x8192", run_top, run_score_128, 256.0 * 8192 * 4, 0, 15 },
	{ "gather", run_gather, NULL, 4 * KEPT_BYTES, 0.80, 0 },
	{ "bf16_to_fp8", run_fp8, NULL, 1.5 * K_BYTES, 0.85, 0 },
	{ "bf16_to_fp8_block64", run_fp8_block, NULL, 1.5 * K_BYTES, 0.85, 0 },
	{ "fp8_block64_to_bf16", run_fp8_back, run_fp8_block, 1.5 * K_BYTES, 0, 0 },
	{ "bf16_to_int4_keys", run_int4_keys, NULL, K_BYTES + INT4_BYTES, 0.80, 0 },
	{ "int4_keys_to_bf16", run_keys_back, run_int4_keys, K_BYTES + INT4_BYTES, 0.80, 0 },
	{ "bf16_to_int4_values", run_int4_values, NULL, K_BYTES + INT4_BYTES, 0.80, 0 },
	{ "int4_values_to_bf16", run_values_back, run_int4_values, K_BYTES + INT4_BYTES, 0.80, 0 },
	{ "checksum", run_checksum, NULL, 2 * K_BYTES, 0, 0 },
	/* Keys once, a quarter of both sides again, its codes: within twice that. */
	{ "chunkkv_25_int4", run_chunkkv, NULL,
	  K_BYTES + QUERIES(32) + 2 * KEPT_BYTES + INT4_BYTES / 2, 0.50, 0 },
};

/* ----------------------------------------------------------------- one case */

const char *bench_name(size_t i)
{
	return i < sizeof cases / sizeof *cases ? cases[i].name : NULL;
}

struct launch {
	const struct bench_case *c;
	struct bench_object *o;
};

static int launch_case(void *data)
{
	const struct launch *launch = data;

	return launch->c->run(launch->o);
}

/* What the kernels reported since begin(): NULL or words. */
static const char *status_of(struct bench_object *o)
{
	uint64_t word;

	gpu_get(&word, o->status, sizeof word);
	return ckv_cuda_status(word, NULL, NULL) == 0 ? NULL : "a kernel reported a fault";
}

/* NULL, or what went wrong. */
static const char *time_case(const struct bench_case *c, struct bench_object *o, double seconds,
			     struct times *ret)
{
	struct launch launch = { c, o };
	int r;

	gpu_begin(o->status, NULL);
	r = time_launches(launch_case, &launch, seconds, ret);
	if (r < 0)
		return r == -EBUSY ? "no launch could be queued while the stream was held"
				   : "a launch was refused";
	return status_of(o);
}

static const char *time_both(const struct bench_case *c, struct bench_object *o,
			     double seconds, struct bench_result *r)
{
	const struct bench_case copy = { "copy", run_copy, NULL, 2 * K_BYTES, 0, 0 };
	const char *why = time_case(&copy, o, seconds / 2.0, &r->copy);

	if (why == NULL && c->before != NULL && c->before(o) < 0)
		why = "a launch was refused";
	return why != NULL ? why : time_case(c, o, seconds, &r->times);
}

int bench_run(const char *name, struct bench_result *r, const char **why)
{
	const struct bench_case *c = NULL;
	bool small = gpu_is_emulated();
	struct bench_object o;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (strcmp(cases[i].name, name) == 0)
			c = &cases[i];
	*why = "there is no such case";
	if (c == NULL)
		return -EINVAL;
	*r = (struct bench_result){ .name = c->name, .bytes = c->bytes,
				    .target_share = c->target_share,
				    .target_us = c->target_us, .emulated = small };
	bench_object_make(small ? SMALL_LAYERS : OBJECT_LAYERS,
			  small ? SMALL_TOKENS : OBJECT_TOKENS, &o);
	*why = time_both(c, &o, small ? 0.0 : BENCH_SECONDS, r);
	bench_object_free(&o);
	if (*why != NULL)
		return -EIO;
	if (r->emulated)
		return 0;
	r->gb_s = r->bytes / r->times.us * 1e-3;
	r->copy_gb_s = 2 * K_BYTES / r->copy.us * 1e-3;
	r->share = r->gb_s / r->copy_gb_s;
	return 0;
}
