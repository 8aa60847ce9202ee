/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event.c - tell who listens what happens to blocks.
 *
 * Events wait in a ring. If it is full, an event is lost, but its number is not given to
 * another one: the reader sees a gap, and the space counts it.
 */
#include "daemon/core/state.h"

void space_events(struct space *s, bool on)
{
	assert(!on || s->config.n_events_max > 0);
	s->listening = on;
	s->n_events = 0;
}

/* A level as clients know it. */
static uint8_t number_of(const struct space *s, uint32_t level)
{
	return level == ALL_LEVELS ? CKV_LEVEL_NONE : s->levels[level].config.number;
}

void event_put(struct space *s, enum space_event_kind kind, uint32_t slot,
	       uint32_t from, uint32_t to)
{
	uint32_t n_max = s->config.n_events_max;
	uint64_t number = s->n_event_numbers++;
	struct ckv_block block, parent;

	if (s->n_events == n_max) {
		ckv_count(&s->stats->events_lost, 1);
		return;
	}
	block_load(s, slot, &block);
	memset(&parent, 0, sizeof parent);
	if (block.parent_slot != CKV_NONE)
		block_load(s, block.parent_slot, &parent);
	s->events[(s->event_head + s->n_events++) % n_max] = (struct space_event){
		.number = number, .kind = kind, .slot = slot,
		.generation = block.generation & ~1u,
		.from = number_of(s, from), .to = number_of(s, to),
		.n_tokens = block.n_tokens, .key = block.key, .parent = parent.key,
	};
}

int space_event_next(struct space *s, struct space_event *ret_event)
{
	if (s->n_events == 0)
		return 0;
	*ret_event = s->events[s->event_head];
	s->event_head = (s->event_head + 1) % s->config.n_events_max;
	s->n_events--;
	return 1;
}
