/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_method.h - a method in one line of text, and what it comes to for one object.
 *
 *   text  = stage { "+" stage }        stage = name [ "(" key "=" value { "," ... } ")" ]
 *
 * At most one selection (chunkkv, snapkv, pyramidkv, l2norm, keydiff, tova, h2o,
 * streamingllm, random), at most one `always`, at most one encoding (plain, bf16,
 * fp16, fp8, int8, kivi), in this order, at least one of them:
 *
 *   chunkkv(keep=1/4, chunk=16, window=32, reuse=2) + kivi(bits=4, group=64)
 *   snapkv(bytes=1/8) + always(sinks=4) + kivi(bits=auto, full=32)
 *   fp8(scale=head)
 *
 * int8 is kivi(bits=8). Ranges of tokens and layers have both their ends: 0-15 are
 * sixteen. A selection says how much it keeps: `keep` a share of the tokens (1/4 or 0.25),
 * `tokens` a number of them, or `bytes` a share of the chain's plain bytes. For `bytes`
 * every header, position, scale and code of the view counts, and as many tokens are kept
 * as fit.
 */
#ifndef CKV_METHOD_H
#define CKV_METHOD_H

#include "kernels/ckv_encode.h"
#include "kernels/ckv_select.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CKV_METHOD_TEXT_BYTES	256u	/* with its zero */
#define CKV_METHOD_WHY_BYTES	200u

struct ckv_method {
	struct ckv_selection select;
	struct ckv_encode encode;
	uint32_t bytes_num, bytes_den;	/* share of plain bytes; den 0: not asked for */
	uint32_t bits_auto;		/* kivi(bits=auto): encode.bits is 0 */
	char text[CKV_METHOD_TEXT_BYTES]; /* canonical: equal methods, equal bytes */
};

/*
 * From zero-terminated text. -EINVAL: `why` names what is wrong and says what was
 * expected there; *ret_method is as before.
 */
int ckv_method_parse(const char *text, struct ckv_method *ret_method,
		     char why[CKV_METHOD_WHY_BYTES]);

/* ---- the table behind it ---- */

struct ckv_method_value;	/* how a value is read and written: the parser's own */

struct ckv_method_key {
	const char *name;
	const char *expected;	/* "1 to 4096 tokens" */
	const char *init;	/* default as one writes it; NULL: none, see `help` */
	const char *help;
	const struct ckv_method_value *value;
};

struct ckv_method_info {
	const char *name;
	const char *stage;	/* "selection", "always", "encoding" */
	const char *help;
	const char *needs;	/* from the engine: "window queries", "nothing", ... */
	const char *paper;	/* "arXiv 2502.00299"; "" for ours */
	const struct ckv_method_key *key;
	uint32_t n_keys;
};

/* The i-th; NULL past the last. */
const struct ckv_method_info *ckv_method_at(uint32_t i);

/* ---- one object ---- */

/* A chain that is to become a view; sizes of the container's own parts, in bytes. */
struct ckv_object {
	uint32_t n_layers, n_kv_heads, n_tokens, dim_k, dim_v;
	uint32_t n_q_heads;	/* 0: no queries came */
	enum ckv_elem elem;
	uint32_t head_bytes;	/* the header */
	uint32_t run_bytes;	/* for each (layer, kv head) */
	uint32_t align;		/* every region begins at a multiple of it */
};

/* What one layer has in the view. */
struct ckv_layer_kept {
	uint32_t n_sets;	/* sets of positions it stores: 0 where it shares */
	uint32_t n;		/* rows of every kv head */
};

/* Regions of one kv head, in the order in which they lie. */
enum ckv_part {
	CKV_PART_K_CODE, CKV_PART_K_SCALE, CKV_PART_V_CODE, CKV_PART_V_SCALE,
	CKV_PART_K_FULL, CKV_PART_V_FULL,	/* the newest, plain */
	CKV_N_PARTS
};

/*
 * Where a layer lies in its view: its sets of positions, then its kv heads, all alike.
 * Set s begins at `positions` + s * set_stride, head h at `heads` + h * head_stride,
 * part p of it `part[p].offset` further.
 */
struct ckv_layer_layout {
	uint32_t n_coded, n_full;	/* rows of a head: encoded, plain */
	uint64_t positions, set_stride;
	uint64_t heads, head_stride;
	struct { uint64_t offset, bytes; } part[CKV_N_PARTS];
	uint64_t end;
};

/* Bytes before the first layer: the header and the runs. */
uint64_t ckv_object_begin(const struct ckv_object *o);

/* Of a layer that begins at `at`; the next one begins at ret->end. */
void ckv_layer_lay_out(const struct ckv_object *o, const struct ckv_encode *e,
		       const struct ckv_layer_kept *kept, uint64_t at,
		       struct ckv_layer_layout *ret);

struct ckv_sizes {		/* exact, of the finished view */
	uint64_t total;		/* the sum of the next five */
	uint64_t codes;		/* and rows that stay plain */
	uint64_t scales, positions;
	uint64_t heads;		/* header and runs */
	uint64_t padding;
	uint64_t plain;		/* what all tokens take as they are stored, K and V */
};

/* Of layer[n_layers]. */
void ckv_object_sizes(const struct ckv_object *o, const struct ckv_encode *e,
		      const struct ckv_layer_kept *layer,
		      struct ckv_sizes *ret_sizes);

/*
 * The method with everything settled for this object: bytes= and bits=auto become
 * numbers, in select.n_keep and encode.bits. The text stays as it was.
 *
 * With bytes= the number of tokens is the largest whose view takes no more than that
 * share, exactly; each chunk of chunkkv is counted as a whole one. bits=auto [ours, after
 * arXiv 2412.12706] is 8 if all tokens fit with 8 bits, else 4, and then as many tokens
 * as fit. It is never 2: who wants 2 bits says so.
 *
 *   -EINVAL  it does not fit the object: `why` names the key and what would do
 */
int ckv_method_settle(const struct ckv_method *m, const struct ckv_object *o,
		      struct ckv_method *ret_settled,
		      char why[CKV_METHOD_WHY_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
