/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lies_pages.c - lies about pages and levels: names of pages that are not lent to the lane, and
 * RESERVE at a level that is not there.
 */
#include "tests/crash/lies.h"

#include <unistd.h>

static uint32_t draw_state = 12345;

static uint32_t draw(void)
{
	draw_state = draw_state * 1664525u + 1013904223u;
	return draw_state >> 7;
}

/* Publish and abort by this name: the status both give; the lane goes on. */
static void expect_status(struct raw_lane *lane, struct ckv_page_name name,
			  int want)
{
	struct ckv_publish_item item = { .name = name, .n_tokens = 1 };
	int32_t status = 1;

	if (raw_request(lane, CKV_OP_PUBLISH, 0, &item, sizeof item, 1, &status,
			sizeof status) != 0 || status != want ||
	    raw_request(lane, CKV_OP_ABORT, 0, &name, sizeof name, 1, &status,
			sizeof status) != 0 || status != want)
		_exit(1);
}

void page_not_lent(struct raw_lane *lane)
{
	for (uint32_t i = 0; i < 20; i++)
		expect_status(lane, (struct ckv_page_name){ i, draw(),
			      lane->raw->epoch, CKV_LEVEL_HOST, 0 }, -ESTALE);
	_exit(0);
}

/* Guesses of what the neighbour's page is called, the right one too. */
void page_of_another(struct raw_lane *lane)
{
	struct ckv_page_name name = lies_foreign_page;

	for (name.lending = 0; name.lending < 1000; name.lending++)
		expect_status(lane, name, -ESTALE);
	expect_status(lane, lies_foreign_page, -ESTALE);
	_exit(0);
}

/* What was published or given back is named again, and as another daemon's. */
void page_of_another_time(struct raw_lane *lane)
{
	struct ckv_publish_item item = { .n_tokens = 1 };
	struct ckv_key key = raw_key(12, 1);
	struct ckv_lent lent;
	int32_t status;

	if (raw_reserve(lane, NULL, &key, &lent) != 0)
		_exit(RAW_BROKEN);
	item.name = raw_name(lane->raw, &lent);
	item.name.epoch--;
	expect_status(lane, item.name, -ESTALE);
	item.name.page = CKV_NONE;
	expect_status(lane, item.name, -ESTALE);
	item.name = raw_name(lane->raw, &lent);
	if (raw_request(lane, CKV_OP_PUBLISH, 0, &item, sizeof item, 1, &status,
			sizeof status) != 1)
		_exit(1);
	expect_status(lane, item.name, -EEXIST);
	_exit(0);
}

void publish_reserved(struct raw_lane *lane)
{
	struct ckv_publish_item item = { .n_tokens = 1, .zero = 1 };

	memcpy(lane->c + lane->map.args, &item, sizeof item);
	lies_lose(lane, (struct ckv_req){ .op = CKV_OP_PUBLISH, .n = 1,
		     .arg_bytes = sizeof item });
}

static void abort_and_lose(struct raw_lane *lane, struct ckv_page_name name)
{
	memcpy(lane->c + lane->map.args, &name, sizeof name);
	lies_lose(lane, (struct ckv_req){ .op = CKV_OP_ABORT, .n = 1,
		     .arg_bytes = sizeof name });
}

void page_beyond_pool(struct raw_lane *lane)
{
	abort_and_lose(lane, (struct ckv_page_name){ CKV_NONE - 1, 1, lane->raw->epoch,
						     CKV_LEVEL_HOST, 0 });
}

void page_of_no_level(struct raw_lane *lane)
{
	abort_and_lose(lane, (struct ckv_page_name){ 0, 1, lane->raw->epoch,
						     CKV_LEVEL_DEVICE, 0 });
}

void name_reserved(struct raw_lane *lane)
{
	abort_and_lose(lane, (struct ckv_page_name){ 0, 1, lane->raw->epoch,
						     CKV_LEVEL_HOST, 1 });
}

void reserve_reserved(struct raw_lane *lane)
{
	struct ckv_reserve_arg arg = { .level = CKV_LEVEL_HOST, .zero = 1 };

	memcpy(lane->c + lane->map.args, &arg, sizeof arg);
	lies_lose(lane, (struct ckv_req){ .op = CKV_OP_RESERVE,
		     .arg_bytes = sizeof arg });
}

static const struct { uint32_t level; int error; } no_level[] = {
	{ CKV_LEVEL_NONE, -EINVAL }, { CKV_LEVEL_DISK, -EINVAL }, { 77, -EINVAL },
	{ CKV_LEVEL_DEVICE, -ENODEV },
};

/* A level that is none, or that the space has not: answered, and the lane goes on. */
void reserve_at_no_level(struct raw_lane *lane)
{
	struct {
		struct ckv_reserve_arg head;
		struct ckv_key key;
	} arg = { .key = raw_key(13, 1) };

	for (size_t i = 0; i < sizeof no_level / sizeof no_level[0]; i++) {
		arg.head.level = no_level[i].level;
		if (raw_request(lane, CKV_OP_RESERVE, 0, &arg, sizeof arg, 1, NULL,
				0) != no_level[i].error)
			_exit(1);
	}
	_exit(0);
}
