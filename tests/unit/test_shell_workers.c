/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_workers.c - who waits for whom among the workers' jobs.
 */
#include "daemon/shell/workers.h"
#include "tests/lib/check_main.h"

#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>

static struct workers *workers;
static sem_t gate, entered;

struct job {
	struct work work;
	int order;		/* in which it ran; from 1 */
};

static int n_ran;

static void pass(struct work *work)
{
	((struct job *)work)->order = __atomic_add_fetch(&n_ran, 1, __ATOMIC_SEQ_CST);
}

/* Runs until the gate is opened once. */
static void block(struct work *work)
{
	sem_post(&entered);
	sem_wait(&gate);
	pass(work);
}

static void begin(uint32_t n_threads)
{
	n_ran = 0;
	sem_init(&gate, 0, 0);
	sem_init(&entered, 0, 0);
	ck_assert_int_eq(workers_create(n_threads, &workers), 0);
}

static void end(void)
{
	workers_destroy(workers);
}

static void give(struct job *job, void (*run)(struct work *work), bool low)
{
	*job = (struct job){ .work = { .run = run, .low = low } };
	workers_give(workers, &job->work);
}

/* The next finished job; NULL when none comes in time. */
static struct job *finished(int ms)
{
	struct pollfd p = { .fd = workers_fd(workers), .events = POLLIN };
	struct work *work = workers_take(workers);

	while (work == NULL && poll(&p, 1, ms) > 0)
		work = workers_take(workers);
	return (struct job *)work;
}

/* However much low work waits, a thread is free for what somebody waits for. */
START_TEST(low_work_leaves_a_thread)
{
	struct job low[3], high;

	begin(3);
	for (int i = 0; i < 3; i++)
		give(&low[i], block, true);
	sem_wait(&entered);
	sem_wait(&entered);
	give(&high, pass, false);
	ck_assert_ptr_eq(finished(5000), &high);
	ck_assert_int_ne(sem_trywait(&entered), 0);	/* the third waits */
	for (int i = 0; i < 3; i++)
		sem_post(&gate);
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(finished(5000));
	end();
}
END_TEST

/* A single thread does low work too, after all that is high. */
START_TEST(a_single_thread_does_all)
{
	struct job first, low, high;

	begin(1);
	give(&first, block, false);
	sem_wait(&entered);
	give(&low, pass, true);
	give(&high, pass, false);
	sem_post(&gate);
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(finished(5000));
	ck_assert_int_lt(high.order, low.order);
	end();
}
END_TEST

CHECK_MAIN("shell_workers",
	CASE("workers"),
	TEST(low_work_leaves_a_thread),
	TEST(a_single_thread_does_all))
