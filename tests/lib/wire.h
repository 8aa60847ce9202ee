/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - control messages by hand, for tests that send what no library would.
 *
 * Each function ends the test when it fails.
 */
#ifndef CKV_TEST_WIRE_H
#define CKV_TEST_WIRE_H

#include "proto/ckv_attach.h"
#include "tests/lib/daemon.h"

union wire {
	struct ckv_control_head head;
	struct ckv_hello hello;
	struct ckv_attach attach;
	struct ckv_attached attached;
	struct ckv_welcome welcome;
	struct ckv_lane_open lane_open;
	struct ckv_lane_opened lane_opened;
	struct ckv_lane_close lane_close;
	struct ckv_control_id id;
	struct ckv_refused refused;
	char all[1024];
};

/* A daemon with few places and little patience, which logs everything. */
void wire_daemon_start(struct test_daemon *daemon);

int wire_dial(const struct test_daemon *daemon);	/* connected, nothing said */
void wire_send(int fd, const void *bytes, size_t n_bytes, const int *fds,
	       uint32_t n_fds);
void wire_head(union wire *m, uint16_t type, size_t bytes, uint32_t n_fds);

/*
 * The next message within five seconds: its type, 0 when the daemon hung up. Up to 4 of
 * its descriptors to fds (may be NULL).
 */
int wire_hear(int fd, union wire *m, int *fds);

/* HELLO and WELCOME; fds: world, global stats. Returns the daemon's epoch. */
uint64_t wire_hello(int fd, int *fds);

#endif
