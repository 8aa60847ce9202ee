/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_arglist.c - well-formed slots whose argument lists are anything.
 *
 * Each step is one request: its list is made of keys, pages and items that
 * may exist, or of raw bytes. It completes exactly once or its lane is closed,
 * the count it answers is the count of items that went well, and one that is
 * refused as a whole changed nothing. (A lie among pages ends the list where it is.)
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/served.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct list {
	struct ckv_req request;
	char *at;		/* where its argument is, in the area */
	uint32_t room;
};

static void append(struct list *list, const void *item, uint32_t bytes)
{
	if (list->room - list->request.arg_bytes < bytes)
		return;
	memcpy(list->at + list->request.arg_bytes, item, bytes);
	list->request.arg_bytes += bytes;
}

static void append_key(struct list *list, struct fuzz_input *in)
{
	struct ckv_key key = core_key(fuzz_u8(in) % 48);

	append(list, &key, sizeof key);
}

/* A page as it was lent last; of another lending, or daemon. */
static struct ckv_page_name take_name(const struct served *s,
				      struct fuzz_input *in)
{
	uint8_t page = fuzz_u8(in);
	struct ckv_page_name name = core_last_name(&s->core, page & 0x7f);

	if (page & 0x80) {
		name.lending -= page & 1;
		name.epoch += ~page & 1;
		name.level -= page >> 1 & 1;
	}
	return name;
}

static void append_item(const struct served *s, struct list *list,
			struct fuzz_input *in)
{
	struct ckv_publish_item item = {
		.name = take_name(s, in), .n_tokens = fuzz_u8(in) % 32,
		.flags = fuzz_u8(in) % 4, .checksum = 99,
	};

	/* The usual one is asked for by the least bytes. */
	if (item.n_tokens == 0)
		item.n_tokens = CORE_TOKENS;
	append(list, &item, sizeof item);
}

static void append_page(const struct served *s, struct list *list,
			struct fuzz_input *in)
{
	struct ckv_page_name name = take_name(s, in);

	append(list, &name, sizeof name);
}

static void append_method(struct list *list, struct fuzz_input *in)
{
	static const char *const usual[] = {
		"chunkkv(keep=1/4, chunk=4, window=4)",
		"chunkkv(keep=0.5,mode=paper,chunk=2,window=8,reuse=2)",
		"h2o(keep=1/2, recent=2)",
		"snapkv(keep=1/2, window=4) + kivi(bits=4, group=8, full=2)",
		"keydiff(keep=1/4) + fp8(scale=tensor)",
		"tova(keep=1/2) + always(sinks=1) + int8(group=8)",
	};
	char text[CKV_METHOD_BYTES] = "";
	uint8_t which = fuzz_u8(in);

	if (which < sizeof usual / sizeof usual[0])
		memcpy(text, usual[which], strlen(usual[which]));
	else
		fuzz_take(in, text, which);
	append(list, text, sizeof text);
}

/* The inputs beside queries are asked for by the type's highest bit. */
static void append_compress(struct list *list, struct fuzz_input *in)
{
	struct ckv_compress_arg arg = {
		.n_query_heads = fuzz_u8(in), .n_window = fuzz_u8(in),
	};
	uint8_t type = fuzz_u8(in);

	arg.query_dtype = type & 0x7f;
	if (type & 0x80) {
		arg.inputs = fuzz_u8(in);
		arg.n_sum_heads = fuzz_u8(in);
		arg.n_sum_tokens = fuzz_u8(in);
	}
	append_key(list, in);
	append_method(list, in);
	append(list, &arg.n_query_heads,
	       sizeof arg - offsetof(struct ckv_compress_arg, n_query_heads));
}

/* Mostly one that waits for some turns, at the level there is. */
static void append_prefetch(struct list *list, struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	struct ckv_prefetch_arg arg = {
		.timeout_ns = how & 1 ? UINT64_MAX : how * 1000u,
		.level = how >> 6 == 3 ? how >> 4 : CKV_LEVEL_HOST,
		.flags = how >> 1 & (how & 32 ? 3 : 1),
	};

	append(list, &arg, sizeof arg);
}

/* Mostly at the level there is; the parent may be none. */
static void append_reserve(struct list *list, struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	struct ckv_reserve_arg arg = {
		.parent = core_key(how % 48),
		.level = how >= 250 ? how - 250u : CKV_LEVEL_HOST,
		.zero = how == 249,
	};

	append(list, &arg, sizeof arg);
}

static void make_list(const struct served *s, struct list *list,
		      struct fuzz_input *in)
{
	struct ckv_req *request = &list->request;
	uint32_t n = request->n;

	switch (request->op) {
	case CKV_OP_RESERVE:
		if (request->flags & CKV_REQ_SCRATCH)
			return;
		append_reserve(list, in);
		/* fall through */
	case CKV_OP_DROP:
		for (uint32_t i = 0; i < n; i++)
			append_key(list, in);
		break;
	case CKV_OP_PREFETCH:
		append_prefetch(list, in);
		for (uint32_t i = 0; i < n; i++)
			append_key(list, in);
		break;
	case CKV_OP_CANCEL:
		append(list, &(uint64_t){ 77 + (fuzz_u8(in) & 1) }, 8);
		break;
	case CKV_OP_PUBLISH:
		for (uint32_t i = 0; i < n; i++)
			append_item(s, list, in);
		break;
	case CKV_OP_COMPRESS:
		append_compress(list, in);
		/* fall through */
	case CKV_OP_ABORT:
		for (uint32_t i = 0; i < n; i++)
			append_page(s, list, in);
		break;
	case CKV_OP_STAT:
		append_key(list, in);
		append_method(list, in);
		break;
	default:
		break;
	}
}

/* The answers that are 0, by the shape of the operation's answer. */
static void check_answers(struct served *s, int i,
			  const struct ckv_req *request, int32_t result)
{
	const char *at = s->end[i].d + s->map.results + request->arg_offset;
	uint32_t bytes = request->op == CKV_OP_RESERVE ?
			 sizeof(struct ckv_lent) : sizeof(int32_t);
	int32_t n_good = 0, status;

	if (request->op != CKV_OP_RESERVE && request->op != CKV_OP_PUBLISH &&
	    request->op != CKV_OP_ABORT && request->op != CKV_OP_DROP)
		return;
	for (uint32_t k = 0; result >= 0 && k < request->n; k++) {
		memcpy(&status, at + k * bytes, sizeof status);
		assert(status <= 0);
		n_good += status == 0;
	}
	assert(result < 0 || result == n_good);
}

static void step(struct served *s, struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	int i = how >> 7;
	struct ckv_comp comp = { .tag = 0 };
	struct list list = { .request = {
		.op = fuzz_u8(in) % 12, .flags = how & 1, .tag = 77,
		.n = fuzz_u8(in),
	} };
	uint32_t completed = s->end[i].n_completed, right_bytes;
	uint32_t n_waits[SERVED_LANES] = { s->lane[0].n_waits, s->lane[1].n_waits };
	bool waits = n_waits[0] + n_waits[1] > 0;
	void *before;
	bool lied;

	if (how & 2)
		list.request.arg_offset = fuzz_u16(in) % 1024 * 8;
	list.at = s->end[i].c + s->map.args + list.request.arg_offset;
	list.room = s->lane[i].shape.arg_bytes - list.request.arg_offset;
	make_list(s, &list, in);
	if (how & 4)		/* and then something else over it */
		fuzz_take(in, list.at, list.request.arg_bytes);
	right_bytes = list.request.arg_bytes;
	if (how & 8)
		list.request.arg_bytes += (uint32_t)fuzz_u8(in) - 16;
	if (how & 16)
		fuzz_take(in, served_page(s, fuzz_u8(in) % SERVED_PAGES), 64);
	if (s->lane[i].state != LANE_OPEN)
		return;
	before = core_snapshot(&s->core);
	served_put(s, i, &list.request);
	served_turn(s, &comp);
	if (s->lane[i].state == LANE_OPEN) {
		/* It is answered, or will be; others that waited may have been, too. */
		assert(s->end[i].n_completed + s->lane[i].n_waits ==
		       completed + n_waits[i] + 1);
		waits |= s->lane[i].n_waits > 0;
	}
	if (s->lane[i].state == LANE_OPEN && !waits) {
		assert(comp.tag == 77 && comp.n == list.request.n);
		/* A list of another length is no list. */
		assert(comp.result < 0 ||
		       list.request.arg_bytes == right_bytes);
		check_answers(s, i, &list.request, comp.result);
	}
	lied = s->lane[i].state != LANE_OPEN;
	if (lied && (list.request.op == CKV_OP_PUBLISH ||
		     list.request.op == CKV_OP_ABORT))
		lied = false;
	if ((lied || comp.result < 0) && !waits && list.request.op != CKV_OP_COMPRESS)
		assert(core_same(&s->core, before));
	free(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct served *s = malloc(sizeof *s);

	assert(s != NULL);
	served_open(s);
	for (int n = 0; in.size > 0 && n < 48; n++)
		step(s, &in);
	served_close(s);
	free(s);
	return 0;
}
