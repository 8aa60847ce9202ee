/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_lane.h - the two memory segments of one lane. A lane is one client thread's way
 * into one space: a request ring, a completion ring, a table of pin words.
 *
 * C segment (C: client). The client writes, the daemon reads. The client may write
 * anything at any time, so the daemon copies what it reads and checks the copy.
 *
 *      0  magic, layout version   by the daemon, before the client gets the segment
 *     64  comp_credit             count of completions that the client has copied
 *    128  pin_high                one more than the highest pin word ever in use
 *    192  touch_tail              count of touches that the client has appended
 *    256  need_wake               not 0: the client sleeps, or is about to, on D's futex
 *    320  event_arm               a new number asks for one more EVENT message
 *    384  count[16]               what the client's lookups found (enum ckv_claim)
 *    512  closed                  not 0: the client is done with the lane and what it lent.
 *                                 A later daemon that finds this ends the lane, as
 *                                 LANE_CLOSE may have found no daemon
 *   4096  request slots, pin words, touch ring, argument area (struct ckv_lane_shape)
 *
 * D segment (D: daemon). The daemon writes, and this client maps it read-only.
 *
 *      0  magic, layout version
 *     64  futex                   changes before the daemon wakes the client
 *    128  req_credit              count of requests that the daemon has copied
 *    192  state                   0: open; else an errno, why the daemon serves it no more
 *   4096  completion slots, result area
 *
 * The completion ring has as many slots as the request ring. The daemon takes a request
 * only if there is room for its completion, beside those of requests that complete
 * later, so it never waits for a client. libckv has at most that many requests outstanding, so it
 * never waits for room.
 */
#ifndef CKV_LANE_H
#define CKV_LANE_H

#include "proto/ckv_ring.h"

#define CKV_C_MAGIC		0x63766b63u	/* "ckvc" */
#define CKV_D_MAGIC		0x64766b63u	/* "ckvd" */
#define CKV_SEGMENT_HEAD_BYTES	4096u
#define CKV_LANE_SLOTS_MAX	4096u
#define CKV_LANE_PINS_MAX	(1u << 20)
#define CKV_LANE_TOUCHES_MAX	(1u << 16)
#define CKV_LANE_ARG_BYTES_MAX	(64u << 20)

/*
 * What the client says of its lookups; the daemon adds it to the stats unchecked. Blocks
 * asked for = blocks found at the four levels + blocks missed.
 */
enum ckv_claim {
	CKV_CLAIM_LOOKUPS,
	CKV_CLAIM_BLOCKS_ASKED,
	CKV_CLAIM_BLOCKS_DEVICE,
	CKV_CLAIM_BLOCKS_HOST,
	CKV_CLAIM_BLOCKS_DISK,
	CKV_CLAIM_BLOCKS_REMOTE,
	CKV_CLAIM_BLOCKS_MISSED,
	CKV_CLAIM_VERIFY_FAILED,
	CKV_CLAIM_PIN_RETRIES,
	CKV_CLAIMS
};

struct ckv_c_head {
	uint32_t magic;
	uint32_t layout_version;
	uint8_t	 pad0[56];
	_Atomic uint32_t comp_credit;
	uint8_t	 pad1[60];
	_Atomic uint32_t pin_high;
	uint8_t	 pad2[60];
	_Atomic uint32_t touch_tail;
	uint8_t	 pad3[60];
	_Atomic uint32_t need_wake;
	uint8_t	 pad4[60];
	_Atomic uint32_t event_arm;
	uint8_t	 pad5[60];
	_Atomic uint64_t count[16];
	_Atomic uint32_t closed;
	uint8_t	 pad6[60];
};
CKV_AT(struct ckv_c_head, magic, 0, 4);
CKV_AT(struct ckv_c_head, layout_version, 4, 4);
CKV_AT(struct ckv_c_head, comp_credit, 64, 4);
CKV_AT(struct ckv_c_head, pin_high, 128, 4);
CKV_AT(struct ckv_c_head, touch_tail, 192, 4);
CKV_AT(struct ckv_c_head, need_wake, 256, 4);
CKV_AT(struct ckv_c_head, event_arm, 320, 4);
CKV_AT(struct ckv_c_head, count, 384, 128);
CKV_AT(struct ckv_c_head, closed, 512, 4);
CKV_SIZE(struct ckv_c_head, 576);
_Static_assert(CKV_CLAIMS <= 16, "claims do not fit their line");

struct ckv_d_head {
	uint32_t magic;
	uint32_t layout_version;
	uint8_t	 pad0[56];
	_Atomic uint32_t futex;
	uint8_t	 pad1[60];
	_Atomic uint32_t req_credit;
	uint8_t	 pad2[60];
	_Atomic uint32_t state;
	uint8_t	 pad3[60];
};
CKV_AT(struct ckv_d_head, magic, 0, 4);
CKV_AT(struct ckv_d_head, layout_version, 4, 4);
CKV_AT(struct ckv_d_head, futex, 64, 4);
CKV_AT(struct ckv_d_head, req_credit, 128, 4);
CKV_AT(struct ckv_d_head, state, 192, 4);
CKV_SIZE(struct ckv_d_head, 256);

/* The numbers that place everything; agreed in the lane-open messages. */
struct ckv_lane_shape {
	uint32_t n_slots;	/* power of two, 2 .. CKV_LANE_SLOTS_MAX */
	uint32_t n_pins;	/* 1 .. CKV_LANE_PINS_MAX */
	uint32_t n_touches;	/* power of two, 2 .. CKV_LANE_TOUCHES_MAX */
	uint32_t arg_bytes;	/* multiple of 4096, .. CKV_LANE_ARG_BYTES_MAX */
};
CKV_SIZE(struct ckv_lane_shape, 16);

struct ckv_lane_map {		/* bytes: offsets in C and in D, and their sizes */
	size_t requests, pins, touches, args, c_bytes;
	size_t completions, results, d_bytes;
};

static inline bool ckv_lane_shape_ok(const struct ckv_lane_shape *s)
{
	return s->n_slots >= 2 && s->n_slots <= CKV_LANE_SLOTS_MAX &&
	       (s->n_slots & (s->n_slots - 1)) == 0 &&
	       s->n_pins >= 1 && s->n_pins <= CKV_LANE_PINS_MAX &&
	       s->n_touches >= 2 && s->n_touches <= CKV_LANE_TOUCHES_MAX &&
	       (s->n_touches & (s->n_touches - 1)) == 0 &&
	       s->arg_bytes >= CKV_PIECE_BYTES &&
	       s->arg_bytes <= CKV_LANE_ARG_BYTES_MAX &&
	       s->arg_bytes % CKV_PIECE_BYTES == 0;
}

static inline struct ckv_lane_map ckv_lane_map(const struct ckv_lane_shape *s)
{
	struct ckv_lane_map m;
	size_t ring_bytes = (size_t)s->n_slots * sizeof(struct ckv_slot);

	m.requests = CKV_SEGMENT_HEAD_BYTES;
	m.pins = m.requests + ring_bytes;
	m.touches = m.pins + ckv_round_up((size_t)s->n_pins * 8, CKV_LINE);
	m.args = ckv_round_up(m.touches + (size_t)s->n_touches * 4,
			      CKV_PIECE_BYTES);
	m.c_bytes = m.args + s->arg_bytes;
	m.completions = CKV_SEGMENT_HEAD_BYTES;
	m.results = ckv_round_up(m.completions + ring_bytes, CKV_PIECE_BYTES);
	m.d_bytes = m.results + s->arg_bytes;
	return m;
}

/*
 * Daemon: the lane is served no more. `why` is a positive errno: EPROTO the client broke
 * the protocol; ESHUTDOWN the lane or its connection ended.
 */
static inline void ckv_lane_shut(struct ckv_d_head *d, uint32_t why)
{
	atomic_store_explicit(&d->state, why, CKV_ORDER_STATE_PUT);
}

/* Client: 0, or why the daemon serves the lane no more. */
static inline uint32_t ckv_lane_state(const struct ckv_d_head *d)
{
	return atomic_load_explicit(&d->state, CKV_ORDER_STATE_TAKE);
}

/*
 * Client: append a slot to the touch ring, which tells the daemon what was used lately.
 * The daemon reads the ring when it has time. The client never waits for it: touches
 * that it overwrites before the daemon has read them are lost, and eviction knows a
 * little less.
 */
static inline void ckv_touch_put(_Atomic uint32_t *ring, uint32_t n_touches,
				 _Atomic uint32_t *tail, uint32_t slot)
{
	uint32_t pos = ckv_hint_load32(tail);

	ckv_hint_store32(&ring[pos & (n_touches - 1)], slot);
	ckv_hint_store32(tail, pos + 1);
}

#endif
