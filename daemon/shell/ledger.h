/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger.h - note for a later daemon what there is: spaces, clients, lanes.
 *
 * What a row means, and when it counts: proto/ckv_ledger.h. A row is named by its number.
 */
#ifndef CKV_LEDGER_SHELL_H
#define CKV_LEDGER_SHELL_H

#include "daemon/shell/memory.h"
#include "proto/ckv_ledger.h"

#include <stdbool.h>

enum ledger_kind { LEDGER_SPACE, LEDGER_CLIENT, LEDGER_LANE, LEDGER_KINDS };

/* What a row is; DAMAGED: neither free nor right. */
enum ledger_state { LEDGER_FREE, LEDGER_RIGHT, LEDGER_DAMAGED };

struct ledger;

/* A new, empty one. -errno: nothing is left behind. */
int ledger_create(struct ledger **ret_ledger);
/*
 * That of an earlier daemon, from a descriptor that it takes. -EINVAL: it is none, or of
 * another layout, and `text` says how it differs; -errno of a call.
 */
int ledger_adopt(int fd, struct ledger **ret_ledger, char text[128]);
void ledger_destroy(struct ledger *ledger);	/* the memory's content stays; NULL is allowed */
int ledger_fd(const struct ledger *ledger);

/* Can a successor use what is held? A daemon that can no longer see to that says no. */
bool ledger_is_valid(const struct ledger *ledger);
void ledger_set_valid(struct ledger *ledger, bool valid);

uint64_t ledger_epoch(const struct ledger *ledger);
void ledger_set_epoch(struct ledger *ledger, uint64_t epoch);
/* No serial that was given so far is as high. */
uint64_t ledger_next_serial(const struct ledger *ledger);
void ledger_set_next_serial(struct ledger *ledger, uint64_t next);

uint32_t ledger_rows(enum ledger_kind kind);
enum ledger_state ledger_state(const struct ledger *ledger, enum ledger_kind kind,
			       uint32_t row);
/* A row as it is; its caller knows its state. */
const struct ckv_ledger_space *ledger_space(const struct ledger *ledger, uint32_t row);
const struct ckv_ledger_client *ledger_client(const struct ledger *ledger, uint32_t row);
const struct ckv_ledger_lane *ledger_lane(const struct ledger *ledger, uint32_t row);

/* Take a free row, which stays free in the ledger until it is written; CKV_NONE: there is none. */
uint32_t ledger_take(struct ledger *ledger, enum ledger_kind kind);
/* Write a row that was taken, or one anew. `content` is the row's struct, but for its mark. */
void ledger_write(struct ledger *ledger, enum ledger_kind kind, uint32_t row,
		  const void *content);
/* It is free in the ledger, but still taken: before its descriptor goes. */
void ledger_clear(struct ledger *ledger, enum ledger_kind kind, uint32_t row);
/* Clear it and give it back; CKV_NONE is allowed. */
void ledger_give(struct ledger *ledger, enum ledger_kind kind, uint32_t row);

#endif
