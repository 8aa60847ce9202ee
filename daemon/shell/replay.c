/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - feed a trace to the core and count the blocks it finds.
 *
 * For each request the replay does what a client does: find the longest cached prefix
 * in the index, touch its deepest block, reserve and publish the other blocks. The
 * pages have no contents, which the core never looks at. Each block of the prefix is
 * a hit.
 */
#include "daemon/shell/replay.h"
#include "daemon/core/space.h"
#include "daemon/shell/config.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/trace.h"
#include "proto/ckv_text.h"

#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>

#define CHUNK		256u	/* keys per RESERVE */
#define EPOCH		1u
#define SIZES_MAX	16
#define POLICIES_MAX	8
#define BLOCKS_MAX	(1u << 28)

struct size {
	char	 label[24];
	uint32_t n_blocks;
};

struct options {
	const char *path;
	const struct policy_ops *policy[POLICIES_MAX];
	uint32_t n_policies;
	const char *fractions;
	uint32_t n_blocks;	/* size of the cache; 0: use `fractions` */
	bool json;
};

struct progress {
	uint64_t began_ns;
	uint32_t run, n_runs;
};

struct cache {			/* a space in ordinary memory, with one lane */
	struct space_memory memory;
	struct space *space;
	struct ckv_index index;
	_Atomic uint64_t pin;
	_Atomic uint32_t pin_high, touches[2], touch_tail;
	int lane;
};

/* ---- the cache ---- */

static void cache_close(struct cache *c)
{
	space_destroy(c->space);
	free(c->memory.index);
	free(c->memory.records[0]);
	free(c->memory.stats);
}

static int zeroed(size_t bytes, void **ret_memory)
{
	void *memory = realloc(NULL, bytes);

	if (memory == NULL)
		return -ENOMEM;
	memset(memory, 0, bytes);
	*ret_memory = memory;
	return 0;
}

static struct space_config cache_config(const struct policy_ops *policy,
					uint32_t n_blocks)
{
	struct space_config config = {
		.geometry = { .block_tokens = 512 },
		.epoch = EPOCH,
		.seed = { 1, 2, 3, 4 },	/* the same result every time */
		.n_levels = 1,
		.level = { {
			.number = CKV_LEVEL_HOST, .n_places = n_blocks,
			.n_places_max = n_blocks, .n_lent_max = n_blocks,
			.policy = policy,
			.pool = {
				.page_bytes = CKV_PIECE_BYTES,
				.slab_stride = CKV_HUGE_BYTES,
				.slab_pages = n_blocks,
				.n_slabs = 1,
				.n_block_pages = n_blocks,
				.first_view_page = n_blocks,
			},
		} },
		.n_lanes_max = 1,
		.n_clients_max = 1,
	};

	config.n_buckets = space_buckets(&config.level[0].pool);
	return config;
}

static int cache_open(struct cache *c, const struct policy_ops *policy,
		      uint32_t n_blocks)
{
	struct space_config config = cache_config(policy, n_blocks);
	struct space_lane_memory lane = {
		.pins = &c->pin, .pin_high = &c->pin_high, .n_pins = 1,
		.touches = c->touches, .touch_tail = &c->touch_tail,
		.n_touches = 2,
	};
	void *index = NULL, *records = NULL, *stats = NULL;
	int r = -ENOMEM;

	*c = (struct cache){ 0 };
	if (zeroed(ckv_index_bytes(config.n_buckets), &index) == 0 &&
	    zeroed(ckv_records_bytes(&config.level[0].pool), &records) == 0 &&
	    zeroed(CKV_SPACE_STATS_BYTES, &stats) == 0) {
		c->memory = (struct space_memory){
			.index = index, .records = { records }, .stats = stats,
		};
		r = space_create(&config, &c->memory, &c->space);
	}
	if (r < 0) {
		free(index);
		free(records);
		free(stats);
		return r;
	}
	c->index.buckets = (void *)((char *)index + CKV_INDEX_HEAD_BYTES);
	c->index.n_buckets = config.n_buckets;
	memcpy(c->index.seed, config.seed, sizeof c->index.seed);
	c->lane = space_lane_open(c->space, 0, &lane);
	return 0;
}

static struct ckv_key block_key(uint32_t block)
{
	struct ckv_key key;
	uint64_t x = block + 1ull;

	for (int w = 0; w < 4; w++) {
		x = (x + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
		x ^= x >> 31;
		memcpy(&key.byte[8 * w], &x, sizeof x);
	}
	return key;
}

/* How many of the n blocks are cached; touches the deepest one. */
static uint32_t find_prefix(struct cache *c, const uint32_t *blocks, uint32_t n)
{
	uint32_t found = 0, slot = CKV_NONE;
	struct ckv_block block;

	for (; found < n; found++) {
		struct ckv_key key = block_key(blocks[found]);
		struct ckv_place place = ckv_index_place(&c->index, &key);

		if (!ckv_index_find(&c->index, &place, &key, &slot, &block))
			break;
	}
	if (found > 0) {
		struct ckv_key key = block_key(blocks[found - 1]);
		struct ckv_place place = ckv_index_place(&c->index, &key);

		ckv_index_find(&c->index, &place, &key, &slot, &block);
		ckv_touch_put(c->touches, 2, &c->touch_tail, slot);
		space_touch_drain(c->space, c->lane);
	}
	return found;
}

/* Store blocks[from ..]. Of a chain that is longer than the cache the first part is stored. */
static void store_rest(struct cache *c, const uint32_t *blocks, uint32_t from,
		       uint32_t n)
{
	struct ckv_key parent = { { 0 } }, keys[CHUNK];
	struct ckv_publish_item items[CHUNK];
	struct ckv_lent lent[CHUNK];
	int32_t status[CHUNK];

	while (from < n) {
		uint32_t m = n - from < CHUNK ? n - from : CHUNK;
		int got;

		if (from > 0)
			parent = block_key(blocks[from - 1]);
		for (uint32_t i = 0; i < m; i++)
			keys[i] = block_key(blocks[from + i]);
		got = space_reserve(c->space, c->lane, 0, &parent, keys, m, lent);
		for (int i = 0; i < got; i++)
			items[i] = (struct ckv_publish_item){
				.name = { .page = lent[i].page, .epoch = EPOCH,
					  .lending = lent[i].lending,
					  .level = lent[i].level },
				.n_tokens = 512,
				.flags = CKV_ENTRY_SUMMED,
			};
		if (got > 0)
			space_publish(c->space, c->lane, items, (uint32_t)got,
				      status);
		if (got < (int)m)
			return;
		from += m;
	}
}

/* Which of the runs this is, and how far it is. */
static void tell(const struct progress *p, uint32_t done, uint32_t total)
{
	if (done % 256 != 0)
		return;
	(void)log_progress(sys_now_ns() - p->began_ns, "run %u of %u: %u %%",
			   p->run, p->n_runs, (uint32_t)(100ull * done / total));
}

static int run(const struct trace *t, const struct policy_ops *policy,
	       uint32_t n_blocks, const struct progress *progress,
	       uint64_t *ret_n_hits)
{
	uint64_t n_hits = 0;
	uint32_t start = 0;
	struct cache c;
	int r = cache_open(&c, policy, n_blocks);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < t->n_requests; start = t->ends[i++]) {
		const uint32_t *blocks = &t->refs[start];
		uint32_t n = t->ends[i] - start;
		uint32_t found = find_prefix(&c, blocks, n);

		n_hits += found;
		store_rest(&c, blocks, found, n);
		tell(progress, i, t->n_requests);
	}
	cache_close(&c);
	*ret_n_hits = n_hits;
	return 0;
}

/* ---- options ---- */

static const char usage[] =
	"usage: ckvd --replay TRACE [--policy NAME] [--blocks N]\n"
	"                           [--fraction 1/16,1/8,...] [--json]\n"
	"\n"
	"How often the trace would hit, by eviction policy and size of the cache.\n"
	"ckvd(8) says what a trace may look like.\n"
	"\n"
	"  --policy NAME     one policy, or all (the default)\n"
	"  --blocks N        a cache of N blocks\n"
	"  --fraction LIST   caches of these parts of the trace's distinct blocks\n"
	"                    (default 1/16,1/8,1/4,1/2)\n";

static bool as_json;		/* of what is wrong, too */

/* Say what is wrong; returns `status`, for the program to end with. */
__attribute__((format(printf, 2, 3)))
static int complain(int status, const char *format, ...)
{
	char text[1024], line[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	ckv_text_line(line, sizeof line, text);
	fprintf(stderr, "ckvd: --replay: %s\n", line);
	if (as_json)
		config_print_error(line, status, stdout);
	return status;
}

static int no_policy(const char *name)
{
	const struct policy_ops *p;
	char known[256] = "all";
	size_t n = 3;

	for (uint32_t i = 0; (p = policy_at(i)) != NULL && n < sizeof known; i++)
		n += (size_t)snprintf(known + n, sizeof known - n, ", %s", p->name);
	return complain(2, "there is no policy '%s'; known are %s", name, known);
}

static int choose_policy(struct options *o, const char *name)
{
	const struct policy_ops *p;

	o->n_policies = 0;
	if (strcmp(name, "all") != 0) {
		o->policy[0] = policy_find(name);
		o->n_policies = 1;
		return o->policy[0] ? 0 : no_policy(name);
	}
	for (uint32_t i = 0; i < POLICIES_MAX && (p = policy_at(i)); i++)
		o->policy[o->n_policies++] = p;
	return 0;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{ "policy", required_argument, NULL, 'p' },
		{ "blocks", required_argument, NULL, 'b' },
		{ "fraction", required_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, r = choose_policy(o, "all");
	unsigned long n;
	char *end;

	as_json = false;
	for (int i = 1; i < argc; i++)
		as_json |= strcmp(argv[i], "--json") == 0;
	optind = 0;
	opterr = 0;
	while (r == 0 && (c = getopt_long(argc, argv, ":h", known, NULL)) != -1) {
		switch (c) {
		case 'p':
			r = choose_policy(o, optarg);
			break;
		case 'b':
			n = strtoul(optarg, &end, 10);
			if (*end || *optarg < '0' || *optarg > '9' || n == 0 ||
			    n > BLOCKS_MAX)
				r = complain(2, "--blocks is '%s'; it must be a "
					     "number from 1 to %u", optarg,
					     BLOCKS_MAX);
			o->n_blocks = (uint32_t)n;
			break;
		case 'f':
			o->fractions = optarg;
			break;
		case 'j':
			o->json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			r = complain(2, c == ':' ? "a value is missing after '%s'" :
				     "there is no option '%s', or it takes no value",
				     argv[optind - 1]);
		}
	}
	if (r == 0 && optind != argc - 1)
		r = complain(2, optind == argc ? "a trace is missing%s" :
			     "one trace is replayed at a time, not '%s' too",
			     optind == argc ? "" : argv[optind + 1]);
	o->path = r == 0 ? argv[optind] : NULL;
	return r;
}

/* Read "1/16,1/8" as sizes: these fractions of n blocks, at least one block each. */
static int parse_fractions(const char *text, uint32_t n, struct size *sizes)
{
	const char *at = text;
	int n_sizes = 0, used;
	unsigned num, den;

	do {
		if (n_sizes == SIZES_MAX ||
		    sscanf(at, "%5u/%5u%n", &num, &den, &used) != 2 ||
		    num == 0 || den == 0 || num > den ||
		    (at[used] != '\0' && at[used] != ','))
			return -complain(2, "--fraction is '%s'; it must be a list "
					 "of at most %d, such as 1/16,1/8", text,
					 SIZES_MAX);
		snprintf(sizes[n_sizes].label, sizeof sizes->label, "%u/%u",
			 num, den);
		sizes[n_sizes].n_blocks = (uint32_t)((uint64_t)n * num / den);
		if (sizes[n_sizes].n_blocks == 0)
			sizes[n_sizes].n_blocks = 1;
		n_sizes++;
		at += used;
	} while (*at++ == ',');
	return n_sizes;
}

/* ---- the report ---- */

struct report {
	const struct options *options;
	const struct trace *trace;
	struct size sizes[SIZES_MAX];
	int n_sizes;
	double ratio[POLICIES_MAX + 1][SIZES_MAX]; /* Belady after the policies */
};

static const char *row_name(const struct report *r, uint32_t i)
{
	return i < r->options->n_policies ? r->options->policy[i]->name :
	       "belady";
}

static double endless(const struct trace *t)
{
	return 1 - (double)t->n_blocks / t->n_refs;
}

static int measure(struct report *r)
{
	const struct trace *t = r->trace;
	struct progress p = {
		.began_ns = sys_now_ns(),
		.n_runs = (r->options->n_policies + 1) * (uint32_t)r->n_sizes,
	};
	uint64_t n_hits = 0;

	for (uint32_t i = 0; i <= r->options->n_policies; i++) {
		for (int k = 0; k < r->n_sizes; k++) {
			uint32_t n = r->sizes[k].n_blocks;
			int ret;

			p.run++;
			tell(&p, 0, 1);
			ret = i < r->options->n_policies ?
			      run(t, r->options->policy[i], n, &p, &n_hits) :
			      trace_belady(t, n, &n_hits);
			if (ret < 0)
				return ret;
			r->ratio[i][k] = (double)n_hits / t->n_refs;
		}
	}
	return 0;
}

/* Print what was left out or changed of the file. */
static void print_notes(const struct trace *t)
{
	if (t->n_without > 0)
		printf("rows without hash_ids, left out: %u, the first in line "
		       "%u\n", t->n_without, t->first_without);
	if (t->n_continued > 0)
		printf("rows that list only what is new in their session: %u; "
		       "its blocks before count as used again\n",
		       t->n_continued);
	if (t->sorted)
		printf("the rows were not in the order of their timestamps; they "
		       "are replayed in it\n");
	if (t->n_without > 0 || t->n_continued > 0 || t->sorted)
		printf("\n");
}

static void print_table(const struct report *r)
{
	const struct trace *t = r->trace;

	printf("%u requests, %u blocks used, %u distinct; an endless cache "
	       "would have %.1f %%\n\n", t->n_requests, t->n_refs, t->n_blocks,
	       100 * endless(t));
	print_notes(t);
	printf("%-10s %10s", "cache", "blocks");
	for (uint32_t i = 0; i <= r->options->n_policies; i++)
		printf(" %9s", row_name(r, i));
	printf("\n");
	for (int k = 0; k < r->n_sizes; k++) {
		printf("%-10s %10u", r->sizes[k].label, r->sizes[k].n_blocks);
		for (uint32_t i = 0; i <= r->options->n_policies; i++)
			printf(" %7.2f %%", 100 * r->ratio[i][k]);
		printf("\n");
	}
	printf("\nBlocks found of blocks used. belady: the most that any "
	       "policy could reach.\n");
}

static int print_json(const struct report *r)
{
	json_t *rows = json_object();
	json_t *all;
	int ret;

	for (uint32_t i = 0; i <= r->options->n_policies; i++) {
		json_t *row = json_object();

		for (int k = 0; k < r->n_sizes; k++)
			json_object_set_new(row, r->sizes[k].label,
					    json_real(r->ratio[i][k]));
		json_object_set_new(rows, row_name(r, i), row);
	}
	all = json_pack("{s:I,s:I,s:I,s:I,s:I,s:b,s:f,s:o}",
			"requests", (json_int_t)r->trace->n_requests,
			"blocks_used", (json_int_t)r->trace->n_refs,
			"blocks_distinct", (json_int_t)r->trace->n_blocks,
			"rows_without_ids", (json_int_t)r->trace->n_without,
			"rows_continued", (json_int_t)r->trace->n_continued,
			"sorted", r->trace->sorted, "endless", endless(r->trace), "replay", rows);
	ret = all ? json_dumpf(all, stdout, JSON_INDENT(2)) : -1;
	json_decref(all);
	printf("\n");
	return ret;
}

static int report(const struct options *o, const struct trace *t)
{
	struct report r = { .options = o, .trace = t };
	int ret;

	if (o->n_blocks > 0) {
		snprintf(r.sizes[0].label, sizeof r.sizes[0].label, "%u",
			 o->n_blocks);
		r.sizes[0].n_blocks = o->n_blocks;
		r.n_sizes = 1;
	} else {
		r.n_sizes = parse_fractions(o->fractions, t->n_blocks, r.sizes);
	}
	if (r.n_sizes < 0)
		return -r.n_sizes;
	ret = measure(&r);
	log_progress_end();
	if (ret < 0)
		return complain(1, "%s", strerror(-ret));
	if (!o->json)
		print_table(&r);
	else if (print_json(&r) != 0)
		return 1;
	return 0;
}

int replay_main(int argc, char **argv)
{
	struct options o = { .fractions = "1/16,1/8,1/4,1/2" };
	char text[256] = "";
	struct trace trace;
	FILE *file;
	int r = parse(argc, argv, &o);

	if (r != 0)
		return r;
	if (o.json)
		log_no_progress();
	file = fopen(o.path, "r");
	if (file == NULL)
		return complain(1, "%s: %s", o.path, strerror(errno));
	r = trace_read(file, &trace, text, sizeof text);
	fclose(file);
	if (r < 0)
		return complain(1, "%s: %s", o.path, *text ? text : strerror(-r));
	r = report(&o, &trace);
	trace_free(&trace);
	return r;
}
