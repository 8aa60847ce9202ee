/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_events.h - requests without waiting, and a descriptor for event loops.
 *
 * A part of ckv.h, which includes it and explains the lines Blocks to Errors.
 */
#ifndef CKV_EVENTS_H
#define CKV_EVENTS_H

#ifndef CKV_H
#error "include ckv.h"
#endif

struct ckv_event {
	uint64_t tag;		/* as given at submit */
	long	 result;	/* what the waiting form returns */
};

/*
 * Send a request and return. `tag` is the caller's; it comes back in the event, with the
 * result. If the lane ends first the result is -ESTALE or -EPROTO.
 *
 *   Blocks:  briefly
 *   Threads: lane
 *   Owner:   the memory that ret_ arguments point to must stay until ckv_poll() or
 *            ckv_wait(), which writes it, returns the event; all other arguments and what
 *            they point to are the caller's again at once, but scratch pages of `queries`,
 *            which must stay as they are. ckv_lane_close() ends all that, too
 *   Failed:  nothing was sent; ret_status of ckv_submit_publish() is written all the same
 *   Errors:  those of the waiting form that are known before the daemon is asked:
 *            ASK
 *            -EINVAL, -EACCES  as of ckv_reserve(), ckv_publish(), ckv_compress()
 */
int ckv_submit_reserve(struct ckv_lane *lane, const uint8_t *parent,
		       const uint8_t *keys, size_t n_keys,
		       struct ckv_page *ret_pages, uint64_t tag);
int ckv_submit_publish(struct ckv_lane *lane, const struct ckv_page *pages,
		       size_t n_pages, uint32_t n_tokens, const uint64_t *sums,
		       int32_t *ret_status, uint64_t tag);
int ckv_submit_compress(struct ckv_lane *lane, const uint8_t *chain,
			const char *method, const struct ckv_queries *queries,
			struct ckv_view_info *ret_info, uint64_t tag);

/*
 * The same for ckv_prefetch(); ckv_cancel() ends the wait.
 *
 *   Blocks:  briefly
 *   Threads: lane
 *   Owner:   ret_handles and ret_pin must stay until the event has been returned
 *   Failed:  nothing was sent
 *   Errors:  ASK
 *            -EINVAL  as of ckv_prefetch()
 */
int ckv_submit_prefetch(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
			uint32_t level, int64_t timeout_ns, unsigned flags,
			struct ckv_handle *ret_handles, struct ckv_pin *ret_pin,
			uint64_t tag);

/*
 * Have the oldest uncollected request with this tag end: a prefetch, or a compression that
 * waits, ends with -ECANCELED. (A compression that runs makes its view all the same; other
 * requests end as they would.) The event comes in any case.
 *
 *   Blocks:  briefly
 *   Threads: lane
 *   Errors:  ASK
 *            -ENOENT    no request with this tag is outstanding
 *            -EALREADY  it has ended, and its event waits to be collected
 */
int ckv_cancel(struct ckv_lane *lane, uint64_t tag);

/*
 * Send a request that does nothing; its result is 0.
 *
 *   Blocks:  briefly
 *   Threads: lane
 *   Errors:  ASK
 */
int ckv_submit_nop(struct ckv_lane *lane, uint64_t tag);

/*
 * Collect finished requests, up to `max`: how many.
 *
 *   Blocks:  briefly; up to 100 ms to map a page of a finished ckv_submit_reserve() when
 *            that has failed before for want of descriptors or memory
 *   Threads: lane
 *   Owner:   ret_events[0 .. count) are filled, and what those requests return is written
 *   Errors:  LANE, when nothing is left to be collected
 */
int ckv_poll(struct ckv_lane *lane, struct ckv_event *ret_events, int max);

/*
 * The same, but wait for one. 0 if nothing is outstanding.
 *
 *   Blocks:  timeout_ns at most; -1: for answer
 *   Threads: lane
 *   Owner:   as of ckv_poll()
 *   Errors:  -ETIMEDOUT  nothing has finished in timeout_ns
 *            -ECHILD     as of LANE. If the lane ends, its requests are finished, and
 *                        their results say so
 */
int ckv_wait(struct ckv_lane *lane, int64_t timeout_ns,
	     struct ckv_event *ret_events, int max);

/*
 * A descriptor that becomes readable when a request completes on a lane that asked for it
 * with ckv_event_arm(), for engines with their own event loop. After it did, call
 * ckv_poll() for the lanes that asked: it stays readable until each of them that has
 * something has been polled. The end of a lane's daemon or connection is something, too:
 * its requests are then done with -ESTALE. It may be readable for nothing.
 *
 *   Blocks:  never
 *   Threads: any
 *   Owner:   the library's: it is not to be closed or read, and stays the same when the
 *            daemon is started again
 *   Errors:  -ECHILD  `ckv` was opened before fork()
 */
int ckv_event_fd(const struct ckv *ckv);

/*
 * Ask for one readiness of ckv_event_fd() at the next completion of this lane. Then call
 * ckv_poll() once more before waiting: something may have completed before. It stays
 * asked for until ckv_poll() or ckv_wait() has met it.
 *
 *   Blocks:  briefly
 *   Threads: lane
 *   Errors:  LANE
 */
int ckv_event_arm(struct ckv_lane *lane);

#endif
