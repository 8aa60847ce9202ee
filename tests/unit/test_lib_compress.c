/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_compress.c - views made by a real ckvd: every method, shared by processes,
 * evicted, and what is left when a client or the daemon dies in between.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/daemon.h"
#include "tests/lib/wait.h"

enum {
	LAYERS = 2, HEADS = 2, Q_HEADS = 4, DIM = 32, BLOCK = 16, BLOCKS = 20,
	TOKENS = BLOCK * BLOCKS, WINDOW = 32, INPUT_PAGES = 6,
};

static struct test_daemon daemon_;
static struct ckv *ckv_;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_space_info info;
static uint8_t keys[BLOCKS * CKV_KEY_SIZE];
static struct ckv_page pages[BLOCKS];

static void start(const char *spaces)
{
	test_daemon_start(&daemon_, "workers = 1\n", spaces);
	setenv("CKV_SOCKET", daemon_.socket, 1);
	test_attach(&daemon_, &ckv_, &space, &lane);
	ckv_space_get_info(space, &info);
}

static void setup(void)
{
	start(NULL);
}

static void teardown(void)
{
	ckv_ = ckv_close(ckv_);
	test_daemon_remove(&daemon_);
}

static float number_at(uint32_t i)
{
	i = i * 1664525u + 1013904223u;
	return (float)(i >> 9) / (1 << 22) - 1;
}

static const uint8_t *last_key(void)
{
	return keys + (BLOCKS - 1) * CKV_KEY_SIZE;
}

/* One chain of BLOCKS blocks; `text` tells chains apart. */
static void store(uint32_t text)
{
	uint32_t tokens[TOKENS];

	for (uint32_t i = 0; i < TOKENS; i++)
		tokens[i] = i * 7 + text * 1000003;
	ck_assert_int_eq(ckv_keys(space, NULL, tokens, TOKENS, NULL, 0, keys),
			 BLOCKS);
	ck_assert_int_eq(ckv_reserve(lane, NULL, keys, BLOCKS, pages), BLOCKS);
	for (uint32_t b = 0; b < BLOCKS; b++)
		for (uint32_t i = 0; i < info.page_bytes / 4; i++)
			((float *)pages[b].data)[i] = number_at(i + b * 65537);
	ck_assert_int_eq(ckv_publish(lane, pages, BLOCKS, BLOCK, CKV_SUM, NULL, NULL,
				     NULL), BLOCKS);
}

static float stored(uint32_t layer, int half, uint32_t head, uint32_t token,
		    uint32_t dim)
{
	uint32_t at = (((layer * 2 + (uint32_t)half) * HEADS + head) * BLOCK +
		       token % BLOCK) * DIM + dim;

	return number_at(at + token / BLOCK * 65537);
}

/* Queries, log-sum-exps and column sums, in pages of a lane. */
struct inputs {
	struct ckv_page pages[INPUT_PAGES];
	struct ckv_queries queries;
};

static void bring(struct ckv_lane *l, uint32_t window, int with_lse,
		  struct inputs *in)
{
	struct ckv_queries_layout at;
	static float x[LAYERS * Q_HEADS * WINDOW * DIM], y[LAYERS * HEADS * TOKENS];

	in->queries = (struct ckv_queries){
		.pages = in->pages, .n_pages = INPUT_PAGES,
		.n_query_heads = Q_HEADS, .n_window = window, .type = CKV_F32,
		.with_lse = (uint32_t)with_lse, .n_sum_heads = HEADS,
		.n_sum_tokens = TOKENS,
	};
	ck_assert_int_eq(ckv_reserve_scratch(l, INPUT_PAGES, in->pages), 0);
	ck_assert_int_eq(ckv_queries_lay_out(space, &in->queries, &at), 0);
	ck_assert_uint_le(at.bytes, INPUT_PAGES * info.page_bytes);
	for (uint32_t i = 0; i < sizeof x / sizeof x[0]; i++)
		x[i] = number_at(i * 3 + 1);
	for (uint32_t i = 0; i < sizeof y / sizeof y[0]; i++)
		y[i] = fabsf(number_at(i * 5 + 2));
	ck_assert_int_eq(ckv_queries_write(space, &in->queries, at.queries, x,
		LAYERS * Q_HEADS * window * DIM * sizeof(float)), 0);
	ck_assert_int_eq(ckv_queries_write(space, &in->queries, at.sums, y,
					   sizeof y), 0);
	for (uint32_t i = 0; i < sizeof x / sizeof x[0]; i++)
		x[i] = 20;
	if (with_lse)
		ck_assert_int_eq(ckv_queries_write(space, &in->queries, at.lse, x,
			LAYERS * Q_HEADS * window * sizeof(float)), 0);
}

static struct ckv_view_info made(const char *method, const struct inputs *in)
{
	struct ckv_view_info view;
	int r;

	memset(&view, 0, sizeof view);
	r = ckv_compress(lane, last_key(), method, &in->queries, &view);
	ck_assert_msg(r == 0, "%s: %s: %s", method, ckv_strerror(r), ckv_why(ckv_));
	return view;
}

/* ---- every method ---- */

static const struct {
	const char *text;
	uint32_t window;	/* queries that it takes */
	double worst;		/* difference of a number from the stored one */
	uint32_t n_kept;
} method[] = {
	{ "chunkkv(keep=1/4)", WINDOW, 0, 80 },
	{ "snapkv(tokens=100)", WINDOW, 0, 100 },
	{ "pyramidkv(keep=1/2, window=8)", 8, 0, 0 },
	{ "l2norm(keep=1/2)", WINDOW, 0, 160 },
	{ "keydiff(keep=1/2) + fp8(scale=tensor)", WINDOW, 0.07, 160 },
	{ "tova(keep=1/2)", 1, 0, 160 },
	{ "h2o(keep=1/2)", WINDOW, 0, 160 },
	{ "streamingllm(tokens=64)", WINDOW, 0, 64 },
	{ "random(keep=1/2) + always(sinks=4) + int8", WINDOW, 0.01, 160 },
	{ "fp8(scale=head)", WINDOW, 0.07, TOKENS },
	{ "fp8(scale=block, block=16, full=50)", WINDOW, 0.07, TOKENS },
	{ "kivi(bits=4, group=32)", WINDOW, 0.07, TOKENS },
	{ "kivi(bits=2, group=32, full=16)", WINDOW, 0.35, TOKENS },
	{ "bf16", WINDOW, 0.008, TOKENS },
	{ "fp16", WINDOW, 0.001, TOKENS },
	{ "plain", WINDOW, 0, TOKENS },
	{ "chunkkv(bytes=1/8) + kivi(bits=auto, full=16)", WINDOW, 0.07, 0 },
};

/* The rows of a run are those of its positions, as near as the encoding comes. */
static double worst_of(const struct ckv_view *view, uint32_t layer, uint32_t head)
{
	static float out[TOKENS * DIM];
	double worst = 0;
	struct ckv_run run;

	ck_assert_int_eq(ckv_view_run(lane, view, layer, head, &run), 0);
	for (int half = CKV_K; half <= CKV_V; half++) {
		ck_assert_int_eq(ckv_view_decode(lane, view, layer, head, half, 0,
						 run.n_kept, CKV_F32, out), 0);
		for (uint32_t i = 0; i < run.n_kept; i++)
			for (uint32_t d = 0; d < DIM; d++) {
				double e = out[i * DIM + d] - (double)stored(layer,
					half, head, run.positions[i], d);

				worst = fabs(e) > worst ? fabs(e) : worst;
			}
	}
	return worst;
}

/* Made, found without the queries, opened, and right. */
START_TEST(every_method_makes_a_view)
{
	struct ckv_view_info view, again;
	struct inputs in;
	struct ckv_view open;
	double worst = 0;

	memset(&again, 0, sizeof again);
	store(0);
	bring(lane, method[_i].window, 0, &in);
	view = made(method[_i].text, &in);
	ck_assert_uint_eq(view.bytes, view.head_bytes + view.position_bytes +
			  view.code_bytes + view.scale_bytes +
			  view.padding_bytes);
	ck_assert_uint_eq(view.plain_bytes, BLOCKS * info.page_bytes);
	ck_assert_uint_eq(view.n_tokens, TOKENS);
	if (method[_i].n_kept > 0) {
		ck_assert_uint_eq(view.n_kept_max, method[_i].n_kept);
		ck_assert_uint_eq(view.n_kept_min, method[_i].n_kept);
		ck_assert_uint_eq(view.n_kept_total, 4ull * method[_i].n_kept);
	}
	ck_assert_int_eq(ckv_view_find(lane, last_key(), method[_i].text, &again),
			 0);
	ck_assert_mem_eq(&view, &again, sizeof view);
	ck_assert_int_eq(ckv_view_open(lane, view.key, &open), 0);
	for (uint32_t i = 0; i < LAYERS * HEADS; i++)
		worst = fmax(worst, worst_of(&open, i / HEADS, i % HEADS));
	ck_assert_double_le(worst, method[_i].worst);
	ck_assert(method[_i].worst == 0 || worst > 0);
	ckv_unpin(lane, &open.pin);
}
END_TEST

/* What a method does not read makes no other view; what it reads does. */
START_TEST(only_what_is_read_counts)
{
	struct ckv_queries none = { .n_pages = 0 };
	struct ckv_view_info a, b;
	struct inputs in;

	store(0);
	bring(lane, WINDOW, 0, &in);
	a = made("keydiff(keep=1/2)", &in);
	ck_assert_int_eq(ckv_compress(lane, last_key(), " keydiff( keep=0.5 )", NULL,
				      &b), 0);
	ck_assert_mem_eq(a.key, b.key, sizeof a.key);
	ck_assert_int_eq(ckv_compress(lane, last_key(), "keydiff(keep=1/2)", &none,
				      &b), 0);
	ck_assert_mem_eq(a.key, b.key, sizeof a.key);
	ck_assert_int_eq(space_counter("views_made"), 1);
	a = made("snapkv(keep=1/2)", &in);
	((float *)in.pages[0].data)[7] += 1;
	b = made("snapkv(keep=1/2)", &in);
	ck_assert_mem_ne(a.key, b.key, sizeof a.key);
	ckv_abort(lane, in.pages, INPUT_PAGES, NULL);
	bring(lane, WINDOW, 1, &in);
	b = made("snapkv(keep=1/2)", &in);
	ck_assert_mem_ne(a.key, b.key, sizeof a.key);
	ck_assert_int_eq(space_counter("views_made"), 4);
}
END_TEST

/* ---- refusals ---- */

static void refused(const char *text, const struct inputs *in, int error,
		    const char *part)
{
	struct ckv_view_info view;

	ck_assert_int_eq(ckv_compress(lane, last_key(), text, in ? &in->queries :
				      NULL, &view), error);
	ck_assert_msg(strstr(ckv_why(ckv_), part) != NULL, "%s: %s", text,
		      ckv_why(ckv_));
}

/* Whatever cannot be done is said in one line, and nothing is left of it. */
START_TEST(refusals_say_what_and_where)
{
	struct inputs in;

	store(0);
	bring(lane, WINDOW, 0, &in);
	refused("snapkv(keep=1/4)", NULL, -EINVAL,
		"this needs the queries of the last 32 tokens, and none came");
	refused("h2o(keep=1/4)", NULL, -EINVAL, "needs the column sums");
	refused("snapkv(keep=1/4, window=31)", &in, -EINVAL,
		"queries of 32 tokens came; expected window=31");
	refused("magic", &in, -EINVAL, "magic");
	refused("kivi(bits=3)", &in, -EINVAL, "bits=3: expected 2, 4, 8 or auto");
	refused("l2norm(keep=1/2, mode=official, skip=5)", &in, -EINVAL,
		"expected layers 0 to 1");
	refused("snapkv(bytes=1/1000)", &in, -EINVAL, "expected at least bytes=");
	((float *)in.pages[0].data)[(Q_HEADS + 2) * WINDOW * DIM - DIM - 5] = NAN;
	refused("snapkv(keep=1/4)", &in, -EDOM, "layer 1: a query is NaN or "
		"infinite: query head 1, window row 30, element 27");
	ck_assert_int_eq(space_counter("views_made"), 0);
	ck_assert_int_eq(space_counter("view_pages_used"), 0);
}
END_TEST

/* A number that cannot be encoded is found when the pages are written: all go back. */
START_TEST(what_cannot_be_encoded_gives_its_pages_back)
{
	uint32_t at = ((1 * 2 + 1) * HEADS + 1) * BLOCK * DIM + 3 * DIM + 9;

	store(0);
	/* The key of the block is not of its contents: another writer, other bytes. */
	ck_assert_int_eq(ckv_drop(lane, last_key(), 1, NULL), 1);
	ck_assert_int_eq(ckv_reserve(lane, last_key() - CKV_KEY_SIZE, last_key(), 1,
				     pages), 1);
	for (uint32_t i = 0; i < info.page_bytes / 4; i++)
		((float *)pages[0].data)[i] = i == at ? INFINITY : 1;
	ck_assert_int_eq(ckv_publish(lane, pages, 1, BLOCK, CKV_SUM, NULL, NULL, NULL), 1);
	refused("kivi", NULL, -EDOM, "layer 1: a value is NaN or infinite: kv head 1, "
		"token 307, element 9");
	ck_assert_int_eq(space_counter("view_pages_used"), 0);
	/* A method that does not read it, and one that keeps it as it is. */
	ck_assert_int_eq(ckv_compress(lane, last_key(), "keydiff(keep=1/2)", NULL,
				      &(struct ckv_view_info){ .bytes = 0 }), 0);
}
END_TEST

/* What was stored is what is compressed: a damaged page is a miss. */
START_TEST(a_damaged_page_is_a_miss)
{
	store(0);
	((char *)pages[7].data)[4097] ^= 1;	/* the mapping is still there */
	refused("kivi", NULL, -ENOENT, "block 7 of the chain does not match its "
		"checksum");
	((char *)pages[7].data)[4097] ^= 1;
	ck_assert_int_eq(ckv_compress(lane, last_key(), "kivi", NULL,
				      &(struct ckv_view_info){ .bytes = 0 }), 0);
}
END_TEST

/* ---- quota ---- */

#define SPACE_FEW_VIEWS	TEST_SPACE("tiny", "pool = 1152K\nslab = 192K\nviews = 20\n")

/* 72 pages, of which 12 are for views; a plain view of the chain takes 21. */
START_TEST(views_have_a_quota_of_their_own)
{
	struct ckv_view_info view, first, second;
	struct ckv_view open;

	start(SPACE_FEW_VIEWS);
	store(0);
	refused("plain", NULL, -ENOSPC, "the view would have");
	ck_assert_msg(ckv_compress(lane, last_key(), "streamingllm(keep=1/4)",
				   NULL, &first) == 0, "%s", ckv_why(ckv_));
	ck_assert_int_eq(ckv_view_open(lane, first.key, &open), 0);
	ck_assert_int_eq(ckv_compress(lane, last_key(), "random(keep=1/4, seed=1)",
				      NULL, &second), 0);
	/* The third does not fit beside them: the one that nobody holds goes. */
	ck_assert_int_eq(ckv_compress(lane, last_key(), "random(keep=1/4, seed=2)",
				      NULL, &view), 0);
	ck_assert_int_eq(space_counter("views_evicted"), 1);
	ck_assert_int_eq(ckv_view_find(lane, last_key(), "random(keep=1/4, seed=1)",
				       &view), -ENOENT);
	ck_assert_int_eq(ckv_view_find(lane, last_key(), "streamingllm(keep=1/4)",
				       &view), 0);
	/* Blocks were not touched for it. */
	ck_assert_int_eq(space_counter("evicted"), 0);
	ckv_unpin(lane, &open.pin);
	/* And a view outlives its chain. */
	for (uint32_t i = BLOCKS; i-- > 0; )
		ck_assert_int_eq(ckv_drop(lane, keys + i * CKV_KEY_SIZE, 1, NULL),
				 1);
	ck_assert_int_eq(ckv_view_open(lane, first.key, &open), 0);
	ck_assert_double_eq(worst_of(&open, 1, 1), 0);
	ckv_unpin(lane, &open.pin);
	ck_assert_int_eq(ckv_drop(lane, first.key, 1, NULL), 1);
	ck_assert_int_eq(ckv_view_open(lane, first.key, &open), -ENOENT);
	teardown();
}
END_TEST

/* ---- other processes ---- */

/* Attach anew in a child: what was inherited is of no use there. */
static struct ckv_lane *child_lane(void)
{
	struct ckv *c;
	struct ckv_lane *l;

	if (ckv_open(NULL, "child", &c) < 0 ||
	    ckv_attach(c, "tiny", NULL, CKV_WRITE, &space) < 0 ||
	    ckv_lane_open(space, NULL, &l) < 0)
		_exit(1);
	return l;
}

static void send_all(struct ckv_lane *l, uint32_t n, struct ckv_view_info *views)
{
	for (uint32_t i = 0; i < n; i++) {
		char text[64];

		snprintf(text, sizeof text, "random(keep=1/8, seed=%u)", i);
		if (ckv_submit_compress(l, last_key(), text, NULL, &views[i], i) != 0)
			_exit(2);
	}
}

/* More requests wait for one view than are answered in a turn: all are answered. */
START_TEST(all_who_wait_for_a_view_get_it)
{
	enum { WAITERS = 8 };
	struct ckv_view_info views[WAITERS];
	struct ckv_event events[WAITERS];

	store(0);
	for (uint32_t i = 0; i < WAITERS; i++)
		ck_assert_int_eq(ckv_submit_compress(lane, last_key(), "fp8", NULL,
						     &views[i], i), 0);
	for (uint32_t i = 0; i < WAITERS; i++) {
		ck_assert_int_eq(ckv_wait(lane, 5000000000, events, 1), 1);
		ck_assert_int_eq((int)events[0].result, 0);
	}
	for (uint32_t i = 1; i < WAITERS; i++)
		ck_assert_mem_eq(views[i].key, views[0].key, sizeof views[0].key);
}
END_TEST

/* Equal requests of processes at the same time make one view each, for all. */
START_TEST(equal_requests_make_one_view)
{
	enum { CHILDREN = 4, VIEWS = 6 };
	int ends[2], status;
	uint8_t key[VIEWS][32], first[VIEWS][32];

	store(0);
	ck_assert_int_eq(pipe(ends), 0);
	for (int c = 0; c < CHILDREN; c++) {
		if (fork() == 0) {
			struct ckv_lane *l = child_lane();
			struct ckv_view_info views[VIEWS];
			struct ckv_event events[VIEWS];

			send_all(l, VIEWS, views);
			for (int n = 0; n < VIEWS; n++) {
				if (ckv_wait(l, 10000000000, events, 1) != 1 ||
				    events[0].result != 0)
					_exit(3);
			}
			for (int i = 0; i < VIEWS; i++)
				memcpy(key[i], views[i].key, 32);
			_exit(write(ends[1], key, sizeof key) == sizeof key ? 0 : 4);
		}
	}
	for (int c = 0; c < CHILDREN; c++) {
		wait(&status);
		ck_assert_int_eq(status, 0);
		ck_assert_int_eq(read(ends[0], key, sizeof key), sizeof key);
		if (c == 0)
			memcpy(first, key, sizeof key);
		ck_assert_mem_eq(first, key, sizeof key);
	}
	ck_assert_int_eq(space_counter("views_made"), VIEWS);
	ck_assert_int_eq(space_counter("views"), VIEWS);
	ck_assert_int_eq(space_counter("views_shared"), (CHILDREN - 1) * VIEWS);
}
END_TEST

/* Until a dead process's claims are gone. */
static long dropped_at_last(const uint8_t *key)
{
	long n = 0;

	WAIT_UNTIL((n = ckv_drop(lane, key, 1, NULL)) != 0);
	return n;
}

/* A process that dies with a view pinned does not keep it. */
START_TEST(a_dead_readers_pin_goes)
{
	struct ckv_view_info view;
	int32_t status;
	int ends[2];
	char letter;
	pid_t pid;

	store(0);
	ck_assert_int_eq(ckv_compress(lane, last_key(), "kivi", NULL, &view), 0);
	ck_assert_int_eq(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		struct ckv_lane *l = child_lane();
		struct ckv_view open;

		if (ckv_view_open(l, view.key, &open) < 0 ||
		    write(ends[1], "y", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(ends[0], &letter, 1), 1);
	ck_assert_int_eq(ckv_drop(lane, view.key, 1, &status), 0);
	ck_assert_int_eq(status, -EBUSY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ck_assert_int_eq(dropped_at_last(view.key), 1);
	ck_assert_int_eq(space_counter("view_pages_used"), 0);
}
END_TEST

/* A process that dies while its views are made: they are made, and nothing stays held. */
START_TEST(a_dead_writers_views_are_made)
{
	struct ckv_view_info view;
	struct ckv_view_info *views = calloc(8, sizeof *views);
	int status;
	pid_t pid;

	store(0);
	pid = fork();
	if (pid == 0) {
		struct ckv_lane *l = child_lane();
		uint8_t other[CKV_KEY_SIZE] = { 1 };
		struct inputs in;

		bring(l, WINDOW, 1, &in);
		for (uint32_t i = 0; i < 4; i++) {
			char text[64];

			snprintf(text, sizeof text, "snapkv(tokens=%u)", 40 + i);
			if (ckv_submit_compress(l, last_key(), text, &in.queries,
						&views[i], i) != 0)
				_exit(2);
		}
		/* When it answers what came later, the daemon has taken all of them. */
		if (ckv_drop(l, other, 1, NULL) != 0)
			_exit(3);
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	ck_assert(WIFSIGNALED(status));
	/* The chain can be dropped when the last of them has let go of it. */
	ck_assert_int_eq(dropped_at_last(last_key()), 1);
	ck_assert_int_eq(space_counter("pages_lent"), 0);
	ck_assert_int_eq(ckv_view_find(lane, last_key(), "snapkv(tokens=43)", &view),
			 0);
	free(views);
}
END_TEST

/* SIGTERM in the middle of jobs: a clean end, soon; who waits hears of it. */
START_TEST(a_stop_does_not_wait_for_all_jobs)
{
	struct ckv_view_info views[8];
	struct ckv_event event;
	struct inputs in;
	int r;

	store(0);
	bring(lane, WINDOW, 0, &in);
	for (uint32_t i = 0; i < 8; i++) {
		char text[64];

		snprintf(text, sizeof text, "snapkv(tokens=%u)", 40 + i);
		ck_assert_int_eq(ckv_submit_compress(lane, last_key(), text,
						     &in.queries, &views[i], i),
				 0);
	}
	ck_assert_int_eq(test_daemon_stop(&daemon_), 0);
	do
		r = ckv_wait(lane, 1000000000, &event, 1);
	while (r == 1 && event.result == 0);
	ck_assert(r == -ESTALE || r == 0 ||
		  (r == 1 && (event.result == -ESTALE || event.result == -EAGAIN)));
}
END_TEST

/* Counts whose product would wrap around to a small layout. */
START_TEST(absurd_inputs_are_refused)
{
	static const struct ckv_queries absurd[] = {
		{ .n_query_heads = 1u << 31, .n_window = 1u << 31, .type = CKV_BF16 },
		{ .n_query_heads = 0xc0000000, .n_window = 0xaaaaaaab, .type = CKV_BF16 },
		{ .n_sum_heads = 1u << 31, .n_sum_tokens = 1u << 31 },
		{ .n_query_heads = 1u << 30, .n_window = 1u << 25, .type = CKV_BF16,
		  .n_sum_heads = 1u << 30, .n_sum_tokens = 1u << 29 },
	};
	struct ckv_queries_layout at;

	for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++)
		ck_assert_int_eq(ckv_queries_lay_out(space, &absurd[i], &at), -EINVAL);
}
END_TEST

CHECK_MAIN("lib_compress",
	CASE("views", .setup = setup, .teardown = teardown),
	EACH(every_method_makes_a_view, method),
	TEST(absurd_inputs_are_refused),
	TEST(only_what_is_read_counts),
	TEST(refusals_say_what_and_where),
	TEST(what_cannot_be_encoded_gives_its_pages_back),
	TEST(a_damaged_page_is_a_miss),
	TEST(all_who_wait_for_a_view_get_it),
	TEST(equal_requests_make_one_view),
	TEST(a_dead_readers_pin_goes),
	TEST(a_dead_writers_views_are_made),
	TEST(a_stop_does_not_wait_for_all_jobs),
	CASE("own daemon"),
	TEST(views_have_a_quota_of_their_own))
