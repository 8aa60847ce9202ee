/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lies_views.c - lies about compressions: in the argument, about the scratch pages,
 * and in what lies there while a worker reads it.
 */
#include "tests/crash/lies.h"

#include <unistd.h>

enum { TOKENS = 16, SCRATCH = 2 };

struct ask {
	struct ckv_compress_arg arg;
	struct ckv_page_name page[SCRATCH];
};

static void must(int right)
{
	if (!right)
		_exit(1);
}

static void fill(void *page, size_t bytes)
{
	for (size_t i = 0; i < bytes / 4; i++)
		((float *)page)[i] = (float)(i * 37 % 101) / 50 - 1;
}

/* A chain of one full block of ordinary numbers; the neighbours may evict it. */
static void store(struct raw_lane *lane, const struct ckv_key *key)
{
	struct ckv_publish_item item = { .n_tokens = TOKENS };
	struct ckv_lent lent;
	int32_t status;
	int r = raw_reserve(lane, NULL, key, &lent);

	if (r == -EEXIST)
		return;
	must(r == 0);
	fill(raw_page_write(lane, lent.page), lane->raw->space.pool.page_bytes);
	item.name = raw_name(lane->raw, &lent);
	must(raw_request(lane, CKV_OP_PUBLISH, 0, &item, sizeof item, 1, &status,
			 sizeof status) == 1);
}

/* What is in order: queries of 4 tokens and column sums in two scratch pages. */
static struct ask in_order(struct raw_lane *lane, const char *method)
{
	struct ask ask = { .arg = {
		.chain = raw_key(11, 1), .n_query_heads = 4, .n_window = 4,
		.query_dtype = CKV_DTYPE_F32, .n_sum_heads = 2,
		.n_sum_tokens = TOKENS,
	} };
	struct ckv_lent lent[SCRATCH];

	store(lane, &ask.arg.chain);
	strcpy(ask.arg.method, method);
	must(raw_reserve_scratch(lane, SCRATCH, lent) == SCRATCH);
	for (int i = 0; i < SCRATCH; i++) {
		must(lent[i].status == 0);
		ask.page[i] = raw_name(lane->raw, &lent[i]);
		fill(raw_page_write(lane, lent[i].page),
		     lane->raw->space.pool.page_bytes);
	}
	return ask;
}

static int compress(struct raw_lane *lane, const struct ask *ask,
		    struct ckv_view_reply *reply)
{
	return raw_request(lane, CKV_OP_COMPRESS, 0, ask, sizeof *ask, SCRATCH,
			   reply, sizeof *reply);
}

static void lose(struct raw_lane *lane, const struct ask *ask)
{
	struct ckv_req request = { .op = CKV_OP_COMPRESS, .tag = 1, .n = SCRATCH,
				   .arg_bytes = sizeof *ask };

	memcpy(lane->c + lane->map.args, ask, sizeof *ask);
	must(raw_put(lane, &request) == 0);
	_exit(raw_closed(lane) == EPROTO ? 0 : 1);
}

void compress_reserved(struct raw_lane *lane)
{
	struct ask ask = in_order(lane, "h2o(keep=1/2)");

	ask.arg.zero[1] = 1;
	lose(lane, &ask);
}

/* Pages of others, of other times: refused with a text, nothing is held. */
void compress_foreign_page(struct raw_lane *lane)
{
	struct ask right = in_order(lane, "h2o(keep=1/2)"), ask;
	struct ckv_view_reply reply;

	for (int i = 0; i < 3; i++) {
		ask = right;
		if (i == 0)
			ask.page[1] = lies_foreign_page;
		ask.page[1].lending += i == 1;
		ask.page[1].epoch -= i == 2;
		store(lane, &ask.arg.chain);
		must(compress(lane, &ask, &reply) == -ESTALE);
		must(reply.text[0] != 0);
	}
	store(lane, &right.arg.chain);
	must(compress(lane, &right, &reply) == 0);
	_exit(0);
}

void compress_page_beyond(struct raw_lane *lane)
{
	struct ask ask = in_order(lane, "h2o(keep=1/2)");

	ask.page[0].page = UINT32_MAX;
	lose(lane, &ask);
}

/* Every field that a method reads, wrong: refused with a text, and the lane works. */
void compress_wrong_fields(struct raw_lane *lane)
{
	static const struct {
		size_t at;
		uint32_t value;
	} wrong[] = {
#define WRONG(field, value) { offsetof(struct ckv_compress_arg, field), value }
		WRONG(n_query_heads, 0), WRONG(n_query_heads, 3),
		WRONG(n_query_heads, 0xfffffffe), WRONG(n_query_heads, 1024),
		WRONG(n_window, 3), WRONG(n_window, 0xffffffff),
		WRONG(n_window, 4096), WRONG(query_dtype, 0),
		WRONG(query_dtype, 4), WRONG(query_dtype, 0x80000001),
		WRONG(inputs, 1), WRONG(inputs, 4), WRONG(inputs, 0xffffffff),
		WRONG(n_sum_heads, 0), WRONG(n_sum_heads, 3),
		WRONG(n_sum_heads, 0xffffffff), WRONG(n_sum_tokens, 0),
		WRONG(n_sum_tokens, 17), WRONG(n_sum_tokens, 0xffffffff),
		WRONG(method, 0), WRONG(method, 0xffffffff),
	};
	struct ask right = in_order(lane, "snapkv(keep=1/2, window=4)"), ask;
	struct ckv_view_reply reply;
	char last;

	must(compress(lane, &right, &reply) == 0);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		ask = right;
		memcpy((char *)&ask.arg + wrong[i].at, &wrong[i].value, 4);
		store(lane, &ask.arg.chain);
		must(compress(lane, &ask, &reply) == -EINVAL);
		last = reply.text[sizeof reply.text - 1];
		must(reply.text[0] != 0 && last == 0);
	}
	ask = right;
	ask.arg.chain = raw_key(11, 99);
	must(compress(lane, &ask, &reply) == -ENOENT);
	memset(ask.arg.method, 'x', sizeof ask.arg.method);
	must(compress(lane, &ask, &reply) == -EINVAL);
	store(lane, &right.arg.chain);
	must(compress(lane, &right, &reply) == 0);
	_exit(0);
}

/* Is it a view whose every offset is inside it? */
static bool view_right(const struct raw *raw, const struct ckv_block *block,
		       const void *page)
{
	return ckv_view_ok(page, block->n_pages * raw->space.pool.page_bytes,
			   &raw->space.geometry);
}

enum { MOVES = 2000, WILD_EVERY = 8 };

/*
 * Change what a request reads while it is read: the inputs; of a wild one to any
 * bits, and the text of its method too. (Other lies about the argument close the lane.)
 */
static void move_inputs(struct raw_lane *lane, const struct ask *ask, bool wild,
			uint32_t *seed)
{
	for (int k = 0; k < MOVES; k++) {
		float *page = raw_page_write(lane, ask->page[k % 2].page);
		float tame;

		*seed = *seed * 1664525u + 1013904223u;
		tame = (float)(*seed >> 8) * 0x1p-24f;
		memcpy(page + (*seed >> 20), wild ? (void *)seed : &tame, 4);
		if (wild && k % 50 == 0)
			memcpy(lane->c + lane->map.args +
			       offsetof(struct ckv_compress_arg, method) +
			       (*seed >> 26) * 4, seed, sizeof *seed);
	}
}

/*
 * The argument and the scratch pages change all the time that jobs run: whatever was
 * copied is judged, and what is made of it is a view.
 */
void compress_moving_inputs(struct raw_lane *lane)
{
	static const char *const method[] = {
		"h2o(keep=1/2)", "snapkv(keep=1/2, window=4) + kivi",
		"tova(keep=1/4)", "fp8",
	};
	struct ask right = in_order(lane, method[0]);
	uint32_t seed = 1, n_seen = 0;

	for (int i = 0; i < 400; i++) {
		struct ckv_req request = { .op = CKV_OP_COMPRESS, .n = SCRATCH,
					   .tag = (uint64_t)i,
					   .arg_bytes = sizeof right };
		struct ckv_view_reply reply;
		struct ckv_comp comp;

		store(lane, &right.arg.chain);
		strcpy(right.arg.method, method[i % 4]);
		right.arg.n_window = i % 4 == 2 ? 1 : 4;
		memcpy(lane->c + lane->map.args, &right, sizeof right);
		must(raw_put(lane, &request) == 0);
		move_inputs(lane, &right, i % WILD_EVERY == 0, &seed);
		must(raw_take(lane, &comp) == 0);
		memcpy(&reply, lane->d + lane->map.results, sizeof reply);
		must(comp.result == 0 || i % WILD_EVERY == 0);
		if (comp.result == 0) {
			int seen = raw_judge(lane, &reply.key, view_right);

			must(seen >= 0);
			n_seen += seen > 0;
		}
		for (int p = 0; p < SCRATCH; p++)
			fill(raw_page_write(lane, right.page[p].page),
			     lane->raw->space.pool.page_bytes);
	}
	_exit(n_seen > 300 ? 0 : 3);
}
