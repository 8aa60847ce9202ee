/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.c - saying what went wrong, and memory that is there or ends the program.
 */
#include "client/cli/cli.h"
#include "client/cli/progress.h"
#include "client/cli/text.h"
#include "proto/ckv_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool as_json, answered;
static char first[2048];

void cli_as_json(void)
{
	as_json = true;
}

void cli_answered(void)
{
	answered = true;
}

int cli_end(int rc)
{
	if (as_json && !answered && *first)
		(void)text_json(json_pack("{s:{s:s, s:i}}", "error", "text", first,
					  "exit_status", rc));
	return rc;
}

int cli_fail(const char *format, ...)
{
	char text[2048], line[2048];
	va_list ap;

	progress_end();
	fflush(stdout);
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	/* Names and texts of others are in it. */
	ckv_text_line(line, sizeof line, text);
	fprintf(stderr, "ckv: %s\n", line);
	if (*first == 0)
		memcpy(first, line, sizeof first);
	return CLI_FAILED;
}

void *cli_alloc(size_t n, size_t bytes)
{
	void *memory = calloc(n ? n : 1, bytes ? bytes : 1);

	if (memory == NULL) {
		cli_fail("out of memory");
		exit(cli_end(CLI_FAILED));
	}
	return memory;
}
