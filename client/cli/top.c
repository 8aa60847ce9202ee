/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top.c - `ckv top`: copies the counters every so often and draws the difference.
 *
 * When the daemon goes, the last frame stays with a line that says so, and the next
 * daemon at that socket is shown as soon as it is there.
 */
#include "client/cli/cli.h"
#include "client/cli/progress.h"
#include "client/cli/screen.h"
#include "client/cli/show.h"
#include "client/cli/text.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int64_t interval_ns(const struct cli *cli)
{
	return (int64_t)(cli->interval_s * 1e9);
}

static int top_once(const struct cli *cli)
{
	struct shot before, now;
	struct watch watch;
	int r = CLI_OK;

	if (watch_open(cli->socket, &watch) < 0)
		return cli_fail("%s", watch.observer.why);
	watch_shot(&watch, &before);
	progress_begin(cli, "counting");
	progress_sleep(interval_ns(cli) / 1000000);
	progress_end();
	watch_shot(&watch, &now);
	if (cli->json) {
		r = text_json(show_top_json(&before, &now));
	} else {
		show_top(stdout, &before, &now, 0, 0);
		puts("\n* of this interval, as clients report");
	}
	shot_free(&before);
	shot_free(&now);
	watch_close(&watch);
	return r;
}

static void draw(const struct shot *before, const struct shot *now)
{
	unsigned columns, lines;
	char *text = NULL;
	size_t bytes = 0;
	FILE *file = open_memstream(&text, &bytes);

	if (file == NULL)
		return;
	screen_size(&columns, &lines);
	show_top(file, before, now, columns, lines > 2 ? lines - 2 : lines);
	fputs("\n* of this interval, as clients report.  q quits", file);
	if (fclose(file) == 0)
		screen_draw(text, bytes);
	free(text);
}

/* Break lines at blanks so that none is longer than the window is wide. */
static void wrap(char *text, unsigned columns)
{
	char *blank = NULL, *line = text;

	for (char *at = text; *at; at++) {
		if (*at == '\n') {
			line = at + 1;
			blank = NULL;
		} else if (*at == ' ') {
			blank = at;
		}
		if (blank && at - line >= (long)columns) {
			*blank = '\n';
			line = blank + 1;
			blank = NULL;
		}
	}
}

static void draw_waiting(const char *why)
{
	unsigned columns, lines;
	char text[sizeof ((struct observer *)0)->why + 64];
	int n = snprintf(text, sizeof text, "waiting for the daemon (q quits)\n"
			 "%s", why);

	screen_size(&columns, &lines);
	wrap(text, columns);
	screen_draw(text, (size_t)n);
}

/* Wait for the interval's end. False: quit. */
static bool rest(int64_t ns, const struct shot *before, const struct shot *now)
{
	struct timespec t;
	int64_t start, left = ns;
	enum screen_event event;

	clock_gettime(CLOCK_MONOTONIC, &t);
	start = t.tv_sec * 1000000000 + t.tv_nsec;
	while (left > 0) {
		event = screen_wait(left);
		if (event == SCREEN_QUIT)
			return false;
		if (event == SCREEN_TIMEOUT)
			return true;
		if (now)
			draw(before, now);
		clock_gettime(CLOCK_MONOTONIC, &t);
		left = ns - (t.tv_sec * 1000000000 + t.tv_nsec - start);
	}
	return true;
}

/* Draw one daemon until it goes (true) or the user does (false). */
static bool follow(const struct cli *cli, struct watch *watch)
{
	struct shot before, now;
	bool more = true;

	watch_shot(watch, &before);
	watch_shot(watch, &now);
	draw(&before, &now);
	while (more && now.alive) {
		more = rest(interval_ns(cli), &before, &now);
		shot_free(&before);
		before = now;
		watch_shot(watch, &now);
		if (more)
			draw(&before, &now);
	}
	shot_free(&before);
	shot_free(&now);
	return more;
}

static int top_live(const struct cli *cli)
{
	struct watch watch;
	bool more = true;

	if (watch_open(cli->socket, &watch) < 0)
		return cli_fail("%s", watch.observer.why);
	if (screen_open() < 0) {
		watch_close(&watch);
		return cli_fail("this terminal cannot be drawn on; use --once");
	}
	for (;;) {
		more = follow(cli, &watch);
		watch_close(&watch);
		while (more && watch_open(cli->socket, &watch) < 0) {
			draw_waiting(watch.observer.why);
			more = rest(interval_ns(cli), NULL, NULL);
		}
		if (!more)
			break;
	}
	screen_close();
	return CLI_OK;
}

int cmd_top(const struct cli *cli)
{
	if (cli->once || cli->json || !isatty(STDOUT_FILENO) ||
	    !isatty(STDIN_FILENO))
		return top_once(cli);
	return top_live(cli);
}
