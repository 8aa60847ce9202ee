/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the inside of a space, shared by the files of the core.
 *
 * What holds between any two calls (space_check() walks it):
 *
 *   - A page is free, lent, published, or a view's; its record says which.
 *   - A block's parent is published whenever the block is, and is there (lent
 *     to the same lane, or published) whenever the block is lent.
 *   - n_children of a block = published and lent blocks under it + holds.
 *   - A published block or view is in its policy, or parked (pinned.c), exactly
 *     when n_children is 0.
 *   - record.slot and entry.host_page name each other.
 *   - A tip that is waiting or read is published, and the tip is one of its holds.
 *
 * Only inside space_step(): a marked block counts no longer as its parent's child
 * and is in no policy.
 */
#ifndef CKV_CORE_STATE_H
#define CKV_CORE_STATE_H

#include "daemon/core/queue.h"
#include "daemon/core/space.h"
#include "proto/ckv_pin.h"

#include <assert.h>

#define NODE_NO_LANE	UINT16_MAX
#define EVICT_MAX	4096u	/* blocks that one step evicts for writers */
#define DROPS_MAX	256u	/* keys of DROPs that one step looks at */
#define VIEWS_MAX	16u	/* views that one step judges */
#define TIPS_LIMIT	512u
#define BATCH_MAX	(EVICT_MAX + DROPS_MAX + VIEWS_MAX + TIPS_LIMIT)
#define LANES_LIMIT	65534u

/* Work units, of about 50 ns. */
#define UNITS_LEND	2	/* a key, reserved or refused */
#define UNITS_PUBLISH	2
#define UNITS_ABORT	3
#define UNITS_LOOK	1
#define UNITS_FIND	2	/* a key looked up, its lines far away */

enum node_mark {
	NODE_BATCH	= 1,	/* being judged: its generation is odd */
	NODE_PUBLISHED	= 2,	/* its last lending ended in PUBLISH */
	NODE_SUM_QUEUED	= 4,	/* its page is in the queue of sums */
	NODE_SUMMING	= 8,	/* a worker reads it: as good as pinned */
	NODE_TIP_QUEUED	= 16,	/* its page is in the queue of published tips */
	NODE_TIP_HELD	= 32,	/* one of its holds is a tip's */
	NODE_DONE	= 64,	/* the chain to here has had its turn */
	NODE_LOST	= 128,	/* more of this chain was evicted before its turn */
};

struct space_lane {
	struct space_lane_memory memory;
	struct queue lent;	/* behind each page what was reserved under it */
	uint32_t client;
	uint32_t touch_pos;
	uint32_t place;		/* open: in open_lanes; unused: the next unused lane */
	enum { LANE_UNUSED, LANE_IN_USE, LANE_ENDING } state;
};

enum { BLOCKS, VIEWS, KINDS };

/* Room for writers, or for views: a search that may take several steps. */
struct search {
	uint32_t wanted;	/* pages wished for since the last step */
	uint32_t n_unseen;	/* PASSING: parked ones not looked at */
	uint32_t last_step;	/* in which anybody searched */
	bool passing;		/* nothing but parked ones is left to look at */
	bool full;		/* the last search found nothing */
	uint32_t stage;		/* how far tips have given way */
	uint64_t n_vain;	/* what its steps could have judged since one has left */
	uint32_t n_fruitless;	/* searches that found nothing; wraps */
};

struct drop_choice {		/* a key of a DROP whose block is in the batch */
	struct space_task *task;
	uint32_t item, page;
	bool again;		/* the block was chosen for an earlier key */
};

enum tip_state { TIP_FREE, TIP_WAITING, TIP_READING, TIP_REVOKED };

struct tip {
	enum tip_state state;
	uint32_t page;
	uint32_t serial;	/* wraps: which waits longer */
	bool outdated;		/* space_set_auto(anew) came meanwhile */
};

struct view_row {		/* of the view that begins at this view page */
	struct space_view view;
	uint32_t newer, older;	/* rows of the same name; CKV_NONE */
	uint32_t other;		/* of a name's newest: that of the next name in its bucket */
};

/* What a step has cost that must be paced: see space_pace. */
struct step_cost {
	uint32_t n_words, n_full, n_looks, n_restored;	/* n_full of the words */
};

struct space {
	struct space_config config;
	uint64_t fingerprint;		/* of the geometry, for the records */
	struct ckv_index index;
	uint32_t n_slots;
	struct ckv_record *records;
	struct ckv_space_stats *stats;
	struct node *nodes;		/* one per page of all slabs */
	uint32_t n_pages;		/* of all slabs */

	struct policy *blocks, *views;
	struct queue parked[KINDS];
	struct search search[KINDS];
	uint32_t n_steps;		/* wraps: who waits sees that one has been */
	struct step_cost cost;		/* of the step that is being made */
	struct space_pace *pace, own_pace;

	struct space_task *drop_head, *drop_tail;	/* DROPs that wait */
	struct drop_choice chosen[DROPS_MAX];
	uint32_t n_chosen;

	uint32_t free_head;		/* a stack through node.next */
	uint32_t n_free;

	uint16_t *reserved_tags;	/* [n_slots]; of those that have no tag yet */
	uint64_t *judged;		/* a bit per slot: in the batch */
	uint32_t batch[BATCH_MAX];
	uint32_t n_batch;

	uint32_t *sums;			/* ring of pages that wait for a sum */
	uint32_t sum_head, n_sums;

	enum space_auto automatic;
	struct tip *tips;		/* [n_tips_max] */
	uint32_t tip_serial;
	uint32_t *queued_tips;		/* ring of pages */
	uint32_t queued_tip_head, n_queued_tips;

	struct space_lane *lanes;
	uint32_t *open_lanes, n_open;	/* numbers of those whose pins count */
	uint32_t unused_lane;		/* a stack through lane.place */
	uint32_t drain_place;		/* whose touches are taken next */
	uint32_t *client_lent, *user_lent;

	uint64_t *view_used;		/* a bit per view page */
	struct view_row *rows;		/* one per view page */
	uint32_t *names;		/* newest row of a name's chain */
	uint32_t n_names;		/* power of two */
};

static inline bool space_is_view(const struct space *s, uint32_t page)
{
	return page >= s->config.pool.first_view_page;
}

static inline uint32_t space_n_used(const struct space *s)
{
	return s->config.pool.n_block_pages - s->n_free;
}

static inline void gauge_sub(_Atomic uint64_t *gauge, uint64_t n)
{
	ckv_hint_store64(gauge, ckv_hint_load64(gauge) - n);
}

/* ---- table.c: the index as the daemon sees it ---- */

enum table_state { TABLE_ABSENT, TABLE_RESERVED, TABLE_PUBLISHED };

enum table_state table_find(const struct space *s, const struct ckv_place *place,
			    const struct ckv_key *key, uint32_t *ret_slot);
/* Is there room in one of the two buckets? */
bool table_room(const struct space *s, const struct ckv_place *place);
/* Take a slot for a key; table_room() said yes. Readers do not find it yet. */
uint32_t table_take(struct space *s, const struct ckv_place *place,
		    const struct ckv_block *block);
/* Readers find it from now on; its generation stays. */
void table_show(struct space *s, uint32_t slot, uint8_t flags,
		uint16_t n_tokens, uint64_t checksum);
void table_set_sum(struct space *s, uint32_t slot, uint64_t checksum);
/* Free a slot under a new generation, or retire it. */
void table_give(struct space *s, uint32_t slot);
/* The parent's page, CKV_NONE at a root. */
uint32_t table_parent_page(const struct space *s, uint32_t slot);
/* Ask for what table_give() touches, or table_find() and table_take(). */
void table_prefetch(const struct space *s, uint32_t slot);
void table_prefetch_room(const struct space *s, const struct ckv_place *place);
uint32_t table_page(const struct space *s, uint32_t slot);
uint32_t table_generation(const struct space *s, uint32_t slot);

/* ---- lane.c ---- */

struct space_lane *lane_of(const struct space *s, int lane);
/* One past the highest pin word, whatever the client says. */
static inline uint32_t lane_pin_high(const struct space_lane *lane)
{
	uint32_t high = ckv_hint_load32(lane->memory.pin_high);

	return high < lane->memory.n_pins ? high : lane->memory.n_pins;
}

/* ---- space.c ---- */

void policy_put(struct space *s, uint32_t page, enum policy_origin origin);
/* Out of its policy, or from among the parked ones. */
void policy_take(struct space *s, uint32_t page);
/* A child, a reservation or a hold more, or less. */
void node_gain(struct space *s, uint32_t page);
void node_lose(struct space *s, uint32_t page, enum policy_origin origin);

/* ---- lend.c ---- */

/* Take a block page from the stack, which is not empty; give one back. */
uint32_t page_pop(struct space *s);
void page_push(struct space *s, uint32_t page);
void lent_abort(struct space *s, uint32_t page);
/*
 * What a client's name of a page is worth to this lane: 0 it is lent to it;
 * -ESTALE, -EEXIST, -ECANCELED as proto/ckv_ops.h has them; -EPROTO.
 */
int lent_judge(const struct space *s, int lane, const struct ckv_page_name *name);
/* A lent page that nobody needs. */
void lent_free(struct space *s, uint32_t page);
/* A published page with its slot becomes free; it is in no policy. */
void block_free(struct space *s, uint32_t page);

/* ---- task.c: RESERVE and DROP are in lend.c and drop.c ---- */

/* Wait for a step: SPACE_WAIT, or 0 if there has been one since. */
int task_wait(const struct space *s, struct space_wait *wait);
int reserve_run(struct space *s, struct space_task *t, int32_t *units);
void reserve_cancel(struct space *s, struct space_task *t);
int scratch_run(struct space *s, struct space_task *t, int32_t *units);
int publish_run(struct space *s, struct space_task *t, int32_t *units);
int abort_run(struct space *s, struct space_task *t, int32_t *units);
int prefetch_run(struct space *s, struct space_task *t, int32_t *units);
int drop_run(struct space *s, struct space_task *t, int32_t *units);
void drop_cancel(struct space *s, struct space_task *t);
/* Put into the batch what DROPs name; tell them when it was judged. */
void drops_choose(struct space *s);
void drops_settle(struct space *s);

/* ---- pinned.c ---- */

/* Is the pin that was seen last still there? One look, no scan. */
bool pinned_still(const struct space *s, uint32_t page);
void pinned_seen(struct space *s, uint32_t page, uint32_t lane, uint32_t word);
/* Of a block or view in no policy: it is pinned, so it is no candidate. */
void park(struct space *s, uint32_t page);
void unpark(struct space *s, uint32_t page);
/*
 * Look at n parked ones, those not looked at for the longest time; who was let go is
 * a candidate again, as just used: how many.
 */
uint32_t parked_look(struct space *s, uint32_t kind, uint32_t n);

/* ---- evict.c, step.c ---- */

/* A page that was just taken out of its policy will be judged; BATCH_MAX fit. */
void batch_add(struct space *s, uint32_t page, enum policy_origin heir);
/* Mark all, look at every pin once, give back what is pinned. */
void batch_judge(struct space *s);
/* Give one back, with its ancestors in the batch. */
uint32_t batch_restore(struct space *s, uint32_t page);
static inline bool batch_has(const struct space *s, uint32_t page)
{
	return (s->nodes[page].mark & NODE_BATCH) != 0;
}
/* Forget the marks of a page that is about to be freed. */
void batch_forget(struct space *s, uint32_t page);
/* Who was given back, and has no children, is parked. */
void batch_park(struct space *s);
/* Choose blocks that leave for writers. Nothing is left to choose from: false. */
bool evict_choose(struct space *s);
/* Those of the batch from `first` on leave. */
void evict_free(struct space *s, uint32_t first);
/*
 * Nothing may be lent: 0 what was searched for has come, SPACE_WAIT, -ENOSPC.
 */
int room_wait(struct space *s, struct space_wait *wait, uint32_t kind,
	      uint32_t wanted);
/*
 * A step of a search could judge n of n_all. True: it has judged all of them several
 * times over, so somebody moves pins about, and it would never end.
 */
bool search_in_vain(struct search *search, uint32_t n, uint32_t n_all);
/* A search came to its end without finding anything. */
void search_fruitless(struct search *search);
/* Pages that may be lent now. */
uint32_t pages_to_lend(const struct space *s);

/* ---- tip.c ---- */

/* PUBLISH: a block that is the end of its chain now. */
void tip_enqueue(struct space *s, uint32_t page);
/* DEMOTE: hold a victim that was just taken out of its policy, or no. */
bool tip_defer(struct space *s, uint32_t page);
/* Tips in this state, held by nothing else, go into the batch, the longest held first. */
uint32_t tips_give_way(struct space *s, enum tip_state state, uint32_t n_max);
/* A DROP names this page. */
void tip_drop(struct space *s, uint32_t page);
/* What is in the batch from `first` on is going to be evicted. */
void tips_leave(struct space *s, uint32_t first);

/* ---- hold.c, view.c ---- */

/* List the chain that ends in a published page that is held. */
void walk_begin(struct space_walk *walk, uint32_t deepest);
void sum_enqueue(struct space *s, uint32_t page);
void view_free(struct space *s, uint32_t first_page);
/* Choose views that leave for new ones; spend those of the batch from `first` on. */
bool views_choose(struct space *s);
void views_spend(struct space *s, uint32_t first, uint32_t end);

#endif
