/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.c - see core.h.
 */
#include "tests/lib/core.h"

#include "daemon/core/state.h"

#include <assert.h>
#include <stdlib.h>

enum { SLAB_PAGES = 8 };

uint64_t core_epoch;

struct ckv_pool_shape core_pool(uint32_t n_pages, uint32_t n_views)
{
	uint32_t block_slabs = (n_pages + SLAB_PAGES - 1) / SLAB_PAGES;
	uint32_t view_slabs = (n_views + SLAB_PAGES - 1) / SLAB_PAGES;

	return (struct ckv_pool_shape){
		.page_bytes = 4096,
		.slab_stride = CKV_HUGE_BYTES,
		.slab_pages = SLAB_PAGES,
		.n_slabs = block_slabs + view_slabs,
		.n_block_pages = n_pages,
		.first_view_page = block_slabs * SLAB_PAGES,
		.n_view_pages = n_views,
	};
}

struct space_config core_config(uint32_t n_pages, uint32_t n_views)
{
	struct space_config config = {
		.geometry = { .block_tokens = CORE_TOKENS },
		.epoch = CORE_EPOCH,
		.seed = { 11, 22, 33, 44 },
		.n_levels = 1,
		.level = { {
			.number = CKV_LEVEL_HOST, .n_places = n_pages,
			.n_places_max = n_pages, .n_lent_max = n_pages,
			.policy = &policy_lru, .pool = core_pool(n_pages, n_views),
		} },
		.n_lanes_max = CORE_LANES,
		.n_clients_max = CORE_LANES,
		.n_users_max = CORE_LANES,
		.n_tips_max = CORE_TIPS, .n_awaits_max = CORE_AWAITS,
	};

	config.n_buckets = space_buckets(&config.level[0].pool);
	return config;
}

static size_t records_bytes(const struct core *core, uint32_t level)
{
	return ckv_records_bytes(&core->config.level[level].pool);
}

static size_t all_records_bytes(const struct core *core)
{
	size_t n = 0;

	for (uint32_t l = 0; l < core->config.n_levels; l++)
		n += records_bytes(core, l);
	return n;
}

/* What each daemon makes anew. */
static void begin(struct core *core)
{
	const struct space_config *config = &core->config;
	int r;

	core->memory.index = calloc(1, ckv_index_bytes(config->n_buckets));
	core->memory.stats = calloc(1, CKV_SPACE_STATS_BYTES);
	assert(core->memory.index && core->memory.stats);
	r = space_create(config, &core->memory, &core->space);
	assert(r == 0);
	space_set_fingerprint(core->space, core->fingerprint);
	core->index.buckets = (void *)((char *)core->memory.index +
				       CKV_INDEX_HEAD_BYTES);
	core->index.n_buckets = config->n_buckets;
	memcpy(core->index.seed, config->seed, sizeof core->index.seed);
	core_epoch = config->epoch;
	ckv_world_raise_epoch(&core->world, core_epoch);
	ckv_world_set_life(&core->world, 1);
}

void core_open(struct core *core, const struct space_config *config)
{
	size_t bytes = ckv_round_up(space_node_bytes(config), CKV_LINE);

	memset(core, 0, sizeof *core);
	core->config = *config;
	core->fingerprint = 0x1234;
	for (uint32_t l = 0; l < config->n_levels; l++) {
		core->memory.records[l] = calloc(1, records_bytes(core, l) + 1);
		assert(core->memory.records[l]);
	}
	core->memory.nodes = aligned_alloc(CKV_LINE, bytes);
	assert(core->memory.nodes);
	memset(core->memory.nodes, 0, bytes);
	begin(core);
}

static void end(struct core *core)
{
	space_destroy(core->space);
	free(core->memory.index);
	free(core->memory.stats);
}

static int lane_enter(struct core *core, int i)
{
	struct core_lane *lane = &core->lane[i];
	struct space_lane_memory memory = {
		.pins = lane->pins,
		.pin_high = &lane->pin_high,
		.touches = lane->touches,
		.touch_tail = &lane->touch_tail,
		.n_pins = CORE_PINS,
		.n_touches = CORE_TOUCHES,
		.user = (uint32_t)i / 2,	/* two clients each */
		.serial = lane->serial,
	};

	return space_lane_open(core->space, (uint32_t)i, &memory);
}

struct space_adopted core_again(struct core *core, uint32_t alive)
{
	struct space_adopted adopted;

	end(core);
	core->memory.nodes_kept = true;
	core->config.epoch++;
	begin(core);
	for (int i = 0; i < CORE_LANES; i++) {
		if (!(alive >> i & 1))
			continue;
		core->lane[i].number = lane_enter(core, i);
		space_lane_shut(core->space, core->lane[i].number);
	}
	space_set_auto(core->space, core->automatic, false);
	space_adopt(core->space, &adopted);
	return adopted;
}

void core_close(struct core *core)
{
	end(core);
	for (uint32_t l = 0; l < core->config.n_levels; l++)
		free(core->memory.records[l]);
	free(core->memory.nodes);
}

int core_lane_open(struct core *core, int i)
{
	memset(&core->lane[i], 0, sizeof core->lane[i]);
	core->lane[i].serial = ++core->serial;
	core->lane[i].number = lane_enter(core, i);
	return core->lane[i].number;
}

struct ckv_key core_key(uint32_t i)
{
	struct ckv_key key = { { 0 } };
	uint64_t x = i;

	for (int w = 0; i != 0 && w < 4; w++) {
		x = (x + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
		x ^= x >> 29;
		memcpy(&key.byte[8 * w], &x, 8);
	}
	return key;
}

bool core_find(const struct core *core, uint32_t i, uint32_t *ret_slot,
	       struct ckv_block *ret_block)
{
	struct ckv_key key = core_key(i);
	struct ckv_place place = ckv_index_place(&core->index, &key);

	return ckv_index_find(&core->index, &place, &key, ret_slot, ret_block);
}

bool core_has(const struct core *core, uint32_t i)
{
	struct ckv_block block;
	uint32_t slot;

	return core_find(core, i, &slot, &block);
}

bool core_pin(struct core *core, int l, uint32_t w, uint32_t i)
{
	struct core_lane *lane = &core->lane[l];
	struct ckv_block block;
	uint32_t slot;

	if (!core_find(core, i, &slot, &block))
		return false;
	if (ckv_hint_load32(&lane->pin_high) <= w)
		ckv_hint_store32(&lane->pin_high, w + 1);
	ckv_pin_set(&lane->pins[w], slot, block.generation);
	if (ckv_pin_confirm(ckv_index_entry(&core->index, slot),
			    block.generation, &core->world, core_epoch))
		return true;
	ckv_pin_drop(&lane->pins[w]);
	return false;
}

void core_unpin(struct core *core, int l, uint32_t w)
{
	ckv_pin_drop(&core->lane[l].pins[w]);
}

void core_touch(struct core *core, int l, uint32_t i)
{
	struct core_lane *lane = &core->lane[l];
	struct ckv_block block;
	uint32_t slot;

	if (core_find(core, i, &slot, &block))
		ckv_touch_put(lane->touches, CORE_TOUCHES, &lane->touch_tail,
			      slot);
}

int core_reserve_list_at(struct core *core, int lane, uint32_t level, uint32_t parent,
			 uint32_t i, uint32_t n, struct ckv_lent *ret_lent)
{
	struct ckv_key up = core_key(parent), keys[CORE_LIST];

	assert(n <= CORE_LIST);
	for (uint32_t k = 0; k < n; k++)
		keys[k] = core_key(i + k);
	return space_reserve(core->space, lane, level, &up, keys, n, ret_lent);
}

int core_reserve_list(struct core *core, int lane, uint32_t parent, uint32_t i, uint32_t n,
		      struct ckv_lent *ret_lent)
{
	return core_reserve_list_at(core, lane, 0, parent, i, n, ret_lent);
}

int core_reserve_at(struct core *core, int lane, uint32_t level, uint32_t parent,
		    uint32_t i, struct ckv_lent *ret_lent)
{
	int r = core_reserve_list_at(core, lane, level, parent, i, 1, ret_lent);

	assert(r == (ret_lent->status == 0));
	return ret_lent->status;
}

int core_reserve(struct core *core, int lane, uint32_t parent, uint32_t i,
		 struct ckv_lent *ret_lent)
{
	return core_reserve_at(core, lane, 0, parent, i, ret_lent);
}

struct ckv_page_name core_name(const struct ckv_lent *lent)
{
	return (struct ckv_page_name){
		.page = lent->page, .lending = lent->lending, .epoch = core_epoch,
		.level = lent->level };
}

struct ckv_page_name core_last_name(const struct core *core, uint32_t page)
{
	uint32_t n_pages = core->config.level[0].pool.n_block_pages;

	return (struct ckv_page_name){
		.page = page, .epoch = core_epoch, .level = core->config.level[0].number,
		.lending = page < n_pages ? page_of(core->space, 0, page)->lending : 1 };
}

int core_abort(struct core *core, int lane, const struct ckv_lent *lent)
{
	struct ckv_page_name name = core_name(lent);
	int32_t status = 0;
	int r = space_abort(core->space, lane, &name, 1, &status);

	return r < 0 ? r : status;
}

int core_publish(struct core *core, int lane, const struct ckv_lent *lent)
{
	struct ckv_publish_item item = {
		.name = core_name(lent),
		.n_tokens = CORE_TOKENS,
		.flags = CKV_ENTRY_SUMMED,
		.checksum = 99,
	};
	int32_t status = 0;
	int r = space_publish(core->space, lane, &item, 1, &status);

	return r < 0 ? r : status;
}

int core_put(struct core *core, int lane, uint32_t parent, uint32_t i)
{
	struct ckv_lent lent;
	int r = core_reserve(core, lane, parent, i, &lent);

	return r < 0 ? r : core_publish(core, lane, &lent);
}

int core_drop(struct core *core, uint32_t i)
{
	struct ckv_key key = core_key(i);
	int32_t status = 0;
	int r = space_drop(core->space, &key, 1, &status);

	return r < 0 ? r : status;
}

uint32_t core_copy(const struct core *core, uint32_t slot, uint32_t level)
{
	return copy_there(core->space, slot, level) ?
	       copy_of(core->space, slot, level)->place : CKV_NONE;
}

uint32_t core_place(const struct core *core, uint32_t slot, uint32_t level)
{
	return copy_of(core->space, slot, level)->place;
}

uint32_t core_move(const struct core *core, uint32_t slot)
{
	return node_of(core->space, slot)->move;
}

uint32_t core_generation(const struct core *core, uint32_t slot)
{
	return table_generation(core->space, slot);
}

uint32_t core_free(const struct core *core, uint32_t level)
{
	return core->space->levels[level].n_free;
}

uint32_t core_unsaved(const struct core *core, uint32_t level)
{
	return core->space->levels[level].n_unsaved;
}

void core_search(struct core *core, uint32_t level)
{
	struct level *l = &core->space->levels[level];

	l->blocks.search.wanted = l->n_free + 1;
	space_step(core->space);
}

bool core_is_blind(const struct core *core)
{
	return core->space->n_blind > 0;
}

bool core_is_read(const struct core *core, uint32_t level)
{
	return level_has_pages(core->space, level);
}

/* The parts that a snapshot has, one after the other; `copy` is where it is or goes. */
static bool each_part(const struct core *core, char *copy, bool compare)
{
	struct { const void *at; size_t bytes; } part[2 + SPACE_LEVELS_MAX] = {
		{ core->memory.index, ckv_index_bytes(core->config.n_buckets) },
		{ core->memory.stats, CKV_SPACE_STATS_BYTES },
	};

	for (uint32_t l = 0; l < core->config.n_levels; l++) {
		part[2 + l].at = core->memory.records[l];
		part[2 + l].bytes = records_bytes(core, l);
	}
	for (uint32_t i = 0; i < 2 + core->config.n_levels; i++) {
		if (compare && memcmp(copy, part[i].at, part[i].bytes) != 0)
			return false;
		if (!compare)
			memcpy(copy, part[i].at, part[i].bytes);
		copy += part[i].bytes;
	}
	return true;
}

void *core_snapshot(const struct core *core)
{
	char *copy = malloc(ckv_index_bytes(core->config.n_buckets) +
			    all_records_bytes(core) + CKV_SPACE_STATS_BYTES);

	assert(copy != NULL);
	(void)each_part(core, copy, false);
	return copy;
}

bool core_same(const struct core *core, const void *snapshot)
{
	return each_part(core, (void *)(uintptr_t)snapshot, true);
}
