/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights.c - the fingerprint of the model weights whose keys and values a space holds.
 */
#include "daemon/shell/weights.h"
#include "daemon/shell/keep.h"
#include "daemon/shell/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define SHOWN_BYTES	6u
#define SHOWN_TEXT	(2 * CKV_WEIGHTS_BYTES + 1)

static const uint8_t zeros[CKV_WEIGHTS_BYTES];

/* The first `bytes` as hex digits, and ".." if there are more; "none" if all are 0. */
static void show(const uint8_t weights[CKV_WEIGHTS_BYTES], size_t bytes,
		 char text[SHOWN_TEXT])
{
	size_t n = 0;

	if (memcmp(weights, zeros, CKV_WEIGHTS_BYTES) == 0) {
		snprintf(text, SHOWN_TEXT, "none");
		return;
	}
	for (size_t i = 0; i < bytes; i++)
		n += (size_t)snprintf(text + n, SHOWN_TEXT - n, "%02x", weights[i]);
	if (bytes < CKV_WEIGHTS_BYTES)
		snprintf(text + n, SHOWN_TEXT - n, "..");
}

/* Say that they differ: in a few digits if those differ, else in all; and what to do. */
static int differ(const struct served_space *served, const uint8_t *theirs, char text[232])
{
	const uint8_t *ours = served->geometry.weights;
	bool brief = memcmp(ours, theirs, SHOWN_BYTES) != 0;
	size_t bytes = brief ? SHOWN_BYTES : CKV_WEIGHTS_BYTES;
	char here[SHOWN_TEXT], there[SHOWN_TEXT];
	int n;

	show(ours, bytes, here);
	show(theirs, bytes, there);
	n = snprintf(text, 232, "space %.40s: weights are %s here, %s at the client",
		     served->config->name, here, there);
	if (served->config->params.weights[0] != 0)
		snprintf(text + n, 232 - (size_t)n, "; use another space");
	else
		snprintf(text + n, 232 - (size_t)n, brief ? "; use another space, or "
			 "restart ckvd to empty this one" : "; use another space");
	return -EINVAL;
}

/* Of the whole geometry, weights included: it is part of the seal of each record. */
static void name_fingerprint(struct served_space *served)
{
	served->fingerprint = XXH3_64bits(&served->geometry, sizeof served->geometry);
	space_set_fingerprint(served->core, served->fingerprint);
}

void weights_init(struct served_space *served, const struct ckv_geometry *held,
		  bool known)
{
	served->geometry = held ? *held : served->config->geometry;
	served->weights_known = known || served->config->params.weights[0] != 0;
	name_fingerprint(served);
}

/* Does nothing belong to the present fingerprint, so that a client may name another? */
static bool is_free(const struct daemon *d, uint32_t space)
{
	const struct served_space *served = &d->served[space];

	if (served->config->params.weights[0] != 0 ||
	    !space_is_empty(served->core))
		return false;
	for (uint32_t i = 0; i < d->n_client_rows; i++) {
		const struct attachment *a = &d->client[i].attached[space];

		if (a->access != 0 && a->holds_weights)
			return false;
	}
	return true;
}

static void set_weights(struct daemon *d, uint32_t space,
		      const uint8_t weights[CKV_WEIGHTS_BYTES])
{
	struct served_space *served = &d->served[space];
	char text[SHOWN_TEXT];

	if (served->weights_known &&
	    memcmp(served->geometry.weights, weights, CKV_WEIGHTS_BYTES) == 0)
		return;
	memcpy(served->geometry.weights, weights, CKV_WEIGHTS_BYTES);
	served->weights_known = true;
	name_fingerprint(served);
	keep_weights(d, space);
	stats_weights(d, space);
	show(weights, CKV_WEIGHTS_BYTES, text);
	log_limited(LOG_INFO, d->now_ns, "space %s: weights are %s",
		    served->config->name, text);
}

int weights_attach(struct daemon *d, uint32_t space, const struct ckv_attach *attach,
		   char text[232], bool *ret_named)
{
	const struct served_space *served = &d->served[space];
	bool same = attach->any_geometry == CKV_WANT_SAME;
	bool writes = attach->access == CKV_ACCESS_WRITE;
	bool reads = attach->access == CKV_ACCESS_READ;

	if (is_free(d, space)) {
		if (writes || (reads && same))
			set_weights(d, space, same ? attach->geometry.weights :
						   zeros);
	} else if (same && memcmp(served->geometry.weights,
				  attach->geometry.weights,
				  CKV_WEIGHTS_BYTES) != 0) {
		return differ(served, attach->geometry.weights, text);
	}
	*ret_named = writes || (reads && same);
	return 0;
}
