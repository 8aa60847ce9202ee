/* SPDX-License-Identifier: Apache-2.0 */
/* range.c - see range.h. */
#include "range.h"

#include <stdlib.h>

struct range *ranges;

struct range *range_meeting(enum range_kind kind, CUdeviceptr at, size_t bytes)
{
	struct range *r = ranges;

	while (r != NULL && (r->kind != kind || at >= r->at + r->bytes || r->at >= at + bytes))
		r = r->next;
	return r;
}

int range_made_up(enum range_kind kind, CUdeviceptr at, size_t bytes)
{
	CUdeviceptr end = at + bytes;

	while (at < end) {
		struct range *r = range_meeting(kind, at, 1);

		if (r == NULL)
			return 0;
		at = r->at + r->bytes;
	}
	return 1;
}

struct range *range_add(enum range_kind kind, CUdeviceptr at, size_t bytes)
{
	struct range *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	*r = (struct range){ .next = ranges, .kind = kind, .at = at, .bytes = bytes };
	ranges = r;
	return r;
}

void range_remove(struct range *r)
{
	struct range **at = &ranges;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	free(r);
}

int emu_is_pinned(CUdeviceptr at, size_t bytes)
{
	int r;

	pthread_mutex_lock(&emu_lock);
	r = range_meeting(RANGE_RESERVED, at, 1) != NULL ||
	    range_meeting(RANGE_ALLOCATED, at, 1) != NULL ||
	    range_made_up(RANGE_REGISTERED, at, bytes);
	pthread_mutex_unlock(&emu_lock);
	return r;
}
