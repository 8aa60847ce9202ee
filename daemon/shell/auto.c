/* SPDX-License-Identifier: Apache-2.0 */
/* auto.c - see auto.h. */
#include "daemon/shell/auto.h"
#include "daemon/shell/job.h"
#include "daemon/shell/log.h"

#include <errno.h>
#include <string.h>

#define LOOK_MAX 16u	/* chains of a space that one call looks at */

void auto_configure(struct served_space *served)
{
	const struct config_space *config = served->config;
	bool anew = strcmp(served->compress_text, config->compress.text) != 0;

	memcpy(served->compress_text, config->compress.text,
	       sizeof served->compress_text);
	space_set_auto(served->core, config->automatic, anew);
}

static bool wanted(const struct job *job)
{
	return space_tip_held(job->served->core, job->tip);
}

static void say(const struct served_space *served, int result, const char *text)
{
	if (result < 0 && result != -EEXIST && result != -ECANCELED)
		log_line(LOG_DEBUG, "space %s: no automatic view: %s",
			 served->config->name, text);
}

static void done(struct job *job)
{
	say(job->served, job->result, job->text);
	space_tip_done(job->served->core, job->tip, job->result);
}

static const struct job_own own = { .wanted = wanted, .done = done };

/* Begin the job for the next chain of a space that has no such view yet. */
static bool begin_one(struct served_space *served, struct job *job)
{
	const struct ckv_method *method = &served->config->compress;
	struct ckv_key chain, name;
	struct space_view view;
	struct space_walk walk;
	int r;

	for (uint32_t look = 0; look < LOOK_MAX; look++) {
		if (space_tip_begin(served->core, &job->tip, &chain, &walk) == 0)
			return false;
		r = job_name(&chain, method->text, &name);
		if (r == 0 && space_view_newest(served->core, &name, &view) < 0) {
			jobs_own(job, served, &chain, &walk, method, &own);
			return true;
		}
		space_tip_done(served->core, job->tip,
			       r < 0 ? -EAGAIN : -EEXIST);
	}
	return false;
}

bool auto_begin(struct daemon *d)
{
	struct job *job = job_new_own(d->jobs);

	for (uint32_t i = 0; job != NULL && i < d->n_spaces; i++) {
		struct served_space *served = &d->served[d->jobs->own_space++ % d->n_spaces];

		if (served->config->automatic != SPACE_AUTO_NONE &&
		    begin_one(served, job))
			return true;
	}
	return false;
}
