/* SPDX-License-Identifier: Apache-2.0 */
/*
 * built.h - the program that was built with this test: tests lie in build/tests/, ckv and
 * ckvd in build/.
 */
#ifndef CKV_TESTS_BUILT_H
#define CKV_TESTS_BUILT_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static inline void built(const char *program, char *path, size_t bytes)
{
	char here[480], *end;
	ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);

	here[n > 0 ? n : 0] = 0;
	for (int i = 0; i < 2 && (end = strrchr(here, '/')) != NULL; i++)
		*end = 0;
	snprintf(path, bytes, "%s/%s", here, program);
}

#endif
