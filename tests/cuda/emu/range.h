/* SPDX-License-Identifier: Apache-2.0 */
/* range.h - which addresses mean something to the emulated devices. With emu_lock. */
#ifndef CKV_EMU_RANGE_H
#define CKV_EMU_RANGE_H

#include "emu.h"

struct memory;

enum range_kind {
	RANGE_RESERVED,		/* cuMemAddressReserve */
	RANGE_MAPPED,		/* cuMemMap, within reserved ones */
	RANGE_REGISTERED,	/* cuMemHostRegister */
	RANGE_ALLOCATED,	/* cuMemAlloc */
};

struct range {
	struct range *next;
	enum range_kind kind;
	CUdeviceptr at;
	size_t bytes;
	struct memory *memory;	/* of a mapped one */
	int device;		/* of an allocated one */
	void *base;		/* of an allocated one: what was mapped, whole_bytes of it */
	size_t whole_bytes;
};

extern struct range *ranges;

/* The first range of a kind that has a byte in common, or NULL. */
struct range *range_meeting(enum range_kind kind, CUdeviceptr at, size_t bytes);

/* Do ranges of a kind, end to end, make up all of it? */
int range_made_up(enum range_kind kind, CUdeviceptr at, size_t bytes);

/* NULL where there is no memory for it. */
struct range *range_add(enum range_kind kind, CUdeviceptr at, size_t bytes);
void range_remove(struct range *r);

#endif
