/* auto.c - see auto.h. */
#include "daemon/shell/auto.h"
#include "daemon/shell/job.h"
#include "daemon/shell/log.h"

#include <errno.h>
#include <string.h>

#define LOOK_MAX 16u	/* chains looked at by one call */

void auto_configure(struct host *host)
{
	const struct config_space *config = host->config;
	bool anew = strcmp(host->compress_text, config->compress.text) != 0;

	memcpy(host->compress_text, config->compress.text,
	       sizeof host->compress_text);
	space_set_auto(host->space, config->automatic, anew);
}

static bool wanted(const struct job *job)
{
	return space_tip_held(job->host->space, job->tip);
}

static void say(const struct host *host, int result, const char *text)
{
	if (result < 0 && result != -EEXIST && result != -ECANCELED)
		log_line(LOG_DEBUG, "space %s: no automatic view: %s",
			 host->config->name, text);
}

static void done(struct job *job)
{
	say(job->host, job->result, job->text);
	space_tip_done(job->host->space, job->tip, job->result);
}

static const struct job_own own = { .wanted = wanted, .done = done };

/* The next chain of a space that may have its view. */
static bool begin_one(struct host *host, struct job *job)
{
	const struct ckv_method *method = &host->config->compress;
	struct ckv_key chain, name;
	struct space_view view;
	struct space_walk walk;
	int r;

	for (uint32_t look = 0; look < LOOK_MAX; look++) {
		if (space_tip_begin(host->space, &job->tip, &chain, &walk) == 0)
			return false;
		r = job_name(&chain, method->text, &name);
		if (r == 0 && space_view_newest(host->space, &name, &view) < 0) {
			jobs_own(job, host, &chain, &walk, method, &own);
			return true;
		}
		space_tip_done(host->space, job->tip,
			       r < 0 ? -EAGAIN : -EEXIST);
	}
	return false;
}

void auto_begin(struct daemon *d)
{
	struct job *job = job_new_own(d->jobs);

	for (uint32_t i = 0; job != NULL && i < d->n_hosts; i++) {
		struct host *host = &d->host[d->jobs->own_host++ % d->n_hosts];

		if (host->config->automatic != SPACE_AUTO_NONE &&
		    begin_one(host, job))
			return;
	}
}
