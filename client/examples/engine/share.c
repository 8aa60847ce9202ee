/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share.c - see share.h.
 *
 * Failure modes: a daemon that dies in between makes claim_publish() or
 * claim_valid() answer -ESTALE; the mapped pages stay readable until the next
 * call into the library, but the text must be computed again without them.
 */
#include "client/examples/engine/share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH	1024u	/* see ckv_reserve() */

/* The last part of a path is what a model is called. -ENAMETOOLONG. */
static int model_name(const char *dir, char *name, size_t bytes)
{
	size_t n = strlen(dir);
	const char *at;

	while (n > 1 && dir[n - 1] == '/')
		n--;
	at = memrchr(dir, '/', n);
	at = at != NULL ? at + 1 : dir;
	if ((size_t)(dir + n - at) >= bytes)
		return -ENAMETOOLONG;
	memcpy(name, at, (size_t)(dir + n - at));
	name[dir + n - at] = '\0';
	return 0;
}

static int model_of(const struct options *o, const struct model *m,
		    struct ckv_model *ret, struct err *e)
{
	struct ckv_model want = {
		.n_layers = m->cfg.n_layers,
		.n_kv_heads = m->cfg.n_kv_heads,
		.dim_k = m->cfg.head_dim,
		.dim_v = m->cfg.head_dim,
		.block_tokens = o->block_tokens,
		.type = o->dtype == VEC_BF16 ? CKV_BF16 : CKV_F32,
		.scheme = CKV_TOKEN_KEYS,
		.layout = CKV_HEAD_MAJOR,
	};

	_Static_assert(sizeof(want.weights) == IDENTITY_BYTES, "one size");
	memcpy(want.weights, m->identity, sizeof(want.weights));
	if (model_name(o->model, want.model, sizeof(want.model)) < 0)
		return err_set(e, -ENAMETOOLONG, "%s: a model's name has at most "
			       "%zu letters", o->model, sizeof(want.model) - 1);
	*ret = want;
	return 0;
}

/* What the daemon said, which names the thing, or else what the error means. */
static int explain(const struct share *share, const char *space, int r,
		   struct err *e)
{
	const char *why = ckv_why(share->ckv);

	if (why[0] == '\0')
		return err_set(e, r, "%s: %s", space, ckv_strerror(r));
	return err_set(e, r, "%s%s", why, r == -ENOENT ? "; --space names one "
		       "of those in the daemon's configuration" : "");
}

int share_open(struct share *share, const struct options *o,
	       const struct model *m, struct err *e)
{
	struct ckv_model want;
	int r;

	memset(share, 0, sizeof(*share));
	r = model_of(o, m, &want, e);
	if (r < 0)
		return r;
	share->verify = o->verify;
	share->batch = BATCH;
	share->join_ns = o->join_s * 1000000000ull;
	r = ckv_open(o->socket, "ckv-engine", &share->ckv);
	if (r < 0)
		return err_set(e, r, "%s", ckv_why(NULL));
	r = ckv_attach(share->ckv, o->space, &want, CKV_WRITE, &share->space);
	if (r < 0)
		goto err_close;
	r = ckv_lane_open(share->space, NULL, &share->lane);
	if (r < 0)
		goto err_close;
	ckv_space_get_info(share->space, &share->info);
	return 0;

err_close:
	explain(share, o->space, r, e);
	share_close(share);
	return r == -ENOENT ? -ENODEV : r;
}

void share_close(struct share *share)
{
	ckv_close(share->ckv);
	memset(share, 0, sizeof(*share));
}

static int make_keys(const struct share *share, const uint32_t *ids,
		     uint32_t n_ids, struct claim *c)
{
	uint32_t n = n_ids / share->info.model.block_tokens;
	long made;

	c->keys = calloc(n + 1, CKV_KEY_SIZE);
	c->lent = calloc(n + 1, sizeof(*c->lent));
	c->lent_block = calloc(n + 1, sizeof(*c->lent_block));
	if (c->keys == NULL || c->lent == NULL || c->lent_block == NULL)
		return -ENOMEM;
	made = ckv_keys(share->space, NULL, ids, n_ids, NULL, 0, c->keys);
	c->n_keys = made < 0 ? 0 : (uint32_t)made;
	return 0;
}

static const uint8_t *key(const struct claim *c, uint32_t i)
{
	return c->keys + (size_t)i * CKV_KEY_SIZE;
}

/* ---- what is there ---------------------------------------------------- */

/* These blocks were found next, and `pin`, which keeps all before them, too. */
static int adopt(struct share *share, struct kv *kv, struct claim *c,
		 const struct ckv_handle *handles, long n, struct ckv_pin pin)
{
	int r = 0;

	ckv_unpin(share->lane, &c->found);
	c->found = pin;
	for (long i = 0; r == 0 && i < n && handles[i].data != NULL; i++) {
		/* Attention reads it; nothing writes before position n_found. */
		r = kv_add_page(kv, (uint8_t *)(uintptr_t)handles[i].data);
		c->n_found += r == 0;
	}
	c->n_placed = c->n_found;
	return r;
}

/* Pin the longest prefix that is stored and list its pages. */
static int find(struct share *share, struct kv *kv, struct claim *c)
{
	struct ckv_handle *handles = calloc(c->n_ask + 1, sizeof(*handles));
	struct ckv_pin pin = { 0 };
	long found;
	int r = 0;

	if (handles == NULL)
		return -ENOMEM;
	found = ckv_lookup(share->lane, c->keys, c->n_ask,
			   share->verify ? CKV_VERIFY : 0, handles, &pin);
	if (found < 0)
		c->refused = (int)found;
	else
		r = adopt(share, kv, c, handles, found, pin);
	free(handles);
	return r;
}

/* ---- what another engine is writing ----------------------------------- */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * Wait for the blocks after those found and pin them. 0, whether any came or not;
 * -ENOMEM; or why the daemon does not do it.
 */
static int join(struct share *share, struct kv *kv, struct claim *c,
		int64_t wait_ns)
{
	uint32_t first = c->n_found, n = c->n_ask - first;
	struct ckv_handle *handles;
	struct ckv_pin pin = { 0 };
	long came;
	int r;

	n = n < share->batch ? n : share->batch;
	handles = calloc(n, sizeof(*handles));
	if (handles == NULL)
		return -ENOMEM;
	came = ckv_prefetch(share->lane, key(c, first), n, CKV_HOST, wait_ns,
			    share->verify ? CKV_VERIFY : 0, handles, &pin);
	r = came < 0 ? (int)came : 0;
	if (came == 0)
		ckv_unpin(share->lane, &pin);
	else if (came > 0)
		r = adopt(share, kv, c, handles, came, pin);
	c->n_joined += c->n_found - first;
	free(handles);
	return r;
}

/*
 * The first missing block is with another engine, by its status: stored since we
 * looked, or being written. Have what comes of it. 1: things have changed, so pages
 * are to be asked for anew; 0: they have not; -ENOMEM.
 */
static int take_over(struct share *share, struct kv *kv, struct claim *c,
		     int status)
{
	uint64_t now = now_ns();
	uint32_t before = c->n_found;
	int64_t wait_ns = 0;
	int r;

	if (c->n_placed > c->n_found || c->n_found >= c->n_ask)
		return 0;
	if (status == -EALREADY && now < c->until_ns)
		wait_ns = (int64_t)(c->until_ns - now);
	else if (status != -EEXIST)
		return 0;
	r = join(share, kv, c, wait_ns);
	if (r == -ENOMEM)
		return r;
	/* Nothing came, but who wrote it may have given up: then it is our turn. */
	return c->n_found > before || (r == 0 && status == -EALREADY);
}

/* ---- what is to be written -------------------------------------------- */

/* What one block got of the cache: 0, -ENOMEM, or 1: nothing, and none after it. */
static int place(const struct share *share, struct kv *kv, struct claim *c,
		 const struct ckv_page *page)
{
	int r;

	if (page->status == 0) {
		r = kv_add_page(kv, page->data);
		if (r < 0)
			return r;
		c->lent_block[c->n_lent] = c->n_placed;
		c->lent[c->n_lent++] = *page;
	} else if (page->status == -EEXIST) {
		/* Stored already, but we compute it: into a page of our own. */
		r = kv_reserve(kv, (c->n_placed + 1) *
			       share->info.model.block_tokens);
		if (r < 0)
			return r;
	} else {
		c->refused = page->status;
		return 1;
	}
	c->n_placed++;
	return 0;
}

static void give_back(struct share *share, const struct ckv_page *part,
		      uint32_t n)
{
	/* The deepest first: what is reserved under a page goes with it. */
	while (n-- > 0)
		if (part[n].status == 0)
			ckv_abort(share->lane, &part[n], 1, NULL);
}

/* Ask for pages for the next blocks. How many have a status; 0: refused. */
static uint32_t reserve(struct share *share, struct claim *c,
			struct ckv_page *part)
{
	uint32_t first = c->n_placed, n = c->n_keys - first;
	const uint8_t *parent = first > 0 ? key(c, first - 1) : NULL;
	long lent;

	if (n == 0)
		return 0;
	n = n < share->batch ? n : share->batch;
	lent = ckv_reserve(share->lane, parent, key(c, first), n, part);
	if (lent < 0)
		c->refused = (int)lent;
	return lent < 0 ? 0 : n;
}

/* Borrow pages for the next blocks, as many as one request may name. */
static int borrow(struct share *share, struct kv *kv, struct claim *c)
{
	struct ckv_page *part = calloc(share->batch, sizeof(*part));
	uint32_t n, i = 0;
	int r;

	if (part == NULL)
		return -ENOMEM;
	for (;;) {
		n = reserve(share, c, part);
		r = n > 0 ? take_over(share, kv, c, part[0].status) : 0;
		if (r <= 0)
			break;
		give_back(share, part, n);
	}
	while (r == 0 && i < n) {
		r = place(share, kv, c, &part[i]);
		i += r == 0;
	}
	give_back(share, part + i, n - i);
	free(part);
	return r < 0 ? r : 0;
}

int claim_begin(struct share *share, struct kv *kv, const uint32_t *ids,
		uint32_t n_ids, uint32_t n_own, struct claim *ret_claim)
{
	uint32_t n_tokens = share->info.model.block_tokens;
	struct claim c = { .until_ns = now_ns() + share->join_ns };
	int r;

	r = make_keys(share, ids, n_ids, &c);
	c.n_ask = n_ids > n_own ? (n_ids - n_own) / n_tokens : 0;
	c.n_ask = c.n_ask < c.n_keys ? c.n_ask : c.n_keys;
	if (r == 0)
		r = find(share, kv, &c);
	if (r == 0)
		r = borrow(share, kv, &c);
	if (r < 0) {
		claim_end(share, &c);
		return r;
	}
	*ret_claim = c;
	return 0;
}

bool claim_has_more(const struct claim *c)
{
	return c->n_placed < c->n_keys && c->refused == 0;
}

int claim_more(struct share *share, struct kv *kv, struct claim *c)
{
	claim_publish(share, c, c->n_placed - 1);
	return claim_has_more(c) ? borrow(share, kv, c) : 0;
}

void claim_publish(struct share *share, struct claim *c, uint32_t n_written)
{
	uint32_t first = c->n_published, n = 0;
	struct ckv_pin pin = { 0 };
	long done;

	while (first + n < c->n_lent && n < share->batch &&
	       c->lent_block[first + n] < n_written)
		n++;
	if (n == 0 || c->lost)
		return;
	done = ckv_publish(share->lane, c->lent + first, n,
			   share->info.model.block_tokens, CKV_SUM, NULL, NULL,
			   &pin);
	if (done == (long)n) {
		/* The pin of a block keeps the blocks before it, too. */
		ckv_unpin(share->lane, &c->own);
		c->own = pin;
		c->n_published += n;
		return;
	}
	/* Some are published and not pinned, or they were taken back. */
	c->lost = done > 0 || done == -ESTALE || done == -ECANCELED;
	c->refused = done < 0 ? (int)done : -EAGAIN;
	ckv_unpin(share->lane, &pin);
}

int claim_valid(const struct share *share, const struct claim *c)
{
	int r = c->lost ? -ESTALE : 0;

	if (r == 0 && c->n_found > 0)
		r = ckv_pin_valid(share->lane, &c->found);
	if (r == 0 && c->n_published > 0)
		r = ckv_pin_valid(share->lane, &c->own);
	return r;
}

void claim_end(struct share *share, struct claim *c)
{
	ckv_unpin(share->lane, &c->found);
	ckv_unpin(share->lane, &c->own);
	if (c->n_published < c->n_lent)
		ckv_abort(share->lane, c->lent + c->n_published,
			  c->n_lent - c->n_published, NULL);
	free(c->keys);
	free(c->lent);
	free(c->lent_block);
	memset(c, 0, sizeof(*c));
}
