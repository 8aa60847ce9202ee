/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meet.c - barriers and warp operations: who waits for whom, and the results.
 *
 * The last to arrive works out the results of all and makes them ready. Everybody
 * must come to the same line with the same mask: what code that parts ways
 * there does on a GPU is not defined, so it is an error even where it would work.
 */
#include "sched.h"

#include <string.h>

static int same_site(const struct simt_fiber *a, const struct simt_fiber *b)
{
	return a->op == b->op && a->site.line == b->site.line &&
	       (a->site.file == b->site.file ||
		strcmp(a->site.file, b->site.file) == 0);
}

/* What all values come to, for the operations that give everybody the same. */
static uint64_t combine(enum simt_op op, uint64_t a, uint64_t b)
{
	switch (op) {
	case SIMT_COUNT:
	case SIMT_ADD:
		return a + b;
	case SIMT_ALL:
	case SIMT_AND:
		return a & b;
	case SIMT_ANY:
	case SIMT_OR:
	case SIMT_BALLOT:
		return a | b;
	case SIMT_MIN:
		return a < b ? a : b;
	case SIMT_MAX:
		return a > b ? a : b;
	case SIMT_SYNC:
	case SIMT_SHUFFLE:
	case SIMT_MATCH:
		break;
	}
	return 0;
}

static uint32_t lanes_with(const struct simt_fiber *warp, uint32_t mask,
			   uint64_t value)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < SIMT_WARP; i++)
		if (mask >> i & 1 && warp[i].value == value)
			found |= 1u << i;
	return found;
}

static uint64_t shuffled(const struct simt_fiber *warp, struct simt_fiber *self)
{
	if (self->from >= SIMT_WARP || !(self->mask >> self->from & 1)) {
		simt_self = &self->self;
		simt_die(self->site, "reads lane %u, which mask %08x leaves out",
			 self->from, self->mask);
	}
	return warp[self->from].value;
}

/* All lanes of the mask are here. */
static void settle_warp(struct simt_fiber *warp, uint32_t mask)
{
	uint64_t all = 0;
	int first = 1;

	for (uint32_t i = 0; i < SIMT_WARP; i++) {
		if (!(mask >> i & 1))
			continue;
		all = first ? warp[i].value
			    : combine(warp[i].op, all, warp[i].value);
		first = 0;
	}
	for (uint32_t i = 0; i < SIMT_WARP; i++) {
		struct simt_fiber *f = &warp[i];

		if (!(mask >> i & 1))
			continue;
		f->result = all;
		if (f->op == SIMT_SHUFFLE)
			f->result = shuffled(warp, f);
		else if (f->op == SIMT_MATCH)
			f->result = lanes_with(warp, mask, f->value);
		f->state = SIMT_READY;
	}
}

/* Lanes of a warp by what they are at; bits. */
struct warp_lanes {
	uint32_t in_warp, in_block, ended, missing;
};
static struct warp_lanes lanes[SIMT_MAX_THREADS / SIMT_WARP];

static struct warp_lanes *lanes_of(const struct simt_fiber *self)
{
	return &lanes[simt_index(self) / SIMT_WARP];
}

/* Ends the process if lane i, of this lane's mask, can never come to meet it. */
static void check_lane(const struct simt_fiber *self,
		       const struct simt_fiber *warp, uint32_t i)
{
	const struct simt_fiber *f = &warp[i];

	if (lanes_of(self)->missing >> i & 1)
		simt_die(self->site, "mask %08x names lane %u, which the block "
			 "does not have", self->mask, i);
	if (f->state == SIMT_ENDED)
		simt_die(self->site, "waits for lane %u, which has ended", i);
	if (f->state == SIMT_IN_BLOCK || !same_site(self, f))
		simt_die(self->site, "waits for lane %u, which is in %s at %s:%d",
			 i, f->site.name, f->site.file, f->site.line);
	if (f->mask != self->mask)
		simt_die(self->site, "mask %08x, but lane %u came with %08x",
			 self->mask, i, f->mask);
}

/*
 * Who waits is consistent with those who waited before it, so one of them will do;
 * all are looked at before results are given out.
 */
static void check_lanes(const struct simt_fiber *self,
			const struct simt_fiber *warp, int all)
{
	const struct warp_lanes *l = lanes_of(self);
	uint32_t check = self->mask & (l->in_block | l->ended | l->missing);

	if (check == 0)
		check = self->mask & l->in_warp;
	while (check != 0) {
		check_lane(self, warp, (uint32_t)__builtin_ctz(check));
		check = all ? check & (check - 1) : 0;
	}
}

uint64_t simt_meet_warp(enum simt_op op, uint32_t mask, uint64_t value,
			uint32_t from, struct simt_site site)
{
	struct simt_fiber *self = simt_current();
	struct simt_fiber *warp = self - simt_lane();
	struct warp_lanes *l = lanes_of(self);
	int all;

	self->op = op;
	self->mask = mask;
	self->value = value;
	self->from = from;
	self->site = site;
	if (!(mask >> simt_lane() & 1))
		simt_die(site, "lane %u is not in its own mask %08x",
			 simt_lane(), mask);
	self->state = SIMT_IN_WARP;
	l->in_warp |= 1u << simt_lane();
	all = (mask & ~l->in_warp) == 0;
	check_lanes(self, warp, all);
	if (all) {
		l->in_warp &= ~mask;
		settle_warp(warp, mask);
	} else {
		simt_wait(self);
	}
	return self->result;
}

/* In a barrier, and ended: the first of each, and how many. */
static struct simt_fiber *waiting, *ended;
static uint32_t n_waiting;

void simt_meet_reset(void)
{
	waiting = ended = NULL;
	n_waiting = 0;
	for (uint32_t i = 0; i < simt_n_fibers; i += SIMT_WARP) {
		uint32_t n = simt_n_fibers - i;

		lanes[i / SIMT_WARP] = (struct warp_lanes){
			.missing = n < SIMT_WARP ? ~0u << n : 0 };
	}
}

static void settle_block(void)
{
	uint64_t all = simt_fibers[0].value;

	for (uint32_t i = 1; i < simt_n_fibers; i++)
		all = combine(simt_fibers[i].op, all, simt_fibers[i].value);
	for (uint32_t i = 0; i < simt_n_fibers; i++) {
		simt_fibers[i].result = all;
		simt_fibers[i].state = SIMT_READY;
		lanes_of(&simt_fibers[i])->in_block = 0;
	}
	waiting = NULL;
	n_waiting = 0;
}

uint64_t simt_meet_block(enum simt_op op, uint64_t value, struct simt_site site)
{
	struct simt_fiber *self = simt_current();

	self->op = op;
	self->value = value;
	self->site = site;
	self->state = SIMT_IN_BLOCK;
	lanes_of(self)->in_block |= 1u << simt_lane();
	if (waiting == NULL)
		waiting = self;
	if (!same_site(self, waiting))
		simt_die(site, "waits for thread %u, which is in %s at %s:%d",
			 simt_index(waiting), waiting->site.name,
			 waiting->site.file, waiting->site.line);
	if (ended != NULL)
		simt_die(site, "waits for thread %u, which has ended",
			 simt_index(ended));
	if (++n_waiting == simt_n_fibers)
		settle_block();
	else
		simt_wait(self);
	return self->result;
}

static _Noreturn void die_waiting(struct simt_fiber *f, const struct simt_fiber *self)
{
	simt_self = &f->self;
	simt_die(f->site, "waits for thread %u, which has ended",
		 simt_index(self));
}

void simt_check_ended(struct simt_fiber *self)
{
	uint32_t lane = simt_index(self) % SIMT_WARP;
	struct simt_fiber *warp = self - lane;

	ended = self;
	lanes_of(self)->ended |= 1u << lane;
	if (waiting != NULL)
		die_waiting(waiting, self);
	for (uint32_t i = 0; i < SIMT_WARP; i++)
		if (warp[i].state == SIMT_IN_WARP && warp[i].mask >> lane & 1)
			die_waiting(&warp[i], self);
}

_Noreturn void simt_die_stuck(void)
{
	uint32_t i = 0;

	while (simt_fibers[i].state == SIMT_ENDED)
		i++;
	simt_self = &simt_fibers[i].self;
	simt_die(simt_fibers[i].site, "waits for ever");
}
