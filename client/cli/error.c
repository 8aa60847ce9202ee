/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.c - saying what went wrong, and memory that is there or ends the program.
 */
#include "client/cli/cli.h"
#include "proto/ckv_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int cli_fail(const char *format, ...)
{
	char text[2048], line[2048];
	va_list ap;

	fflush(stdout);
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	/* Names and texts of others are in it. */
	ckv_text_line(line, sizeof line, text);
	fprintf(stderr, "ckv: %s\n", line);
	return CLI_FAILED;
}

void *cli_alloc(size_t n, size_t bytes)
{
	void *memory = calloc(n ? n : 1, bytes ? bytes : 1);

	if (memory == NULL) {
		cli_fail("out of memory");
		exit(CLI_FAILED);
	}
	return memory;
}
