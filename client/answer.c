/*
 * answer.c - what the daemon answered, to where the caller wants it.
 *
 * D's result area is read once, when the event is collected. A page that was
 * lent is writable here before its number arrives: the slab's descriptor was sent
 * first, so it waits in the socket if it is not mapped yet.
 */
#include "client/lib.h"

#include <errno.h>

/* Where a lent page is written; its slab is mapped. */
static char *lent_place(const struct ckv_lane *lane, uint32_t page)
{
	return lane->maps->write_base + ckv_page_offset(&lane->pool, page);
}

/* 0, or why the page cannot be written here. */
static int page_mapped(struct ckv_lane *lane, uint32_t page)
{
	if (page >= lane->n_pages_host)
		return -EPROTO;
	return lib_slab_get(lane, page / lane->pool.slab_pages);
}

static long answer_reserve(struct ckv_lane *lane, struct lib_request *request)
{
	const struct ckv_lent *answers = lib_request_answers(lane, request);
	struct ckv_page *ret = request->ret;
	uint32_t n = request->n, n_lent = 0;
	uint8_t lost[CKV_BATCH_MAX];

	lib_lock(lane->ckv);
	for (uint32_t i = 0; i < n; i++) {
		struct lib_lent private_;
		struct ckv_lent lent;
		int r;

		memcpy(&lent, &answers[i], sizeof lent);
		private_ = (struct lib_lent){
			.slot = lent.slot, .generation = lent.generation,
			.lending = lent.lending, .epoch = lane->epoch,
			.serial = lane->maps->serial };
		r = lent.status != 0 ? lent.status :
				       page_mapped(lane, lent.page);
		ret[i].status = r;
		ret[i].page = lent.page;
		ret[i].data = r != 0 ? NULL : lent_place(lane, lent.page);
		memcpy(ret[i].private_, &private_, sizeof private_);
		n_lent += r == 0;
		lost[i] = lent.status == 0 && r != 0;
	}
	lib_unlock(lane->ckv);
	lane->n_lent += n_lent;
	for (uint32_t i = 0; i < n; i++)
		if (lost[i])
			lib_abort_silently(lane, &ret[i]);
	return n_lent;
}

/* Published or given back: these pages are the lane's no more. */
static long answer_pages(struct ckv_lane *lane, struct lib_request *request)
{
	const int32_t *status = lib_request_answers(lane, request);
	uint32_t n = (uint32_t)request->result;

	lane->n_lent -= n < lane->n_lent ? n : lane->n_lent;
	for (uint32_t i = 0; n == 0 && i < request->n; i++)
		if (status[i] < 0)
			return status[i];
	return request->result;
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

/* The daemon answered this request; what its caller gets to hear. */
long lib_answer(struct ckv_lane *lane, struct lib_request *request)
{
	if (request->op == CKV_OP_COMPRESS || request->op == CKV_OP_STAT)
		return answer_view(lane, request);
	if (request->result < 0)
		return request->result;
	switch (request->op) {
	case CKV_OP_RESERVE:
		return answer_reserve(lane, request);
	case CKV_OP_PUBLISH:
	case CKV_OP_ABORT:
		return answer_pages(lane, request);
	case CKV_OP_DROP:
		return answer_drop(lane, request);
	default:
		return request->result;
	}
}
