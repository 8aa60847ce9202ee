/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - a space's private state and the functions that the core's files share.
 *
 * Invariants between any two calls (space_check() asserts them):
 *
 *   - A page is free, lent, published, a view's, or it rests; its record says which,
 *     and the record's seal is right.
 *   - A slot is free, lent or published; its node says which, and names its parent
 *     and the places of its copies. A lent page without a slot is scratch.
 *   - The parent of a published block is published. The parent of a lent block is
 *     published, or lent to the same lane; at the level where the child is lent, or nearer.
 *   - For a slot at most one page is lent; a published one has no copy there or nearer.
 *   - A block is never nearer than its parent.
 *   - n_children of a copy = published and lent blocks directly under its block with
 *     a copy at its level + holds.
 *   - A copy of a published block or view is in its policy, or parked (pinned.c),
 *     exactly when copy_may_go(); it is tied exactly when copy_is_tied().
 *   - A place is free, or one block's copy, or one of the two places of one move.
 *   - A block has at most one move under way, and keeps the copy that is read.
 *   - record.slot names the slot whose node and entry name the record's page; a block has a
 *     record at each level of pages where it has a copy, and they agree.
 *   - A block without a checksum has one copy, at a level of pages.
 *   - A tip in state WAITING or READING names a published block and is one of the
 *     block's holds.
 *
 * Only inside space_step() there are blocks in the batch: such a block counts no
 * longer as its parent's child and is in no policy.
 */
#ifndef CKV_CORE_STATE_H
#define CKV_CORE_STATE_H

#include "daemon/core/hold.h"
#include "daemon/core/lend.h"
#include "daemon/core/level.h"
#include "daemon/core/queue.h"
#include "daemon/core/space.h"
#include "daemon/core/table.h"
#include "proto/ckv_pin.h"

#include <assert.h>

#define NO_LANE		UINT16_MAX
#define EVICT_MAX	4096u	/* blocks that one step evicts for writers */
#define DROPS_MAX	256u	/* keys of DROPs that one step looks at */
#define VIEWS_MAX	16u	/* views that one step judges */
#define WISHES_MAX	32u	/* full buckets that one step makes room in */
#define TIPS_LIMIT	512u	/* n_tips_max is below this */
/* Each level may choose for its writers in one step; the nearest one also tips. */
#define BATCH_MAX	(SPACE_LEVELS_MAX * EVICT_MAX + DROPS_MAX + VIEWS_MAX + \
			 WISHES_MAX + TIPS_LIMIT)
#define LANES_LIMIT	65534u
#define AWAITS_LIMIT	65536u
#define MOVES_LIMIT	4096u
#define ALL_LEVELS	UINT32_MAX	/* batch_add(): the whole block leaves */

/* Costs in work units; a unit is about 50 ns. */
#define UNITS_LEND	2	/* reserve a key, or refuse it */
#define UNITS_PUBLISH	2
#define UNITS_ABORT	3	/* take back one page */
#define UNITS_LOOK	1	/* look at one node */
#define UNITS_FIND	2	/* look up a key: the index is not in the processor's cache */

enum node_state {		/* of a slot */
	NODE_FREE,		/* there is nothing in it, or it is retired */
	NODE_LENT,		/* reserved: its page is lent, readers do not find it */
	NODE_PUBLISHED,		/* a block, or a view (NODE_VIEW) */
};

enum node_mark {
	NODE_VIEW	= 1,
	NODE_SEEN	= 2,	/* it was found pinned: witnesses[] says where */
	NODE_SUM_QUEUED	= 4,	/* the slot is in the queue `sums` */
	NODE_SUMMING	= 8,	/* a worker computes its checksum: treat it as pinned */
	NODE_TIP_QUEUED	= 16,	/* the slot is in the queue `queued_tips` */
	NODE_TIP_HELD	= 32,	/* one of its holds is a tip's (tip.c) */
	NODE_DONE	= 64,	/* the chain that ends here, or a longer one, had its turn */
	NODE_LOST	= 128,	/* counted: a chain through here was evicted before its turn */
};
/* A queue names a slot even after its block has left; the other marks are the block's. */
#define NODE_STAYS	(NODE_SUM_QUEUED | NODE_TIP_QUEUED)

struct node {			/* of a slot */
	uint32_t parent;	/* the parent's slot; CKV_NONE at a root and in a view */
	uint8_t	 mark;		/* flags, enum node_mark */
	uint8_t	 state;		/* enum node_state */
	uint16_t move;		/* 1 + the number of its move under way; 0: none */
	struct copy copy[];	/* one per level; with one level all fill half a line */
};
_Static_assert(sizeof(struct node) + sizeof(struct copy) == 32, "two nodes a line");

struct witness {		/* the pin word that was last seen naming a slot */
	uint32_t word;
	uint32_t lane;
};

/* A block page: how it is or was lent. A sheet is its number among those of all levels. */
struct page {
	struct link link;	/* lent: in its lane's queue of sheets; free: `next` in the stack */
	uint32_t lending;	/* times it was lent: with the page, the last lending's name */
	uint16_t lane;		/* the lane it is lent to now; else NO_LANE */
	uint16_t last_lane;	/* the lane of the last lending */
	uint32_t n_holds : 30;	/* jobs that read it; only if it is or was lent as scratch */
	uint32_t published : 1;	/* the last lending ended in PUBLISH */
	uint32_t rests : 1;	/* ... and is in space.written, if somebody may write it */
};

struct space_lane {
	struct space_lane_memory memory;
	struct queue lent;	/* sheets lent on it, each before those reserved under it */
	uint32_t client;
	uint32_t touch_pos;	/* the next touch to read from its ring */
	uint32_t place;		/* in use: index in open_lanes; unused: next unused lane */
	enum { LANE_UNUSED, LANE_IN_USE, LANE_ENDING } state;
	bool shut;		/* it publishes nothing any more: space_lane_shut() */
	bool before;		/* an earlier daemon opened it */
	bool blind;		/* of those: it has a pin on something that was not found again */
};

/*
 * A search makes room at one level, or for views, while tasks wait for it. It may take
 * several steps: see evict.c.
 */
struct search {
	uint32_t wanted;	/* pages that tasks asked for since the last step */
	uint32_t n_unseen;	/* if passing: parked slots that are still to be looked at */
	uint32_t last_step;	/* the last step that worked on the search */
	bool passing;		/* the policy is empty: only parked slots are left */
	bool full;		/* the last search found nothing: see room_wait() */
	uint32_t stage;		/* tips: the next stage of giving way (evict.c) */
	uint64_t n_vain;	/* in vain: slots its steps may have judged since one was freed */
	uint32_t n_fruitless;	/* fruitless searches, which found nothing; wraps */
};

/* What may be evicted: blocks of one level, or views, which are evicted apart. */
struct candidates {
	const struct policy_ops *ops;
	struct policy *policy;
	struct copies copies;
	struct queue parked;
	struct search search;
};

struct level {
	struct space_level config;
	struct candidates blocks;
	struct ckv_record *records;	/* of a level of pages; else NULL */
	struct page *pages;	/* [n_places] there: a part of space.pages */
	uint32_t first_sheet;	/* ... that begins here */
	uint32_t free_head;	/* there: a stack through page.link.next */
	uint32_t *client_lent, *user_lent;	/* pages lent there, per client and per user */
	uint32_t *free_places;	/* [n_free] at any other level: the stack itself */
	uint32_t n_free;
	uint32_t n_resting;	/* pages that rest and nobody writes, view pages too ... */
	uint32_t rest_page;	/* ... of which none is below this one */
	struct queue tied;	/* copies that only a child farther away keeps: level.c */
	struct queue stale;	/* copies that PUBLISH replaced, until nobody has them pinned */
	uint32_t *unsaved;	/* ring of slots that got a copy here and have none farther */
	uint32_t unsaved_head, n_unsaved;
	struct space_wait wait;	/* of moves, for room here */
};

/* One key of a DROP, whose block is in the batch. */
struct drop_choice {
	struct space_task *task;
	uint32_t item, slot;
	bool again;		/* an earlier key named the same block */
};

struct tip {
	enum tip_state state;
	uint32_t slot;
	uint32_t serial;	/* of tips in one state the lowest is next; wraps */
	bool outdated;		/* space_set_auto(anew) was called after the hold began */
};

/* About the run that begins at this view page; if it is a view, view_rows[] says which. */
struct view_links {
	uint32_t n_pages;	/* of the run; 0: none begins here */
	uint32_t newer, older;	/* views of the same name, as rows; CKV_NONE: none */
	uint32_t other;		/* if newest of its name: the next name in the hash bucket */
};

/* The cost of one step, which is added to the pace's debt. */
struct step_cost {
	uint32_t n_words;	/* pin words read */
	uint32_t n_full;	/* of those, read one by one since some were in use */
	uint32_t n_looks;	/* slots looked at */
	uint32_t n_restored;	/* blocks given back as pinned */
};

struct space {
	struct space_config config;
	uint64_t fingerprint;		/* of the geometry: a part of each record's seal */
	struct ckv_index index;
	uint32_t n_slots;
	struct ckv_view_row *view_rows;	/* [n_view_pages] behind the work level's records */
	struct ckv_space_stats *stats;
	char *nodes;			/* [n_slots] of node_bytes each: see node_of() */
	bool own_nodes;			/* not the shell's memory */
	size_t node_bytes;
	struct witness *witnesses;	/* [n_slots] valid with NODE_SEEN */

	struct level *levels;		/* [config.n_levels] nearest first */
	struct page *pages;		/* those of all levels of pages */
	struct move *moves;		/* [config.n_moves_max] */
	uint32_t free_move;		/* a stack through move.slot */
	uint32_t n_landed;
	uint32_t *wanted;		/* ring of slots that a PREFETCH wants nearer */
	uint32_t wanted_head, n_wanted;
	struct candidates views;
	uint32_t n_steps;		/* steps made; wraps */
	struct step_cost cost;		/* of the current step */
	struct space_pace *pace, own_pace;	/* pace: config.pace, or own_pace */

	struct space_task *drop_head, *drop_tail;	/* DROPs that wait for a step */
	struct space_task **awaiting;	/* [n_awaiting]: PREFETCHes, by the slot they wait for */
	uint32_t n_awaiting;		/* power of two */
	uint32_t n_awaited;		/* tasks in them */
	struct space_task *ready_head, **ready_end; /* those that can go on */

	struct drop_choice chosen[DROPS_MAX];
	uint32_t n_chosen;

	struct ckv_place wishes[WISHES_MAX];	/* for room in these buckets */
	uint32_t n_wishes;

	uint16_t *reserved_tags;	/* [n_slots] tags of reserved slots, see table.c */
	uint64_t *judged;		/* a bit per slot: its block is in the batch */
	uint32_t batch[BATCH_MAX];	/* slots */
	uint32_t n_batch;

	uint32_t *sums;			/* ring of slots that wait for a checksum; with queued_tips */
	uint32_t sum_head, n_sums;

	bool listening;			/* somebody asks for events: event.c */
	struct space_event *events;	/* ring of config.n_events_max */
	uint32_t event_head, n_events;
	uint64_t n_event_numbers;	/* given so far */

	enum space_auto automatic;
	struct tip *tips;		/* [n_tips_max] */
	uint32_t tip_serial;
	uint32_t *queued_tips;		/* ring of published slots that may be tips */
	uint32_t queued_tip_head, n_queued_tips;

	struct space_lane *lanes;
	uint32_t *open_lanes, n_open;	/* numbers of lanes in use: their pins count */
	uint32_t unused_lane;		/* a stack through lane.place */
	uint32_t drain_place;		/* in open_lanes: whose touches were read last */
	uint32_t n_blind;		/* blind lanes in use; with any, no block may leave */
	uint32_t n_before;		/* lanes of before in use; without any, nothing rests but: */
	struct queue written;		/* sheets that rest since somebody may write them */
	uint32_t n_unknown;		/* of those, by whom is not known */
	uint64_t quiet_serial;		/* of space_quiet() that goes on: */
	uint32_t n_unquiet;		/* of `written`, from the tail, it has still to look at */

	uint64_t *view_used;		/* a bit per view page */
	struct view_links *runs;	/* one per view page */
	uint64_t view_number;		/* of the newest view */
	uint32_t *names;		/* hash table over names: first row of each bucket */
	uint32_t n_names;		/* its buckets; a power of two */
};

static inline struct node *node_of(const struct space *s, uint32_t slot)
{
	return (struct node *)(void *)(s->nodes + slot * s->node_bytes);
}

static inline bool node_is_view(const struct space *s, uint32_t slot)
{
	return (node_of(s, slot)->mark & NODE_VIEW) != 0;
}

static inline struct level *work_level(const struct space *s)
{
	return &s->levels[s->config.work_level];
}

static inline const struct ckv_pool_shape *work_pool(const struct space *s)
{
	return &work_level(s)->config.pool;
}

/* Has the level pages? Then clients read them, pin them, and are lent them. */
static inline bool level_has_pages(const struct space *s, uint32_t level)
{
	return s->levels[level].records != NULL;
}

/* The index of the level with this number; n_levels: there is none. */
static inline uint32_t level_numbered(const struct space *s, uint32_t number)
{
	uint32_t level = 0;

	while (level < s->config.n_levels && s->levels[level].config.number != number)
		level++;
	return level;
}

/* Is there such a page of blocks at this level, as a client names it? */
static inline bool is_page_of(const struct level *level, const struct ckv_page_name *name)
{
	return name->level == level->config.number && level->records != NULL &&
	       name->page < level->config.n_places;
}

static inline struct page *page_of(const struct space *s, uint32_t level, uint32_t page)
{
	assert(page < s->levels[level].config.n_places);
	return &s->levels[level].pages[page];
}

static inline uint32_t sheet_of(const struct space *s, uint32_t level, uint32_t page)
{
	return s->levels[level].first_sheet + page;
}

/* The level of a sheet, and its page there. */
static inline uint32_t sheet_level(const struct space *s, uint32_t sheet,
				   uint32_t *ret_page)
{
	uint32_t level = 0;

	while (!level_has_pages(s, level) ||
	       sheet - s->levels[level].first_sheet >= s->levels[level].config.n_places)
		level++;
	*ret_page = sheet - s->levels[level].first_sheet;
	return level;
}

static inline struct ckv_record *sheet_record(const struct space *s, uint32_t sheet)
{
	uint32_t page, level = sheet_level(s, sheet, &page);

	return &s->levels[level].records[page];
}

static inline struct links sheet_links(const struct space *s)
{
	return (struct links){
		(char *)s->pages + offsetof(struct page, link), sizeof *s->pages,
	};
}

static inline struct copy *copy_of(const struct space *s, uint32_t slot,
				   uint32_t level)
{
	assert(level < s->config.n_levels);
	return &node_of(s, slot)->copy[level];
}

/* Are the block's bytes there, for whom looks now? */
static inline bool copy_there(const struct space *s, uint32_t slot, uint32_t level)
{
	const struct copy *copy = copy_of(s, slot, level);

	return copy->place != CKV_NONE && !(copy->mark & (COPY_LENT | COPY_STALE));
}


/* The level of a taken slot, as an index: the nearest one with a copy. */
static inline uint32_t level_of(const struct space *s, uint32_t slot)
{
	uint32_t level = 0;

	while (!copy_there(s, slot, level))
		level++;
	return level;
}

/* Is the block there at this level, or nearer? */
static inline bool is_near(const struct space *s, uint32_t slot, uint32_t level)
{
	return node_of(s, slot)->state == NODE_PUBLISHED && level_of(s, slot) <= level;
}

/* Is a page lent for a block that is there, too, farther away? */
static inline bool node_lent_over(const struct space *s, uint32_t slot)
{
	const struct copy *copy = node_of(s, slot)->copy;
	uint8_t marks = 0;

	for (uint32_t l = 0; l < s->config.n_levels; l++)
		marks |= copy[l].mark;
	return (marks & COPY_LENT) != 0;
}

/* Has a client a page for it? */
static inline bool node_lent(const struct space *s, uint32_t slot)
{
	return node_of(s, slot)->state == NODE_LENT || node_lent_over(s, slot);
}

/* The level of that page. */
static inline uint32_t lent_level(const struct space *s, uint32_t slot)
{
	uint32_t level = 0;

	if (node_of(s, slot)->state == NODE_LENT)
		return level_of(s, slot);
	while (!(copy_of(s, slot, level)->mark & COPY_LENT))
		level++;
	return level;
}

/* Children at all levels, and holds; a child counts once for each of its copies. */
static inline uint32_t node_children(const struct space *s, uint32_t slot)
{
	const struct copy *copy = node_of(s, slot)->copy;
	uint32_t n = 0;

	for (uint32_t l = 0; l < s->config.n_levels; l++)
		n += copy[l].n_children;
	return n;
}

/* That page: the lane that it is lent to, and more. */
static inline struct page *page_lent(const struct space *s, uint32_t slot)
{
	uint32_t level = lent_level(s, slot);

	return page_of(s, level, copy_of(s, slot, level)->place);
}

/* The page of a slot at the work level, of a view the first; CKV_NONE: it is not there. */
static inline uint32_t work_page(const struct space *s, uint32_t slot)
{
	return copy_of(s, slot, s->config.work_level)->place;
}

static inline struct candidates *candidates_of(struct space *s, uint32_t slot,
					       uint32_t level)
{
	return node_is_view(s, slot) ? &s->views : &s->levels[level].blocks;
}

/* Does the policy have a victim? */
static inline bool candidates_any(const struct candidates *c)
{
	return c->ops->next_victim(c->policy, CKV_NONE) != CKV_NONE;
}

/* The record of the page of a slot at a level where it has one. */
static inline struct ckv_record *record_of(const struct space *s, uint32_t slot,
					   uint32_t level)
{
	assert(copy_of(s, slot, level)->place != CKV_NONE);
	return &s->levels[level].records[copy_of(s, slot, level)->place];
}

/* What the index says about a taken slot: true at every level. */
static inline void block_load(const struct space *s, uint32_t slot,
			      struct ckv_block *ret_block)
{
	ckv_entry_load(ckv_index_entry(&s->index, slot), ret_block);
}

/* Prefetch what is written when a block page is lent or freed. */
CKV_ASK page_prefetch(const struct level *level, uint32_t page)
{
	__builtin_prefetch(&level->records[page], 1);
	__builtin_prefetch(&level->pages[page], 1);
}

/* Take a place of a level from the stack of those that are free; put one there. */
static inline uint32_t place_pop(struct level *level)
{
	uint32_t place = level->free_head;

	assert(level->n_free > 0);
	level->n_free--;
	if (level->free_places != NULL)
		return level->free_places[level->n_free];
	assert(place != CKV_NONE);
	level->free_head = level->pages[place].link.next;
	return place;
}

static inline void place_push(struct level *level, uint32_t place)
{
	level->n_free++;
	if (level->free_places != NULL) {
		level->free_places[level->n_free - 1] = place;
		return;
	}
	level->pages[place].link.next = level->free_head;
	level->free_head = place;
}

static inline uint32_t level_n_used(const struct level *level)
{
	return level->config.n_places - level->n_free;
}

static inline void gauge_sub(_Atomic uint64_t *gauge, uint64_t n)
{
	ckv_hint_store64(gauge, ckv_hint_load64(gauge) - n);
}

/* ---- lane.c ---- */

struct space_lane *lane_of(const struct space *s, int lane);
/* The lanes in use are of before; put them in the order of their serials. */
void lanes_before(struct space *s);
/* One past the highest pin word in use: what the client says, at most n_pins. */
static inline uint32_t lane_pin_high(const struct space_lane *lane)
{
	uint32_t high = ckv_hint_load32(lane->memory.pin_high);

	return high < lane->memory.n_pins ? high : lane->memory.n_pins;
}

/* ---- pinned.c ---- */

/*
 * Does the pin word that was seen last still pin the slot? Reads one word. A slot that is
 * read for a checksum or a move, or lent once more, counts as pinned.
 */
bool pinned_still(const struct space *s, uint32_t slot);
/* Remember the pin word that pins a slot. */
void pinned_seen(struct space *s, uint32_t slot, uint32_t lane, uint32_t word);
/* Park a pinned block or view without children, which is in no policy. */
void park(struct space *s, struct candidates *c, uint32_t slot);
void unpark(struct space *s, struct candidates *c, uint32_t slot);
/*
 * Look at n parked slots, those not looked at for the longest time first. A slot that
 * is pinned no longer returns to its policy as just used. Returns how many did.
 */
uint32_t parked_look(struct space *s, struct candidates *c, uint32_t n);

/* ---- evict.c, step.c ---- */

/*
 * Add a slot to the batch; BATCH_MAX fit. What is to leave is its copy at one level, or at
 * ALL_LEVELS. Where it was its parent's last child, the parent enters the policy as `heir`
 * says.
 */
void batch_add(struct space *s, uint32_t slot, uint32_t level,
	       enum policy_origin heir);
/* Judge the batch: scan all pin words once and restore what is pinned. */
void batch_judge(struct space *s);
/* Restore a slot, that is take it and its ancestors out of the batch: how many. */
uint32_t batch_restore(struct space *s, uint32_t slot);
static inline bool batch_has(const struct space *s, uint32_t slot)
{
	return s->judged[slot / 64] >> slot % 64 & 1;
}
/* Take a slot out of the batch that is about to be freed, or of which copies are. */
void batch_forget(struct space *s, uint32_t slot);
/* Park what the scan restored and what may go. */
void batch_park(struct space *s);
/* Put blocks to evict from a level into the batch. False: there are none left. */
bool evict_choose(struct space *s, uint32_t level);
/* Evict what is in the batch from index `first` on and is not pinned. */
void evict_free(struct space *s, uint32_t first);
/*
 * A task found no room for `wanted` pages: SPACE_WAIT, it must wait for a step and
 * try again; -ENOSPC, a search found nothing.
 */
int room_wait(struct space *s, struct space_wait *wait, struct candidates *c,
	      uint32_t wanted);
/*
 * Count that a step of a search may judge n of all n_all slots. True: the search has
 * judged all of them several times, so a client keeps moving its pins, and the search
 * must be given up, as it might never end.
 */
bool search_in_vain(struct search *search, uint32_t n, uint32_t n_all);
/* End a search that found nothing. */
void search_fruitless(struct search *search);
/* How many places of a level may be taken without evicting any. */
uint32_t places_left(const struct level *level);

/* ---- event.c ---- */

/* What happened to a block, if anybody listens. A level is an index; ALL_LEVELS: none. */
static inline void event_note(struct space *s, enum space_event_kind kind,
			      uint32_t slot, uint32_t from, uint32_t to)
{
	if (__builtin_expect(s->listening, false))
		event_put(s, kind, slot, from, to);
}

/* ---- bucket.c ---- */

/*
 * The task's next key finds no place: SPACE_WAIT, it must wait for a step and try
 * again; -EXFULL, nothing in its buckets may leave.
 */
int bucket_wait(struct space *s, struct space_task *t, const struct ckv_place *place);
/* Put what may leave full buckets into the batch. */
void buckets_choose(struct space *s);

#endif
