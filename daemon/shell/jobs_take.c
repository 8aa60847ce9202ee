/*
 * jobs_take.c - a compression that a client or the daemon itself asks for, up to the
 * moment it begins.
 */
#include "daemon/shell/job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Of a text that a client wrote. */
static int read_method(const char text[CKV_METHOD_BYTES],
		       struct ckv_method *ret_method,
		       char why[CKV_METHOD_WHY_BYTES])
{
	if (memchr(text, 0, CKV_METHOD_BYTES) == NULL) {
		snprintf(why, CKV_METHOD_WHY_BYTES, "the method has no end");
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
	job_name(&query->chain, method.text, &name);
	r = space_view_newest(space, &name, &view);
	if (r == 0)
		job_reply(&view, reply);
	return r;
}

/* Tokens of the held chain; only its last block may be part full. */
static int count_tokens(struct job *job, char why[CKV_METHOD_WHY_BYTES])
{
	uint32_t full = job->host->config->geometry.block_tokens;
	uint64_t n = 0;

	for (uint32_t i = 0; i < job->n_links; i++) {
		n += job->link[i].n_tokens;
		if (i + 1 < job->n_links && job->link[i].n_tokens != full) {
			snprintf(why, CKV_METHOD_WHY_BYTES, "block %u of the chain "
				 "has %u of %u tokens", i, job->link[i].n_tokens,
				 full);
			return -EINVAL;
		}
	}
	job->compress.n_tokens = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
	return 0;
}

/* Do the scratch pages hold what the method reads? */
static int judge(struct daemon *d, struct job *job,
		 const struct ckv_compress_arg *arg, char why[CKV_METHOD_WHY_BYTES])
{
	struct inputs_want want = {
		.geometry = job->compress.geometry,
		.n_tokens = job->compress.n_tokens,
		.room_bytes = job->n_scratch * job->host->pool.shape.page_bytes,
		.max_bytes = d->config->daemon.max_query_bytes,
	};
	struct ckv_selection select = job->method.select;

	if (job->method.bytes_den != 0)	/* how many is settled on the worker */
		select.n_keep = 1;
	want.needs = ckv_selection_needs(&select);
	want.window = ckv_selection_window(&select);
	job->n_query_heads = arg->n_window != 0 ? arg->n_query_heads : 0;
	return inputs_judge(arg, &want, &job->inputs, why);
}

/* Of a held chain: what it is made of, and whether the method fits. */
static int look(struct job *job, char why[CKV_METHOD_WHY_BYTES])
{
	for (uint32_t i = 0; i < job->n_links; i++)
		job->summed[i] = space_sum_get(job->host->space,
					       job->link[i].page,
					       &job->sum[i]) > 0;
	return count_tokens(job, why);
}

static void init_job(struct job *job, struct host *host,
		     const struct ckv_key *chain)
{
	job->host = host;
	job->floor = (uint32_t)host->config->params.floor;
	job->n_query_heads = 0;
	job->chain = *chain;
	job->compress = (struct compress){
		.geometry = &host->config->geometry, .method = &job->method,
		.inputs = &job->inputs,
	};
	job->inputs = (struct inputs){ .memory = NULL };
	job->n_scratch = 0;
	job->leader = NULL;
	job->own = NULL;
	job->work.low = false;
	job->damaged = false;
	memset(job->text, 0, sizeof job->text);
}

/* Hold the scratch pages that are named, all of them or none. */
static int hold_scratch(struct job *job, const struct lane *lane,
			const struct ckv_page_name *name,
			char why[CKV_METHOD_WHY_BYTES])
{
	struct space *space = job->host->space;

	for (uint32_t i = 0; i < job->n_scratch; i++) {
		int r = space_scratch_hold(space, lane->number, &name[i]);

		if (r < 0) {
			snprintf(why, CKV_METHOD_WHY_BYTES, "page %u of the %u with "
				 "inputs is %s", i, job->n_scratch, r == -EINVAL ?
				 "lent for a block, not as scratch" :
				 "not lent to this lane, or not any more");
			while (i-- > 0)
				space_release(space, job->scratch[i]);
			return r;
		}
		job->scratch[i] = name[i].page;
	}
	return 0;
}

static int hold(struct daemon *d, struct job *job, const struct lane *lane,
		const struct ckv_compress_arg *arg, char why[CKV_METHOD_WHY_BYTES])
{
	struct space *space = job->host->space;
	int r = space_chain_hold(space, &job->chain, job->link,
				 job->jobs->n_links_max);

	if (r == -E2BIG) {
		snprintf(why, CKV_METHOD_WHY_BYTES, "the chain has more than %u blocks "
			 "(max_job_blocks)", job->jobs->n_links_max);
		return -EINVAL;
	}
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	job->n_links = (uint32_t)r;
	r = look(job, why);
	if (r == 0)
		r = judge(d, job, arg, why);
	if (r == 0)
		r = hold_scratch(job, lane, (const void *)(arg + 1), why);
	if (r < 0)
		space_release(space, job->link[job->n_links - 1].page);
	return r;
}

int jobs_compress(struct daemon *d, struct lane *lane,
		  const struct ckv_req *request, struct ckv_view_reply *reply)
{
	const struct ckv_compress_arg *arg = (const void *)d->argument;
	struct host *host = &d->host[lane->space];
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
	if (lane->n_jobs >= d->config->daemon.max_lane_jobs)
		return -EBUSY;
	if (compress_layout(&host->geometry, why) < 0) {
		snprintf(reply->text, sizeof reply->text, "space %.40s: %.130s",
			 host->config->name, why);
		return -EINVAL;
	}
	r = read_method(arg->method, &job->method, reply->text);
	if (r < 0)
		return r;
	init_job(job, host, &arg->chain);
	job->lane = (uint32_t)(lane - d->lane);
	job->lane_generation = lane->generation;
	job->request = *request;
	job->n_scratch = request->n;
	r = hold(d, job, lane, arg, reply->text);
	if (r < 0)
		return r;
	lane->n_jobs++;
	job_start(job);
	return 1;
}

int jobs_own(struct job *job, struct host *host, const struct ckv_key *chain,
	     uint32_t n_links, const struct ckv_method *method,
	     const struct job_own *own, char why[CKV_METHOD_WHY_BYTES])
{
	int r;

	init_job(job, host, chain);
	job->method = *method;
	job->n_links = n_links;
	r = look(job, why);
	if (r < 0)
		return r;
	job->own = own;
	job->work.low = true;
	job_start(job);
	return 0;
}
