/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.c - start the daemon, and stop it.
 *
 * First everything is checked that can make a start fail, so that such a start has
 * taken no memory. Then memory is taken. The socket comes last, so a client that can
 * connect finds a daemon that is ready. The life word, by which clients know that the
 * daemon lives, is set just before the socket; at the end it is cleared first.
 */
#include "daemon/shell/daemon.h"
#include "daemon/shell/adopt.h"
#include "daemon/shell/budget.h"
#include "daemon/shell/keep.h"
#include "daemon/shell/served.h"
#include "daemon/shell/jobs.h"
#include "daemon/shell/leave.h"
#include "daemon/shell/log.h"
#include "daemon/shell/placement.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"
#include "daemon/shell/waits.h"

#include <errno.h>
#include <string.h>

static int create_clients(struct daemon *d)
{
	size_t n_words = 0;
	uint64_t *word;
	int r;

	d->n_clients_max = (uint32_t)d->config->daemon.max_clients;
	d->n_client_rows = d->n_clients_max + d->n_old_clients;
	r = sys_alloc(d->n_client_rows, sizeof d->client[0], &d->client);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < d->config->n_spaces; i++)
		n_words += (d->config->space[i].pool.n_slabs + 63) / 64;
	for (uint32_t i = 0; i < d->n_client_rows; i++) {
		struct client *client = &d->client[i];

		client->socket = client->pidfd = -1;
		r = sys_alloc(d->config->n_spaces, sizeof client->attached[0],
			      &client->attached);
		if (r == 0)
			r = sys_alloc(n_words, sizeof *word, &client->slab_bits);
		if (r < 0)
			return r;
		word = client->slab_bits;
		for (uint32_t s = 0; s < d->config->n_spaces; s++) {
			client->attached[s].slab_sent = word;
			word += (d->config->space[s].pool.n_slabs + 63) / 64;
		}
	}
	return 0;
}

static int create_lanes(struct daemon *d)
{
	int r;

	d->n_lanes_max = (uint32_t)d->config->daemon.max_lanes;
	d->n_lane_rows = d->n_lanes_max + d->n_old_lanes;
	d->ending_head = d->ending_tail = CKV_NONE;
	r = sys_alloc(d->n_lane_rows, sizeof d->lane[0], &d->lane);
	if (r == 0)
		r = sys_alloc(d->n_client_rows, sizeof d->serving[0],
			      &d->serving);
	return r;
}

static int create_spaces(struct daemon *d)
{
	struct served_start start = {
		.params = &d->config->daemon, .placement = d->placement,
		.epoch = d->epoch, .n_old_clients = d->n_old_clients,
		.n_old_lanes = d->n_old_lanes,
	};
	int r;

	r = sys_alloc(d->config->n_spaces, sizeof d->served[0], &d->served);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < d->config->n_spaces; i++) {
		start.adopt = adopt_space(d, i);
		r = served_create(&d->config->space[i], &start, &d->served[i]);
		if (r < 0)
			return r;
		d->n_spaces++;
	}
	return 0;
}

static int create_world(struct daemon *d)
{
	struct ckv_world head = { .magic = CKV_WORLD_MAGIC,
				  .layout_version = CKV_LAYOUT_VERSION };
	int r = adopt_world(d);

	if (r == -ENOENT)
		r = memory_create("ckv-world", CKV_WORLD_BYTES, MEMORY_KEPT, &head,
				  2 * sizeof(uint32_t), &d->world_memory);
	if (r < 0)
		return r;
	d->world = d->world_memory.base;
	ckv_world_raise_epoch(d->world, d->epoch);
	r = sys_robust(&d->world->life);
	if (r < 0)
		return r;
	ckv_world_set_life(d->world, (uint32_t)sys_thread_id());
	return 0;
}

/* Log which step of a start failed. (Some steps also log which call did.) */
static int step(const char *what, int r)
{
	if (r < 0)
		log_line(LOG_ERROR, "start: %s: %s", what, strerror(-r));
	return r;
}

static void say_refused(void *context, const char *text)
{
	(void)context;
	log_line(LOG_ERROR, "%s", text);
}

static void say_warned(void *context, const char *text)
{
	(void)context;
	log_line(LOG_WARNING, "%s", text);
}

static void say_nothing(void *context, const char *text)
{
	(void)context;
	(void)text;
}

/* more_bytes: of memory that is going to be free before any is taken. */
static int judge_memory(struct daemon *d, pid_t pid, uint64_t more_bytes,
			struct budget_given *ret_given)
{
	const struct config_complaint refused = { say_refused, NULL };
	const struct config_complaint warned = { more_bytes > 0 ? say_nothing : say_warned,
						 NULL };
	struct budget budget;

	budget_count(d->config, &budget);
	budget_look(d->placement ? (int)d->config->daemon.numa_node :
		    MACHINE_ANY_NODE, pid, ret_given);
	/* What is taken over is part of the budget, and is there already. */
	if (ret_given->memory.free_bytes != MACHINE_UNKNOWN)
		ret_given->memory.free_bytes += adopt_bytes(d) + more_bytes;
	return budget_judge(d->config, &budget, ret_given, &refused, &warned);
}

/* The first error of two results. */
static int first(int r, int next)
{
	return r < 0 ? r : next;
}

/*
 * Check everything that can make a start fail, before any memory is taken: the socket,
 * the NUMA node, the memory, the event loop. `only_look` (--check): do not take the
 * socket, and go on after an error, so that all errors are told.
 */
static int judge(struct daemon *d, bool only_look, struct budget_given *ret_given)
{
	const struct daemon_params *p = &d->config->daemon;
	uint32_t n_watches = 8 + 2 * (uint32_t)p->max_clients +
			     (uint32_t)p->max_lanes + d->n_old_clients;
	uint64_t more_bytes;
	pid_t pid = 0;
	int r;

	users_warn(d->config);
	r = step("socket", only_look ? listen_look(d, &pid) : listen_claim(d));
	if (p->numa_node != CONFIG_NONE && (r == 0 || only_look))
		r = first(r, step("NUMA node",
				  placement_create((uint32_t)p->numa_node,
						   &d->placement)));
	/* A pool that could not fit at all, by a slip in the file, costs no cache of before. */
	more_bytes = adopt_unused_bytes(d);
	if (r == 0 && more_bytes > 0)
		r = step("memory", judge_memory(d, pid, more_bytes, ret_given));
	if (r == 0)
		adopt_release(d);
	if (r == 0 || only_look)
		r = first(r, step("memory", judge_memory(d, pid, 0, ret_given)));
	if (r == 0 || only_look)
		r = first(r, step("event loop",
				  loop_create((enum loop_kind)p->loop, n_watches,
					      &d->loop)));
	return r;
}

/*
 * The clock, so that no two starts have the same epoch; never 0. If the clock was set
 * back, the epoch is above that of before all the same, and above its serials.
 */
static void begin_epoch(struct daemon *d)
{
	uint64_t before = adopt_epoch(d);

	d->epoch = sys_real_ns() | 1;
	if (d->epoch <= before)
		d->epoch = before + 1;
	d->next_serial = d->epoch + 1;
}

static int bring_up(struct daemon *d)
{
	struct budget_given given;
	int r = step("what an earlier daemon left", adopt_look(d));

	if (r == 0)
		r = judge(d, false, &given);
	begin_epoch(d);
	if (r == 0)
		r = step("client table", create_clients(d));
	if (r == 0)
		r = step("user table", users_create(d));
	if (r == 0)
		r = step("closer", leave_create(d));
	if (r == 0)
		r = step("lane table", create_lanes(d));
	if (r == 0)
		r = step("descriptor store", keep_create(d));
	if (r == 0)
		r = step("table of waits", waits_create(d));
	if (r == 0)
		r = step("workers", jobs_create(d));
	if (r == 0)
		r = step("spaces", create_spaces(d));
	if (r == 0)
		r = step("stats memory", stats_create(d));
	if (r == 0)
		r = step("signals", signals_open(d));
	if (r == 0)
		r = step("world page", create_world(d));
	if (r == 0)
		r = step("clients of before", adopt_clients(d));
	if (r == 0)
		keep_start(d);
	if (r == 0)
		r = step("socket", listen_open(d));
	return r;
}

/* Nothing that a client holds is taken back: there may be a successor (keep.h). */
static void drop_clients(struct daemon *d)
{
	for (uint32_t i = 0; d->lane && i < d->n_lane_rows; i++)
		lane_drop(&d->lane[i]);
	for (uint32_t i = 0; d->client && i < d->n_client_rows; i++) {
		client_drop(d, &d->client[i]);
		sys_free(d->client[i].slab_bits);
		sys_free(d->client[i].attached);
	}
	sys_free(d->client);
	users_destroy(d);
	sys_free(d->serving);
	sys_free(d->lane);
}

/* Stop whatever has been started. The configuration is not freed. */
static void take_down(struct daemon *d)
{
	if (d->world != NULL) {
		/* From now on every lookup misses, before any memory goes away. */
		ckv_world_set_life(d->world, 0);
		(void)sys_robust(NULL);
	}
	listen_close(d);
	waits_end_all(d);
	jobs_destroy(d);
	drop_clients(d);
	keep_destroy(d);
	adopt_destroy(d);
	waits_destroy(d);
	sys_close(d->signal_fd);
	memory_destroy(&d->stats_memory);
	for (uint32_t i = 0; i < d->n_spaces; i++)
		served_destroy(&d->served[i]);
	sys_free(d->served);
	placement_destroy(d->placement);
	memory_destroy(&d->world_memory);
	loop_destroy(d->loop);
	leave_destroy(d);
	sys_free(d);
}

void daemon_destroy(struct daemon *d)
{
	struct config *config;

	if (d == NULL)
		return;
	config = d->config;
	take_down(d);
	config_free(config);
}

static int alloc_daemon(struct config *config, struct daemon **ret_daemon)
{
	struct daemon *d;
	int r = sys_alloc(1, sizeof *d, &d);

	if (r < 0)
		return r;
	d->config = config;
	d->listen_fd = d->lock_fd = d->signal_fd = -1;
	*ret_daemon = d;
	return 0;
}

int daemon_check(struct config *config, struct budget_given *ret_given)
{
	struct daemon *d;
	int r = alloc_daemon(config, &d);

	if (r < 0)
		return r;
	r = judge(d, true, ret_given);
	take_down(d);
	return r;
}

int daemon_start(struct config *config, const char *config_path,
		 struct daemon **ret_daemon)
{
	struct daemon *d;
	int r = alloc_daemon(config, &d);

	if (r < 0)
		return r;
	d->config_path = config_path;
	d->started_ns = d->now_ns = sys_now_ns();
	r = bring_up(d);
	if (r < 0) {
		take_down(d);
		return r;
	}
	log_line(LOG_INFO, "version " CKV_VERSION ", loop %s, %u spaces, "
		 "socket %s", loop_name(d->loop), d->n_spaces,
		 config->daemon.socket);
	adopt_end(d);
	*ret_daemon = d;
	return 0;
}
