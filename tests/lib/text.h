/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - a file as one string.
 */
#ifndef CKV_TESTS_TEXT_H
#define CKV_TESTS_TEXT_H

#include <stdio.h>
#include <stdlib.h>

/* The caller frees it. Ends the program when there is no such file, or nothing in it. */
static inline char *text_of(const char *path)
{
	FILE *in = fopen(path, "r");
	char *text = NULL;
	size_t bytes = 0;

	if (in == NULL || getdelim(&text, &bytes, 0, in) < 0) {
		fprintf(stderr, "%s cannot be read; tests run in the repository's root\n", path);
		abort();
	}
	fclose(in);
	return text;
}

#endif
