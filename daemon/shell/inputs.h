/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inputs.h - what an engine brings to a compression beside the chain.
 *
 * It lies in scratch pages that the client can still write. So what the method
 * reads is copied, once; only the copy is hashed and used. The rest is not looked at.
 */
#ifndef CKV_INPUTS_H
#define CKV_INPUTS_H

#include "kernels/ckv_kernels.h"
#include "proto/ckv_ops.h"

#define INPUTS_WHY_BYTES 200u

enum inputs_part { INPUT_QUERIES, INPUT_LSE, INPUT_SUMS, N_INPUT_PARTS };

struct inputs {
	/* Of the parts that are read; 0 of the others. */
	uint32_t n_query_heads, n_window, query_dtype;
	uint32_t n_sum_heads, n_sum_tokens;
	struct {
		uint64_t offset;	/* in the scratch pages */
		uint64_t bytes;		/* 0: not there, or not read */
		const void *data;	/* the copy */
	} part[N_INPUT_PARTS];
	void *memory;
	size_t memory_bytes;
};

/* What the method wants, and what there is room for. */
struct inputs_want {
	const struct ckv_geometry *geometry;
	unsigned needs;			/* enum ckv_need */
	uint32_t window;		/* rows of queries */
	uint32_t n_tokens;		/* of the chain */
	uint64_t room_bytes;		/* of the scratch pages that came */
	uint64_t max_bytes;		/* that may be read */
};

/* A type that can be scored? */
bool inputs_elem(uint32_t dtype, enum ckv_elem *ret_elem);

/*
 * Judge what the argument says. -EINVAL: `why` names it and says what was
 * expected. Nothing is owned yet.
 */
int inputs_judge(const struct ckv_compress_arg *arg,
		 const struct inputs_want *want, struct inputs *ret_inputs,
		 char why[INPUTS_WHY_BYTES]);

/* Which of enum ckv_view_input are read. */
uint32_t inputs_read(const struct inputs *in);

/*
 * Copy out of `page`, pages of page_bytes, as many as room_bytes were. On success
 * the memory is the caller's, for inputs_free(). -ENOMEM.
 */
int inputs_copy(struct inputs *in, const void *const *page, size_t page_bytes);
void inputs_free(struct inputs *in);

#endif
