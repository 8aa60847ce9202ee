/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_job.c - a job whose hash cannot be had ends; it never has a name or key
 * that another job could have, too.
 */
#include "daemon/shell/job.h"
#include "daemon/shell/sys.h"
#include "tests/lib/chain.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct served_space served;

static void make(struct job *job)
{
	memset(job, 0, sizeof *job);
	job->served = &served;
	job->chain = chain;
	ck_assert_int_eq(ckv_method_parse("fp8", &job->method, job->text), 0);
	job->compress = (struct compress){
		.geometry = &geometry, .method = &job->method,
		.inputs = &job->inputs, .n_tokens = TOKENS,
	};
	memset(&job->name, 0xa5, sizeof job->name);
	memset(&job->key, 0xa5, sizeof job->key);
}

/* Name and key leave what they should have filled alone, and say so. */
START_TEST(no_memory_is_no_key)
{
	struct job job;
	struct ckv_key before;

	fill(CKV_DTYPE_F32);
	make(&job);
	before = job.key;
	sys_fault_arm(1, ENOMEM);
	ck_assert_int_eq(job_name(&job.chain, job.method.text, &job.name), -ENOMEM);
	ck_assert_mem_eq(&job.name, &before, sizeof before);
	sys_fault_arm(1, ENOMEM);
	ck_assert_int_eq(job_key(&job, &job.key), -ENOMEM);
	ck_assert_mem_eq(&job.key, &before, sizeof before);
	ck_assert_int_eq(job_name(&job.chain, job.method.text, &job.name), 0);
	ck_assert_int_eq(job_key(&job, &job.key), 0);
	ck_assert_mem_ne(&job.name, &job.key, sizeof before);
}
END_TEST

/* Whichever call of the first stage fails, the job ends with an error, to be tried again. */
START_TEST(first_stage_survives_any_failure)
{
	struct ckv_key zero = { { 0 } };
	struct job job;
	int nth;

	fill(CKV_DTYPE_F32);
	for (nth = 1; ; nth++) {
		long calls = sys_fault_calls();

		make(&job);
		sys_fault_arm(nth, ENOMEM);
		job_digest(&job.work);
		calls = sys_fault_calls() - calls;
		sys_fault_arm(0, 0);
		if (calls < nth)
			break;
		ck_assert_int_eq(job.result, -EAGAIN);
		ck_assert_str_ne(job.text, "");
		inputs_free(&job.inputs);
	}
	ck_assert_int_ge(nth, 4);	/* digest, name, key */
	ck_assert_int_eq(job.result, 0);
	ck_assert_mem_ne(&job.key, &zero, sizeof zero);
	ck_assert_mem_ne(&job.name, &zero, sizeof zero);
	ck_assert_mem_ne(&job.digest, &zero, sizeof zero);
	inputs_free(&job.inputs);
}
END_TEST

/* ---- what a job leaves behind ---- */

enum { PIECE_BYTES = 512 << 10, INPUT_BYTES = 16 * PIECE_BYTES - 4096 - 64 };

static int watch(struct loop *loop, int fd, uint64_t token)
{
	(void)loop, (void)fd, (void)token;
	return 0;
}

static void unwatch(struct loop *loop, int fd, uint64_t token)
{
	(void)loop, (void)fd, (void)token;
}

static char *memory;

/* A first stage that has copied its inputs, and fails. */
static void copy_and_fail(struct work *work)
{
	struct job *job = (struct job *)work;

	ck_assert_int_eq(sys_map_private(INPUT_BYTES, PROT_READ | PROT_WRITE,
					 &job->inputs.memory), 0);
	job->inputs.memory_bytes = INPUT_BYTES;
	memory = memset(job->inputs.memory, 1, INPUT_BYTES);
	job->result = -EINVAL;
}

static int n_done;

static void done(struct job *job)
{
	ck_assert_int_eq(job->result, -EINVAL);
	n_done++;
}

/* However large, its memory goes in pieces, and then its place is free; or with the end. */
START_TEST(memory_of_a_job_goes_in_pieces)
{
	static const struct loop_ops ops = { .watch = watch, .unwatch = unwatch };
	static const struct job_own own = { .done = done };
	static struct loop loop = { &ops, "none" };
	static struct ckv_global_stats stats;
	static struct config config;
	struct daemon d = { .config = &config, .loop = &loop, .stats = &stats };
	long before, mapped, at_first = sys_mapped_bytes();
	struct job *job;
	int n_turns = 0;

	config.daemon = (struct daemon_params){
		.workers = 1, .max_jobs = 1, .max_auto_jobs = 1, .max_job_blocks = 4,
	};
	ck_assert_int_eq(jobs_create(&d), 0);
	job = job_new_own(d.jobs);
	ck_assert_ptr_nonnull(job);
	job->own = &own;
	job->stage = JOB_DIGEST;
	job->work.run = copy_and_fail;
	before = sys_mapped_bytes();
	d.jobs->n_queued++;
	workers_give(d.jobs->workers, &job->work);
	for (; n_done == 0; usleep(100))
		jobs_collect(&d);
	mapped = sys_mapped_bytes();
	ck_assert_int_eq(mapped, before + INPUT_BYTES);
	ck_assert_ptr_null(job_new_own(d.jobs));
	for (; n_turns < _i && jobs_turn(&d); n_turns++) {
		ck_assert_int_le(mapped - sys_mapped_bytes(), PIECE_BYTES);
		mapped = sys_mapped_bytes();
	}
	if (_i > 16) {
		ck_assert_int_eq(n_turns, 16);
		ck_assert_ptr_eq(job_new_own(d.jobs), job);
		for (long at = 0; at < INPUT_BYTES; at += 4096)
			ck_assert_int_eq(msync(memory + at, 4096, MS_ASYNC), -1);
	}
	jobs_destroy(&d);
	ck_assert_int_eq(sys_mapped_bytes(), at_first);
}
END_TEST

CHECK_MAIN("shell_job",
	CASE("job"),
	TEST(no_memory_is_no_key),
	TEST(first_stage_survives_any_failure),
	LOOP(memory_of_a_job_goes_in_pieces, 18))
