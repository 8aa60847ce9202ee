/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_kept.c - see core_model.h: what may not leave.
 */
#include "tests/lib/core_model.h"

/*
 * What a block needs: copies at these levels, or if it has none at one of them, any nearer one;
 * and to be somewhere up to these.
 */
struct need { uint32_t at, up_to; };

static uint32_t last_of(uint32_t at)
{
	return 1u << (31 - __builtin_clz(at));
}

/* Keep what k needs that only one copy gives. What its parent needs for that. */
static struct need keep_needs(uint32_t k, struct need need)
{
	struct need up = { 0, 0 };

	for (uint32_t l = 0; l < core.config.n_levels; l++) {
		uint32_t near = model[k].at & ((2u << l) - 1);
		bool one = (near & (near - 1)) == 0 || ((need.at & near) >> l & 1);

		if (!((need.at | need.up_to) >> l & 1) || near == 0)
			continue;
		if (one)
			model[k].keep |= last_of(near);
		*(one ? &up.at : &up.up_to) |= last_of(near);
	}
	if (is_lent(k))
		up.at |= (need.at | need.up_to) & 1u << model[k].lent_at;
	return up;
}

void keep_chain(uint32_t k, uint32_t at)
{
	struct need need = { .at = at };

	for (; k != 0 && (need.at | need.up_to) != 0; k = parent_of[k]) {
		need = keep_needs(k, need);
		model[k].kept |= (need.at | need.up_to) != 0;
	}
}

static void keep_slot(uint32_t slot)
{
	for (uint32_t k = 1; k <= KEYS; k++)
		if (model[k].state == PUBLISHED && model[k].slot == slot)
			keep_chain(k, model[k].at);
	for (int v = 0; v < VIEWS; v++)
		if (views[v].there && views[v].slot == slot)
			views[v].kept = true;
}

/* A hold and a page that is lent keep the nearest level's copies above them. */
static void keep_needed(uint32_t k)
{
	const struct mkey *m = &model[k];

	for (uint32_t l = 0; l < core.config.n_levels; l++)
		if (m->n_holds[l])
			keep_chain(k, 1u << l);
	if (is_lent(k))
		keep_chain(k, m->at | 1u << m->lent_at);
	if (m->summing || m->move != 0 || core_is_blind(&core))
		keep_chain(k, m->at);
}

/* Every pin word is honoured, a liar's too if it happens to name a slot. */
void mark_kept(uint32_t also, uint32_t level)
{
	for (uint32_t k = 1; k <= KEYS; k++) {
		model[k].kept = false;
		model[k].keep = 0;
	}
	for (int v = 0; v < VIEWS; v++)
		views[v].kept = false;
	for (uint32_t k = 1; k <= KEYS; k++)
		keep_needed(k);
	keep_prefetched();
	keep_chain(also, 1u << level);
	for (int l = 0; l < CORE_LANES; l++) {
		uint32_t high = ckv_hint_load32(&core.lane[l].pin_high);

		for (uint32_t w = 0; w < high && w < CORE_PINS; w++)
			if (ckv_pin_slot(&core.lane[l].pins[w]) != CKV_NONE)
				keep_slot(ckv_pin_slot(&core.lane[l].pins[w]));
	}
}
