/* SPDX-License-Identifier: Apache-2.0 */
/*
 * write.c - borrowing pages, publishing them, giving them back, forgetting them.
 *
 * Each request is written once, as a submit; the waiting form submits and waits.
 */
#include "client/lib.h"

#include <errno.h>

int lib_space_writable(const struct ckv_lane *lane)
{
	return lane->space->access == CKV_ACCESS_WRITE ? 0 :
	       lib_why(lane->ckv, -EACCES, "space %s is attached read-only; attach "
		       "it with CKV_WRITE", lane->space->name);
}

/* A request of n items, `item_bytes` each, after `head_bytes`. */
static struct lib_request *batch_new(struct ckv_lane *lane, uint8_t op,
				     size_t n, size_t area_bytes, int *ret_error)
{
	int r = lib_forked(lane->mine) ? lib_plain(lane->ckv, -ECHILD) :
		lib_space_writable(lane);

	if (r == 0 && n > CKV_BATCH_MAX)
		r = lib_why(lane->ckv, -EINVAL, "%zu keys or pages in one call; at "
			    "most %u, a longer list goes in parts", n,
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
	arg->level = CKV_LEVEL_HOST;
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
	LIB_INSIDE(lane);
	struct lib_request *request;
	int r = send_reserve(lane, parent, keys, n_keys, ret_pages, &request);

	if (r == 0)
		request->tag = tag;
	return r;
}

long ckv_reserve(struct ckv_lane *lane, const uint8_t *parent,
		 const uint8_t *keys, size_t n_keys, struct ckv_page *ret_pages)
{
	LIB_INSIDE(lane);
	struct lib_request *request;
	int r;

	lib_lane_settle(lane);
	r = send_reserve(lane, parent, keys, n_keys, ret_pages, &request);
	return r < 0 ? r : lib_request_wait(lane, request);
}

static int reserve_scratch(struct ckv_lane *lane, size_t n_pages,
			   struct ckv_page *pages)
{
	struct lib_request *request;
	long n;
	int r;

	request = batch_new(lane, CKV_OP_RESERVE, n_pages,
			    n_pages * sizeof(struct ckv_lent), &r);
	if (request == NULL)
		return r;
	request->ret = pages;
	r = lib_request_send(lane, request, 0, (uint32_t)n_pages,
			     CKV_REQ_SCRATCH);
	if (r < 0)
		return r;
	n = lib_request_wait(lane, request);
	if (n < 0 || (size_t)n == n_pages)
		return n < 0 ? (int)n : 0;
	/* All or nothing: the few that came go back. The first failure is why. */
	ckv_abort(lane, pages, n_pages, NULL);
	for (size_t i = 0; r == 0 && i < n_pages; i++)
		r = pages[i].status;
	return r < 0 ? lib_plain(lane->ckv, r) : r;
}

int ckv_reserve_scratch(struct ckv_lane *lane, size_t n_pages,
			struct ckv_page *ret_pages)
{
	LIB_INSIDE(lane);
	struct ckv_page *pages = lib_sys_alloc(n_pages, sizeof *pages);
	int r;

	if (pages == NULL && n_pages > 0)
		return lib_plain(lane->ckv, -ENOMEM);
	lib_lane_settle(lane);
	r = reserve_scratch(lane, n_pages, pages);
	if (r == 0)
		memcpy(ret_pages, pages, n_pages * sizeof *pages);
	lib_sys_free(pages);
	return r;
}

/* A request about pages that did not go out; all statuses are `error`. */
static int pages_refused(struct ckv_lane *lane, const struct ckv_page *pages,
			 size_t n_pages, int error, int32_t *ret_status)
{
	for (size_t i = 0; i < n_pages; i++) {
		if (error == -ESTALE && pages[i].status == 0)
			lib_page_forget(lane, &pages[i]);
		if (ret_status != NULL)
			ret_status[i] = error;
	}
	return error;
}

/*
 * The name of a page for a request. The lending of a page of an earlier attachment is over,
 * so the lane forgets the page now. It is named all the same: the daemon answers -ESTALE.
 */
static struct ckv_page_name name_page(struct ckv_lane *lane,
				      const struct ckv_page *page)
{
	if (!lib_page_current(lane, page))
		lib_page_forget(lane, page);
	return lib_page_name(lane, page);
}

static void fill_items(struct ckv_lane *lane, const struct ckv_page *pages,
		       size_t n_pages,
		       uint32_t n_tokens, unsigned flags, const uint64_t *sums,
		       struct ckv_publish_item *items)
{
	uint32_t full = lane->space->geometry.block_tokens;

	for (size_t i = 0; i < n_pages; i++) {
		struct ckv_publish_item item = {
			.name = name_page(lane, &pages[i]),
			.n_tokens = (uint16_t)(i + 1 < n_pages ? full : n_tokens),
		};

		if (flags & (CKV_SUM | CKV_SUMMED))
			item.flags = CKV_ENTRY_SUMMED;
		if (flags & CKV_SUMMED)
			item.checksum = sums[i];
		else if (flags & CKV_SUM && lib_page_current(lane, &pages[i]))
			item.checksum = ckv_checksum(pages[i].data,
						     lane->pool.page_bytes);
		items[i] = item;
	}
}

/* 0, or -EINVAL and what is wrong in words. */
static int publish_judge(const struct ckv_lane *lane, const struct ckv_page *pages,
			 size_t n_pages, uint32_t n_tokens, unsigned flags,
			 const uint64_t *sums)
{
	uint32_t full = lane->space->geometry.block_tokens;

	if (n_pages == 0)
		return lib_why(lane->ckv, -EINVAL, "publish: there are no pages");
	if (n_tokens == 0 || n_tokens > full)
		return lib_why(lane->ckv, -EINVAL, "publish: n_tokens is %u; expected "
			       "1 to %u", n_tokens, full);
	if (flags > CKV_SUMMED)
		return lib_why(lane->ckv, -EINVAL, "publish: flags is %#x; expected 0, "
			       "CKV_SUM or CKV_SUMMED", flags);
	if (flags == CKV_SUMMED && sums == NULL)
		return lib_why(lane->ckv, -EINVAL, "publish: CKV_SUMMED, but sums is "
			       "NULL");
	for (size_t i = 0; i < n_pages; i++)
		if (pages[i].data == NULL || pages[i].status != 0)
			return lib_why(lane->ckv, -EINVAL, "publish: page %zu is not "
				       "lent; its status is %d", i,
				       (int)pages[i].status);
	return 0;
}

/* Pin the last page before anyone can see its block. */
static int pin_last(struct ckv_lane *lane, const struct ckv_page *last,
		    struct lib_pin *pin)
{
	struct lib_lent lent;
	int r;

	if (!lib_page_current(lane, last))
		return 0;
	memcpy(&lent, last->private_, sizeof lent);
	r = lib_pin_claim(lane, lent.slot, lent.generation, &pin->word[0]);
	if (r == 0)
		pin->serial = lane->maps->serial;
	return r;
}

static void unpin_last(struct ckv_lane *lane, const struct lib_pin *pin)
{
	/* After a move of the lane the word is gone with the old segment. */
	if (pin->serial != 0 && lane->maps->serial == pin->serial)
		lib_pin_give(lane, pin->word[0]);
}

static int send_publish(struct ckv_lane *lane, const struct ckv_page *pages,
			size_t n_pages, uint32_t n_tokens, unsigned flags,
			const uint64_t *sums, struct lib_pin *pin,
			struct lib_request **ret_request)
{
	size_t bytes = n_pages * sizeof(struct ckv_publish_item);
	struct lib_request *request;
	int r;

	if (lib_forked(lane->mine))
		return lib_plain(lane->ckv, -ECHILD);
	r = publish_judge(lane, pages, n_pages, n_tokens, flags, sums);
	if (r < 0)
		return r;
	request = batch_new(lane, CKV_OP_PUBLISH, n_pages, bytes, &r);
	if (request == NULL)
		return r;
	if (pin != NULL) {
		r = pin_last(lane, &pages[n_pages - 1], pin);
		if (r < 0) {
			lib_request_collect(lane, request);
			return lib_plain(lane->ckv, r);
		}
	}
	fill_items(lane, pages, n_pages, n_tokens, flags, sums,
		   lib_request_args(lane, request));
	*ret_request = request;
	r = lib_request_send(lane, request, (uint32_t)bytes, (uint32_t)n_pages,
			     0);
	if (r < 0 && pin != NULL)
		unpin_last(lane, pin);
	return r;
}

int ckv_submit_publish(struct ckv_lane *lane, const struct ckv_page *pages,
		       size_t n_pages, uint32_t n_tokens, const uint64_t *sums,
		       int32_t *ret_status, uint64_t tag)
{
	LIB_INSIDE(lane);
	struct lib_request *request;
	int r = send_publish(lane, pages, n_pages, n_tokens,
			     sums != NULL ? CKV_SUMMED : 0, sums, NULL, &request);

	if (r < 0)
		return pages_refused(lane, pages, n_pages, r, ret_status);
	request->ret = ret_status;
	request->tag = tag;
	return 0;
}

/* The caller owns the pin if its page was published, else an empty one. */
static void hand_pin(struct ckv_lane *lane, struct lib_pin *pin, long n,
		     struct ckv_pin *ret_pin)
{
	*ret_pin = (struct ckv_pin){ .n_blocks = 0 };
	if (pin->serial == 0)
		return;
	lane->n_pins_held++;
	ret_pin->n_blocks = (uint32_t)n;
	for (int l = 0; l <= CKV_HOST; l++)
		ret_pin->n_at[l] = ret_pin->n_blocks;
	memcpy(ret_pin->private_, pin, sizeof *pin);
}

long ckv_publish(struct ckv_lane *lane, const struct ckv_page *pages,
		 size_t n_pages, uint32_t n_tokens, unsigned flags,
		 const uint64_t *sums, int32_t *ret_status,
		 struct ckv_pin *ret_pin)
{
	LIB_INSIDE(lane);
	struct lib_pin pin = { .word = { CKV_NONE, CKV_NONE } };
	struct lib_request *request;
	int32_t last = -ESTALE;
	long n;
	int r;

	lib_lane_settle(lane);
	r = send_publish(lane, pages, n_pages, n_tokens, flags, sums,
			 ret_pin != NULL ? &pin : NULL, &request);
	if (r < 0)
		return pages_refused(lane, pages, n_pages, r, ret_status);
	request->ret = ret_status;
	request->ret_last = &last;
	n = lib_request_wait(lane, request);
	if (ret_pin == NULL)
		return n;
	if (last != 0) {
		unpin_last(lane, &pin);
		pin.serial = 0;
	}
	if (n > 0)
		hand_pin(lane, &pin, n, ret_pin);
	return n;
}

/* Those of `pages` that are lent, the last first. How many; the request is sent. */
static int send_abort(struct ckv_lane *lane, const struct ckv_page *pages,
		      size_t n_pages, struct lib_request **ret_request)
{
	struct lib_request *request;
	struct ckv_page_name *names;
	uint32_t n = 0;
	int r;

	request = batch_new(lane, CKV_OP_ABORT, n_pages,
			    n_pages * sizeof *names, &r);
	if (request == NULL)
		return r;
	names = lib_request_args(lane, request);
	for (size_t i = n_pages; i-- > 0; )
		if (pages[i].status == 0)
			names[n++] = name_page(lane, &pages[i]);
	if (n == 0) {
		lib_request_collect(lane, request);
		return 0;
	}
	*ret_request = request;
	r = lib_request_send(lane, request, n * (uint32_t)sizeof *names, n, 0);
	return r < 0 ? r : (int)n;
}

long ckv_abort(struct ckv_lane *lane, const struct ckv_page *pages,
	       size_t n_pages, int32_t *ret_status)
{
	LIB_INSIDE(lane);
	int32_t answers[CKV_BATCH_MAX], status, first = 0;
	struct lib_request *request = NULL;
	long r;
	int n;

	lib_lane_settle(lane);
	r = n = send_abort(lane, pages, n_pages, &request);
	if (n < 0) {
		pages_refused(lane, pages, n_pages, n, ret_status);
		for (size_t i = 0; ret_status != NULL && i < n_pages; i++)
			if (pages[i].status != 0)
				ret_status[i] = pages[i].status;
		return n;
	}
	if (n > 0) {
		request->ret = answers;
		r = lib_request_wait(lane, request);
	}
	for (size_t i = 0; i < n_pages; i++) {
		status = pages[i].status;
		if (status == 0) {
			status = answers[--n];
			first = first != 0 ? first : status;
		}
		if (ret_status != NULL)
			ret_status[i] = status;
	}
	return r < 0 ? first : r;
}

long ckv_drop(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
	      int32_t *ret_status)
{
	LIB_INSIDE(lane);
	size_t bytes = n_keys * CKV_KEY_BYTES;
	struct lib_request *request;
	int r;

	lib_lane_settle(lane);
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
	LIB_INSIDE(lane);
	struct lib_request *request;
	int r;

	request = lib_request_new(lane, CKV_OP_NOP, 0, &r);
	if (request == NULL)
		return r;
	request->tag = tag;
	return lib_request_send(lane, request, 0, 0, 0);
}
