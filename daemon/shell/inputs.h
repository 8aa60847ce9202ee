/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inputs.h - what an engine brings to a compression besides the chain: queries,
 * log-sum-exps, column sums of attention.
 *
 * They are in scratch pages that the client can still write. So the parts that the
 * method reads are copied once, and only the copy is hashed and used. Parts that it
 * does not read are not looked at.
 */
#ifndef CKV_INPUTS_H
#define CKV_INPUTS_H

#include "kernels/ckv_kernels.h"
#include "proto/ckv_ops.h"

#define INPUTS_WHY_BYTES 200u

enum inputs_part { INPUT_QUERIES, INPUT_LSE, INPUT_SUMS, N_INPUT_PARTS };

struct inputs {
	/* The shapes of the parts that are read; 0 for other parts. */
	uint32_t n_query_heads, n_window, query_dtype;
	uint32_t n_sum_heads, n_sum_tokens;
	struct {
		uint64_t offset;	/* in the scratch pages */
		uint64_t bytes;		/* 0: the part is not there, or not read */
		const void *data;	/* the copy */
	} part[N_INPUT_PARTS];
	void *memory;			/* of all copies */
	size_t memory_bytes;
};

/* What the method reads, and how much there may be. */
struct inputs_want {
	const struct ckv_geometry *geometry;
	unsigned needs;			/* enum ckv_need */
	uint32_t window;		/* rows of queries that the method reads */
	uint32_t n_tokens;		/* of the chain */
	uint64_t room_bytes;		/* size of the request's scratch pages */
	uint64_t max_bytes;		/* limit of what is read (max_query_bytes) */
};

/* The kernels' name of a dtype. False: they do not compute with it. */
bool inputs_elem(uint32_t dtype, enum ckv_elem *ret_elem);

/*
 * Check the inputs that the argument describes. -EINVAL: `why` names the one that does
 * not fit and says what was expected. Nothing is allocated yet.
 */
int inputs_judge(const struct ckv_compress_arg *arg,
		 const struct inputs_want *want, struct inputs *ret_inputs,
		 char why[INPUTS_WHY_BYTES]);

/* Bits of enum ckv_view_input: the parts that are read. */
uint32_t inputs_read(const struct inputs *in);

/*
 * Copy the parts out of `page`, pages of page_bytes that make up room_bytes. The caller
 * frees the copies with inputs_free(). -ENOMEM.
 */
int inputs_copy(struct inputs *in, const void *const *page, size_t page_bytes);
void inputs_free(struct inputs *in);

#endif
