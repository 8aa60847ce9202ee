/* SPDX-License-Identifier: Apache-2.0 */
/* nearest.c - distance of names, by the usual row of the edit matrix. */
#include "kernels/nearest.h"

#include <string.h>

enum { LONGEST = 64 };

unsigned ckv_name_distance(const char *typed, const char *name)
{
	unsigned row[LONGEST], n = (unsigned)strlen(name);

	if (*typed == 0 || n >= LONGEST)
		return LONGEST;
	if (strncmp(name, typed, strlen(typed)) == 0)
		return 0;
	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; typed[i - 1]; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= n; j++) {
			unsigned best = diagonal + (typed[i - 1] != name[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	/* More than half of it wrong: something else was meant. */
	return 2 * row[n] <= strlen(typed) ? row[n] : LONGEST;
}
