/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload.c - read the configuration again, for SIGHUP and for `ckvd --reload`.
 *
 * The log tells everything. The answer to `ckvd --reload` tells the first thing that is
 * not as the file says, so that a reload which did only a part is not taken for a
 * success.
 */
#include "daemon/shell/reload.h"
#include "daemon/shell/auto.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct complaints {
	enum log_level level;
	uint32_t n;
	char first[RELOAD_TEXT_BYTES];
};

static void say_changed(void *context, const char *text)
{
	(void)context;
	log_line(LOG_INFO, "reload: %s", text);
}

static void say_refused(void *context, const char *text)
{
	struct complaints *complaints = context;

	log_line(complaints->level, "reload: %s", text);
	if (complaints->n++ == 0)
		snprintf(complaints->first, sizeof complaints->first, "%s", text);
}

static void apply(struct daemon *d)
{
	log_setup((enum log_level)d->config->daemon.log_level);
	for (uint32_t i = 0; i < d->n_spaces; i++) {
		space_set_limits(d->served[i].core, SERVED_HOST,
				 (uint32_t)d->served[i].config->params.lent_pages,
				 d->served[i].config->n_pages_max);
		space_set_user_limit(d->served[i].core, SERVED_HOST,
				     user_lent_max(d->served[i].config));
		auto_configure(&d->served[i]);
	}
}

/*
 * To open a pipe, or to read one, is to wait for who writes it, and everybody would wait
 * for the reactor. What is not there is said by config_read().
 */
static bool may_be_read(const char *path, struct complaints *wrong)
{
	char text[RELOAD_TEXT_BYTES];
	struct stat s;

	if (sys_stat(path, &s) < 0 || S_ISREG(s.st_mode))
		return true;
	snprintf(text, sizeof text, "%.150s: it is not a regular file, and a daemon that "
		 "serves reads nothing else", path);
	say_refused(wrong, text);
	return false;
}

/* Read the file. If anything in it is wrong, nothing of it is taken over. */
static int read_again(struct daemon *d, struct config **ret_wanted,
		      char text[RELOAD_TEXT_BYTES])
{
	struct complaints wrong = { .level = LOG_ERROR };
	int r = -EINVAL;

	if (may_be_read(d->config_path, &wrong))
		r = config_read(d->config_path,
				&(struct config_complaint){ say_refused, &wrong },
				ret_wanted);
	if (r == 0)
		return 0;
	log_line(LOG_ERROR, "reload: nothing changed: %s: %s", d->config_path,
		 strerror(-r));
	snprintf(text, RELOAD_TEXT_BYTES, "nothing changed: %.200s", wrong.n > 0 ?
		 wrong.first : strerror(-r));
	/* -EBUSY would mean that a part was taken over. */
	return r == -EBUSY ? -EIO : r;
}

static int take_over(struct daemon *d, const struct config *wanted,
		     char text[RELOAD_TEXT_BYTES])
{
	const struct config_complaint changed = { say_changed, NULL };
	struct complaints refused = { .level = LOG_WARNING };
	int n = config_reload(d->config, wanted, &changed,
			      &(struct config_complaint){ say_refused, &refused });
	const char *keys = n == 1 ? "key" : "keys";

	apply(d);
	users_warn(d->config);
	log_line(LOG_INFO, "reload: %d %s changed", n, keys);
	if (refused.n == 0)
		return n;
	/* The end of a long reason may be cut, so that the number after it stays. */
	snprintf(text, RELOAD_TEXT_BYTES, "%.180s; %d %s changed%s", refused.first,
		 n, keys, refused.n > 1 ? "; the log has more" : "");
	return -EBUSY;
}

void reload_say_ready(struct daemon *d)
{
	d->ready_unsaid = sys_notify("READY=1", 0) < 0;
}

int reload(struct daemon *d, char text[RELOAD_TEXT_BYTES])
{
	struct config *wanted;
	char state[64];
	int r;

	snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		 sys_now_ns() / 1000);
	(void)sys_notify(state, 0);
	r = read_again(d, &wanted, text);
	if (r == 0) {
		r = take_over(d, wanted, text);
		config_free(wanted);
	}
	reload_say_ready(d);
	return r;
}
