/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_session.c - texts read through a cache that finds, lends,
 * refuses and dies, on a stand-in for the client library.
 *
 * The stand-in keeps pages in this process and can be told to answer -ESTALE
 * from its n-th call on; it then fills every page it ever lent with NaN, so
 * whoever still reads one is found out. Whatever it does, logits and answer
 * must be the bits of a session without any cache.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/examples/engine/session.h"
#include "tests/lib/check_main.h"

#define MODEL	"tests/data/tiny-recall"

enum { BLOCK = 16, N_PAGES = 64, N_IDS = 75 };

/* ---- the stand-in ------------------------------------------------------ */

static struct page {
	uint8_t key[CKV_KEY_SIZE];
	enum { FREE, LENT, STORED, COMING } state;	/* COMING: of somebody else */
	uint8_t *data;
} page[N_PAGES];
static size_t page_bytes;
static int n_pins, n_calls, dies_at, n_room;
static struct share share;
static uint32_t ids[N_IDS + 1];
static const uint8_t *busy;		/* a key that somebody else is writing */
static bool gapless;			/* until all is stored, something is lent */
static int n_waited, n_come;		/* waits; pages that come of one */

static int count(int state)
{
	int n = 0;

	for (int i = 0; i < N_PAGES; i++)
		n += (int)page[i].state == state;
	return n;
}

static int call(void)
{
	if (n_calls++ < dies_at)
		return 0;
	for (int i = 0; i < N_PAGES; i++) {
		page[i].state = FREE;
		memset(page[i].data, 0xff, page_bytes);
	}
	return -ESTALE;
}

static struct page *stored(const uint8_t *key)
{
	for (int i = 0; i < N_PAGES; i++)
		if (page[i].state != FREE &&
		    memcmp(page[i].key, key, CKV_KEY_SIZE) == 0)
			return &page[i];
	return NULL;
}

long ckv_keys(const struct ckv_space *space, const uint8_t *parent,
	      const uint32_t *tokens, size_t n_tokens,
	      const struct ckv_extra *extras, size_t n_extras,
	      uint8_t *ret_keys)
{
	uint64_t hash = 14695981039346656037u;

	(void)space;
	(void)parent;
	(void)extras;
	(void)n_extras;
	for (size_t i = 0; i < n_tokens / BLOCK * BLOCK; i++) {
		hash = (hash ^ tokens[i]) * 1099511628211u;
		if (i % BLOCK != BLOCK - 1)
			continue;
		memset(ret_keys, 0, CKV_KEY_SIZE);
		memcpy(ret_keys, &hash, sizeof(hash));
		ret_keys += CKV_KEY_SIZE;
	}
	return (long)(n_tokens / BLOCK);
}

long ckv_lookup(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
		unsigned flags, struct ckv_handle *ret_handles,
		struct ckv_pin *ret_pin)
{
	long n = 0;
	int r = call();

	(void)lane;
	(void)flags;
	if (r < 0)
		return r;
	for (; n < (long)n_keys; n++) {
		struct page *p = stored(keys + n * CKV_KEY_SIZE);

		if (p == NULL || p->state != STORED)
			break;
		ret_handles[n].data = p->data;
	}
	ret_pin->n_blocks = (uint32_t)n;
	n_pins += n > 0;
	return n;
}

/* Somebody else publishes the first of the pages that it writes, and gives up the others. */
static void others_end(void)
{
	for (int i = 0; i < N_PAGES; i++)
		if (page[i].state == COMING)
			page[i].state = n_come-- > 0 ? STORED : FREE;
}

long ckv_prefetch(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
		  uint32_t level, int64_t timeout_ns, unsigned flags,
		  struct ckv_handle *ret_handles, struct ckv_pin *ret_pin)
{
	ck_assert_uint_eq(level, CKV_HOST);
	ck_assert_uint_ge(n_keys, 1);
	ck_assert_uint_le(n_keys, share.batch);
	n_waited += timeout_ns > 0;
	if (timeout_ns > 0)
		others_end();
	return ckv_lookup(lane, keys, n_keys, flags, ret_handles, ret_pin);
}

void ckv_unpin(struct ckv_lane *lane, struct ckv_pin *pin)
{
	(void)lane;
	n_pins -= pin->n_blocks > 0;
	pin->n_blocks = 0;
}

int ckv_pin_valid(const struct ckv_lane *lane, const struct ckv_pin *pin)
{
	(void)lane;
	(void)pin;
	return call();
}

/* The block before the first one, or none; and it is stored. */
static void check_parent(const uint8_t *parent, const uint8_t *first)
{
	uint8_t keys[N_IDS / BLOCK][CKV_KEY_SIZE];
	int i = 0;

	ckv_keys(NULL, NULL, ids, N_IDS, NULL, 0, keys[0]);
	while (memcmp(keys[i], first, CKV_KEY_SIZE) != 0)
		i++;
	ck_assert((parent != NULL) == (i > 0));
	if (parent == NULL)
		return;
	ck_assert_mem_eq(parent, keys[i - 1], CKV_KEY_SIZE);
	ck_assert_ptr_nonnull(stored(parent));
}

long ckv_reserve(struct ckv_lane *lane, const uint8_t *parent,
		 const uint8_t *keys, size_t n_keys, struct ckv_page *ret_pages)
{
	long lent = 0;
	int r = call();

	(void)lane;
	if (r < 0)
		return r;
	if (n_keys > share.batch)
		return -EINVAL;
	check_parent(parent, keys);
	for (size_t i = 0; i < n_keys; i++) {
		int at = 0;

		struct page *p = stored(keys + i * CKV_KEY_SIZE);

		ret_pages[i] = (struct ckv_page){ .status = -EEXIST };
		if (p != NULL && p->state == COMING)
			ret_pages[i].status = -EALREADY;
		if (p != NULL)
			continue;
		while (at < n_room && page[at].state != FREE)
			at++;
		ret_pages[i].status = at == n_room ? -ENOSPC :
			busy != NULL && memcmp(keys + i * CKV_KEY_SIZE, busy,
			CKV_KEY_SIZE) == 0 ? -EALREADY : 0;
		if (ret_pages[i].status != 0)
			continue;
		page[at].state = LENT;
		memcpy(page[at].key, keys + i * CKV_KEY_SIZE, CKV_KEY_SIZE);
		memset(page[at].data, 0xff, page_bytes);
		ret_pages[i].data = page[at].data;
		ret_pages[i].page = (uint32_t)at;
		lent++;
	}
	return lent;
}

long ckv_publish(struct ckv_lane *lane, const struct ckv_page *pages,
		 size_t n_pages, uint32_t n_tokens, unsigned flags,
		 const uint64_t *sums, int32_t *ret_status,
		 struct ckv_pin *ret_pin)
{
	int r = call();

	(void)lane;
	(void)sums;
	(void)ret_status;
	if (r < 0)
		return r;
	if (n_pages > share.batch)
		return -EINVAL;
	ck_assert_uint_eq(n_tokens, BLOCK);
	ck_assert_uint_eq(flags, CKV_SUM);
	for (size_t i = 0; i < n_pages; i++)
		page[pages[i].page].state = STORED;
	ck_assert(!gapless || count(LENT) > 0 || count(STORED) == N_IDS / BLOCK);
	ret_pin->n_blocks = (uint32_t)n_pages;
	n_pins++;
	return (long)n_pages;
}

long ckv_abort(struct ckv_lane *lane, const struct ckv_page *pages,
	       size_t n_pages, int32_t *ret_status)
{
	int r = call();

	(void)lane;
	(void)ret_status;
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_pages; i++) {
		ck_assert_int_eq(page[pages[i].page].state, LENT);
		page[pages[i].page].state = FREE;
	}
	return (long)n_pages;
}

const char *ckv_strerror(int error)
{
	return strerror(-error);
}

const char *ckv_why(const struct ckv *ckv)
{
	(void)ckv;
	return "";
}

int ckv_open(const char *path, const char *program, struct ckv **ret_ckv)
{
	(void)path;
	(void)program;
	(void)ret_ckv;
	return -ENOENT;
}

int ckv_attach(struct ckv *ckv, const char *name, const struct ckv_model *want,
	       enum ckv_mode mode, struct ckv_space **ret_space)
{
	(void)ckv;
	(void)name;
	(void)want;
	(void)mode;
	(void)ret_space;
	return -ENOENT;
}

int ckv_lane_open(struct ckv_space *space,
		  const struct ckv_lane_options *options,
		  struct ckv_lane **ret_lane)
{
	(void)space;
	(void)options;
	(void)ret_lane;
	return -ENOENT;
}

void ckv_space_get_info(const struct ckv_space *space,
			struct ckv_space_info *ret_info)
{
	(void)space;
	(void)ret_info;
}

struct ckv *ckv_close(struct ckv *ckv)
{
	(void)ckv;
	return NULL;
}

/* ---- fixture ----------------------------------------------------------- */

static struct model model;
static const struct options options = { .block_tokens = BLOCK,
					.dtype = VEC_F32 };

struct outcome {
	float logits[512];
	uint32_t answer[6];
	int n_answer;
	uint32_t n_found;
	int refused;
};

static void setup(void)
{
	struct kv_geometry geo;
	struct err e;

	ck_assert_msg(model_load(MODEL, &model, &e) == 0, "%s", e.text);
	geo = engine_geometry(&model, BLOCK, VEC_F32);
	page_bytes = kv_page_bytes(&geo);
	for (int i = 0; i < N_PAGES; i++)
		page[i].data = malloc(page_bytes);
	share.info.model.block_tokens = BLOCK;
	share.batch = 1024;
	for (uint32_t i = 0; i <= N_IDS; i++)
		ids[i] = 1 + i * i % 500;
	dies_at = 1 << 30;
	n_room = N_PAGES;
}

static void teardown(void)
{
	for (int i = 0; i < N_PAGES; i++)
		free(page[i].data);
	model_free(&model);
}

/* Read n tokens, the last n_own of them ourselves, and go on. */
static void read_text(struct share *with, uint32_t n, uint32_t n_own,
		      struct outcome *ret)
{
	struct session s;
	struct err e;

	memset(ret, 0, sizeof(*ret));
	ck_assert_int_eq(session_open(&s, &model, &options, with, &e), 0);
	ck_assert_int_eq(session_begin(&s, ids, n, n_own, &e), 0);
	ret->n_found = s.n_found;
	ck_assert_int_eq(session_read(&s, n, &e), 0);
	ck_assert_int_eq(session_publish(&s, &e), 0);
	memcpy(ret->logits, s.logits, sizeof(ret->logits));
	ret->n_answer = session_answer(&s, UINT32_MAX, 6, ret->answer, &e);
	ret->refused = s.refused;
	session_close(&s);
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
	ck_assert_mem_eq(a->logits, b->logits, sizeof(a->logits));
	ck_assert_int_eq(a->n_answer, 6);
	ck_assert_int_eq(b->n_answer, 6);
	ck_assert_mem_eq(a->answer, b->answer, sizeof(a->answer));
}

/* ---- tests ------------------------------------------------------------- */

/* What one session publishes the next one finds, and gets the same bits. */
START_TEST(published_blocks_are_found)
{
	struct outcome alone, first, second;

	read_text(NULL, N_IDS, 1, &alone);
	read_text(&share, N_IDS, 1, &first);
	read_text(&share, N_IDS, 1, &second);
	ck_assert_uint_eq(first.n_found, 0);
	ck_assert_uint_eq(second.n_found, N_IDS / BLOCK * BLOCK);
	assert_same(&first, &alone);
	assert_same(&second, &alone);
	ck_assert_int_eq(count(STORED), N_IDS / BLOCK);
	ck_assert_int_eq(count(LENT), 0);
	ck_assert_int_eq(n_pins, 0);
}
END_TEST

/* More blocks than a request may name are stored in parts, and all are found. */
START_TEST(long_texts_go_in_parts)
{
	struct outcome alone, first, second;

	share.batch = (uint32_t)_i + 1;
	read_text(NULL, N_IDS, 1, &alone);
	read_text(&share, N_IDS, 1, &first);
	read_text(&share, N_IDS, 1, &second);
	ck_assert_int_eq(first.refused, 0);
	ck_assert_uint_eq(second.n_found, N_IDS / BLOCK * BLOCK);
	assert_same(&first, &alone);
	assert_same(&second, &alone);
	ck_assert_int_eq(count(STORED), N_IDS / BLOCK);
	ck_assert_int_eq(count(LENT), 0);
	ck_assert_int_eq(n_pins, 0);
}
END_TEST

/* The last token is computed even when every block of the text is stored. */
START_TEST(something_is_always_computed)
{
	struct outcome alone, first, second;

	read_text(NULL, 4 * BLOCK, 1, &alone);
	read_text(&share, 4 * BLOCK, 1, &first);
	read_text(&share, 4 * BLOCK, 1, &second);
	ck_assert_uint_eq(second.n_found, 3 * BLOCK);
	ck_assert_int_eq(second.refused, 0);
	assert_same(&second, &alone);
	ck_assert_int_eq(count(STORED), 4);
	ck_assert_int_eq(count(LENT), 0);
}
END_TEST

/* What others have stored or are storing meanwhile costs no bit and no block. */
START_TEST(others_write_the_same_text)
{
	uint8_t keys[N_IDS / BLOCK][CKV_KEY_SIZE];
	struct outcome alone, out;

	read_text(NULL, N_IDS, 1, &alone);
	read_text(&share, N_IDS, 1, &out);
	ckv_keys(NULL, NULL, ids, N_IDS, NULL, 0, keys[0]);
	stored(keys[0])->state = FREE;
	stored(keys[2])->state = FREE;
	share.batch = (uint32_t)_i + 1;
	read_text(&share, N_IDS, 1, &out);
	ck_assert_uint_eq(out.n_found, 0);
	ck_assert_int_eq(out.refused, 0);
	assert_same(&out, &alone);
	ck_assert_int_eq(count(STORED), N_IDS / BLOCK);
	stored(keys[1])->state = FREE;
	stored(keys[3])->state = FREE;
	busy = keys[1];
	read_text(&share, N_IDS, 1, &out);
	ck_assert_uint_eq(out.n_found, BLOCK);
	ck_assert_int_eq(out.refused, -EALREADY);
	assert_same(&out, &alone);
	ck_assert_int_eq(count(LENT), 0);
	ck_assert_int_eq(n_pins, 0);
}
END_TEST

/* What others write meanwhile is taken over, the rest computed, in one part or many. */
START_TEST(what_others_write_is_waited_for)
{
	uint8_t keys[N_IDS / BLOCK][CKV_KEY_SIZE];
	struct outcome alone, out;
	int n_blocks = N_IDS / BLOCK, first = _i % n_blocks;

	read_text(NULL, N_IDS, 1, &alone);
	read_text(&share, N_IDS, 1, &out);
	ckv_keys(NULL, NULL, ids, N_IDS, NULL, 0, keys[0]);
	for (int i = first; i < n_blocks; i++)
		stored(keys[i])->state = COMING;
	share.join_ns = 1000000000000u;
	share.batch = (uint32_t)(_i / n_blocks % 4) + 1;
	n_come = _i / n_blocks / 4;
	first += n_come;
	read_text(&share, N_IDS, 1, &out);
	assert_same(&out, &alone);
	ck_assert_int_eq(n_waited, 1);
	ck_assert_int_eq(out.refused, 0);
	ck_assert_int_eq((int)out.n_found / BLOCK, first < n_blocks ? first : n_blocks);
	ck_assert_int_eq(count(STORED), n_blocks);
	ck_assert_int_eq(count(LENT), 0);
	ck_assert_int_eq(n_pins, 0);
}
END_TEST

/*
 * Others see a long text's blocks one after another, and at any time either all of them
 * or that more is coming: who waits for them stays behind who writes them.
 */
START_TEST(blocks_are_published_as_they_are_written)
{
	struct session s;
	struct err e;

	share.batch = (uint32_t)_i + 1;
	gapless = true;
	ck_assert_int_eq(session_open(&s, &model, &options, &share, &e), 0);
	ck_assert_int_eq(session_begin(&s, ids, N_IDS, 1, &e), 0);
	for (uint32_t n = 1; n <= N_IDS / BLOCK; n++) {
		ck_assert_int_eq(session_read(&s, n * BLOCK, &e), 0);
		ck_assert_int_eq(count(STORED), n);
	}
	session_close(&s);
	ck_assert_int_eq(count(LENT), 0);
	ck_assert_int_eq(n_pins, 0);
}
END_TEST

/* Tokens that the caller wants to compute are not taken from the cache. */
START_TEST(own_tokens_are_not_looked_up)
{
	struct outcome alone, first, second;

	read_text(NULL, N_IDS, 1, &alone);
	read_text(&share, N_IDS, 1, &first);
	read_text(&share, N_IDS, 30, &second);
	ck_assert_uint_eq(second.n_found, (N_IDS - 30) / BLOCK * BLOCK);
	assert_same(&second, &alone);
	ck_assert_int_eq(count(LENT), 0);
	ck_assert_int_eq(n_pins, 0);
}
END_TEST

/* A pool that is full after any number of pages costs no bit and no page. */
START_TEST(full_pool_is_survived)
{
	struct outcome alone, out;

	read_text(NULL, N_IDS, 1, &alone);
	n_room = _i / 2;
	share.batch = _i % 2 == 0 ? 1024 : 1;
	read_text(&share, N_IDS, 1, &out);
	assert_same(&out, &alone);
	ck_assert_int_eq(out.refused, n_room < N_IDS / BLOCK ? -ENOSPC : 0);
	ck_assert_int_eq(count(STORED), n_room < N_IDS / BLOCK ? n_room :
			 N_IDS / BLOCK);
	ck_assert_int_eq(count(LENT), 0);
	ck_assert_int_eq(n_pins, 0);
}
END_TEST

/* A daemon that dies at any call costs no bit: cold or cached, in one part or two, waiting. */
START_TEST(dead_daemon_is_survived)
{
	struct outcome alone, out;
	uint8_t keys[N_IDS / BLOCK][CKV_KEY_SIZE];
	int nth;

	read_text(NULL, N_IDS, 1, &alone);
	ckv_keys(NULL, NULL, ids, N_IDS, NULL, 0, keys[0]);
	share.join_ns = _i < 4 ? 0 : 1000000000000u;
	for (nth = 0; ; nth++) {
		dies_at = 1 << 30;
		for (int i = 0; i < N_PAGES; i++)
			page[i].state = FREE;
		share.batch = _i % 4 < 2 ? 1024 : 2;
		if (_i % 2 == 1)
			read_text(&share, 3 * BLOCK, 1, &out);
		n_come = 0;
		page[N_PAGES - 1].state = _i < 4 ? FREE : COMING;
		memcpy(page[N_PAGES - 1].key, keys[_i % 2 == 1 ? 3 : 0], CKV_KEY_SIZE);
		n_calls = 0;
		dies_at = nth;
		read_text(&share, N_IDS, 1, &out);
		assert_same(&out, &alone);
		ck_assert_int_eq(n_pins, 0);
		if (n_calls <= nth)
			break;
	}
	ck_assert_int_ge(nth, 4);	/* look up, reserve, publish, valid */
}
END_TEST

/* Without a cache the beginning that two texts share is computed once. */
START_TEST(common_beginning_is_kept)
{
	struct outcome alone;
	uint32_t other[N_IDS];
	struct session s;
	struct err e;

	read_text(NULL, N_IDS, 1, &alone);
	memcpy(other, ids, sizeof(other));
	other[50] ^= 1;
	ck_assert_int_eq(session_open(&s, &model, &options, NULL, &e), 0);
	ck_assert_int_eq(session_begin(&s, other, N_IDS, 1, &e), 0);
	ck_assert_int_eq(session_read(&s, N_IDS, &e), 0);
	ck_assert_int_eq(session_begin(&s, ids, N_IDS, 1, &e), 0);
	ck_assert_uint_eq(s.n_found, 50);
	ck_assert_int_eq(session_read(&s, N_IDS, &e), 0);
	ck_assert_mem_eq(s.logits, alone.logits, sizeof(alone.logits));
	session_close(&s);
}
END_TEST

CHECK_MAIN("engine_session",
	CASE("session", .setup = setup, .teardown = teardown, .timeout = 120),
	TEST(published_blocks_are_found),
	LOOP(long_texts_go_in_parts, 5),
	LOOP(others_write_the_same_text, 5),
	LOOP(what_others_write_is_waited_for, 4 * 4 * 4),
	LOOP(blocks_are_published_as_they_are_written, 4),
	TEST(something_is_always_computed),
	TEST(own_tokens_are_not_looked_up),
	LOOP(full_pool_is_survived, 2 * (N_IDS / BLOCK + 1)),
	LOOP(dead_daemon_is_survived, 8),
	TEST(common_beginning_is_kept))
