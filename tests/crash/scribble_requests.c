/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scribble_requests.c - requests at random: malformed, well-formed but strange, and
 * with arguments that change while the daemon looks at them.
 */
#include "tests/crash/scribble.h"
#include "tests/crash/storm.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { KEYS = 48, LENT_MAX = 512, MOVING = 8 };

static char *args_of(const struct raw_lane *lane)
{
	return lane->c + lane->map.args;
}

static void reap(struct raw_lane *lane)
{
	struct ckv_msg message;

	while (ckv_ring_take(&lane->completions, &message) == 0)
		;
	ckv_ring_credit(&lane->completions);
}

/* One that waits for some milliseconds, mostly at the level there is. */
static void scribble_prefetch(struct scribbler *s, char *at)
{
	struct ckv_prefetch_arg arg = {
		.timeout_ns = scribble_draw(s, 5) * 1000000ull,
		.level = scribble_draw(s, 20) ? CKV_LEVEL_HOST : scribble_draw(s, 6),
		.flags = scribble_draw(s, 2),
	};

	memcpy(at, &arg, sizeof arg);
}

/* ---- requests of random fields ---- */

/* What arg_bytes should be; half of the time a parent of zeros, or a known method. */
static uint32_t bytes_of(struct scribbler *s, const struct ckv_req *q, char *arg)
{
	switch (q->op) {
	case CKV_OP_RESERVE:
		if (scribble_draw(s, 2))
			*(struct ckv_reserve_arg *)(void *)arg =
				(struct ckv_reserve_arg){ .level = CKV_LEVEL_HOST };
		return q->flags ? 0 : (uint32_t)sizeof(struct ckv_reserve_arg) +
				      q->n * CKV_KEY_BYTES;
	case CKV_OP_PUBLISH:
		return q->n * (uint32_t)sizeof(struct ckv_publish_item);
	case CKV_OP_ABORT:
		return q->n * (uint32_t)sizeof(struct ckv_page_name);
	case CKV_OP_DROP:
		return q->n * CKV_KEY_BYTES;
	case CKV_OP_PREFETCH:
		scribble_prefetch(s, arg);
		return (uint32_t)sizeof(struct ckv_prefetch_arg) +
		       q->n * CKV_KEY_BYTES;
	case CKV_OP_CANCEL:
		return sizeof(struct ckv_cancel_arg);
	case CKV_OP_COMPRESS:
		if (scribble_draw(s, 2))
			strcpy(arg + offsetof(struct ckv_compress_arg, method),
			       scribble_draw(s, 2) ? "int8" : "keydiff(keep=1/2)");
		return (uint32_t)(sizeof(struct ckv_compress_arg) +
				  q->n * sizeof(struct ckv_page_name));
	case CKV_OP_STAT:
		return sizeof(struct ckv_view_query);
	default:
		return 0;
	}
}

static struct ckv_req wild_request(struct scribbler *s, struct raw_lane *lane)
{
	struct ckv_req q = {
		.op = (uint8_t)(scribble_draw(s, 20) ? 1 + scribble_draw(s, 9) :
						       scribble_draw(s, 256)),
		.flags = scribble_draw(s, 5) == 0,
		.tag = storm_draw(&s->random),
		.arg_offset = scribble_draw(s, 64) * 8,
		.n = scribble_draw(s, 10) ? 1 + scribble_draw(s, 8) :
					    scribble_draw(s, 1025),
	};
	uint32_t *words = (void *)&q;

	/* Little room behind it, for an argument or for an answer. */
	if (scribble_draw(s, 4) == 0)
		q.arg_offset = lane->shape.arg_bytes - q.arg_offset;
	for (int i = 0; i < 64; i++)
		ckv_hint_store64((void *)(args_of(lane) + scribble_draw(s,
				 lane->shape.arg_bytes / 8) * 8),
				 scribble_odd(s));
	q.arg_bytes = bytes_of(s, &q, args_of(lane) + (q.arg_offset < 4096 ?
						       q.arg_offset : 0));
	if (scribble_draw(s, 100) == 0)
		q.arg_bytes = (uint32_t)scribble_odd(s);
	if (scribble_draw(s, 500) == 0)
		words[1 + scribble_draw(s, 15)] = (uint32_t)scribble_odd(s);
	return q;
}

void scribble_wild_requests(struct scribbler *s)
{
	struct raw_lane *lane = &s->lane[0];

	for (int i = 0; i < 10000 && !scribble_shut(lane); i++) {
		struct ckv_req q = wild_request(s, lane);

		reap(lane);
		if (raw_put(lane, &q) == -EAGAIN)
			raw_nap();
		else
			ckv_count(s->n_done, 1);
	}
}

/* ---- well-formed and strange ---- */

struct strange {		/* a lane, and names of what was lent to it */
	struct raw_lane *lane;
	struct ckv_page_name lent[LENT_MAX];
	uint32_t n_lent;
};

static struct ckv_key any_key(struct scribbler *s)
{
	return raw_key(0x57a6e, scribble_draw(s, KEYS));
}

/* Mostly in a row, so that chains come about; sometimes twice, or in a ring. */
static uint32_t fill_keys(struct scribbler *s, struct raw_lane *lane,
			  size_t at, uint32_t n)
{
	struct ckv_key *keys = (void *)(args_of(lane) + at);
	uint32_t from = scribble_draw(s, KEYS);

	for (uint32_t i = 0; i < n; i++)
		keys[i] = scribble_draw(s, 5) ?
			  raw_key(0x57a6e, (from + i) % KEYS) : any_key(s);
	return n * CKV_KEY_BYTES;
}

static uint32_t fill_items(struct scribbler *s, struct strange *x, uint32_t n)
{
	struct ckv_publish_item *items = (void *)args_of(x->lane);

	for (uint32_t i = 0; i < n; i++)
		items[i] = (struct ckv_publish_item){
			.name = x->lent[scribble_draw(s, 8) ?
					(x->n_lent - n + i) % LENT_MAX :
					scribble_draw(s, x->n_lent)],
			.n_tokens = scribble_draw(s, 30) ? 16 :
				    (uint16_t)scribble_odd(s),
			.flags = scribble_draw(s, 3) ? 0 : CKV_ENTRY_SUMMED,
			.checksum = storm_draw(&s->random),
		};
	return n * (uint32_t)sizeof items[0];
}

/* A request that is well-formed. arg_bytes is filled, and the argument. */
static struct ckv_req strange_request(struct scribbler *s, struct strange *x)
{
	static const uint8_t op[] = {
		CKV_OP_RESERVE, CKV_OP_RESERVE, CKV_OP_RESERVE, CKV_OP_RESERVE,
		CKV_OP_PUBLISH, CKV_OP_PUBLISH, CKV_OP_PUBLISH, CKV_OP_ABORT,
		CKV_OP_DROP, CKV_OP_DROP, CKV_OP_PREFETCH, CKV_OP_STAT,
		CKV_OP_COMPRESS, CKV_OP_CANCEL, CKV_OP_NOP,
	};
	struct ckv_req q = { .op = op[scribble_draw(s, sizeof op)],
			     .n = 1 + scribble_draw(s, scribble_draw(s, 4) ? 6 : 40) };
	struct ckv_compress_arg *compress = (void *)args_of(x->lane);
	struct ckv_page_name *names = (void *)args_of(x->lane);

	if ((q.op == CKV_OP_PUBLISH || q.op == CKV_OP_ABORT) && x->n_lent == 0)
		q.op = CKV_OP_RESERVE;
	switch (q.op) {
	case CKV_OP_RESERVE:
		q.flags = scribble_draw(s, 10) ? 0 : CKV_REQ_SCRATCH;
		if (q.flags)
			break;
		*(struct ckv_reserve_arg *)args_of(x->lane) = (struct ckv_reserve_arg){
			.parent = scribble_draw(s, 3) ? (struct ckv_key){ { 0 } } :
				  any_key(s),
			.level = scribble_draw(s, 20) ? CKV_LEVEL_HOST :
				 scribble_draw(s, 6),
		};
		q.arg_bytes = sizeof(struct ckv_reserve_arg) +
			      fill_keys(s, x->lane, sizeof(struct ckv_reserve_arg), q.n);
		break;
	case CKV_OP_PUBLISH:
		q.n = q.n < x->n_lent ? q.n : x->n_lent;
		q.arg_bytes = fill_items(s, x, q.n);
		break;
	case CKV_OP_ABORT:
		q.n = 1 + scribble_draw(s, 3);
		for (uint32_t i = 0; i < q.n; i++)
			names[i] = x->lent[scribble_draw(s, x->n_lent)];
		q.arg_bytes = q.n * (uint32_t)sizeof names[0];
		break;
	case CKV_OP_DROP:
		q.arg_bytes = fill_keys(s, x->lane, 0, q.n);
		break;
	case CKV_OP_PREFETCH:
		scribble_prefetch(s, (char *)args_of(x->lane));
		q.arg_bytes = sizeof(struct ckv_prefetch_arg) +
			      fill_keys(s, x->lane, sizeof(struct ckv_prefetch_arg), q.n);
		break;
	case CKV_OP_CANCEL:
		q.n = 0;
		q.arg_bytes = sizeof(struct ckv_cancel_arg);
		break;
	case CKV_OP_COMPRESS:
	case CKV_OP_STAT:
		q.n = 0;
		memset(compress, 0, sizeof *compress);
		compress->chain = any_key(s);
		strcpy(compress->method, scribble_draw(s, 2) ?
					 "random(keep=1/2)" : "int8");
		q.arg_bytes = q.op == CKV_OP_STAT ? sizeof(struct ckv_view_query) :
						    sizeof *compress;
		break;
	default:
		q.n = 0;
	}
	return q;
}

/* Names are kept for ever: what was published, aborted or taken back stays in use. */
static void keep_lent(struct scribbler *s, struct strange *x, uint32_t n)
{
	const struct ckv_lent *lent = (void *)(x->lane->d + x->lane->map.results);

	for (uint32_t i = 0; i < n; i++) {
		struct ckv_lent one = lent[i];

		if (one.status != 0)
			continue;
		if (x->n_lent == LENT_MAX)
			x->n_lent = LENT_MAX / 2;
		x->lent[x->n_lent++] = raw_name(&s->raw, &one);
	}
}

/* Each is answered; nothing of it is a reason to close the lane. */
void scribble_strange_requests(struct scribbler *s)
{
	static struct strange strange[SCRIBBLE_LANES];

	for (uint32_t l = 0; l < s->n_lanes; l++)
		strange[l].lane = &s->lane[l];
	for (int i = 0; i < 1000; i++) {
		struct strange *x = &strange[scribble_draw(s, s->n_lanes)];
		struct ckv_req q = strange_request(s, x);
		struct ckv_comp completion;
		int r = raw_put(x->lane, &q);

		if (r == 0)
			r = raw_take(x->lane, &completion);
		if (r < 0) {
			fprintf(stderr, "operation %d of %u: %s\n", q.op, q.n,
				strerror(-r));
			_exit(SCRIBBLE_STUCK);
		}
		if (q.op == CKV_OP_RESERVE && completion.result > 0)
			keep_lent(s, x, q.n);
		ckv_count(s->n_done, 1);
	}
}

/* ---- arguments that move ---- */

static _Atomic uint32_t still;

static void *move(void *arg)
{
	struct raw_lane *lane = arg;
	uint64_t random = 99;

	while (ckv_hint_load32(&still) == 0) {
		_Atomic uint32_t *word = (void *)(args_of(lane) +
					 storm_draw(&random) % 128 * 4);
		uint32_t was = ckv_hint_load32(word);

		ckv_hint_store32(word, (uint32_t)storm_draw(&random));
		ckv_hint_store32(word, was);
	}
	return NULL;
}

/* Reserve honestly and publish what came; the names flicker while it is judged. */
static int reserve_and_publish(struct scribbler *s, struct raw_lane *lane)
{
	struct {
		struct ckv_reserve_arg head;
		struct ckv_key key[MOVING];
	} arg = { .head = { .level = CKV_LEVEL_HOST } };
	struct ckv_publish_item item[MOVING];
	struct ckv_lent lent[MOVING];
	uint32_t n = 0;
	int r;

	for (int i = 0; i < MOVING; i++)
		arg.key[i] = raw_key(storm_draw(&s->random), (uint64_t)i);
	r = raw_request(lane, CKV_OP_RESERVE, 0, &arg, sizeof arg, MOVING, lent,
			sizeof lent);
	for (int i = 0; r > 0 && i < MOVING; i++)
		if (lent[i].status == 0)
			item[n++] = (struct ckv_publish_item){
				.name = raw_name(&s->raw, &lent[i]),
				.n_tokens = 16 };
	if (r < 0 || n == 0)
		return r;
	return raw_request(lane, CKV_OP_PUBLISH, 0, item,
			   n * (uint32_t)sizeof item[0], n, NULL, 0);
}

void scribble_moving_arguments(struct scribbler *s)
{
	struct raw_lane *lane = &s->lane[0];
	pthread_t thread;
	int r = 0;

	if (pthread_create(&thread, NULL, move, lane) != 0)
		_exit(RAW_BROKEN);
	for (int i = 0; i < 500 && r != -ETIMEDOUT && !scribble_shut(lane); i++) {
		r = reserve_and_publish(s, lane);
		ckv_count(s->n_done, 1);
	}
	ckv_hint_store32(&still, 1);
	pthread_join(thread, NULL);
	if (r == -ETIMEDOUT)
		_exit(SCRIBBLE_STUCK);
}
