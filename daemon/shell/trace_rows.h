/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_rows.h - the rows of a trace file, in the order of time.
 *
 * A row is one request: the ids of all blocks of its prompt. Files differ in how they
 * write that; trace_rows.c describes the forms that are understood.
 */
#ifndef CKV_TRACE_ROWS_H
#define CKV_TRACE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct trace_row {
	double	 time;		/* in the unit of the file */
	uint32_t order;		/* orders rows of the same time */
	uint32_t n_ids;
	size_t	 first_id;
};

struct trace_rows {
	struct trace_row *row;
	uint64_t *ids;		/* equal ids of the file are equal here */
	uint32_t n_rows;
	size_t	 n_ids;
	/* What is not as in the file; the report tells it. */
	uint32_t n_without;	/* rows without ids, which are left out */
	uint32_t first_without;	/* the line of the first of them */
	uint32_t n_continued;	/* rows that listed only what is new in their session */
	bool	 sorted;	/* rows were put into the order of time */
};

/*
 * Read a whole file; the caller owns *ret_rows. -EBADMSG: a line is not understood, and
 * `text` says which and why; -ENOMEM; -EIO.
 */
int trace_rows_read(FILE *file, struct trace_rows *ret_rows, char *text,
		    size_t text_bytes);
void trace_rows_free(struct trace_rows *rows);

#endif
