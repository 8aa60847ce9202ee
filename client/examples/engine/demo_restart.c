/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo_restart.c - a step of the demo: the daemon is killed, and its keeper starts it again.
 *
 * No engine runs meanwhile. The time is that from the kill to an answer of the next daemon,
 * which answers when it has all blocks.
 */
#include "client/examples/engine/demo.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#define SERVES_MS	30000	/* the next daemon may take to answer */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int count_blocks(struct stage *s, json_int_t *ret, struct err *e)
{
	json_t *status;
	int r = stage_status(s, &status, e);

	if (r < 0)
		return r;
	*ret = json_integer_value(json_object_get(json_object_get(
		json_array_get(json_object_get(json_object_get(status, "status"),
			       "spaces"), 0), "stats"), "blocks"));
	json_decref(status);
	return 0;
}

/* Milliseconds from the kill to an answer of another process. */
static int kill_daemon(const struct stage *s, double *ret_ms, struct err *e)
{
	const struct timespec moment = { .tv_nsec = 200000 };
	pid_t before = stage_daemon(s), pid;
	uint64_t from = now_ns();

	if (before == 0 || kill(before, SIGKILL) < 0)
		return err_set(e, -ESRCH, "there is no daemon to kill");
	do {
		nanosleep(&moment, NULL);
		pid = stage_daemon(s);
		*ret_ms = (double)(now_ns() - from) / 1e6;
		if (*ret_ms > SERVES_MS)
			return err_set(e, -ETIMEDOUT, "ckvd does not listen");
	} while (pid == 0 || pid == before);
	return 0;
}

int demo_restart(struct stage *s, json_t *found, struct err *e)
{
	json_int_t before = 0, after = 0;
	double ms = 0;
	int r;

	demo_tell_restarting();
	r = count_blocks(s, &before, e);
	if (r == 0)
		r = kill_daemon(s, &ms, e);
	if (r == 0)
		r = count_blocks(s, &after, e);
	if (r < 0)
		return r;
	json_object_set_new(found, "restart", json_pack(
		"{s:I, s:I, s:f}", "blocks_before", before, "blocks_after", after,
		"ms", ms));
	demo_tell_restart(json_object_get(found, "restart"));
	return 0;
}

bool demo_restart_well(const json_t *found)
{
	const json_t *restart = json_object_get(found, "restart");

	return json_integer_value(json_object_get(restart, "blocks_before")) > 0 &&
	       json_equal(json_object_get(restart, "blocks_before"),
			  json_object_get(restart, "blocks_after"));
}
