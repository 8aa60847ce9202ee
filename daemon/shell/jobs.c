/*
 * jobs.c - the reactor's side of jobs: taking them in, deciding between their
 * stages, answering.
 */
#include "daemon/shell/job.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static void count_queued(struct jobs *jobs)
{
	ckv_hint_store64(&jobs->daemon->stats->jobs_queued,
			 jobs->n_queued + (jobs->sum.host != NULL));
}

int jobs_create(struct daemon *d)
{
	const struct daemon_params *p = &d->config->daemon;
	size_t n_links = p->max_job_blocks, per_link;
	struct jobs *jobs;
	char *memory;
	int r;

	r = sys_alloc(1, sizeof *jobs, &jobs);
	if (r < 0)
		return r;
	jobs->daemon = d;
	jobs->n_jobs = (uint32_t)p->max_jobs;
	jobs->n_links_max = (uint32_t)n_links;
	/* Touched as far as chains are long. */
	per_link = sizeof(struct space_link) + sizeof(uint64_t) + sizeof(bool);
	jobs->link_bytes = jobs->n_jobs * ckv_round_up(n_links * per_link, 64);
	r = sys_map_private(jobs->link_bytes, PROT_READ | PROT_WRITE, &memory);
	if (r < 0)
		goto err_free;
	jobs->link_memory = memory;
	r = sys_alloc(jobs->n_jobs, sizeof jobs->job[0], &jobs->job);
	if (r < 0)
		goto err_unmap;
	for (uint32_t i = 0; i < jobs->n_jobs; i++) {
		struct job *job = &jobs->job[i];

		job->jobs = jobs;
		job->sum = (void *)(memory + i * ckv_round_up(n_links * per_link,
							      64));
		job->link = (void *)(job->sum + n_links);
		job->summed = (void *)(job->link + n_links);
	}
	r = workers_create((uint32_t)p->workers, &jobs->workers);
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

static void free_memory(struct job *job)
{
	compress_free(&job->compress);
	sys_free(job->compress.page);
	sys_unmap(job->query_memory, job->query_bytes);
	job->compress.page = NULL;
	job->query_memory = NULL;
}

void jobs_destroy(struct daemon *d)
{
	struct jobs *jobs = d->jobs;

	if (jobs == NULL)
		return;
	loop_unwatch(d->loop, workers_fd(jobs->workers),
		     watch_token(WATCH_JOBS, 0, 0));
	workers_destroy(jobs->workers);
	/* The core goes down with what it holds for them. */
	for (uint32_t i = 0; i < jobs->n_jobs; i++)
		if (jobs->job[i].stage != JOB_FREE)
			free_memory(&jobs->job[i]);
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

/* ---- answering ---- */

static void reply_view(const struct space_view *view,
		       struct ckv_view_reply *reply)
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

static void answer(struct daemon *d, struct job *job,
		   const struct ckv_view_reply *reply)
{
	struct lane *lane = &d->lane[job->lane];

	if (lane->generation != job->lane_generation ||
	    lane->state == LANE_FREE)
		return;
	lane->n_jobs--;
	if (lane->state != LANE_OPEN)
		return;
	memcpy((char *)lane->d.base + lane->map.results +
	       job->request.arg_offset, reply, sizeof *reply);
	lane_complete(d, lane, &job->request, job->result);
	lane_flush(d, lane);
}

static void release_scratch(struct job *job)
{
	for (uint32_t i = 0; i < job->n_scratch; i++)
		space_release(job->host->space, job->scratch[i]);
	job->n_scratch = 0;
}

/* The end of one job: answered, everything given back. */
static void end(struct job *job, const struct ckv_view_reply *reply)
{
	struct jobs *jobs = job->jobs;

	assert(job->n_scratch == 0 && job->n_links > 0);
	space_release(job->host->space, job->link[job->n_links - 1].page);
	free_memory(job);
	job->stage = JOB_FREE;
	jobs->n_queued--;
	answer(jobs->daemon, job, reply);
	count_queued(jobs);
}

/* And of those that waited for the same view. */
static void finish(struct job *job, int result, const struct space_view *view)
{
	struct jobs *jobs = job->jobs;
	struct ckv_view_reply reply = { .n_pages = 0 };

	job->result = result;
	if (result == 0)
		reply_view(view, &reply);
	else
		memcpy(reply.text, job->text, sizeof reply.text);
	for (uint32_t i = 0; i < jobs->n_jobs; i++) {
		struct job *follower = &jobs->job[i];

		if (follower->stage != JOB_FOLLOW || follower->leader != job)
			continue;
		if (result == 0)
			(void)space_view_find(job->host->space, &job->key,
					      &(struct space_view){ 0 });
		follower->result = result;
		end(follower, &reply);
	}
	end(job, &reply);
}

/* ---- between the stages ---- */

static struct job *maker_of(struct jobs *jobs, const struct job *job)
{
	for (uint32_t i = 0; i < jobs->n_jobs; i++) {
		struct job *other = &jobs->job[i];

		if (other != job && other->host == job->host &&
		    (other->stage == JOB_SELECT || other->stage == JOB_WRITE) &&
		    memcmp(&other->key, &job->key, sizeof job->key) == 0)
			return other;
	}
	return NULL;
}

static void after_digest(struct job *job)
{
	struct space_view view;

	release_scratch(job);
	if (job->result < 0) {
		finish(job, job->result, NULL);
		return;
	}
	job_key(job, &job->key);
	if (space_view_find(job->host->space, &job->key, &view) == 0) {
		finish(job, 0, &view);
		return;
	}
	job->leader = maker_of(job->jobs, job);
	if (job->leader != NULL)
		job->stage = JOB_FOLLOW;
	else
		start(job, JOB_SELECT, job_select);
}

static void after_select(struct job *job)
{
	const struct ckv_pool_shape *pool = &job->host->pool.shape;
	uint64_t bytes = job->compress.head.n_bytes, n_pages;

	if (job->damaged)
		space_sum_failed(job->host->space);
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
	job->first_page = space_view_alloc(job->host->space, job->n_pages);
	if (job->first_page < 0) {
		snprintf(job->text, sizeof job->text, "%u view pages in one piece "
			 "are wanted; the space has %u, and what is in use may "
			 "not be evicted", job->n_pages, pool->n_view_pages);
		finish(job, -ENOSPC, NULL);
		return;
	}
	start(job, JOB_WRITE, job_write);
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
	int r = space_view_publish(job->host->space, &view);

	if (r < 0)
		space_view_abort(job->host->space, view.first_page);
	if (r == -EEXIST)
		r = space_view_find(job->host->space, &job->key, &view);
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
		space_sum_done(sum->host->space, sum->page[i], true,
			       sum->sum[i]);
	sum->host = NULL;
	count_queued(jobs);
}

void jobs_collect(struct daemon *d)
{
	struct work *work;

	while ((work = workers_take(d->jobs->workers)) != NULL) {
		struct job *job = (struct job *)work;

		if (work == &d->jobs->sum.work)
			after_sum(d->jobs);
		else if (job->stage == JOB_DIGEST)
			after_digest(job);
		else if (job->stage == JOB_SELECT)
			after_select(job);
		else
			after_write(job);
	}
}

void jobs_idle(struct daemon *d)
{
	struct jobs *jobs = d->jobs;
	struct sum_job *sum = &jobs->sum;
	struct host *host;

	if (sum->host != NULL || !d->config->daemon.sum_idle)
		return;
	for (uint32_t i = 0; i < d->n_hosts && sum->host == NULL; i++) {
		host = &d->host[jobs->sum_host++ % d->n_hosts];
		sum->n = 0;
		while (sum->n < SUM_BATCH &&
		       space_sum_next(host->space, &sum->page[sum->n]) > 0)
			sum->n++;
		if (sum->n > 0)
			sum->host = host;
	}
	if (sum->host == NULL)
		return;
	sum->work = (struct work){ .run = job_sum, .low = true };
	workers_give(jobs->workers, &sum->work);
	count_queued(jobs);
}

/* ---- requests ---- */

int jobs_find_view(const struct space *space, const struct ckv_view_query *query,
		   struct ckv_view_reply *reply)
{
	struct method method;
	struct space_view view;
	struct ckv_key name;
	int r = method_parse(query->method, &method, reply->text);

	if (r < 0)
		return r;
	job_name(&query->chain, method.text, &name);
	r = space_view_newest(space, &name, &view);
	if (r == 0)
		reply_view(&view, reply);
	return r;
}

static struct job *free_job(struct jobs *jobs)
{
	for (uint32_t i = 0; i < jobs->n_jobs; i++)
		if (jobs->job[i].stage == JOB_FREE)
			return &jobs->job[i];
	return NULL;
}

/* Tokens of the held chain; only its last block may be part full. */
static int count_tokens(struct job *job, char why[METHOD_WHY_BYTES])
{
	uint32_t full = job->host->config->geometry.block_tokens;
	uint64_t n = 0;

	for (uint32_t i = 0; i < job->n_links; i++) {
		n += job->link[i].n_tokens;
		if (i + 1 < job->n_links && job->link[i].n_tokens != full) {
			snprintf(why, METHOD_WHY_BYTES, "block %u of the chain "
				 "has %u of %u tokens", i, job->link[i].n_tokens,
				 full);
			return -EINVAL;
		}
	}
	job->compress.n_tokens = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
	return 0;
}

/* Do the scratch pages hold what the argument says? */
static int check_queries(struct daemon *d, struct job *job,
			 char why[METHOD_WHY_BYTES])
{
	const struct ckv_geometry *g = &job->host->config->geometry;
	uint64_t room = job->n_scratch * job->host->pool.shape.page_bytes;
	uint64_t most = d->config->daemon.max_query_bytes;
	int r = compress_check(&job->compress, why);

	if (r < 0)
		return r;
	job->query_bytes = (size_t)g->n_layers * job->compress.n_query_heads *
			   job->compress.n_window * g->dim_k *
			   ckv_dtype_bytes(job->compress.query_dtype);
	if (job->compress.n_window == 0)
		job->query_bytes = 0;
	if (job->query_bytes <= room && job->query_bytes <= most)
		return 0;
	snprintf(why, METHOD_WHY_BYTES, "queries of %zu bytes; %" PRIu64 " bytes "
		 "of scratch pages came, and at most %" PRIu64 " are taken",
		 job->query_bytes, room, most);
	return -EINVAL;
}

static void init_job(struct job *job, struct daemon *d, const struct lane *lane,
		     const struct ckv_req *request,
		     const struct ckv_compress_arg *arg)
{
	job->host = &d->host[lane->space];
	job->lane = (uint32_t)(lane - d->lane);
	job->lane_generation = lane->generation;
	job->space = lane->space;
	job->request = *request;
	job->chain = arg->chain;
	job->compress = (struct compress){
		.geometry = &job->host->config->geometry,
		.method = &job->method, .n_query_heads = arg->n_query_heads,
		.n_window = arg->n_window, .query_dtype = arg->query_dtype,
	};
	job->n_scratch = request->n;
	memcpy(job->scratch, arg + 1, request->n * sizeof job->scratch[0]);
	job->query_memory = NULL;
	job->query_bytes = 0;
	job->leader = NULL;
	job->damaged = false;
	memset(job->text, 0, sizeof job->text);
}

static int hold(struct daemon *d, struct job *job, const struct lane *lane,
		char why[METHOD_WHY_BYTES])
{
	struct space *space = job->host->space;
	int r = space_chain_hold(space, &job->chain, job->link,
				 job->jobs->n_links_max);

	if (r == -E2BIG) {
		snprintf(why, METHOD_WHY_BYTES, "the chain has more than %u blocks "
			 "(max_job_blocks)", job->jobs->n_links_max);
		return -EINVAL;
	}
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	job->n_links = (uint32_t)r;
	for (uint32_t i = 0; i < job->n_links; i++)
		job->summed[i] = space_sum_get(space, job->link[i].page,
					       &job->sum[i]) > 0;
	r = count_tokens(job, why);
	if (r == 0)
		r = check_queries(d, job, why);
	if (r == 0 && job->n_scratch > 0)
		r = space_scratch_hold(space, lane->number, job->scratch,
				       job->n_scratch);
	if (r < 0)
		space_release(space, job->link[job->n_links - 1].page);
	return r;
}

int jobs_compress(struct daemon *d, struct lane *lane,
		  const struct ckv_req *request, struct ckv_view_reply *reply)
{
	const struct ckv_compress_arg *arg = (const void *)d->argument;
	struct jobs *jobs = d->jobs;
	struct job *job = free_job(jobs);
	int r;

	if (arg->zero[0] != 0 || arg->zero[1] != 0)
		return -EPROTO;
	if (job == NULL) {
		snprintf(reply->text, sizeof reply->text, "%u jobs wait or run, "
			 "the limit (max_jobs)", jobs->n_jobs);
		return -EAGAIN;
	}
	if (lane->n_jobs >= d->config->daemon.max_lane_jobs)
		return -EBUSY;
	r = method_parse(arg->method, &job->method, reply->text);
	if (r < 0)
		return r;
	init_job(job, d, lane, request, arg);
	r = hold(d, job, lane, reply->text);
	if (r < 0)
		return r;
	job_name(&job->chain, job->method.text, &job->name);
	lane->n_jobs++;
	jobs->n_queued++;
	count_queued(jobs);
	start(job, JOB_DIGEST, job_digest);
	return 1;
}
