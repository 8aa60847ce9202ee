/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobs_take.c - judge a request for a compression and fill its job, until a worker can
 * begin.
 */
#include "daemon/shell/job.h"
#include "daemon/shell/users.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Parse a method's text, which a client wrote. */
static int read_method(const char text[CKV_METHOD_BYTES],
		       struct ckv_method *ret_method,
		       char why[CKV_METHOD_WHY_BYTES])
{
	if (memchr(text, 0, CKV_METHOD_BYTES) == NULL) {
		snprintf(why, CKV_METHOD_WHY_BYTES, "the method's text has no 0 byte");
		return -EINVAL;
	}
	return ckv_method_parse(text, ret_method, why);
}

int jobs_find_view(const struct space *space, const struct ckv_view_query *query,
		   struct ckv_view_reply *reply)
{
	struct ckv_method method;
	struct space_view view;
	struct ckv_key name;
	int r = read_method(query->method, &method, reply->text);

	if (r < 0)
		return r;
	if (job_name(&query->chain, method.text, &name) < 0) {
		snprintf(reply->text, sizeof reply->text, "ckvd has no "
			 "memory to hash the view's name");
		return -EAGAIN;
	}
	r = space_view_newest(space, &name, &view);
	if (r == 0)
		job_reply(&view, reply);
	return r;
}

/* Judge a listed chain: no block but the last may have fewer tokens than fit. */
static int judge_chain(struct job *job)
{
	const struct space_walk *walk = &job->walk;

	if (walk->part != CKV_NONE) {
		uint32_t i = walk->n - 1 - walk->part;

		snprintf(job->text, sizeof job->text, "block %u of the chain "
			 "has %u of %u tokens", i, job->link[i].n_tokens,
			 job->served->config->geometry.block_tokens);
		return -EINVAL;
	}
	job->compress.n_tokens = walk->n_tokens > UINT32_MAX ? UINT32_MAX :
				 (uint32_t)walk->n_tokens;
	return 0;
}

int job_list(struct job *job, int32_t *units)
{
	int r = space_walk_on(job->served->core, &job->walk, job->links,
			      job->jobs->n_links_max, units);

	if (r == -E2BIG) {
		snprintf(job->text, sizeof job->text, "the chain has more than "
			 "%u blocks (max_job_blocks)", job->jobs->n_links_max);
		return -EINVAL;
	}
	if (r < 0)
		return r;
	job->n_links = (uint32_t)r;
	job->link = job->links + (job->jobs->n_links_max - job->n_links);
	return judge_chain(job);
}

/* Do the inputs of the request fit the method, and its scratch pages? */
static int judge(struct daemon *d, struct job *job,
		 const struct ckv_compress_arg *arg, char why[CKV_METHOD_WHY_BYTES])
{
	struct inputs_want want = {
		.geometry = job->compress.geometry,
		.n_tokens = job->compress.n_tokens,
		.room_bytes = job->n_scratch * job->served->pool.shape.page_bytes,
		.max_bytes = d->config->daemon.max_query_bytes,
	};
	struct ckv_selection select = job->method.select;

	if (job->method.bytes_den != 0)	/* the worker works out how many bytes= keeps */
		select.n_keep = 1;
	want.needs = ckv_selection_needs(&select);
	want.window = ckv_selection_window(&select);
	job->n_query_heads = arg->n_window != 0 ? arg->n_query_heads : 0;
	return inputs_judge(arg, &want, &job->inputs, why);
}

static void init_job(struct job *job, struct served_space *served,
		     const struct ckv_key *chain)
{
	job->served = served;
	job->floor = (uint32_t)served->config->params.floor;
	job->n_query_heads = 0;
	job->chain = *chain;
	job->compress = (struct compress){
		.geometry = &served->config->geometry, .method = &job->method,
		.inputs = &job->inputs,
	};
	job->inputs = (struct inputs){ .memory = NULL };
	job->user = NULL;
	job->n_scratch = 0;
	job->leader = NULL;
	job->own = NULL;
	job->waiter = NULL;
	job->work.low = false;
	job->damaged = false;
	memset(job->text, 0, sizeof job->text);
}

/* Hold the scratch pages that the request names, all of them or none. */
static int hold_scratch(struct job *job, const struct lane *lane,
			const struct ckv_page_name *name,
			char why[CKV_METHOD_WHY_BYTES])
{
	struct space *space = job->served->core;

	for (uint32_t i = 0; i < job->n_scratch; i++) {
		int r = space_scratch_hold(space, lane->number, &name[i]);

		if (r < 0) {
			snprintf(why, CKV_METHOD_WHY_BYTES, "page %u of the %u with "
				 "inputs is %s", i, job->n_scratch, r == -EINVAL ?
				 "lent for a block, not as scratch" :
				 "not lent to this lane, or not any more");
			while (i-- > 0)
				space_scratch_release(space, job->scratch[i]);
			return r;
		}
		job->scratch[i] = name[i].page;
	}
	return 0;
}

/* Make a job for a request, and hold its chain: lane->run.job. 0, or the result. */
static int take(struct daemon *d, struct lane *lane, struct ckv_view_reply *reply)
{
	const struct ckv_compress_arg *arg = (const void *)lane->argument;
	struct served_space *served = &d->served[lane->space];
	struct user *user = d->client[lane->client].user;
	struct job *job = job_new(d->jobs);
	char why[CKV_METHOD_WHY_BYTES];
	int r;

	if (arg->zero[0] != 0 || arg->zero[1] != 0)
		return -EPROTO;
	if (job == NULL) {
		snprintf(reply->text, sizeof reply->text, "%u jobs wait or run, "
			 "the limit (max_jobs)", d->jobs->n_jobs);
		return -EAGAIN;
	}
	if (lane->n_jobs >= d->config->daemon.max_lane_jobs) {
		snprintf(reply->text, sizeof reply->text, "%u compressions of this "
			 "lane wait or run, the limit (max_lane_jobs)",
			 lane->n_jobs);
		return -EBUSY;
	}
	if (user->n_jobs >= user_jobs_max(&d->config->daemon)) {
		snprintf(reply->text, sizeof reply->text, "%u compressions of this "
			 "user wait or run, the limit (max_jobs_per_user)",
			 user->n_jobs);
		return -EAGAIN;
	}
	if (compress_layout(&served->geometry, why) < 0) {
		snprintf(reply->text, sizeof reply->text, "space %.40s: %.130s",
			 served->config->name, why);
		return -EINVAL;
	}
	r = read_method(arg->method, &job->method, reply->text);
	if (r < 0)
		return r;
	init_job(job, served, &arg->chain);
	job->n_scratch = 0;
	r = space_walk_begin(served->core, &job->chain, &job->walk);
	if (r < 0)
		return r;
	job->deepest = job->walk.slot;
	job->stage = JOB_LIST;
	job->user = user;
	user->n_jobs++;
	lane->run.job = job;
	return 0;
}

void jobs_cancel(struct job *job)
{
	assert(job->stage == JOB_LIST && job->own == NULL);
	space_release(job->served->core, job->deepest);
	job_give_back(job);
}

/* The chain is listed: judge the inputs, and hold their scratch pages. */
static int judge_request(struct daemon *d, const struct lane *lane,
			 struct job *job)
{
	const struct ckv_compress_arg *arg = (const void *)lane->argument;
	int r;

	job->n_scratch = lane->run.request.n;
	r = judge(d, job, arg, job->text);
	if (r == 0)
		r = user_may_queue(d, job->user, job->inputs.memory_bytes, job->text,
				   sizeof job->text);
	if (r == 0)
		r = hold_scratch(job, lane, (const void *)(arg + 1), job->text);
	if (r < 0)
		return r;
	user_count_inputs(d, job->user, job->inputs.memory_bytes);
	return 0;
}

int jobs_compress(struct daemon *d, struct lane *lane,
		  const struct ckv_req *request, struct ckv_view_reply *reply,
		  int32_t *units)
{
	struct job *job;
	int r = 0;

	if (lane->run.job == NULL) {
		memset(reply, 0, sizeof *reply);
		*units -= UNITS_METHOD;
		r = take(d, lane, reply);
	}
	if (r < 0)
		return r;
	job = lane->run.job;
	r = job_list(job, units);
	if (r == SPACE_MORE)
		return r;
	lane->run.job = NULL;
	if (r == 0) {
		*units -= UNITS_METHOD + (int32_t)request->n;
		r = judge_request(d, lane, job);
	}
	if (r < 0) {
		memcpy(reply->text, job->text, sizeof reply->text);
		jobs_cancel(job);
		return r;
	}
	job->waiter = wait_job(d, lane, job);
	job_start(job);
	return WAIT_TAKEN;
}

void jobs_own(struct job *job, struct served_space *served, const struct ckv_key *chain,
	      const struct space_walk *walk, const struct ckv_method *method,
	      const struct job_own *own)
{
	init_job(job, served, chain);
	job->method = *method;
	job->walk = *walk;
	job->own = own;
	job->work.low = true;
	job->stage = JOB_LIST;
	job->jobs->n_listed++;
}
