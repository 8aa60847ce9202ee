/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights.h - the fingerprint of the model weights whose keys and values a space holds.
 *
 * Models of equal name and shape may have different weights; the fingerprint tells
 * them apart. It is set by the configuration or by the first client that names one. As
 * long as anything in the space belongs to a fingerprint, no client may attach with
 * another one. These belong to it: blocks, views, lent pages, and the attachments of
 * clients that write or that named the fingerprint.
 */
#ifndef CKV_WEIGHTS_H
#define CKV_WEIGHTS_H

#include "daemon/shell/daemon.h"

/*
 * At start: take the fingerprint from `held`, the geometry that an earlier daemon left, of
 * which `known` says whether its weights were named; NULL: from the configuration.
 */
void weights_init(struct served_space *served, const struct ckv_geometry *held,
		  bool known);

/*
 * A client is about to attach: take its fingerprint, or compare it. 0, and *ret_named
 * says whether the attachment belongs to the fingerprint. -EINVAL: they differ, and
 * `text` says how.
 */
int weights_attach(struct daemon *d, uint32_t space, const struct ckv_attach *attach,
		   char text[232], bool *ret_named);

#endif
