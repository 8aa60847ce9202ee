/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_floor.c - see report_floor().
 *
 * The daemon knows families of methods: a selection's name and an encoding. Variants
 * that are measured apart (SnapKV's two poolings, ChunkKV's modes) are one family
 * there, and the worst of them stands for all.
 */
#include "tests/quality/report.h"

#include <math.h>
#include <string.h>

#include "daemon/shell/floor.h"

enum { LATER_WINDOW = 32, PERCENT = 100 };

static int family_of(uint32_t m, char family[FLOOR_FAMILY_BYTES])
{
	char text[METHOD_TEXT_BYTES], why[CKV_METHOD_WHY_BYTES];
	struct ckv_method parsed;

	compared_text(&compared[m], 1, 2, LATER_WINDOW, text);
	if (compared[m].key_per_token || ckv_method_parse(text, &parsed, why) < 0)
		return 0;
	floor_family(&parsed, family);
	return 1;
}

/* The worst of a family's variants; none measured: n 0. */
static struct cell worst(const struct run *run, struct pool pool, const char *family,
			 uint32_t column)
{
	struct cell found = { 0 };
	char other[FLOOR_FAMILY_BYTES];

	for (uint32_t m = 0; m < n_compared; m++) {
		struct cell c = run_cell(run, pool, m, column, LATER, TURN_1);

		if (c.n == 0 || !family_of(m, other) || strcmp(other, family) != 0)
			continue;
		if (found.n == 0 || cell_right(&c) < cell_right(&found))
			found = c;
	}
	return found;
}

static void put_rows(const struct run *run, uint32_t m, const char *family, FILE *out)
{
	int whole = compared[m].select == NULL;

	for (uint32_t s = 0; s < N_COLUMNS; s++)
		for (uint32_t l = 0; l < N_LENGTHS; l++) {
			struct pool pool = { MANY_TASKS, 1u << l };
			struct cell c = worst(run, pool, family, s);
			uint32_t num = 1, den = PERCENT;

			if (c.n == 0 || whole != (s == SHARE_OWN))
				continue;
			if (!whole)
				den = share_den[s];
			else	/* as they are: all of the bytes */
				num = (uint32_t)fmin(PERCENT, ceil(PERCENT *
							cell_share(&c)));
			fprintf(out, "QUALITY(\"%s\", %u, %u, %u, %.0f)\n", family,
				num, den, run_length[l],
				floor(1000 * cell_right(&c)));
		}
}

void report_floor(const struct run *run, FILE *out)
{
	char family[FLOOR_FAMILY_BYTES], other[FLOOR_FAMILY_BYTES];

	for (uint32_t m = 0; m < n_compared; m++) {
		uint32_t first = 0;

		if (!family_of(m, family))
			continue;
		while (!family_of(first, other) || strcmp(family, other) != 0)
			first++;
		if (first == m)
			put_rows(run, m, family, out);
	}
}
