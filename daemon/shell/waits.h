/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waits.h - requests that complete later, whatever they wait for.
 *
 * A request that cannot be answered yet leaves its lane, which goes on with the next
 * one, and takes a row of this table. The row is the only one who knows lane and request:
 *
 *   PREFETCH  waits for a block that somebody is writing, until its deadline
 *   COMPRESS  waits for a job
 *
 * A row ends by its answer, by its deadline, by CANCEL, or because its lane is no longer
 * served (closed, shut, its client dead): then nobody is answered. A job that loses its
 * row goes on.
 *
 *   FREE -> ON     its completion is owed; the lane keeps a place for it
 *        -> KEPT   PREFETCH with CKV_PREFETCH_PIN was answered, and its blocks are held
 *                  until the client, which has pinned them by then, sends CANCEL
 */
#ifndef CKV_WAITS_H
#define CKV_WAITS_H

#include "daemon/shell/daemon.h"

enum wait_state { WAIT_FREE, WAIT_ON, WAIT_KEPT };

struct wait {
	enum wait_state state;
	uint32_t lane;
	uint32_t next, prev;		/* of the lane's rows; FREE: next one of the free */
	struct ckv_req request;
	struct job *job;		/* COMPRESS; NULL: PREFETCH */
	struct space_task task;		/* PREFETCH: at the core while ON */
	struct ckv_key *keys;		/* [CKV_BATCH_MAX], the row's own: the task's items */
	uint64_t deadline_ns;		/* WAIT_NO_DEADLINE: none */
};

/* Memory of a row's keys, touched as far as lists are long. */
#define WAIT_KEY_BYTES	(CKV_BATCH_MAX * sizeof(struct ckv_key))
#define WAIT_TAKEN	(-4099)		/* the request has a row: it is answered later */
#define WAIT_NO_DEADLINE UINT64_MAX

uint32_t waits_max(const struct daemon_params *p);	/* rows */
int waits_create(struct daemon *d);		/* -errno: nothing is left */
void waits_destroy(struct daemon *d);

/*
 * lane->run.task, a PREFETCH, was run and has said `result`: the answer, or WAIT_TAKEN.
 * -EAGAIN: too many wait already; -EUSERS: a pin too many.
 */
int wait_prefetch(struct daemon *d, struct lane *lane, int result);

/* The lane's request will be answered by this job; there is always a row for it. */
struct wait *wait_job(struct daemon *d, struct lane *lane, struct job *job);
void wait_answer(struct daemon *d, struct wait *wait, const void *reply,
		 size_t reply_bytes, int result);

/* CANCEL of the request with this tag: 0, or -ENOENT if none waits or is kept. */
int wait_cancel(struct daemon *d, struct lane *lane, uint64_t tag, int32_t *units);
/* The lane is no longer served; no lane is, before jobs and lanes are destroyed. */
void waits_end(struct daemon *d, struct lane *lane);
void waits_end_all(struct daemon *d);

/* Go on with what can go on; end what has waited too long. Was there any? */
bool waits_turn(struct daemon *d);
bool waits_expire(struct daemon *d);
/* When something has to be done for a wait: 0 now, WAIT_NO_DEADLINE never. */
uint64_t waits_due_ns(const struct daemon *d);

#endif
