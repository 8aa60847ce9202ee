/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - numbers for people, aligned tables, JSON to stdout.
 */
#ifndef CKV_CLI_TEXT_H
#define CKV_CLI_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { TEXT_SHORT = 32, TEXT_ERROR = 800 };

struct ckv;

/* Each writes into `out`, TEXT_SHORT bytes, and returns it. */
char *text_bytes(char *out, uint64_t bytes);		/* "1.5 GiB" */
char *text_age(char *out, uint64_t seconds);		/* "3h 12m" */
char *text_percent(char *out, uint64_t part, uint64_t whole); /* "91.2%", "-" */
char *text_rate(char *out, double per_s);		/* "12.3k" */
char *text_ns(char *out, double ns);			/* "1.25 us" */
char *text_count(char *out, uint64_t n, const char *one); /* "1 lane", "2 lanes" */

/* The first n bytes of a key, 2 n digits; out holds 2 n + 1. */
char *text_hex(char *out, const uint8_t *bytes, unsigned n);

/* Copy a name that a stranger wrote: only what prints on any terminal stays. */
void text_clean(char *out, const char *name, size_t bytes);

/*
 * What an error of the library means and, where it says more, why the last call failed.
 * Into `out`, TEXT_ERROR bytes.
 */
char *text_error(char *out, const struct ckv *ckv, int error);

/* Print, free, and return an exit code. NULL: out of memory. */
int text_json(json_t *json);

/*
 * A table is filled cell by cell, row after row, and printed with each column
 * as wide as its widest cell. Columns are named at the start, "name" to the left,
 * ">name" to the right.
 */
struct table {
	const char *const *heads;
	unsigned n_columns;
	size_t	 n_cells, max_cells;
	char   **cells;
};

void table_init(struct table *t, const char *const *heads, unsigned n_columns);
void table_cell(struct table *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Columns from the right are left out when the line would be wider than
 * `width` (0: any width). At most max_rows rows (0: all); then a line says how many
 * are not shown. Frees the table. Returns the number of lines printed.
 */
unsigned table_print(struct table *t, FILE *file, unsigned width,
		     unsigned max_rows);

#endif
