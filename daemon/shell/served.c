/* SPDX-License-Identifier: Apache-2.0 */
/*
 * served.c - make a space's memory and its core, and take them down.
 */
#include "daemon/shell/served.h"
#include "daemon/shell/adopt.h"
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
		.geometry = c->geometry,
		.n_buckets = space_buckets(&c->pool),
		.n_lanes_max = (uint32_t)p->max_lanes,
		.n_clients_max = (uint32_t)p->max_clients,
		.n_tips_max = (uint32_t)p->max_auto_jobs,
		.n_awaits_max = (uint32_t)p->max_prefetches,
		.n_users_max = users_max(p),
		.n_levels = 1, .work_level = SERVED_HOST,
		.level = { [SERVED_HOST] = {
			.number = CKV_LEVEL_HOST, .pool = c->pool,
			.n_lent_max = (uint32_t)c->params.lent_pages,
			.n_user_lent_max = user_lent_max(c),
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

static int create_nodes(struct served_space *served, const struct served_start *start,
			size_t bytes)
{
	int r = start->adopt ? adopt_nodes(start->adopt, bytes, &served->nodes) : -ENOENT;

	served->nodes_kept = r == 0;
	if (r != -ENOENT)
		return r;
	r = memory_create("ckv-nodes", bytes, MEMORY_KEPT, NULL, 0, &served->nodes);

	if (r < 0)
		return r;
	placement_bind(start->placement, served->nodes.base, bytes);
	if (start->params->huge_pages)
		make_huge(served->nodes.base, bytes);
	return 0;
}

static int create_core(struct served_space *served, const struct served_start *start)
{
	const struct adopt_space *old = start->adopt;
	struct space_config config;
	struct space_memory memory = {
		.index = served->index.base,
		.records = { [SERVED_HOST] = served->records.base },
		.stats = served->stats,
	};
	int r;

	served_core_config(served->config, start->params, &config);
	config.n_lanes_max += start->n_old_lanes;
	config.n_clients_max += start->n_old_clients;
	config.n_users_max += start->n_old_clients;
	r = create_nodes(served, start, space_node_bytes(&config));
	if (r < 0)
		return r;
	memory.nodes = served->nodes.base;
	memory.nodes_kept = served->nodes_kept;
	config.epoch = start->epoch;
	config.pace = &served->pace;
	if (old != NULL)
		memcpy(config.seed, old->ledger->seed, sizeof config.seed);
	else
		r = sys_random(config.seed, sizeof config.seed);
	if (r < 0)
		return r;
	memcpy(served->seed, config.seed, sizeof served->seed);
	r = space_create(&config, &memory, &served->core);
	if (r == 0) {
		weights_init(served, old ? &old->ledger->geometry : NULL,
			     old && old->ledger->weights_known != 0);
		auto_configure(served);
	}
	return r;
}

static int create_index(struct served_space *served, const struct served_start *start)
{
	uint32_t n_buckets = space_buckets(&served->config->pool);
	int r = memory_create("ckv-index", ckv_index_bytes(n_buckets), MEMORY_OURS,
			      NULL, 0, &served->index);

	if (r < 0)
		return r;
	placement_bind(start->placement, served->index.base, served->index.bytes);
	if (!start->params->huge_pages)
		return 0;
	make_huge(served->index.base, served->index.bytes);
	if (memory_huge_bytes(served->index.base, served->index.bytes,
			      &served->index_huge_bytes) < 0)
		served->index_huge_bytes = 0;
	return 0;
}

static int create_memory(struct served_space *served, const struct served_start *start,
			 struct pool_options *options)
{
	const struct ckv_pool_shape *shape = &served->config->pool;
	int r = create_index(served, start);

	if (r < 0)
		return r;
	r = start->adopt ? adopt_records(start->adopt, &served->records) :
	    memory_create("ckv-records", ckv_records_bytes(shape), MEMORY_KEPT, NULL, 0,
			  &served->records);
	if (r < 0)
		return r;
	r = memory_create("ckv-space-stats", CKV_SPACE_STATS_BYTES, MEMORY_OURS,
			  NULL, 0, &served->stats_memory);
	if (r < 0)
		return r;
	served->stats = served->stats_memory.base;
	return start->adopt ? adopt_pool(start->adopt, options, &served->pool) :
	       pool_create(shape, options, &served->pool);
}

int served_create(struct config_space *config, const struct served_start *start,
		  struct served_space *served)
{
	uint64_t now = sys_now_ns();
	struct progress progress = { served, now, now };
	const struct daemon_params *p = start->params;
	struct pool_options options = {
		.huge_pages = p->huge_pages, .n_threads = config_touch_threads(p),
		.progress = say_progress, .context = &progress,
		.bind = placement_bind, .bind_context = start->placement,
	};
	int r;

	*served = (struct served_space){
		.config = config, .adopted = start->adopt != NULL,
		.ledger_row = start->adopt ? start->adopt->row : CKV_NONE,
	};
	r = create_memory(served, start, &options);
	log_progress_end();
	if (r == 0)
		r = create_core(served, start);
	if (r < 0) {
		log_line(LOG_ERROR, "space %s: it cannot be set up: %s",
			 config->name, strerror(-r));
		served_destroy(served);
		return r;
	}
	if (!served->adopted)
		say_pages(p, served);
	return 0;
}

void served_adopt(struct served_space *served)
{
	struct space_adopted n;

	space_adopt(served->core, &n);
	log_line(LOG_INFO, "space %s: %u blocks and %u views taken over; %u pages are lent "
		 "to processes of before, %u came back", served->config->name,
		 n.n_blocks, n.n_views, n.n_lent, n.n_given_up);
	if (n.n_resting > 0)
		log_line(LOG_WARNING, "space %s: %u pages rest until the processes of "
			 "before have ended (%u records are damaged, %u double, %u "
			 "without their parent, %u rested before)",
			 served->config->name, n.n_resting, n.n_bad, n.n_doubles,
			 n.n_orphans, n.n_rested);
}

void served_destroy(struct served_space *served)
{
	space_destroy(served->core);
	memory_destroy(&served->nodes);
	pool_destroy(&served->pool);
	memory_destroy(&served->stats_memory);
	memory_destroy(&served->records);
	memory_destroy(&served->index);
	*served = (struct served_space){ .config = served->config };
}
