/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - the hit ratios of a real trace, from ckvd --replay.
 */
#include "tests/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bench_replay(struct bench *b)
{
	char command[512];
	size_t size = 1 << 16, n;
	FILE *f;

	snprintf(command, sizeof command,
		 "%s/ckvd --replay %s --json", b->bin_dir, b->trace);
	f = popen(command, "r");
	b->replay_json = calloc(1, size);
	n = f != NULL && b->replay_json != NULL ?
		fread(b->replay_json, 1, size - 1, f) : 0;
	if (f == NULL || pclose(f) != 0 || n == 0) {
		free(b->replay_json);
		b->replay_json = NULL;
	}
}
