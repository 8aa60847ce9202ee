/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.c - SIGTERM and SIGINT stop the daemon, SIGHUP reloads its configuration.
 */
#include "daemon/shell/log.h"
#include "daemon/shell/reload.h"
#include "daemon/shell/sys.h"

#include <signal.h>

int signals_open(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	d->signal_fd = sys_signalfd(&set);
	if (d->signal_fd < 0)
		return d->signal_fd;
	return loop_watch(d->loop, d->signal_fd,
			  watch_token(WATCH_SIGNAL, 0, 0));
}

void signals_read(struct daemon *d)
{
	struct signalfd_siginfo info;
	char text[RELOAD_TEXT_BYTES];

	while (sys_read(d->signal_fd, &info, sizeof info) == sizeof info) {
		if (info.ssi_signo == SIGHUP) {
			(void)reload(d, text);	/* the log has it */
			continue;
		}
		log_line(LOG_INFO, "stopping: signal %u from process %u",
			 info.ssi_signo, info.ssi_pid);
		d->stop = true;
	}
}
