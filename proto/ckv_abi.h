/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_abi.h - what every shared structure is built from.
 *
 * All shared memory is little-endian and made of fixed-size fields at pinned
 * offsets. A change of any offset, size or meaning raises CKV_LAYOUT_VERSION;
 * two builds that differ in it refuse each other at attach.
 */
#ifndef CKV_ABI_H
#define CKV_ABI_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define CKV_PROTOCOL_VERSION	5u	/* messages on the control socket */
#define CKV_LAYOUT_VERSION	6u	/* every mapped structure */

#define CKV_LINE		64u	/* bytes of one cache line */
#define CKV_PIECE_BYTES		4096u	/* unit of page size and checksum */
#define CKV_HUGE_BYTES		(2u << 20)
#define CKV_KEY_BYTES		32u
#define CKV_NAME_BYTES		64u	/* names, with their final zero */
#define CKV_METHOD_BYTES	256u	/* a method string, with its zero */
#define CKV_NONE		UINT32_MAX /* no page, no slot, no parent, no lane */

/* Refuse to compile if a shared field is not at this offset and of this size. */
#define CKV_AT(type, field, offset, size)				\
	_Static_assert(offsetof(type, field) == (offset) &&		\
		       sizeof(((type *)0)->field) == (size),		\
		       #type "." #field " moved")
#define CKV_SIZE(type, size)						\
	_Static_assert(sizeof(type) == (size), #type " changed size")

/* An atomic that is made with a lock would use a lock of its own process only. */
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
	       "shared atomics must be lock-free");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "shared memory is little-endian");

/*
 * Where a block's page is, the fastest last. No block is nearer than its parent, so along
 * a chain the level never rises. Today every published block and view is CKV_LEVEL_HOST.
 */
enum ckv_level {
	CKV_LEVEL_NONE	 = 0,	/* free, or reserved and not yet published */
	CKV_LEVEL_REMOTE = 1,
	CKV_LEVEL_DISK	 = 2,
	CKV_LEVEL_HOST	 = 3,
	CKV_LEVEL_DEVICE = 4,
};
#define CKV_LEVELS 5

enum ckv_dtype {
	CKV_DTYPE_F32	  = 1,
	CKV_DTYPE_F16	  = 2,
	CKV_DTYPE_BF16	  = 3,
	CKV_DTYPE_F8_E4M3 = 4,
};

struct ckv_key {
	uint8_t byte[CKV_KEY_BYTES];
};
CKV_SIZE(struct ckv_key, 32);

static inline size_t ckv_round_up(size_t n, size_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* Bytes of one element, 0 for a number that names no type. */
static inline uint32_t ckv_dtype_bytes(uint32_t dtype)
{
	switch (dtype) {
	case CKV_DTYPE_F32:	return 4;
	case CKV_DTYPE_F16:
	case CKV_DTYPE_BF16:	return 2;
	case CKV_DTYPE_F8_E4M3:	return 1;
	default:		return 0;
	}
}

#endif
