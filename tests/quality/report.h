/* SPDX-License-Identifier: Apache-2.0 */
/* report.h - a run's results, written down. */
#ifndef QUALITY_REPORT_H
#define QUALITY_REPORT_H

#include <stdio.h>

#include "tests/quality/run.h"

/* What the tables say of where they come from. */
struct provenance {
	const char *machine, *command;
};

/*
 * Every row: method, bytes_fraction, length, task, aware, turn, accuracy,
 * output_error, mass, and bytes, plain_bytes, n. 0 or -errno.
 */
int report_json(const struct run *run, const char *path);

/* The main table and the findings; then a table and a picture for each task and length. */
void report_markdown(const struct run *run, const struct provenance *from, FILE *out);
/* The main table of one turn. */
void report_main(const struct run *run, enum turn turn, FILE *out);

/* Each published finding, confirmed or denied with our number. */
void report_findings(const struct run *run, FILE *out);

/* Scripts for gnuplot into `dir`, which draw dir/NAME.svg. 0 or -errno. */
int report_pictures(const struct run *run, const char *dir);

/* Rows of daemon/shell/quality.def, by which a space's floor is judged. */
void report_floor(const struct run *run, FILE *out);

#endif
