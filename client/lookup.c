/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.c - find a chain, pin it, say where its blocks are.
 *
 * Happy path: search the index, put the deepest host block (and, where one
 * exists, the deepest device block) into pin words, see that their generations
 * still stand, then read the page numbers of all that was found: a block is
 * never taken without its descendants, so two words hold the whole chain.
 *
 * Whether it is one chain is seen on the way: each block's parent must be the slot
 * in which the block before it was found. While a block is pinned, its parent stays
 * in that slot, since a parent never goes before its child; so a block that was found
 * there after the pin is the parent itself, which in turn keeps its own. No generation
 * is needed. Where the links break, the pin protects nothing before the break: all of
 * it is made again for the shorter prefix.
 *
 * If a claim comes too late the pins are let go and the search is made again,
 * a bounded number of times; a block that the daemon is judging is waited for a
 * moment and then left out. Nothing here makes a system call while the daemon
 * lives; when it does not, everything is a miss.
 */
#include "client/lib.h"

#include <errno.h>

enum {
	ATTEMPTS = 64,		/* searches for one lookup */
	FAR = 16,		/* blocks whose tags are asked for in advance */
	NEAR = 8,		/* blocks whose entries are */
};

/* Pin one block by its place in the chain; 0, -EAGAIN or -ESTALE. */
static int pin_at(struct ckv_lane *lane, const struct ckv_key *key,
		  uint32_t *ret_word)
{
	struct ckv_place place = ckv_index_place(&lane->index, key);
	struct ckv_block block;
	uint32_t slot;

	if (!ckv_index_find(&lane->index, &place, key, &slot, &block))
		return -ESTALE;
	return lib_pin_take(lane, slot, block.generation, ret_word);
}

/* Pin what protects the found blocks. On failure nothing is held. */
static int pin_found(struct ckv_lane *lane, struct lib_chain *c)
{
	const struct lib_hit *last = &c->found.last;
	uint32_t n_host = c->found.n_at[CKV_LEVEL_HOST];
	uint32_t n_device = c->found.n_at[CKV_LEVEL_DEVICE];
	int r = 0;

	if (n_host == last->at + 1)
		r = lib_pin_take(lane, last->slot, last->block.generation,
				 &c->pin.word[0]);
	else if (n_host > 0)
		r = pin_at(lane, &c->keys[n_host - 1], &c->pin.word[0]);
	if (r == 0 && n_device > 0 && n_device < n_host)
		r = pin_at(lane, &c->keys[n_device - 1], &c->pin.word[1]);
	if (r < 0)
		lib_pin_give_all(lane, &c->pin);
	return r;
}

/* ---- handles ---- */

/* The handle of one found block, its page in range. 0: it is not to be had. */
static int fill_handle(const struct ckv_lane *lane, const struct ckv_block *block,
		       struct ckv_handle *handle)
{
	uint32_t page = block->level == CKV_LEVEL_DEVICE ? block->device_page :
							   block->host_page;

	if (block->flags & CKV_ENTRY_VIEW)
		return 0;
	handle->data = NULL;
	handle->page = page;
	handle->n_tokens = block->n_tokens;
	handle->level = block->level;
	handle->zero = 0;
	if (block->level != CKV_LEVEL_HOST && block->level != CKV_LEVEL_DEVICE)
		return 1;
	if (block->host_page < lane->n_pages_host)
		handle->data = lane->read_base +
			       ckv_page_offset(&lane->pool, block->host_page);
	return block->level == CKV_LEVEL_DEVICE || handle->data != NULL;
}

/* Does a page hold what was summed? One that has no checksum yet is not vouched for. */
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
		    unsigned flags, struct ckv_handle *ret_handle)
{
	return fill_handle(lane, block, ret_handle) &&
	       (!(flags & CKV_VERIFY) ||
		page_is_whole(lane, block, ret_handle->data));
}

struct ahead {			/* blocks that are asked for before they are read */
	uint32_t far, near;
	struct ckv_place place[FAR];
};

/* Before block i of n is read. */
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
 * Fill the handles of a pinned chain; how many of them are good and linked. The
 * search has looked at all blocks of a short chain, so those are near by now.
 */
uint32_t lib_fill(struct ckv_lane *lane, struct lib_chain *c, uint32_t n_found,
		  unsigned flags)
{
	int near = n_found <= c->search.n_places;
	const struct lib_hit *last = &c->found.last;
	struct ahead ahead;
	struct ckv_block block;
	uint32_t slot = 0, before;

	ahead.far = ahead.near = 0;
	for (uint32_t i = 0; i < n_found; i++) {
		const struct ckv_place *place = &c->search.place[near ? i : 0];
		const struct ckv_block *here = &block;

		if (!near) {
			look_ahead(&ahead, &lane->index, c->keys, i, n_found);
			place = &ahead.place[i % FAR];
		}
		before = slot;
		if (i == last->at) {
			here = &last->block;
			slot = last->slot;
		} else if (!ckv_index_find(&lane->index, place, &c->keys[i],
					   &slot, &block)) {
			return i;
		}
		if ((i > 0 && here->parent_slot != before) ||
		    !fill_one(lane, here, flags, &c->handles[i]))
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
			n = n_good;
			continue;
		}
		if (!ckv_world_alive(lane->world, lane->epoch))
			break;
		ckv_count(&lane->c->count[CKV_CLAIM_PIN_RETRIES], 1);
		if (!lib_pin_settled(lane, c->found.last.slot))
			n--;
	}
	lib_found_none(&c->found);
	return 0;
}

/*
 * The common case: one key, on the host, the claim in time. 1 found, 0 not there, -1 it is
 * another case, and nothing was done.
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
	if (!fill_handle(lane, &last->block, c->handles)) {
		lib_pin_give_all(lane, &c->pin);
		return -1;
	}
	last->at = 0;
	for (int l = 0; l < CKV_LEVELS; l++)
		c->found.n_at[l] = l <= CKV_LEVEL_HOST;
	return 1;
}

/*
 * How far the chain is linked, by the parents of its deepest blocks. That keys[0] is there
 * and a block is seen only when nothing deeper is.
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

/* Tell the daemon what was found. Claims: asked = the levels + missed. */
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

/* The number of blocks found, held by c->pin and counted, or -EAGAIN. */
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
