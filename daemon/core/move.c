/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.c - copies between levels: which are made, and what is done when they are.
 *
 * The core never moves a block in one go. A move makes one copy more. A copy that is not
 * needed then leaves like any block (leave.c), after all pins were read. So a move needs no
 * look at the pins: who has the block pinned reads on where it read.
 *
 *   nearer    PREFETCH asks for blocks (want()), root first. A block is never nearer than
 *             its parent, so one whose parent is still on its way lands and waits for it.
 *   farther   Blocks are saved ahead of need, when few places of a level are free: in the
 *             order in which they came there, which is parent first, so chains lie together
 *             and no block is tied (level.c) by a child that was saved before it. Those
 *             that are tied all the same come first. A victim that is saved leaves its
 *             level and nothing is lost; no writer waits until another one is.
 *
 * While a move is under way its block counts as pinned, so it is not evicted and not
 * dropped. But PUBLISH may replace the copy that is read (lend.c: reserve_over()). Then the
 * move is cancelled: the place that it reads is its own until it ends, and what it made is
 * not taken. While a page is lent for a block no move nearer begins, and one that ends makes
 * no copy: the writer's bytes are awaited instead.
 *
 * If the target level is full, its search evicts what is coldest there (evict.c). A want
 * that waited for a search that found nothing is given up. So is saving, until
 * something at that level may go.
 */
#include "daemon/core/state.h"

#define LOOK		64u	/* slots that one call takes from each queue */

static struct move *move_of(const struct space *s, uint32_t slot)
{
	uint32_t i = node_of(s, slot)->move;

	return i == 0 ? NULL : &s->moves[i - 1];
}

bool move_reads(const struct space *s, uint32_t slot, uint32_t level)
{
	const struct move *m = move_of(s, slot);

	return m != NULL && m->from == level;
}

/* ---- rings of slots: each is in it at most once, so it has room for all ---- */

static void ring_put(const struct space *s, uint32_t *ring, uint32_t head,
		     uint32_t *n, uint32_t slot)
{
	assert(*n < s->n_slots);
	ring[(head + (*n)++) % s->n_slots] = slot;
}

static uint32_t ring_take(const struct space *s, const uint32_t *ring, uint32_t *head,
			  uint32_t *n)
{
	uint32_t slot = ring[*head];

	assert(*n > 0);
	*head = (*head + 1) % s->n_slots;
	(*n)--;
	return slot;
}

void save_enqueue(struct space *s, uint32_t slot, uint32_t l)
{
	struct level *level = &s->levels[l];

	if (l + 1 == s->config.n_levels ||
	    (copy_of(s, slot, l)->mark & COPY_QUEUED))
		return;
	copy_of(s, slot, l)->mark |= COPY_QUEUED;
	ring_put(s, level->unsaved, level->unsaved_head, &level->n_unsaved, slot);
}

/* The nearest level where the slot's block is wanted; n_levels: nowhere. */
static uint32_t wanted_at(const struct space *s, uint32_t slot)
{
	uint32_t l = 0;

	while (l < s->config.n_levels && !(copy_of(s, slot, l)->mark & COPY_WANTED))
		l++;
	return l;
}

bool is_coming(const struct space *s, uint32_t slot, uint32_t level)
{
	const struct move *m = move_of(s, slot);

	return wanted_at(s, slot) <= level || (m != NULL && m->to <= level);
}

void want(struct space *s, uint32_t slot, uint32_t level)
{
	bool queued = wanted_at(s, slot) < s->config.n_levels;

	if (is_coming(s, slot, level))
		return;
	copy_of(s, slot, level)->mark |= COPY_WANTED;
	if (!queued)
		ring_put(s, s->wanted, s->wanted_head, &s->n_wanted, slot);
}

/* ---- begin ---- */

static void begin(struct space *s, uint32_t slot, uint32_t from, uint32_t to,
		  struct space_move *ret)
{
	uint32_t id = s->free_move;
	struct move *m = &s->moves[id];
	struct ckv_block block, parent;

	assert(m->state == MOVE_FREE && node_of(s, slot)->move == 0);
	s->free_move = m->slot;
	*m = (struct move){
		.state = MOVE_UNDER_WAY, .slot = slot,
		.generation = table_generation(s, slot),
		.from = (uint8_t)from, .to = (uint8_t)to,
		.from_place = copy_of(s, slot, from)->place,
		.to_place = place_get(s, to),
	};
	if (level_has_pages(s, to))
		record_loading(s, to, m->to_place);
	node_of(s, slot)->move = (uint16_t)(id + 1);
	ckv_count(&s->stats->moves, 1);
	block_load(s, slot, &block);
	parent = ckv_block_none();
	memset(&parent.key, 0, sizeof parent.key);
	if (block.parent_slot != CKV_NONE)
		block_load(s, block.parent_slot, &parent);
	*ret = (struct space_move){
		.id = id, .slot = slot, .generation = m->generation,
		.from = from, .to = to,
		.from_place = m->from_place, .to_place = m->to_place,
		.n_tokens = block.n_tokens, .key = block.key,
		.parent = parent.key, .checksum = block.checksum,
		.summed = (block.flags & CKV_ENTRY_SUMMED) != 0,
	};
}

/* Is its block read or judged by somebody, so that no move of it can begin now? */
static bool is_busy(const struct space *s, uint32_t slot)
{
	return node_of(s, slot)->move != 0 ||
	       (node_of(s, slot)->mark & NODE_SUMMING) != 0;
}

/*
 * Is there a place, for n blocks if possible? 0; SPACE_WAIT: there may be after the next
 * step; -ENOSPC: a search found nothing.
 */
static int find_room(struct space *s, uint32_t l, uint32_t n)
{
	struct level *level = &s->levels[l];

	if (places_left(level) > 0) {
		level->wait.searches = false;
		return 0;
	}
	if (level->wait.waits && level->wait.step == s->n_steps)
		return SPACE_WAIT;
	level->wait.waits = false;
	return room_wait(s, &level->wait, &level->blocks,
			 n < s->config.n_moves_max ? n : s->config.n_moves_max);
}

/* ---- nearer ---- */

enum verdict { DROP_IT, LATER, NOW };

/* What of a block that is wanted at this level? Its slot may have another one by now, or a view. */
static enum verdict judge_wanted(const struct space *s, uint32_t slot, uint32_t level)
{
	const struct node *node = node_of(s, slot);

	if (node->state != NODE_PUBLISHED || node_is_view(s, slot) ||
	    level_of(s, slot) <= level || node_lent_over(s, slot) ||
	    copy_of(s, slot, level)->place != CKV_NONE)
		return DROP_IT;
	if (is_busy(s, slot))
		return LATER;
	if (node->parent == CKV_NONE || level_of(s, node->parent) <= level)
		return NOW;
	if (move_of(s, node->parent) != NULL && move_of(s, node->parent)->to <= level)
		return NOW;
	return is_coming(s, node->parent, level) ? LATER : DROP_IT;
}

/* Whoever waits for a block's move looks again; this happens between turns, so the pace pays. */
static void settle(struct space *s, uint32_t slot)
{
	int32_t units = 0;

	await_settle(s, slot, &units);
	s->pace->debt += (uint64_t)-units;
}

/* Nobody knows of it any more, or it cannot come. */
static void unwant(struct space *s, uint32_t slot)
{
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		copy_of(s, slot, l)->mark &= (uint8_t)~COPY_WANTED;
	settle(s, slot);
}

/* The slot was at the head of the ring and was taken from there: put it back. */
static void want_again(struct space *s, uint32_t slot, bool first)
{
	if (!first) {
		ring_put(s, s->wanted, s->wanted_head, &s->n_wanted, slot);
		return;
	}
	s->wanted_head = (s->wanted_head + s->n_slots - 1) % s->n_slots;
	s->wanted[s->wanted_head] = slot;
	s->n_wanted++;
}

static int bring_next(struct space *s, struct space_move *ret)
{
	for (uint32_t i = 0; i < LOOK && s->n_wanted > 0; i++) {
		uint32_t slot = ring_take(s, s->wanted, &s->wanted_head, &s->n_wanted);
		uint32_t level = wanted_at(s, slot);
		enum verdict verdict = judge_wanted(s, slot, level);
		int r = verdict == NOW ? find_room(s, level, s->n_wanted + 1) : 0;

		if (r == SPACE_WAIT) {
			want_again(s, slot, true);
			return 0;
		}
		if (verdict == LATER) {
			want_again(s, slot, false);
		} else if (verdict == DROP_IT || r < 0) {
			unwant(s, slot);
		} else {
			for (uint32_t l = 0; l < s->config.n_levels; l++)
				copy_of(s, slot, l)->mark &= (uint8_t)~COPY_WANTED;
			begin(s, slot, level_of(s, slot), level, ret);
			return 1;
		}
	}
	return 0;
}

/* ---- farther ---- */

/* The nearest level beyond where a tied copy's block has a child. */
static uint32_t tied_to(const struct space *s, uint32_t slot, uint32_t l)
{
	do
		l++;
	while (copy_of(s, slot, l)->n_children == 0);
	return l;
}

/* Is the copy where the block's bytes shall come from free to be read, and the other's place? */
static bool may_save(const struct space *s, uint32_t slot, uint32_t to)
{
	return !is_busy(s, slot) && copy_of(s, slot, to)->place == CKV_NONE;
}

/* After a search that found nothing, no other one is made for the sake of saving. */
static bool room_to_save(struct space *s, uint32_t to, uint32_t n)
{
	const struct level *level = &s->levels[to];

	return places_left(level) > 0 ||
	       (!level->blocks.search.full && find_room(s, to, n) == 0);
}

static bool save_tied(struct space *s, uint32_t l, struct space_move *ret)
{
	struct queue *queue = &s->levels[l].tied;
	struct links links = copy_links(s->levels[l].blocks.copies);

	for (uint32_t i = 0; i < LOOK && i < queue->n; i++) {
		uint32_t slot = queue->tail, to = tied_to(s, slot, l);

		queue_remove(queue, links, slot);
		queue_put_head(queue, links, slot);
		if (!may_save(s, slot, to) || !room_to_save(s, to, queue->n))
			continue;
		begin(s, slot, l, to, ret);
		return true;
	}
	return false;
}

/* Does the slot's block, which came to this level some time ago, still need to be saved? */
static bool is_unsaved(const struct space *s, uint32_t slot, uint32_t l)
{
	return node_of(s, slot)->state == NODE_PUBLISHED && !node_is_view(s, slot) &&
	       copy_there(s, slot, l) && !copy_is_saved(s, slot, l);
}

static int save_new(struct space *s, uint32_t l, struct space_move *ret)
{
	struct level *level = &s->levels[l];
	uint32_t n = level->n_unsaved < LOOK ? level->n_unsaved : LOOK, n_over = 0;

	if (places_left(level) >= level->config.n_ahead)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = level->unsaved[level->unsaved_head];
		bool unsaved = is_unsaved(s, slot, l);
		bool may = unsaved && may_save(s, slot, l + 1);

		if (may && !room_to_save(s, l + 1, level->n_unsaved))
			return 0;
		(void)ring_take(s, level->unsaved, &level->unsaved_head,
				&level->n_unsaved);
		copy_of(s, slot, l)->mark &= (uint8_t)~COPY_QUEUED;
		if (may) {
			begin(s, slot, l, l + 1, ret);
			return 1;
		}
		if (unsaved)
			save_enqueue(s, slot, l);
		n_over += !unsaved;
	}
	return n_over > 0 && level->n_unsaved > 0 ? SPACE_MORE : 0;
}

int space_move_next(struct space *s, struct space_move *ret)
{
	int r;

	if (s->config.n_levels == 1 || s->free_move == CKV_NONE)
		return 0;
	r = bring_next(s, ret);
	for (uint32_t l = 0; r == 0 && l + 1 < s->config.n_levels; l++) {
		r = save_tied(s, l, ret) ? 1 : 0;
		if (r == 0)
			r = save_new(s, l, ret);
	}
	return r;
}

/* ---- end ---- */

/* The move is over. If it made no copy, its target is free again. */
static void end(struct space *s, struct move *m, bool made)
{
	uint32_t slot = m->slot, from = m->from;

	assert(node_of(s, slot)->move == m - s->moves + 1);
	if (m->state == MOVE_LANDED)
		s->n_landed--;
	if (!made)
		place_put(s, m->to, m->to_place);
	if (m->cancelled && copy_of(s, slot, from)->place != m->from_place)
		place_put(s, from, m->from_place);
	node_of(s, slot)->move = 0;
	m->state = MOVE_FREE;
	m->slot = s->free_move;
	s->free_move = (uint32_t)(m - s->moves);
	gauge_sub(&s->stats->moves, 1);
	/* The block counts as pinned no longer, so a search may find something again. */
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		s->levels[l].blocks.search.full = false;
	if (!made) {
		ckv_count(&s->stats->moves_failed, 1);
		if (copy_there(s, slot, from) && from < m->to &&
		    !copy_is_saved(s, slot, from))
			save_enqueue(s, slot, from);
	}
	settle(s, slot);
}

/* May its copy count now? 1; 0: not before the parent's does; -ECANCELED: never. */
static int may_commit(const struct space *s, const struct move *m)
{
	uint32_t parent = node_of(s, m->slot)->parent;
	const struct move *above;

	if (m->cancelled || copy_of(s, m->slot, m->to)->place != CKV_NONE ||
	    table_generation(s, m->slot) != m->generation)
		return -ECANCELED;
	if (m->to > m->from)
		return 1;
	if (node_lent_over(s, m->slot))
		return -ECANCELED;
	if (parent == CKV_NONE || level_of(s, parent) <= m->to)
		return 1;
	above = move_of(s, parent);
	return above != NULL && above->to <= m->to && !above->cancelled ? 0 :
	       -ECANCELED;
}

static void commit(struct space *s, struct move *m)
{
	uint32_t slot = m->slot, before = level_of(s, slot);
	struct ckv_block block;

	copy_add(s, slot, m->to, m->to_place);
	parent_gain_at(s, slot, m->to);
	block_load(s, slot, &block);
	table_rewrite(s, slot, &block);
	if (level_has_pages(s, m->to))
		record_published(s, slot, m->to);
	copy_put(s, slot, m->to, POLICY_NEW);
	node_put(s, slot, POLICY_KEPT);
	if (!copy_is_saved(s, slot, m->to))
		save_enqueue(s, slot, m->to);
	if (m->to < before) {
		ckv_count(&s->stats->moved_near, 1);
		event_note(s, SPACE_MOVED, slot, before, m->to);
	} else {
		ckv_count(&s->stats->moved_far, 1);
	}
	end(s, m, true);
}

/* Moves that wait for their parents': they began root first, so one round mostly does. */
void moves_landed(struct space *s)
{
	bool again = true;

	while (again && s->n_landed > 0) {
		again = false;
		s->pace->debt += s->config.n_moves_max * UNITS_LOOK;
		for (uint32_t i = 0; i < s->config.n_moves_max; i++) {
			struct move *m = &s->moves[i];
			int r = m->state == MOVE_LANDED ? may_commit(s, m) : 0;

			if (r == 0)
				continue;
			again = true;
			if (r > 0)
				commit(s, m);
			else
				end(s, m, false);
		}
	}
}

void move_cancel(struct space *s, uint32_t slot)
{
	struct move *m = move_of(s, slot);

	if (m == NULL)
		return;
	m->cancelled = true;
	if (m->state == MOVE_LANDED)
		end(s, m, false);
}

/* The shell read the bytes anyhow: a block without a checksum, which has one copy, has one now. */
static void sum_found(struct space *s, uint32_t slot, uint64_t checksum)
{
	uint32_t l = level_of(s, slot);

	ckv_record_sum(record_of(s, slot, l), s->fingerprint, copy_of(s, slot, l)->place,
		       checksum);
	table_set_sum(s, slot, checksum);
	gauge_sub(&s->stats->unsummed, 1);
	ckv_count(&s->stats->summed, 1);
}

void space_move_done(struct space *s, uint32_t id, int result, uint64_t checksum)
{
	struct move *m = &s->moves[id];
	struct ckv_block block;
	int r;

	assert(id < s->config.n_moves_max && m->state == MOVE_UNDER_WAY);
	block_load(s, m->slot, &block);
	if (result == 0 && !m->cancelled && !(block.flags & CKV_ENTRY_SUMMED))
		sum_found(s, m->slot, checksum);
	r = result < 0 ? result : may_commit(s, m);
	if (r > 0) {
		commit(s, m);
	} else if (r < 0) {
		end(s, m, false);
	} else {
		m->state = MOVE_LANDED;
		s->n_landed++;
	}
	moves_landed(s);
}
