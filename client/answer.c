/*
 * answer.c - what the daemon answered, to where the caller wants it.
 *
 * D's result area is read once, when the event is collected. A page that was
 * lent is writable here before its number arrives: the slab's descriptor was sent
 * first, so it waits in the socket if it is not mapped yet.
 */
#include "client/lib.h"

#include <errno.h>

/* The write mapping of a lent page, NULL if it cannot be had. */
static char *lent_place(struct ckv_lane *lane, uint32_t page)
{
	struct lib_maps *maps = lane->maps;
	uint32_t slab = page / maps->pool.slab_pages;

	if (page >= lane->n_pages_host)
		return NULL;
	if (!maps->writable[slab])
		lib_session_pump(lane->ckv);
	if (!maps->writable[slab])
		return NULL;
	return maps->write_base + ckv_page_offset(&maps->pool, page);
}

static long answer_reserve(struct ckv_lane *lane, struct lib_request *request)
{
	const struct ckv_lent *answers = lib_request_answers(lane, request);
	struct ckv_page *ret = request->ret;
	uint32_t n = request->n, n_lent = 0;

	pthread_mutex_lock(&lane->ckv->lock);
	for (uint32_t i = 0; i < n; i++) {
		struct ckv_lent lent;
		struct lib_lent private_;

		memcpy(&lent, &answers[i], sizeof lent);
		private_ = (struct lib_lent){
			.slot = lent.slot, .generation = lent.generation,
			.lending = lent.lending, .epoch = lane->epoch,
			.serial = lane->maps->serial };
		ret[i].status = lent.status;
		ret[i].page = lent.page;
		ret[i].data = lent.status != 0 ? NULL :
					  lent_place(lane, lent.page);
		if (lent.status == 0 && ret[i].data == NULL)
			ret[i].status = -ENOMEM;
		else if (lent.status == 0)
			n_lent++;
		memcpy(ret[i].private_, &private_, sizeof private_);
	}
	pthread_mutex_unlock(&lane->ckv->lock);
	lane->n_lent += n_lent;
	for (uint32_t i = 0; i < n; i++)
		if (ret[i].status == -ENOMEM)
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
