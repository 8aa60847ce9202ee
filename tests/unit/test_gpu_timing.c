/* SPDX-License-Identifier: Apache-2.0 */
/* test_gpu_timing.c - tests/gpu/timing.c on a GPU whose clock is a number. */
#include "tests/gpu/device.h"
#include "tests/gpu/timing.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define HOST_US		30.0	/* that a launch costs the host */
#define QUEUE_MAX	512

struct gpu_driver gpu;

void gpu_must(CUresult r, const char *what)
{
	ck_assert_msg(r == CUDA_SUCCESS, "%s", what);
}

/* What is in the stream, in order. */
static struct entry {
	double queued_us, takes_us;
	bool held;		/* a function of the host: it ends when that returns */
	struct event *event;
} queue[QUEUE_MAX];

struct event {
	double us;
};

static struct {
	double host_us, gpu_us, ended_us;	/* ended: the function */
	int n, n_launches, room;	/* launches that fit behind a function */
	bool runs;
	pthread_t function;
	void (*call)(void *);
	void *data;
} stream;

static void *call_function(void *unused)
{
	stream.call(stream.data);
	return unused;
}

static void function_ends(void)
{
	if (!stream.runs)
		return;
	pthread_join(stream.function, NULL);
	stream.runs = false;
	stream.ended_us = stream.host_us;
}

static void enqueue(struct entry e)
{
	ck_assert_int_lt(stream.n, QUEUE_MAX);
	e.queued_us = stream.host_us;
	queue[stream.n++] = e;
}

static CUresult launch_host_func(CUstream s, void (*function)(void *), void *data)
{
	(void)s;
	stream.call = function;
	stream.data = data;
	stream.runs = true;
	stream.n_launches = 0;
	enqueue((struct entry){ .held = true });
	ck_assert_int_eq(pthread_create(&stream.function, NULL, call_function, NULL), 0);
	return CUDA_SUCCESS;
}

static CUresult synchronize(void)
{
	function_ends();
	for (int i = 0; i < stream.n; i++) {
		struct entry *e = &queue[i];
		double from = e->held ? stream.ended_us : e->queued_us;

		if (stream.gpu_us < from)
			stream.gpu_us = from;
		stream.gpu_us += e->takes_us;
		if (e->event != NULL)
			e->event->us = stream.gpu_us;
	}
	stream.n = 0;
	stream.host_us = stream.gpu_us;
	return CUDA_SUCCESS;
}

static CUresult event_create(CUevent *event, unsigned flags)
{
	(void)flags;
	*event = calloc(1, sizeof(struct event));
	return CUDA_SUCCESS;
}

static CUresult event_destroy(CUevent event)
{
	free(event);
	return CUDA_SUCCESS;
}

static CUresult event_record(CUevent event, CUstream s)
{
	(void)s;
	stream.host_us += 1;
	enqueue((struct entry){ .event = (struct event *)event });
	return CUDA_SUCCESS;
}

static CUresult event_elapsed(float *ms, CUevent from, CUevent to)
{
	*ms = (float)(((struct event *)to)->us - ((struct event *)from)->us) / 1e3f;
	return CUDA_SUCCESS;
}

static void begin(int room)
{
	memset(&stream, 0, sizeof stream);
	stream.room = room;
	gpu = (struct gpu_driver){
		.cuLaunchHostFunc = launch_host_func, .cuCtxSynchronize = synchronize,
		.cuEventCreate = event_create, .cuEventDestroy = event_destroy,
		.cuEventRecord = event_record, .cuEventElapsedTime = event_elapsed };
}

/* Takes 10 us, each fourth time 14; the first time a millisecond more. */
static int launch(void *data)
{
	int *n = data;

	if (stream.runs && ++stream.n_launches > stream.room)
		function_ends();
	stream.host_us += HOST_US;
	enqueue((struct entry){ .takes_us = *n == 0 ? 1010 : *n % 4 == 0 ? 14 : 10 });
	(*n)++;
	return 0;
}

static int refused(void *data)
{
	int *n = data;

	return ++*n > 20 ? -EIO : 0;
}

START_TEST(what_the_host_takes_is_not_in_it)
{
	struct times t;
	int n = 0;

	begin(100);
	ck_assert_int_eq(time_launches(launch, &n, 0.01, &t), 0);
	ck_assert_double_eq_tol(t.us, 10, 0.1);
	ck_assert_double_eq_tol(t.us_min, 10, 0.1);
	ck_assert_double_eq_tol(t.us_max, 14, 0.1);
	ck_assert_double_eq_tol(t.empty_us, 0, 0.1);
	ck_assert_int_ge(t.n, 16);
	ck_assert_int_le(t.n, TIMES_MAX);
}
END_TEST

/* A driver that waits for room behind a stream that waits for us: nobody waits for ever. */
START_TEST(a_small_queue_takes_fewer_at_once)
{
	struct times t;
	int n = 0;

	begin(10);
	ck_assert_int_eq(time_launches(launch, &n, 0.01, &t), 0);
	ck_assert_double_eq_tol(t.us, 10, 0.1);
	ck_assert_double_eq_tol(t.us_max, 14, 0.1);
}
END_TEST

START_TEST(no_queue_is_said)
{
	struct times t;
	int n = 0;

	begin(0);
	ck_assert_int_eq(time_launches(launch, &n, 0.01, &t), -EBUSY);
}
END_TEST

START_TEST(a_refusal_is_said_and_releases_the_stream)
{
	struct times t;
	int n = 0;

	begin(100);
	ck_assert_int_eq(time_launches(refused, &n, 10, &t), -EIO);
	ck_assert(!stream.runs);
	ck_assert_int_eq(n, 21);
}
END_TEST

CHECK_MAIN("gpu_timing",
	CASE("timing"),
	TEST(what_the_host_takes_is_not_in_it),
	TEST(a_small_queue_takes_fewer_at_once),
	TEST(no_queue_is_said),
	TEST(a_refusal_is_said_and_releases_the_stream))
