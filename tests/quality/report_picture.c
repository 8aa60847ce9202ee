/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report_picture.c - pictures, as scripts for gnuplot with their data inside.
 *
 * Four panels: the question in the window or later, first turn and fourth. Across:
 * bytes, as a share of the plain ones; up: right answers, or the output error where
 * there is no model.
 */
#include "tests/quality/report.h"

#include <errno.h>

/* What is drawn, and how: the others would hide each other. */
static const struct drawn {
	const char *method, *colour;
	int dash, point;
} drawn[] = {
	{ "random", "#999999", 2, 6 },
	{ "streamingllm (first+last)", "#000000", 2, 4 },
	{ "chunkkv", "#0060d0", 1, 7 },
	{ "snapkv max", "#d02020", 1, 5 },
	{ "pyramidkv", "#e08000", 1, 9 },
	{ "h2o", "#8040a0", 1, 11 },
	{ "tova", "#30a0a0", 1, 13 },
	{ "l2norm", "#806040", 1, 2 },
	{ "keydiff", "#20902f", 1, 3 },
	{ "chunkkv + int4", "#0060d0", 3, 7 },
	{ "snapkv + int4", "#d02020", 3, 5 },
	{ "snapkv + int2", "#f0a0a0", 3, 8 },
	{ "keydiff + int4", "#20902f", 3, 3 },
};

enum { N_DRAWN = sizeof(drawn) / sizeof(drawn[0]) };

static void put_data(const struct run *run, struct pool pool, int aware, enum turn turn,
		     FILE *out)
{
	for (int i = 0; i < N_DRAWN; i++) {
		fprintf(out, "$d%d%d%d << EOD\n", aware, (int)turn, i);
		for (uint32_t s = 0; s < N_SHARES; s++) {
			struct cell c = run_cell(run, pool,
				compared_at(drawn[i].method), s, aware, turn);

			if (c.n != 0)
				fprintf(out, "%.4f %.4f %.4f\n", 100 * cell_share(&c),
					100 * cell_right(&c), cell_error(&c));
		}
		fprintf(out, "EOD\n");
	}
}

static void put_panel(const struct pool pool, int aware, enum turn turn, FILE *out)
{
	int column = pool.tasks == 1u << STRUCTURED ? 3 : 2;

	fprintf(out, "set title 'asked %s, %s turn'\nplot ",
		aware ? "in the window" : "later", turn == TURN_1 ? "first" : "fourth");
	for (int i = 0; i < N_DRAWN; i++)
		fprintf(out, "%s$d%d%d%d using 1:%d with linespoints lw 2 ps 1.1 lc rgb '%s' "
			"dt %d pt %d title '%s'", i > 0 ? ", \\\n  " : "", aware,
			(int)turn, i, column, drawn[i].colour, drawn[i].dash,
			drawn[i].point, drawn[i].method);
	fprintf(out, "\n");
}

static int put_picture(const struct run *run, struct pool pool, const char *dir,
		       const char *name, const char *title)
{
	int made = pool.tasks == 1u << STRUCTURED;
	int turns = run_cell(run, pool, compared_at("plain"), SHARE_OWN, LATER,
			     TURN_4).n != 0 ? 2 : 1;
	char path[600];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s.gp", dir, name);
	out = fopen(path, "we");
	if (out == NULL)
		return -errno;
	fprintf(out, "set terminal svg size 1300,%d font 'sans,13' noenhanced background '#ffffff'\n"
		"set output '%s/%s.svg'\nset logscale x 2\nset xrange [4:60]\n"
		"set xtics ('6.25' 6.25, '12.5' 12.5, '25' 25, '50' 50)\n"
		"set xlabel 'bytes, %% of plain'\nset ylabel '%s'\nset yrange [%s]\n"
		"set grid lc rgb '#dddddd'\nset key off\n", turns == 2 ? 950 : 520, dir,
		name, made ? "output error" : "% right", made ? "0:2" : "-3:103");
	for (int aware = 0; aware < N_AWARE; aware++)
		for (int turn = 0; turn < turns; turn++)
			put_data(run, pool, aware, turn, out);
	fprintf(out, "set multiplot layout %d,2 title '%s' margins 0.06,0.80,%s "
		"spacing 0.07,%s\n", turns, title, turns == 2 ? "0.07,0.90" : "0.12,0.83",
		turns == 2 ? "0.12" : "0.1");
	for (int turn = 0; turn < turns; turn++) {
		put_panel(pool, IN_WINDOW, turn, out);
		fprintf(out, "set key %s\n", turn == 0 ?
			"at graph 1.04, graph 1 left top Left reverse samplen 3" : "off");
		put_panel(pool, LATER, turn, out);
		fprintf(out, "set key off\n");
	}
	fprintf(out, "unset multiplot\n");
	return fclose(out) == 0 ? 0 : -EIO;
}

int report_pictures(const struct run *run, const char *dir)
{
	struct pool many = { MANY_TASKS, ALL_LENGTHS };
	int r = put_picture(run, many, dir, "main",
			    "facts, names that share words, chains; all lengths");

	for (int t = 0; t < N_TASKS; t++)
		for (uint32_t l = 0; r == 0 && l < N_LENGTHS; l++) {
			struct pool pool = { 1u << t, 1u << l };
			char name[64], title[64];

			if (run_cell(run, pool, compared_at("plain"), SHARE_OWN, LATER,
				     TURN_1).n == 0)
				continue;
			snprintf(name, sizeof(name), "%s-%u", task_name[t],
				 run_length[l]);
			snprintf(title, sizeof(title), "%s, %u tokens", task_name[t],
				 run_length[l]);
			r = put_picture(run, pool, dir, name, title);
		}
	return r;
}
