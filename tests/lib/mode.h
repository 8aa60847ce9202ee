/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mode.h - what a machine may lack, taken away from a test's own daemon.
 *
 * $CKV_TEST_MODE is one of
 *   no-io_uring   io_uring_setup() answers EPERM, as in many containers
 *   no-huge       huge_pages = no
 *   no-peerpidfd  sockets know neither SO_PEERPIDFD nor SO_PASSRIGHTS, as before Linux 6.5
 *   memlock       8 MiB of lockable memory, and no right to lock more
 */
#ifndef CKV_TEST_MODE_H
#define CKV_TEST_MODE_H

/* Lines for [daemon]. */
const char *test_mode_params(void);

/* In the child, before it becomes the daemon. Ends it when that is impossible. */
void test_mode_enter(void);

#endif
