/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timing.h - how long the GPU takes for something, without the host's part of it.
 *
 * A launch costs the host some microseconds, and a GPU that is idle begins at once: what
 * lies between two events would then be that time too. So the stream is held first, by a
 * function of the host that waits; everything is queued behind it, an event between each
 * two launches, and then the function returns. A held stream needs no kernel that spins
 * and, unlike a word in memory that the stream waits for, nothing that a driver may lack;
 * and launches that are timed one by one, unlike a graph that is replayed, show how much
 * they differ.
 */
#ifndef CKV_GPU_TIMING_H
#define CKV_GPU_TIMING_H

#define TIMES_MAX	200

struct times {
	double us, us_min, us_max;	/* median and range of `n` launches */
	int n;
	double empty_us;		/* between two events with nothing between: in each */
};

/*
 * Launch again and again for about `seconds`; launch() enqueues on the default stream.
 *
 *   -EIO   launch() failed
 *   -EBUSY the driver did not take launches while the stream was held
 */
int time_launches(int (*launch)(void *), void *data, double seconds, struct times *ret);

#endif
