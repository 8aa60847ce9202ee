/* SPDX-License-Identifier: Apache-2.0 */
/*
 * served.c - see served.h.
 */
#include "tests/fuzz/served.h"

#include "daemon/shell/job.h"
#include "daemon/shell/log.h"
#include "daemon/shell/users.h"
#include "daemon/shell/waits.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

enum { WORK_PER_TURN = 5, WORK_BEYOND = 2 * UNITS_METHOD + UNITS_CALL + UNITS_MESSAGE + 256,
       TURN_NS = 1000 };

static const struct ckv_lane_shape shape = {
	.n_slots = 8, .n_pins = 16, .n_touches = 8, .arg_bytes = 8192,
};

static int watch(struct loop *loop, int fd, uint64_t token)
{
	(void)loop, (void)fd, (void)token;
	return 0;
}

static void unwatch(struct loop *loop, int fd, uint64_t token)
{
	(void)loop, (void)fd, (void)token;
}

/* What stays from input to input: tables, workers, the pool. */
static struct {
	struct daemon daemon;
	struct config config;
	struct served_space space;
	struct client client[SERVED_LANES];
	struct attachment attached[SERVED_LANES];
	uint64_t slab_bits[SERVED_LANES];
	struct lane lane[SERVED_LANES];
	uint32_t serving[SERVED_LANES];
	unsigned char area[SERVED_LANES][2][ARGUMENT_BYTES];
	int slab_fd[SERVED_PAGES + SERVED_VIEWS];
	struct ckv_global_stats stats;
	struct user user;
	uint64_t user_pins;
} table;

static void make_daemon(void)
{
	static const struct loop_ops ops = { .watch = watch, .unwatch = unwatch };
	static struct loop loop = { &ops, "none" };
	struct daemon *d = &table.daemon;

	log_setup(LOG_ERROR);
	table.config.daemon = (struct daemon_params){
		.work_per_turn = WORK_PER_TURN, .workers = 1, .max_jobs = 3,
		.max_jobs_per_user = 3, .max_lane_jobs = 2, .max_job_blocks = 16,
		.max_prefetches = 4, .max_prefetches_per_user = 3,
		.max_query_bytes = 1 << 20, .max_input_bytes = 4 << 20,
		.max_input_bytes_per_user = 4 << 20,
	};
	table.config.space[0].geometry = (struct ckv_geometry){
		.model = "fuzz", .n_layers = 2, .n_kv_heads = 1, .dim_k = 8,
		.dim_v = 8, .block_tokens = CORE_TOKENS, .n_ranks = 1,
		.dtype = CKV_DTYPE_F32, .layout = CKV_LAYOUT_HEAD_MAJOR,
		.key_scheme = CKV_KEYS_ENGINE,
	};
	table.config.space[0].params.max_pins =
		table.config.space[0].params.max_pins_per_user =
		table.config.space[0].params.max_pins_per_client = 2;
	table.user.n_pins = &table.user_pins;
	d->config = &table.config;
	d->epoch = CORE_EPOCH;
	d->loop = &loop;
	d->stats = &table.stats;
	d->user = &table.user;
	d->n_users_max = 1;
	d->served = &table.space;
	d->n_spaces = 1;
	d->client = table.client;
	d->n_clients_max = d->n_clients = SERVED_LANES;
	d->lane = table.lane;
	d->n_lanes_max = SERVED_LANES;
	d->serving = table.serving;
	d->ending_head = d->ending_tail = CKV_NONE;
	table.space.config = &table.config.space[0];
	assert(waits_create(d) == 0 && jobs_create(d) == 0);
}

/* Small numbers in every page, as after any other input. */
static void fill_pool(const struct ckv_pool_shape *pool)
{
	static float number[CKV_PIECE_BYTES / sizeof(float)];
	struct pool *p = &table.space.pool;

	p->shape = *pool;
	p->fds = table.slab_fd;
	if (p->base == NULL)
		p->base = calloc(pool->n_slabs, pool->slab_stride);
	assert(p->base != NULL && pool->page_bytes == sizeof number);
	for (uint32_t i = 0; i < sizeof number / sizeof number[0]; i++)
		number[i] = (float)(i * 7 % 64) / 16;
	for (uint32_t i = 0; i < pool->first_view_page + pool->n_view_pages; i++)
		memcpy((char *)p->base + ckv_page_offset(pool, i), number,
		       sizeof number);
}

static void open_lane(struct served *s, uint32_t i)
{
	struct served_lane *end = &s->end[i];
	struct lane *lane = &table.lane[i];
	struct space_lane_memory memory;

	*end = (struct served_lane){ .c = calloc(1, s->map.c_bytes),
				     .d = calloc(1, s->map.d_bytes) };
	assert(end->c != NULL && end->d != NULL);
	end->head = (void *)end->c;
	*lane = (struct lane){
		.state = LANE_OPEN, .generation = lane->generation + 1,
		.client = i, .access = CKV_ACCESS_WRITE, .eventfd = -1,
		.first_wait = CKV_NONE,
		.c = { .fd = -1, .base = end->c },
		.d = { .fd = -1, .base = end->d },
		.c_head = (void *)end->c, .d_head = (void *)end->d,
		.shape = shape, .map = s->map,
	};
	lane->requests = end->requests = (struct ckv_ring_end){
		.slots = (void *)(end->c + s->map.requests),
		.credit = &lane->d_head->req_credit, .n_slots = shape.n_slots,
	};
	lane->completions = end->completions = (struct ckv_ring_end){
		.slots = (void *)(end->d + s->map.completions),
		.credit = &lane->c_head->comp_credit, .n_slots = shape.n_slots,
	};
	memory = (struct space_lane_memory){
		.pins = (void *)(end->c + s->map.pins),
		.pin_high = &end->head->pin_high,
		.touches = (void *)(end->c + s->map.touches),
		.touch_tail = &end->head->touch_tail,
		.n_pins = shape.n_pins, .n_touches = shape.n_touches,
	};
	lane->number = space_lane_open(s->core.space, i, &memory);
	assert(lane->number >= 0);
	table.attached[i] = (struct attachment){
		.access = CKV_ACCESS_WRITE, .holds_weights = true,
		.slab_sent = &table.slab_bits[i],
	};
	table.slab_bits[i] = UINT64_MAX;
	table.client[i] = (struct client){
		.state = CLIENT_ATTACHED, .socket = -1, .pidfd = -1,
		.pid = (pid_t)(100 + i), .n_lanes = 1,
		.attached = &table.attached[i], .user = &table.user,
	};
	lane->argument = table.area[i][0];
	lane->answer = table.area[i][1];
	lane->area_bytes = shape.arg_bytes;
	lane->next = lane->prev = table.client[i].turn_lane = i;
	table.serving[i] = i;
}

void served_open(struct served *s)
{
	struct space_config config = core_config(SERVED_PAGES, SERVED_VIEWS);

	memset(s, 0, sizeof *s);
	if (table.daemon.jobs == NULL)
		make_daemon();
	config.geometry = table.config.space[0].geometry;
	config.level[0].n_lent_max = SERVED_PAGES / 2;
	config.level[0].n_places_max = SERVED_PAGES - 2;
	core_open(&s->core, &config);
	fill_pool(&config.level[0].pool);
	table.space.core = s->core.space;
	table.space.stats = s->core.memory.stats;
	memset(&table.stats, 0, sizeof table.stats);
	s->daemon = &table.daemon;
	s->lane = table.lane;
	s->map = ckv_lane_map(&shape);
	table.daemon.n_serving = table.daemon.n_lanes = SERVED_LANES;
	table.daemon.step_wanted = false;
	table.daemon.now_ns = 0;
	for (uint32_t i = 0; i < SERVED_LANES; i++)
		open_lane(s, i);
}

void served_close(struct served *s)
{
	for (int i = 0; i < SERVED_LANES; i++) {
		lane_cancel(s->daemon, &s->lane[i]);
		lane_fold_claims(s->daemon, &s->lane[i]);
		space_lane_close(s->core.space, s->lane[i].number);
		space_check(s->core.space);
		s->lane[i].state = LANE_FREE;
		free(s->end[i].c);
		free(s->end[i].d);
	}
	/* With the lanes gone nothing is lent, and nothing was lost. */
	assert(CORE_STAT(&s->core, pages_lent) == 0);
	assert(CORE_STAT(&s->core, pages_free) +
	       CORE_STAT(&s->core, blocks) == SERVED_PAGES);
	core_close(&s->core);
}

void served_allow_slabs(struct served *s, int i, bool allow)
{
	(void)s;
	table.slab_bits[i] = allow ? UINT64_MAX : 0;
}

void served_put(struct served *s, int i, const struct ckv_req *request)
{
	struct ckv_msg message;

	memcpy(&message, request, sizeof message);
	if (ckv_ring_put(&s->end[i].requests, &message) == 0)
		s->end[i].n_put++;
}

/* What the daemon wrote is always in order, and never more than was asked. */
static void collect(struct served *s, int i, struct ckv_comp *ret_last)
{
	struct served_lane *end = &s->end[i];
	struct ckv_msg message;
	struct ckv_comp comp;
	int r;

	while ((r = ckv_ring_take(&end->completions, &message)) == 0) {
		memcpy(&comp, &message, sizeof comp);
		assert(comp.result > -4096 && comp.result <= (int)CKV_BATCH_MAX);
		end->n_completed++;
		if (ret_last != NULL)
			*ret_last = comp;
	}
	assert(r == -EAGAIN);
}

static void check(struct served *s, int i)
{
	const struct lane *lane = &s->lane[i];
	uint32_t why = ckv_lane_state(lane->d_head);

	assert(lane->state == LANE_OPEN ? why == 0 :
	       lane->state == LANE_SHUT && why == EPROTO);
	assert(s->end[i].n_completed <= lane->requests.pos);
	assert(lane->n_jobs == 0);
	assert(!lane->run.on || lane->state == LANE_OPEN);
	space_check(s->core.space);
}

static void finish_jobs(struct daemon *d)
{
	struct pollfd fd = { .fd = workers_fd(d->jobs->workers),
			     .events = POLLIN };

	while (d->jobs->n_queued > 0) {
		space_pace_pay(&d->pace, UINT64_MAX);
		if (serve_steps(d))
			continue;
		if (!d->jobs->uncollected)
			poll(&fd, 1, -1);
		jobs_collect(d);
	}
}

void served_turn(struct served *s, struct ckv_comp *ret_last)
{
	struct daemon *d = s->daemon;
	char *before = malloc(s->map.c_bytes);

	assert(before != NULL);
	for (int i = 0; i < SERVED_LANES; i++) {
		memcpy(before, s->end[i].c, s->map.c_bytes);
		while (s->lane[i].state == LANE_OPEN &&
		       lane_ready(&s->lane[i])) {
			int32_t units = WORK_PER_TURN;

			d->turn++;
			lane_serve(d, &s->lane[i], &units);
			/* What is not cut in two is small. */
			assert(units > -WORK_BEYOND);
			space_pace_pay(&d->pace, UINT64_MAX);
			(void)serve_steps(d);
			space_check(s->core.space);
			finish_jobs(d);
			d->now_ns += TURN_NS;
			(void)waits_turn(d);
			(void)waits_expire(d);
			collect(s, i, ret_last);
			check(s, i);
		}
		/* A segment of a client is only read. */
		assert(memcmp(before, s->end[i].c, s->map.c_bytes) == 0);
		ckv_ring_credit(&s->end[i].completions);
	}
	free(before);
}

char *served_page(struct served *s, uint32_t page)
{
	(void)s;
	return (char *)table.space.pool.base +
	       ckv_page_offset(&table.space.pool.shape, page);
}
