/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - the tables of jobs: compressions, and the one batch of checksums.
 *
 * There are two sorts of compressions. A client's job holds the chain in the core,
 * and when it ends the client gets an answer. An own job makes an automatic view for
 * the daemon itself (auto.c): its `own` is set, auto.c holds the chain, and own->done()
 * is called when the job ends.
 */
#ifndef CKV_JOB_H
#define CKV_JOB_H

#include "daemon/shell/compress.h"
#include "daemon/shell/jobs.h"
#include "daemon/shell/waits.h"
#include "daemon/shell/workers.h"

#define SUM_BATCH 16u		/* pages that a worker sums as one job */

struct job;

/* What the reactor calls for an own job. */
struct job_own {
	/* Between the stages: is the chain still held? If not, the job ends, -ECANCELED. */
	bool (*wanted)(const struct job *job);
	/* It has ended, with job->result. -EEXIST: such a view exists or is being made. */
	void (*done)(struct job *job);
};

/* What a job is doing; jobs.h describes the stages on a worker. */
enum job_stage {
	JOB_FREE,
	JOB_LIST,		/* reactor: lists the chain, some blocks in each turn */
	JOB_DIGEST,		/* worker */
	JOB_FOLLOW,		/* another job makes the same view: waits for its end */
	JOB_SELECT,		/* worker */
	JOB_ROOM,		/* waits for a step of the space, to get view pages */
	JOB_WRITE,		/* worker */
	JOB_ENDING,		/* jobs that followed it are answered, some in each turn */
};

/* Memory of a job that has ended, unmapped a piece in each turn. */
struct leftover {
	char *base;
	size_t bytes;		/* 0: none */
};

struct job {
	struct work work;
	enum job_stage stage;
	struct jobs *jobs;
	struct served_space *served;

	/* Who asked for it: a lane's request, or the daemon itself. */
	struct wait *waiter;		/* row of the client's request; NULL: nobody is answered */
	const struct job_own *own;	/* NULL: a client's job */
	uint32_t tip;			/* own job: the core's number of the held tip */
	struct ckv_key chain;		/* key of the chain's last block */

	/* What to compress and how. The worker fills compress.page and the inputs' copy. */
	struct ckv_method method;
	uint32_t floor;			/* percent; the space's when the job was taken */
	uint32_t n_query_heads;		/* 0: the request has no queries */
	struct inputs inputs;
	struct user *user;		/* it counts for; NULL: own or FREE */
	struct compress compress;
	struct space_walk walk;		/* LIST */
	struct space_link *links;	/* [n_links_max], filled from its end ... */
	struct space_link *link;	/* ... so the chain begins here, root first */
	uint32_t n_links;
	uint32_t deepest;		/* the chain's last block (a slot), held unless own */
	uint32_t scratch[CKV_BATCH_MAX]; /* pages with inputs, held */
	uint32_t n_scratch;

	/* Results. */
	struct ckv_key digest, key, name; /* of the inputs; of the view; of {chain, method} */
	struct space_wait wait;		/* ROOM */
	int64_t first_page;		/* of the view */
	uint32_t n_pages;
	uint64_t checksum;		/* of the view's pages */
	bool damaged;			/* a page of the chain does not match its checksum */
	int result;
	char text[CKV_METHOD_WHY_BYTES]; /* why it failed */
	struct job *leader;		/* FOLLOW: the job that makes the same view */
	struct ckv_view_reply reply;	/* ENDING: to all */
	uint32_t next_follower;		/* ENDING: jobs before this one are answered */
	struct leftover leftover[2];	/* a FREE job that still has any is not used yet */
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
	struct job *job;		/* [n_jobs] for clients, then [n_own] own jobs */
	uint32_t n_jobs, n_own;
	uint32_t n_queued;		/* jobs from DIGEST to their end */
	uint32_t n_listed;		/* own jobs in LIST */
	uint32_t n_rooms;		/* jobs in ROOM */
	uint32_t n_ending;		/* jobs in ENDING */
	uint32_t n_leftovers;
	bool uncollected;		/* workers may have finished more jobs */
	uint32_t n_links_max;		/* longest chain that can be compressed, in blocks */
	void *link_memory;		/* all jobs' links */
	size_t link_bytes;
	struct sum_job sum;
	uint32_t sum_space, own_space;	/* whose blocks to sum next, whose tip to take next */
};

/* The stages that run on a worker. They fill result and text. */
void job_digest(struct work *work);
void job_select(struct work *work);
void job_write(struct work *work);
void job_sum(struct work *work);	/* the same for struct sum_job */

/* A free entry for a client's job, for an own job; NULL if there is none. */
struct job *job_new(struct jobs *jobs);
struct job *job_new_own(struct jobs *jobs);
/* Begin DIGEST; the job is filled. */
void job_start(struct job *job);
/* Free the entry of a job, which holds nothing any more. */
void job_give_back(struct job *job);
void job_reply(const struct space_view *view, struct ckv_view_reply *reply);

/*
 * Begin an own job, which gets no queries or other inputs. The job is from
 * job_new_own(); the caller holds the chain that `walk` lists. When the job has ended,
 * the reactor calls own->done(), and the entry is free again.
 */
void jobs_own(struct job *job, struct served_space *served, const struct ckv_key *chain,
	      const struct space_walk *walk, const struct ckv_method *method,
	      const struct job_own *own);

/* List the chain: 0, all is listed; SPACE_MORE, call again; -EINVAL and job->text. */
int job_list(struct job *job, int32_t *units);

/* Hash a view's name (chain and method), and its key (also the inputs). -ENOMEM. */
int job_name(const struct ckv_key *chain, const char method[CKV_METHOD_BYTES],
	     struct ckv_key *ret_name);
int job_key(const struct job *job, struct ckv_key *ret_key);

#endif
