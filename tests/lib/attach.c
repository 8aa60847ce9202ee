/* SPDX-License-Identifier: Apache-2.0 */
/* attach.c - see attach.h. */
#include "tests/lib/attach.h"

#include <check.h>

void test_attach(const struct test_daemon *daemon, struct ckv **ret_ckv,
		 struct ckv_space **ret_space, struct ckv_lane **ret_lane)
{
	ck_assert_int_eq(ckv_open(daemon->socket, "test", ret_ckv), 0);
	ck_assert_int_eq(ckv_attach(*ret_ckv, "tiny", NULL, CKV_WRITE, ret_space), 0);
	ck_assert_int_eq(ckv_lane_open(*ret_space, NULL, ret_lane), 0);
}
