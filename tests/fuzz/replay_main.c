/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_main.c - run a target on files instead of a fuzzer's bytes.
 *
 *     build-san/tests/fuzz_NAME [FILE | FOLDER]...
 *
 * Without arguments it takes tests/fuzz/corpus/NAME. One line of TAP per
 * file: a file that was survived is ok, one that was not ends the program.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int n_files;

/* In memory of exactly its size, so that a step outside is seen. */
static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = NULL;
	long bytes;

	if (f == NULL)
		return -errno;
	if (fseek(f, 0, SEEK_END) != 0 || (bytes = ftell(f)) < 0 ||
	    fseek(f, 0, SEEK_SET) != 0) {
		fclose(f);
		return -EIO;
	}
	data = malloc((size_t)bytes);
	if ((data == NULL && bytes > 0) ||
	    fread(data, 1, (size_t)bytes, f) != (size_t)bytes) {
		free(data);
		fclose(f);
		return -EIO;
	}
	fclose(f);
	LLVMFuzzerTestOneInput(data, (size_t)bytes);
	free(data);
	printf("ok %d - %s\n", ++n_files, path);
	fflush(stdout);
	return 0;
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int replay(const char *path)
{
	struct dirent **entry;
	int n = scandir(path, &entry, is_visible, alphasort), r = 0;
	char name[4096];

	if (n < 0)
		return errno == ENOTDIR ? replay_file(path) : -errno;
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof name, "%s/%s", path, entry[i]->d_name);
		if (r == 0)
			r = replay_file(name);
		free(entry[i]);
	}
	free(entry);
	return r;
}

int main(int argc, char **argv)
{
	const char *name = strstr(argv[0], "fuzz_");
	char usual[256];
	int r = 0;

	snprintf(usual, sizeof usual, "tests/fuzz/corpus/%s",
		 name ? name + strlen("fuzz_") : "");
	if (argc == 1)
		r = replay(usual);
	for (int i = 1; i < argc && r == 0; i++)
		r = replay(argv[i]);
	if (r < 0 || n_files == 0)
		printf("not ok %d - the files to replay: %s\n", n_files + 1,
		       r < 0 ? strerror(-r) : "there are none");
	printf("1..%d\n", n_files);
	return r < 0 || n_files == 0;
}
