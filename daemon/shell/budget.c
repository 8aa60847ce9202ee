/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c - compute what a configuration takes, and compare it with what there is.
 */
#include "daemon/shell/budget.h"
#include "daemon/shell/daemon.h"
#include "daemon/shell/served.h"
#include "daemon/shell/jobs.h"
#include "daemon/shell/waits.h"
#include "proto/ckv_ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

#define OWN_BYTES	(8ull << 20)	/* code, libraries, stacks, rings */
#define STACK_BYTES	(8ull << 20)	/* addresses of a thread's stack */
#define OWN_FILES	28u		/* standard streams, loop, signals, lock, ledger, ... */
#define RANGE_MAX	(1ull << 46)	/* half of what x86-64 gives a process */
#define SIZE_BYTES	32u
#define GIVEN_BYTES	(MACHINE_NAME_BYTES + 128)

static void count_space(const struct config_space *s,
			const struct daemon_params *p, struct budget_space *b)
{
	struct space_config core;
	uint64_t slab = ckv_slab_bytes(&s->pool);

	served_core_config(s, p, &core);
	b->pages = ckv_pool_bytes(&s->pool);
	b->index = ckv_index_bytes(core.n_buckets);
	b->records = ckv_records_bytes(&s->pool);
	b->tables = space_private_bytes(&core) + CKV_SPACE_STATS_BYTES;
	/* 4 KiB of page table for each begun 2 MiB, and 4 KiB for each file's inode. */
	b->kernel = (s->pool.n_slabs * (slab / CKV_HUGE_BYTES + 2) +
		     (b->index + b->records + b->tables) / CKV_HUGE_BYTES + 3) *
		    CKV_PIECE_BYTES;
	b->sum = b->pages + b->index + b->records + b->tables + b->kernel;
	b->file = slab > b->index ? slab : b->index;
	b->file = b->file > b->records ? b->file : b->records;
	b->range = ckv_pool_range(&s->pool) + b->index + b->records + b->tables +
		   2 * CKV_HUGE_BYTES;
}

/* Memory of one lane that has the largest shape which the limits allow. */
static uint64_t lane_bytes(const struct daemon_params *p)
{
	const struct ckv_lane_shape largest = {
		.n_slots = (uint32_t)p->max_lane_slots,
		.n_pins = (uint32_t)p->max_lane_pins,
		.n_touches = (uint32_t)p->max_lane_touches,
		.arg_bytes = (uint32_t)p->max_lane_arg_bytes,
	};
	struct ckv_lane_map map = ckv_lane_map(&largest);

	/* The two segments, and the private copies of a request and its answers. */
	return map.c_bytes + map.d_bytes + 2 * ARGUMENT_BYTES;
}

void budget_count(const struct config *config, struct budget *ret_budget)
{
	const struct daemon_params *p = &config->daemon;
	uint64_t links = (p->max_jobs + p->max_auto_jobs) * p->max_job_blocks *
			 JOBS_LINK_BYTES +
			 waits_max(p) * WAIT_KEY_BYTES;
	uint64_t n_words = 0;

	*ret_budget = (struct budget){ .n_files = OWN_FILES };
	for (uint32_t i = 0; i < config->n_spaces; i++) {
		struct budget_space *b = &ret_budget->space[i];

		count_space(&config->space[i], p, b);
		ret_budget->sum += b->sum;
		ret_budget->range += b->range;
		ret_budget->n_files += config->space[i].pool.n_slabs + 4;
		n_words += (config->space[i].pool.n_slabs + 63) / 64;
	}
	ret_budget->own = OWN_BYTES + CKV_WORLD_BYTES + CKV_LEDGER_BYTES + sizeof(struct daemon) +
		ckv_stats_bytes(config->n_spaces, (uint32_t)p->max_clients) +
		p->max_clients * (sizeof(struct client) + n_words * 8 +
				  config->n_spaces * sizeof(struct attachment)) +
		p->max_lanes * (sizeof(struct lane) + sizeof(uint32_t)) +
		waits_max(p) * sizeof(struct wait);
	ret_budget->sum += ret_budget->own;
	ret_budget->at_limits = p->max_lanes * lane_bytes(p) + links;
	ret_budget->range += ret_budget->own + links + config_workers(p) * STACK_BYTES;
	ret_budget->n_files_at_limits = ret_budget->n_files + 2 * p->max_clients +
					3 * p->max_lanes;
}

static const char *size_text(char text[SIZE_BYTES], uint64_t bytes)
{
	static const char *const unit[] = { "KiB", "MiB", "GiB", "TiB" };
	double n = (double)bytes / 1024;
	size_t i = 0;

	while (n >= 1024 && i < 3) {
		n /= 1024;
		i++;
	}
	snprintf(text, SIZE_BYTES, "%.1f %s", n, unit[i]);
	return text;
}

__attribute__((format(printf, 2, 3)))
static void tell(const struct config_complaint *whom, const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	whom->say(whom->context, text);
}

/* "control group /a gives at most 2.0 GiB, 1.5 GiB of it free" */
static const char *given_text(char text[GIVEN_BYTES], const struct machine_memory *m)
{
	char limit[SIZE_BYTES], left[SIZE_BYTES];

	snprintf(text, GIVEN_BYTES, "%s gives at most %s, %s of it free", m->name,
		 size_text(limit, m->limit_bytes), size_text(left, m->free_bytes));
	return text;
}

static int judge_memory(const struct config *config, const struct budget *b,
			const struct machine_memory *m,
			const struct config_complaint *refused,
			const struct config_complaint *warned)
{
	char needs[SIZE_BYTES], part[4][SIZE_BYTES], given[GIVEN_BYTES];
	uint64_t pages = 0, index = 0, records = 0;

	if (m->free_bytes == MACHINE_UNKNOWN) {
		tell(warned, "memory: what this machine gives cannot be read");
		return 0;
	}
	if (b->sum > m->free_bytes) {
		for (uint32_t i = 0; i < config->n_spaces; i++) {
			pages += b->space[i].pages;
			index += b->space[i].index;
			records += b->space[i].records;
		}
		tell(refused, "space %s%s: needs %s of memory (pages %s, index %s, "
		     "records %s, the rest %s); %s", config->space[0].name,
		     config->n_spaces > 1 ? " and the other spaces" : "",
		     size_text(needs, b->sum), size_text(part[0], pages),
		     size_text(part[1], index), size_text(part[2], records),
		     size_text(part[3], b->sum - pages - index - records),
		     given_text(given, m));
		return -ENOMEM;
	}
	if (b->at_limits > m->free_bytes - b->sum)
		tell(warned, "memory: %s are taken at start and %s more if all "
		     "lanes and jobs are used to their limits; %s",
		     size_text(needs, b->sum), size_text(part[0], b->at_limits),
		     given_text(given, m));
	return 0;
}

static int judge_files(const struct config *config, const struct budget *b,
		       const struct budget_given *given,
		       const struct config_complaint *refused,
		       const struct config_complaint *warned)
{
	char needs[SIZE_BYTES], limit[SIZE_BYTES];
	int r = 0;

	for (uint32_t i = 0; i < config->n_spaces; i++) {
		if (b->space[i].file <= given->file_bytes)
			continue;
		tell(refused, "space %s: needs files of %s; RLIMIT_FSIZE allows %s "
		     "(LimitFSIZE= in the unit, or ulimit -f)",
		     config->space[i].name, size_text(needs, b->space[i].file),
		     size_text(limit, given->file_bytes));
		r = -EFBIG;
	}
	if (b->n_files > given->n_files) {
		tell(refused, "needs %" PRIu64 " descriptors for its slabs; "
		     "RLIMIT_NOFILE allows %" PRIu64 " (LimitNOFILE= in the unit, "
		     "ulimit -n, or larger slabs)", b->n_files, given->n_files);
		return -EMFILE;
	}
	if (b->n_files_at_limits > given->n_files)
		tell(warned, "%" PRIu64 " descriptors are needed if all clients and "
		     "lanes are there; RLIMIT_NOFILE allows %" PRIu64
		     " (LimitNOFILE= in the unit, or ulimit -n)",
		     b->n_files_at_limits, given->n_files);
	return r;
}

int budget_judge(const struct config *config, const struct budget *b,
		 const struct budget_given *given,
		 const struct config_complaint *refused,
		 const struct config_complaint *warned)
{
	uint64_t range = given->range_bytes < RANGE_MAX ? given->range_bytes :
			 RANGE_MAX;
	char needs[SIZE_BYTES], limit[SIZE_BYTES];
	int r = judge_files(config, b, given, refused, warned), memory;

	if (b->range > range) {
		tell(refused, given->range_bytes < RANGE_MAX ?
		     "the spaces need %s of addresses; RLIMIT_AS allows %s "
		     "(LimitAS= in the unit, or ulimit -v)" :
		     "the spaces need %s of addresses; there are %s",
		     size_text(needs, b->range), size_text(limit, range));
		r = -ENOMEM;
	}
	memory = judge_memory(config, b, &given->memory, refused, warned);
	return memory < 0 ? memory : r;
}
