/*
 * jobs.h - what takes too long for the reactor: compressing and summing.
 *
 * A compression goes through three stages on a worker, and the reactor
 * decides between them:
 *
 *   DIGEST  settle the method for this chain; copy the
 *           inputs, once, and hash the copy                 -> is there such a view,
 *                                                              or a job that makes it?
 *   SELECT  check the pages, choose what is kept            -> view pages
 *   WRITE   gather into the pages, sum them                 -> publish, answer
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
#define JOBS_LINK_BYTES	(sizeof(struct space_link) + sizeof(uint64_t) + sizeof(bool))

int jobs_create(struct daemon *d);	/* d->jobs; -errno: nothing is left */
void jobs_destroy(struct daemon *d);

/*
 * COMPRESS, from d->argument: 1 and the answer comes later, or the result;
 * then `reply`, which was zeroed, says why.
 */
int jobs_compress(struct daemon *d, struct lane *lane,
		  const struct ckv_req *request, struct ckv_view_reply *reply);

/* STAT: 0 and `reply`, -ENOENT, or -EINVAL and a text. */
int jobs_find_view(const struct space *space, const struct ckv_view_query *query,
		   struct ckv_view_reply *reply);

/* Take back what workers have finished. */
void jobs_collect(struct daemon *d);

/* The reactor has nothing else to do: sum some blocks that have no checksum. */
void jobs_idle(struct daemon *d);

#endif
