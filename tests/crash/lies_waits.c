/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lies_waits.c - lies about requests that complete later.
 */
#include "tests/crash/lies.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct ask {
	struct ckv_prefetch_arg arg;
	struct ckv_key key;
};

static int prefetch(struct raw_lane *lane, const struct ckv_prefetch_arg *arg,
		    uint32_t n)
{
	struct ask ask = { *arg, raw_key(77, 1) };

	return raw_request(lane, CKV_OP_PREFETCH, 0, &ask,
			   (uint32_t)(sizeof ask.arg + n * sizeof ask.key), n, NULL, 0);
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s\n", what);
	_exit(1);
}

/* Each field of a PREFETCH that cannot be is refused, and the lane stays. */
void prefetch_wrong_fields(struct raw_lane *lane)
{
	static const struct {
		struct ckv_prefetch_arg arg;
		uint32_t n;
		int error;
	} row[] = {
		{ { 0, CKV_LEVEL_HOST, 2 }, 1, -EINVAL },
		{ { 0, CKV_LEVEL_HOST, 0xffffffffu }, 1, -EINVAL },
		{ { 0, CKV_LEVEL_DEVICE, 0 }, 1, -ENODEV },
		{ { 0, 0, 0 }, 1, -EINVAL },
		{ { 0, 0xffffffffu, 0 }, 1, -EINVAL },
		{ { UINT64_MAX, CKV_LEVEL_HOST, CKV_PREFETCH_PIN }, 0, -EINVAL },
		{ { UINT64_MAX, CKV_LEVEL_HOST, CKV_PREFETCH_PIN }, 1, 0 },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
		must(prefetch(lane, &row[i].arg, row[i].n) == row[i].error,
		     "a field of a prefetch");
	_exit(0);
}

/* A request whose argument is at offset 0, with the tag of all. */
static void put(struct raw_lane *lane, uint8_t op, uint32_t arg_bytes, uint32_t n)
{
	struct ckv_req request = { .op = op, .tag = 5, .n = n, .arg_bytes = arg_bytes };

	must(raw_put(lane, &request) == 0, "the ring is full");
}

/*
 * As many waits as go, all of one tag; CANCELs of that tag, their own included; nothing is
 * collected; and with that it ends.
 */
void waits_of_one_tag(struct raw_lane *lane)
{
	struct ask ask = {
		.arg = { UINT64_MAX, CKV_LEVEL_HOST, CKV_PREFETCH_PIN },
		.key = raw_key(77, (uint64_t)getpid()),
	};
	struct ckv_lent lent;
	uint64_t tag = 5;

	must(raw_reserve(lane, NULL, &ask.key, &lent) == 0, "no page is lent");
	memcpy(lane->c + lane->map.args, &ask, sizeof ask);
	for (uint32_t i = 0; i < lane->shape.n_slots / 2; i++)
		put(lane, CKV_OP_PREFETCH, sizeof ask, 1);
	for (uint32_t i = 0; i < lane->shape.n_slots / 4; i++) {
		struct ckv_req request = {
			.op = CKV_OP_CANCEL, .tag = 5, .arg_bytes = sizeof tag,
			.arg_offset = 1024,
		};

		memcpy(lane->c + lane->map.args + 1024, &tag, sizeof tag);
		must(raw_put(lane, &request) == 0, "the ring is full");
	}
	for (int i = 0; i < 20; i++) {
		ckv_hint_store32(&lane->c_head->need_wake, 1);
		ckv_hint_store32(&lane->c_head->event_arm, (uint32_t)i);
		raw_knock(lane);
		raw_nap();
	}
	must(ckv_lane_state(lane->d_head) == 0, "the lane is closed");
	_exit(0);
}
