/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script.h - one client that does a bit of everything, and what must be true of it when its
 * daemon was killed at any place of that.
 *
 * The client is a process. It notes in shared memory what it was promised, and at the end,
 * or at its daemon's, it keeps what it has pinned and borrowed and waits for orders. Two
 * spaces: in "model" everything has room, so nothing that was stored may be lost; "pressure"
 * is too small, so blocks leave it all the time.
 */
#ifndef CKV_TESTS_SCRIPT_H
#define CKV_TESTS_SCRIPT_H

#include "client/ckv.h"
#include "tests/crash/raw.h"

enum {
	SCRIPT_CHAINS = 8, SCRIPT_DEPTH = 6, SCRIPT_PRESSED = 96,
	SCRIPT_SHARED = 2,	/* first blocks of the last three chains are those of chain 0 */
	SCRIPT_PAGE = 16384,
};

#define SCRIPT_SPACES(pool)						\
	"[space model]\nkeys = engine\nviews = 25%\nslab = 512K\n"	\
	TEST_TINY_MODEL "pool = " pool "\n"				\
	"[space pressure]\nkeys = engine\nviews = 0\n"			\
	TEST_TINY_MODEL "pool = 1M\n"

enum script_fate {		/* of a block or view */
	FATE_NONE,		/* nothing was promised, and it may not be there */
	FATE_ASKED,		/* publish, or drop, was not answered: it may be there */
	FATE_STORED,
	FATE_DROPPED,
};

enum script_order {
	ORDER_NONE,
	ORDER_LOOK,		/* what is pinned is as it was; write into what is lent */
	ORDER_FIND,		/* attach again, and find what was stored */
	ORDER_LET_GO,		/* of pins and pages, and close the lanes */
};

struct script {			/* in memory shared by test and client */
	char socket[128];
	pid_t client;
	_Atomic uint32_t begun;		/* it is attached */
	_Atomic uint32_t waits;		/* the script ended, or the daemon did */
	_Atomic uint32_t whole;		/* it was the script */
	_Atomic uint32_t order, obeyed;
	_Atomic uint32_t fate[SCRIPT_CHAINS][SCRIPT_DEPTH];
	_Atomic uint32_t pressed[SCRIPT_PRESSED];
	_Atomic uint32_t view;
	uint8_t view_key[32];
	_Atomic uint32_t n_wrong;
	char wrong[400];		/* the first */
};

struct script *script_create(const char *socket);

/* Start the client. It begins when its daemon answers. */
void script_start(struct script *script);

/* Has it told, or ended, what only a mistake explains? Ends the test then. */
void script_check_client(const struct script *script);

/* Wait until it has obeyed. */
void script_order(struct script *script, enum script_order order);

void script_kill(struct script *script);
void script_destroy(struct script *script);

/*
 * script_check.c: as a client of its own. All that was promised is there with the right
 * bytes, and nothing else is. `most`: so many blocks and views may be missing. Returns how
 * many are.
 */
uint32_t script_check(struct script *script, uint32_t most);

/*
 * The space is used up to the last page: what is pinned and lent is not taken, as the client
 * tells if it `looks`. `may_be_full`: nothing else may be, as it is not known what is pinned.
 */
void script_check_serves(struct script *script, bool looks, bool may_be_full);

/* With no client there, every page is free, a block or a view, and no lane is left. */
void script_check_adds_up(const struct script *script);

uint32_t script_fate(const struct script *script, uint32_t chain, uint32_t i);
void script_keys(uint32_t chain, struct ckv_key *ret_keys);
struct ckv_key script_pressed(uint32_t i);
bool script_right(const struct ckv_key *key, const void *page);
void script_fill(const struct ckv_key *key, void *page);

#endif
