/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method_table.c - every method with its parameters: the one list.
 *
 * The parser, the canonical text, `ckv methods`, the library's and Python's lists and
 * the manual are made from it or compared with it. Rows are in the order in
 * which the manual shows them.
 */
#include "kernels/method_table.h"
#include "kernels/method_value.h"

/* ---- when a parameter counts ---- */

static int has_keep(const struct ckv_method *m)
{
	return m->select.keep_den != 0;
}

static int has_tokens(const struct ckv_method *m)
{
	return m->select.n_keep != 0;
}

static int has_bytes(const struct ckv_method *m)
{
	return m->bytes_den != 0;
}

static int is_kvpress(const struct ckv_method *m)
{
	return m->select.mode == CKV_OF_KVPRESS;
}

static int is_official(const struct ckv_method *m)
{
	return m->select.mode == CKV_OF_OFFICIAL;
}

static int has_block_scale(const struct ckv_method *m)
{
	return m->encode.scale == CKV_FP8_BLOCK;
}

static int is_encoded(const struct ckv_method *m)
{
	return m->encode.kind != CKV_ENCODE_PLAIN;
}

static int has_sinks(const struct ckv_method *m)
{
	return m->select.always.n_sink != 0;
}

static int has_recent(const struct ckv_method *m)
{
	return m->select.always.n_recent != 0;
}

static int has_ranges(const struct ckv_method *m)
{
	return m->select.always.n_ranges != 0;
}

/* ---- words ---- */

static const struct method_word kvpress_or_paper[] = {
	{ "kvpress", CKV_OF_KVPRESS }, { "paper", CKV_OF_PAPER }, { NULL, 0 },
};
static const struct method_word kvpress_or_official[] = {
	{ "kvpress", CKV_OF_KVPRESS }, { "official", CKV_OF_OFFICIAL }, { NULL, 0 },
};
static const struct method_word pools[] = {
	{ "avg", CKV_POOL_AVG }, { "max", CKV_POOL_MAX }, { NULL, 0 },
};
static const struct method_word reduces[] = {
	{ "mean", CKV_REDUCE_MEAN }, { "max", CKV_REDUCE_MAX },
	{ "sum", CKV_REDUCE_SUM }, { NULL, 0 },
};
static const struct method_word scales[] = {
	{ "one", CKV_FP8_ONE }, { "tensor", CKV_FP8_TENSOR },
	{ "head", CKV_FP8_HEAD }, { "block", CKV_FP8_BLOCK }, { NULL, 0 },
};

/* ---- parameters ---- */

#define VALUE(kind, field, ...) &(const struct ckv_method_value){	\
	.read = value_read_##kind, .write = value_write_##kind,		\
	.at = offsetof(struct ckv_method, field), __VA_ARGS__ }
#define NUMBER(field, lo, hi, ...)	\
	VALUE(number, field, .min = lo, .max = hi, __VA_ARGS__)
#define WORD(field, words)	VALUE(word, field, .word = words)
#define value_write_odd		value_write_number

#define TOKENS_MAX	CKV_KERNEL_MAX_TOKENS
#define TOKENS_FROM_0	"0 to 67108864 tokens"
#define A_SHARE		"a fraction such as 1/4 or 0.25, above 0, at most 1"

#define BUDGET								\
	{ "keep", A_SHARE, NULL, "share of the tokens that is kept",	\
	  VALUE(share, select.keep_num, .counts = has_keep) },		\
	{ "tokens", "1 to 67108864 tokens", NULL,			\
	  "that many tokens are kept",					\
	  NUMBER(select.n_keep, 1, TOKENS_MAX, .counts = has_tokens) },	\
	{ "bytes", A_SHARE, NULL,					\
	  "as many tokens as fit in this share of the plain bytes",	\
	  VALUE(share, bytes_num, .counts = has_bytes) }

#define WINDOW								\
	{ "window", "1 to 4096 tokens", "32",				\
	  "the last tokens: their queries score, and they are kept",	\
	  NUMBER(select.window, 1, CKV_KERNEL_MAX_WINDOW) }
#define KERNEL(...)							\
	{ "kernel", "an odd number, 1 to 4095", "5",			\
	  "neighbours that scores are pooled over; 1: not pooled",	\
	  VALUE(odd, select.kernel, .min = 1, .max = 4095, __VA_ARGS__) }
#define POOL								\
	{ "pool", "avg or max", "avg", "how scores are pooled",		\
	  WORD(select.pool, pools) }
#define REDUCE								\
	{ "reduce", "mean, max or sum", "mean",				\
	  "how the query heads of a kv head become one score",		\
	  WORD(select.reduce, reduces) }
#define FULL								\
	{ "full", TOKENS_FROM_0, "0",					\
	  "newest of the kept tokens that stay plain",			\
	  NUMBER(encode.n_full, 0, TOKENS_MAX, .counts = is_encoded) }
#define GROUP								\
	{ "group", "4 to 4096, a multiple of 32 / bits", "64",		\
	  "numbers that share a scale: tokens of a key channel, channels of a value", \
	  NUMBER(encode.group, 4, 4096) }
#define BLOCK(what)							\
	{ "block", TOKENS_FROM_0, "0", what,				\
	  NUMBER(select.block, 0, TOKENS_MAX) }

static const struct ckv_method_key chunkkv_key[] = {
	BUDGET,
	{ "chunk", "1 to 65536 tokens", "16", "tokens that live or die together",
	  NUMBER(select.chunk, 1, 65536) },
	WINDOW,
	KERNEL(.counts = is_kvpress),
	{ "mode", "kvpress or paper", "kvpress",
	  "kvpress: mean of pooled scores; paper: sum of plain ones, window on top",
	  WORD(select.mode, kvpress_or_paper) },
	{ "reuse", "1 to 1024 layers", "1", "layers that share one selection",
	  NUMBER(select.n_reuse, 1, 1024) },
};

static const struct ckv_method_key snapkv_key[] = {
	BUDGET, WINDOW, KERNEL(), POOL, REDUCE,
	{ "mode", "kvpress or official", "kvpress",
	  "kvpress: pool, then reduce; official: reduce, then pool",
	  WORD(select.mode, kvpress_or_official) },
};

static const struct ckv_method_key pyramidkv_key[] = {
	BUDGET, WINDOW, KERNEL(), POOL, REDUCE,
	{ "beta", "1 to 1024", "20",
	  "steepness: the top layer gets a beta-th of the average",
	  NUMBER(select.beta, 1, 1024) },
	{ "mode", "official or kvpress", "official",
	  "whose layer budgets; official ones exceed the average a little",
	  WORD(select.mode, kvpress_or_official) },
};

static const struct ckv_method_key l2norm_key[] = {
	BUDGET,
	{ "mode", "kvpress or official", "kvpress",
	  "kvpress: every layer; official: rounds up, skip and prune_after count",
	  WORD(select.mode, kvpress_or_official) },
	BLOCK("choose within each block of that many tokens; 0: in the whole context"),
	{ "skip", "layers 0 to 63 such as 0/1 or 0-1, or none", "none",
	  "layers that keep everything",
	  VALUE(layers, select.skip, .counts = is_official,
		.with = "mode=official") },
	{ "prune_after", TOKENS_FROM_0, "0",
	  "shorter contexts, and of this length, keep everything",
	  NUMBER(select.prune_after, 0, TOKENS_MAX, .counts = is_official,
		 .with = "mode=official") },
};

static const struct ckv_method_key keydiff_key[] = {
	BUDGET,
	BLOCK("add that many tokens at a time to those kept; 0: all at once"),
};

static const struct ckv_method_key tova_key[] = { BUDGET };

static const struct ckv_method_key h2o_key[] = {
	BUDGET, REDUCE,
	{ "recent", TOKENS_FROM_0, "32", "newest tokens that are kept",
	  NUMBER(select.n_recent, 0, TOKENS_MAX) },
};

static const struct ckv_method_key streamingllm_key[] = {
	BUDGET,
	{ "sinks", TOKENS_FROM_0, "4", "first tokens that are kept",
	  NUMBER(select.n_sink, 0, TOKENS_MAX) },
};

static const struct ckv_method_key random_key[] = {
	BUDGET,
	{ "seed", "a number of at most 18 digits", "1", "equal seeds, equal choice",
	  VALUE(seed, select.seed) },
};

static const struct ckv_method_key always_key[] = {
	{ "sinks", TOKENS_FROM_0, "0", "first tokens",
	  NUMBER(select.always.n_sink, 0, TOKENS_MAX, .counts = has_sinks) },
	{ "recent", TOKENS_FROM_0, "0", "newest tokens",
	  NUMBER(select.always.n_recent, 0, TOKENS_MAX, .counts = has_recent) },
	{ "ranges", "at most 8 such as 0-15/64-79, or none", "none",
	  "positions, the first and the last included",
	  VALUE(ranges, select.always.range, .max = TOKENS_MAX - 1,
		.counts = has_ranges) },
};

static const struct ckv_method_key full_key[] = { FULL };

static const struct ckv_method_key fp8_key[] = {
	{ "scale", "one, tensor, head or block", "head",
	  "what shares a scale: nothing is scaled, a layer, a head, rows of a head",
	  WORD(encode.scale, scales) },
	{ "block", "1 to 65536 tokens", "16", "rows of a head that share a scale",
	  NUMBER(encode.block, 1, 65536, .counts = has_block_scale,
		 .with = "scale=block") },
	FULL,
};

static const struct ckv_method_key kivi_key[] = {
	{ "bits", "2, 4, 8 or auto", "4",
	  "bits of a number; auto: 8 if all tokens then fit in bytes=, else 4",
	  VALUE(bits, encode.bits) },
	GROUP, FULL,
};

static const struct ckv_method_key int8_key[] = { GROUP, FULL };

/* ---- methods ---- */

#define KEYS(array)	array, sizeof array / sizeof array[0]
#define WINDOW_QUERIES	"queries of the last window= tokens"
#define NOTHING		"nothing"

const struct method_row method_row[] = {
	{ { "chunkkv", "selection", "whole chunks of tokens, one set for all heads",
	    WINDOW_QUERIES, "arXiv 2502.00299", KEYS(chunkkv_key) },
	  STAGE_SELECTION, CKV_CHUNKKV, 0 },
	{ { "snapkv", "selection", "the tokens that the window attends to most",
	    WINDOW_QUERIES, "arXiv 2404.14469", KEYS(snapkv_key) },
	  STAGE_SELECTION, CKV_SNAPKV, 0 },
	{ { "pyramidkv", "selection", "SnapKV, more tokens in low layers than in high",
	    WINDOW_QUERIES, "arXiv 2406.02069", KEYS(pyramidkv_key) },
	  STAGE_SELECTION, CKV_PYRAMIDKV, 0 },
	{ { "l2norm", "selection", "the keys of the smallest norm",
	    NOTHING, "arXiv 2406.11430", KEYS(l2norm_key) },
	  STAGE_SELECTION, CKV_L2NORM, 0 },
	{ { "keydiff", "selection", "the keys least like the average key",
	    NOTHING, "arXiv 2504.15364", KEYS(keydiff_key) },
	  STAGE_SELECTION, CKV_KEYDIFF, 0 },
	{ { "tova", "selection", "what the last token attends to, one set for all heads",
	    "the query of the last token", "arXiv 2401.06104", KEYS(tova_key) },
	  STAGE_SELECTION, CKV_TOVA, 0 },
	{ { "h2o", "selection", "the tokens that got most attention so far",
	    "column sums of attention", "arXiv 2306.14048", KEYS(h2o_key) },
	  STAGE_SELECTION, CKV_H2O, 0 },
	{ { "streamingllm", "selection", "the first tokens and the newest",
	    NOTHING, "arXiv 2309.17453", KEYS(streamingllm_key) },
	  STAGE_SELECTION, CKV_STREAMINGLLM, 0 },
	{ { "random", "selection", "tokens drawn by lot, to compare with",
	    NOTHING, "", KEYS(random_key) },
	  STAGE_SELECTION, CKV_RANDOM, 0 },
	{ { "always", "always", "tokens kept whatever they score, within the budget",
	    NOTHING, "", KEYS(always_key) },
	  STAGE_ALWAYS, 0, 0 },
	{ { "plain", "encoding", "rows as they are stored",
	    NOTHING, "", KEYS(full_key) },
	  STAGE_ENCODING, CKV_ENCODE_PLAIN, 0 },
	{ { "bf16", "encoding", "bfloat16, rounded to nearest even",
	    NOTHING, "", KEYS(full_key) },
	  STAGE_ENCODING, CKV_ENCODE_BF16, 0 },
	{ { "fp16", "encoding", "IEEE half, rounded to nearest even",
	    NOTHING, "", KEYS(full_key) },
	  STAGE_ENCODING, CKV_ENCODE_F16, 0 },
	{ { "fp8", "encoding", "8-bit floats (e4m3), scaled",
	    NOTHING, "arXiv 2209.05433", KEYS(fp8_key) },
	  STAGE_ENCODING, CKV_ENCODE_FP8, 0 },
	{ { "kivi", "encoding", "integers: keys by channel, values by token",
	    NOTHING, "arXiv 2402.02750", KEYS(kivi_key) },
	  STAGE_ENCODING, CKV_ENCODE_KIVI, 0 },
	{ { "int8", "encoding", "the same as kivi(bits=8)",
	    NOTHING, "arXiv 2402.02750", KEYS(int8_key) },
	  STAGE_ENCODING, CKV_ENCODE_KIVI, 8 },
};

const uint32_t method_n_rows = sizeof method_row / sizeof method_row[0];

_Static_assert(TOKENS_MAX == 67108864, "as the texts say");

const struct ckv_method_info *ckv_method_at(uint32_t i)
{
	return i < method_n_rows ? &method_row[i].info : NULL;
}

const struct method_row *method_row_of(enum method_stage stage, uint32_t kind)
{
	for (uint32_t i = 0; i < method_n_rows; i++)
		if (method_row[i].stage == stage && method_row[i].kind == kind)
			return &method_row[i];
	return NULL;
}
