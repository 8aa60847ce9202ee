/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.h - the core: every decision about one space's pages.
 *
 * The core makes no system call and reads no clock and no file. The shell maps the
 * memory, copies each request out of the client's reach, calls the core and sends
 * the answer. All calls come from one thread. space_create() allocates everything.
 * (Words such as tip, hold, link and run: the glossary in CONTRIBUTING.md.)
 *
 * A request's items are private copies, but a client wrote them and may have written
 * anything: the core judges each value. Lane numbers, pages of jobs and pages of
 * views come from the shell itself, so they are asserted.
 *
 * Results are those of proto/ckv_ops.h. A call that fails changes nothing. The
 * exception is -EPROTO, which only a broken client causes: the items before the bad
 * one are done, and the shell must close the lane.
 *
 * A request is a task. space_run() works on its items, one after the other, for as
 * many work units as the shell grants. Other tasks may run in between, so a request
 * is not atomic.
 *
 * Eviction, DROP and making room for a view must know what is pinned. A task that
 * needs that waits. The shell calls space_step() between two turns: it takes one
 * bounded batch of blocks on behalf of all waiting tasks and scans all pin words
 * once. A block found pinned is remembered with its pin word, and is not judged again
 * while that word names it; a search that meets only such blocks needs no scan.
 *
 * A space has levels, nearest first. Some have pages, which clients read, pin and are
 * lent; of others the core knows only how many places they have. At one level of pages, the
 * work level, the daemon itself works: scratch pages, views, checksums and automatic views
 * are there. A block that leaves a level may stay at a farther one, if it was copied there
 * before. The core names the copies that are to be made (space_move_next()), the shell makes
 * them.
 *
 * No request walks the pool. (Room for a view is searched in a bitmap of view pages.)
 */
#ifndef CKV_CORE_SPACE_H
#define CKV_CORE_SPACE_H

#include "daemon/core/policy.h"
#include "proto/ckv_ops.h"
#include "proto/ckv_record.h"
#include "proto/ckv_stats.h"

struct space;

#define SPACE_LEVELS_MAX 3u

/*
 * One level: a place where blocks may be. The core knows nothing else about it. It has pages
 * if pool.slab_pages is not 0: then its places are the pages that hold blocks.
 */
struct space_level {
	uint8_t	 number;		/* enum ckv_level, as index entries show it */
	struct ckv_pool_shape pool;	/* with view pages only at the work level */
	uint32_t n_lent_max;		/* pages lent to one client; see space_set_limits() */
	uint32_t n_user_lent_max;	/* pages lent to one user; 0: no limit */
	bool rests_after_death;		/* its pages may be written after a process's death */
	uint32_t n_places;		/* blocks that fit */
	uint32_t n_places_max;		/* its quota: blocks at most; see space_set_limits() */
	uint32_t n_ahead;		/* with fewer free places, blocks are saved ahead */
	const struct policy_ops *policy;
};

struct space_config {
	struct ckv_geometry geometry;
	uint64_t epoch;			/* of the daemon: a part of each lent page's name */
	uint32_t n_buckets;		/* space_buckets() of the pool, or more */
	uint64_t seed[4];		/* random */
	uint32_t n_lanes_max;		/* < 65535 */
	uint32_t n_clients_max;		/* client numbers are below this */
	uint32_t n_users_max;		/* user numbers are at most this */
	uint32_t n_tips_max;		/* chains held at once for automatic views */
	struct space_level level[SPACE_LEVELS_MAX];	/* nearest first */
	uint32_t n_levels;
	uint32_t work_level;		/* its index */
	uint32_t n_awaits_max;		/* PREFETCHes that wait for a block at once */
	uint32_t n_moves_max;		/* under way at once; 0 with one level */
	uint32_t n_events_max;		/* that wait for space_event_next() */
	struct space_pace *pace;	/* the caller owns it and pays it; NULL: private */
};

/*
 * The pace limits how much of the daemon's time goes into scans of pin words. Each
 * step adds SPACE_PACE_SHARE times its cost to the debt. The shell pays the debt off
 * with the work units that requests take and with idle turns. While the debt is
 * above SPACE_PACE_FREE the shell makes no step, and a task that looks for room is
 * refused at once if the search before it found none.
 */
struct space_pace {
	uint64_t debt;			/* work units */
};
#define SPACE_PACE_FREE	2048u	/* a debt up to this delays nothing */
#define SPACE_PACE_SHARE 2u	/* work units for others per unit of scanning */

static inline bool space_pace_ready(const struct space_pace *pace)
{
	return pace->debt <= SPACE_PACE_FREE;
}

static inline void space_pace_pay(struct space_pace *pace, uint64_t units)
{
	pace->debt -= units < pace->debt ? units : pace->debt;
}

/*
 * The caller owns it, hands it over zeroed and keeps it until space_destroy(). Records and
 * nodes may be those of an earlier daemon with the same configuration and layout version;
 * then space_adopt() follows.
 */
struct space_memory {
	void *index;			/* ckv_index_bytes(n_buckets) */
	struct ckv_record *records[SPACE_LEVELS_MAX];	/* of levels of pages: ckv_records_bytes() */
	struct ckv_space_stats *stats;
	void *nodes;			/* space_node_bytes() on a line; NULL: the core's own */
	bool nodes_kept;		/* nodes are of an earlier daemon: hints for space_adopt() */
};

/* A lane's memory. Its client writes what the pointers name: nothing there is believed. */
struct space_lane_memory {
	_Atomic uint64_t *pins;
	_Atomic uint32_t *pin_high;
	_Atomic uint32_t *touches;
	_Atomic uint32_t *touch_tail;
	uint32_t n_pins;
	uint32_t n_touches;		/* power of two */
	uint32_t user;			/* the number of the user who owns the client */
	uint64_t serial;		/* noted in records; no other lane ever has it; not 0 */
};

/*
 * How many buckets are needed, so that at most 80 % of the slots are ever taken: of a pool,
 * and of the places at all levels with the pool's view pages.
 */
uint32_t space_buckets(const struct ckv_pool_shape *pool);
uint32_t space_buckets_for(uint64_t n_places);

/*
 * Make a space and write its index header. -EINVAL: impossible numbers; -ENOMEM.
 * The caller owns *ret_space.
 */
int space_create(const struct space_config *config,
		 const struct space_memory *memory, struct space **ret_space);
void space_destroy(struct space *space);	/* NULL is allowed */

/* Change limits of a level. What exceeds a new limit stays; only new pages are refused. */
void space_set_limits(struct space *space, uint32_t level, uint32_t n_lent_max,
		      uint32_t n_pages_max);

/* The same for pages lent to all clients of one user together; 0: no limit. */
void space_set_user_limit(struct space *space, uint32_t level, uint32_t n_user_lent_max);

/*
 * Set the geometry's fingerprint, 0 at first. It is part of each record's seal, so the
 * space must be empty (asserted).
 */
void space_set_fingerprint(struct space *space, uint64_t fingerprint);

/* The index of the level with this number, enum ckv_level. -ENODEV: the space has none. */
int space_level_find(const struct space *space, uint32_t number);

/* True if there is no block and no view, and no page is lent or held. */
bool space_is_empty(const struct space *space);

/* Open a lane for a client: its number. -EMFILE: all n_lanes_max numbers are taken. */
int space_lane_open(struct space *space, uint32_t client,
		    const struct space_lane_memory *memory);

/*
 * No requests of this lane are taken any more, but its client lives and keeps what it
 * pinned and was lent. Nobody waits for blocks that only this lane could publish: all
 * PREFETCHes that wait are looked at. Returns what that cost, in work units.
 */
uint32_t space_lane_shut(struct space *space, int lane);

/*
 * End a lane whose client is dead or has closed it. From now on its pins and touches
 * are ignored. The caller has cancelled the lane's tasks.
 *
 * Then call space_lane_take_back() until it returns true: it takes back the pages
 * lent on the lane, while *units is positive. A page that a job still reads becomes
 * free when the job releases it. At a level with rests_after_death they rest: see
 * space_quiet(). The lane's number is used again only after that.
 */
void space_lane_end(struct space *space, int lane);
bool space_lane_take_back(struct space *space, int lane, int32_t *units);
/* Both at once, however long it takes: for tests and tools. */
void space_lane_close(struct space *space, int lane);

/* Pages lent to a client, to a user, or on a lane, now, at all levels. */
uint32_t space_client_lent(const struct space *space, uint32_t client);
uint32_t space_user_lent(const struct space *space, uint32_t user);
uint32_t space_lane_lent(const struct space *space, int lane);

/* How many of a lane's n_words pin words from `first` on are in use. */
uint32_t space_lane_pins(const struct space *space, int lane, uint32_t first,
			 uint32_t n_words);

/* ---- after a restart ---- */

struct space_adopted {		/* what space_adopt() found, in pages if not said otherwise */
	uint32_t n_blocks, n_views;	/* blocks and views that are there again */
	uint32_t n_lent;	/* lent to lanes of before */
	uint32_t n_given_up;	/* lent to lanes that have ended: now free */
	uint32_t n_resting;	/* they rest, because: */
	uint32_t n_bad;		/* - the record was not whole, or had impossible numbers */
	uint32_t n_doubles;	/* - two records named one slot, or one key */
	uint32_t n_orphans;	/* - an ancestor of the block was not there */
	uint32_t n_rested;	/* - they did already */
	uint32_t n_written;	/* - the lane that they were lent to has ended: space_quiet() */
};

/*
 * Build the space again from the records: blocks and views at the slots and with
 * the generations that they had. First set the fingerprint of before, and open the lanes of
 * before whose clients live, with their serials, and shut them; a lane that is not opened
 * by then has ended. Nothing else was called before. Pages that are lent stay with
 * their lanes, but for no key any more.
 *
 * Pages of which it is not known what they hold rest, until all lanes of before have
 * ended. So a lane of before that holds nothing, which means that space_lane_lent() and
 * space_lane_pins() are 0, is to be kept while space_resting() is not 0. A lane of before
 * that has a pin on a block that was not found again is blind: nobody knows which blocks
 * it holds, so no block leaves the space before it has ended.
 */
void space_adopt(struct space *space, struct space_adopted *ret_n);
uint32_t space_resting(const struct space *space);

/*
 * To be called now and then: free the pages that rest, if the last lane of before has
 * ended, while *units is positive. False: there are more.
 */
bool space_rest_end(struct space *space, int32_t *units);

/*
 * A lane that has ended and was taken back, with this serial, is quiet: nothing writes the
 * pages any more that were lent on it. Free those that rest for that reason, while *units is
 * positive. 0: those of all lanes that have ended; and if no lane of before is left, those of
 * which it is not known who wrote them. False: call again, before it is called for another
 * serial. space_written(): pages that rest until then.
 */
bool space_quiet(struct space *space, uint64_t serial, int32_t *units);
uint32_t space_written(const struct space *space);

/* ---- requests ---- */

enum space_op {
	SPACE_RESERVE,		/* items: ckv_key[n], parent, level; answers: ckv_lent[n] */
	SPACE_SCRATCH,		/* RESERVE with CKV_REQ_SCRATCH: answers as above */
	SPACE_PUBLISH,		/* ckv_publish_item[n] -> int32_t[n] */
	SPACE_ABORT,		/* ckv_page_name[n] -> int32_t[n] */
	SPACE_PREFETCH,		/* ckv_key[n], a chain, level; no answers */
	SPACE_DROP,		/* ckv_key[n] -> int32_t[n]; a key may name a view */
};

#define SPACE_MORE	(-4096)	/* not ended: call again with more units */
#define SPACE_WAIT	(-4097)	/* not ended: call again after space_step() */
#define SPACE_LATER	(-4098)	/* PREFETCH, not ended: space_ready() will hand it out */

/* Private to the core: what a task that waits is waiting for. */
struct space_wait {
	bool waits;		/* for a step: until space.n_steps is not `step` any more */
	bool searches;		/* for room, since search.n_fruitless was n_fruitless */
	uint32_t step, n_fruitless;
};

/*
 * A request that is being worked on. The caller fills the first part, zeroes the
 * rest, and keeps items and answers in place until the task has ended.
 */
struct space_task {
	enum space_op op;
	int lane;
	uint32_t n;
	struct ckv_key parent;		/* RESERVE: all zero at a root */
	const void *items;
	void *answers;

	uint32_t next;			/* items before this one are answered */
	int n_done;			/* how many of those are answered with 0 */
	bool begun;			/* space_run() was called */
	bool begun_keys;		/* RESERVE: no key is all zero */
	bool parent_known;		/* RESERVE: the parent was found, or there is none */
	bool parent_ok;			/* RESERVE: ... and blocks may be reserved under it */
	uint32_t parent_slot;		/* RESERVE: parent of the next key; CKV_NONE: root */
	uint32_t held_slot;		/* RESERVE: the parent; PREFETCH: what was passed ... */
	uint32_t held_level;		/* PREFETCH: ... and where it is held */
	uint32_t last_page, n_awaited;	/* ABORT: position in the tree under an item */
	bool parent_far;		/* RESERVE: ... no, as it is at a farther level */
	uint32_t n_wishes;		/* RESERVE: for a place in the next key's buckets */
	bool keep;			/* PREFETCH, set by the caller: hold what was passed */
	uint32_t level;			/* set by the caller, an index. RESERVE: pages of this one,
					   which has some; PREFETCH: bring it there */
	uint32_t n_asked;		/* PREFETCH: keys before this one were asked for */
	bool ready;			/* PREFETCH: in the list of those that can go on */
	uint32_t awaited_slot;		/* PREFETCH: of the block that is being written */
	bool queued;			/* DROP: it is in the space's list */
	uint32_t owed;			/* units that were spent on it and are not yet paid */
	struct space_task *after;	/* DROP, PREFETCH: the next one in the list ... */
	struct space_task **at;		/* PREFETCH: ... and what points to this one */
	struct space_wait wait;
};

/*
 * Work on a task while *units is positive, and subtract what the work costs. Returns
 * the result once the task has ended: a count; -EINVAL (bad n; RESERVE: an all-zero key;
 * nothing was done); -EPROTO. SPACE_MORE and SPACE_WAIT: it has not ended.
 */
int space_run(struct space *space, struct space_task *task, int32_t *units);

/*
 * End a task before its time. What it has done stays done; answers from task->next
 * on are not written. A PREFETCH with `keep` is to be cancelled also when
 * it has ended: only then the block that it holds is let go.
 */
void space_cancel(struct space *space, struct space_task *task);

/*
 * A PREFETCH said SPACE_LATER: the next block of its chain is being written, or is on its
 * way from a farther level. The caller
 * may move the task to another place first, and keeps it there until space_ready() hands
 * it back, because that block was published, given back or brought, or until it is cancelled.
 * At most n_awaits_max tasks wait at once. space_again() puts a task that was handed
 * out and said SPACE_MORE back to the end of those that can go on.
 */
void space_await(struct space *space, struct space_task *task);
struct space_task *space_ready(struct space *space);
bool space_has_ready(const struct space *space);
void space_again(struct space *space, struct space_task *task);

/* It waits no longer. How many leading keys of its chain it has found; it may hold one. */
int space_prefetch_stop(struct space *space, struct space_task *task);

/* Is there a task that waits for a step? */
bool space_waits(const struct space *space);

/* Judge one batch for all waiting tasks, with one scan; its cost goes to the pace's debt. */
void space_step(struct space *space);

/*
 * The functions below run a request from beginning to end, with all steps that it
 * needs: for tools and tests, which have no turns.
 */

/* RESERVE at a level: count lent, ret_lent[n] filled. -EINVAL n or an all-zero key. */
int space_reserve(struct space *space, int lane, uint32_t level,
		  const struct ckv_key *parent, const struct ckv_key *keys, uint32_t n,
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

/* PREFETCH that does not wait: how many leading keys of the chain are there. */
int space_prefetch(struct space *space, const struct ckv_key *keys,
		   uint32_t n);

/* ---- recency ---- */

/*
 * Read the lanes' touch rings and tell the policy which blocks were used. Bounded:
 * so many touches in all, so many of one lane; the lanes take turns. A step begins
 * with it. Returns how many were read.
 */
uint32_t space_touches_drain(struct space *space);
/* All touches of one lane: for tests and tools. */
uint32_t space_touch_drain(struct space *space, int lane);

/* Tell the policy that one slot was used. What is not published yet is not used by it. */
void space_touch(struct space *space, uint32_t slot);

/* ---- for jobs: pages that a worker thread reads while requests change the space ---- */

/* One block of a held chain. */
struct space_link {
	uint32_t page;
	uint32_t slot;
	uint64_t checksum;
	uint32_t n_tokens;
	bool summed;		/* `checksum` is valid */
};

/* A walk lists the links of a held chain, the last block first, some at a time. */
struct space_walk {
	uint32_t slot;		/* of the next link; at first the deepest */
	uint32_t n;		/* links listed so far */
	uint32_t part;		/* a block before the last that is not full, as its
				 * distance from the last; CKV_NONE: there is none */
	uint64_t n_tokens;	/* of the links listed so far */
};

/*
 * Hold the chain that ends in `key`, at the work level: 0; -ENOENT: it has no page there. It
 * is neither evicted nor dropped until space_release() of its last slot, which is
 * ret_walk->slot.
 */
int space_walk_begin(struct space *space, const struct ckv_key *key,
		     struct space_walk *ret_walk);
void space_release(struct space *space, uint32_t slot);

/*
 * List the chain while *units is positive. Returns its length n once it is listed:
 * the chain, root first, fills the last n of links[n_links_max]. SPACE_MORE: call
 * again. -E2BIG: it has more than n_links_max links. -ENOENT: a block of it has no page at
 * the work level, as it is nearer.
 */
int space_walk_on(const struct space *space, struct space_walk *walk,
		  struct space_link *links, uint32_t n_links_max, int32_t *units);

/* Both at once, with the root in links[0]: for tests. If it fails nothing is held. */
int space_chain_hold(struct space *space, const struct ckv_key *key,
		     struct space_link *ret_links, uint32_t n_links_max);

/*
 * Hold a scratch page that is lent to `lane`, until space_scratch_release(). 0;
 * -ESTALE: it is not lent to the lane, or not any more; -EINVAL: it is lent for a
 * block; -EPROTO.
 */
int space_scratch_hold(struct space *space, int lane,
		       const struct ckv_page_name *name);
void space_scratch_release(struct space *space, uint32_t page);

/*
 * Find the oldest block at the work level without a checksum: 1, and its page stays until
 * space_sum_done(), which records the sum (sum_ok) or puts the page back at the end
 * of the queue. 0: there is none. SPACE_MORE: none was found yet; call again in
 * another turn.
 */
int space_sum_next(struct space *space, uint32_t *ret_page);
void space_sum_done(struct space *space, uint32_t page, bool sum_ok,
		    uint64_t checksum);

/* The checksum of a held page's block: 1 and *ret_checksum, or 0 if it has none. */
int space_sum_get(const struct space *space, uint32_t page,
		  uint64_t *ret_checksum);

/* Count a page whose bytes do not match its checksum. */
void space_sum_failed(struct space *space);

/* ---- moves between levels ---- */

/*
 * A copy of one block that the shell is to make. Both places are the move's until
 * space_move_done(): nobody else gets the one or changes the other. Levels are indexes in
 * space_config.level[].
 */
struct space_move {
	uint32_t id;
	uint32_t slot, generation;
	uint32_t from, to;		/* levels */
	uint32_t from_place, to_place;
	uint32_t n_tokens;
	struct ckv_key key, parent;	/* parent: all zero at a root */
	bool summed;			/* `checksum` is valid */
	uint64_t checksum;
};

/*
 * The next copy that is to be made: 1. First those that a PREFETCH waits for, root
 * first; then copies that let a block leave its level later without being lost. At most
 * n_moves_max are under way. 0: none now; there may be one after any other call.
 * SPACE_MORE: none was found yet; call again in another turn.
 */
int space_move_next(struct space *space, struct space_move *ret_move);

/*
 * It was made (result 0), or was not (-errno): then its target is free again and nothing
 * else has changed. `checksum` is that of the bytes, and is taken if it was not known
 * before. Moves may end in any order.
 */
void space_move_done(struct space *space, uint32_t id, int result,
		     uint64_t checksum);

/* ---- what happened, for whom listens ---- */

enum space_event_kind {
	SPACE_STORED,		/* a block was published; it may have been there, farther away */
	SPACE_MOVED,		/* its nearest copy is at another level now */
	SPACE_REMOVED,		/* it is not there any more */
};

struct space_event {
	uint64_t number;		/* one more each time; a gap: the queue was full */
	enum space_event_kind kind;
	uint32_t slot, generation;
	uint8_t	 from, to;		/* enum ckv_level; 0: none */
	uint32_t n_tokens;
	struct ckv_key key, parent;	/* parent: all zero at a root */
};

/* Events are noted from now on, or no longer; those not read are lost. */
void space_events(struct space *space, bool on);
/* The oldest event: 1, or 0 if there is none. */
int space_event_next(struct space *space, struct space_event *ret_event);

/* ---- views ---- */

struct space_view {
	struct ckv_key key;		/* of the view itself, as in the index */
	struct ckv_key name;		/* digest of {chain, method}: STAT finds it by this */
	uint64_t n_bytes;
	uint64_t checksum;
	struct ckv_view_sizes sizes;
	uint64_t n_kept_total;
	uint32_t n_tokens;		/* of the chain it was made from */
	uint32_t n_kept_max, n_kept_min, n_always_lost;
	uint32_t first_page;
	uint32_t n_pages;
};

/*
 * Allocate a run: n_pages consecutive view pages inside one slab. Returns its first
 * page; the caller owns the run until publish or abort. Other views are evicted to
 * make room, the least recently used first. -ENOSPC. SPACE_WAIT: call again after
 * space_step() with the same `wait`, which is zeroed before the first call.
 */
int64_t space_view_get(struct space *space, uint32_t n_pages,
		       struct space_wait *wait);
/* The same with all steps that it needs: for tests. */
int64_t space_view_alloc(struct space *space, uint32_t n_pages);
void space_view_abort(struct space *space, uint32_t first_page);

/*
 * Show a run to readers as a view. The caller fills all of *view but n_pages. 0; or
 * -EEXIST, -EXFULL (no place in the index): then the caller still owns the run.
 */
int space_view_publish(struct space *space, const struct space_view *view);

/* The view with this key; counts as a use and as a view shared. 0 or -ENOENT. */
int space_view_find(struct space *space, const struct ckv_key *key,
		    struct space_view *ret_view);
/* The newest view of this name. 0 or -ENOENT. */
int space_view_newest(const struct space *space, const struct ckv_key *name,
		      struct space_view *ret_view);

/* ---- automatic views ---- */

/* When the space asks for a view of a chain. It asks once for each chain. */
enum space_auto {
	SPACE_AUTO_NONE,	/* never */
	SPACE_AUTO_PUBLISH,	/* when the chain's last block was published */
	SPACE_AUTO_PRESSURE,	/* when pages run short and it is among the next victims */
	SPACE_AUTO_DEMOTE,	/* when it is a victim; its eviction waits for the view */
};

/*
 * Change when the space asks. `anew`: from now on it asks for views of another kind,
 * so once more for each chain. (This walks the pool.)
 */
void space_set_auto(struct space *space, enum space_auto automatic, bool anew);

/*
 * Find the next chain to make a view of: 1, and *ret_key is its last block's key. The
 * space holds the chain until space_tip_done(); meanwhile the caller may list it with
 * space_walk_on(). 0: there is none now.
 *
 * This hold gives way to writers that need pages and to DROP: then space_tip_held() is
 * false, and the pages may change while they are read.
 */
int space_tip_begin(struct space *space, uint32_t *ret_tip,
		    struct ckv_key *ret_key, struct space_walk *ret_walk);
/* The same, and list the chain from links[0]: its length. For tests. */
int space_tip_next(struct space *space, uint32_t *ret_tip,
		   struct ckv_key *ret_key, struct space_link *ret_links,
		   uint32_t n_links_max);
bool space_tip_held(const struct space *space, uint32_t tip);

/*
 * End the hold. If it had not given way, the result is counted: 0 the view was made;
 * -EEXIST it exists already; -EINVAL, -EPERM, -E2BIG it was refused; other errors: it
 * failed.
 */
void space_tip_done(struct space *space, uint32_t tip, int result);

/* ---- for tests and tools ---- */

/* Walk everything and assert the invariants (state.h). Slow. */
void space_check(const struct space *space);

/* Bytes that space_create() allocates, besides the memory it is handed. */
size_t space_private_bytes(const struct space_config *config);
/* Those of them that may be handed in: read at random, so best in large pages. */
size_t space_node_bytes(const struct space_config *config);

#endif
