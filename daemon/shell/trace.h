/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - a trace of requests: JSON lines {"hash_ids": [...], ...}, as
 * published with Mooncake and in its dialects (trace_rows.c). One id is one block of
 * a prompt, ids of equal prefixes are equal.
 */
#ifndef CKV_TRACE_H
#define CKV_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct trace {
	uint32_t *refs;		/* blocks in order of use; equal chain, equal number */
	uint32_t *parents;	/* of each distinct block; UINT32_MAX at a root */
	uint32_t *ends;		/* of each request: one past its last ref */
	uint32_t n_refs;
	uint32_t n_blocks;	/* distinct */
	uint32_t n_requests;
	/* What was done with the file, see struct trace_rows. */
	uint32_t n_without, first_without, n_continued;
	bool sorted;
};

/*
 * Read a whole trace; the caller owns *ret_trace. -EBADMSG: a line is damaged,
 * text says which and why; -ENOMEM; -EIO.
 */
int trace_read(FILE *file, struct trace *ret_trace, char *text,
	       size_t text_bytes);
void trace_free(struct trace *trace);

/* Hits of the best possible cache of n_cached blocks; see belady.c. */
int trace_belady(const struct trace *trace, uint32_t n_cached,
		 uint64_t *ret_n_hits);

#endif
