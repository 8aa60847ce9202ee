/* SPDX-License-Identifier: Apache-2.0 */
/*
 * screen.c - a terminal that is drawn over and given back as it was.
 *
 * Signals are blocked and read from a descriptor, so nothing can end the program
 * between taking the terminal and giving it back but SIGKILL.
 */
#include "client/cli/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const int caught[] = {
	SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP, SIGWINCH,
};

static struct {
	struct termios before;
	sigset_t mask_before;
	int signals;		/* signalfd */
	int ended_by;		/* signal, 0: none */
} screen;

static void put(const char *text, size_t bytes)
{
	while (bytes) {
		ssize_t n = write(STDOUT_FILENO, text, bytes);

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0) {
			text += n;
			bytes -= (size_t)n;
		}
	}
}

/* Other screen, no cursor; and back. */
static void enter(void)
{
	struct termios raw = screen.before;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	put("\033[?1049h\033[?25l", 14);
}

static void leave(void)
{
	put("\033[?25h\033[?1049l", 14);
	tcsetattr(STDIN_FILENO, TCSANOW, &screen.before);
}

int screen_open(void)
{
	sigset_t mask;

	if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &screen.before) < 0)
		return -ENOTTY;
	sigemptyset(&mask);
	for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
		sigaddset(&mask, caught[i]);
	screen.signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (screen.signals < 0)
		return -errno;
	sigprocmask(SIG_BLOCK, &mask, &screen.mask_before);
	screen.ended_by = 0;
	enter();
	return 0;
}

void screen_close(void)
{
	leave();
	close(screen.signals);
	if (screen.ended_by) {
		signal(screen.ended_by, SIG_DFL);
		raise(screen.ended_by);
	}
	sigprocmask(SIG_SETMASK, &screen.mask_before, NULL);
}

void screen_size(unsigned *ret_columns, unsigned *ret_lines)
{
	struct winsize size;
	int known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;

	*ret_columns = known && size.ws_col ? size.ws_col : 80;
	*ret_lines = known && size.ws_row ? size.ws_row : 24;
}

void screen_draw(const char *text, size_t bytes)
{
	unsigned columns, lines;
	char out[64 * 1024];
	size_t n = 0;

	screen_size(&columns, &lines);
	n += (size_t)snprintf(out, sizeof out, "\033[H");
	for (unsigned line = 0; line < lines; line++) {
		const char *end = memchr(text, '\n', bytes);
		size_t length = end ? (size_t)(end - text) : bytes;
		size_t shown = length < columns ? length : columns;

		if (bytes == 0 || n + shown + 16 > sizeof out)
			break;
		if (line)
			n += (size_t)snprintf(out + n, 3, "\r\n");
		memcpy(out + n, text, shown);
		n += shown;
		n += (size_t)snprintf(out + n, 4, "\033[K");
		length += end != NULL;
		text += length;
		bytes -= length;
	}
	n += (size_t)snprintf(out + n, 4, "\033[J");
	put(out, n);
}

/* Ctrl-Z: give the terminal back, stop, take it again when resumed. */
static void suspend(void)
{
	leave();
	raise(SIGSTOP);
	enter();
}

static enum screen_event on_signal(void)
{
	struct signalfd_siginfo info;

	if (read(screen.signals, &info, sizeof info) != sizeof info ||
	    info.ssi_signo == SIGWINCH)
		return SCREEN_REDRAW;
	if (info.ssi_signo == SIGTSTP) {
		suspend();
		return SCREEN_REDRAW;
	}
	screen.ended_by = (int)info.ssi_signo;
	return SCREEN_QUIT;
}

enum screen_event screen_wait(int64_t timeout_ns)
{
	struct pollfd fds[] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = screen.signals, .events = POLLIN },
	};
	struct timespec limit = {
		.tv_sec = timeout_ns / 1000000000,
		.tv_nsec = timeout_ns % 1000000000,
	};
	char key;
	int n = ppoll(fds, 2, &limit, NULL);

	if (n <= 0)
		return n == 0 ? SCREEN_TIMEOUT : SCREEN_REDRAW;
	if (fds[1].revents)
		return on_signal();
	if (read(STDIN_FILENO, &key, 1) != 1)
		return fds[0].revents & POLLHUP ? SCREEN_QUIT : SCREEN_REDRAW;
	return key == 'q' || key == 'Q' || key == 3 ? SCREEN_QUIT : SCREEN_REDRAW;
}
