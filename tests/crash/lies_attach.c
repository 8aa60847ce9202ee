/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lies_attach.c - lies about what a page means, told when a space is attached.
 */
#include "tests/crash/lies.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* On a connection of its own: is it refused, with EINVAL and a reason? */
static int is_refused(const struct ckv_attach *attach)
{
	union {
		struct ckv_refused refused;
		char bytes[CKV_CONTROL_BYTES_MAX];
	} reply;
	int fd = raw_connect(lies_socket), fds[CKV_FDS_MAX];
	uint32_t n = 0;
	int ok;

	ok = raw_hello(fd, getpid(), CKV_LAYOUT_VERSION, &reply) == CKV_WELCOME &&
	     raw_send(fd, attach, sizeof *attach, NULL, 0) == 0 &&
	     raw_receive(fd, &reply, sizeof reply, fds, &n) > 0 &&
	     reply.refused.head.type == CKV_REFUSED && n == 0 &&
	     reply.refused.error == EINVAL && reply.refused.text[0] != 0;
	close(fd);
	return ok;
}

/*
 * Names other weights than those of the pages that are there, to write or to read,
 * a model without an end, a layout of its own, and what is no way of wanting.
 */
void another_identity(struct raw_lane *lane)
{
	const struct ckv_attach same = { .space = "tiny", .access = CKV_ACCESS_READ,
					 .geometry = lane->raw->space.geometry };

	for (uint32_t i = 0; i < 100; i++) {
		struct ckv_attach lie = same;

		lie.access += i & 1;
		switch (i % 5) {
		case 0:
			lie.geometry.weights[i % CKV_WEIGHTS_BYTES] ^= 1;
			break;
		case 1:
			memset(lie.geometry.model, 'm', sizeof lie.geometry.model);
			break;
		case 2:
			lie.geometry.layout += 1 + i;
			break;
		case 3:
			lie.any_geometry = 3 + i;
			break;
		default:
			lie.geometry.opaque_bytes = UINT64_MAX - i;
		}
		raw_head(&lie, CKV_ATTACH, sizeof lie, 0);
		if (!is_refused(&lie))
			_exit(1);
	}
	_exit(0);
}
