/* SPDX-License-Identifier: Apache-2.0 */
/* sched.h - inside the harness: threads of the block at hand. */
#ifndef CKV_SIMT_SCHED_H
#define CKV_SIMT_SCHED_H

#include "fiber.h"
#include "simt.h"

enum simt_state { SIMT_READY, SIMT_IN_WARP, SIMT_IN_BLOCK, SIMT_ENDED };

struct simt_fiber {
	struct simt_thread self;	/* first: simt_self points here */
	struct fiber fiber;
	enum simt_state state;
	/* While it waits: for whom, with what, where. */
	enum simt_op op;
	uint32_t mask, from;
	uint64_t value, result;
	struct simt_site site;
};

extern struct simt_fiber simt_fibers[SIMT_MAX_THREADS];
extern uint32_t simt_n_fibers;		/* of this block */

struct simt_fiber *simt_current(void);
uint32_t simt_index(const struct simt_fiber *fiber);

/* Let others run until this fiber is ready again. */
void simt_wait(struct simt_fiber *self);

/* A new block: nobody waits, nobody has ended. */
void simt_meet_reset(void);

/* Ends the process if somebody waits for this fiber, which has ended. */
void simt_check_ended(struct simt_fiber *self);

/* Ends the process: nobody is ready, not all have ended. */
_Noreturn void simt_die_stuck(void);

#endif
