/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_rows.h - the rows of a trace file, in the order in which they happen.
 *
 * A row is one request: the ids of its prompt's blocks, from the first on. Files
 * differ in how they say that; trace_rows.c says what is understood.
 */
#ifndef CKV_TRACE_ROWS_H
#define CKV_TRACE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct trace_row {
	double	 time;		/* in the unit of the file */
	uint32_t order;		/* of rows with the same time */
	uint32_t n_ids;
	size_t	 first_id;
};

struct trace_rows {
	struct trace_row *row;
	uint64_t *ids;		/* equal ids of the file are equal here */
	uint32_t n_rows;
	size_t	 n_ids;
	/* What was done with the file, for the reader to know. */
	uint32_t n_without;	/* rows without ids, left out */
	uint32_t first_without;	/* the line of the first of them */
	uint32_t n_continued;	/* rows that went on where their session ended */
	bool	 sorted;	/* the file was not in the order of time */
};

/*
 * Read a whole file; the caller owns *ret_rows. -EBADMSG: a line is damaged,
 * text says which and why; -ENOMEM; -EIO.
 */
int trace_rows_read(FILE *file, struct trace_rows *ret_rows, char *text,
		    size_t text_bytes);
void trace_rows_free(struct trace_rows *rows);

#endif
