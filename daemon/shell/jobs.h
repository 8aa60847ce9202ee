/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.h - what takes too long for the reactor: compressing and summing.
 *
 * The reactor lists the chain, some blocks a turn. Then a compression goes through
 * three stages on a worker, and the reactor decides between them:
 *
 *   DIGEST  settle the method for this chain; copy the
 *           inputs, once, and hash the copy                 -> is there such a view,
 *                                                              or a job that makes it?
 *   SELECT  check the pages, choose what is kept            -> view pages
 *   WRITE   gather into the pages, sum them                 -> publish, answer
 *
 * View pages may be waited for, until the space has made a step.
 *
 * The chain is held in the core from the request to the answer, the scratch
 * pages until the copy is made. A job goes on when its lane is closed; only
 * nobody is answered.
 *
 * Views that a space asks for itself (auto.h) are made by jobs in slots of their own, at
 * low priority. Their chains may be taken from them: that is asked between the stages.
 */
#ifndef CKV_JOBS_H
#define CKV_JOBS_H

#include "daemon/shell/daemon.h"

/* Private memory of a job for each block of its chain. */
#define JOBS_LINK_BYTES	sizeof(struct space_link)

int jobs_create(struct daemon *d);	/* d->jobs; -errno: nothing is left */
void jobs_destroy(struct daemon *d);

/*
 * COMPRESS, from lane->argument: SPACE_MORE, call again; JOB_TAKEN, the answer comes
 * later; or the result, and `reply` says why. lane->run.job is its job meanwhile.
 */
#define JOB_TAKEN	(-4098)
int jobs_compress(struct daemon *d, struct lane *lane,
		  const struct ckv_req *request, struct ckv_view_reply *reply,
		  int32_t *units);
/* Nobody asks any more for a job that is being listed. */
void jobs_cancel(struct job *job);

/* STAT: 0 and `reply`, -ENOENT, or -EINVAL and a text. */
int jobs_find_view(const struct space *space, const struct ckv_view_query *query,
		   struct ckv_view_reply *reply);

/* Take back some of what workers have finished. */
void jobs_collect(struct daemon *d);
/*
 * What jobs have to do in a turn: go on listing, take back the rest, unmap a piece of what
 * they have left. Was there any?
 */
bool jobs_turn(struct daemon *d);
/* The space has made a step: go on with those that waited for it. */
void jobs_step(struct daemon *d, struct served_space *served);

/*
 * The reactor has nothing else to do: sum some blocks that have no checksum. Is there
 * perhaps one that was not found yet?
 */
bool jobs_idle(struct daemon *d);

#endif
