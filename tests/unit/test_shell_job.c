/*
 * test_shell_job.c - a job whose hash cannot be had ends; it never has a name or key
 * that another job could have, too.
 */
#include "daemon/shell/job.h"
#include "daemon/shell/sys.h"
#include "tests/lib/chain.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct host host;

static void make(struct job *job)
{
	memset(job, 0, sizeof *job);
	job->host = &host;
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

int main(void)
{
	Suite *s = suite_create("shell_job");
	TCase *c = tcase_create("job");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, c);
	tcase_add_test(c, no_memory_is_no_key);
	tcase_add_test(c, first_stage_survives_any_failure);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
