/*
 * error.c - saying what went wrong, and memory that is there or ends the program.
 */
#include "client/cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int cli_fail(const char *format, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("ckv: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
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
