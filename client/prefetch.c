/* SPDX-License-Identifier: Apache-2.0 */
/* prefetch.c - asking for a chain to come, and waiting for it. */
#include "client/lib.h"

#include <errno.h>

/* 0, or -EINVAL and what is wrong in words. */
static int prefetch_judge(const struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
			  uint32_t level, unsigned flags,
			  const struct ckv_handle *handles, const struct ckv_pin *pin)
{
	if (keys == NULL || n_keys == 0 || n_keys > CKV_BATCH_MAX)
		return lib_why(lane->ckv, -EINVAL, "prefetch: there are %zu keys; "
			       "expected 1 to %u", keys != NULL ? n_keys : 0,
			       CKV_BATCH_MAX);
	if (level != CKV_HOST && level != CKV_DEVICE)
		return lib_why(lane->ckv, -EINVAL, "prefetch: level is %u; expected "
			       "CKV_HOST (%u) or CKV_DEVICE (%u)", level, CKV_HOST,
			       CKV_DEVICE);
	if (pin != NULL && handles == NULL)
		return lib_why(lane->ckv, -EINVAL, "prefetch: ret_pin is given, but "
			       "ret_handles is NULL");
	if (pin != NULL && (flags & ~(unsigned)CKV_VERIFY) != 0)
		return lib_why(lane->ckv, -EINVAL, "prefetch: flags is %#x; expected "
			       "0 or CKV_VERIFY", flags);
	return 0;
}

static int send_prefetch(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
			 uint32_t level, int64_t timeout_ns, unsigned flags,
			 struct ckv_handle *handles, struct ckv_pin *pin,
			 struct lib_request **ret_request)
{
	struct ckv_prefetch_arg arg = {
		.timeout_ns = timeout_ns < 0 ? UINT64_MAX : (uint64_t)timeout_ns,
		.level = level,
		.flags = pin != NULL ? CKV_PREFETCH_PIN : 0,
	};
	size_t bytes = sizeof arg + n_keys * CKV_KEY_BYTES;
	struct lib_request *request;
	char *at;
	int r;

	if (lib_forked(lane->mine))
		return lib_plain(lane->ckv, -ECHILD);
	r = prefetch_judge(lane, keys, n_keys, level, flags, handles, pin);
	if (r < 0)
		return r;
	request = lib_request_new(lane, CKV_OP_PREFETCH, (uint32_t)bytes, &r);
	if (request == NULL)
		return r;
	at = lib_request_args(lane, request);
	memcpy(at, &arg, sizeof arg);
	memcpy(at + sizeof arg, keys, n_keys * CKV_KEY_BYTES);
	request->ret = handles;
	request->ret_pin = pin;
	request->lookup_flags = flags;
	*ret_request = request;
	return lib_request_send(lane, request, (uint32_t)bytes, (uint32_t)n_keys,
				0);
}

int ckv_submit_prefetch(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
			uint32_t level, int64_t timeout_ns, unsigned flags,
			struct ckv_handle *ret_handles, struct ckv_pin *ret_pin,
			uint64_t tag)
{
	LIB_INSIDE(lane);
	struct lib_request *request;
	int r = send_prefetch(lane, keys, n_keys, level, timeout_ns, flags,
			      ret_handles, ret_pin, &request);

	if (r == 0)
		request->tag = tag;
	return r;
}

long ckv_prefetch(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
		  uint32_t level, int64_t timeout_ns, unsigned flags,
		  struct ckv_handle *ret_handles, struct ckv_pin *ret_pin)
{
	LIB_INSIDE(lane);
	struct lib_request *request;
	int r;

	lib_lane_settle(lane);
	r = send_prefetch(lane, keys, n_keys, level, timeout_ns, flags,
			  ret_handles, ret_pin, &request);
	return r < 0 ? r : lib_request_wait(lane, request);
}
