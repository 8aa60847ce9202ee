/* SPDX-License-Identifier: Apache-2.0 */
/* report_md.c - tables in Markdown: see report_markdown() and report_main(). */
#include "tests/quality/report.h"

static const char *const share_name[N_COLUMNS] = {
	"50 %", "25 %", "12.5 %", "6.25 %", "its own",
};

/* What a table says of a task's questions. */
static const char *const task_says[N_TASKS] = {
	[NEEDLE] = "one fact in filler, one question",
	[FACTS] = "16 facts with names of their own",
	[HARD] = "16 facts whose names share words",
	[CHAINS] = "8 variables that copy one of 8 others, and 16 facts beside them; "
		   "asked are the copies",
	[STRUCTURED] = "keys, values and queries with all eight structures, no model",
};

static void put_right(FILE *out, const struct cell *c)
{
	if (c->n == 0)
		fprintf(out, " |");
	else
		fprintf(out, " %.0f |", 100 * cell_right(c));
}

/* ---- main ------------------------------------------------------------- */

/* Has it anything to show: plain is the measure, some encodings fit nowhere. */
static int in_main(const struct run *run, uint32_t m)
{
	struct pool pool = { MANY_TASKS, ALL_LENGTHS };

	return m != compared_at("plain") && !compared[m].key_per_token &&
	       run_cell(run, pool, m, 0, LATER, TURN_1).n != 0;
}

static void put_main_row(const struct run *run, uint32_t m, enum turn turn, FILE *out)
{
	struct pool pool = { MANY_TASKS, ALL_LENGTHS };

	fprintf(out, "| %s |", compared[m].name);
	for (int aware = IN_WINDOW; aware >= LATER; aware--)
		for (uint32_t s = 0; s < N_SHARES; s++) {
			struct cell c = run_cell(run, pool, m, s, aware, turn);

			put_right(out, &c);
		}
	fprintf(out, "\n");
}

static void put_main(const struct run *run, enum turn turn, FILE *out)
{
	fprintf(out, "| %s turn, %% right | asked in the window: 50 %% | 25 %% | 12.5 %% | "
		"6.25 %% | asked later: 50 %% | 25 %% | 12.5 %% | 6.25 %% |\n"
		"|---|---|---|---|---|---|---|---|---|\n",
		turn == TURN_1 ? "first" : "fourth");
	for (uint32_t m = 0; m < n_compared; m++)
		if (in_main(run, m))
			put_main_row(run, m, turn, out);
}

void report_main(const struct run *run, enum turn turn, FILE *out)
{
	struct pool pool = { MANY_TASKS, ALL_LENGTHS };
	struct cell all = run_cell(run, pool, compared_at("plain"), SHARE_OWN, LATER,
				   turn);

	fprintf(out, "Facts, names that share words, and chains, in documents of %s tokens: %u "
		"questions a cell; all of the cache answers %.1f %%.\n\n", run->o.quick ?
		"512 and 1 024" : "512, 1 024 and 1 800", all.n, 100 * cell_right(&all));
	put_main(run, turn, out);
}

/* ---- encodings that keep every token ---------------------------------- */

static void put_encodings(const struct run *run, FILE *out)
{
	struct pool many = { MANY_TASKS, ALL_LENGTHS };
	struct pool made = { 1u << STRUCTURED, ALL_LENGTHS };

	fprintf(out, "| every token, encoded | of the plain bytes | %% right, first turn | "
		"fourth turn | output error | the same, structured |\n"
		"|---|---|---|---|---|---|\n");
	for (uint32_t m = 0; m < n_compared; m++) {
		struct cell one, four, no_model;

		if (compared[m].select != NULL)
			continue;
		one = run_cell(run, many, m, SHARE_OWN, LATER, TURN_1);
		four = run_cell(run, many, m, SHARE_OWN, LATER, TURN_4);
		no_model = run_cell(run, made, m, SHARE_OWN, LATER, TURN_1);
		fprintf(out, "| %s | %.1f %% | %.1f | %.1f | %.4f | %.4f |\n",
			compared[m].name, 100 * cell_share(&one),
			100 * cell_right(&one), 100 * cell_right(&four),
			cell_error(&one), cell_error(&no_model));
	}
}

/* ---- one structure alone ---------------------------------------------- */

enum { ALONE_COLUMN = 2 };	/* of the shares: 12.5 % */

static void put_alone_row(const struct run *run, uint32_t m, FILE *out)
{
	fprintf(out, "| %s |", compared[m].name);
	for (uint32_t i = 0; i < N_ALONE; i++) {
		uint32_t column = compared[m].select == NULL ? SHARE_OWN : ALONE_COLUMN;
		struct cell known = run_alone(run, i, m, column, IN_WINDOW, TURN_1);
		struct cell later = run_alone(run, i, m, column, LATER, TURN_1);

		if (later.n == 0)
			fprintf(out, " |");
		else if (compared[m].reads_queries)
			fprintf(out, " %.2f / %.2f |", cell_error(&known),
				cell_error(&later));
		else
			fprintf(out, " %.2f |", cell_error(&later));
	}
	fprintf(out, "\n");
}

static void put_alone(const struct run *run, FILE *out)
{
	fprintf(out, "\n## One structure alone\n\n"
		"Structured contexts of %d tokens with one structure switched on, at 12.5 %% of "
		"the bytes (encodings: at their own): output error with the question in the "
		"window / later. With none, attention is nearly uniform and nothing can be "
		"chosen.\n\n| method | none | sinks | local band | heavy hitters | channel "
		"outliers | needle spans | temperatures | clusters | low-rank values |\n"
		"|---|---|---|---|---|---|---|---|---|---|\n", ALONE_TOKENS);
	for (uint32_t m = 0; m < n_compared; m++)
		put_alone_row(run, m, out);
}

/* ---- a table for each task and length --------------------------------- */

/* One number of both turns, of one column; the fourth turn may not be there. */
static void put_pair(FILE *out, const struct cell *one, const struct cell *four,
		     double (*number)(const struct cell *), int percent)
{
	double first = number(one), fourth = four->n != 0 ? number(four) : 0;

	if (percent)
		fprintf(out, " %.0f", 100 * first);
	else
		fprintf(out, " %.3f", first);
	if (four->n != 0)
		fprintf(out, percent ? " / %.0f" : " / %.3f", percent ? 100 * fourth :
			fourth);
	fprintf(out, " |");
}

static void put_row(const struct run *run, struct pool pool, uint32_t m,
		    uint32_t column, FILE *out)
{
	int answers = pool.tasks != 1u << STRUCTURED;
	struct cell c[N_AWARE][N_TURNS];

	for (int aware = 0; aware < N_AWARE; aware++)
		for (int turn = 0; turn < N_TURNS; turn++)
			c[aware][turn] = run_cell(run, pool, m, column, aware, turn);
	if (c[LATER][TURN_1].n == 0)
		return;
	fprintf(out, "| %s | %s | %.0f | %.2f %% |", compared[m].name,
		share_name[column],
		c[LATER][TURN_1].bytes / c[LATER][TURN_1].n,
		100 * cell_share(&c[LATER][TURN_1]));
	for (int aware = IN_WINDOW; answers && aware >= LATER; aware--)
		put_pair(out, &c[aware][TURN_1], &c[aware][TURN_4], cell_right, 1);
	for (int aware = IN_WINDOW; aware >= LATER; aware--)
		put_pair(out, &c[aware][TURN_1], &c[aware][TURN_4], cell_error, 0);
	for (int aware = IN_WINDOW; aware >= LATER; aware--)
		put_pair(out, &c[aware][TURN_1], &c[aware][TURN_4], cell_mass, 0);
	fprintf(out, "\n");
}

static void put_absent(const struct run *run, enum task task, uint32_t length, FILE *out)
{
	struct pool pool = { 1u << task, 1u << length };

	for (uint32_t m = 0; m < n_compared; m++)
		for (uint32_t s = 0; s < N_SHARES; s++) {
			const char *why = run->sum[task][length].why[m][s];

			if (compared[m].select == NULL ||
			    run_cell(run, pool, m, s, LATER, TURN_1).n != 0 ||
			    why[0] == '\0')
				continue;
			fprintf(out, "- %s at %s is left out: %s\n",
				compared[m].name, share_name[s], why);
		}
}

static void put_table(const struct run *run, enum task task, uint32_t length, FILE *out)
{
	struct pool pool = { 1u << task, 1u << length };
	struct cell all = run_cell(run, pool, compared_at("plain"), SHARE_OWN, LATER,
				   TURN_1);
	int answers = task != STRUCTURED;

	if (all.n == 0)
		return;
	fprintf(out, "\n## %s, %u tokens\n\n%s; %u sessions.\n\n"
		"![%s, %u tokens](%s-%u.svg)\n\n", task_name[task],
		run_length[length], task_says[task], all.n, task_name[task],
		run_length[length], task_name[task], run_length[length]);
	fprintf(out, "| method | share | bytes | of plain |%s error: in the window | "
		"later | mass: in the window | later |\n|---|---|---|---|%s---|---|---|---|\n",
		answers ? " % right: in the window | later |" : "",
		answers ? "---|---|" : "");
	for (uint32_t m = 0; m < n_compared; m++)
		for (uint32_t c = 0; c < N_COLUMNS; c++)
			if ((c == SHARE_OWN) == (compared[m].select == NULL))
				put_row(run, pool, m, c, out);
	put_absent(run, task, length, out);
}

void report_markdown(const struct run *run, const struct provenance *from, FILE *out)
{
	fprintf(out, "# What compression costs\n\n"
		"Written by `%s` on %s.\n\n"
		"A tiny model (tiny-recall) reads a document once; its keys and values, in "
		"bf16, are compressed by each method to a share of their plain bytes, "
		"everything counted (codes, scales, positions, header, padding), and "
		"questions are answered from what is left. An answer is right when every word "
		"is, decoded greedily.\n\n"
		"- *Asked in the window*: the first question's own tokens are the scoring "
		"window (h2o: they are in the sums). *Asked later*: the document's last 32 "
		"tokens are, as when a cache is shared. Methods that read no queries have the "
		"same number in both.\n"
		"- *First turn / fourth turn*: the fourth question comes after three others "
		"with their right answers, uncompressed. In the window was the first.\n"
		"- *Output error*: |O' - O| / |O| of the attention over the document, for the "
		"queries that say the answer; *mass*: the share of their attention that was "
		"kept. Both averaged over layers and heads.\n"
		"- Needles have one question, so no fourth turn. An encoding that keeps every "
		"token stands at a share only if it fits: fp8 and int8 take a little more than "
		"half. `keys per token` is int4 with K grouped as V is, for comparison; nobody can "
		"ask the daemon for it.\n\n## Together\n\n", from->command, from->machine);
	report_main(run, TURN_1, out);
	fprintf(out, "\n");
	report_main(run, TURN_4, out);
	fprintf(out, "\n![accuracy against bytes](main.svg)\n\n");
	put_encodings(run, out);
	fprintf(out, "\n## Published findings\n\n");
	report_findings(run, out);
	put_alone(run, out);
	for (int t = 0; t < N_TASKS; t++)
		for (uint32_t l = 0; l < N_LENGTHS; l++)
			put_table(run, t, l, out);
}
