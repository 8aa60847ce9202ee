/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.c - allocate a space, and count what keeps each block from being evicted.
 *
 * All of the core's memory is allocated here, once, by the sizes in the configuration.
 */
#include "daemon/core/state.h"

#include <stdlib.h>

uint32_t space_buckets_for(uint64_t n_places)
{
	/* 28 entries at 80 %: n / 22.4. */
	uint64_t n = (n_places * 10 + 223) / 224;

	return n < 2 ? 2 : (uint32_t)n;
}

uint32_t space_buckets(const struct ckv_pool_shape *pool)
{
	return space_buckets_for((uint64_t)pool->n_block_pages +
				 pool->n_view_pages);
}

static uint32_t name_heads(const struct ckv_pool_shape *pool)
{
	uint32_t n = 1;

	while (n < pool->n_view_pages && n < 1u << 20)
		n *= 2;
	return n;
}

static uint32_t awaiting(const struct space_config *config)
{
	uint32_t n = 1;

	while (n < config->n_awaits_max)
		n *= 2;
	return n;
}

static size_t bit_words(size_t n)
{
	return (n + 63) / 64;
}

static bool has_pages(const struct space_level *level)
{
	return level->pool.slab_pages > 0;
}

/* `views`: it may have view pages. */
static bool pool_ok(const struct space_level *level, bool views)
{
	const struct ckv_pool_shape *p = &level->pool;
	uint64_t n_pages = (uint64_t)p->slab_pages * p->n_slabs;

	return n_pages < CKV_NONE && level->n_places <= p->first_view_page &&
	       p->first_view_page % p->slab_pages == 0 &&
	       (views || p->n_view_pages == 0) &&
	       (uint64_t)p->first_view_page + p->n_view_pages <= n_pages;
}

/* Those of all levels of pages. */
static uint64_t n_sheets(const struct space_config *c)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < c->n_levels; i++)
		n += has_pages(&c->level[i]) ? c->level[i].n_places : 0;
	return n;
}

/* Nearest first; the work level has pages. */
static bool levels_ok(const struct space_config *c)
{
	if (c->n_levels == 0 || c->n_levels > SPACE_LEVELS_MAX ||
	    c->work_level >= c->n_levels || !has_pages(&c->level[c->work_level]))
		return false;
	for (uint32_t i = 0; i < c->n_levels; i++)
		if (c->level[i].n_places == 0 || c->level[i].policy == NULL ||
		    (has_pages(&c->level[i]) &&
		     !pool_ok(&c->level[i], i == c->work_level)) ||
		    (i > 0 && c->level[i].number >= c->level[i - 1].number))
			return false;
	return n_sheets(c) < CKV_NONE;
}

static bool config_ok(const struct space_config *c)
{
	return levels_ok(c) &&
	       c->n_buckets >= 2 &&
	       c->n_buckets < CKV_NONE / CKV_BUCKET_ENTRIES &&
	       c->n_lanes_max > 0 && c->n_lanes_max <= LANES_LIMIT &&
	       c->n_clients_max > 0 && c->n_tips_max < TIPS_LIMIT &&
	       c->n_awaits_max <= AWAITS_LIMIT && c->n_moves_max <= MOVES_LIMIT &&
	       c->geometry.block_tokens > 0 && c->geometry.block_tokens <= 65535;
}

static size_t node_bytes(const struct space_config *c)
{
	return sizeof(struct node) + c->n_levels * sizeof(struct copy);
}

size_t space_node_bytes(const struct space_config *c)
{
	return (size_t)c->n_buckets * CKV_BUCKET_ENTRIES * node_bytes(c);
}

static size_t levels_bytes(const struct space_config *c)
{
	size_t n_slots = (size_t)c->n_buckets * CKV_BUCKET_ENTRIES;
	/* The rings of what is unsaved at each level but the farthest, and of what is wanted. */
	size_t bytes = (c->n_levels > 1 ? c->n_levels : 0) * n_slots * sizeof(uint32_t);

	for (uint32_t i = 0; i < c->n_levels; i++) {
		const struct space_level *level = &c->level[i];

		bytes += sizeof(struct level) + level->policy->private_bytes();
		bytes += has_pages(level) ? level->n_places * sizeof(struct page) +
			 (c->n_clients_max + c->n_users_max) * sizeof(uint32_t) :
			 level->n_places * sizeof(uint32_t);
	}
	return bytes;
}

size_t space_private_bytes(const struct space_config *config)
{
	const struct ckv_pool_shape *p = &config->level[config->work_level].pool;
	size_t n_slots = (size_t)config->n_buckets * CKV_BUCKET_ENTRIES;

	return sizeof(struct space) +
	       n_slots * (node_bytes(config) + sizeof(struct witness) +
			  sizeof(uint16_t) + 2 * sizeof(uint32_t)) +
	       bit_words(n_slots) * 8 + levels_bytes(config) +
	       config->n_tips_max * sizeof(struct tip) +
	       config->n_moves_max * sizeof(struct move) +
	       config->n_events_max * sizeof(struct space_event) +
	       awaiting(config) * sizeof(struct space_task *) +
	       config->n_lanes_max * (sizeof(struct space_lane) + sizeof(uint32_t)) +
	       bit_words(p->n_view_pages) * 8 +
	       p->n_view_pages * sizeof(struct view_links) +
	       name_heads(p) * sizeof(uint32_t) +
	       policy_lru.private_bytes();
}

/* Zeroed memory from the start of a line. */
static void *lines(size_t bytes)
{
	void *p = aligned_alloc(CKV_LINE, (bytes + CKV_LINE - 1) /
				CKV_LINE * CKV_LINE);

	if (p != NULL)
		memset(p, 0, bytes);
	return p;
}

static int candidates_create(struct space *s, struct candidates *c, uint32_t level,
			     const struct policy_ops *ops)
{
	c->ops = ops;
	queue_init(&c->parked);
	c->copies = (struct copies){
		s->nodes + offsetof(struct node, copy[level]), s->node_bytes,
	};
	return ops->create(c->copies, &c->policy);
}

/* What moves need; the farthest level has nowhere to save blocks to. */
static int moves_allocate(struct space *s)
{
	const struct space_config *c = &s->config;

	s->moves = calloc(c->n_moves_max + 1, sizeof *s->moves);
	s->events = calloc(c->n_events_max + 1, sizeof *s->events);
	if (s->moves == NULL || s->events == NULL)
		return -ENOMEM;
	if (c->n_levels == 1)
		return 0;
	s->wanted = calloc(s->n_slots, sizeof *s->wanted);
	if (s->wanted == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i + 1 < c->n_levels; i++) {
		s->levels[i].unsaved = calloc(s->n_slots, sizeof(uint32_t));
		if (s->levels[i].unsaved == NULL)
			return -ENOMEM;
	}
	return 0;
}

/* A page has a struct that says how it is lent; of another place only a number is kept. */
static int places_allocate(struct space *s, struct level *level, uint32_t *n_sheets_before)
{
	size_t n = level->config.n_places;

	if (!has_pages(&level->config)) {
		level->free_places = calloc(n, sizeof *level->free_places);
		return level->free_places != NULL ? 0 : -ENOMEM;
	}
	level->first_sheet = *n_sheets_before;
	level->pages = s->pages + level->first_sheet;
	*n_sheets_before += level->config.n_places;
	level->client_lent = calloc(s->config.n_clients_max, sizeof(uint32_t));
	level->user_lent = calloc(s->config.n_users_max + 1, sizeof(uint32_t));
	return level->client_lent != NULL && level->user_lent != NULL ? 0 : -ENOMEM;
}

static int levels_allocate(struct space *s)
{
	uint32_t n = 0;
	int r = candidates_create(s, &s->views, s->config.work_level, &policy_lru);

	s->levels = calloc(s->config.n_levels, sizeof *s->levels);
	s->pages = calloc(n_sheets(&s->config), sizeof *s->pages);
	if (s->levels == NULL || s->pages == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->config.n_levels && r == 0; i++) {
		struct level *level = &s->levels[i];

		level->config = s->config.level[i];
		if (places_allocate(s, level, &n) < 0)
			return -ENOMEM;
		r = candidates_create(s, &level->blocks, i, level->config.policy);
	}
	return r;
}

static int space_allocate(struct space *s, void *nodes)
{
	const struct space_config *c = &s->config;
	const struct ckv_pool_shape *p = &c->level[c->work_level].pool;

	s->nodes = nodes != NULL ? nodes : lines(space_node_bytes(c));
	s->witnesses = calloc(s->n_slots, sizeof *s->witnesses);
	s->judged = calloc(bit_words(s->n_slots), 8);
	s->reserved_tags = calloc(s->n_slots, sizeof *s->reserved_tags);
	s->sums = calloc(2 * (size_t)s->n_slots, sizeof *s->sums);
	s->queued_tips = s->sums + s->n_slots;
	s->tips = calloc(c->n_tips_max + 1, sizeof *s->tips);
	s->n_awaiting = awaiting(c);
	s->awaiting = calloc(s->n_awaiting, sizeof *s->awaiting);
	s->lanes = calloc(c->n_lanes_max, sizeof *s->lanes);
	s->open_lanes = calloc(c->n_lanes_max, sizeof *s->open_lanes);
	s->view_used = calloc(bit_words(p->n_view_pages) + 1, 8);
	s->runs = calloc(p->n_view_pages + 1, sizeof *s->runs);
	s->n_names = name_heads(p);
	s->names = malloc(s->n_names * sizeof *s->names);
	if (!s->nodes || !s->witnesses || !s->judged ||
	    !s->reserved_tags || !s->sums || !s->tips ||
	    !s->awaiting || !s->lanes || !s->open_lanes || !s->view_used ||
	    !s->runs || !s->names)
		return -ENOMEM;
	return levels_allocate(s) < 0 ? -ENOMEM : moves_allocate(s);
}

static void level_start(struct level *level)
{
	level->free_head = CKV_NONE;
	queue_init(&level->tied);
	queue_init(&level->stale);
	for (uint32_t i = level->config.n_places; i-- > 0; ) {
		if (level->pages != NULL)
			level->pages[i].lane = level->pages[i].last_lane = NO_LANE;
		place_push(level, i);
	}
}

/* Of an earlier daemon's nodes only what says how a block was used stays. */
static void node_start(struct space *s, uint32_t slot)
{
	struct node *node = node_of(s, slot);

	*node = (struct node){ .mark = node->mark & (NODE_DONE | NODE_LOST) };
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		node->copy[l] = (struct copy){
			.stamp = node->copy[l].stamp,
			.heat = node->copy[l].heat != 0, .place = CKV_NONE,
		};
}

static void levels_start(struct space *s, struct ckv_record *const *records)
{
	uint32_t n_pages = (uint32_t)n_sheets(&s->config);

	for (uint32_t i = 0; i < s->config.n_levels; i++) {
		struct level *level = &s->levels[i];

		level_start(level);
		if (!has_pages(&level->config))
			continue;
		assert(records[i] != NULL);
		level->records = records[i];
	}
	ckv_hint_store64(&s->stats->pages_total, n_pages);
	ckv_hint_store64(&s->stats->pages_free, n_pages);
	s->view_rows = ckv_view_rows(work_level(s)->records, work_pool(s));
	ckv_hint_store64(&s->stats->view_pages_total, work_pool(s)->n_view_pages);
}

static void space_start(struct space *s, const struct space_memory *memory)
{
	struct ckv_index_head *head = memory->index;

	s->index.buckets = (void *)((char *)memory->index + CKV_INDEX_HEAD_BYTES);
	s->index.n_buckets = s->config.n_buckets;
	memcpy(s->index.seed, s->config.seed, sizeof s->index.seed);
	head->layout_version = CKV_LAYOUT_VERSION;
	head->n_buckets = s->config.n_buckets;
	memcpy(head->seed, s->config.seed, sizeof head->seed);
	head->magic = CKV_INDEX_MAGIC;

	memset(s->names, 0xff, s->n_names * sizeof *s->names);
	s->ready_end = &s->ready_head;
	s->free_move = CKV_NONE;
	for (uint32_t i = s->config.n_moves_max; i-- > 0; ) {
		s->moves[i].slot = s->free_move;
		s->free_move = i;
	}
	queue_init(&s->written);
	s->unused_lane = CKV_NONE;
	for (uint32_t i = s->config.n_lanes_max; i-- > 0; ) {
		s->lanes[i].place = s->unused_lane;
		s->unused_lane = i;
	}
	for (uint32_t i = 0; i < s->n_slots; i++)
		node_start(s, i);
	levels_start(s, memory->records);
}

int space_create(const struct space_config *config,
		 const struct space_memory *memory, struct space **ret_space)
{
	struct space *s;
	int r;

	if (!config_ok(config))
		return -EINVAL;
	s = calloc(1, sizeof *s);
	if (s == NULL)
		return -ENOMEM;
	s->config = *config;
	s->n_slots = config->n_buckets * CKV_BUCKET_ENTRIES;
	s->node_bytes = node_bytes(config);
	s->stats = memory->stats;
	s->pace = config->pace ? config->pace : &s->own_pace;
	s->own_nodes = memory->nodes == NULL;
	r = space_allocate(s, memory->nodes);
	if (r < 0) {
		space_destroy(s);
		return r;
	}
	space_start(s, memory);
	*ret_space = s;
	return 0;
}

static void candidates_destroy(struct candidates *c)
{
	if (c->policy != NULL)
		c->ops->destroy(c->policy);
}

void space_destroy(struct space *s)
{
	if (s == NULL)
		return;
	for (uint32_t i = 0; s->levels != NULL && i < s->config.n_levels; i++) {
		candidates_destroy(&s->levels[i].blocks);
		free(s->levels[i].client_lent);
		free(s->levels[i].user_lent);
		free(s->levels[i].free_places);
		free(s->levels[i].unsaved);
	}
	candidates_destroy(&s->views);
	free(s->levels);
	free(s->pages);
	free(s->moves);
	free(s->wanted);
	free(s->events);
	free(s->names);
	free(s->runs);
	free(s->view_used);
	free(s->open_lanes);
	free(s->lanes);
	free(s->awaiting);
	free(s->tips);
	free(s->sums);
	free(s->reserved_tags);
	free(s->judged);
	free(s->witnesses);
	if (s->own_nodes)
		free(s->nodes);
	free(s);
}

void space_set_limits(struct space *s, uint32_t level, uint32_t n_lent_max,
		      uint32_t n_pages_max)
{
	assert(level < s->config.n_levels);
	s->levels[level].config.n_lent_max = n_lent_max;
	s->levels[level].config.n_places_max = n_pages_max;
}

void space_set_user_limit(struct space *s, uint32_t level, uint32_t n_user_lent_max)
{
	assert(level < s->config.n_levels);
	s->levels[level].config.n_user_lent_max = n_user_lent_max;
}

void space_set_fingerprint(struct space *s, uint64_t fingerprint)
{
	assert(space_is_empty(s));
	s->fingerprint = fingerprint;
}

int space_level_find(const struct space *s, uint32_t number)
{
	uint32_t level = level_numbered(s, number);

	return level < s->config.n_levels ? (int)level : -ENODEV;
}

bool space_is_empty(const struct space *s)
{
	uint32_t n_used = 0;

	for (uint32_t i = 0; i < s->config.n_levels; i++)
		n_used += level_n_used(&s->levels[i]);
	return n_used == 0 &&
	       ckv_hint_load64(&s->stats->view_pages_used) == 0;
}
