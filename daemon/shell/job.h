/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - one compression, one batch of checksums.
 *
 * A job that a client asked for holds its chain and answers. One that the daemon
 * wants itself has `own`: whoever began it keeps the chain until it is done.
 */
#ifndef CKV_JOB_H
#define CKV_JOB_H

#include "daemon/shell/compress.h"
#include "daemon/shell/jobs.h"
#include "daemon/shell/workers.h"

#define SUM_BATCH 16u

struct job;

/* Of a job that the daemon wants itself. */
struct job_own {
	/* Asked between the stages: is the chain still held? Else it ends, -ECANCELED. */
	bool (*wanted)(const struct job *job);
	/* It has ended: job->result; -EEXIST there is, or will be, such a view. */
	void (*done)(struct job *job);
};

enum job_stage {
	JOB_FREE,
	JOB_LIST,		/* the reactor lists the chain, some blocks a turn */
	JOB_DIGEST, JOB_FOLLOW, JOB_SELECT,
	JOB_ROOM,		/* waits for a step of the space */
	JOB_WRITE,
};

struct leftover {		/* memory of a job that is unmapped piece by piece */
	char *base;
	size_t bytes;		/* 0: none */
};

struct job {
	struct work work;
	enum job_stage stage;
	struct jobs *jobs;
	struct served_space *served;

	/* Who asked. */
	uint32_t lane, lane_generation;
	struct ckv_req request;
	const struct job_own *own;	/* NULL: a client */
	uint32_t tip;			/* own: of the space's core */
	struct ckv_key chain;

	/* What for. compress.page and the inputs' copy are made on the worker. */
	struct ckv_method method;
	uint32_t floor;			/* of the space, when it was asked */
	uint32_t n_query_heads;		/* 0: no queries came */
	struct inputs inputs;
	struct user *user;		/* whose it is; NULL: of the daemon itself, or FREE */
	struct compress compress;
	struct space_walk walk;		/* LIST */
	struct space_link *links;	/* [n_links_max]; the chain is at its end ... */
	struct space_link *link;	/* ... here, root first */
	uint32_t n_links;
	uint32_t deepest;		/* its last block, held, unless own */
	uint32_t scratch[CKV_BATCH_MAX];
	uint32_t n_scratch;

	/* What came of it. */
	struct ckv_key digest, key, name;
	struct space_wait wait;		/* ROOM */
	int64_t first_page;
	uint32_t n_pages;
	uint64_t checksum;
	bool damaged;			/* a page did not match its checksum */
	int result;
	char text[CKV_METHOD_WHY_BYTES];
	struct job *leader;		/* FOLLOW: makes the same view */
	struct leftover leftover[2];	/* also when it is FREE: then not yet for another */
};

struct sum_job {
	struct work work;
	struct served_space *served;		/* NULL: not running */
	uint32_t n;
	uint32_t page[SUM_BATCH];
	uint64_t sum[SUM_BATCH];
};

struct jobs {
	struct workers *workers;
	struct daemon *daemon;
	struct job *job;		/* [n_jobs] of clients, then [n_own] */
	uint32_t n_jobs, n_own, n_queued;
	uint32_t n_listed;		/* of the daemon's own, in LIST */
	uint32_t n_rooms;		/* in ROOM */
	uint32_t n_leftovers;
	bool uncollected;		/* workers have perhaps finished more */
	uint32_t n_links_max;
	void *link_memory;		/* all jobs' links, sums and flags */
	size_t link_bytes;
	struct sum_job sum;
	uint32_t sum_host, own_host;	/* whose turn it is */
};

/* The three stages, on a worker. They fill result and text. */
void job_digest(struct work *work);
void job_select(struct work *work);
void job_write(struct work *work);
void job_sum(struct work *work);

/* A free job, or NULL: a client's, one of the daemon's; begin it, when it is filled. */
struct job *job_new(struct jobs *jobs);
struct job *job_new_own(struct jobs *jobs);
void job_start(struct job *job);
void job_give_back(struct job *job);	/* its place; everything else was given back */
void job_reply(const struct space_view *view, struct ckv_view_reply *reply);

/*
 * Compress for the daemon itself, from what is stored alone. The job is from
 * job_new_own(), `walk` is of the chain, which the caller holds. own->done() is called
 * from the reactor when it has ended; the job is free again then.
 */
void jobs_own(struct job *job, struct served_space *served, const struct ckv_key *chain,
	      const struct space_walk *walk, const struct ckv_method *method,
	      const struct job_own *own);

/* Go on listing: 0 it is listed; SPACE_MORE; -EINVAL and job->text. */
int job_list(struct job *job, int32_t *units);

/* Name for STAT and key of a view, from chain, method and digest. -ENOMEM: none. */
int job_name(const struct ckv_key *chain, const char method[CKV_METHOD_BYTES],
	     struct ckv_key *ret_name);
int job_key(const struct job *job, struct ckv_key *ret_key);

#endif
