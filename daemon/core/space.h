/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.h - all of the daemon's decisions about one space.
 *
 * State in, state out: no system call, no clock, no file. The shell maps the
 * memory, copies requests out of the clients' reach, calls this, and sends what
 * comes back. One thread. Everything is allocated by space_create().
 *
 * The arguments of a call are private copies, but their contents are what a
 * client wrote: they are judged here. Lane numbers, page numbers of jobs and
 * view pages come from the shell and are asserted.
 *
 * Results are those of proto/ckv_ops.h. A call that fails changes nothing. -EPROTO:
 * only a broken client sends this; close the lane; what came before it in the
 * list was done.
 *
 * A request is a task: it goes on, item by item, for as many work units as the
 * caller grants, and is not atomic over its items. What needs a look at the pins of
 * the space (eviction, DROP, room for a view) is wished for and waits: space_step(),
 * called between turns, judges one bounded batch for all who wait, with one scan.
 * What was found pinned is remembered with the place of its pin, and not judged
 * again while that pin is there; a search that found only such blocks has its answer
 * without a scan. No call walks the pool. (A view's allocation walks a bitmap of the
 * view pages.)
 */
#ifndef CKV_CORE_SPACE_H
#define CKV_CORE_SPACE_H

#include "daemon/core/policy.h"
#include "proto/ckv_ops.h"
#include "proto/ckv_stats.h"

struct space;

struct space_config {
	struct ckv_geometry geometry;
	struct ckv_pool_shape pool;
	uint64_t epoch;			/* the daemon's, in the names of lent pages */
	uint32_t n_buckets;		/* space_buckets() of the pool */
	uint64_t seed[4];		/* random */
	const struct policy_ops *policy;
	uint32_t n_lanes_max;		/* < 65535 */
	uint32_t n_clients_max;		/* client ids are below this */
	uint32_t n_lent_max;		/* pages lent to one client; reloadable */
	uint32_t n_users_max;		/* users' numbers are below this, or all are 0 */
	uint32_t n_user_lent_max;	/* pages lent to one user; 0: any; reloadable */
	uint32_t n_pages_max;		/* quota of block pages; reloadable */
	uint32_t n_tips_max;		/* chains held for automatic views */
	struct space_pace *pace;	/* the caller's, who pays; NULL: its own */
};

/*
 * Scans take at most a part of the time: each leaves a debt, which the work and the
 * idle turns that follow pay. Until then a search that found nothing is answered
 * from memory, and the caller makes no step.
 */
struct space_pace {
	uint64_t debt;			/* work units */
};
#define SPACE_PACE_FREE	2048u	/* a debt that delays nothing: small spaces never notice */
#define SPACE_PACE_SHARE 2u	/* units that others have for each one of a scan */

static inline bool space_pace_ready(const struct space_pace *pace)
{
	return pace->debt <= SPACE_PACE_FREE;
}

static inline void space_pace_pay(struct space_pace *pace, uint64_t units)
{
	pace->debt -= units < pace->debt ? units : pace->debt;
}

/* The shell's, zeroed, and there until space_destroy(). */
struct space_memory {
	void *index;			/* ckv_index_bytes(n_buckets) */
	struct ckv_record *records;	/* one per page of all slabs */
	struct ckv_space_stats *stats;
};

/* What a lane's client writes and the space reads. Every word is a claim. */
struct space_lane_memory {
	_Atomic uint64_t *pins;
	_Atomic uint32_t *pin_high;
	_Atomic uint32_t *touches;
	_Atomic uint32_t *touch_tail;
	uint32_t n_pins;
	uint32_t n_touches;		/* power of two */
	uint32_t user;			/* a number for whom the client belongs to */
};

/* Buckets for a pool: at most 80 % of the slots are ever taken. */
uint32_t space_buckets(const struct ckv_pool_shape *pool);

/*
 * Make a space; writes the index header. -EINVAL impossible numbers; -ENOMEM.
 * The caller owns *ret_space.
 */
int space_create(const struct space_config *config,
		 const struct space_memory *memory, struct space **ret_space);
void space_destroy(struct space *space);	/* NULL is allowed */

/* New limits, from now on; what exceeds them stays until it goes by itself. */
void space_set_limits(struct space *space, uint32_t n_lent_max,
		      uint32_t n_pages_max);

/* The same for what is lent to all clients of one user. */
void space_set_user_limit(struct space *space, uint32_t n_user_lent_max);

/*
 * The geometry's fingerprint for the records that are written from now on; 0 at first.
 * Older records keep theirs, so the space must be empty.
 */
void space_set_fingerprint(struct space *space, uint64_t fingerprint);

/* No block, no view, and no page is lent or held. */
bool space_is_empty(const struct space *space);

/* A new lane of a client: its number. -EMFILE: n_lanes_max are open. */
int space_lane_open(struct space *space, uint32_t client,
		    const struct space_lane_memory *memory);

/*
 * Its client is dead, or has let go of it: from now on its pins and touches count no
 * more. Its task was cancelled. What was lent on it is taken back by
 * space_lane_take_back() (pages that a job reads when the job releases them); until
 * that says true the number is not used again.
 */
void space_lane_end(struct space *space, int lane);
bool space_lane_take_back(struct space *space, int lane, int32_t *units);
/* Both at once, however long it takes: for tests and tools. */
void space_lane_close(struct space *space, int lane);

/* Pages lent to a client now. */
uint32_t space_client_lent(const struct space *space, uint32_t client);
uint32_t space_user_lent(const struct space *space, uint32_t user);

/* Words in use among n_words of a lane's pins, bounded by what it was given. */
uint32_t space_lane_pins(const struct space *space, int lane, uint32_t first,
			 uint32_t n_words);

/* ---- requests ---- */

enum space_op {
	SPACE_RESERVE,		/* items: ckv_key[n], parent; answers: ckv_lent[n] */
	SPACE_SCRATCH,		/* RESERVE with CKV_REQ_SCRATCH: answers as above */
	SPACE_PUBLISH,		/* ckv_publish_item[n] -> int32_t[n] */
	SPACE_ABORT,		/* ckv_page_name[n] -> int32_t[n] */
	SPACE_PREFETCH,		/* ckv_key[n] */
	SPACE_DROP,		/* ckv_key[n] -> int32_t[n]; a key may name a view */
};

#define SPACE_MORE	(-4096)	/* goes on when units are granted again */
#define SPACE_WAIT	(-4097)	/* goes on after space_step() */

struct space_wait {		/* private: for a step, and for what it searches */
	bool waits, searches;
	uint32_t step, n_fruitless;
};

/*
 * A request under way. The caller fills the first part, zeroes the rest, and keeps
 * items and answers where they are until the task has ended.
 */
struct space_task {
	enum space_op op;
	int lane;
	uint32_t n;
	struct ckv_key parent;		/* RESERVE: all zero at a root */
	const void *items;
	void *answers;

	uint32_t next;			/* items before this one are answered */
	int n_done;			/* of them, with 0 */
	bool begun, begun_keys, parent_known, parent_ok;
	uint32_t parent_page, held_page; /* RESERVE: of the next key; the one held */
	uint32_t last_page, n_awaited;	/* ABORT: how far the walk under an item has come */
	bool queued;			/* DROP: in the space's list */
	uint32_t owed;			/* units that a step spent for it */
	struct space_task *after;
	struct space_wait wait;
};

/*
 * Go on with a task while *units is positive; what was done is subtracted. Its
 * result: a count, -EINVAL (n, or an all-zero key: nothing was done), -EPROTO; or
 * SPACE_MORE, SPACE_WAIT: it has not ended.
 */
int space_run(struct space *space, struct space_task *task, int32_t *units);

/*
 * End a task that has not ended, and has begun. What was done stays done; answers
 * from task->next on are not filled.
 */
void space_cancel(struct space *space, struct space_task *task);

/* Does anybody wait for a step? */
bool space_waits(const struct space *space);

/* One batch for all who wait, and one scan. What it costs is the pace's debt. */
void space_step(struct space *space);

/*
 * From beginning to end, with all the steps that are needed: for tools and tests,
 * which have no turns.
 */

/* RESERVE: count lent, ret_lent[n] filled. -EINVAL n or an all-zero key. */
int space_reserve(struct space *space, int lane, const struct ckv_key *parent,
		  const struct ckv_key *keys, uint32_t n,
		  struct ckv_lent *ret_lent);

/* RESERVE with CKV_REQ_SCRATCH. */
int space_reserve_scratch(struct space *space, int lane, uint32_t n,
			  struct ckv_lent *ret_lent);

/* PUBLISH, ABORT: count of 0 among ret_status[n]. -EINVAL n; -EPROTO. */
int space_publish(struct space *space, int lane,
		  const struct ckv_publish_item *items, uint32_t n,
		  int32_t *ret_status);
int space_abort(struct space *space, int lane, const struct ckv_page_name *names,
		uint32_t n, int32_t *ret_status);

/* DROP: count dropped, ret_status[n] filled. A key may name a view. */
int space_drop(struct space *space, const struct ckv_key *keys, uint32_t n,
	       int32_t *ret_status);

/* PREFETCH: how many of the keys are at the nearest level there is. */
int space_prefetch(struct space *space, const struct ckv_key *keys,
		   uint32_t n);

/* ---- recency ---- */

/*
 * Take what lanes have touched since the last time: a bounded number, a share of each
 * lane, of some lanes by turns. A step begins with it. Count taken.
 */
uint32_t space_touches_drain(struct space *space);
/* All of one lane: for tests and tools. */
uint32_t space_touch_drain(struct space *space, int lane);

/* The same for one published slot; a slot that holds nothing is ignored. */
void space_touch(struct space *space, uint32_t slot);

/* ---- for jobs: pages that a worker reads while the space goes on ---- */

struct space_link {		/* one block of a held chain, root first */
	uint32_t page;
	uint32_t n_tokens;
	uint64_t checksum;
	bool summed;		/* it has a checksum */
};

/* A held chain is listed from its end, some links at a time. */
struct space_walk {
	uint32_t page;		/* private: the next one */
	uint32_t n;		/* links listed */
	uint32_t part;		/* but for the last block: one that is not full, so many
				 * before the last; CKV_NONE: there is none */
	uint64_t n_tokens;
};

/*
 * Hold the chain that ends in `key`: 0 or -ENOENT. It is not evicted and not dropped
 * until space_release() of its last page.
 */
int space_walk_begin(struct space *space, const struct ckv_key *key,
		     struct space_walk *ret_walk);

/*
 * List it while *units is positive: its length n, which is in the last n of
 * links[n_links_max], root first; SPACE_MORE; -E2BIG longer than that.
 */
int space_walk_on(const struct space *space, struct space_walk *walk,
		  struct space_link *links, uint32_t n_links_max, int32_t *units);

/* Both at once, listed from links[0]: for tests. -E2BIG: not held. */
int space_chain_hold(struct space *space, const struct ckv_key *key,
		     struct space_link *ret_links, uint32_t n_links_max);

/*
 * Hold a scratch page lent to a lane until its release. 0; -ESTALE it is not lent to
 * it, or not any more; -EINVAL it is lent for a block; -EPROTO.
 */
int space_scratch_hold(struct space *space, int lane,
		       const struct ckv_page_name *name);
void space_release(struct space *space, uint32_t page);

/*
 * The oldest published block without a checksum: 1, held until
 * space_sum_done(), which records the sum (sum_ok) or puts the page back at
 * the end of the queue. 0: there is none; SPACE_MORE: not found yet, ask again in
 * another turn.
 */
int space_sum_next(struct space *space, uint32_t *ret_page);
void space_sum_done(struct space *space, uint32_t page, bool sum_ok,
		    uint64_t checksum);

/* The checksum of a held page: 1 and *ret_checksum, or 0 if it has none. */
int space_sum_get(const struct space *space, uint32_t page,
		  uint64_t *ret_checksum);

/* A page's bytes did not match its checksum: counted. */
void space_sum_failed(struct space *space);

/* ---- views ---- */

struct space_view {
	struct ckv_key key;		/* of the view: its index entry */
	struct ckv_key name;		/* digest of {chain, method}, for STAT */
	uint64_t n_bytes;
	uint64_t checksum;
	struct ckv_view_sizes sizes;
	uint64_t n_kept_total;
	uint32_t n_tokens;		/* of the chain */
	uint32_t n_kept_max, n_kept_min, n_always_lost;
	uint32_t first_page;
	uint32_t n_pages;
};

/*
 * A run of view pages inside one slab, the caller's until publish or abort:
 * its first page. Views leave for it, least recently used first. -ENOSPC; SPACE_WAIT:
 * call again, with the same `wait`, zeroed at first, after space_step().
 */
int64_t space_view_get(struct space *space, uint32_t n_pages,
		       struct space_wait *wait);
/* The same with all the steps that are needed: for tests. */
int64_t space_view_alloc(struct space *space, uint32_t n_pages);
void space_view_abort(struct space *space, uint32_t first_page);

/*
 * Make a run visible as a view; everything but n_pages is given. 0; -EEXIST;
 * -EXFULL: the run is still the caller's.
 */
int space_view_publish(struct space *space, const struct space_view *view);

/* By key, counted as shared and touched; or the newest by name. 0 or -ENOENT. */
int space_view_find(struct space *space, const struct ckv_key *key,
		    struct space_view *ret_view);
int space_view_newest(const struct space *space, const struct ckv_key *name,
		      struct space_view *ret_view);

/* ---- automatic views ---- */

enum space_auto {		/* when a chain's turn comes */
	SPACE_AUTO_NONE,
	SPACE_AUTO_PUBLISH,	/* its end was published */
	SPACE_AUTO_PRESSURE,	/* pages run short and it is among the next victims */
	SPACE_AUTO_DEMOTE,	/* it was chosen to leave; it leaves after its turn */
};

/*
 * From now on. `anew`: the views are of another kind now, so every chain may have
 * its turn once more. (Walks the pool then.)
 */
void space_set_auto(struct space *space, enum space_auto automatic, bool anew);

/*
 * The next chain whose turn has come: 1, *ret_key its last block's key, held until
 * space_tip_done(), to be listed with space_walk_on() while it is; 0: none now. The hold
 * gives way to writers and to DROP: then the pages may change under the reader, and
 * space_tip_held() is false.
 */
int space_tip_begin(struct space *space, uint32_t *ret_tip,
		    struct ckv_key *ret_key, struct space_walk *ret_walk);
/* The same, with the list from links[0], its length: for tests. */
int space_tip_next(struct space *space, uint32_t *ret_tip,
		   struct ckv_key *ret_key, struct space_link *ret_links,
		   uint32_t n_links_max);
bool space_tip_held(const struct space *space, uint32_t tip);

/*
 * The turn is over and, if it was still held, counted: 0 the view was made; -EEXIST
 * there was one; -EINVAL, -EPERM, -E2BIG refused; else it failed.
 */
void space_tip_done(struct space *space, uint32_t tip, int result);

/* ---- for tests and tools ---- */

/* Walk everything and assert what must hold between any two calls. Slow. */
void space_check(const struct space *space);

/* Private bytes of a space: what it costs besides the memory it was handed. */
size_t space_private_bytes(const struct space_config *config);

#endif
