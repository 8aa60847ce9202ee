/* SPDX-License-Identifier: Apache-2.0 */
/* daemon.h - a private ckvd for the benchmark, and a client attached to it. */
#ifndef BENCH_DAEMON_H
#define BENCH_DAEMON_H

#include "client/ckv.h"
#include "tests/bench/bench.h"

#include <sys/types.h>

struct bench_daemon {
	bool  kept;		/* given: it gets a keeper, whose process this is: */
	pid_t pid;		/* 0: not running */
	char  socket[128];
	char  log[128];		/* what it wrote to stderr */
};

/*
 * Start ckvd with one space, "bench": `pool_bytes` of pages of 4 KiB (small) or
 * 2 MiB. False: it did not come up, and *ret_why says why.
 */
bool daemon_start(struct bench *b, struct bench_daemon *d, bool small_pages,
		  uint64_t pool_bytes, const char **ret_why);

/* The same with other sections, which daemon_space() writes. */
bool daemon_start_with(struct bench *b, struct bench_daemon *d,
		       const char *spaces, const char **ret_why);
void daemon_space(char *text, size_t size, const char *name, bool small_pages,
		  uint64_t pool_bytes);

/* Which process answers at the socket, 0: none. */
pid_t daemon_pid(const struct bench_daemon *d);

/* SIGTERM and wait. */
void daemon_stop(struct bench_daemon *d);

/* Open, attach "bench" for writing, and open a lane with n_pins pins. */
int daemon_attach(const struct bench_daemon *d, uint32_t n_pins,
		  struct ckv **ret_ckv, struct ckv_space **ret_space,
		  struct ckv_lane **ret_lane);

/*
 * Publish blocks of the chain `keys` in batches, pages not filled, checksums
 * given. 0, or the first -errno.
 */
int publish_chain(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys);

#endif
