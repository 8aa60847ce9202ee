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
	if (c->keys == NULL || c->lent == NULL)
		return -ENOMEM;
	made = ckv_keys(share->space, NULL, ids, n_ids, NULL, 0, c->keys);
	c->n_keys = made < 0 ? 0 : (uint32_t)made;
	return 0;
}

static const uint8_t *key(const struct claim *c, uint32_t i)
{
	return c->keys + (size_t)i * CKV_KEY_SIZE;
}

/* Pin the longest prefix of the first n_ask blocks and list its pages. */
static int find(struct share *share, struct kv *kv, uint32_t n_ask,
		struct claim *c)
{
	struct ckv_handle *handles = calloc(n_ask + 1, sizeof(*handles));
	long found;
	int r = 0;

	if (handles == NULL)
		return -ENOMEM;
	found = ckv_lookup(share->lane, c->keys, n_ask,
			   share->verify ? CKV_VERIFY : 0, handles, &c->found);
	if (found < 0)
		c->refused = (int)found;
	for (long i = 0; r == 0 && i < found && handles[i].data != NULL; i++) {
		/* Attention reads it; nothing writes before position n_found. */
		r = kv_add_page(kv, (uint8_t *)(uintptr_t)handles[i].data);
		c->n_found += r == 0;
	}
	c->n_placed = c->n_found;
	free(handles);
	return r;
}

/* What one block got of the cache: 0, -ENOMEM, or 1: nothing, and none after it. */
static int place(const struct share *share, struct kv *kv, struct claim *c,
		 const struct ckv_page *page)
{
	int r;

	if (page->status == 0) {
		r = kv_add_page(kv, page->data);
		if (r < 0)
			return r;
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

/* Borrow pages for the next blocks, as many as one request may name. */
static int borrow(struct share *share, struct kv *kv, struct claim *c)
{
	uint32_t first = c->n_placed, n = c->n_keys - first, i;
	const uint8_t *parent = first > 0 ? key(c, first - 1) : NULL;
	struct ckv_page *part;
	long lent;
	int r = 0;

	if (n == 0)
		return 0;
	n = n < share->batch ? n : share->batch;
	part = calloc(n, sizeof(*part));
	if (part == NULL)
		return -ENOMEM;
	lent = ckv_reserve(share->lane, parent, key(c, first), n, part);
	if (lent < 0)
		c->refused = (int)lent;
	for (i = 0; lent >= 0 && r == 0 && i < n; i++)
		r = place(share, kv, c, &part[i]);
	for (i = c->n_placed - first; lent > 0 && i < n; i++)
		if (part[i].status == 0)
			ckv_abort(share->lane, &part[i], 1, NULL);
	free(part);
	return r < 0 ? r : 0;
}

int claim_begin(struct share *share, struct kv *kv, const uint32_t *ids,
		uint32_t n_ids, uint32_t n_own, struct claim *ret_claim)
{
	uint32_t n_tokens = share->info.model.block_tokens;
	uint32_t n_ask = n_ids > n_own ? (n_ids - n_own) / n_tokens : 0;
	struct claim c = { 0 };
	int r;

	r = make_keys(share, ids, n_ids, &c);
	if (r == 0)
		r = find(share, kv, n_ask < c.n_keys ? n_ask : c.n_keys, &c);
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
	claim_publish(share, c);
	return claim_has_more(c) ? borrow(share, kv, c) : 0;
}

void claim_publish(struct share *share, struct claim *c)
{
	uint32_t n = c->n_lent - c->n_published;
	struct ckv_pin pin = { 0 };
	long done;

	if (n == 0 || c->lost)
		return;
	done = ckv_publish(share->lane, c->lent + c->n_published, n,
			   share->info.model.block_tokens, CKV_SUM, NULL, NULL,
			   &pin);
	if (done == (long)n) {
		/* The pin of a block keeps the blocks before it, too. */
		ckv_unpin(share->lane, &c->own);
		c->own = pin;
		c->n_published = c->n_lent;
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
	memset(c, 0, sizeof(*c));
}
