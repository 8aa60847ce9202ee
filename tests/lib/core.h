/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.h - a space on ordinary memory, for tests of the daemon's core.
 *
 * Failures abort through assert(): the fixture is not what is tested.
 */
#ifndef CKV_TEST_CORE_H
#define CKV_TEST_CORE_H

#include "daemon/core/space.h"
#include "proto/ckv_pin.h"

enum { CORE_LANES = 8, CORE_PINS = 64, CORE_TOUCHES = 16, CORE_TOKENS = 16,
       CORE_LIST = 32, CORE_TIPS = 3, CORE_AWAITS = 8, CORE_EPOCH = 7 };

struct core_lane {
	_Atomic uint64_t pins[CORE_PINS];
	_Atomic uint32_t pin_high;
	_Atomic uint32_t touches[CORE_TOUCHES];
	_Atomic uint32_t touch_tail;
	uint64_t serial;		/* of the lane that has this memory */
	int number;
};

struct core {
	struct space_config config;
	struct space_memory memory;
	struct space *space;
	struct ckv_index index;		/* as a client has it */
	struct ckv_world world;
	struct core_lane lane[CORE_LANES];
	uint64_t serial;		/* of the lane opened last */
	uint64_t fingerprint;
	enum space_auto automatic;	/* set by a daemon that adopts */
};

/* n_pages for blocks in slabs of 8; n_views pages for views behind them. */
struct ckv_pool_shape core_pool(uint32_t n_pages, uint32_t n_views);
struct space_config core_config(uint32_t n_pages, uint32_t n_views);
void core_open(struct core *core, const struct space_config *config);
void core_close(struct core *core);

/*
 * The daemon is gone, and another one adopts what it left. `alive`: bit i set, the lane with
 * memory i has not ended; the others have. Index and counters are new.
 */
struct space_adopted core_again(struct core *core, uint32_t alive);
/* The epoch of the present daemon, a part of each page's name. */
extern uint64_t core_epoch;

/* Opens lane memory i (0 ..) for client i; returns the lane's number. */
int core_lane_open(struct core *core, int i);

/* The i-th key of the world, i > 0; 0 is the root's parent, all zero. */
struct ckv_key core_key(uint32_t i);

/* Look up as a client does. True: *ret_slot and *ret_block are set. */
bool core_find(const struct core *core, uint32_t i, uint32_t *ret_slot,
	       struct ckv_block *ret_block);
bool core_has(const struct core *core, uint32_t i);

/* Pin key i in word w of lane memory l, as a client does. Did it confirm? */
bool core_pin(struct core *core, int l, uint32_t w, uint32_t i);
void core_unpin(struct core *core, int l, uint32_t w);
void core_touch(struct core *core, int l, uint32_t i);

/* One key under a parent (0: root): its status, and its page. */
int core_reserve(struct core *core, int lane, uint32_t parent, uint32_t i,
		 struct ckv_lent *ret_lent);
/* Keys i, i + 1 .. of one chain, in one call: its answer. */
int core_reserve_list(struct core *core, int lane, uint32_t parent, uint32_t i, uint32_t n,
		      struct ckv_lent *ret_lent);
/* The same at other levels than the nearest one. */
int core_reserve_at(struct core *core, int lane, uint32_t level, uint32_t parent,
		    uint32_t i, struct ckv_lent *ret_lent);
int core_reserve_list_at(struct core *core, int lane, uint32_t level, uint32_t parent,
			 uint32_t i, uint32_t n, struct ckv_lent *ret_lent);
/* How a client names what it was lent. */
struct ckv_page_name core_name(const struct ckv_lent *lent);
/* The name of any page of the nearest level as it was lent last, to whomever. */
struct ckv_page_name core_last_name(const struct core *core, uint32_t page);
/* Publish one page, checksum given; give one back. */
int core_publish(struct core *core, int lane, const struct ckv_lent *lent);
int core_abort(struct core *core, int lane, const struct ckv_lent *lent);
/* Reserve and publish; 0 or the status. */
int core_put(struct core *core, int lane, uint32_t parent, uint32_t i);
int core_drop(struct core *core, uint32_t i);

/* Of a taken slot: the place of its copy at a level (CKV_NONE), its move (0). */
uint32_t core_copy(const struct core *core, uint32_t slot, uint32_t level);
/* The same, also if the copy was replaced, or a page is lent for it. */
uint32_t core_place(const struct core *core, uint32_t slot, uint32_t level);
uint32_t core_move(const struct core *core, uint32_t slot);
uint32_t core_generation(const struct core *core, uint32_t slot);
/* Places of a level that are free; slots that wait there to be saved; one step that looks there for one more. */
uint32_t core_free(const struct core *core, uint32_t level);
uint32_t core_unsaved(const struct core *core, uint32_t level);
void core_search(struct core *core, uint32_t level);
/* Has a lane of before a pin on what was not found again? Then no block leaves. */
bool core_is_blind(const struct core *core);
/* Do clients read at this level? */
bool core_is_read(const struct core *core, uint32_t level);

/* A copy of index, records and stats, to see that nothing changed. */
void *core_snapshot(const struct core *core);
bool core_same(const struct core *core, const void *snapshot);

#define CORE_STAT(core, name) ckv_hint_load64(&(core)->memory.stats->name)

#endif
