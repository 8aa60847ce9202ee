/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm_lane.c - what a lane of the storm does, one step at a time.
 */
#include "tests/crash/storm_client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define METHOD	"random(keep=1/2)"

/* Only a dead daemon and a full ring are excuses. */
static void judge(struct storm_lane *l, const char *call, long result)
{
	if (result >= 0 || result == -ESTALE || result == -EAGAIN)
		return;
	storm_tell(l->process->storm, "%s: %s answers %s (%s)", l->name, call,
		   ckv_strerror((int)result), ckv_why(l->process->ckv));
}

static uint32_t draw(struct storm_lane *l, uint32_t n)
{
	return (uint32_t)(storm_draw(&l->random) % n);
}

static void random_chain(struct storm_lane *l, struct ckv_key *ret_keys)
{
	storm_keys(l->space, draw(l, STORM_CHAINS), ret_keys);
}

/* ---- pins ---- */

static void verify(struct storm_lane *l, const struct storm_held *held,
		   const char *when)
{
	char where[96];

	snprintf(where, sizeof where, "%s, %s", l->name, when);
	for (uint32_t i = 0; i < held->n; i++)
		if (held->handle[i].data == NULL ||
		    held->handle[i].n_tokens != l->info.model.block_tokens)
			storm_tell(l->process->storm, "%s: block %u of %u has "
				   "no page, or %u tokens", where, i, held->n,
				   held->handle[i].n_tokens);
		else if (storm_page_right(l->process->storm, where, &held->key[i],
					  held->handle[i].data, l->info.page_bytes))
			ckv_count(&l->counts->verified, 1);
}

/* Everything read is still as it was, up to here. */
static void let_go(struct storm_lane *l, struct storm_held *held)
{
	if (held->n > 0)
		verify(l, held, ckv_pin_valid(l->lane, &held->pin) == 0 ?
		       "before its unpin" : "after its daemon's death");
	ckv_unpin(l->lane, &held->pin);
	held->n = 0;
}

/* ---- a chain on its way ---- */

static uint64_t tag_of(const struct storm_lane *l, const struct storm_job *job)
{
	return (uint64_t)(job - l->job) + 1;
}

static struct storm_job *idle_job(struct storm_lane *l)
{
	for (int i = 0; i < STORM_JOBS; i++)
		if (l->job[i].state == JOB_IDLE)
			return &l->job[i];
	return NULL;
}

static void job_sent(struct storm_lane *l, struct storm_job *job,
		     enum storm_job_state state)
{
	job->state = state;
	job->sent = ++l->n_sent;
	if (++l->n_in_flight > 1)
		ckv_count(&l->counts->pipelined, 1);
}

/* Ask for keys[from .. to) of a chain. */
static void begin_reserve(struct storm_lane *l, const struct ckv_key *keys,
			  uint32_t from, uint32_t to)
{
	struct storm_job *job = idle_job(l);
	int r;

	if (job == NULL || from == to)
		return;
	job->taken = 0;
	job->rooted = from == 0;
	if (from > 0)
		job->parent = keys[from - 1];
	job->n = to - from;
	memcpy(job->key, keys + from, job->n * sizeof keys[0]);
	r = ckv_submit_reserve(l->lane, from ? job->parent.byte : NULL,
			       job->key[0].byte, job->n, job->page,
			       tag_of(l, job));
	judge(l, "reserve", r);
	if (r == 0)
		job_sent(l, job, JOB_RESERVING);
}

static bool is_writing(const struct storm_lane *l)
{
	for (int i = 0; i < STORM_JOBS; i++)
		if (l->job[i].state == JOB_WRITING)
			return true;
	return false;
}

/* In one piece, or in two, the second under what is not published yet. */
static void begin_chain(struct storm_lane *l, const struct ckv_key *keys,
			uint32_t n_found, uint32_t depth)
{
	uint32_t middle = draw(l, 4) ? depth :
			  n_found + 1 + draw(l, depth - n_found);

	/* Under what is being written nothing may be published yet. */
	if (is_writing(l))
		return;
	begin_reserve(l, keys, n_found, middle);
	begin_reserve(l, keys, middle, depth);
}

static void begin_nop(struct storm_lane *l)
{
	struct storm_job *job = idle_job(l);
	int r = job == NULL ? -EAGAIN : ckv_submit_nop(l->lane, tag_of(l, job));

	judge(l, "nop", r);
	if (r == 0)
		job_sent(l, job, JOB_NOP);
}

/*
 * Wait for a chain that others may be writing, be it this lane: at once, a while, or
 * until nobody writes it any more.
 */
static void begin_prefetch(struct storm_lane *l)
{
	static const int64_t timeout_ns[] = { 0, 1, 1000000, 50000000, -1 };
	struct storm_job *job = idle_job(l);
	int r;

	if (job == NULL)
		return;
	random_chain(l, job->come.key);
	job->come.n = 0;
	r = ckv_submit_prefetch(l->lane, job->come.key[0].byte,
				1 + draw(l, STORM_DEPTH), CKV_HOST,
				timeout_ns[draw(l, 5)], draw(l, 4) ? 0 : CKV_VERIFY,
				job->come.handle, &job->come.pin, tag_of(l, job));
	judge(l, "prefetch", r);
	if (r == 0)
		job_sent(l, job, JOB_PREFETCHING);
}

static void prefetched(struct storm_lane *l, struct storm_job *job, long result)
{
	judge(l, "prefetch, completed", result == -ECANCELED ? 0 : result);
	ckv_count(&l->counts->cancelled, result == -ECANCELED);
	if (result < 0)
		return;
	ckv_count(&l->counts->prefetched, result > 0);
	job->come.n = (uint32_t)result;
	verify(l, &job->come, "prefetched");
	let_go(l, &job->come);
}

/* One that waits ends; what has ended stays as it is. */
static void step_cancel(struct storm_lane *l)
{
	int i = (int)draw(l, STORM_JOBS), r;

	if (l->job[i].state == JOB_IDLE || l->job[i].state == JOB_WRITING)
		return;
	r = ckv_cancel(l->lane, tag_of(l, &l->job[i]));
	judge(l, "cancel", r == -EALREADY ? 0 : r);
}

static void take_under_key(struct storm_lane *l, const struct ckv_key *parent,
			   uint64_t last)
{
	for (int i = 0; i < STORM_JOBS; i++) {
		struct storm_job *job = &l->job[i];

		if (job->state == JOB_RESERVING && !job->rooted && job->sent <= last &&
		    memcmp(&job->parent, parent, sizeof *parent) == 0)
			job->taken = last;
	}
}

/*
 * What was reserved under pages that are given back goes with them: no byte of it is
 * ours. Those jobs hear of their own pages later, and pass it on then. That is for
 * requests up to number `last`, which were sent before the pages were given back: a later
 * one may have reserved the same keys anew.
 */
static void take_under(struct storm_lane *l, const struct storm_job *job,
		       uint32_t from, uint64_t last)
{
	for (uint32_t i = from; i < job->n; i++)
		if (job->page[i].status == 0)
			take_under_key(l, &job->key[i], last);
}

/*
 * Publish or give back pages that are not lent any more. It does no harm and nothing
 * comes of it; the lane lives.
 */
static void be_careless(struct storm_lane *l, const struct storm_job *job,
			uint32_t n)
{
	const char *call = draw(l, 2) ? "publish" : "abort";
	long r = call[0] == 'p' ?
		 ckv_publish(l->lane, job->page, n, l->info.model.block_tokens, 0,
			     NULL, NULL, NULL) :
		 ckv_abort(l->lane, job->page, n, NULL);

	ckv_count(&l->counts->careless, 1);
	if (r != -EEXIST && r != -ECANCELED && r != -ESTALE && r != -EAGAIN)
		storm_tell(l->process->storm, "%s: %s of what is not lent any more "
			   "answers %ld (%s)", l->name, call, r,
			   ckv_why(l->process->ckv));
}

/* Give back the lent ones of page[from ..): all at once, or from the end. */
static void give_up(struct storm_lane *l, struct storm_job *job, uint32_t from)
{
	long r = 0;

	take_under(l, job, from, l->n_sent);
	if (draw(l, 2)) {
		r = ckv_abort(l->lane, job->page + from, job->n - from, NULL);
		judge(l, "abort", r);
	} else {
		for (uint32_t i = job->n; i-- > from; ) {
			if (job->page[i].status != 0)
				continue;
			r = ckv_abort(l->lane, &job->page[i], 1, NULL);
			judge(l, "abort of one", r);
		}
	}
	if (r > 0)
		ckv_count(&l->counts->aborted, 1);
}

static void publish(struct storm_lane *l, struct storm_job *job, uint32_t n)
{
	bool summed = draw(l, 2);
	int r;

	for (uint32_t i = 0; i < n; i++) {
		storm_fill(&job->key[i], job->page[i].data, l->info.page_bytes);
		if (summed)
			job->sum[i] = ckv_checksum(job->page[i].data,
						   l->info.page_bytes);
	}
	job->n = n;
	r = ckv_submit_publish(l->lane, job->page, n, l->info.model.block_tokens,
			       summed ? job->sum : NULL, NULL, tag_of(l, job));
	judge(l, "publish", r);
	if (r == 0)
		job_sent(l, job, JOB_PUBLISHING);
	else if (r == -EAGAIN)
		give_up(l, job, 0);
	else if (r == -ESTALE)
		be_careless(l, job, n);
}

/* ---- pages that are written for a while ---- */

/* Is something reserved under this block, which would be published before it? */
static bool has_child(const struct storm_lane *l, const struct ckv_key *key)
{
	for (int i = 0; i < STORM_JOBS; i++)
		if (l->job[i].state == JOB_RESERVING && !l->job[i].rooted &&
		    memcmp(&l->job[i].parent, key, sizeof *key) == 0)
			return true;
	return false;
}

static bool has_children(const struct storm_lane *l, const struct storm_job *job)
{
	for (uint32_t i = 0; i < job->n; i++)
		if (has_child(l, &job->key[i]))
			return true;
	return false;
}

/*
 * Anything may be written into a lent page, also after its daemon's death: until it is
 * given back it is this lane's. Nobody else may ever find this.
 */
static void step_write(struct storm_lane *l)
{
	for (int i = 0; i < STORM_JOBS; i++) {
		struct storm_job *job = &l->job[i];

		if (job->state != JOB_WRITING)
			continue;
		memset(job->page[draw(l, job->n)].data, (int)draw(l, 256),
		       l->info.page_bytes);
		if (draw(l, 32) != 0)
			continue;
		job->state = JOB_IDLE;
		publish(l, job, job->n);
	}
}

/* Pages came, or some, or none. What is not published goes back. */
static void reserved(struct storm_lane *l, struct storm_job *job, long result)
{
	uint32_t n_lent = 0, n;

	judge(l, "reserve, completed", result);
	if (result <= 0)
		return;
	while (n_lent < job->n && job->page[n_lent].status == 0)
		n_lent++;
	if (job->taken != 0) {
		take_under(l, job, 0, job->taken);
		if (n_lent > 0)
			be_careless(l, job, n_lent);
		return;
	}
	n = draw(l, 8) ? n_lent : draw(l, n_lent + 1);
	if (n < job->n)
		give_up(l, job, n);
	if (n > 0 && job->rooted && draw(l, 16) == 0 && !has_children(l, job)) {
		job->n = n;
		job->state = JOB_WRITING;
	} else if (n > 0)
		publish(l, job, n);
	else if (n_lent > 0 && draw(l, 4) == 0)
		be_careless(l, job, n_lent);
}

static void published(struct storm_lane *l, const struct storm_job *job,
		      long result)
{
	/* Whoever heard nothing, or not enough, asks again. */
	if (draw(l, 8) == 0)
		be_careless(l, job, job->n);
	judge(l, "publish, completed", result);
	if (result >= 0 && result != (long)job->n)
		storm_tell(l->process->storm, "%s: %ld of %u pages published",
			   l->name, result, job->n);
	if (result > 0)
		ckv_count(&l->counts->written, (uint64_t)result);
}

static void collect(struct storm_lane *l, bool wait)
{
	struct ckv_event event[STORM_JOBS];
	int n = wait ? ckv_wait(l->lane, 20000000, event, STORM_JOBS) :
		       ckv_poll(l->lane, event, STORM_JOBS);

	if (n != -ETIMEDOUT)
		judge(l, "poll", n);
	for (int i = 0; i < n; i++) {
		struct storm_job *job = &l->job[event[i].tag - 1];
		enum storm_job_state was = job->state;

		job->state = JOB_IDLE;
		l->n_in_flight--;
		if (was == JOB_RESERVING)
			reserved(l, job, event[i].result);
		else if (was == JOB_PUBLISHING)
			published(l, job, event[i].result);
		else if (was == JOB_PREFETCHING)
			prefetched(l, job, event[i].result);
		else
			judge(l, "nop, completed", event[i].result);
	}
}

/* ---- steps ---- */

/* Look a chain up, read all of it, keep it pinned; ask for what is missing. */
static void step_look(struct storm_lane *l)
{
	uint32_t depth = 1 + draw(l, STORM_DEPTH);
	struct storm_held *held = &l->held[l->next_held++ % STORM_HELD];
	long found;

	let_go(l, held);
	random_chain(l, held->key);
	found = ckv_lookup(l->lane, held->key[0].byte, depth,
			   draw(l, 4) ? 0 : CKV_VERIFY, held->handle, &held->pin);
	judge(l, "lookup", found);
	if (found < 0)
		return;
	held->n = (uint32_t)found;
	verify(l, held, "first look");
	if (found == 0)
		ckv_count(&l->counts->missed, 1);
	if (found < (long)depth)
		begin_chain(l, held->key, (uint32_t)found, depth);
	if (draw(l, 4) == 0)
		let_go(l, held);
}

/* The same for all that can be held, in one call. */
static void step_look_many(struct storm_lane *l)
{
	struct ckv_chain chain[STORM_HELD];
	long r;

	for (int i = 0; i < STORM_HELD; i++) {
		struct storm_held *held = &l->held[i];

		let_go(l, held);
		random_chain(l, held->key);
		chain[i] = (struct ckv_chain){
			.keys = held->key[0].byte,
			.n_keys = 1 + draw(l, STORM_DEPTH),
			.ret_handles = held->handle,
		};
	}
	r = ckv_lookup_many(l->lane, chain, STORM_HELD, 0);
	judge(l, "lookup_many", r);
	for (int i = 0; r >= 0 && i < STORM_HELD; i++) {
		judge(l, "lookup_many of one", chain[i].result);
		if (chain[i].result < 0)
			continue;
		l->held[i].n = (uint32_t)chain[i].result;
		l->held[i].pin = chain[i].pin;
		verify(l, &l->held[i], "first look at many");
	}
}

static void step_drop(struct storm_lane *l)
{
	struct ckv_key keys[STORM_DEPTH], deepest[STORM_DEPTH];
	uint32_t n = 1 + draw(l, STORM_DEPTH);
	long r;

	random_chain(l, keys);
	for (uint32_t i = 0; i < n; i++)
		deepest[i] = keys[STORM_DEPTH - 1 - i];
	r = ckv_drop(l->lane, deepest[0].byte, n, NULL);
	judge(l, "drop", r);
	if (r > 0)
		ckv_count(&l->counts->dropped, (uint64_t)r);
}

/* A chain that is not there, a view that has gone, no room: all may be. */
static bool view_excused(long r)
{
	return r == -ENOENT || r == -ENOSPC;
}

static void step_view(struct storm_lane *l)
{
	struct ckv_key keys[STORM_DEPTH];
	struct ckv_view_info made;
	struct ckv_view view;
	char where[96];
	int r;

	random_chain(l, keys);
	r = ckv_compress(l->lane, keys[draw(l, STORM_DEPTH)].byte, METHOD, NULL,
			 &made);
	if (r == 0)
		r = ckv_view_open(l->lane, made.key, &view);
	if (r != 0) {
		judge(l, "compress", view_excused(r) ? 0 : r);
		return;
	}
	snprintf(where, sizeof where, "%s, in a view", l->name);
	if (storm_view_right(l->process->storm, where, l->lane, &l->info, keys,
			     &view))
		ckv_count(&l->counts->views, 1);
	ckv_unpin(l->lane, &view.pin);
}

/* A child of a client has nothing of it, and its death is its own. */
static void step_fork(struct storm_lane *l)
{
	struct storm_held *held = &l->held[0];
	struct ckv_pin pin;
	pid_t pid = fork();

	if (pid == 0) {
		long r = ckv_lookup(l->lane, held->key[0].byte, 1, CKV_EXISTS,
				    NULL, &pin);

		if (r != -ECHILD)
			storm_tell(l->process->storm, "%s: a child's lookup "
				   "answers %ld", l->name, r);
		ckv_unpin(l->lane, &held->pin);
		if (draw(l, 2))
			kill(getpid(), SIGKILL);
		_exit(0);
	}
	if (pid < 0)
		return;
	waitpid(pid, NULL, 0);
	ckv_count(&l->counts->forks, 1);
}

void storm_lane_close(struct storm_lane *l)
{
	for (int i = 0; i < STORM_HELD; i++)
		if (l->lane != NULL)
			let_go(l, &l->held[i]);
	l->lane = ckv_lane_close(l->lane);
	memset(l->job, 0, sizeof l->job);
	l->n_in_flight = 0;
}

static void lane_open(struct storm_lane *l)
{
	int r = ckv_lane_open(l->space, NULL, &l->lane);

	if (r == 0) {
		ckv_count(&l->counts->lanes, 1);
		return;
	}
	l->lane = NULL;
	if (r != -ENOENT && r != -ECONNREFUSED && r != -ETIMEDOUT)
		judge(l, "lane_open", r);
	raw_nap();
}

void storm_lane_step(struct storm_lane *l)
{
	uint32_t what = draw(l, 256);

	if (l->lane == NULL) {
		lane_open(l);
		return;
	}
	collect(l, idle_job(l) == NULL);
	step_write(l);
	if (what == 0)
		storm_lane_close(l);
	else if (what == 1)
		step_fork(l);
	else if (what < 6)
		step_view(l);
	else if (what < 20)
		step_drop(l);
	else if (what < 30)
		begin_nop(l);
	else if (what < 40)
		step_cancel(l);
	else if (what < 60)
		begin_prefetch(l);
	else if (what < 90)
		step_look_many(l);
	else
		step_look(l);
}
