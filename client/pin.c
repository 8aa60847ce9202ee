/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pin.c - the pin words of a lane: set, confirmed, cleared. proto/ckv_pin.h tells the
 * protocol; C1 to C7 are its steps.
 */
#include "client/lib.h"

#include <errno.h>

enum { ODD_LOOKS = 256 };	/* at a generation that is odd, before it is given up */

/* C2, C3: set a free word; the caller passes the fence next. -EAGAIN: no word is free. */
int lib_pin_put(struct ckv_lane *lane, uint32_t slot, uint32_t generation,
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
	ckv_pin_put(&lane->pins[no], slot, generation);
	*ret_word = no;
	return 0;
}

/* C2 to C4, for a block that the daemon cannot evict yet. -EAGAIN: no word is free. */
int lib_pin_claim(struct ckv_lane *lane, uint32_t slot, uint32_t generation,
		  uint32_t *ret_word)
{
	int r = lib_pin_put(lane, slot, generation, ret_word);

	if (r == 0)
		ckv_pin_fence();
	return r;
}

/* C5 of a word that was set to this: is the block pinned? */
int lib_pin_in_time(const struct ckv_lane *lane, uint32_t slot,
		    uint32_t generation)
{
	return ckv_pin_confirm(ckv_index_entry(&lane->index, slot), generation,
			       lane->world, lane->epoch);
}

/*
 * C2 to C5: pin the block that had this generation. -EAGAIN: no word is free. -ESTALE:
 * the daemon is judging or has evicted it, or ended; no word is set.
 */
int lib_pin_take(struct ckv_lane *lane, uint32_t slot, uint32_t generation,
		 uint32_t *ret_word)
{
	uint32_t word;
	int r = lib_pin_claim(lane, slot, generation, &word);

	if (r < 0)
		return r;
	if (!lib_pin_in_time(lane, slot, generation)) {
		lib_pin_give(lane, word);
		return -ESTALE;
	}
	*ret_word = word;
	return 0;
}

/* C7: clear a word, unless it is CKV_NONE. */
void lib_pin_give(struct ckv_lane *lane, uint32_t word)
{
	if (word == CKV_NONE)
		return;
	ckv_pin_drop(&lane->pins[word]);
	lane->pin_free[lane->n_pin_free++] = word;
}

/* Wait a moment while the daemon judges a block. Is its generation even now? */
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

void lib_pin_none(struct lib_pin *pin)
{
	pin->word[0] = pin->word[1] = CKV_NONE;
	pin->serial = 0;
}

void lib_pin_give_all(struct ckv_lane *lane, struct lib_pin *pin)
{
	lib_pin_give(lane, pin->word[0]);
	lib_pin_give(lane, pin->word[1]);
	lib_pin_none(pin);
}

void lib_pin_hold(struct ckv_lane *lane, struct lib_pin *pin)
{
	pin->serial = lane->maps->serial;
	lane->n_pins_held++;
}

void ckv_unpin(struct ckv_lane *lane, struct ckv_pin *pin)
{
	LIB_INSIDE(lane);
	struct lib_pin p;

	if (pin == NULL || lib_forked(lane->mine))
		return;
	memcpy(&p, pin->private_, sizeof p);
	memset(pin, 0, sizeof *pin);
	if (p.serial == 0)
		return;
	if (lane->maps == NULL || p.serial != lane->maps->serial) {
		lib_lane_unpin_old(lane, &p);
		return;
	}
	lib_pin_give(lane, p.word[0]);
	lib_pin_give(lane, p.word[1]);
	lane->n_pins_held--;
}

int ckv_pin_valid(const struct ckv_lane *lane, const struct ckv_pin *pin)
{
	LIB_INSIDE(lane);
	struct lib_pin p;

	if (lib_forked(lane->mine))
		return lib_plain(lane->ckv, -ECHILD);
	memcpy(&p, pin->private_, sizeof p);
	if (p.serial == 0)
		return 0;
	return lib_lane_alive(lane) && lane->maps->serial == p.serial ?
	       0 : lib_plain(lane->ckv, -ESTALE);
}
