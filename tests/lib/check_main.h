/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_main.h - the main() of a Check program, as a table of its tests.
 *
 *	CHECK_MAIN("core_evict",
 *		CASE("evict", .setup = make_space, .teardown = end_space),
 *		TEST(leaves_go_first),
 *		LOOP(any_order_will_do, 50),
 *		EACH(a_wrong_key_is_named, wrong_keys))
 *
 * A case goes to the next one. A test of LOOP runs with _i of 0 to 49, one of EACH for each
 * element of an array. A test that is in no table is a warning, so an error.
 */
#ifndef CKV_TESTS_CHECK_MAIN_H
#define CKV_TESTS_CHECK_MAIN_H

#include "tests/lib/folder.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The elements of an array. */
#define COUNT(array)	(sizeof(array) / sizeof *(array))

struct check_row {
	const char *case_name;	/* NULL: a test of the case above */
	void (*setup)(void), (*teardown)(void);	/* around each test, in its process */
	void (*start)(void), (*stop)(void);	/* around all tests, in the runner's process */
	double timeout;		/* of one test in seconds; 0: CHECK_TIMEOUT */
	const TTest *test;
	int n_loops;
};

/* A test that takes longer hangs. It ends by itself where nothing is wrong, so be generous. */
#define CHECK_TIMEOUT	60.0

#define CASE(...)	{ .case_name = __VA_ARGS__ }
#define TEST(name)	{ .test = (name), .n_loops = 1 }
#define LOOP(name, n)	{ .test = (name), .n_loops = (int)(n) }
#define EACH(name, array)	LOOP(name, COUNT(array))

#define CHECK_MAIN(suite, ...)						\
	int main(void)							\
	{								\
		const struct check_row check_rows[] = { __VA_ARGS__ };	\
									\
		return check_main(suite, check_rows,			\
				  COUNT(check_rows));			\
	}

/*
 * Can this process be other users? If not, what a test would do as one is a skip, which
 * tests/run counts and names.
 */
#define CHECK_IS_ROOT()	check_is_root(__func__)

static inline int check_is_root(const char *function)
{
	int root = geteuid() == 0;

	if (!root) {
		/* Check adds "_fn" to the name. */
		printf("ok - %.*s, as another user # SKIP only root can be one\n",
		       (int)strlen(function) - 3, function);
		fflush(stdout);
	}
	return root;
}

/* Whatever becomes of the tests, what they leave in $TMPDIR goes. */
static inline void check_in_folder(SRunner *runner)
{
	const char *given = getenv("TMPDIR");
	char *old = given != NULL ? strdup(given) : NULL, folder[FOLDER_BYTES];

	folder_make(folder);
	chmod(folder, 01777);	/* some tests run as another user */
	setenv("TMPDIR", folder, 1);
	srunner_run_all(runner, CK_ENV);
	folder_remove(folder);
	if (old != NULL)
		setenv("TMPDIR", old, 1);
	else
		unsetenv("TMPDIR");
	free(old);
}

static inline int check_main(const char *suite_name, const struct check_row *rows, size_t n)
{
	Suite *suite = suite_create(suite_name);
	SRunner *runner = srunner_create(suite);
	TCase *tcase = NULL;
	int n_failed;

	for (size_t i = 0; i < n; i++) {
		const struct check_row *r = &rows[i];

		if (r->case_name == NULL) {
			tcase_add_loop_test(tcase, r->test, 0, r->n_loops);
			continue;
		}
		tcase = tcase_create(r->case_name);
		tcase_set_timeout(tcase, r->timeout > 0.0 ? r->timeout : CHECK_TIMEOUT);
		tcase_add_checked_fixture(tcase, r->setup, r->teardown);
		tcase_add_unchecked_fixture(tcase, r->start, r->stop);
		suite_add_tcase(suite, tcase);
	}
	check_in_folder(runner);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
