/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script.c - the client that does a bit of everything.
 */
#include "tests/crash/script.h"
#include "tests/crash/storm.h"
#include "tests/lib/wait.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define METHOD	"random(keep=1/2)"

enum { LENT = 3, HELD = 3, TOKENS = 16, VIEW_BYTES = 1 << 18 };

struct held {
	struct ckv_key key[SCRIPT_DEPTH];
	struct ckv_handle handle[SCRIPT_DEPTH];
	struct ckv_pin pin;
	long n;
};

struct client {
	struct script *script;
	struct ckv *ckv;
	struct ckv_space *space, *pressure;
	struct ckv_lane *lane, *other, *pressed;
	struct held held[HELD];
	struct ckv_page lent[LENT];	/* reserved, and never published */
	struct ckv_page scratch[LENT];
	long n_lent;
	int n_scratch;
	struct ckv_view view;
	uint8_t seen[VIEW_BYTES];	/* the view's bytes when it was opened */
};

static uint32_t owner_of(uint32_t chain, uint32_t i)
{
	return chain >= SCRIPT_CHAINS - 3 && i < SCRIPT_SHARED ? 0 : chain;
}

uint32_t script_fate(const struct script *script, uint32_t chain, uint32_t i)
{
	return ckv_hint_load32(&script->fate[owner_of(chain, i)][i]);
}

void script_keys(uint32_t chain, struct ckv_key *ret_keys)
{
	for (uint32_t i = 0; i < SCRIPT_DEPTH; i++)
		ret_keys[i] = raw_key(0x900 + owner_of(chain, i), i);
}

struct ckv_key script_pressed(uint32_t i)
{
	return raw_key(0xa00, i);
}

void script_fill(const struct ckv_key *key, void *page)
{
	storm_fill(key, page, SCRIPT_PAGE);
}

bool script_right(const struct ckv_key *key, const void *page)
{
	static uint64_t want[SCRIPT_PAGE / 8];

	script_fill(key, want);
	return memcmp(want, page, sizeof want) == 0;
}

__attribute__((format(printf, 2, 3)))
static void tell(struct client *c, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (c->script->n_wrong == 0)
		vsnprintf(c->script->wrong, sizeof c->script->wrong, format, args);
	va_end(args);
	ckv_hint_store32(&c->script->n_wrong, 1);
}

/* Is there a daemon still? Whatever else a call may answer is wrong. */
static bool good(struct client *c, const char *call, long r, long expected)
{
	if (r == expected)
		return true;
	if (r != -ESTALE && r != -ENOENT && r != -ECONNREFUSED && r != -ECONNRESET &&
	    r != -EPIPE && r != 0)
		tell(c, "%s answers %ld (%s), not %ld", call, r, ckv_why(c->ckv), expected);
	return false;
}

/* The same for pages that were asked for; the first that did not come has the reason. */
static bool lent(struct client *c, long r, uint32_t n, const struct ckv_page *page)
{
	if (r < 0 || r == (long)n)
		return good(c, "reserve", r, n);
	/* -EAGAIN: the daemon died between its answer and the page's memory. */
	for (uint32_t i = 0; i < n && page[i].status != -EAGAIN; i++)
		if (page[i].status != 0)
			return good(c, "reserve of one", page[i].status, 0);
	return false;
}

static void set_fate(_Atomic uint32_t *fate, uint32_t n, uint32_t to)
{
	for (uint32_t i = 0; i < n; i++)
		ckv_hint_store32(&fate[i], to);
}

/* ---- its acts: false when the daemon is gone ---------------------------- */

/* Blocks from .. to) of a chain, whose first ones are there. */
static bool store(struct client *c, struct ckv_lane *lane, uint32_t chain, uint32_t from,
		  uint32_t to, unsigned flags)
{
	_Atomic uint32_t *fate = &c->script->fate[chain][from];
	struct ckv_page page[SCRIPT_DEPTH];
	struct ckv_key keys[SCRIPT_DEPTH];
	uint32_t n = to - from;

	script_keys(chain, keys);
	if (!lent(c, ckv_reserve(lane, from ? keys[from - 1].byte : NULL, keys[from].byte, n,
				 page), n, page))
		return false;
	for (uint32_t i = 0; i < n; i++)
		script_fill(&keys[from + i], page[i].data);
	set_fate(fate, n, FATE_ASKED);
	if (!good(c, "publish", ckv_publish(lane, page, n, TOKENS, flags, NULL, NULL, NULL),
		  n))
		return false;
	set_fate(fate, n, FATE_STORED);
	return true;
}

static bool look_up(struct client *c, struct ckv_lane *lane, uint32_t chain,
		    struct held *held)
{
	script_keys(chain, held->key);
	held->n = ckv_lookup(lane, held->key[0].byte, SCRIPT_DEPTH, 0, held->handle,
			     &held->pin);
	return good(c, "lookup", held->n, SCRIPT_DEPTH);
}

static bool act_first(struct client *c)
{
	return store(c, c->lane, 0, 0, SCRIPT_DEPTH, CKV_SUM) &&
	       look_up(c, c->lane, 0, &c->held[0]);
}

/* In two parts, the second under blocks that are not published yet. */
static bool act_in_parts(struct client *c)
{
	_Atomic uint32_t *fate = c->script->fate[1];
	struct ckv_page page[SCRIPT_DEPTH];
	struct ckv_key keys[SCRIPT_DEPTH];
	const uint32_t half = SCRIPT_DEPTH / 2;

	script_keys(1, keys);
	if (!lent(c, ckv_reserve(c->lane, NULL, keys[0].byte, half, page), half, page) ||
	    !lent(c, ckv_reserve(c->lane, keys[half - 1].byte, keys[half].byte, half,
				 page + half), half, page + half))
		return false;
	for (uint32_t i = 0; i < SCRIPT_DEPTH; i++)
		script_fill(&keys[i], page[i].data);
	set_fate(fate, SCRIPT_DEPTH, FATE_ASKED);
	if (!good(c, "publish", ckv_publish(c->lane, page, SCRIPT_DEPTH, TOKENS, CKV_SUM,
					    NULL, NULL, &c->held[1].pin), SCRIPT_DEPTH))
		return false;
	set_fate(fate, SCRIPT_DEPTH, FATE_STORED);
	ckv_unpin(c->lane, &c->held[1].pin);
	return true;
}

/* Borrowed, and kept unpublished until the end. */
static bool act_borrow(struct client *c)
{
	struct ckv_key keys[SCRIPT_DEPTH];

	script_keys(2, keys);
	c->n_lent = ckv_reserve(c->lane, NULL, keys[0].byte, LENT, c->lent);
	if (!lent(c, c->n_lent, LENT, c->lent))
		return false;
	c->n_scratch = ckv_reserve_scratch(c->lane, LENT, c->scratch);
	return good(c, "scratch", c->n_scratch, 0);
}

/* A lane of its own that holds a pin and a page, given back one by one. */
static bool act_other_lane(struct client *c)
{
	struct ckv_key keys[SCRIPT_DEPTH];
	struct ckv_page page;

	if (!good(c, "lane", ckv_lane_open(c->space, NULL, &c->other), 0) ||
	    !store(c, c->other, 3, 0, SCRIPT_DEPTH, 0) ||
	    !look_up(c, c->other, 3, &c->held[1]))
		return false;
	script_keys(4, keys);
	if (!lent(c, ckv_reserve(c->other, NULL, keys[0].byte, 1, &page), 1, &page) ||
	    !good(c, "abort", ckv_abort(c->other, &page, 1, NULL), 1))
		return false;
	return lent(c, ckv_reserve(c->other, NULL, keys[0].byte, 1, &page), 1, &page);
}

static bool act_close_lane(struct client *c)
{
	c->held[1].n = 0;
	c->other = ckv_lane_close(c->other);
	return good(c, "lane", ckv_lane_open(c->space, NULL, &c->other), 0) &&
	       look_up(c, c->other, 3, &c->held[1]);
}

static bool act_view(struct client *c)
{
	struct ckv_view_info made;

	ckv_hint_store32(&c->script->view, FATE_ASKED);
	if (!good(c, "compress", ckv_compress(c->lane,
					      c->held[0].key[SCRIPT_DEPTH - 1].byte, METHOD,
					      NULL, &made), 0))
		return false;
	memcpy(c->script->view_key, made.key, sizeof made.key);
	ckv_hint_store32(&c->script->view, FATE_STORED);
	if (!good(c, "view", ckv_view_open(c->lane, made.key, &c->view), 0))
		return false;
	memcpy(c->seen, c->view.data, c->view.bytes);
	return true;
}

/* Deepest first, half of a chain. */
static bool act_drop(struct client *c)
{
	const uint32_t half = SCRIPT_DEPTH / 2;
	_Atomic uint32_t *fate = &c->script->fate[1][half];
	struct ckv_key keys[SCRIPT_DEPTH], last[SCRIPT_DEPTH];

	script_keys(1, keys);
	for (uint32_t i = 0; i < half; i++)
		last[i] = keys[SCRIPT_DEPTH - 1 - i];
	set_fate(fate, half, FATE_ASKED);
	if (!good(c, "drop", ckv_drop(c->lane, last[0].byte, half, NULL), half))
		return false;
	set_fate(fate, half, FATE_DROPPED);
	return true;
}

/* More than there is room for, with one of the first pinned. */
static bool act_press(struct client *c)
{
	struct ckv_page page[8];

	if (!good(c, "attach", ckv_attach(c->ckv, "pressure", NULL, CKV_WRITE, &c->pressure),
		  0) ||
	    !good(c, "lane", ckv_lane_open(c->pressure, NULL, &c->pressed), 0))
		return false;
	for (uint32_t i = 0; i < SCRIPT_PRESSED; i += 8) {
		for (uint32_t k = 0; k < 8; k++) {
			struct ckv_key key = script_pressed(i + k);

			if (!lent(c, ckv_reserve(c->pressed, NULL, key.byte, 1, &page[k]), 1,
				  &page[k]))
				return false;
			script_fill(&key, page[k].data);
		}
		set_fate(&c->script->pressed[i], 8, FATE_ASKED);
		if (!good(c, "publish", ckv_publish(c->pressed, page, 8, TOKENS, CKV_SUM,
						    NULL, NULL, NULL), 8))
			return false;
		if (i > 0)
			continue;
		c->held[2].key[0] = script_pressed(0);
		c->held[2].n = ckv_lookup(c->pressed, c->held[2].key[0].byte, 1, 0,
					  c->held[2].handle, &c->held[2].pin);
		if (!good(c, "lookup", c->held[2].n, 1))
			return false;
	}
	return true;
}

static bool act_prefetch(struct client *c)
{
	struct held held;

	script_keys(3, held.key);
	held.n = ckv_prefetch(c->lane, held.key[0].byte, SCRIPT_DEPTH, CKV_HOST, -1, 0,
			      held.handle, &held.pin);
	if (held.n > 0)
		ckv_unpin(c->lane, &held.pin);
	return good(c, "prefetch", held.n, SCRIPT_DEPTH);
}

static bool act_leave_pressure(struct client *c)
{
	c->held[2].n = 0;
	c->pressed = NULL;
	c->pressure = ckv_detach(c->pressure);
	return true;
}

/* Chains that branch from the first one, which this client has pinned. */
static bool act_branch(struct client *c)
{
	for (uint32_t i = SCRIPT_CHAINS - 3; i < SCRIPT_CHAINS; i++)
		if (!store(c, c->lane, i, SCRIPT_SHARED, SCRIPT_DEPTH,
			   i % 2 ? CKV_SUM : 0))
			return false;
	return true;
}

static bool (*const acts[])(struct client *) = {
	act_first, act_in_parts, act_borrow, act_other_lane, act_close_lane, act_view,
	act_drop, act_press, act_prefetch, act_leave_pressure, act_branch,
};

/* ---- its orders --------------------------------------------------------- */

static void look(struct client *c)
{
	for (uint32_t h = 0; h < HELD; h++)
		for (long i = 0; i < c->held[h].n; i++)
			if (!script_right(&c->held[h].key[i], c->held[h].handle[i].data))
				tell(c, "block %ld of what is pinned by lookup %u has "
				     "changed", i, h);
	if (c->view.data != NULL &&
	    memcmp(c->seen, c->view.data, c->view.bytes) != 0)
		tell(c, "the view that is pinned has changed");
	for (long i = 0; i < c->n_lent; i++)
		memset(c->lent[i].data, 0xa0 + (int)i, SCRIPT_PAGE);
	for (long i = 0; i < LENT && c->scratch[i].data != NULL; i++)
		memset(c->scratch[i].data, 0xb0 + (int)i, SCRIPT_PAGE);
}

/* Lookups attach the lane again by themselves. */
static void find(struct client *c)
{
	struct ckv_key keys[SCRIPT_DEPTH];
	long n = 0, expected = 0;
	struct ckv_handle handle[SCRIPT_DEPTH];
	struct ckv_pin pin;

	while (expected < SCRIPT_DEPTH && c->script->fate[0][expected] == FATE_STORED)
		expected++;
	if (c->lane == NULL || expected == 0)
		return;
	script_keys(0, keys);
	for (int i = 0; i < WAIT_MOMENTS && n == 0; i++) {
		n = ckv_lookup(c->lane, keys[0].byte, SCRIPT_DEPTH, 0, handle, &pin);
		for (long k = 0; k < n; k++)
			if (!script_right(&keys[k], handle[k].data))
				tell(c, "block %ld is wrong after the restart", k);
		if (n >= 0)
			ckv_unpin(c->lane, &pin);
		if (n == 0)
			wait_moment();
	}
	if (n < expected)
		tell(c, "its lane finds %ld of %ld blocks (%s)", n, expected,
		     ckv_why(c->ckv));
}

static void let_go(struct client *c)
{
	long r;

	look(c);
	if (c->n_lent > 0) {
		r = ckv_publish(c->lane, c->lent, (size_t)c->n_lent, TOKENS, 0, NULL, NULL,
				NULL);
		if (r != -ESTALE)
			tell(c, "publish of what was lent before answers %ld (%s)", r,
			     ckv_why(c->ckv));
	}
	for (int h = 0; h < HELD; h++)
		if (c->held[h].n > 0)
			ckv_unpin(h == 0 ? c->lane : h == 1 ? c->other : c->pressed,
				  &c->held[h].pin);
	if (c->scratch[0].data != NULL)
		(void)ckv_abort(c->lane, c->scratch, LENT, NULL);
	c->ckv = ckv_close(c->ckv);
}

static void obey(struct client *c, uint32_t order)
{
	if (order == ORDER_LOOK)
		look(c);
	else if (order == ORDER_FIND)
		find(c);
	else if (order == ORDER_LET_GO)
		let_go(c);
}

/* Wait for orders; a daemon that lives has something to do until it is killed. */
static _Noreturn void wait_for_orders(struct client *c)
{
	struct script *s = c->script;

	ckv_hint_store32(&s->waits, 1);
	for (;;) {
		uint32_t order = ckv_hint_load32(&s->order);

		if (order != ORDER_NONE) {
			obey(c, order);
			ckv_hint_store32(&s->order, ORDER_NONE);
			ckv_hint_store32(&s->obeyed, s->obeyed + 1);
		} else if (ckv_hint_load32(&s->whole) && c->lane != NULL) {
			struct ckv_event event;

			if (ckv_submit_nop(c->lane, 1) != 0 ||
			    ckv_wait(c->lane, 1000000000, &event, 1) != 1)
				ckv_hint_store32(&s->whole, 0);
		}
		wait_moment();
	}
}

static _Noreturn void be_client(struct script *script)
{
	static struct client c;
	int r;

	c.script = script;
	for (int i = 0; i < WAIT_MOMENTS; i++) {
		r = ckv_open(script->socket, "script", &c.ckv);
		if (r == 0)
			break;
		wait_moment();
	}
	ckv_hint_store32(&script->begun, 1);
	if (r == 0 && good(&c, "attach", ckv_attach(c.ckv, "model", NULL, CKV_WRITE,
						    &c.space), 0) &&
	    good(&c, "lane", ckv_lane_open(c.space, NULL, &c.lane), 0)) {
		uint32_t n = 0;

		while (n < sizeof acts / sizeof acts[0] && acts[n](&c))
			n++;
		ckv_hint_store32(&script->whole, n == sizeof acts / sizeof acts[0]);
	}
	wait_for_orders(&c);
}

/* ---- from the outside --------------------------------------------------- */

struct script *script_create(const char *socket)
{
	struct script *script = mmap(NULL, sizeof *script, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (script == MAP_FAILED)
		abort();
	snprintf(script->socket, sizeof script->socket, "%s", socket);
	return script;
}

void script_start(struct script *script)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0) {
		script->client = pid;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(RAW_BROKEN);
	be_client(script);
}

void script_check_client(const struct script *script)
{
	ck_assert_msg(ckv_hint_load32(&script->n_wrong) == 0, "the client: %s",
		      script->wrong);
	ck_assert_msg(script->client <= 0 || waitpid(script->client, NULL, WNOHANG) == 0,
		      "the client ended by itself");
}

void script_order(struct script *script, enum script_order order)
{
	uint32_t obeyed = ckv_hint_load32(&script->obeyed);

	ckv_hint_store32(&script->order, order);
	for (int i = 0; i < 10 * WAIT_MOMENTS &&
	     ckv_hint_load32(&script->obeyed) == obeyed; i++) {
		script_check_client(script);
		usleep(200);
	}
	script_check_client(script);
	ck_assert_msg(ckv_hint_load32(&script->obeyed) != obeyed,
		      "the client does not obey order %d", (int)order);
}

void script_kill(struct script *script)
{
	if (script->client <= 0)
		return;
	kill(script->client, SIGKILL);
	waitpid(script->client, NULL, 0);
	script->client = 0;
}

void script_destroy(struct script *script)
{
	script_kill(script);
	munmap(script, sizeof *script);
}
