/* SPDX-License-Identifier: Apache-2.0 */
/* report.h - the benchmark's rows for people and for machines. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "tests/bench/bench.h"

/* Print the machine, every row with its spread and budget, and the replay. */
void report_table(const struct bench *b);

/* Write one flat JSON object to `path`. 0 or -1, said on stderr. */
int report_json(const struct bench *b, const char *path);

#endif
