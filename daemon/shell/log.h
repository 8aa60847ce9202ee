/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line per event, to stderr.
 *
 * Bytes that do not print are escaped, so that a name in a line cannot break the line
 * or a terminal. For a name that a client chose, callers also use ckv_text_name() and
 * quotes. If stderr is the journal's (JOURNAL_STREAM) each line begins with its priority.
 * Lines that a client can cause as often as it likes go through log_limited().
 */
#ifndef CKV_LOG_H
#define CKV_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Write only lines up to `level`. Also looks for JOURNAL_STREAM in the environment. */
void log_setup(enum log_level level);

__attribute__((format(printf, 2, 3)))
void log_line(enum log_level level, const char *format, ...);

/*
 * The same, but of all such lines at most 20 are written in ten seconds. How many were
 * left out is written before the next one.
 */
__attribute__((format(printf, 3, 4)))
void log_limited(enum log_level level, uint64_t now_ns, const char *format, ...);

/*
 * How far something is that has run for so long: from two seconds on, one line of a
 * terminal, which the next one overwrites. False: stderr is no terminal.
 */
__attribute__((format(printf, 2, 3)))
bool log_progress(uint64_t running_ns, const char *format, ...);
void log_progress_end(void);		/* the line goes */
void log_no_progress(void);		/* programs read this one */

#endif
