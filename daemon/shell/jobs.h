/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.h - work that takes too long for the reactor: compressions and checksums.
 *
 * First the reactor lists the chain, some blocks in each turn. Then a compression
 * goes through three stages on a worker thread; after each the reactor decides:
 *
 *   stage on a worker                            then the reactor
 *   DIGEST  settle the method for this chain;    looks whether the view exists, or
 *           copy the inputs once; hash them      another job is making it
 *   SELECT  check the pages' checksums;          gets view pages, for which the job
 *           choose what is kept                  may wait for a step of the space
 *   WRITE   encode what is kept into the view    publishes the view and answers
 *           pages; compute their checksum
 *
 * A client's job holds its chain in the core until the answer, and the scratch pages
 * with its inputs until they are copied. If its lane is closed meanwhile, the job goes
 * on, so the view is made, but nobody gets an answer.
 *
 * Views that a space asks for itself (auto.h) are made by own jobs, which have entries
 * of their own and run at low priority. The hold of an own job's chain may end; the
 * reactor checks that between the stages.
 */
#ifndef CKV_JOBS_H
#define CKV_JOBS_H

#include "daemon/shell/daemon.h"

/* Memory of a job for each block of its chain. */
#define JOBS_LINK_BYTES	sizeof(struct space_link)

int jobs_create(struct daemon *d);	/* d->jobs; -errno: nothing is left */
void jobs_destroy(struct daemon *d);

/*
 * Begin a COMPRESS whose argument is in lane->argument. SPACE_MORE: call again;
 * meanwhile lane->run.job is its job. WAIT_TAKEN: the answer comes later. Otherwise the
 * result, and `reply` says why.
 */
int jobs_compress(struct daemon *d, struct lane *lane,
		  const struct ckv_req *request, struct ckv_view_reply *reply,
		  int32_t *units);
/* End a client's job whose chain is being listed. */
void jobs_cancel(struct job *job);

/* STAT: 0 and `reply`; -ENOENT; -EINVAL or -EAGAIN, and a text in `reply`. */
int jobs_find_view(const struct space *space, const struct ckv_view_query *query,
		   struct ckv_view_reply *reply);

/* Take some finished stages from the workers, and go on with their jobs. */
void jobs_collect(struct daemon *d);
/*
 * One turn's work on jobs: collect the rest, list chains of own jobs, unmap a piece of
 * a leftover. Was there any?
 */
bool jobs_turn(struct daemon *d);
/* The space has made a step: go on with the jobs that wait for it. */
void jobs_step(struct daemon *d, struct served_space *served);

/*
 * Call this when the reactor has nothing else to do: it gives a worker some blocks that
 * have no checksum. True: none was found yet, but there may be some; call again.
 */
bool jobs_idle(struct daemon *d);

#endif
