/* SPDX-License-Identifier: Apache-2.0 */
/*
 * served.c - make a space's memory and its core, and take them down.
 */
#include "daemon/shell/served.h"
#include "daemon/shell/auto.h"
#include "daemon/shell/log.h"
#include "daemon/shell/placement.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"
#include "daemon/shell/weights.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#define LOGGED_NS	10000000000u

struct progress {
	const struct served_space *served;
	uint64_t began_ns, logged_ns;
};

/* For a terminal as it goes, for a log seldom: a large pool takes minutes. */
static void say_progress(void *context, uint64_t touched_bytes,
			 uint64_t total_bytes)
{
	struct progress *p = context;
	const char *name = p->served->config->name;
	uint64_t now = sys_now_ns(), done = touched_bytes >> 20;

	if (log_progress(now - p->began_ns, "space %s: %" PRIu64 " of %" PRIu64
			 " MiB ready", name, done, total_bytes >> 20) ||
	    now - p->logged_ns < LOGGED_NS)
		return;
	p->logged_ns = now;
	log_line(LOG_INFO, "space %s: %" PRIu64 " of %" PRIu64 " MiB ready", name,
		 done, total_bytes >> 20);
}

static void say_pages(const struct daemon_params *p, const struct served_space *served)
{
	const struct ckv_pool_shape *shape = &served->pool.shape;
	uint64_t bytes = ckv_pool_bytes(shape);
	uint64_t whole = shape->n_slabs * (ckv_slab_bytes(shape) /
			 CKV_HUGE_BYTES * CKV_HUGE_BYTES);

	if (p->huge_pages && served->pool.huge_bytes < whole)
		log_line(LOG_WARNING, "space %s: %" PRIu64 " of %" PRIu64 " MiB "
			 "are in 2 MiB pages; the rest costs more TLB misses "
			 "and more time when a client dies", served->config->name,
			 served->pool.huge_bytes >> 20, bytes >> 20);
	else
		log_line(LOG_INFO, "space %s: %" PRIu64 " MiB in %s pages",
			 served->config->name, bytes >> 20,
			 p->huge_pages ? "2 MiB" : "4 KiB");
}

void served_core_config(const struct config_space *c, const struct daemon_params *p,
		      struct space_config *ret_config)
{
	*ret_config = (struct space_config){
		.geometry = c->geometry, .pool = c->pool,
		.n_buckets = space_buckets(&c->pool),
		.n_lanes_max = (uint32_t)p->max_lanes,
		.n_clients_max = (uint32_t)p->max_clients,
		.n_tips_max = (uint32_t)p->max_auto_jobs,
		.n_awaits_max = (uint32_t)p->max_prefetches,
		.n_lent_max = (uint32_t)c->params.lent_pages,
		.n_users_max = users_max(p),
		.n_user_lent_max = user_lent_max(c),
		.n_levels = 1,
		.level = { {
			.number = CKV_LEVEL_HOST,
			.n_places = c->pool.n_block_pages,
			.n_places_max = c->n_pages_max, .policy = c->policy,
		} },
	};
}

/* What is read at random costs a TLB miss less in 2 MiB pages. */
static void make_huge(void *base, size_t bytes)
{
	(void)sys_advise(base, bytes, MADV_HUGEPAGE);
	if (sys_advise(base, bytes, MADV_POPULATE_WRITE) == 0)
		memory_collapse(base, bytes);
}

static int create_nodes(struct served_space *served, const struct daemon_params *p,
			struct placement *placement, size_t bytes)
{
	int r = sys_map_private(bytes, PROT_READ | PROT_WRITE, &served->nodes);

	if (r < 0)
		return r;
	served->node_bytes = bytes;
	placement_bind(placement, served->nodes, bytes);
	if (p->huge_pages)
		make_huge(served->nodes, bytes);
	return 0;
}

static int create_core(struct served_space *served, const struct daemon_params *p,
		       struct placement *placement, uint64_t epoch,
		       struct space_pace *pace)
{
	struct space_config config;
	struct space_memory memory = {
		.index = served->index.base, .records = served->records.base,
		.stats = served->stats,
	};
	int r;

	served_core_config(served->config, p, &config);
	r = create_nodes(served, p, placement, space_node_bytes(&config));
	if (r < 0)
		return r;
	memory.nodes = served->nodes;
	config.epoch = epoch;
	config.pace = pace;
	r = sys_random(config.seed, sizeof config.seed);
	if (r >= 0)
		r = space_create(&config, &memory, &served->core);
	if (r == 0) {
		weights_init(served);
		auto_configure(served);
	}
	return r;
}

static int create_memory(struct served_space *served, const struct daemon_params *p,
			 const struct pool_options *options)
{
	const struct ckv_pool_shape *shape = &served->config->pool;
	int r;

	r = memory_create("ckv-index", ckv_index_bytes(space_buckets(shape)),
			  MEMORY_OURS, NULL, 0, &served->index);
	if (r < 0)
		return r;
	placement_bind(options->bind_context, served->index.base,
		       served->index.bytes);
	if (p->huge_pages) {
		make_huge(served->index.base, served->index.bytes);
		if (memory_huge_bytes(served->index.base, served->index.bytes,
				      &served->index_huge_bytes) < 0)
			served->index_huge_bytes = 0;
	}
	r = memory_create("ckv-records", ckv_records_bytes(shape),
			  MEMORY_PRIVATE, NULL, 0, &served->records);
	if (r < 0)
		return r;
	r = memory_create("ckv-space-stats", CKV_SPACE_STATS_BYTES, MEMORY_OURS,
			  NULL, 0, &served->stats_memory);
	if (r < 0)
		return r;
	served->stats = served->stats_memory.base;
	return pool_create(shape, options, &served->pool);
}

int served_create(struct config_space *config, const struct daemon_params *p,
		struct placement *placement, uint64_t epoch,
		struct space_pace *pace, struct served_space *served)
{
	uint64_t now = sys_now_ns();
	struct progress progress = { served, now, now };
	struct pool_options options = {
		.huge_pages = p->huge_pages, .n_threads = config_touch_threads(p),
		.progress = say_progress, .context = &progress,
		.bind = placement_bind, .bind_context = placement,
	};
	int r;

	*served = (struct served_space){ .config = config };
	r = create_memory(served, p, &options);
	log_progress_end();
	if (r == 0)
		r = create_core(served, p, placement, epoch, pace);
	if (r < 0) {
		log_line(LOG_ERROR, "space %s: it cannot be set up: %s",
			 config->name, strerror(-r));
		served_destroy(served);
		return r;
	}
	say_pages(p, served);
	return 0;
}

void served_destroy(struct served_space *served)
{
	space_destroy(served->core);
	if (served->nodes != NULL)
		sys_unmap(served->nodes, served->node_bytes);
	pool_destroy(&served->pool);
	memory_destroy(&served->stats_memory);
	memory_destroy(&served->records);
	memory_destroy(&served->index);
	*served = (struct served_space){ .config = served->config };
}
