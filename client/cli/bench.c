/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.c - `ckv bench`: is the running daemon as fast as it should be?
 *
 * Uses the library like any engine would: one lane, requests that wait, lookups in
 * shared memory. Its blocks are roots with random keys, published with
 * whatever their pages held and dropped at the end.
 */
#include "client/ckv.h"
#include "client/cli/cli.h"
#include "client/cli/progress.h"
#include "client/cli/stats.h"
#include "client/cli/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

enum {
	BENCH_COUNT = 10000,
	BENCH_BATCH = 64,
	BENCH_P99_SAMPLES = 1000,	/* ten of them lie above it */
};

struct bench {
	struct ckv *ckv;
	struct ckv_space *space;
	struct ckv_lane *lane;
	uint64_t count;
	size_t n_keys;
	uint64_t page_bytes;
	uint8_t keys[BENCH_BATCH][CKV_KEY_SIZE];
	double *ns;		/* samples */
	bool wrote;		/* there may be blocks of these keys */
	const char *failed;	/* what a call that failed was doing */
};

struct bench_row {
	const char *name, *what;
	uint64_t n;		/* samples */
	double p50, p99, max;	/* p99 if there are enough of them */
};

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void summarise(struct bench *b, uint64_t n, struct bench_row *row)
{
	qsort(b->ns, n, sizeof *b->ns, compare);
	row->n = n;
	row->p50 = b->ns[n / 2];
	row->p99 = b->ns[n * 99 / 100];
	row->max = b->ns[n - 1];
}

/* Looking at the clock for it would be felt each time. */
static void tell(uint64_t i, uint64_t count)
{
	if (i % 1024 == 0)
		progress_at(i, count);
}

static int time_round_trip(struct bench *b, struct bench_row *row)
{
	struct ckv_event event;
	int r;

	*row = (struct bench_row){ "roundtrip", "request to the daemon and back",
				   0, 0, 0, 0 };
	b->failed = "a request without work";
	for (uint64_t i = 0; i < b->count; i++) {
		double start;

		tell(i, b->count);
		start = now_ns();
		r = ckv_submit_nop(b->lane, i);
		if (r == 0)
			r = ckv_wait(b->lane, 1000000000, &event, 1);
		if (r < 0 || event.result < 0)
			return r < 0 ? r : (int)event.result;
		b->ns[i] = now_ns() - start;
	}
	summarise(b, b->count, row);
	return 0;
}

static int drop_keys(struct bench *b)
{
	long r = ckv_drop(b->lane, b->keys[0], b->n_keys, NULL);

	return r < 0 ? (int)r : 0;
}

/*
 * Each key is a root of its own, so each is reserved by itself. The checksum of
 * whatever the page holds is given, outside the time, so that the daemon has no
 * reason to read the page, and the block can be dropped at once.
 */
static int write_once(struct bench *b, double *ns)
{
	struct ckv_page page;

	for (size_t i = 0; i < b->n_keys; i++) {
		double start = now_ns();
		uint64_t sum;
		long r = ckv_reserve(b->lane, NULL, b->keys[i], 1, &page);

		ns[i] = now_ns() - start;
		if (r < 1)
			return r < 0 ? (int)r : page.status;
		sum = ckv_checksum(page.data, b->page_bytes);
		start = now_ns();
		r = ckv_publish(b->lane, &page, 1, 1, CKV_SUMMED, &sum, NULL, NULL);
		ns[i] = now_ns() - start;
		if (r < 1) {
			ckv_abort(b->lane, &page, 1, NULL);
			return r < 0 ? (int)r : -EIO;
		}
	}
	return 0;
}

/*
 * A quarter as many blocks as of the rest, in whole rounds. Leaves the last round's
 * published, for the lookups.
 */
static int time_write(struct bench *b, struct bench_row *row)
{
	uint64_t rounds = b->count / b->n_keys / 4 + 1;
	int r;

	*row = (struct bench_row){ "reserve_publish",
				   "one block reserved and published", 0, 0, 0, 0 };
	b->failed = "reserving and publishing";
	b->wrote = true;
	for (uint64_t i = 0; i < rounds; i++) {
		progress_at(i, rounds);
		r = i ? drop_keys(b) : 0;
		if (r == 0)
			r = write_once(b, b->ns + i * b->n_keys);
		if (r < 0)
			return r;
	}
	summarise(b, rounds * b->n_keys, row);
	return 0;
}

static int time_lookup(struct bench *b, struct bench_row *row)
{
	struct ckv_handle handle;
	struct ckv_pin pin;

	*row = (struct bench_row){ "lookup_pin_unpin",
				   "one block found, pinned and let go", 0, 0, 0, 0 };
	b->failed = "looking a block up";
	for (uint64_t i = 0; i < b->count; i++) {
		const uint8_t *key = b->keys[i % b->n_keys];
		double start;
		long r;

		tell(i, b->count);
		start = now_ns();
		r = ckv_lookup(b->lane, key, 1, 0, &handle, &pin);
		if (r < 0)
			return (int)r;
		ckv_unpin(b->lane, &pin);
		b->ns[i] = now_ns() - start;
		if (r != 1)
			return -ENOENT;
	}
	summarise(b, b->count, row);
	return 0;
}

static bool has_p99(const struct bench_row *row)
{
	return row->n >= BENCH_P99_SAMPLES;
}

static json_t *rows_json(const struct bench *b, const struct bench_row *rows,
			 size_t n)
{
	json_t *json = json_pack("{s:I}", "count", (json_int_t)b->count);

	for (size_t i = 0; i < n; i++)
		json_object_set_new(json, rows[i].name, json_pack(
			"{s:I, s:f, s:o, s:f}", "samples", (json_int_t)rows[i].n,
			"p50_ns", rows[i].p50, "p99_ns", has_p99(&rows[i]) ?
			json_real(rows[i].p99) : json_null(), "max_ns",
			rows[i].max));
	return json;
}

static void print_rows(const struct bench_row *rows, size_t n)
{
	static const char *const heads[] = {
		"WHAT", ">SAMPLES", ">P50", ">P99", ">MAX",
	};
	bool all = true;
	struct table t;

	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (size_t i = 0; i < n; i++) {
		char text[TEXT_SHORT];

		table_cell(&t, "%s", rows[i].what);
		all = all && has_p99(&rows[i]);
		table_cell(&t, "%" PRIu64, rows[i].n);
		table_cell(&t, "%s", text_ns(text, rows[i].p50));
		table_cell(&t, "%s", has_p99(&rows[i]) ?
			   text_ns(text, rows[i].p99) : "-");
		table_cell(&t, "%s", text_ns(text, rows[i].max));
	}
	table_print(&t, stdout, 0, 0);
	if (!all)
		printf("-: a 99th percentile needs %d samples; --count N takes more\n",
		       BENCH_P99_SAMPLES);
}

static int run(const struct cli *cli, struct bench *b)
{
	struct ckv_space_info info;
	struct bench_row rows[3];
	char error[TEXT_ERROR];
	int r;

	ckv_space_get_info(b->space, &info);
	b->page_bytes = info.page_bytes;
	if (getrandom(b->keys, sizeof b->keys, 0) != sizeof b->keys)
		return cli_fail("getrandom: %s", strerror(errno));
	progress_begin(cli, "1 of 3, requests");
	r = time_round_trip(b, &rows[0]);
	progress_end();
	progress_begin(cli, "2 of 3, blocks written");
	if (r == 0)
		r = time_write(b, &rows[1]);
	progress_end();
	progress_begin(cli, "3 of 3, lookups");
	if (r == 0)
		r = time_lookup(b, &rows[2]);
	progress_end();
	/* Of the call that failed, before another one fails. */
	text_error(error, b->ckv, r);
	if (b->wrote)
		drop_keys(b);
	if (r < 0)
		return cli_fail("%s failed: %s", b->failed, error);
	if (cli->json)
		return text_json(rows_json(b, rows, 3));
	print_rows(rows, 3);
	return CLI_OK;
}

/* How many blocks may be added without evicting any, up to a batch. */
static int room(const struct cli *cli, size_t *ret)
{
	struct shot shot;
	uint64_t free_pages = 0;
	int r = stats_once(cli->socket, &shot);

	if (r != CLI_OK)
		return r;
	for (uint32_t i = 0; i < shot.n_spaces; i++)
		if (strcmp(shot.spaces[i].row.name, cli->args[0]) == 0)
			free_pages = shot.spaces[i].stat[SPACE_pages_free];
	shot_free(&shot);
	if (free_pages == 0 && !cli->force)
		return cli_fail("space %s is full: this would evict blocks. --force "
				"runs it all the same.", cli->args[0]);
	*ret = cli->force || free_pages > BENCH_BATCH ? BENCH_BATCH : free_pages;
	return CLI_OK;
}

int cmd_bench(const struct cli *cli)
{
	struct bench b = {
		.count = cli->count ? cli->count : BENCH_COUNT,
	};
	struct observed_space there;
	char error[TEXT_ERROR];
	struct observer o;
	int r;

	/* The observer explains a missing daemon or space best. */
	if (observer_open(cli->socket, &o) < 0)
		return cli_fail("%s", o.why);
	r = observer_attach(&o, cli->args[0], CKV_ACCESS_STATS, &there);
	if (r < 0) {
		cli_fail("%s", o.why);
		observer_close(&o);
		return CLI_FAILED;
	}
	observer_release(&there);
	observer_close(&o);
	r = room(cli, &b.n_keys);
	if (r != CLI_OK)
		return r;
	r = ckv_open(cli->socket, "ckv bench", &b.ckv);
	if (r < 0)
		return cli_fail("%s", ckv_why(NULL));
	r = ckv_attach(b.ckv, cli->args[0], NULL, CKV_WRITE, &b.space);
	if (r == 0)
		r = ckv_lane_open(b.space, NULL, &b.lane);
	if (r < 0) {
		r = cli_fail("space %s: %s", cli->args[0],
			     text_error(error, b.ckv, r));
	} else {
		b.ns = cli_alloc(b.count + BENCH_BATCH, sizeof *b.ns);
		r = run(cli, &b);
		free(b.ns);
	}
	ckv_close(b.ckv);
	return r;
}
