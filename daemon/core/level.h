/* SPDX-License-Identifier: Apache-2.0 */
/*
 * level.h - the functions by which the core's files handle copies at levels: a part of
 * state.h.
 */
#ifndef CKV_CORE_LEVEL_H
#define CKV_CORE_LEVEL_H

#include "daemon/core/space.h"

enum move_state {
	MOVE_FREE,
	MOVE_UNDER_WAY,		/* the shell makes the copy */
	MOVE_LANDED,		/* it has landed: it is made, but counts only when the parent's does */
};

struct move {
	enum move_state state;
	uint32_t slot;		/* free: the next free one */
	uint32_t generation;
	uint8_t	 from, to;	/* levels, as indexes */
	bool cancelled;		/* the copy that it reads was replaced */
	uint32_t from_place, to_place;
};

/* ---- level.c ---- */

/*
 * Put the copies of a slot that may go into their policies; or park them, as the block was
 * found pinned. Take them out, or unpark them.
 */
void node_put(struct space *s, uint32_t slot, enum policy_origin origin);
void copy_put(struct space *s, uint32_t slot, uint32_t level, enum policy_origin origin);
void node_park(struct space *s, uint32_t slot);
void node_take_out(struct space *s, uint32_t slot);
/* A slot was published at a level: this copy has no history, and is a candidate if it may go. */
void copy_new(struct space *s, uint32_t slot, uint32_t level);
/*
 * May a copy go? Not if a child has a copy at that level, nor if a child would be
 * nearer than the block then.
 */
bool copy_may_go(const struct space *s, uint32_t slot, uint32_t level);
/* Would it be a candidate if the block had a copy where its farther children are? */
bool copy_is_tied(const struct space *s, uint32_t slot, uint32_t level);
/* Has the block a copy farther away than this level? */
bool copy_is_saved(const struct space *s, uint32_t slot, uint32_t level);
/*
 * A copy is there from now on, at this place; or it is no longer. Who does that counts it
 * with the block's parent, and then calls node_put().
 */
void copy_add(struct space *s, uint32_t slot, uint32_t level, uint32_t place);
void copy_remove(struct space *s, uint32_t slot, uint32_t level);
/*
 * Hold a block where it is at a level or nearer, and so its ancestors; end the hold. The
 * holder remembers the level: the block may get nearer copies meanwhile.
 */
void node_hold(struct space *s, uint32_t slot, uint32_t level);
void node_release(struct space *s, uint32_t slot, uint32_t level,
		  enum policy_origin origin);
/* Count a slot, with each of its copies, as a child of its parent; count it no longer. */
void parent_gain(struct space *s, uint32_t slot);
void parent_lose(struct space *s, uint32_t slot, enum policy_origin origin);
/* The same for one of its copies. */
void parent_gain_at(struct space *s, uint32_t slot, uint32_t level);
void parent_lose_at(struct space *s, uint32_t slot, uint32_t level,
		    enum policy_origin origin);
/* Reserve a slot that table_take() gave, for a block or view in this page. */
void node_take(struct space *s, uint32_t slot, uint32_t parent, uint32_t level,
	       uint32_t page);
/* Free a slot, also in the index. */
void node_free(struct space *s, uint32_t slot);

/* ---- leave.c ---- */

/*
 * Free what leaves of a slot of the batch that is not pinned: the block, or some of its
 * copies. Returns the levels that it left, as a bit set. 0: it cannot get a new generation,
 * so it stays and is in the batch no more.
 */
uint32_t batch_leave(struct space *s, uint32_t slot);
/* PUBLISH of a block that is there, too, farther away: its farther copies are replaced. */
void block_replace(struct space *s, uint32_t slot, uint32_t level,
		   const struct ckv_publish_item *item);
/* Put stale copies of a level into the batch, n at most. */
void stale_choose(struct space *s, uint32_t level, uint32_t n);

/* ---- move.c ---- */

/* A block got a copy at a level and has none farther away: it is to be saved. */
void save_enqueue(struct space *s, uint32_t slot, uint32_t level);
/* Ask for a copy of a block at a nearer level. */
void want(struct space *s, uint32_t slot, uint32_t level);
/* Is one coming at that level or nearer, or asked for? */
bool is_coming(const struct space *s, uint32_t slot, uint32_t level);
/* Does the block's move under way, if there is one, read its copy at this level? */
bool move_reads(const struct space *s, uint32_t slot, uint32_t level);
/* The copy that it reads was replaced: what it brings is not wanted. */
void move_cancel(struct space *s, uint32_t slot);
/* A block came nearer: moves may have waited for that. */
void moves_landed(struct space *s);

/* ---- event.c ---- */

/* Note what happened to a block; see event_note(). */
void event_put(struct space *s, enum space_event_kind kind, uint32_t slot,
	       uint32_t from, uint32_t to);

#endif
