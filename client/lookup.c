/*
 * lookup.c - find a chain, pin it, say where its blocks are.
 *
 * Happy path: search the index, put the deepest host block (and, where one
 * exists, the deepest device block) into pin words, see that their generations
 * still stand, then read the page numbers of all that was found: a block is
 * never taken without its descendants, so two words hold the whole chain.
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
	ODD_LOOKS = 256,	/* at a block that is being judged */
	AHEAD = 8,		/* blocks whose entries are fetched in advance */
};

/* Put a block into a free pin word, in time or not. -EAGAIN: there is none. */
int lib_pin_claim(struct ckv_lane *lane, uint32_t slot, uint32_t generation,
		  uint32_t *ret_word)
{
	uint32_t no;

	if (lane->n_pin_free == 0)
		return -EAGAIN;
	no = lane->pin_free[--lane->n_pin_free];
	if (no >= lane->pin_high) {
		lane->pin_high = no + 1;
		ckv_hint_store32(&lane->c->pin_high, no + 1);
	}
	ckv_pin_set(&lane->pins[no], slot, generation);
	*ret_word = no;
	return 0;
}

/* Pin a block of this generation. -EAGAIN: no word; -ESTALE: it came too late. */
int lib_pin_take(struct ckv_lane *lane, uint32_t slot, uint32_t generation,
		 uint32_t *ret_word)
{
	const struct ckv_entry *entry = ckv_index_entry(&lane->index, slot);
	uint32_t word;
	int r = lib_pin_claim(lane, slot, generation, &word);

	if (r < 0)
		return r;
	if (!ckv_pin_confirm(entry, generation, lane->world, lane->epoch)) {
		lib_pin_give(lane, word);
		return -ESTALE;
	}
	*ret_word = word;
	return 0;
}

void lib_pin_give(struct ckv_lane *lane, uint32_t word)
{
	if (word == CKV_NONE)
		return;
	ckv_pin_drop(&lane->pins[word]);
	lane->pin_free[lane->n_pin_free++] = word;
}

/* Wait a moment for the daemon's verdict on a block. Is it stable now? */
int lib_pin_settled(const struct ckv_lane *lane, uint32_t slot)
{
	const struct ckv_entry *entry = ckv_index_entry(&lane->index, slot);

	for (int i = 0; i < ODD_LOOKS; i++) {
		if ((ckv_entry_generation(entry) & 1) == 0)
			return 1;
		ckv_pause();
	}
	return 0;
}

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

/* Pin what protects `found`. On failure nothing is held. */
static int pin_found(struct ckv_lane *lane, const struct ckv_key *keys,
		     const struct lib_found *found, struct lib_pin *pin)
{
	uint32_t n_host = found->n_at[CKV_LEVEL_HOST];
	uint32_t n_device = found->n_at[CKV_LEVEL_DEVICE];
	int r = 0;

	pin->word[0] = pin->word[1] = CKV_NONE;
	if (n_host == found->last.at + 1)
		r = lib_pin_take(lane, found->last.slot,
			     found->last.block.generation, &pin->word[0]);
	else if (n_host > 0)
		r = pin_at(lane, &keys[n_host - 1], &pin->word[0]);
	if (r < 0)
		return r;
	if (n_device > 0 && n_device < n_host)
		r = pin_at(lane, &keys[n_device - 1], &pin->word[1]);
	if (r < 0) {
		lib_pin_give(lane, pin->word[0]);
		pin->word[0] = CKV_NONE;
	}
	return r;
}

/* Search and pin until both agree. The number of blocks found, or -EAGAIN. */
static long find_and_pin(struct ckv_lane *lane, const struct ckv_key *keys,
			 uint32_t n_keys, struct lib_found *found,
			 struct lib_pin *pin)
{
	int r;

	for (int i = 0; i < ATTEMPTS; i++) {
		lib_search(&lane->index, keys, n_keys, found);
		n_keys = found->n_at[CKV_LEVEL_REMOTE];
		if (n_keys == 0)
			return 0;
		r = pin_found(lane, keys, found, pin);
		if (r == 0)
			return n_keys;
		if (r == -EAGAIN)
			return r;
		if (!ckv_world_alive(lane->world, lane->epoch))
			break;
		ckv_count(&lane->c->count[CKV_CLAIM_PIN_RETRIES], 1);
		if (!lib_pin_settled(lane, found->last.slot))
			n_keys--;
	}
	memset(found->n_at, 0, sizeof found->n_at);
	return 0;
}

/* The handle of one found block, its page in range. 0: it is not to be had. */
static int fill_handle(const struct ckv_lane *lane, const struct ckv_block *block,
		       struct ckv_handle *handle)
{
	uint32_t page = block->level == CKV_LEVEL_DEVICE ? block->device_page :
							   block->host_page;

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

/* Does a page hold what its writer summed? */
static int page_is_whole(const struct ckv_lane *lane,
			 const struct ckv_block *block, const void *data)
{
	return data == NULL || (block->flags & CKV_ENTRY_SUMMED) == 0 ||
	       ckv_checksum(data, lane->pool.page_bytes) == block->checksum;
}

/* Fill the handles of a pinned chain; how many of them are good. */
static uint32_t fill_handles(struct ckv_lane *lane, const struct ckv_key *keys,
			     uint32_t n_found, const struct lib_hit *last,
			     unsigned flags, struct ckv_handle *ret_handles)
{
	struct ckv_place place[AHEAD];
	struct ckv_block block;
	uint32_t slot, n = n_found - 1, i;

	for (i = 0; i < n && i < AHEAD; i++) {
		place[i] = ckv_index_place(&lane->index, &keys[i]);
		ckv_index_prefetch_entry(&lane->index, &place[i]);
	}
	for (i = 0; i < n_found; i++) {
		struct ckv_place here = place[i % AHEAD];

		if (i + AHEAD < n) {
			place[i % AHEAD] = ckv_index_place(&lane->index,
							   &keys[i + AHEAD]);
			ckv_index_prefetch_entry(&lane->index,
						 &place[i % AHEAD]);
		}
		if (i == last->at)
			block = last->block;
		else if (!ckv_index_find(&lane->index, &here, &keys[i], &slot,
					 &block))
			return i;
		if (block.flags & CKV_ENTRY_VIEW ||
		    !fill_handle(lane, &block, &ret_handles[i]))
			return i;
		if ((flags & CKV_VERIFY) &&
		    !page_is_whole(lane, &block, ret_handles[i].data)) {
			ckv_count(&lane->c->count[CKV_CLAIM_VERIFY_FAILED], 1);
			return i;
		}
	}
	return n_found;
}

/* Tell the daemon what was found. Claims: asked = the levels + missed. */
static void claim(struct ckv_lane *lane, uint32_t n_keys,
		  const struct lib_found *found, int touch)
{
	_Atomic uint64_t *count = lane->c->count;
	const uint32_t *n_at = found->n_at;

	ckv_count(&count[CKV_CLAIM_LOOKUPS], 1);
	ckv_count(&count[CKV_CLAIM_BLOCKS_ASKED], n_keys);
	if (n_at[CKV_LEVEL_REMOTE] < n_keys)
		ckv_count(&count[CKV_CLAIM_BLOCKS_MISSED],
			  n_keys - n_at[CKV_LEVEL_REMOTE]);
	if (n_at[CKV_LEVEL_REMOTE] == 0)
		return;
	ckv_count(&count[CKV_CLAIM_BLOCKS_DEVICE], n_at[CKV_LEVEL_DEVICE]);
	ckv_count(&count[CKV_CLAIM_BLOCKS_HOST],
		  n_at[CKV_LEVEL_HOST] - n_at[CKV_LEVEL_DEVICE]);
	ckv_count(&count[CKV_CLAIM_BLOCKS_DISK],
		  n_at[CKV_LEVEL_DISK] - n_at[CKV_LEVEL_HOST]);
	ckv_count(&count[CKV_CLAIM_BLOCKS_REMOTE],
		  n_at[CKV_LEVEL_REMOTE] - n_at[CKV_LEVEL_DISK]);
	if (touch)
		ckv_touch_put(lane->touches, lane->n_touches,
			      &lane->c->touch_tail, found->last.slot);
}

/* Cut what was found to its first `n` blocks. */
static void cut(struct lib_found *found, uint32_t n)
{
	for (int l = 0; l < CKV_LEVELS; l++)
		if (found->n_at[l] > n)
			found->n_at[l] = n;
}

static long lookup_alive(struct ckv_lane *lane, const struct ckv_key *keys,
			 uint32_t n_keys, unsigned flags,
			 struct ckv_handle *ret_handles, struct lib_found *found,
			 struct lib_pin *pin)
{
	uint32_t n;
	long r;

	pin->word[0] = pin->word[1] = CKV_NONE;
	pin->serial = 0;
	if (flags & CKV_EXISTS) {
		lib_search(&lane->index, keys, n_keys, found);
		r = found->n_at[CKV_LEVEL_REMOTE];
	} else {
		r = find_and_pin(lane, keys, n_keys, found, pin);
		if (r < 0)
			return r;
		n = r == 0 ? 0 : fill_handles(lane, keys, (uint32_t)r,
					      &found->last, flags, ret_handles);
		if (n < r) {
			cut(found, n);
			r = n;
		}
		if (n == 0) {
			lib_pin_give(lane, pin->word[0]);
			lib_pin_give(lane, pin->word[1]);
			pin->word[0] = pin->word[1] = CKV_NONE;
		} else {
			pin->serial = lane->maps->serial;
			lane->n_pins_held++;
		}
	}
	claim(lane, n_keys, found, (flags & CKV_EXISTS) == 0);
	return r;
}

long ckv_lookup(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
		unsigned flags, struct ckv_handle *ret_handles,
		struct ckv_pin *ret_pin)
{
	struct lib_found found;
	struct lib_pin pin = { .word = { CKV_NONE, CKV_NONE } };
	LIB_INSIDE(lane);
	long r;

	if (lib_forked(lane->mine))
		return -ECHILD;
	if (n_keys > UINT32_MAX / 2 || (flags & ~3u) ||
	    (ret_handles == NULL && n_keys > 0 && !(flags & CKV_EXISTS)))
		return -EINVAL;
	r = lib_lane_ready(lane);
	if (r == -ESTALE) {
		memset(found.n_at, 0, sizeof found.n_at);
		r = 0;
	} else if (r < 0) {
		return r;
	} else {
		r = lookup_alive(lane, (const struct ckv_key *)keys,
				 (uint32_t)n_keys, flags, ret_handles, &found,
				 &pin);
		if (r < 0)
			return r;
	}
	if (ret_pin != NULL) {
		ret_pin->n_blocks = (uint32_t)r;
		memcpy(ret_pin->n_at, found.n_at, sizeof ret_pin->n_at);
		memcpy(ret_pin->private_, &pin, sizeof pin);
	}
	return r;
}

void ckv_unpin(struct ckv_lane *lane, struct ckv_pin *pin)
{
	struct lib_pin p;

	if (pin == NULL || lib_forked(lane->mine))
		return;
	memcpy(&p, pin->private_, sizeof p);
	memset(pin, 0, sizeof *pin);
	if (p.serial == 0)
		return;
	if (lane->maps == NULL || p.serial != lane->maps->serial) {
		lib_lane_unpin_old(lane, p.serial);
		return;
	}
	lib_pin_give(lane, p.word[0]);
	lib_pin_give(lane, p.word[1]);
	lane->n_pins_held--;
}

int ckv_pin_valid(const struct ckv_lane *lane, const struct ckv_pin *pin)
{
	struct lib_pin p;

	if (lib_forked(lane->mine))
		return -ECHILD;
	memcpy(&p, pin->private_, sizeof p);
	if (p.serial == 0)
		return 0;
	return lib_lane_alive(lane) && lane->maps->serial == p.serial ?
	       0 : -ESTALE;
}
