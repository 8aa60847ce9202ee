/* SPDX-License-Identifier: Apache-2.0 */
/* report_json.c - see report_json(). */
#include "tests/quality/report.h"

#include <errno.h>
#include <math.h>

#include <jansson.h>

/* As many digits as two runs surely share when they are read. */
static double rounded(double x)
{
	return round(x * 1e6) / 1e6;
}

static json_t *row(const struct cell *c, uint32_t method, double fraction,
		   uint32_t length, enum task task, int aware, int turn)
{
	return json_pack("{s:s, s:f, s:i, s:s, s:b, s:i, s:o, s:f, s:f, s:I, s:I, s:i}",
		"method", compared[method].name,
		"bytes_fraction", rounded(fraction),
		"length", (int)run_length[length], "task", task_name[task],
		"aware", aware, "turn", turn == TURN_1 ? 1 : 4,
		"accuracy", task == STRUCTURED ? json_null() :
			    json_real(rounded(cell_right(c))),
		"output_error", rounded(cell_error(c)),
		"mass", rounded(cell_mass(c)),
		"bytes", (json_int_t)llround(c->bytes / c->n),
		"plain_bytes", (json_int_t)llround(c->plain / c->n),
		"n", (int)c->n);
}

static void add_rows(const struct run *run, json_t *list, enum task task,
		     uint32_t length, uint32_t method, uint32_t column)
{
	struct pool pool = { 1u << task, 1u << length };

	for (int aware = 0; aware < N_AWARE; aware++)
		for (int turn = 0; turn < N_TURNS; turn++) {
			struct cell c = run_cell(run, pool, method, column,
						 aware, turn);

			if (c.n == 0)
				continue;
			json_array_append_new(list, row(&c, method,
				column < N_SHARES ? 1.0 / share_den[column] :
				cell_share(&c), length, task, aware, turn));
		}
}

int report_json(const struct run *run, const char *path)
{
	json_t *list = json_array();
	int r;

	for (int t = 0; t < N_TASKS; t++)
		for (uint32_t l = 0; l < N_LENGTHS; l++)
			for (uint32_t m = 0; m < n_compared; m++)
				for (uint32_t c = 0; c < N_COLUMNS; c++)
					if (c < N_SHARES || compared[m].select == NULL)
						add_rows(run, list, t, l, m, c);
	r = json_dump_file(list, path, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	json_decref(list);
	return r < 0 ? -EIO : 0;
}
