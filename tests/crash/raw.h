/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw.h - a client made by hand over proto/, for tests that must break rules.
 *
 * It attaches as it should; after that the test may write into every field. Nothing here
 * uses libckv. Functions that say "ends the process" print what failed and exit with
 * RAW_BROKEN, so a child that could not do its work does not look like a success.
 */
#ifndef CKV_TESTS_RAW_H
#define CKV_TESTS_RAW_H

#include "proto/ckv_attach.h"
#include "proto/ckv_ops.h"
#include "proto/ckv_pin.h"
#include "proto/ckv_stats.h"

#include <sys/types.h>

enum { RAW_BROKEN = 99, RAW_WAIT_MS = 5000, RAW_SLABS_MAX = 64 };

struct raw {
	int fd;				/* the control socket */
	struct ckv_world *world;
	void *stats;			/* global stats memory */
	size_t stats_bytes;
	uint64_t epoch;
	/* the one space that is attached */
	struct ckv_attached space;
	struct ckv_index index;
	struct ckv_space_stats *space_stats;
	char *read_base;		/* the pool, read-only */
	char *write_slab[RAW_SLABS_MAX]; /* mapped when lent first, else NULL */
};

struct raw_lane {
	struct raw *raw;
	uint64_t serial;
	struct ckv_lane_shape shape;
	struct ckv_lane_map map;
	char *c, *d;
	struct ckv_c_head *c_head;
	struct ckv_d_head *d_head;
	struct ckv_ring_end requests, completions;
	int eventfd;
	uint64_t tag;
};

/* Connected, nothing said. -errno. */
int raw_connect(const char *socket_path);

/* One packet, with descriptors. 0 or -errno. */
int raw_send(int fd, const void *bytes, size_t n_bytes, const int *fds,
	     uint32_t n_fds);

/* One packet within RAW_WAIT_MS: its bytes, 0 at the end, -errno. fds[CKV_FDS_MAX]. */
ssize_t raw_receive(int fd, void *bytes, size_t max, int *fds, uint32_t *ret_n_fds);

void raw_head(void *message, uint16_t type, size_t bytes, uint32_t n_fds);

/* HELLO as `pid` with the pidfd of it; the reply into *ret (512 bytes). Its type. */
int raw_hello(int fd, pid_t pid, uint32_t layout_version, void *ret);

/* Connect, HELLO, attach `space` to write, open a lane. Ends the process. */
void raw_open(struct raw *raw, const char *socket_path);
void raw_attach(struct raw *raw, const char *space, uint32_t access);
void raw_lane_open(struct raw *raw, struct raw_lane *lane);

/* A lane of a shape; a field of 0: the daemon's default. 0, or why it was refused. */
int raw_lane_ask(struct raw *raw, struct raw_lane *lane,
		 const struct ckv_lane_shape *shape);
void raw_lane_close(struct raw_lane *lane);

/* Unmap everything and hang up; the lanes are closed or dead. */
void raw_close(struct raw *raw);

/* Put a request as it is (its sequence number is made right) and knock. */
int raw_put(struct raw_lane *lane, const struct ckv_req *request);
void raw_knock(struct raw_lane *lane);

/* Wait for one completion: 0; -ETIMEDOUT; -ECONNABORTED the lane was closed. */
int raw_take(struct raw_lane *lane, struct ckv_comp *ret);

/* A whole request at argument offset 0: its result, or as raw_take(). */
int raw_request(struct raw_lane *lane, uint8_t op, uint8_t flags,
		const void *arg, uint32_t arg_bytes, uint32_t n,
		void *ret_answer, uint32_t answer_bytes);

/* Why the lane was closed, within RAW_WAIT_MS; 0 if it was not. */
uint32_t raw_closed(struct raw_lane *lane);

/* Reserve one key under a parent (NULL: root): lent->status. */
int raw_reserve(struct raw_lane *lane, const struct ckv_key *parent,
		const struct ckv_key *key, struct ckv_lent *lent);

/* Reserve n pages without keys: how many, lent[n]. */
/* How it is named in requests. */
struct ckv_page_name raw_name(const struct raw *raw, const struct ckv_lent *lent);

int raw_reserve_scratch(struct raw_lane *lane, uint32_t n, struct ckv_lent *lent);

/* Where a lent page is written, where any page is read. */
void *raw_page_write(struct raw_lane *lane, uint32_t page);
const void *raw_page_read(const struct raw *raw, uint32_t page);

/* What belongs into the page of a key; and is it there? */
void page_fill(const struct ckv_key *key, void *page, size_t bytes);
bool page_is_right(const struct ckv_key *key, const void *page, size_t bytes);

struct ckv_key raw_key(uint64_t a, uint64_t b);

/* Reserve, fill, publish. 0, or the status that says why not. */
int raw_store(struct raw_lane *lane, const struct ckv_key *parent,
	      const struct ckv_key *key);

/*
 * Find, pin in word 0, judge the page, unpin: 1 found and right, 0 missed, -1 wrong
 * contents. raw_check() is for blocks that raw_store() wrote.
 */
typedef bool raw_right(const struct raw *raw, const struct ckv_block *block,
		       const void *page);
int raw_judge(struct raw_lane *lane, const struct ckv_key *key, raw_right *right);
int raw_check(struct raw_lane *lane, const struct ckv_key *key);

void raw_nap(void);

#define RAW_GLOBAL(raw, name) \
	ckv_hint_load64(&ckv_stats_global((raw)->stats)->name)
#define RAW_SPACE(raw, name) ckv_hint_load64(&(raw)->space_stats->name)

#endif
