/* SPDX-License-Identifier: Apache-2.0 */
/*
 * folder.h - a folder of a test's own.
 *
 * It lies in $TMPDIR. Each Check program has a $TMPDIR of its own and removes it at its end
 * (check_main.h), and tests/run does so with what is left of a program that was killed.
 */
#ifndef CKV_TESTS_FOLDER_H
#define CKV_TESTS_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER_BYTES	80

/* A socket's path has at most 107 characters, and some tests split commands at blanks. */
static inline const char *folder_place(void)
{
	const char *place = getenv("TMPDIR");

	if (place == NULL || place[0] != '/' || strpbrk(place, " \t\n") != NULL ||
	    strlen(place) > FOLDER_BYTES - sizeof "/ckv-XXXXXX")
		return "/tmp";
	return place;
}

/* Make a new one and leave its path in `path`; ends the program when that fails. */
static inline void folder_make(char path[FOLDER_BYTES])
{
	snprintf(path, FOLDER_BYTES, "%s/ckv-XXXXXX", folder_place());
	if (mkdtemp(path) == NULL) {
		perror(path);
		abort();
	}
}

/* A file with just these bytes; ends the program when that fails. */
static inline void folder_write(const char *folder, const char *name, const void *data,
				size_t bytes)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	f = fopen(path, "w");
	if (f == NULL || fwrite(data, 1, bytes, f) != bytes || fclose(f) != 0) {
		perror(path);
		abort();
	}
}

static inline int folder_remove_one(const char *path, const struct stat *status, int kind,
				    struct FTW *where)
{
	(void)status, (void)kind, (void)where;
	return remove(path);
}

/* Remove it with everything in it. */
static inline void folder_remove(const char *path)
{
	nftw(path, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
