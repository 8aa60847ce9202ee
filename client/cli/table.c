/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - aligned tables that fit the window.
 */
#include "client/cli/cli.h"
#include "client/cli/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void table_init(struct table *t, const char *const *heads, unsigned n_columns)
{
	*t = (struct table){ .heads = heads, .n_columns = n_columns };
}

void table_cell(struct table *t, const char *format, ...)
{
	va_list ap;
	int r;

	if (t->n_cells == t->max_cells) {
		size_t more = t->max_cells ? 2 * t->max_cells : 64;
		char **cells = cli_alloc(more, sizeof *cells);

		if (t->n_cells)
			memcpy(cells, t->cells, t->n_cells * sizeof *cells);
		free(t->cells);
		t->cells = cells;
		t->max_cells = more;
	}
	va_start(ap, format);
	r = vasprintf(&t->cells[t->n_cells], format, ap);
	va_end(ap);
	if (r < 0) {
		cli_fail("out of memory");
		exit(CLI_FAILED);
	}
	t->n_cells++;
}

static const char *head_name(const char *head)
{
	return head + (*head == '>');
}

static unsigned column_width(const struct table *t, unsigned column)
{
	size_t width = strlen(head_name(t->heads[column]));

	for (size_t i = column; i < t->n_cells; i += t->n_columns)
		if (strlen(t->cells[i]) > width)
			width = strlen(t->cells[i]);
	return (unsigned)width;
}

static void print_row(const struct table *t, FILE *file, const char **cells,
		      const unsigned *widths, unsigned n_shown)
{
	for (unsigned c = 0; c < n_shown; c++) {
		int w = (int)widths[c];

		if (c)
			fputs("  ", file);
		if (t->heads[c][0] == '>')
			fprintf(file, "%*s", w, cells[c]);
		else if (c + 1 < n_shown)
			fprintf(file, "%-*s", w, cells[c]);
		else
			fputs(cells[c], file);
	}
	fputc('\n', file);
}

/* How many columns fit, at least one. Fills widths. */
static unsigned fit(const struct table *t, unsigned width, unsigned *widths)
{
	unsigned line = 0, n = 0;

	for (unsigned c = 0; c < t->n_columns; c++) {
		widths[c] = column_width(t, c);
		line += widths[c] + (c ? 2 : 0);
		if (width == 0 || line <= width || c == 0)
			n = c + 1;
		else
			break;
	}
	return n;
}

unsigned table_print(struct table *t, FILE *file, unsigned width,
		     unsigned max_rows)
{
	size_t n_rows = t->n_cells / t->n_columns, shown = n_rows;
	unsigned *widths = cli_alloc(t->n_columns, sizeof *widths);
	const char **names = cli_alloc(t->n_columns, sizeof *names);
	unsigned n, lines = 1;

	assert(t->n_cells % t->n_columns == 0);
	n = fit(t, width, widths);
	for (unsigned c = 0; c < t->n_columns; c++)
		names[c] = head_name(t->heads[c]);
	print_row(t, file, names, widths, n);
	if (max_rows && n_rows > max_rows)
		shown = max_rows - 1;
	for (size_t r = 0; r < shown; r++, lines++)
		print_row(t, file, (const char **)t->cells + r * t->n_columns,
			  widths, n);
	if (shown < n_rows) {
		fprintf(file, "... and %zu more\n", n_rows - shown);
		lines++;
	}
	for (size_t i = 0; i < t->n_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	free(widths);
	free(names);
	*t = (struct table){ 0 };
	return lines;
}
