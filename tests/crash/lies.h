/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lies.h - what the liars of crash_liar.c do.
 */
#ifndef CKV_TESTS_LIES_H
#define CKV_TESTS_LIES_H

#include "tests/crash/raw.h"

struct lie {
	const char *name;
	void (*tell)(struct raw_lane *lane);	/* ends its process: 0 as it should */
	int signal;				/* it is expected to die of, or 0 */
};

extern const struct lie lies[];
extern const unsigned n_lies;

/* Set before a lie is told: a page lent to another client, the daemon's socket. */
extern struct ckv_page_name lies_foreign_page;
extern const char *lies_socket;

/* Put a request that must cost the lane, and end the process. */
void lies_lose(struct raw_lane *lane, struct ckv_req request);

/* lies_attach.c */
void another_identity(struct raw_lane *lane);

/* lies_views.c */
void compress_reserved(struct raw_lane *lane);
void compress_foreign_page(struct raw_lane *lane);
void compress_page_beyond(struct raw_lane *lane);
void compress_wrong_fields(struct raw_lane *lane);
void compress_moving_inputs(struct raw_lane *lane);

/* lies_waits.c */
void prefetch_wrong_fields(struct raw_lane *lane);
void waits_of_one_tag(struct raw_lane *lane);

/* lies_pages.c */
void page_not_lent(struct raw_lane *lane);
void page_of_another(struct raw_lane *lane);
void page_of_another_time(struct raw_lane *lane);
void publish_reserved(struct raw_lane *lane);
void page_beyond_pool(struct raw_lane *lane);
void page_of_no_level(struct raw_lane *lane);
void name_reserved(struct raw_lane *lane);
void reserve_reserved(struct raw_lane *lane);
void reserve_at_no_level(struct raw_lane *lane);

#endif
