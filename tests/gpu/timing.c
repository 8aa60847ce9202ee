/* SPDX-License-Identifier: Apache-2.0 */
/* timing.c - see timing.h. */
#include "timing.h"
#include "device.h"

#include <errno.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

/*
 * Launches behind one hold. A driver's queue has room for about a thousand entries; the
 * largest case takes ten for each launch.
 */
#define AT_ONCE		16
#define WAIT_SECONDS	1

struct hold {
	sem_t go;
	bool late;	/* it ended by itself: launch() waited for room behind it */
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Run by the driver when the stream comes to it; what follows in the stream waits. */
static void wait_for_go(void *data)
{
	struct hold *hold = data;
	struct timespec until;
	int r;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_SECONDS;
	do
		r = sem_timedwait(&hold->go, &until);
	while (r < 0 && errno == EINTR);
	hold->late = r < 0;
}

/*
 * A launch that is not timed, so that nothing is cold, then us[0..n), each between two
 * events, all queued before the first begins.
 */
static int time_batch(int (*launch)(void *), void *data, const CUevent *event, int n, double *us)
{
	struct hold hold = { .late = false };
	int r;

	sem_init(&hold.go, 0, 0);
	gpu_must(gpu.cuLaunchHostFunc(NULL, wait_for_go, &hold), "hold");
	r = launch(data);
	gpu_must(gpu.cuEventRecord(event[0], NULL), "event");
	for (int i = 0; i < n && r == 0; i++) {
		r = launch(data);
		gpu_must(gpu.cuEventRecord(event[i + 1], NULL), "event");
	}
	sem_post(&hold.go);
	gpu_must(gpu.cuCtxSynchronize(), "launches");
	sem_destroy(&hold.go);
	if (r < 0 || hold.late)
		return r < 0 ? -EIO : -EBUSY;
	for (int i = 0; i < n; i++) {
		float ms = 0.0f;

		gpu_must(gpu.cuEventElapsedTime(&ms, event[i], event[i + 1]), "event");
		us[i] = 1e3 * (double)ms;
	}
	return 0;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *us, int n)
{
	qsort(us, (size_t)n, sizeof *us, by_size);
	return us[n / 2];
}

static int no_launch(void *data)
{
	(void)data;
	return 0;
}

int time_launches(int (*launch)(void *), void *data, double seconds, struct times *ret)
{
	double us[TIMES_MAX], empty[AT_ONCE], until = now() + seconds;
	CUevent event[AT_ONCE + 1];
	int n = 0, at_once = AT_ONCE, r;

	for (int i = 0; i <= AT_ONCE; i++)
		gpu_must(gpu.cuEventCreate(&event[i], 0), "event");
	/* The first one loads code and makes room, for which a driver may wait for the stream. */
	r = launch(data) < 0 ? -EIO : 0;
	gpu_must(gpu.cuCtxSynchronize(), "launch");
	if (r == 0)
		r = time_batch(no_launch, NULL, event, AT_ONCE, empty);
	while (r == 0 && n + at_once <= TIMES_MAX && (n == 0 || now() < until)) {
		r = time_batch(launch, data, event, at_once, us + n);
		if (r == 0)
			n += at_once;
		if (r == -EBUSY && at_once > 1) {
			at_once /= 2;
			r = 0;
		}
	}
	for (int i = 0; i <= AT_ONCE; i++)
		gpu_must(gpu.cuEventDestroy(event[i]), "event");
	if (r < 0)
		return r;
	*ret = (struct times){ .us = median(us, n), .us_min = us[0], .us_max = us[n - 1],
			       .n = n, .empty_us = median(empty, AT_ONCE) };
	return 0;
}
