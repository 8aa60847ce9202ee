/* SPDX-License-Identifier: Apache-2.0 */
/* waits.c - see waits.h. */
#include "daemon/shell/waits.h"
#include "daemon/shell/job.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define TURN_UNITS_MAX	128	/* a turn's work on PREFETCHes that go on; on those too late */

struct waits {
	struct wait *wait;		/* [n] */
	struct ckv_key *keys;		/* of all rows */
	uint32_t n, free;
	uint32_t n_prefetches;		/* rows of PREFETCH, kept ones too */
	uint32_t n_on;			/* of these, those that wait */
	uint64_t due_ns;		/* no deadline is earlier */
	uint32_t first_space;		/* whose PREFETCHes go on first */
	uint32_t first_late;		/* the row that waits_expire() looks at first */
};

uint32_t waits_max(const struct daemon_params *p)
{
	return (uint32_t)(p->max_jobs + p->max_prefetches);
}

int waits_create(struct daemon *d)
{
	struct waits *w;
	char *memory;
	int r = sys_alloc(1, sizeof *w, &w);

	if (r < 0)
		return r;
	w->n = waits_max(&d->config->daemon);
	r = sys_alloc(w->n, sizeof w->wait[0], &w->wait);
	if (r < 0)
		goto err_free;
	r = sys_map_private(w->n * WAIT_KEY_BYTES, PROT_READ | PROT_WRITE, &memory);
	if (r < 0)
		goto err_rows;
	w->keys = (void *)memory;
	w->free = CKV_NONE;
	w->due_ns = WAIT_NO_DEADLINE;
	for (uint32_t i = w->n; i-- > 0; w->free = i) {
		w->wait[i].next = w->free;
		w->wait[i].keys = w->keys + (size_t)i * CKV_BATCH_MAX;
	}
	d->waits = w;
	return 0;

err_rows:
	sys_free(w->wait);
err_free:
	sys_free(w);
	return r;
}

void waits_destroy(struct daemon *d)
{
	struct waits *w = d->waits;

	if (w == NULL)
		return;
	sys_unmap(w->keys, w->n * WAIT_KEY_BYTES);
	sys_free(w->wait);
	sys_free(w);
	d->waits = NULL;
}

/* ---- rows ---- */

static uint32_t number(const struct waits *w, const struct wait *wait)
{
	return (uint32_t)(wait - w->wait);
}

static struct wait *row_take(struct daemon *d, struct lane *lane)
{
	struct waits *w = d->waits;
	struct wait *wait = &w->wait[w->free];
	uint32_t i = w->free;

	assert(i != CKV_NONE && wait->state == WAIT_FREE);
	w->free = wait->next;
	wait->lane = (uint32_t)(lane - d->lane);
	wait->request = lane->run.request;
	wait->job = NULL;
	wait->deadline_ns = WAIT_NO_DEADLINE;
	wait->prev = CKV_NONE;
	wait->next = lane->first_wait;
	if (wait->next != CKV_NONE)
		w->wait[wait->next].prev = i;
	lane->first_wait = i;
	return wait;
}

static void row_give(struct daemon *d, struct wait *wait)
{
	struct waits *w = d->waits;
	struct lane *lane = &d->lane[wait->lane];

	if (wait->prev != CKV_NONE)
		w->wait[wait->prev].next = wait->next;
	else
		lane->first_wait = wait->next;
	if (wait->next != CKV_NONE)
		w->wait[wait->next].prev = wait->prev;
	wait->state = WAIT_FREE;
	wait->next = w->free;
	w->free = number(w, wait);
}

/* Its completion is owed no more. */
static void owed_no_more(struct daemon *d, struct wait *wait)
{
	struct lane *lane = &d->lane[wait->lane];

	assert(wait->state == WAIT_ON && lane->n_waits > 0);
	lane->n_waits--;
	if (wait->job != NULL)
		lane->n_jobs--;
	else
		d->waits->n_on--;
}

/* ---- PREFETCH ---- */

static void count_prefetch(struct daemon *d, const struct wait *wait, int more)
{
	const struct lane *lane = &d->lane[wait->lane];
	struct client *client = &d->client[lane->client];

	d->waits->n_prefetches += (uint32_t)more;
	client->user->n_prefetches += (uint32_t)more;
	if (wait->task.keep)
		user_count_pins(d, client, lane->space, more);
}

/* The row, and what it holds. */
static void prefetch_give(struct daemon *d, struct wait *wait)
{
	space_cancel(d->served[d->lane[wait->lane].space].core, &wait->task);
	count_prefetch(d, wait, -1);
	row_give(d, wait);
}

/* It waits no longer: its blocks may be held on. The lane may be shut after this. */
static void prefetch_answer(struct daemon *d, struct wait *wait, int result)
{
	struct lane *lane = &d->lane[wait->lane];
	struct ckv_req request = wait->request;

	owed_no_more(d, wait);
	if (wait->task.held_slot != CKV_NONE)
		wait->state = WAIT_KEPT;
	else
		prefetch_give(d, wait);
	lane_complete(d, lane, &request, result);
}

/* The same when the lane is not being served, so that nobody else wakes its client. */
static void prefetch_tell(struct daemon *d, struct wait *wait, int result,
			  int32_t *units)
{
	struct lane *lane = &d->lane[wait->lane];

	prefetch_answer(d, wait, result);
	*units -= UNITS_REQUEST + lane_flush(d, lane);
}

static int may_wait(const struct daemon *d, const struct lane *lane)
{
	const struct client *client = &d->client[lane->client];
	const struct daemon_params *p = &d->config->daemon;

	/* With the last place of its ring gone, the lane could not even send CANCEL. */
	if (lane->n_waits + 1 >= lane->shape.n_slots)
		return -EAGAIN;
	if (d->waits->n_prefetches >= p->max_prefetches ||
	    client->user->n_prefetches >= user_prefetches_max(p))
		return -EAGAIN;
	if (lane->run.task.keep && !user_may_pin(d, client, lane->space))
		return -EUSERS;
	return 0;
}

static uint64_t deadline(uint64_t now_ns, uint64_t timeout_ns)
{
	return timeout_ns < WAIT_NO_DEADLINE - now_ns ? now_ns + timeout_ns :
						      WAIT_NO_DEADLINE;
}

/* The task moves from the lane to a row: its list of keys, too. */
static struct wait *prefetch_move(struct daemon *d, struct lane *lane)
{
	const struct ckv_prefetch_arg *arg = (const void *)lane->argument;
	struct wait *wait = row_take(d, lane);

	wait->task = lane->run.task;
	memcpy(wait->keys, arg + 1, wait->task.n * sizeof wait->keys[0]);
	wait->task.items = wait->keys;
	wait->deadline_ns = deadline(d->now_ns, arg->timeout_ns);
	count_prefetch(d, wait, 1);
	return wait;
}

int wait_prefetch(struct daemon *d, struct lane *lane, int result)
{
	struct ckv_prefetch_arg *arg = (void *)lane->argument;
	struct space *core = d->served[lane->space].core;
	struct space_task *task = &lane->run.task;
	struct wait *wait;
	int r;

	if (result == SPACE_LATER && arg->timeout_ns == 0)
		result = space_prefetch_stop(core, task);
	if (result != SPACE_LATER && task->held_slot == CKV_NONE)
		return result;
	r = may_wait(d, lane);
	if (r < 0) {
		space_cancel(core, task);
		return r;
	}
	wait = prefetch_move(d, lane);
	if (result != SPACE_LATER) {
		wait->state = WAIT_KEPT;
		return result;
	}
	wait->state = WAIT_ON;
	lane->n_waits++;
	d->waits->n_on++;
	if (wait->deadline_ns < d->waits->due_ns)
		d->waits->due_ns = wait->deadline_ns;
	space_await(core, &wait->task);
	ckv_count(&d->served[lane->space].stats->prefetch_waits, 1);
	return WAIT_TAKEN;
}

/* ---- COMPRESS ---- */

struct wait *wait_job(struct daemon *d, struct lane *lane, struct job *job)
{
	struct wait *wait = row_take(d, lane);

	wait->state = WAIT_ON;
	wait->job = job;
	lane->n_waits++;
	lane->n_jobs++;
	return wait;
}

static void job_answer(struct daemon *d, struct wait *wait, const void *reply,
		       size_t reply_bytes, int result)
{
	struct lane *lane = &d->lane[wait->lane];
	struct ckv_req request = wait->request;

	assert(wait->job != NULL && lane->state == LANE_OPEN);
	owed_no_more(d, wait);
	row_give(d, wait);
	memcpy((char *)lane->d.base + lane->map.results + request.arg_offset,
	       reply, reply_bytes);
	lane_complete(d, lane, &request, result);
}

void wait_answer(struct daemon *d, struct wait *wait, const void *reply,
		 size_t reply_bytes, int result)
{
	struct lane *lane = &d->lane[wait->lane];

	job_answer(d, wait, reply, reply_bytes, result);
	lane_flush(d, lane);
}

/* ---- ends that nobody waited for ---- */

/* The lane is being served: its client is woken once, after the CANCEL. */
static void cancel(struct daemon *d, struct wait *wait)
{
	struct ckv_view_reply reply = { .text = "cancelled" };

	if (wait->state == WAIT_KEPT) {
		prefetch_give(d, wait);
	} else if (wait->job != NULL) {
		wait->job->waiter = NULL;
		job_answer(d, wait, &reply, sizeof reply, -ECANCELED);
	} else {
		space_cancel(d->served[d->lane[wait->lane].space].core,
			     &wait->task);
		prefetch_answer(d, wait, -ECANCELED);
	}
}

int wait_cancel(struct daemon *d, struct lane *lane, uint64_t tag, int32_t *units)
{
	uint32_t i = lane->first_wait;

	for (; i != CKV_NONE; i = d->waits->wait[i].next) {
		*units -= 1;
		if (d->waits->wait[i].request.tag != tag)
			continue;
		cancel(d, &d->waits->wait[i]);
		return 0;
	}
	return -ENOENT;
}

/* Nobody is answered. A job goes on. */
static void end(struct daemon *d, struct wait *wait)
{
	if (wait->state == WAIT_ON)
		owed_no_more(d, wait);
	if (wait->job == NULL) {
		prefetch_give(d, wait);
		return;
	}
	wait->job->waiter = NULL;
	row_give(d, wait);
}

void waits_end(struct daemon *d, struct lane *lane)
{
	while (lane->first_wait != CKV_NONE)
		end(d, &d->waits->wait[lane->first_wait]);
	assert(lane->n_waits == 0 && lane->n_jobs == 0);
}

void waits_end_all(struct daemon *d)
{
	for (uint32_t i = 0; d->waits != NULL && i < d->waits->n; i++)
		if (d->waits->wait[i].state != WAIT_FREE)
			end(d, &d->waits->wait[i]);
}

/* ---- by turns ---- */

static void go_on(struct daemon *d, struct space *core, struct space_task *task,
		  int32_t *units)
{
	struct wait *wait = (struct wait *)((char *)task - offsetof(struct wait, task));
	int r = space_run(core, task, units);

	if (r == SPACE_LATER)
		space_await(core, task);
	else if (r == SPACE_MORE)
		space_again(core, task);
	else
		prefetch_tell(d, wait, r, units);
}

static bool worked(struct daemon *d, int32_t units)
{
	ckv_count(&d->stats->work_units, (uint64_t)(TURN_UNITS_MAX - units));
	return units < TURN_UNITS_MAX;
}

bool waits_turn(struct daemon *d)
{
	struct waits *w = d->waits;
	int32_t units = TURN_UNITS_MAX;

	for (uint32_t i = 0; i < d->n_spaces && w->n_on > 0 && units > 0; i++) {
		struct space *core = d->served[w->first_space].core;
		struct space_task *task;

		/* Where one space takes all units, the next turn begins with another. */
		w->first_space = w->first_space + 1 < d->n_spaces ?
				 w->first_space + 1 : 0;
		while (units > 0 && (task = space_ready(core)) != NULL)
			go_on(d, core, task, &units);
	}
	return worked(d, units);
}

static void too_late(struct daemon *d, struct wait *wait, int32_t *units)
{
	struct served_space *served = &d->served[d->lane[wait->lane].space];

	ckv_count(&served->stats->prefetch_late, 1);
	prefetch_tell(d, wait, space_prefetch_stop(served->core, &wait->task), units);
}

bool waits_expire(struct daemon *d)
{
	struct waits *w = d->waits;
	uint32_t at = w->first_late;
	int32_t units = TURN_UNITS_MAX;

	if (d->now_ns < w->due_ns)
		return false;
	w->due_ns = WAIT_NO_DEADLINE;
	for (uint32_t i = 0; i < w->n; i++) {
		struct wait *wait = &w->wait[at];

		at = at + 1 < w->n ? at + 1 : 0;
		if (wait->state != WAIT_ON || wait->job != NULL)
			continue;
		if (wait->deadline_ns > d->now_ns || units <= 0) {
			if (wait->deadline_ns < w->due_ns)
				w->due_ns = wait->deadline_ns;
			continue;
		}
		/* The next call begins behind it: rows used again do not go first. */
		w->first_late = at;
		too_late(d, wait, &units);
	}
	return worked(d, units);
}

uint64_t waits_due_ns(const struct daemon *d)
{
	for (uint32_t i = 0; i < d->n_spaces && d->waits->n_on > 0; i++)
		if (space_has_ready(d->served[i].core))
			return 0;
	return d->waits->due_ns;
}
