/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_model.h - a model of a space that is too simple to be wrong, and the
 * events of its writers; test_core_model.c has the others and the run.
 *
 * The model knows for each key of a small random forest whether it is absent,
 * lent or published, at which levels it has copies, who pins, holds or sums it, and whether
 * its chain has had its turn; and of each page what became of its last lending. Each
 * do_*() makes one event on the core and on the model, and compares.
 */
#ifndef CKV_TEST_CORE_MODEL_H
#define CKV_TEST_CORE_MODEL_H

#include <check.h>

#include "tests/lib/core.h"

enum {
	KEYS = 120, PAGES = 52, VIEW_PAGES = 20, VIEWS = 12, LANES = 4,
	LIST = 12, HOLDS = 4, SCRATCH = 6, FIRST_VIEW = 1000, CHECK_EVERY = 16,
	NAMES = 64, MOVES = 6, FAR_PLACES = 40, EVENTS = 48, KINDS = 6,
};

enum state { ABSENT, LENT, PUBLISHED };

struct mkey {
	enum state state;
	int lane;
	uint32_t slot, generation;
	uint32_t lent_at, page;	/* if a page is lent for it: its level, and the page */
	int n_kids, n_holds[SPACE_LEVELS_MAX];
	uint32_t sum_page;	/* if summing */
	bool summing, kept, done;
	bool over;		/* published farther away, and a page is lent for it */
	uint32_t at, keep;	/* bit l: a copy at level l; one that may not leave */
	uint32_t move;		/* 1 + the number of its move */
	uint32_t version;	/* of its bytes: one more each time it is published */
};

struct mview {
	bool there, kept;
	uint32_t slot, page, n_pages;
};

extern struct core core;
extern struct mkey model[KEYS + 1];
extern struct mview views[VIEWS];
extern uint32_t parent_of[KEYS + 1];	/* 0: a root */
extern int lane[LANES];			/* numbers; client l has lane l */
extern uint32_t scratch[LANES][SCRATCH], n_scratch[LANES]; /* pages */
extern uint32_t n_orphans;		/* scratch of closed lanes, held by jobs */
extern uint32_t scratch_holds[HOLDS];	/* page + 1 */
extern bool scratch_orphan[HOLDS];
extern uint32_t n_lent_max;
extern enum space_auto automatic;
extern uint64_t rng, seed, event, n_published, n_dropped;
extern uint64_t n_lent_at[SPACE_LEVELS_MAX];	/* for keys */

/*
 * What is left of client l's lane of before a restart, if it has not ended: its memory is
 * core.lane[LANES + l], and these pages are lent to it.
 */
extern struct old_lane {
	bool there;
	struct lent_page { uint32_t level, page; } page[2 * PAGES];
	uint32_t n_pages;
} old_lane[LANES];
/* Pages that are lent to client l now: how many. */
uint32_t pages_of(int l, struct lent_page *ret_pages);

/* Check's own assertions write to a pipe each time: too slow for this. */
#define MUST(x) do {							\
	if (!(x))							\
		ck_abort_msg("%s (CKV_SEED=%llu, event %llu)", #x,	\
			     (unsigned long long)seed,			\
			     (unsigned long long)event);		\
} while (0)

static inline bool is_lent(uint32_t k)
{
	return model[k].state == LENT || model[k].over;
}

/* The nearest level of a published key. */
static inline uint32_t nearest(uint32_t k)
{
	return (uint32_t)__builtin_ctz(model[k].at);
}

/* Is k there at this level or nearer? */
static inline bool is_at(uint32_t k, uint32_t level)
{
	return model[k].state == PUBLISHED && nearest(k) <= level;
}

/* Does a page that was lent for k hang on one that was lent for its parent? */
static inline bool hangs(uint32_t k)
{
	return is_lent(parent_of[k]) && !is_at(parent_of[k], model[k].lent_at);
}

static inline uint32_t work(void)
{
	return core.config.work_level;
}

/* Where a copy is; the index says the same: see_one(). */
static inline uint32_t place_of(uint32_t k, uint32_t level)
{
	return core_copy(&core, model[k].slot, level);
}

/*
 * core_rest.c: pages that rest since their lane has ended, at a level where they may still be
 * written. The pages that were lent on this memory's lane; is one of them this page?
 */
void rest_pages(int memory, const struct lent_page *pages, uint32_t n);
bool page_rests(uint32_t level, uint32_t page);
uint32_t n_written(void);	/* how many */
void do_quiet(void);

/* core_runs.c: one of KINDS kinds of space; those from KINDS on have a tight index. */
struct space_config config_of(int run);

uint32_t below(uint32_t n);	/* a random number */
uint32_t lending_level(void);	/* a random level of pages */
void plant_forest(void);
/* Pages of a level lent to client l; of all levels. */
uint32_t client_lent_at(int l, uint32_t level);
uint32_t client_lent(int l);

/*
 * Set `kept` of what may not leave now: what is pinned, held, lent or summed,
 * and the chain of one key more (0: none), at a level or nearer.
 */
void mark_kept(uint32_t also, uint32_t level);
void leave(uint32_t k);
/* All lendings were an earlier daemon's. */
void lendings_forget(void);
/* The lending of a page is over: -EEXIST published, -ECANCELED given back. */
void lending_ends(uint32_t level, uint32_t page, int how);
/* The name under which the page was lent last. */
struct ckv_page_name name_of(uint32_t level, uint32_t page);
/* Does a client find k exactly if the model has it, and where it was? */
void see_one(uint32_t k);

/* After a call that may evict: what is gone was free to go, by `kept`. */
void see_evictions(uint64_t n_before);
int judge_lent(uint32_t k, int l, uint32_t level, int before,
	       const struct ckv_lent *lent, bool searched);
uint32_t some_path(uint32_t *path);

void do_reserve(int l);
void do_scratch(int l);
void do_publish(int l);
void do_abort(int l);
void do_drop(void);

/*
 * core_paused.c: a RESERVE that goes on over several events, while others happen. Does
 * lane l have one, or gets one now? Then it went on. Cancel it, before the lane ends.
 */
bool do_paused(int l);
void cancel_paused(int l);
extern uint64_t n_paused;
extern struct space_pace pace;

/* core_views.c: views come, are found and leave; a pin on one, in a word of its own. */
void do_view(void);
void do_view_pin(int l);

/*
 * core_moves.c: levels. What lies at each place; copies that come and leave; prefetches;
 * and what the core says of it to whom listens.
 */
void moves_start(void);
/* For a daemon that comes after this one: how many pages will rest more than now. */
uint32_t moves_forget(void);
/* The writer fills the page that it was lent for k; its bytes are k's from now on. */
void bytes_of(uint32_t k, uint32_t level, uint32_t page);
/* Whatever was there, it may be anything now. */
void bytes_spoilt(uint32_t level, uint32_t place);
/* Which copies does k have now? */
uint32_t copies_of(uint32_t k);
/* Copies of published keys that are gone may go, by `keep`, and new ones were not made. */
void see_copies(void);
/* Could any block leave this level now? */
bool one_may_leave(uint32_t level);
/* At this level a copy of k was replaced, and may still be read. */
bool is_stale(uint32_t k, uint32_t level);
extern bool could_leave;	/* ... before the step, which may free what was tied */
void keep_prefetched(void);
/* What a reader has pinned is as it was. */
void see_pinned(void);
void pinned_is(int l, uint32_t w, uint32_t k);
void see_places(void);
void see_moves(void);
void see_events(void);
void do_move(void);
void do_prefetch(void);
extern uint64_t n_moved[2], n_prefetched, n_over, n_gaps;
/* Keep k at each of these levels or nearer, and so its ancestors. */
void keep_chain(uint32_t k, uint32_t at);

#endif
