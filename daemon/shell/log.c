/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - write lines to stderr, each with one write() if it is no longer than a pipe
 * takes at once. Where nobody reads them, or the disk is full, they are lost and counted:
 * nothing waits. Of a longer one the begin may be there; what follows begins a new line.
 *
 * Lines contain names of clients, spaces and files. Bytes that do not print are
 * escaped here, for all callers, so that one event is always one line.
 */
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "proto/ckv_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES	8192u	/* a complaint about a file has its path and a line of it */
#define WINDOW_NS	10000000000u
#define QUIET_NS	2000000000u	/* who waits no longer is told nothing */
#define AGAIN_NS	200000000u
#define WINDOW_LINES	20u

static enum log_level log_max = LOG_INFO;
static bool for_journal;
static bool no_progress;
static bool overwritten;	/* the last line on the terminal is one of progress */
static uint64_t n_lost;		/* lines that were not written, and nothing has said so yet */
static int lost_why;		/* the last of them: -EAGAIN, nobody reads, or the kernel's error */
static bool is_cut;		/* the begin of a line was written, and not its end */

/*
 * Is stderr the journal? A process may inherit JOURNAL_STREAM though its stderr goes
 * elsewhere, such as a shell on a terminal, so compare the file that it names.
 */
static bool stderr_is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long device, inode;
	struct stat s;

	return text != NULL && sscanf(text, "%lu:%lu", &device, &inode) == 2 &&
	       sys_stat_fd(2, &s) == 0 && s.st_dev == device && s.st_ino == inode;
}

void log_setup(enum log_level level)
{
	log_max = level;
	for_journal = stderr_is_journal();
}

static void put(const char *line, size_t n)
{
	ssize_t r = 0;

	for (size_t at = 0; r >= 0 && at < n; at += (size_t)r) {
		r = sys_write_now(2, line + at, n - at);
		is_cut |= r < 0 && at > 0;
	}
	if (r >= 0)
		return;
	n_lost++;
	lost_why = (int)r;
}

static void tell_lost(void)
{
	const char *begin = for_journal ? "<4>" : "ckvd: ";
	uint64_t n = n_lost;
	bool was_cut = is_cut;
	char line[160];

	if (n == 0)
		return;
	n_lost = 0;
	is_cut = false;
	put(line, (size_t)snprintf(line, sizeof line, "%s%s%llu line%s lost: %s\n",
				   was_cut ? "\n" : "", begin, (unsigned long long)n,
				   n == 1 ? " was" : "s were",
				   lost_why == -EAGAIN ? "nobody read the log"
						       : strerror(-lost_why)));
	if (n_lost > 0) {
		n_lost = n;
		is_cut |= was_cut;
	}
}

static void wipe(void)
{
	if (overwritten)
		(void)sys_write_now(2, "\r\033[K", 4);
	overwritten = false;
}

bool log_progress(uint64_t running_ns, const char *format, ...)
{
	static uint64_t told_ns;
	char text[256], line[300];
	va_list args;
	size_t n;

	if (no_progress || !isatty(2))
		return false;
	if (running_ns < QUIET_NS || (overwritten && running_ns > told_ns &&
				      running_ns - told_ns < AGAIN_NS))
		return true;
	told_ns = running_ns;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	wipe();
	n = ckv_text_line(line, sizeof line, text);
	(void)sys_write_now(2, line, n);
	overwritten = true;
	return true;
}

void log_progress_end(void)
{
	wipe();
}

void log_no_progress(void)
{
	no_progress = true;
}

static void write_line(enum log_level level, const char *format, va_list args)
{
	static const char priority[] = { '3', '4', '6', '7' };
	char text[LINE_BYTES], line[LINE_BYTES + 8];
	size_t n;

	if (level > log_max)
		return;
	vsnprintf(text, sizeof text, format, args);
	n = (size_t)(for_journal ?
		     snprintf(line, sizeof line, "<%c>", priority[level]) :
		     snprintf(line, sizeof line, "ckvd: "));
	n += ckv_text_line(line + n, sizeof line - 1 - n, text);
	line[n++] = '\n';
	wipe();
	tell_lost();
	put(line, n);
}

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(level, format, args);
	va_end(args);
}

void log_limited(enum log_level level, uint64_t now_ns, const char *format, ...)
{
	static uint64_t window_start_ns, n_lines, n_left_out;
	va_list args;

	/* A line that is not written must not count against those that are. */
	if (level > log_max)
		return;
	if (now_ns - window_start_ns > WINDOW_NS) {
		if (n_left_out > 0)
			log_line(LOG_WARNING, "%llu line%s about clients %s left out",
				 (unsigned long long)n_left_out, n_left_out == 1 ? "" : "s",
				 n_left_out == 1 ? "was" : "were");
		window_start_ns = now_ns;
		n_lines = n_left_out = 0;
	}
	if (n_lines++ >= WINDOW_LINES) {
		n_left_out++;
		return;
	}
	va_start(args, format);
	write_line(level, format, args);
	va_end(args);
}
