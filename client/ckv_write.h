/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_write.h - storing blocks: borrow pages, write them, publish them.
 *
 * A part of ckv.h, which includes it and explains the lines Blocks to Errors.
 */
#ifndef CKV_WRITE_H
#define CKV_WRITE_H

#ifndef CKV_H
#error "include ckv.h"
#endif

struct ckv_page {		/* the answer for one key, or one scratch page */
	void	*data;		/* write here until it is given back; NULL unless status is 0 */
	int32_t	 status;	/* 0, or the reason, see below */
	uint32_t page;
	uint32_t private_[8];
};

/*
 * Borrow pages for the chain keys[0 .. n_keys), 1 to 1024 keys, whose first parent is
 * `parent` (NULL: keys[0] is a root). A longer chain goes in parts, `parent` being the
 * last key of the part before, which need not be published yet. Returns how many pages
 * were lent; ret_pages[i].status says for each key:
 *
 *   0            lent to this lane until published or given back
 *   -EEXIST      stored already under this parent; the following keys were tried
 *   -EXDEV       stored already under another parent: the keys are not those of a chain
 *   -EALREADY    being written by someone
 *   -ENOENT      the parent is not stored, and not reserved by this lane
 *   -ENOSPC      the pool is full of blocks that may not be evicted
 *   -EXFULL      the index has no place for this key
 *   -EDQUOT      this client, or its user, may not hold more unpublished pages
 *   -EAGAIN      the page's memory could not be sent or mapped in time; try again
 *   -EMFILE, -ENOMEM  the page could not be mapped here for writing, for want of
 *                descriptors, or of memory or address space; the daemon has it back, and
 *                the next reserve that is lent a page there tries it again
 *   -EPROTO      what the daemon says of the page makes no sense
 *   -ECANCELED   not lent, or taken back at once, because an earlier key failed
 *
 * A lent page stays mapped until it is given back, also when the daemon dies: what
 * is written then is lost and harms nobody. It is given back by the first call that
 * says 0, -EEXIST, -ECANCELED or -ESTALE of it, by the abort of a page that it was
 * reserved under, and by ckv_lane_close(); then it must not be written any more. A
 * page is known by when it was lent: one that was given back is never taken for what
 * its memory is lent for next, by this daemon or another.
 *
 *   Blocks:  for answer; after -EMFILE or -ENOMEM up to 100 ms more
 *   Threads: lane
 *   Owner:   ret_pages[0 .. n_keys) are filled; those with status 0 are lent to the lane
 *   Errors:  ASK
 *            -EINVAL  no keys, too many, or a key that is all zero
 *            -EACCES  the space is attached read-only
 */
long ckv_reserve(struct ckv_lane *lane, const uint8_t *parent,
		 const uint8_t *keys, size_t n_keys, struct ckv_page *ret_pages);

/*
 * Borrow 1 to 1024 pages without keys, for window queries. All or nothing: 0, or why the
 * first page could not be lent.
 *
 *   Blocks:  for answer; after -EMFILE or -ENOMEM up to 100 ms more
 *   Threads: lane
 *   Owner:   all of ret_pages is lent to the lane, until ckv_abort() or ckv_lane_close()
 *   Errors:  ASK
 *            -EINVAL  no pages, or too many
 *            -EACCES  the space is attached read-only
 *            -ENOSPC, -EDQUOT, -EAGAIN, -EMFILE, -ENOMEM  as a page's status above
 */
int ckv_reserve_scratch(struct ckv_lane *lane, size_t n_pages,
			struct ckv_page *ret_pages);

enum ckv_publish_flag {
	CKV_SUM = 1,		/* compute the checksums now, in this thread */
	CKV_SUMMED = 2,		/* `sums` holds them (ckv_copy(), ckv_checksum()) */
};

/*
 * Make 1 to 1024 pages visible, parents first; nobody may change them afterwards.
 * `n_tokens` is of the last page; the others are full. Without CKV_SUM or CKV_SUMMED the
 * daemon sums the pages later. Each page is judged by itself, in order. Returns how many
 * this call published; if it published none, what the first page was refused for.
 * ret_status (may be NULL) says what became of each page:
 *
 *   0            published by this call
 *   -EEXIST      published before: a repetition, and no harm
 *   -ENOENT      its parent is not published; the page stays lent
 *   -EINVAL      a scratch page; it stays lent
 *   -ECANCELED   it was given back before: by name, or because a page that it was
 *                reserved under was
 *   -ESTALE      lent by a daemon that is gone, in another space, or not to this lane;
 *                or given back and lent anew
 *   else         the call failed as a whole with this error, and the page stays lent;
 *                after -EPROTO only to be left alone until the lane is closed
 *
 * With `ret_pin` (may be NULL) the last page is pinned from its first moment, so the
 * caller may go on reading it and all its ancestors.
 *
 *   Blocks:  for answer; CKV_SUM reads all bytes of the pages before
 *   Threads: lane
 *   Owner:   pages with status 0, -EEXIST, -ECANCELED or -ESTALE are the lane's no more.
 *            Where a count is returned *ret_pin is the caller's, for ckv_unpin(); it is an
 *            empty one, with n_blocks 0, unless the last page's status is 0
 *   Failed:  ret_status is written all the same; ret_pin is not
 *   Errors:  ASK
 *            -EINVAL  no pages, too many, or one that was not lent; n_tokens is not 1 to
 *                     block_tokens; flags; CKV_SUMMED without `sums`
 *            -EACCES  the space is attached read-only
 *            -EAGAIN  also: with `ret_pin`, every pin word of this lane is in use
 *            -EEXIST, -ENOENT, -ECANCELED, -ESTALE  the first page's status
 */
long ckv_publish(struct ckv_lane *lane, const struct ckv_page *pages,
		 size_t n_pages, uint32_t n_tokens, unsigned flags,
		 const uint64_t *sums, int32_t *ret_status,
		 struct ckv_pin *ret_pin);

/*
 * Give lent pages back unpublished, the last first, at most 1024; pages reserved under
 * them go too: their own ckv_publish() or ckv_abort() says -ECANCELED. Pages that were
 * not lent (status is not 0) are passed over. Returns how many this call gave back by
 * name; if none, what the first was refused for, 0 if there was none. ret_status (may be
 * NULL) as of ckv_publish(): 0, -EEXIST, -ECANCELED, -ESTALE; a page that was passed over
 * has the status it had.
 *
 *   Blocks:  for answer
 *   Threads: lane
 *   Owner:   pages with one of these statuses are the lane's no more
 *   Failed:  ret_status is written all the same; the pages stay lent, but for -ESTALE
 *   Errors:  ASK
 *            -EINVAL  too many pages
 *            -EACCES  the space is attached read-only
 *            -EEXIST, -ECANCELED, -ESTALE  the first page's status
 */
long ckv_abort(struct ckv_lane *lane, const struct ckv_page *pages,
	       size_t n_pages, int32_t *ret_status);

/*
 * Forget 1 to 1024 blocks or views, deepest first. Returns how many were forgotten, 0
 * included; ret_status (may be NULL) says for each key: 0, -ENOENT not stored, -EBUSY
 * pinned, read by a job of the daemon, or not a leaf.
 *
 *   Blocks:  for answer
 *   Threads: lane
 *   Errors:  ASK
 *            -EINVAL  no keys, or too many
 *            -EACCES  the space is attached read-only
 */
long ckv_drop(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
	      int32_t *ret_status);

/*
 * XXH3-64 of each 4 KiB piece (seed: its number), then of those digests. A
 * page's checksum is over all of it: page_bytes, whatever the block fills.
 *
 *   Blocks:  never; reads `bytes` bytes
 *   Threads: any
 *   Errors:  none
 */
uint64_t ckv_checksum(const void *data, size_t bytes);

/*
 * Copy `bytes` bytes to the start of a lent page and sum them in one pass; returns the
 * checksum of these bytes, which is the page's if they are page_bytes.
 *
 *   Blocks:  never; copies `bytes` bytes
 *   Threads: any, for different pages
 *   Errors:  none
 */
uint64_t ckv_copy(void *page, const void *from, size_t bytes);

#endif
