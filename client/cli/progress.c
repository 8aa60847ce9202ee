/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.c - one line on a terminal, written again and again, then wiped out.
 */
#include "client/cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { QUIET_MS = 2000, AGAIN_MS = 200 };

static struct {
	const char *what;	/* NULL: nobody looks */
	int64_t began_ms, shown_ms;
	bool shown;
} line;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void progress_begin(const struct cli *cli, const char *what)
{
	line.what = !cli->json && isatty(STDERR_FILENO) ? what : NULL;
	line.began_ms = now_ms();
	line.shown_ms = line.began_ms + QUIET_MS - AGAIN_MS;
}

void progress_at(uint64_t done, uint64_t total)
{
	int64_t now;

	if (line.what == NULL)
		return;
	now = now_ms();
	if (now - line.shown_ms < AGAIN_MS)
		return;
	line.shown_ms = now;
	line.shown = true;
	fprintf(stderr, "\r\033[K%s: %" PRIu64 " %%", line.what,
		total ? done * 100 / total : 0);
	fflush(stderr);
}

void progress_end(void)
{
	if (line.shown)
		fputs("\r\033[K", stderr);
	line.shown = false;
	line.what = NULL;
}

void progress_sleep(int64_t ms)
{
	int64_t end = now_ms() + ms, left;
	struct timespec t = { .tv_nsec = 0 };

	while ((left = end - now_ms()) > 0) {
		progress_at((uint64_t)(ms - left), (uint64_t)ms);
		if (line.what != NULL && left > AGAIN_MS / 2)
			left = AGAIN_MS / 2;
		t.tv_sec = left / 1000;
		t.tv_nsec = left % 1000 * 1000000;
		nanosleep(&t, NULL);
	}
}
