/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.c - what the daemon answered, to where the caller wants it.
 *
 * D's result area is read once, when the request is collected. The daemon sends the
 * descriptor of a slab for writing before the number of a page in it, so when a number is
 * here and the slab is not mapped yet, its descriptor waits in the socket.
 */
#include "client/lib.h"

#include <errno.h>

/* Are these numbers possible? Each of them is used as an index later. */
static int lent_ok(const struct ckv_lane *lane, const struct ckv_lent *lent)
{
	return lent->level == CKV_LEVEL_HOST && lent->page < lane->n_pages_host &&
	       lent->lending != 0 &&
	       (lent->slot == CKV_NONE ||
		lent->slot < lane->index.n_buckets * CKV_BUCKET_ENTRIES);
}

/* Where a lent page is written. 0; -EMFILE, -ENOMEM...: it cannot be mapped here. */
static int lent_place(struct ckv_lane *lane, const struct ckv_lent *lent,
		      void **ret_place)
{
	int r;

	if (!lent_ok(lane, lent))
		return -EPROTO;
	r = lib_slab_get(lane, lent->page / lane->pool.slab_pages);
	if (r == 0)
		*ret_place = lane->maps->pool->write_base +
			     ckv_page_offset(&lane->pool, lent->page);
	return r;
}

/* One answer to where its caller wants it. */
static void tell_lent(const struct ckv_lane *lane, const struct ckv_lent *lent,
		      int status, void *place, struct ckv_page *ret)
{
	struct lib_lent private_ = {
		.slot = lent->slot, .generation = lent->generation,
		.lending = lent->lending, .level = lent->level, .epoch = lane->epoch,
		.serial = lane->maps->serial,
	};

	ret->data = place;
	ret->status = status;
	ret->page = lent->page;
	memcpy(ret->private_, &private_, sizeof private_);
}

/*
 * Page `from` could not be mapped: give it and all pages after it back to the daemon, the
 * deepest first. The caller gets none of them.
 */
static void give_up(struct ckv_lane *lane, struct lib_request *request,
		    uint32_t from, int why)
{
	const struct ckv_lent *answers = lib_request_answers(lane, request);
	struct ckv_page_name *names = lib_request_args(lane, request);
	struct ckv_page *ret = request->ret;
	uint32_t n = 0;

	for (uint32_t i = request->n; i-- > from; ) {
		struct ckv_lent lent = answers[i];

		if (lent.status == 0) {
			names[n++] = (struct ckv_page_name){
				.page = lent.page, .lending = lent.lending,
				.epoch = lane->epoch, .level = lent.level };
			lent.status = i == from ? why : -ECANCELED;
		}
		tell_lent(lane, &lent, lent.status, NULL, &ret[i]);
	}
	lib_request_turn(lane, request, CKV_OP_ABORT, n * sizeof *names, n);
}

static long answer_reserve(struct ckv_lane *lane, struct lib_request *request)
{
	const struct ckv_lent *answers = lib_request_answers(lane, request);
	struct ckv_page *ret = request->ret;
	uint32_t n_lent = 0, i;
	int r = 0;

	lib_lock(lane->ckv);
	for (i = 0; i < request->n; i++) {
		struct ckv_lent lent = answers[i];
		void *place = NULL;

		if (lent.status == 0)
			r = lent_place(lane, &lent, &place);
		if (lent.status == 0 && r == 0)
			r = lib_lent_add(&lane->lent, &(struct lib_lending){
				lent.page, lent.lending, lent.slot,
				lent.generation });
		if (r < 0)
			break;
		tell_lent(lane, &lent, lent.status, place, &ret[i]);
		n_lent += lent.status == 0;
	}
	lib_unlock(lane->ckv);
	if (r < 0)
		give_up(lane, request, i, r);
	return n_lent;
}

/* PUBLISH and ABORT: a status for each page; many end the page's lending. */
static long answer_pages(struct ckv_lane *lane, struct lib_request *request)
{
	const int32_t *answers = lib_request_answers(lane, request);
	int32_t *ret = request->ret, first = 0, status = 0;
	long n = 0;

	for (uint32_t i = 0; i < request->n; i++) {
		status = answers[i];
		lib_page_answered(lane, request, i, status);
		if (ret != NULL)
			ret[i] = status;
		n += status == 0;
		first = first != 0 ? first : status;
	}
	if (request->ret_last != NULL)
		*request->ret_last = status;
	return n > 0 ? n : first;
}

/* There are no answers: the request failed as a whole. */
long lib_answer_none(struct lib_request *request)
{
	int error = (int)request->result;
	int32_t *ret = request->ret;

	if (request->op != CKV_OP_PUBLISH && request->op != CKV_OP_ABORT)
		return error;
	for (uint32_t i = 0; ret != NULL && i < request->n; i++)
		ret[i] = error;
	if (request->ret_last != NULL)
		*request->ret_last = error;
	return error;
}

static long answer_drop(struct ckv_lane *lane, struct lib_request *request)
{
	if (request->ret != NULL)
		memcpy(request->ret, lib_request_answers(lane, request),
		       request->n * sizeof(int32_t));
	return request->result;
}

static long answer_view(struct ckv_lane *lane, struct lib_request *request)
{
	struct ckv_view_info *ret = request->ret;
	struct ckv_view_reply reply;

	memcpy(&reply, lib_request_answers(lane, request), sizeof reply);
	if (request->result < 0 && reply.text[0] == 0)
		return lib_plain(lane->ckv, (int)request->result);
	if (request->result < 0)
		return lib_why(lane->ckv, (int)request->result, "%.*s",
			       (int)sizeof reply.text, reply.text);
	memcpy(ret->key, &reply.key, sizeof ret->key);
	ret->bytes = reply.bytes;
	ret->plain_bytes = reply.sizes.plain;
	ret->head_bytes = reply.sizes.heads;
	ret->position_bytes = reply.sizes.positions;
	ret->code_bytes = reply.sizes.codes;
	ret->scale_bytes = reply.sizes.scales;
	ret->padding_bytes = reply.sizes.padding;
	ret->n_kept_total = reply.n_kept_total;
	ret->n_pages = reply.n_pages;
	ret->n_tokens = reply.n_tokens;
	ret->n_kept_max = reply.n_kept_max;
	ret->n_kept_min = reply.n_kept_min;
	ret->n_always_lost = reply.n_always_lost;
	return 0;
}

/*
 * With a pin: what the daemon holds is pinned here, and then let go there. The keys are
 * still in the argument area.
 */
static long answer_prefetch(struct ckv_lane *lane, struct lib_request *request)
{
	struct ckv_cancel_arg cancel = { .tag = request->sent };
	struct ckv_prefetch_arg *arg = lib_request_args(lane, request);
	struct lib_chain c;
	long n;

	if (request->ret_pin == NULL)
		return request->result;
	c.keys = (const struct ckv_key *)(const void *)(arg + 1);
	c.n_keys = request->n;
	c.handles = request->ret;
	n = lib_lane_alive(lane) ?
	    lib_lookup_chain(lane, &c, request->lookup_flags) :
	    lib_lookup_none(&c);
	if (n >= 0)
		lib_hand_out(&c, n, request->ret_pin);
	if (request->result > 0) {
		memcpy(arg, &cancel, sizeof cancel);
		lib_request_turn(lane, request, CKV_OP_CANCEL, sizeof cancel, 0);
	}
	return n;
}

/* The daemon answered this request; what its caller gets to hear. */
long lib_answer(struct ckv_lane *lane, struct lib_request *request)
{
	if (request->op == CKV_OP_COMPRESS || request->op == CKV_OP_STAT)
		return answer_view(lane, request);
	if (request->result < 0)
		return lib_answer_none(request);
	switch (request->op) {
	case CKV_OP_RESERVE:
		return answer_reserve(lane, request);
	case CKV_OP_PUBLISH:
	case CKV_OP_ABORT:
		return answer_pages(lane, request);
	case CKV_OP_DROP:
		return answer_drop(lane, request);
	case CKV_OP_PREFETCH:
		return answer_prefetch(lane, request);
	default:
		return request->result;
	}
}
