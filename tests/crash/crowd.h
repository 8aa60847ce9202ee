/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crowd.h - many clients on libckv that store, find and verify all the time.
 *
 * Each worker is a process. It takes random chains from a small set, so all of them
 * meet on the same keys: what is there is verified byte by byte while it is
 * pinned, what is missing is written. Contents are a function of the key.
 */
#ifndef CKV_TESTS_CROWD_H
#define CKV_TESTS_CROWD_H

#include "client/ckv.h"
#include "tests/crash/raw.h"
#include "tests/lib/daemon.h"

enum { CROWD_MAX = 8, CROWD_CHAINS = 40, CROWD_DEPTH = 6 };

struct crowd {			/* in memory shared with the workers */
	_Atomic uint64_t n_rounds[CROWD_MAX];	/* of each, that found or wrote */
	_Atomic uint64_t n_verified, n_written, n_bad;
	_Atomic uint32_t hold[CROWD_MAX];	/* ask a worker to hold its next pin */
	_Atomic uint32_t holding[CROWD_MAX];	/* it does; the chain it holds + 1 */
	pid_t pid[CROWD_MAX];
	int n;
};

struct crowd *crowd_create(int n);
void crowd_destroy(struct crowd *crowd);

/* Start worker i (again). */
void crowd_start(struct crowd *crowd, int i, const struct test_daemon *daemon);

/* SIGKILL and wait. */
void crowd_kill(struct crowd *crowd, int i);

/* Rounds of all workers but `except`; wait until n more were done, or fail: 0. */
uint64_t crowd_rounds(const struct crowd *crowd, int except);
int crowd_advances(const struct crowd *crowd, int except, uint64_t n);

/* The keys of a chain, CROWD_DEPTH of them. */
void crowd_keys(uint32_t chain, struct ckv_key *ret_keys);

/* Descriptors a process has open. */
uint64_t process_fds(pid_t pid);

#endif
