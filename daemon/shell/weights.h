/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights.h - whose keys and values a space holds: the weights' fingerprint.
 *
 * What two clients mean by a page is told apart by it where shape and name are equal.
 * It is the configuration's, or that of the first client that names it. Nobody may
 * name another while something in the space was written, or may still be written or
 * read, under the one before: blocks, views and lent pages, and the attachments of
 * clients that named it or write.
 */
#ifndef CKV_WEIGHTS_H
#define CKV_WEIGHTS_H

#include "daemon/shell/daemon.h"

/* At start: of the configuration, or known to nobody. */
void weights_init(struct served_space *served);

/*
 * A client is about to attach: take its weights, or compare them. 0, and
 * *ret_named: the attachment holds them from now on. -EINVAL: they differ, `text`
 * says how.
 */
int weights_attach(struct daemon *d, uint32_t space, const struct ckv_attach *attach,
		   char text[232], bool *ret_named);

#endif
