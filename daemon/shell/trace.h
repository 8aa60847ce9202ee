/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - read a trace of requests: JSON lines {"hash_ids": [...], ...} as published
 * with Mooncake, and variants of that (trace_rows.c). One id stands for one block of a
 * prompt; equal prefixes have equal ids.
 */
#ifndef CKV_TRACE_H
#define CKV_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct trace {
	uint32_t *refs;		/* numbers of blocks in order of use */
	uint32_t *parents;	/* of each distinct block; UINT32_MAX: it is a root */
	uint32_t *ends;		/* for each request: one past its last index in refs */
	uint32_t n_refs;
	uint32_t n_blocks;	/* distinct blocks */
	uint32_t n_requests;
	/* Copied from struct trace_rows. */
	uint32_t n_without, first_without, n_continued;
	bool sorted;
};

/*
 * Read a whole trace; the caller owns *ret_trace. -EBADMSG: a line is not understood,
 * and `text` says which and why; -ENOMEM; -EIO.
 */
int trace_read(FILE *file, struct trace *ret_trace, char *text,
	       size_t text_bytes);
void trace_free(struct trace *trace);

/* How many hits the best possible cache of n_cached blocks has; see belady.c. */
int trace_belady(const struct trace *trace, uint32_t n_cached,
		 uint64_t *ret_n_hits);

#endif
