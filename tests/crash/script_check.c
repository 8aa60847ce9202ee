/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script_check.c - what a client of the next daemon must see.
 */
#include "tests/crash/script.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>

enum { FILL = 8 };

struct checker {
	struct ckv *ckv;
	struct ckv_space *space;
	struct ckv_lane *lane;
	uint32_t n_lost;
};

static void come(struct checker *c, const struct script *script, const char *space)
{
	c->ckv = NULL;
	ck_assert_msg(ckv_open(script->socket, "checker", &c->ckv) == 0, "%s", ckv_why(NULL));
	ck_assert_msg(ckv_attach(c->ckv, space, NULL, CKV_WRITE, &c->space) == 0, "%s",
		      ckv_why(c->ckv));
	ck_assert_msg(ckv_lane_open(c->space, NULL, &c->lane) == 0, "%s", ckv_why(c->ckv));
}

static void leave(struct checker *c)
{
	ck_assert_ptr_null(ckv_close(c->ckv));
}

/* Is it there, and if so, right? */
static bool is_there(struct checker *c, const struct ckv_key *key, const char *what, uint32_t i)
{
	struct ckv_handle handle;
	struct ckv_pin pin;
	long n = ckv_lookup(c->lane, key->byte, 1, 0, &handle, &pin);

	ck_assert_int_ge(n, 0);
	if (n == 1) {
		ck_assert_msg(script_right(key, handle.data), "%s, block %u: wrong bytes",
			      what, i);
		ck_assert_uint_eq(handle.n_tokens, 16);
	}
	ckv_unpin(c->lane, &pin);
	return n == 1;
}

static void judge(struct checker *c, uint32_t fate, bool there, const char *what, uint32_t i)
{
	if (fate == FATE_STORED && !there) {
		c->n_lost++;
		if (c->n_lost < 4)
			fprintf(stderr, "lost: %s, block %u\n", what, i);
	}
	ck_assert_msg(!there || fate == FATE_STORED || fate == FATE_ASKED,
		      "%s, block %u: is there, and was %s", what, i,
		      fate == FATE_DROPPED ? "dropped" : "never published");
}

static void check_chain(struct checker *c, const struct script *script, uint32_t chain)
{
	struct ckv_key keys[SCRIPT_DEPTH];
	struct ckv_handle handle[SCRIPT_DEPTH];
	struct ckv_pin pin;
	uint32_t n_leading = 0;
	char what[32];
	long n;

	snprintf(what, sizeof what, "chain %u", chain);
	script_keys(chain, keys);
	for (uint32_t i = 0; i < SCRIPT_DEPTH; i++) {
		bool there = is_there(c, &keys[i], what, i);

		n_leading += there && n_leading == i;
		judge(c, script_fate(script, chain, i), there, what, i);
	}
	/* Each under the one before it. What was published without a sum has none yet. */
	n = ckv_lookup(c->lane, keys[0].byte, SCRIPT_DEPTH, 0, handle, &pin);
	ck_assert_msg(n == (long)n_leading, "%s: %ld blocks of %u are a chain", what, n,
		      n_leading);
	ckv_unpin(c->lane, &pin);
	n = ckv_lookup(c->lane, keys[0].byte, SCRIPT_DEPTH, CKV_VERIFY, handle, &pin);
	ck_assert_msg(chain > 1 || n == (long)n_leading,
		      "%s: the checksums of %ld blocks of %u are right", what, n, n_leading);
	ckv_unpin(c->lane, &pin);
}

static void check_view(struct checker *c, const struct script *script)
{
	uint32_t fate = ckv_hint_load32(&script->view);
	struct ckv_view view;
	struct ckv_run run;

	if (fate == FATE_NONE)
		return;
	if (ckv_view_open(c->lane, script->view_key, &view) != 0) {
		c->n_lost += fate == FATE_STORED;
		return;
	}
	ck_assert_int_eq(ckv_view_run(c->lane, &view, 0, 0, &run), 0);
	ck_assert_uint_eq(run.n_kept, SCRIPT_DEPTH * 16 / 2);
	ckv_unpin(c->lane, &view.pin);
}

static void check_pressed(const struct script *script)
{
	struct checker c = { .n_lost = 0 };

	come(&c, script, "pressure");
	for (uint32_t i = 0; i < SCRIPT_PRESSED; i++) {
		struct ckv_key key = script_pressed(i);

		judge(&c, ckv_hint_load32(&script->pressed[i]),
		      is_there(&c, &key, "pressure", i), "pressure", i);
	}
	leave(&c);
}

uint32_t script_check(struct script *script, uint32_t most)
{
	struct checker c = { .n_lost = 0 };

	come(&c, script, "model");
	for (uint32_t i = 0; i < SCRIPT_CHAINS; i++)
		check_chain(&c, script, i);
	check_view(&c, script);
	ck_assert_msg(c.n_lost <= most, "%u blocks are lost", c.n_lost);
	leave(&c);
	check_pressed(script);
	return c.n_lost;
}

/* Store FILL blocks and find them. False: there is no room. */
static bool fill_some(struct checker *c, uint64_t series, uint32_t first, bool may_be_full)
{
	struct ckv_page page[FILL];

	for (uint32_t i = 0; i < FILL; i++) {
		struct ckv_key key = raw_key(series, first + i);
		long n = ckv_reserve(c->lane, NULL, key.byte, 1, &page[i]);

		if (n == 0 && page[i].status == -ENOSPC && may_be_full)
			return false;
		ck_assert_msg(n == 1, "reserve answers %ld, %d: %s", n, page[i].status,
			      ckv_why(c->ckv));
		script_fill(&key, page[i].data);
	}
	ck_assert_int_eq(ckv_publish(c->lane, page, FILL, 16, CKV_SUM, NULL, NULL, NULL),
			 FILL);
	for (uint32_t i = 0; i < FILL; i++) {
		struct ckv_key key = raw_key(series, first + i);

		ck_assert(is_there(c, &key, "what came after", i));
	}
	return true;
}

void script_check_serves(struct script *script, bool looks, bool may_be_full)
{
	static uint64_t series = 0x10000;	/* no key is stored twice */
	struct checker c = { .n_lost = 0 };
	struct ckv_space_info info;
	uint32_t i = 0;

	come(&c, script, "model");
	ckv_space_get_info(c.space, &info);
	while (i < 2 * info.n_block_pages && fill_some(&c, series, i, may_be_full))
		i += FILL;
	if (looks)
		script_order(script, ORDER_LOOK);
	/* It has written into what it borrowed, and nobody finds that. */
	while (i-- > 0) {
		struct ckv_key key = raw_key(series, i);

		(void)is_there(&c, &key, "what came after, at the end", i);
	}
	series++;
	leave(&c);
}

static bool adds_up(const struct raw *raw)
{
	return RAW_GLOBAL(raw, clients) == 1 && RAW_GLOBAL(raw, lanes) == 0 &&
	       RAW_SPACE(raw, pages_lent) == 0 &&
	       RAW_SPACE(raw, pages_free) + RAW_SPACE(raw, blocks) ==
	       RAW_SPACE(raw, pages_total);
}

void script_check_adds_up(const struct script *script)
{
	static const char *const spaces[] = { "model", "pressure" };

	for (int s = 0; s < 2; s++) {
		struct raw raw;

		raw_open(&raw, script->socket);
		raw_attach(&raw, spaces[s], CKV_ACCESS_READ);
		for (int i = 0; i < RAW_WAIT_MS && !adds_up(&raw); i++)
			raw_nap();
		ck_assert_msg(adds_up(&raw), "%s: clients %d (1), lanes %d (0), lent %d (0), "
			      "free %d + blocks %d of %d", spaces[s],
			      (int)RAW_GLOBAL(&raw, clients), (int)RAW_GLOBAL(&raw, lanes),
			      (int)RAW_SPACE(&raw, pages_lent),
			      (int)RAW_SPACE(&raw, pages_free), (int)RAW_SPACE(&raw, blocks),
			      (int)RAW_SPACE(&raw, pages_total));
		raw_close(&raw);
	}
}
