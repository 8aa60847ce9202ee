/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.h - a client of a test's daemon, in one call.
 */
#ifndef CKV_TESTS_ATTACH_H
#define CKV_TESTS_ATTACH_H

#include "client/ckv.h"
#include "tests/lib/daemon.h"

/*
 * Connect, attach to the space "tiny" to read and write, and open a lane. Fails the test
 * when one of them is refused. The caller gives it all back with ckv_close().
 */
void test_attach(const struct test_daemon *daemon, struct ckv **ret_ckv,
		 struct ckv_space **ret_space, struct ckv_lane **ret_lane);

#endif
