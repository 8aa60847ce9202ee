/*
 * write.c - borrowing pages, publishing them, giving them back, forgetting them.
 *
 * Each request is written once, as a submit; the waiting form submits and waits.
 */
#include "client/lib.h"

#include <errno.h>

static int space_writable(const struct ckv_lane *lane)
{
	return lane->space->access == CKV_ACCESS_WRITE ? 0 :
	       lib_why(lane->ckv, -EACCES, "space %s is attached read-only",
		       lane->space->name);
}

/* What a page is called at the daemon that lent it, whichever that was. */
struct ckv_page_name lib_page_name(const struct ckv_page *page)
{
	struct lib_lent lent;

	memcpy(&lent, page->private_, sizeof lent);
	return (struct ckv_page_name){ page->page, lent.lending, lent.epoch };
}

/* A request of n items, `item_bytes` each, after `head_bytes`. */
static struct lib_request *batch_new(struct ckv_lane *lane, uint8_t op,
				     size_t n, size_t area_bytes, int *ret_error)
{
	int r = lib_forked(lane->mine) ? -ECHILD : space_writable(lane);

	if (r == 0 && n > CKV_BATCH_MAX)
		r = lib_why(lane->ckv, -EINVAL, "%zu items; at most %u", n,
			    CKV_BATCH_MAX);
	if (r < 0) {
		*ret_error = r;
		return NULL;
	}
	return lib_request_new(lane, op, (uint32_t)area_bytes, ret_error);
}

static int send_reserve(struct ckv_lane *lane, const uint8_t *parent,
			const uint8_t *keys, size_t n_keys,
			struct ckv_page *ret_pages,
			struct lib_request **ret_request)
{
	size_t bytes = sizeof(struct ckv_reserve_arg) + n_keys * CKV_KEY_BYTES;
	struct ckv_reserve_arg *arg;
	struct lib_request *request;
	int r;

	request = batch_new(lane, CKV_OP_RESERVE, n_keys, bytes, &r);
	if (request == NULL)
		return r;
	arg = lib_request_args(lane, request);
	memset(arg, 0, sizeof *arg);
	if (parent != NULL)
		memcpy(&arg->parent, parent, CKV_KEY_BYTES);
	memcpy(arg + 1, keys, n_keys * CKV_KEY_BYTES);
	request->ret = ret_pages;
	*ret_request = request;
	return lib_request_send(lane, request, (uint32_t)bytes,
				(uint32_t)n_keys, 0);
}

int ckv_submit_reserve(struct ckv_lane *lane, const uint8_t *parent,
		       const uint8_t *keys, size_t n_keys,
		       struct ckv_page *ret_pages, uint64_t tag)
{
	struct lib_request *request;
	int r = send_reserve(lane, parent, keys, n_keys, ret_pages, &request);

	if (r == 0)
		request->tag = tag;
	return r;
}

long ckv_reserve(struct ckv_lane *lane, const uint8_t *parent,
		 const uint8_t *keys, size_t n_keys, struct ckv_page *ret_pages)
{
	struct lib_request *request;
	int r = send_reserve(lane, parent, keys, n_keys, ret_pages, &request);

	return r < 0 ? r : lib_request_wait(lane, request);
}

int ckv_reserve_scratch(struct ckv_lane *lane, size_t n_pages,
			struct ckv_page *ret_pages)
{
	struct lib_request *request;
	long n;
	int r;

	request = batch_new(lane, CKV_OP_RESERVE, n_pages,
			    n_pages * sizeof(struct ckv_lent), &r);
	if (request == NULL)
		return r;
	request->ret = ret_pages;
	r = lib_request_send(lane, request, 0, (uint32_t)n_pages,
			     CKV_REQ_SCRATCH);
	if (r < 0)
		return r;
	n = lib_request_wait(lane, request);
	if (n < 0 || (size_t)n == n_pages)
		return n < 0 ? (int)n : 0;
	/* All or nothing: the few that came go back. */
	r = -ENOSPC;
	for (size_t i = 0; i < n_pages; i++) {
		if (ret_pages[i].status == 0)
			ckv_abort(lane, &ret_pages[i], 1);
		else
			r = ret_pages[i].status;
	}
	return r;
}

/*
 * Pages of an attachment that has ended are nobody's: forget them. -ESTALE if any
 * was, or if the daemon is gone now.
 */
static int pages_current(struct ckv_lane *lane, const struct ckv_page *pages,
			 size_t n_pages)
{
	int dead = !lib_lane_alive(lane), r = dead ? -ESTALE : 0;

	for (size_t i = 0; i < n_pages; i++) {
		if (pages[i].data == NULL)
			continue;
		if (lib_lane_page_old(lane, pages[i].data))
			r = -ESTALE;
		else if (dead && lane->n_lent > 0)
			lane->n_lent--;
	}
	if (dead)
		lib_lane_ready(lane);
	return r;
}

static void fill_items(const struct ckv_lane *lane,
		       const struct ckv_page *pages, size_t n_pages,
		       uint32_t n_tokens, unsigned flags, const uint64_t *sums,
		       struct ckv_publish_item *items)
{
	uint32_t full = lane->space->geometry.block_tokens;

	for (size_t i = 0; i < n_pages; i++) {
		struct ckv_publish_item item = {
			.name = lib_page_name(&pages[i]),
			.n_tokens = (uint16_t)(i + 1 < n_pages ? full : n_tokens),
		};

		if (flags & (CKV_SUM | CKV_SUMMED))
			item.flags = CKV_ENTRY_SUMMED;
		if (flags & CKV_SUMMED)
			item.checksum = sums[i];
		else if (flags & CKV_SUM)
			item.checksum = ckv_checksum(pages[i].data,
						     lane->pool.page_bytes);
		items[i] = item;
	}
}

static int publish_ok(const struct ckv_lane *lane, const struct ckv_page *pages,
		      size_t n_pages, uint32_t n_tokens, unsigned flags,
		      const uint64_t *sums)
{
	if (n_pages == 0 || n_tokens == 0 ||
	    n_tokens > lane->space->geometry.block_tokens ||
	    (flags & ~3u) || flags == 3 || ((flags & CKV_SUMMED) && !sums))
		return 0;
	for (size_t i = 0; i < n_pages; i++)
		if (pages[i].data == NULL || pages[i].status != 0)
			return 0;
	return 1;
}

static int send_publish(struct ckv_lane *lane, const struct ckv_page *pages,
			size_t n_pages, uint32_t n_tokens, unsigned flags,
			const uint64_t *sums, struct lib_pin *pin,
			struct lib_request **ret_request)
{
	size_t bytes = n_pages * sizeof(struct ckv_publish_item);
	struct lib_request *request;
	struct lib_lent lent;
	int r;

	if (lib_forked(lane->mine))
		return -ECHILD;
	if (!publish_ok(lane, pages, n_pages, n_tokens, flags, sums))
		return lib_why(lane->ckv, -EINVAL, "publish: a page that is not "
			       "lent, n_tokens or flags out of range");
	r = pages_current(lane, pages, n_pages);
	if (r < 0)
		return r;
	request = batch_new(lane, CKV_OP_PUBLISH, n_pages, bytes, &r);
	if (request == NULL)
		return r;
	fill_items(lane, pages, n_pages, n_tokens, flags, sums,
		   lib_request_args(lane, request));
	if (pin != NULL) {
		/* Held before anyone can see the block. */
		memcpy(&lent, pages[n_pages - 1].private_, sizeof lent);
		r = lib_pin_claim(lane, lent.slot, lent.generation,
				  &pin->word[0]);
		if (r < 0) {
			lib_request_collect(lane, request);
			return r;
		}
		pin->serial = lane->maps->serial;
	}
	*ret_request = request;
	r = lib_request_send(lane, request, (uint32_t)bytes, (uint32_t)n_pages,
			     0);
	if (r < 0 && pin != NULL)
		lib_pin_give(lane, pin->word[0]);
	return r;
}

int ckv_submit_publish(struct ckv_lane *lane, const struct ckv_page *pages,
		       size_t n_pages, uint32_t n_tokens, const uint64_t *sums,
		       uint64_t tag)
{
	struct lib_request *request;
	int r = send_publish(lane, pages, n_pages, n_tokens,
			     sums != NULL ? CKV_SUMMED : 0, sums, NULL, &request);

	if (r == 0)
		request->tag = tag;
	return r;
}

long ckv_publish(struct ckv_lane *lane, const struct ckv_page *pages,
		 size_t n_pages, uint32_t n_tokens, unsigned flags,
		 const uint64_t *sums, struct ckv_pin *ret_pin)
{
	struct lib_pin pin = { .word = { CKV_NONE, CKV_NONE } };
	struct lib_request *request;
	int r = send_publish(lane, pages, n_pages, n_tokens, flags, sums,
			     ret_pin != NULL ? &pin : NULL, &request);
	long n;

	if (r < 0)
		return r;
	n = lib_request_wait(lane, request);
	if (ret_pin == NULL)
		return n;
	/* After a move of the lane the word is gone with the old segment. */
	if (n != (long)n_pages) {
		if (lane->maps->serial == pin.serial)
			lib_pin_give(lane, pin.word[0]);
		pin = (struct lib_pin){ .word = { CKV_NONE, CKV_NONE } };
	} else {
		lane->n_pins_held++;
	}
	if (n < 0)
		return n;
	*ret_pin = (struct ckv_pin){ .n_blocks = pin.serial ? (uint32_t)n : 0 };
	for (int l = 0; l <= CKV_HOST; l++)
		ret_pin->n_at[l] = ret_pin->n_blocks;
	memcpy(ret_pin->private_, &pin, sizeof pin);
	return n;
}

/* Those of `pages` that are lent. How many; the request is sent. */
static int send_abort(struct ckv_lane *lane, const struct ckv_page *pages,
		      size_t n_pages, struct lib_request **ret_request)
{
	struct ckv_page_name *items;
	struct lib_request *request;
	uint32_t n = 0;
	int r;

	request = batch_new(lane, CKV_OP_ABORT, n_pages,
			    n_pages * sizeof *items, &r);
	if (request == NULL)
		return r;
	items = lib_request_args(lane, request);
	/* The deepest first: each is still there when its turn comes. */
	for (size_t i = n_pages; i-- > 0; )
		if (pages[i].status == 0)
			items[n++] = lib_page_name(&pages[i]);
	if (n == 0) {
		lib_request_collect(lane, request);
		return 0;
	}
	*ret_request = request;
	r = lib_request_send(lane, request, n * (uint32_t)sizeof *items, n, 0);
	return r < 0 ? r : (int)n;
}

long ckv_abort(struct ckv_lane *lane, const struct ckv_page *pages,
	       size_t n_pages)
{
	struct lib_request *request;
	int r;

	if (lib_forked(lane->mine))
		return -ECHILD;
	r = pages_current(lane, pages, n_pages);
	if (r == 0)
		r = send_abort(lane, pages, n_pages, &request);
	return r <= 0 ? r : lib_request_wait(lane, request);
}

/* Give a page back that its caller never got; nobody hears of the answer. */
void lib_abort_silently(struct ckv_lane *lane, const struct ckv_page *page)
{
	struct ckv_page given = *page;
	struct lib_request *request;

	given.status = 0;

	if (send_abort(lane, &given, 1, &request) > 0)
		lib_request_wait(lane, request);
}

long ckv_drop(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
	      int32_t *ret_status)
{
	size_t bytes = n_keys * CKV_KEY_BYTES;
	struct lib_request *request;
	int r;

	request = batch_new(lane, CKV_OP_DROP, n_keys, bytes, &r);
	if (request == NULL)
		return r;
	memcpy(lib_request_args(lane, request), keys, bytes);
	request->ret = ret_status;
	r = lib_request_send(lane, request, (uint32_t)bytes, (uint32_t)n_keys,
			     0);
	return r < 0 ? r : lib_request_wait(lane, request);
}

int ckv_submit_nop(struct ckv_lane *lane, uint64_t tag)
{
	struct lib_request *request;
	int r;

	request = lib_request_new(lane, CKV_OP_NOP, 0, &r);
	if (request == NULL)
		return r;
	request->tag = tag;
	return lib_request_send(lane, request, 0, 0, 0);
}
