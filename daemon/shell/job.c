/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - the stages of a job that run on a worker.
 *
 * They access only the job, pages that the core holds for it, and view pages that are
 * not published yet. The reactor changes none of these meanwhile. (An own job's hold
 * may give way; then the pages may change, and the reactor throws the result away.)
 */
#include "daemon/shell/floor.h"
#include "daemon/shell/job.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

static char *page_at(const struct served_space *served, uint32_t page)
{
	return (char *)served->pool.base +
	       ckv_page_offset(&served->pool.shape, page);
}

static struct iovec piece(const void *data, size_t bytes)
{
	return (struct iovec){ (void *)(uintptr_t)data, bytes };
}

int job_name(const struct ckv_key *chain, const char method[CKV_METHOD_BYTES],
	     struct ckv_key *ret_name)
{
	const struct iovec pieces[] = {
		piece("ckv-view-name", 13), piece(chain, sizeof *chain),
		piece(method, CKV_METHOD_BYTES),
	};

	return sys_sha256(pieces, 3, ret_name->byte);
}

int job_key(const struct job *job, struct ckv_key *ret_key)
{
	static const struct ckv_key no_share_map;
	const uint32_t format = CKV_VIEW_FORMAT;
	const struct iovec pieces[] = {
		piece(&job->chain, sizeof job->chain),
		piece(job->method.text, sizeof job->method.text),
		piece(&job->digest, sizeof job->digest),
		piece(&no_share_map, sizeof no_share_map),
		piece(&format, sizeof format),
	};

	return sys_sha256(pieces, 5, ret_key->byte);
}

/* Compute digest, name and key. If memory is short the job fails: a view needs its own. */
static int hash_all(struct job *job)
{
	const struct inputs *in = &job->inputs;
	const uint32_t shape[] = { inputs_read(in), in->n_query_heads,
				   in->n_window, in->query_dtype,
				   in->n_sum_heads, in->n_sum_tokens };
	const struct iovec pieces[] = {
		piece(shape, sizeof shape), piece(in->memory, in->memory_bytes),
	};
	int r = sys_sha256(pieces, 2, job->digest.byte);

	if (r == 0)
		r = job_name(&job->chain, job->method.text, &job->name);
	if (r == 0)
		r = job_key(job, &job->key);
	if (r < 0)
		snprintf(job->text, sizeof job->text, "ckvd has no memory to "
			 "hash the view's name");
	return r < 0 ? -EAGAIN : 0;
}

/*
 * Does the method fit the geometry and this chain, and reach the space's floor? Working
 * out how much bytes= keeps can take milliseconds, so it is done on a worker.
 */
static int judge_method(struct job *job)
{
	struct compress *c = &job->compress;
	struct ckv_object object;
	int r = compress_check(c, job->n_query_heads, job->text);

	if (r < 0 || job->floor == 0)
		return r;
	r = compress_object(c->geometry, c->n_tokens, &object);
	return r < 0 ? r : floor_check(&quality_table, job->floor, &job->method,
				       &c->settled, &object, job->text);
}

void job_digest(struct work *work)
{
	struct job *job = (struct job *)work;
	struct inputs *in = &job->inputs;
	const void *page[CKV_BATCH_MAX];

	job->result = judge_method(job);
	if (job->result < 0)
		return;
	for (uint32_t i = 0; i < job->n_scratch; i++)
		page[i] = page_at(job->served, job->scratch[i]);
	/* After this copy nothing is read that the client can still write. */
	if (inputs_copy(in, page, job->served->pool.shape.page_bytes) < 0) {
		snprintf(job->text, sizeof job->text, "ckvd has no memory for %zu "
			 "bytes of inputs", in->memory_bytes);
		job->result = -EAGAIN;
		return;
	}
	job->result = hash_all(job);
}

static bool stopping(void *context)
{
	return workers_stopping(context);
}

/* Compare the pages with their checksums: a damaged block counts as not there. */
static int check_pages(struct job *job)
{
	size_t page_bytes = job->served->pool.shape.page_bytes;

	for (uint32_t i = 0; i < job->n_links; i++) {
		if (!job->link[i].summed ||
		    ckv_page_checksum(page_at(job->served, job->link[i].page),
				      page_bytes) == job->link[i].checksum)
			continue;
		snprintf(job->text, sizeof job->text, "block %u of the chain does "
			 "not match its checksum", i);
		job->damaged = true;
		return -ENOENT;
	}
	return 0;
}

/* Errors of the daemon, not of the request: -EAGAIN, and a text for the client. */
static int outcome(struct job *job, int r)
{
	if (r != -ENOMEM && r != -ECANCELED)
		return r;
	snprintf(job->text, sizeof job->text, r == -ENOMEM ?
		 "ckvd has no memory for the compression now" : "the daemon is stopping");
	return -EAGAIN;
}

void job_select(struct work *work)
{
	struct job *job = (struct job *)work;
	struct compress *c = &job->compress;
	int r;

	r = sys_alloc(job->n_links, sizeof c->page[0], &c->page);
	if (r == 0) {
		for (uint32_t i = 0; i < job->n_links; i++)
			c->page[i] = page_at(job->served, job->link[i].page);
		c->stop = stopping;
		c->context = job->jobs->workers;
		r = check_pages(job);
	}
	if (r == 0)
		r = compress_select(c, job->text);
	job->result = outcome(job, r);
}

void job_write(struct work *work)
{
	struct job *job = (struct job *)work;
	char *view = page_at(job->served, (uint32_t)job->first_page);
	size_t bytes = job->n_pages * job->served->pool.shape.page_bytes;
	int r = compress_write(&job->compress, &job->chain, &job->digest, view,
			       job->text);

	job->result = outcome(job, r);
	if (job->result < 0)
		return;
	memset(view + job->compress.head.n_bytes, 0,
	       bytes - job->compress.head.n_bytes);
	job->checksum = ckv_page_checksum(view, bytes);
}

void job_sum(struct work *work)
{
	struct sum_job *job = (struct sum_job *)work;

	for (uint32_t i = 0; i < job->n; i++)
		job->sum[i] = ckv_page_checksum(page_at(job->served, job->page[i]),
					job->served->pool.shape.page_bytes);
}
