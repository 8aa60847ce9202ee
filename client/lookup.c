/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.c - find a chain, pin it, say where its blocks are.
 *
 * The usual way: search the index for the deepest block that is stored. Pin it and, where
 * there are blocks on the device, the deepest of those (proto/ckv_pin.h). These pins
 * protect all ancestors, so then the entry of each block is read for its page number.
 *
 * The blocks must be a chain, each stored under the one before it. This is checked on the
 * way: a block's entry names the slot of its parent, and that must be the slot where the
 * block before it was found. The daemon never evicts a parent before its child, so while
 * the child is pinned its parent stays in that slot, and what is found there is the
 * parent; generations need not be compared. If a link is missing, the pin protects
 * nothing above it: pins are given back, and the shorter prefix is pinned anew.
 *
 * Blocks get copies and lose copies at several levels meanwhile. A pin covers the copies at
 * one level, so each handle is of the level that the search found, whatever the entry says
 * by then (tests/model/fill.pml).
 *
 * If a pin is not confirmed, it is given back and the search is made again, ATTEMPTS
 * times at most. For a block that the daemon is judging the lookup waits a moment, then
 * leaves it out. Nothing here makes a system call while the daemon lives; when it does
 * not, every lookup finds 0 blocks.
 */
#include "client/lib.h"

#include <errno.h>

enum {
	ATTEMPTS = 64,		/* searches for one lookup */
	FAR = 16,		/* blocks whose tags are asked for in advance */
	NEAR = 8,		/* blocks whose entries are */
};

/*
 * Pin block `at` of the chain, the deepest one at this level; 0, -EAGAIN or -ESTALE. It
 * has a copy there, or the pin would protect none of those of its ancestors.
 */
static int pin_at(struct ckv_lane *lane, struct lib_chain *c, uint32_t at,
		  uint8_t level, uint32_t *ret_word)
{
	struct ckv_place place = ckv_index_place(&lane->index, &c->keys[at]);
	struct lib_hit hit = { .at = at };

	if (!ckv_index_find(&lane->index, &place, &c->keys[at], &hit.slot,
			    &hit.block))
		return -ESTALE;
	c->judged = hit;
	if (*ckv_block_page(&hit.block, level) == CKV_NONE)
		return -ESTALE;
	return lib_pin_take(lane, hit.slot, hit.block.generation, ret_word);
}

/*
 * Pin the blocks that protect all that was found. On failure nothing is pinned, and
 * c->judged is the block that the daemon may be judging.
 */
static int pin_found(struct ckv_lane *lane, struct lib_chain *c)
{
	const struct lib_hit *last = &c->found.last;
	uint32_t n_host = c->found.n_at[CKV_LEVEL_HOST];
	uint32_t n_device = c->found.n_at[CKV_LEVEL_DEVICE];
	int r = 0;

	c->judged = *last;
	if (n_host == last->at + 1)
		r = lib_pin_take(lane, last->slot, last->block.generation,
				 &c->pin.word[0]);
	else if (n_host > 0)
		r = pin_at(lane, c, n_host - 1, CKV_LEVEL_HOST, &c->pin.word[0]);
	if (r == 0 && n_device > 0 && n_device < n_host)
		r = pin_at(lane, c, n_device - 1, CKV_LEVEL_DEVICE,
			   &c->pin.word[1]);
	if (r < 0)
		lib_pin_give_all(lane, &c->pin);
	return r;
}

/* ---- handles ---- */

/*
 * Make the handle of one found block, of its copy at `level`, which a pin covers: the entry
 * may name a nearer one by now, and nothing keeps that. 0: it is a view, or has no page in
 * the pool. -EAGAIN: it has no such copy any more.
 */
static int fill_handle(const struct ckv_lane *lane, const struct ckv_block *block,
		       uint8_t level, struct ckv_handle *handle)
{
	handle->data = NULL;
	handle->page = level == CKV_LEVEL_DEVICE ? block->device_page :
						   block->host_page;
	handle->n_tokens = block->n_tokens;
	handle->level = level;
	handle->zero = 0;
	if (block->flags & CKV_ENTRY_VIEW)
		return 0;
	if (level < CKV_LEVEL_HOST)
		return 1;
	if (handle->page == CKV_NONE)
		return -EAGAIN;
	if (level == CKV_LEVEL_DEVICE)
		return 1;
	if (block->host_page >= lane->n_pages_host)
		return 0;
	handle->data = lane->read_base +
		       ckv_page_offset(&lane->pool, block->host_page);
	return 1;
}

/* CKV_VERIFY: do the bytes match the checksum? A page without a checksum does not pass. */
static int page_is_whole(struct ckv_lane *lane, const struct ckv_block *block,
			 const void *data)
{
	if (data == NULL)
		return 1;
	if ((block->flags & CKV_ENTRY_SUMMED) == 0)
		return 0;
	if (ckv_checksum(data, lane->pool.page_bytes) == block->checksum)
		return 1;
	ckv_count(&lane->c->count[CKV_CLAIM_VERIFY_FAILED], 1);
	return 0;
}

static int fill_one(struct ckv_lane *lane, const struct ckv_block *block,
		    uint8_t level, unsigned flags, struct ckv_handle *ret_handle)
{
	int r = fill_handle(lane, block, level, ret_handle);

	if (r <= 0 || !(flags & CKV_VERIFY))
		return r;
	return page_is_whole(lane, block, ret_handle->data);
}

struct ahead {			/* what of the chain was prefetched */
	uint32_t far, near;	/* blocks before `far`: tags; before `near`: entries */
	struct ckv_place place[FAR];
};

/* Before block i of n is read: prefetch tags FAR blocks ahead, entries NEAR blocks. */
static void look_ahead(struct ahead *a, const struct ckv_index *index,
		       const struct ckv_key *keys, uint32_t i, uint32_t n)
{
	for (; a->far < n && a->far < i + FAR; a->far++) {
		a->place[a->far % FAR] = ckv_index_place(index, &keys[a->far]);
		ckv_index_prefetch(index, &a->place[a->far % FAR]);
	}
	for (; a->near < n && a->near < i + NEAR; a->near++)
		ckv_index_prefetch_hit(index, &a->place[a->near % FAR]);
}

/*
 * Fill the handles of a pinned chain. Returns how many, up to the first block that is not
 * linked or not usable; c->moved: the block has lost its copy at the level where the search
 * found it. The search has already prefetched all blocks of a short chain.
 */
uint32_t lib_fill(struct ckv_lane *lane, struct lib_chain *c, uint32_t n_found,
		  unsigned flags)
{
	int near = n_found <= c->search.n_places;
	const struct lib_hit *last = &c->found.last;
	uint8_t level = CKV_LEVEL_DEVICE;
	struct ahead ahead;
	struct ckv_block block;
	uint32_t slot = 0, before;
	int r;

	c->moved = 0;
	ahead.far = ahead.near = 0;
	for (uint32_t i = 0; i < n_found; i++) {
		const struct ckv_place *place = &c->search.place[near ? i : 0];
		const struct ckv_block *here = &block;

		if (!near) {
			look_ahead(&ahead, &lane->index, c->keys, i, n_found);
			place = &ahead.place[i % FAR];
		}
		while (level > CKV_LEVEL_REMOTE && i >= c->found.n_at[level])
			level--;
		before = slot;
		if (i == last->at) {
			here = &last->block;
			slot = last->slot;
		} else if (!ckv_index_find(&lane->index, place, &c->keys[i],
					   &slot, &block)) {
			return i;
		}
		if (i > 0 && here->parent_slot != before)
			return i;
		r = fill_one(lane, here, level, flags, &c->handles[i]);
		c->moved = r < 0;
		if (r <= 0)
			return i;
	}
	return n_found;
}

/* ---- one chain ---- */

void lib_found_none(struct lib_found *found)
{
	memset(found->n_at, 0, sizeof found->n_at);
}

/* Search, pin and fill until they agree. The number of blocks found, or -EAGAIN. */
static long find_and_pin(struct ckv_lane *lane, struct lib_chain *c,
			 unsigned flags)
{
	uint32_t n = c->n_keys, n_good;
	int r;

	for (int i = 0; i < ATTEMPTS && n > 0; i++) {
		lib_search(&c->search, &lane->index, c->keys, n, &c->found);
		n = c->found.n_at[CKV_LEVEL_REMOTE];
		if (n == 0)
			return 0;
		r = pin_found(lane, c);
		if (r == -EAGAIN)
			return r;
		if (r == 0) {
			n_good = lib_fill(lane, c, n, flags);
			if (n_good == n)
				return n;
			lib_pin_give_all(lane, &c->pin);
			if (!c->moved)
				n = n_good;
			continue;
		}
		if (!ckv_world_alive(lane->world, lane->epoch))
			break;
		ckv_count(&lane->c->count[CKV_CLAIM_PIN_RETRIES], 1);
		if (!lib_pin_settled(lane, c->judged.slot))
			n = c->judged.at;
	}
	lib_found_none(&c->found);
	return 0;
}

/*
 * The commonest case: one key, its block on the host, the pin confirmed at once. 1: found.
 * 0: not there. -1: it is another case, and nothing is pinned.
 */
static int find_one(struct ckv_lane *lane, struct lib_chain *c)
{
	struct lib_hit *last = &c->found.last;
	struct ckv_place place = ckv_index_place(&lane->index, c->keys);

	ckv_index_prefetch_entry(&lane->index, &place);
	if (!ckv_index_find(&lane->index, &place, c->keys, &last->slot,
			    &last->block)) {
		lib_found_none(&c->found);
		return 0;
	}
	if (last->block.level != CKV_LEVEL_HOST ||
	    lib_pin_take(lane, last->slot, last->block.generation,
			 &c->pin.word[0]) < 0)
		return -1;
	if (fill_handle(lane, &last->block, CKV_LEVEL_HOST, c->handles) <= 0) {
		lib_pin_give_all(lane, &c->pin);
		return -1;
	}
	last->at = 0;
	for (int l = 0; l < CKV_LEVELS; l++)
		c->found.n_at[l] = l <= CKV_LEVEL_HOST;
	return 1;
}

/*
 * CKV_EXISTS: how many blocks are found, if the deepest one is linked to the one above it;
 * else the same question of the shorter chain. Whether keys[0] is there, and is a block
 * and no view, is looked at only if no deeper block is linked.
 */
static uint32_t linked(const struct ckv_index *index,
		       const struct ckv_key *keys, const struct lib_found *found)
{
	uint32_t n = found->n_at[CKV_LEVEL_REMOTE], slot;
	struct ckv_block block = found->last.block, above;
	struct ckv_place place;
	int is = n > 0;

	for (; n > 1; n--, block = above) {
		place = ckv_index_place(index, &keys[n - 2]);
		is = ckv_index_find(index, &place, &keys[n - 2], &slot, &above);
		if (!is)
			above.parent_slot = CKV_NONE;
		else if (block.parent_slot == slot)
			break;
	}
	if (n == 1 && (!is || (block.flags & CKV_ENTRY_VIEW)))
		n = 0;
	return n;
}

/* Cut what was found to its first `n` blocks. */
static void cut(struct lib_found *found, uint32_t n)
{
	for (int l = 0; l < CKV_LEVELS; l++)
		if (found->n_at[l] > n)
			found->n_at[l] = n;
}

static long lookup(struct ckv_lane *lane, struct lib_chain *c, unsigned flags)
{
	long n = -1;

	lib_pin_none(&c->pin);
	if (flags & CKV_EXISTS) {
		lib_search(&c->search, &lane->index, c->keys, c->n_keys,
			   &c->found);
		cut(&c->found, linked(&lane->index, c->keys, &c->found));
		return c->found.n_at[CKV_LEVEL_REMOTE];
	}
	if (c->n_keys == 1 && !(flags & CKV_VERIFY))
		n = find_one(lane, c);
	if (n < 0)
		n = find_and_pin(lane, c, flags);
	if (n > 0)
		lib_pin_hold(lane, &c->pin);
	return n;
}

/* ---- counting ---- */

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	if (n > 0)
		ckv_count(counter, n);
}

/* Count what was found, in C, for the daemon's stats (enum ckv_claim); note the touch. */
void lib_claim(struct ckv_lane *lane, const struct lib_chain *c, unsigned flags)
{
	_Atomic uint64_t *claims = lane->c->count;
	const uint32_t *n_at = c->found.n_at;

	count(&claims[CKV_CLAIM_LOOKUPS], 1);
	count(&claims[CKV_CLAIM_BLOCKS_ASKED], c->n_keys);
	count(&claims[CKV_CLAIM_BLOCKS_MISSED],
	      c->n_keys - n_at[CKV_LEVEL_REMOTE]);
	if (n_at[CKV_LEVEL_REMOTE] == 0)
		return;
	count(&claims[CKV_CLAIM_BLOCKS_DEVICE], n_at[CKV_LEVEL_DEVICE]);
	count(&claims[CKV_CLAIM_BLOCKS_HOST],
	      n_at[CKV_LEVEL_HOST] - n_at[CKV_LEVEL_DEVICE]);
	count(&claims[CKV_CLAIM_BLOCKS_DISK],
	      n_at[CKV_LEVEL_DISK] - n_at[CKV_LEVEL_HOST]);
	count(&claims[CKV_CLAIM_BLOCKS_REMOTE],
	      n_at[CKV_LEVEL_REMOTE] - n_at[CKV_LEVEL_DISK]);
	if ((flags & CKV_EXISTS) == 0)
		ckv_touch_put(lane->touches, lane->n_touches,
			      &lane->c->touch_tail, c->found.last.slot);
}

/* The number of blocks found, pinned by c->pin and counted, or -EAGAIN. */
long lib_lookup_chain(struct ckv_lane *lane, struct lib_chain *c,
		      unsigned flags)
{
	long n = lookup(lane, c, flags);

	if (n >= 0)
		lib_claim(lane, c, flags);
	return n;
}

/* ---- the call ---- */

/* No daemon: everything is a miss. */
long lib_lookup_none(struct lib_chain *c)
{
	lib_pin_none(&c->pin);
	lib_found_none(&c->found);
	return 0;
}

int lib_chain_ok(const struct lib_chain *c, size_t n_keys, unsigned flags,
		 const struct ckv_pin *pin)
{
	return n_keys <= UINT32_MAX / 2 && (flags & ~3u) == 0 &&
	       (n_keys == 0 || c->keys != NULL) &&
	       (n_keys == 0 || (flags & CKV_EXISTS) ||
		(c->handles != NULL && pin != NULL));
}

void lib_hand_out(const struct lib_chain *c, long n, struct ckv_pin *ret_pin)
{
	ret_pin->n_blocks = (uint32_t)n;
	memcpy(ret_pin->n_at, c->found.n_at, sizeof ret_pin->n_at);
	memcpy(ret_pin->private_, &c->pin, sizeof c->pin);
}

long ckv_lookup(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
		unsigned flags, struct ckv_handle *ret_handles,
		struct ckv_pin *ret_pin)
{
	LIB_INSIDE(lane);
	struct lib_chain c;
	long r;

	if (lib_forked(lane->mine))
		return lib_plain(lane->ckv, -ECHILD);
	c.keys = (const struct ckv_key *)keys;
	c.n_keys = (uint32_t)n_keys;
	c.handles = ret_handles;
	if (!lib_chain_ok(&c, n_keys, flags, ret_pin))
		return lib_plain(lane->ckv, -EINVAL);
	r = lib_lane_ready(lane);
	if (r == 0)
		r = lib_lookup_chain(lane, &c, flags);
	else if (r == -ESTALE)
		r = lib_lookup_none(&c);
	if (r < 0)
		return lib_plain(lane->ckv, (int)r);
	if (ret_pin != NULL)
		lib_hand_out(&c, r, ret_pin);
	return r;
}
