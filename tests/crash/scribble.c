/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scribble.c - ways to spoil the memory and the socket that a client shares.
 */
#include "tests/crash/scribble.h"
#include "tests/crash/storm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

uint32_t scribble_draw(struct scribbler *s, uint32_t n)
{
	return (uint32_t)(storm_draw(&s->random) % n);
}

uint64_t scribble_odd(struct scribbler *s)
{
	static const uint64_t edge[] = {
		0, 1, 2, 0xffff, 0x10000, 4096, 0x7fffffff, 0x80000000,
		0xfffffff0, 0xffffffff, 0x100000000, 0xffffffff00000000,
		UINT64_MAX,
	};
	uint64_t any = storm_draw(&s->random);

	return any % 3 ? edge[any / 3 % (sizeof edge / sizeof edge[0])] :
			 storm_draw(&s->random) >> any / 3 % 64;
}

bool scribble_shut(const struct raw_lane *lane)
{
	return ckv_lane_state(lane->d_head) != 0;
}

static void done(struct scribbler *s, uint64_t n)
{
	ckv_count(s->n_done, n);
}

static _Atomic uint64_t *pins_of(const struct raw_lane *lane)
{
	return (void *)(lane->c + lane->map.pins);
}

static void reap(struct raw_lane *lane)
{
	struct ckv_msg message;

	while (ckv_ring_take(&lane->completions, &message) == 0)
		;
	ckv_ring_credit(&lane->completions);
}

static void put_nop(struct raw_lane *lane)
{
	static const struct ckv_req nop = { .op = CKV_OP_NOP };

	reap(lane);
	(void)raw_put(lane, &nop);
}

/* Any word of the segment; the rings, which end it soonest, not so often. */
static void any_word(struct scribbler *s)
{
	struct raw_lane *lane = &s->lane[0];

	for (int n = 0; n < 100000 && !scribble_shut(lane); n++) {
		uint32_t what = scribble_draw(s, 4);
		size_t limit = what < 2 ? lane->map.c_bytes :
			       what < 3 ? lane->map.args :
					  sizeof(struct ckv_c_head);
		size_t at = scribble_draw(s, (uint32_t)limit / 8) * 8u;

		if (at >= lane->map.requests && at < lane->map.pins &&
		    scribble_draw(s, 20))
			continue;
		ckv_hint_store64((void *)(lane->c + at), scribble_odd(s));
		if (n % 64 == 0)
			raw_knock(lane);
		done(s, 1);
	}
}

/* Every slot of the index claimed, and slots that are none; words that flicker. */
static void pin_words(struct scribbler *s)
{
	for (int round = 0; round < 60; round++)
		for (uint32_t l = 0; l < s->n_lanes; l++) {
			struct raw_lane *lane = &s->lane[l];
			uint32_t n = lane->shape.n_pins;

			for (uint32_t i = 0; i < n; i++) {
				uint64_t slot = scribble_draw(s, 4) ?
						i % s->n_slots :
						(uint32_t)scribble_odd(s);

				ckv_hint_store64(&pins_of(lane)[i], slot << 32 |
						 (uint32_t)scribble_odd(s));
			}
			ckv_hint_store32(&lane->c_head->pin_high,
					 scribble_draw(s, 3) ? n :
					 (uint32_t)scribble_odd(s));
			put_nop(lane);
			done(s, n);
		}
}

/* A reader that pins all there is and does nothing more. */
static void pin_everything(struct scribbler *s)
{
	for (uint32_t l = 0; l < s->n_lanes; l++) {
		struct raw_lane *lane = &s->lane[l];
		uint32_t n = lane->shape.n_pins;

		ckv_hint_store32(&lane->c_head->pin_high, n);
		for (uint32_t i = 0; i < n; i++)
			ckv_hint_store64(&pins_of(lane)[i],
					 (uint64_t)(i % s->n_slots) << 32 | 2);
		done(s, n);
	}
	for (int i = 0; i < 200; i++)
		raw_nap();
}

/* Sequence numbers and credits that make no sense. */
static void ring_words(struct scribbler *s)
{
	struct raw_lane *lane = &s->lane[0];
	struct ckv_slot *slots = (void *)(lane->c + lane->map.requests);
	uint32_t n = lane->shape.n_slots;

	for (uint32_t i = scribble_draw(s, 60); i > 0; i--)
		put_nop(lane);
	switch (scribble_draw(s, 4)) {
	case 0:
		ckv_hint_store64(&slots[scribble_draw(s, n)].word[0],
				 scribble_odd(s));
		break;
	case 1:
		ckv_hint_store32(&lane->c_head->comp_credit,
				 (uint32_t)scribble_odd(s));
		break;
	case 2:
		for (uint32_t i = 0; i < n; i++)
			ckv_hint_store64(&slots[i].word[0], i + 1 +
					 (uint32_t)scribble_odd(s));
		break;
	default:
		ckv_hint_store32(&lane->c_head->comp_credit, UINT32_MAX - 5);
		for (uint32_t i = 0; i < n; i++)
			put_nop(lane);
	}
	raw_knock(lane);
	for (int i = 0; i < 20 && !scribble_shut(lane); i++)
		raw_nap();
	done(s, 1);
}

/* Touches and claims of anything, a tail that leaps. */
static void touch_words(struct scribbler *s)
{
	struct raw_lane *lane = &s->lane[0];
	_Atomic uint32_t *touches = (void *)(lane->c + lane->map.touches);

	for (int round = 0; round < 3000 && !scribble_shut(lane); round++) {
		ckv_hint_store32(&touches[scribble_draw(s,
				 lane->shape.n_touches)], scribble_draw(s, 4) ?
				 scribble_draw(s, s->n_slots) :
				 (uint32_t)scribble_odd(s));
		ckv_hint_store32(&lane->c_head->touch_tail,
				 (uint32_t)scribble_odd(s));
		ckv_hint_store64(&lane->c_head->count[scribble_draw(s, 16)],
				 scribble_odd(s));
		if (round % 16 == 0)
			put_nop(lane);
		done(s, 1);
	}
}

/* Asks to be woken and told all the time and never listens; a full eventfd. */
static void wake_words(struct scribbler *s)
{
	uint64_t full = UINT64_MAX - 1;

	for (uint32_t l = 0; l < s->n_lanes; l++) {
		fcntl(s->lane[l].eventfd, F_SETFL, 0);
		if (scribble_draw(s, 2))
			(void)!write(s->lane[l].eventfd, &full, sizeof full);
		fcntl(s->lane[l].eventfd, F_SETFL, O_NONBLOCK);
	}
	for (int round = 0; round < 3000; round++) {
		struct raw_lane *lane = &s->lane[scribble_draw(s, s->n_lanes)];

		ckv_hint_store32(&lane->c_head->need_wake,
				 (uint32_t)scribble_odd(s));
		ckv_event_raise(&lane->c_head->event_arm);
		put_nop(lane);
		done(s, 1);
	}
}

/* Heads of messages with anything after them, cut anywhere, with descriptors. */
static void socket_bytes(struct scribbler *s)
{
	for (int round = 0; round < 40; round++) {
		int fds[8], n_fds = (int)scribble_draw(s, 8);
		int fd = raw_connect(s->socket);
		uint8_t bytes[600];
		size_t n;

		if (fd < 0)
			continue;
		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = (uint8_t)storm_draw(&s->random);
		n = scribble_draw(s, 4) ? 16 + scribble_draw(s, 500) :
					  scribble_draw(s, 17);
		raw_head(bytes, (uint16_t)scribble_draw(s, 16),
			 scribble_draw(s, 4) ? n : scribble_odd(s),
			 (uint32_t)(scribble_draw(s, 4) ? n_fds : 3));
		for (int i = 0; i < n_fds; i++)
			fds[i] = fd;
		(void)raw_send(fd, bytes, n, fds, (uint32_t)n_fds);
		if (scribble_draw(s, 2))
			raw_nap();
		close(fd);
		done(s, 1);
	}
}

/* Lanes opened and closed, its own and others', while they are at work. */
static void lanes_come_and_go(struct scribbler *s)
{
	for (int round = 0; round < 40; round++) {
		struct raw_lane *lane = &s->lane[scribble_draw(s, s->n_lanes)];
		struct ckv_lane_shape shape = lane->shape;

		for (uint32_t i = scribble_draw(s, 20); i > 0; i--)
			put_nop(lane);
		raw_lane_close(lane);
		if (raw_lane_ask(&s->raw, lane, &shape) < 0)
			_exit(RAW_BROKEN);
		done(s, 1);
	}
}

const struct scribble scribbles[] = {
	{ "any word of the segment", any_word, 1, 0, CKV_ACCESS_WRITE, 400000 },
	{ "requests of random fields", scribble_wild_requests, 2, 0,
	  CKV_ACCESS_WRITE, 20000 },
	{ "well-formed and strange requests", scribble_strange_requests, 3, 0,
	  CKV_ACCESS_WRITE, 4000 },
	{ "arguments that move", scribble_moving_arguments, 1, 0,
	  CKV_ACCESS_WRITE, 2000 },
	{ "pin words", pin_words, 4, 2048, CKV_ACCESS_WRITE, 2000000 },
	{ "a reader that pins everything", pin_everything, SCRIBBLE_LANES, 4096,
	  CKV_ACCESS_READ, 100000 },
	{ "sequence numbers and credits", ring_words, 1, 0, CKV_ACCESS_WRITE, 40 },
	{ "touches and claims", touch_words, 1, 0, CKV_ACCESS_READ, 10000 },
	{ "wake-ups and events", wake_words, 4, 0, CKV_ACCESS_READ, 10000 },
	{ "bytes on the socket", socket_bytes, 1, 0, CKV_ACCESS_READ, 200 },
	{ "lanes that come and go", lanes_come_and_go, 4, 0, CKV_ACCESS_WRITE,
	  100 },
};
const int n_scribbles = sizeof scribbles / sizeof scribbles[0];

_Noreturn void scribble_live(const struct scribble *way, const char *socket,
			     const char *space, uint64_t seed,
			     _Atomic uint64_t *n_done)
{
	struct ckv_lane_shape shape = { .n_pins = way->n_pins };
	struct scribbler *s = calloc(1, sizeof *s);

	if (s == NULL)
		_exit(RAW_BROKEN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	s->random = seed;
	s->n_done = n_done;
	s->socket = socket;
	raw_open(&s->raw, socket);
	raw_attach(&s->raw, space, way->access);
	s->n_slots = s->raw.index.n_buckets * CKV_BUCKET_ENTRIES;
	while (s->n_lanes < way->n_lanes &&
	       raw_lane_ask(&s->raw, &s->lane[s->n_lanes], &shape) == 0)
		s->n_lanes++;
	if (s->n_lanes == 0)
		_exit(RAW_BROKEN);
	way->live(s);
	_exit(0);
}
