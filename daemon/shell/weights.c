/*
 * weights.c - whose keys and values a space holds: the weights' fingerprint.
 */
#include "daemon/shell/weights.h"
#include "daemon/shell/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define SHOWN_BYTES	6u
#define SHOWN_TEXT	(2 * CKV_WEIGHTS_BYTES + 1)

static const uint8_t zeros[CKV_WEIGHTS_BYTES];

/* The first `bytes` as digits, with dots if there are more; "none" for zeros. */
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

/* Short where that tells them apart, else whole; and what is to be done. */
static int differ(const struct host *host, const uint8_t *theirs, char text[232])
{
	const uint8_t *ours = host->geometry.weights;
	bool brief = memcmp(ours, theirs, SHOWN_BYTES) != 0;
	size_t bytes = brief ? SHOWN_BYTES : CKV_WEIGHTS_BYTES;
	char here[SHOWN_TEXT], there[SHOWN_TEXT];
	int n;

	show(ours, bytes, here);
	show(theirs, bytes, there);
	n = snprintf(text, 232, "space %.40s: weights are %s here, %s at the client",
		     host->config->name, here, there);
	if (host->config->params.weights[0] != 0)
		snprintf(text + n, 232 - (size_t)n, "; use another space");
	else
		snprintf(text + n, 232 - (size_t)n, brief ? "; use another space, or "
			 "restart ckvd to empty this one" : "; use another space");
	return -EINVAL;
}

static uint64_t fingerprint(const struct host *host)
{
	return XXH3_64bits(&host->geometry, sizeof host->geometry);
}

void weights_init(struct host *host)
{
	host->geometry = host->config->geometry;
	host->weights_known = host->config->params.weights[0] != 0;
	space_set_fingerprint(host->space, fingerprint(host));
}

/* May the next one name them anew? */
static bool is_free(const struct daemon *d, uint32_t space)
{
	const struct host *host = &d->host[space];

	if (host->config->params.weights[0] != 0 ||
	    !space_is_empty(host->space))
		return false;
	for (uint32_t i = 0; i < d->n_clients_max; i++) {
		const struct attachment *a = &d->client[i].attached[space];

		if (a->access != 0 && a->holds_weights)
			return false;
	}
	return true;
}

static void name_them(struct daemon *d, uint32_t space,
		      const uint8_t weights[CKV_WEIGHTS_BYTES])
{
	struct host *host = &d->host[space];
	char text[SHOWN_TEXT];

	if (host->weights_known &&
	    memcmp(host->geometry.weights, weights, CKV_WEIGHTS_BYTES) == 0)
		return;
	memcpy(host->geometry.weights, weights, CKV_WEIGHTS_BYTES);
	host->weights_known = true;
	space_set_fingerprint(host->space, fingerprint(host));
	stats_weights(d, space);
	show(weights, CKV_WEIGHTS_BYTES, text);
	log_limited(LOG_INFO, d->now_ns, "space %s: weights are %s",
		    host->config->name, text);
}

int weights_attach(struct daemon *d, uint32_t space, const struct ckv_attach *attach,
		   char text[232], bool *ret_named)
{
	const struct host *host = &d->host[space];
	bool same = attach->any_geometry == CKV_WANT_SAME;
	bool writes = attach->access == CKV_ACCESS_WRITE;
	bool reads = attach->access == CKV_ACCESS_READ;

	if (is_free(d, space)) {
		if (writes || (reads && same))
			name_them(d, space, same ? attach->geometry.weights :
						   zeros);
	} else if (same && memcmp(host->geometry.weights,
				  attach->geometry.weights,
				  CKV_WEIGHTS_BYTES) != 0) {
		return differ(host, attach->geometry.weights, text);
	}
	*ret_named = writes || (reads && same);
	return 0;
}
