/* SPDX-License-Identifier: Apache-2.0 */
/*
 * screen.h - a terminal that is drawn over and given back as it was.
 */
#ifndef CKV_CLI_SCREEN_H
#define CKV_CLI_SCREEN_H

#include <stddef.h>
#include <stdint.h>

enum screen_event {
	SCREEN_TIMEOUT,		/* the time is over */
	SCREEN_REDRAW,		/* the window changed, or the process was resumed */
	SCREEN_QUIT,		/* 'q', or a signal that ends a program */
};

/*
 * Take the terminal over: its other screen, no echo, keys at once, signals as
 * events. 0, or -errno when stdin or stdout is no terminal.
 */
int screen_open(void);

/* Everything back. Ends the process if a signal asked for it. */
void screen_close(void);

/* Draw `text` from the top left corner, each line cut off at the window's edge. */
void screen_draw(const char *text, size_t bytes);

/* Wait for at most timeout_ns. */
enum screen_event screen_wait(int64_t timeout_ns);

/* 80 x 24 where the terminal does not say. */
void screen_size(unsigned *ret_columns, unsigned *ret_lines);

#endif
