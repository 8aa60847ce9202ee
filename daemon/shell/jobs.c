/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs.c - the reactor's part of jobs: give their stages to workers, decide between the
 * stages, answer the clients.
 */
#include "daemon/shell/job.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define COLLECT_MAX	4u	/* finished stages that one call takes back */
#define FOLLOWERS_MAX	4u	/* jobs that end with another one, in a turn */
#define LIST_UNITS	128	/* work units per turn for listing chains of own jobs */
#define UNMAP_BYTES	(512u << 10)	/* of leftovers, unmapped in a turn */

static void count_queued(struct jobs *jobs)
{
	ckv_hint_store64(&jobs->daemon->stats->jobs_queued,
			 jobs->n_queued + (jobs->sum.served != NULL));
}

int jobs_create(struct daemon *d)
{
	const struct daemon_params *p = &d->config->daemon;
	size_t n_links = p->max_job_blocks;
	struct jobs *jobs;
	uint32_t n_all;
	char *memory;
	int r;

	r = sys_alloc(1, sizeof *jobs, &jobs);
	if (r < 0)
		return r;
	jobs->daemon = d;
	jobs->n_jobs = (uint32_t)p->max_jobs;
	jobs->n_own = (uint32_t)p->max_auto_jobs;
	n_all = jobs->n_jobs + jobs->n_own;
	jobs->n_links_max = (uint32_t)n_links;
	/* Memory is taken only as far as chains are listed in it. */
	jobs->link_bytes = n_all * n_links * JOBS_LINK_BYTES;
	r = sys_map_private(jobs->link_bytes, PROT_READ | PROT_WRITE, &memory);
	if (r < 0)
		goto err_free;
	jobs->link_memory = memory;
	r = sys_alloc(n_all, sizeof jobs->job[0], &jobs->job);
	if (r < 0)
		goto err_unmap;
	for (uint32_t i = 0; i < n_all; i++) {
		struct job *job = &jobs->job[i];

		job->jobs = jobs;
		job->links = (void *)(memory + i * n_links *
				      JOBS_LINK_BYTES);
	}
	r = workers_create(config_workers(p), &jobs->workers);
	if (r < 0)
		goto err_jobs;
	r = loop_watch(d->loop, workers_fd(jobs->workers),
		       watch_token(WATCH_JOBS, 0, 0));
	if (r < 0)
		goto err_workers;
	d->jobs = jobs;
	return 0;

err_workers:
	workers_destroy(jobs->workers);
err_jobs:
	sys_free(jobs->job);
err_unmap:
	sys_unmap(jobs->link_memory, jobs->link_bytes);
err_free:
	sys_free(jobs);
	return r;
}

/* Make memory of a job its i-th leftover. */
static void leave(struct job *job, int i, void *base, size_t bytes)
{
	if (base == NULL)
		return;
	assert(job->leftover[i].bytes == 0);
	job->leftover[i] = (struct leftover){ base, bytes };
	job->jobs->n_leftovers++;
}

/* Unmap the last piece, so that what remains is one mapping. */
static void unmap_piece(struct job *job, struct leftover *left)
{
	size_t rest = (left->bytes - 1) / UNMAP_BYTES * UNMAP_BYTES;

	sys_unmap(left->base + rest, left->bytes - rest);
	left->bytes = rest;
	job->jobs->n_leftovers -= left->bytes == 0;
}

/* Unmap a piece of some job's leftover. */
static void unmap_some(struct jobs *jobs)
{
	for (uint32_t i = 0; i < jobs->n_jobs + jobs->n_own; i++)
		for (int k = 0; k < 2; k++)
			if (jobs->job[i].leftover[k].bytes > 0) {
				unmap_piece(&jobs->job[i],
					    &jobs->job[i].leftover[k]);
				return;
			}
}

/*
 * Free the memory of a job. Unmapping 256 MiB takes 20 ms, so inputs and positions
 * become leftovers, which later turns unmap.
 */
static void free_memory(struct job *job)
{
	leave(job, 0, job->inputs.memory, job->inputs.memory_bytes);
	leave(job, 1, job->compress.pos, job->compress.pos_bytes);
	job->inputs.memory = NULL;
	job->compress.pos = NULL;
	compress_free(&job->compress);
	sys_free(job->compress.page);
	job->compress.page = NULL;
	if (job->user != NULL)
		user_uncount_inputs(job->jobs->daemon, job->user,
				    job->inputs.memory_bytes);
	job->inputs.memory_bytes = 0;
}

void job_give_back(struct job *job)
{
	if (job->user != NULL)
		job->user->n_jobs--;
	job->user = NULL;
	job->stage = JOB_FREE;
}

void jobs_destroy(struct daemon *d)
{
	struct jobs *jobs = d->jobs;

	if (jobs == NULL)
		return;
	loop_unwatch(d->loop, workers_fd(jobs->workers),
		     watch_token(WATCH_JOBS, 0, 0));
	workers_destroy(jobs->workers);
	/* The holds of their chains need not end: the core is destroyed, too. */
	for (uint32_t i = 0; i < jobs->n_jobs + jobs->n_own; i++)
		if (jobs->job[i].stage != JOB_FREE)
			free_memory(&jobs->job[i]);
	while (jobs->n_leftovers > 0)
		unmap_some(jobs);
	sys_free(jobs->job);
	sys_unmap(jobs->link_memory, jobs->link_bytes);
	sys_free(jobs);
	d->jobs = NULL;
}

static void start(struct job *job, enum job_stage stage,
		  void (*run)(struct work *work))
{
	job->stage = stage;
	job->work.run = run;
	workers_give(job->jobs->workers, &job->work);
}

static struct job *first_free(struct job *job, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (job[i].stage == JOB_FREE && job[i].leftover[0].bytes == 0 &&
		    job[i].leftover[1].bytes == 0)
			return &job[i];
	return NULL;
}

struct job *job_new(struct jobs *jobs)
{
	return first_free(jobs->job, jobs->n_jobs);
}

struct job *job_new_own(struct jobs *jobs)
{
	return first_free(jobs->job + jobs->n_jobs, jobs->n_own);
}

void job_start(struct job *job)
{
	job->jobs->n_queued++;
	count_queued(job->jobs);
	start(job, JOB_DIGEST, job_digest);
}

/* ---- answering ---- */

void job_reply(const struct space_view *view, struct ckv_view_reply *reply)
{
	reply->key = view->key;
	reply->bytes = view->n_bytes;
	reply->sizes = view->sizes;
	reply->n_kept_total = view->n_kept_total;
	reply->n_pages = view->n_pages;
	reply->n_tokens = view->n_tokens;
	reply->n_kept_max = view->n_kept_max;
	reply->n_kept_min = view->n_kept_min;
	reply->n_always_lost = view->n_always_lost;
}

static void release_scratch(struct job *job)
{
	for (uint32_t i = 0; i < job->n_scratch; i++)
		space_scratch_release(job->served->core, job->scratch[i]);
	job->n_scratch = 0;
}

/* End one job: free what it has, and answer. */
static void end(struct job *job, const struct ckv_view_reply *reply)
{
	struct jobs *jobs = job->jobs;

	assert(job->n_scratch == 0);
	free_memory(job);
	job_give_back(job);
	jobs->n_queued--;
	if (job->own != NULL) {
		job->own->done(job);
	} else {
		space_release(job->served->core, job->deepest);
		if (job->waiter != NULL)
			wait_answer(jobs->daemon, job->waiter, reply,
				    sizeof *reply, job->result);
	}
	count_queued(jobs);
}

/* End some of the jobs that follow this one; then, if that were all, this one. */
static void end_some(struct job *job)
{
	struct jobs *jobs = job->jobs;
	uint32_t n = 0;

	for (; job->next_follower < jobs->n_jobs; job->next_follower++) {
		struct job *follower = &jobs->job[job->next_follower];

		if (follower->stage != JOB_FOLLOW || follower->leader != job)
			continue;
		if (n++ == FOLLOWERS_MAX)
			return;
		if (job->result == 0)
			(void)space_view_find(job->served->core, &job->key,
					      &(struct space_view){ 0 });
		assert(follower->inputs.memory == NULL);
		follower->result = job->result;
		end(follower, &job->reply);
	}
	jobs->n_ending--;
	end(job, &job->reply);
}

/* End a job, and the jobs that follow it. `view` is set if result is 0. */
static void finish(struct job *job, int result, const struct space_view *view)
{
	job->result = result;
	job->reply = (struct ckv_view_reply){ .n_pages = 0 };
	if (result == 0)
		job_reply(view, &job->reply);
	else
		memcpy(job->reply.text, job->text, sizeof job->reply.text);
	job->stage = JOB_ENDING;
	job->next_follower = 0;
	job->jobs->n_ending++;
	end_some(job);
}

/* Go on with the first job that has followers left. */
static void end_more(struct jobs *jobs)
{
	for (uint32_t i = 0; i < jobs->n_jobs; i++)
		if (jobs->job[i].stage == JOB_ENDING) {
			end_some(&jobs->job[i]);
			return;
		}
}

/* ---- between the stages ---- */

/* An own job whose chain is held no longer ends here: its pages may have changed. */
static bool given_up(struct job *job)
{
	if (job->own == NULL || job->own->wanted(job))
		return false;
	finish(job, -ECANCELED, NULL);
	return true;
}

/* Does the view exist already? For a client's job that counts as a use of it. */
static bool is_made(struct job *job, struct space_view *ret_view)
{
	if (job->own != NULL)
		return space_view_newest(job->served->core, &job->name,
					 ret_view) == 0;
	return space_view_find(job->served->core, &job->key, ret_view) == 0;
}

/*
 * The client's job that is making the same view. An own job does not count: it may be
 * given up, and has low priority, so no client shall wait for it.
 */
static struct job *maker_of(struct jobs *jobs, const struct job *job)
{
	for (uint32_t i = 0; i < jobs->n_jobs; i++) {
		struct job *other = &jobs->job[i];

		if (other != job && other->served == job->served &&
		    (other->stage == JOB_SELECT || other->stage == JOB_ROOM ||
		     other->stage == JOB_WRITE) &&
		    memcmp(&other->key, &job->key, sizeof job->key) == 0)
			return other;
	}
	return NULL;
}

/* Wait for the leader. Its inputs are the same, so this job's are freed. */
static void follow(struct job *job)
{
	free_memory(job);
	job->stage = JOB_FOLLOW;
}

static void after_digest(struct job *job)
{
	struct space_view view;

	release_scratch(job);
	if (job->result < 0) {
		finish(job, job->result, NULL);
		return;
	}
	if (given_up(job))
		return;
	if (is_made(job, &view)) {
		finish(job, job->own != NULL ? -EEXIST : 0, &view);
		return;
	}
	job->leader = maker_of(job->jobs, job);
	if (job->leader != NULL && job->own != NULL)
		finish(job, -EEXIST, NULL);
	else if (job->leader != NULL)
		follow(job);
	else
		start(job, JOB_SELECT, job_select);
}

/* Get view pages: then the job goes on; or it waits for a step of the space, or fails. */
static void get_room(struct job *job)
{
	const struct ckv_pool_shape *pool = &job->served->pool.shape;
	struct jobs *jobs = job->jobs;

	job->first_page = space_view_get(job->served->core, job->n_pages,
					 &job->wait);
	if (job->first_page == SPACE_WAIT) {
		jobs->n_rooms += job->stage != JOB_ROOM;
		job->stage = JOB_ROOM;
		jobs->daemon->step_wanted = true;
		return;
	}
	jobs->n_rooms -= job->stage == JOB_ROOM;
	if (job->first_page < 0) {
		snprintf(job->text, sizeof job->text, "the view needs %u consecutive "
			 "view pages; the space has %u, and those in use "
			 "cannot be evicted now", job->n_pages, pool->n_view_pages);
		finish(job, -ENOSPC, NULL);
		return;
	}
	start(job, JOB_WRITE, job_write);
}

void jobs_step(struct daemon *d, struct served_space *served)
{
	struct jobs *jobs = d->jobs;
	uint32_t left = jobs->n_rooms;

	for (uint32_t i = 0; left > 0 && i < jobs->n_jobs + jobs->n_own; i++) {
		struct job *job = &jobs->job[i];

		if (job->stage != JOB_ROOM)
			continue;
		left--;
		if (job->served == served)
			get_room(job);
	}
}

static void after_select(struct job *job)
{
	const struct ckv_pool_shape *pool = &job->served->pool.shape;
	uint64_t bytes = job->compress.head.n_bytes, n_pages;

	if (given_up(job))
		return;
	if (job->damaged)
		space_sum_failed(job->served->core);
	if (job->result < 0) {
		finish(job, job->result, NULL);
		return;
	}
	n_pages = (bytes + pool->page_bytes - 1) / pool->page_bytes;
	if (n_pages > pool->slab_pages || pool->n_view_pages == 0) {
		snprintf(job->text, sizeof job->text, "the view would have %" PRIu64
			 " bytes; at most %" PRIu64 " fit this space (slab, views)",
			 bytes, pool->n_view_pages == 0 ? 0 :
			 pool->slab_pages * pool->page_bytes);
		finish(job, -ENOSPC, NULL);
		return;
	}
	job->n_pages = (uint32_t)n_pages;
	job->wait = (struct space_wait){ .waits = false };
	get_room(job);
}

static void after_write(struct job *job)
{
	const struct ckv_view_head *head = &job->compress.head;
	struct space_view view = {
		.key = job->key, .name = job->name,
		.n_bytes = head->n_bytes, .checksum = job->checksum,
		.sizes = head->sizes, .n_kept_total = head->n_kept_total,
		.n_tokens = head->n_tokens, .n_kept_max = head->n_kept_max,
		.n_kept_min = head->n_kept_min,
		.n_always_lost = head->n_always_lost,
		.first_page = (uint32_t)job->first_page,
		.n_pages = job->n_pages,
	};
	int r = job->result;

	if (r == 0 && job->own != NULL && !job->own->wanted(job))
		r = -ECANCELED;
	if (r == 0)
		r = space_view_publish(job->served->core, &view);
	if (r < 0)
		space_view_abort(job->served->core, view.first_page);
	if (r == -EEXIST && job->own == NULL)
		r = space_view_find(job->served->core, &job->key, &view);
	if (r == -EXFULL) {
		snprintf(job->text, sizeof job->text, "the index has no place for "
			 "the view");
		r = -ENOSPC;
	}
	finish(job, r, &view);
}

static void after_sum(struct jobs *jobs)
{
	struct sum_job *sum = &jobs->sum;

	for (uint32_t i = 0; i < sum->n; i++)
		space_sum_done(sum->served->core, sum->page[i], true,
			       sum->sum[i]);
	sum->served = NULL;
	count_queued(jobs);
}

void jobs_collect(struct daemon *d)
{
	struct work *work = NULL;

	for (uint32_t i = 0; i < COLLECT_MAX; i++) {
		struct job *job;

		work = workers_take(d->jobs->workers);
		if (work == NULL)
			break;
		job = (struct job *)work;
		if (work == &d->jobs->sum.work)
			after_sum(d->jobs);
		else if (job->stage == JOB_DIGEST)
			after_digest(job);
		else if (job->stage == JOB_SELECT)
			after_select(job);
		else
			after_write(job);
	}
	d->jobs->uncollected = work != NULL;
}

/* List the chain of an own job, unless its hold has ended meanwhile. */
static void list_own(struct job *job, int32_t *units)
{
	int r = job->own->wanted(job) ? job_list(job, units) : -ECANCELED;

	if (r == SPACE_MORE)
		return;
	job->jobs->n_listed--;
	if (r == 0) {
		job_start(job);
		return;
	}
	job_give_back(job);
	job->result = r;
	job->own->done(job);
}

bool jobs_turn(struct daemon *d)
{
	struct jobs *jobs = d->jobs;
	int32_t units = LIST_UNITS;
	bool worked = jobs->uncollected;

	if (jobs->uncollected)
		jobs_collect(d);
	if (jobs->n_ending > 0) {
		end_more(jobs);
		worked = true;
	}
	if (jobs->n_leftovers > 0) {
		unmap_some(jobs);
		worked = true;
	}
	if (jobs->n_listed == 0)
		return worked;
	for (uint32_t i = 0; i < jobs->n_own && units > 0; i++)
		if (jobs->job[jobs->n_jobs + i].stage == JOB_LIST)
			list_own(&jobs->job[jobs->n_jobs + i], &units);
	return true;
}

bool jobs_idle(struct daemon *d)
{
	struct jobs *jobs = d->jobs;
	struct sum_job *sum = &jobs->sum;
	struct served_space *served;
	int r = 0;

	if (sum->served != NULL || !d->config->daemon.sum_idle)
		return false;
	for (uint32_t i = 0; i < d->n_spaces && sum->served == NULL &&
	     r != SPACE_MORE; i++) {
		served = &d->served[jobs->sum_space++ % d->n_spaces];
		sum->n = 0;
		while (sum->n < SUM_BATCH &&
		       (r = space_sum_next(served->core, &sum->page[sum->n])) > 0)
			sum->n++;
		if (sum->n > 0)
			sum->served = served;
	}
	if (sum->served == NULL)
		return r == SPACE_MORE;
	sum->work = (struct work){ .run = job_sum, .low = true };
	workers_give(jobs->workers, &sum->work);
	count_queued(jobs);
	return false;
}
