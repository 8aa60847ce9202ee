/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.c - stop and reload.
 */
#include "daemon/shell/auto.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <systemd/sd-daemon.h>

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

static void say_changed(void *context, const char *text)
{
	(void)context;
	log_line(LOG_INFO, "reload: %s", text);
}

static void say_refused(void *context, const char *text)
{
	(void)context;
	log_line(LOG_WARNING, "reload: %s", text);
}

static void apply(struct daemon *d)
{
	log_setup((enum log_level)d->config->daemon.log_level);
	for (uint32_t i = 0; i < d->n_spaces; i++) {
		space_set_limits(d->served[i].core,
				 (uint32_t)d->served[i].config->params.lent_pages,
				 d->served[i].config->n_pages_max);
		space_set_user_limit(d->served[i].core,
				     user_lent_max(d->served[i].config));
		auto_configure(&d->served[i]);
	}
}

static void reload(struct daemon *d)
{
	const struct config_complaint changed = { say_changed, NULL };
	const struct config_complaint refused = { say_refused, NULL };
	struct config *wanted;
	int n, r;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		   sys_now_ns() / 1000);
	r = config_read(d->config_path, &refused, &wanted);
	if (r < 0) {
		log_line(LOG_ERROR, "reload: nothing changed: %s: %s",
			 d->config_path, strerror(-r));
	} else {
		n = config_reload(d->config, wanted, &changed, &refused);
		config_free(wanted);
		apply(d);
		log_line(LOG_INFO, "reload: %d keys changed", n);
	}
	sd_notify(0, "READY=1");
}

void signals_read(struct daemon *d)
{
	struct signalfd_siginfo info;

	while (sys_read(d->signal_fd, &info, sizeof info) == sizeof info) {
		if (info.ssi_signo == SIGHUP) {
			reload(d);
			continue;
		}
		log_line(LOG_INFO, "stopping: signal %u from process %u",
			 info.ssi_signo, info.ssi_pid);
		d->stop = true;
	}
}
