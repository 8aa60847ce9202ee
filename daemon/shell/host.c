/*
 * host.c - a space's memory, brought up and taken down.
 */
#include "daemon/shell/host.h"
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

static void say_progress(void *context, uint64_t touched_bytes,
			 uint64_t total_bytes)
{
	const struct host *host = context;

	log_line(LOG_INFO, "space %s: %" PRIu64 " of %" PRIu64 " MiB ready",
		 host->config->name, touched_bytes >> 20, total_bytes >> 20);
}

static void say_pages(const struct daemon_params *p, const struct host *host)
{
	const struct ckv_pool_shape *shape = &host->pool.shape;
	uint64_t bytes = ckv_pool_bytes(shape);
	uint64_t whole = shape->n_slabs * (ckv_slab_bytes(shape) /
			 CKV_HUGE_BYTES * CKV_HUGE_BYTES);

	if (p->huge_pages && host->pool.huge_bytes < whole)
		log_line(LOG_WARNING, "space %s: %" PRIu64 " of %" PRIu64 " MiB "
			 "are in 2 MiB pages; the rest costs more TLB misses "
			 "and more time when a client dies", host->config->name,
			 host->pool.huge_bytes >> 20, bytes >> 20);
	else
		log_line(LOG_INFO, "space %s: %" PRIu64 " MiB in %s pages",
			 host->config->name, bytes >> 20,
			 p->huge_pages ? "2 MiB" : "4 KiB");
}

void host_core_config(const struct config_space *c, const struct daemon_params *p,
		      struct space_config *ret_config)
{
	*ret_config = (struct space_config){
		.geometry = c->geometry, .pool = c->pool,
		.n_buckets = space_buckets(&c->pool), .policy = c->policy,
		.n_lanes_max = (uint32_t)p->max_lanes,
		.n_clients_max = (uint32_t)p->max_clients,
		.n_tips_max = (uint32_t)p->max_auto_jobs,
		.n_lent_max = (uint32_t)c->params.lent_pages,
		.n_users_max = users_max(p),
		.n_user_lent_max = user_lent_max(c),
		.n_pages_max = c->n_pages_max,
	};
}

static int create_core(struct host *host, const struct daemon_params *p,
		       uint64_t epoch, struct space_pace *pace)
{
	struct space_config config;
	struct space_memory memory = {
		.index = host->index.base, .records = host->records.base,
		.stats = host->stats,
	};
	int r;

	host_core_config(host->config, p, &config);
	config.epoch = epoch;
	config.pace = pace;
	r = sys_random(config.seed, sizeof config.seed);
	if (r >= 0)
		r = space_create(&config, &memory, &host->space);
	if (r == 0) {
		weights_init(host);
		auto_configure(host);
	}
	return r;
}

static int create_memory(struct host *host, const struct daemon_params *p,
			 const struct pool_options *options)
{
	const struct ckv_pool_shape *shape = &host->config->pool;
	size_t n_pages = (size_t)shape->n_slabs * shape->slab_pages;
	int r;

	r = memory_create("ckv-index", ckv_index_bytes(space_buckets(shape)),
			  MEMORY_OURS, NULL, 0, &host->index);
	if (r < 0)
		return r;
	placement_bind(options->bind_context, host->index.base,
		       host->index.bytes);
	if (p->huge_pages) {
		(void)sys_advise(host->index.base, host->index.bytes,
				 MADV_HUGEPAGE);
		r = sys_advise(host->index.base, host->index.bytes,
			       MADV_POPULATE_WRITE);
		if (r == 0)
			memory_collapse(host->index.base, host->index.bytes);
		if (memory_huge_bytes(host->index.base, host->index.bytes,
				      &host->index_huge_bytes) < 0)
			host->index_huge_bytes = 0;
	}
	r = memory_create("ckv-records", n_pages * sizeof(struct ckv_record),
			  MEMORY_PRIVATE, NULL, 0, &host->records);
	if (r < 0)
		return r;
	r = memory_create("ckv-space-stats", CKV_SPACE_STATS_BYTES, MEMORY_OURS,
			  NULL, 0, &host->stats_memory);
	if (r < 0)
		return r;
	host->stats = host->stats_memory.base;
	return pool_create(shape, options, &host->pool);
}

int host_create(struct config_space *config, const struct daemon_params *p,
		struct placement *placement, uint64_t epoch,
		struct space_pace *pace, struct host *host)
{
	struct pool_options options = {
		.huge_pages = p->huge_pages, .n_threads = config_touch_threads(p),
		.progress = say_progress, .context = host,
		.bind = placement_bind, .bind_context = placement,
	};
	int r;

	*host = (struct host){ .config = config };
	r = create_memory(host, p, &options);
	if (r == 0)
		r = create_core(host, p, epoch, pace);
	if (r < 0) {
		log_line(LOG_ERROR, "space %s: no memory for it: %s",
			 config->name, strerror(-r));
		host_destroy(host);
		return r;
	}
	say_pages(p, host);
	return 0;
}

void host_destroy(struct host *host)
{
	space_destroy(host->space);
	pool_destroy(&host->pool);
	memory_destroy(&host->stats_memory);
	memory_destroy(&host->records);
	memory_destroy(&host->index);
	*host = (struct host){ .config = host->config };
}
