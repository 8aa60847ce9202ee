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

static int explain(const struct share *share, const char *what, int r,
		   struct err *e)
{
	const char *why = ckv_why(share->ckv);

	return err_set(e, r, "%s: %s%s%s", what, ckv_strerror(r),
		       why[0] != '\0' ? ": " : "", why);
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
	free(handles);
	return r;
}

/* Borrow pages for the blocks that were not found, up to the first refusal. */
static int borrow(struct share *share, struct kv *kv, struct claim *c)
{
	uint32_t first = c->n_found, n = c->n_keys - first, i;
	const uint8_t *parent = first > 0 ? key(c, first - 1) : NULL;
	long lent;
	int r = 0;

	if (n == 0)
		return 0;
	lent = ckv_reserve(share->lane, parent, key(c, first), n, c->lent);
	if (lent < 0) {
		c->refused = (int)lent;
		return 0;
	}
	for (i = 0; r == 0 && i < n && c->lent[i].status == 0; i++)
		r = kv_add_page(kv, c->lent[i].data);
	c->n_lent = i;
	if (i < n)
		c->refused = c->lent[i].status;
	for (; i < n; i++)
		if (c->lent[i].status == 0)
			ckv_abort(share->lane, &c->lent[i], 1, NULL);
	return r;
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

int claim_publish(struct share *share, struct claim *c)
{
	long n;

	if (c->n_lent == 0 || c->published)
		return 0;
	n = ckv_publish(share->lane, c->lent, c->n_lent,
			share->info.model.block_tokens, CKV_SUM, NULL, NULL,
			&c->own);
	if (n == (long)c->n_lent) {
		c->published = true;
	} else {
		c->refused = n < 0 ? (int)n : -EAGAIN;
		if (n > 0)
			ckv_unpin(share->lane, &c->own);
	}
	return c->published ? 0 : c->refused;
}

int claim_valid(const struct share *share, const struct claim *c)
{
	int r = 0;

	if (c->n_found > 0)
		r = ckv_pin_valid(share->lane, &c->found);
	if (r == 0 && c->published)
		r = ckv_pin_valid(share->lane, &c->own);
	if (r == 0 && c->n_lent > 0 && !c->published && c->refused == -ESTALE)
		r = -ESTALE;
	return r;
}

void claim_end(struct share *share, struct claim *c)
{
	ckv_unpin(share->lane, &c->found);
	if (c->published)
		ckv_unpin(share->lane, &c->own);
	else if (c->n_lent > 0)
		ckv_abort(share->lane, c->lent, c->n_lent, NULL);
	free(c->keys);
	free(c->lent);
	memset(c, 0, sizeof(*c));
}
