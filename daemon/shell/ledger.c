/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.c - see ledger.h. */
#include "daemon/shell/ledger.h"
#include "daemon/shell/sys.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* Rows that are not taken: a stack, in the order in which they are taken. */
struct unused {
	uint32_t n;
	uint32_t *row;
};

struct ledger {
	struct memory memory;
	struct ckv_ledger_head *head;
	struct unused unused[LEDGER_KINDS];
};

static const struct {
	uint32_t n_rows;
	size_t row_bytes;
} shape[LEDGER_KINDS] = {
	[LEDGER_SPACE] = { CKV_LEDGER_SPACES, sizeof(struct ckv_ledger_space) },
	[LEDGER_CLIENT] = { CKV_LEDGER_CLIENTS, sizeof(struct ckv_ledger_client) },
	[LEDGER_LANE] = { CKV_LEDGER_LANES, sizeof(struct ckv_ledger_lane) },
};

static size_t offset_of(enum ledger_kind kind, uint32_t row)
{
	size_t offset = kind == LEDGER_SPACE ? CKV_LEDGER_SPACES_OFFSET :
			kind == LEDGER_CLIENT ? CKV_LEDGER_CLIENTS_OFFSET :
			CKV_LEDGER_LANES_OFFSET;

	assert(row < shape[kind].n_rows);
	return offset + row * shape[kind].row_bytes;
}

static struct ckv_ledger_mark *mark_of(const struct ledger *l, enum ledger_kind kind,
				       uint32_t row)
{
	return (void *)((char *)l->memory.base + offset_of(kind, row));
}

/* Seeded with the row's place, so that a row in the place of another is damage. */
static uint64_t seal_of(const struct ckv_ledger_mark *mark, enum ledger_kind kind,
			uint32_t row)
{
	return XXH3_64bits_withSeed(mark + 1, shape[kind].row_bytes - sizeof *mark,
				    offset_of(kind, row));
}

uint32_t ledger_rows(enum ledger_kind kind)
{
	return shape[kind].n_rows;
}

enum ledger_state ledger_state(const struct ledger *l, enum ledger_kind kind,
			       uint32_t row)
{
	const struct ckv_ledger_mark *mark = mark_of(l, kind, row);
	uint32_t state = ckv_state_load32(&mark->state);

	if (state == 0)
		return LEDGER_FREE;
	return state == CKV_LEDGER_USED && mark->zero == 0 &&
	       mark->seal == seal_of(mark, kind, row) ? LEDGER_RIGHT : LEDGER_DAMAGED;
}

const struct ckv_ledger_space *ledger_space(const struct ledger *l, uint32_t row)
{
	return (const void *)mark_of(l, LEDGER_SPACE, row);
}

const struct ckv_ledger_client *ledger_client(const struct ledger *l, uint32_t row)
{
	return (const void *)mark_of(l, LEDGER_CLIENT, row);
}

const struct ckv_ledger_lane *ledger_lane(const struct ledger *l, uint32_t row)
{
	return (const void *)mark_of(l, LEDGER_LANE, row);
}

/* The lowest rows are taken first, so that most of the memory of a new one is never touched. */
static int list_unused(struct ledger *l, bool is_new)
{
	int r;

	for (int k = 0; k < LEDGER_KINDS; k++) {
		struct unused *u = &l->unused[k];

		r = sys_alloc(shape[k].n_rows, sizeof u->row[0], &u->row);
		if (r < 0)
			return r;
		for (uint32_t i = shape[k].n_rows; i-- > 0; )
			if (is_new || ckv_state_load32(&mark_of(l, k, i)->state) == 0)
				u->row[u->n++] = i;
	}
	return 0;
}

static int make(struct memory *memory, bool is_new, struct ledger **ret_ledger)
{
	struct ledger *l;
	int r = sys_alloc(1, sizeof *l, &l);

	if (r < 0)
		return r;
	l->memory = *memory;
	l->head = memory->base;
	r = list_unused(l, is_new);
	if (r < 0) {
		l->memory = (struct memory){ .fd = -1 };
		ledger_destroy(l);
		return r;
	}
	*ret_ledger = l;
	return 0;
}

int ledger_create(struct ledger **ret_ledger)
{
	struct ckv_ledger_head head = {
		.magic = CKV_LEDGER_MAGIC, .layout_version = CKV_LAYOUT_VERSION,
		.n_spaces = CKV_LEDGER_SPACES, .n_clients = CKV_LEDGER_CLIENTS,
		.n_lanes = CKV_LEDGER_LANES,
	};
	struct memory memory;
	int r = memory_create("ckv-ledger", CKV_LEDGER_BYTES, MEMORY_KEPT, &head,
			      sizeof head, &memory);

	if (r < 0)
		return r;
	r = make(&memory, true, ret_ledger);
	if (r < 0)
		memory_destroy(&memory);
	return r;
}

static int compare(const struct ckv_ledger_head *head, char text[128])
{
	const struct {
		const char *what;
		uint32_t theirs, ours;
	} row[] = {
		{ "first word", head->magic, CKV_LEDGER_MAGIC },
		{ "memory layout version", head->layout_version, CKV_LAYOUT_VERSION },
		{ "number of space rows", head->n_spaces, CKV_LEDGER_SPACES },
		{ "number of client rows", head->n_clients, CKV_LEDGER_CLIENTS },
		{ "number of lane rows", head->n_lanes, CKV_LEDGER_LANES },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		if (row[i].theirs == row[i].ours)
			continue;
		snprintf(text, 128, "its ledger has %s %u, this one %u", row[i].what,
			 row[i].theirs, row[i].ours);
		return -EINVAL;
	}
	return 0;
}

int ledger_adopt(int fd, struct ledger **ret_ledger, char text[128])
{
	struct memory memory;
	struct ckv_ledger_head head;
	int r = sys_seals(fd);

	/* What is no memory may not be read, or be read for ever. */
	if (r == -EINVAL)
		snprintf(text, 128, "its ledger is no memory");
	if (r < 0)
		return r;
	/* The head first, since the size may differ because the layout does. */
	r = (int)sys_pread(fd, &head, sizeof head, 0);
	if (r == (int)sizeof head) {
		r = compare(&head, text);
		if (r == 0)
			r = memory_check(fd, CKV_LEDGER_BYTES);
		if (r == -EINVAL && text[0] == 0)
			snprintf(text, 128, "its ledger is not sealed, or of another size "
				 "or user");
	} else if (r >= 0) {
		snprintf(text, 128, "its ledger is cut");
		r = -EINVAL;
	}
	if (r == 0)
		r = memory_adopt(fd, CKV_LEDGER_BYTES, &memory);
	if (r < 0)
		return r;
	r = make(&memory, false, ret_ledger);
	if (r < 0)
		sys_unmap(memory.base, memory.bytes);
	return r;
}

void ledger_destroy(struct ledger *l)
{
	if (l == NULL)
		return;
	for (int k = 0; k < LEDGER_KINDS; k++)
		sys_free(l->unused[k].row);
	memory_destroy(&l->memory);
	sys_free(l);
}

int ledger_fd(const struct ledger *l)
{
	return l->memory.fd;
}

bool ledger_is_valid(const struct ledger *l)
{
	return ckv_state_load32(&l->head->state) == CKV_LEDGER_USED;
}

void ledger_set_valid(struct ledger *l, bool valid)
{
	ckv_state_store32(&l->head->state, valid ? CKV_LEDGER_USED : 0);
}

uint64_t ledger_epoch(const struct ledger *l)
{
	return ckv_hint_load64(&l->head->epoch);
}

void ledger_set_epoch(struct ledger *l, uint64_t epoch)
{
	ckv_hint_store64(&l->head->epoch, epoch);
}

uint64_t ledger_next_serial(const struct ledger *l)
{
	return ckv_hint_load64(&l->head->next_serial);
}

void ledger_set_next_serial(struct ledger *l, uint64_t next)
{
	ckv_hint_store64(&l->head->next_serial, next);
	ckv_kill_fence();
}

uint32_t ledger_take(struct ledger *l, enum ledger_kind kind)
{
	struct unused *u = &l->unused[kind];

	return u->n == 0 ? CKV_NONE : u->row[--u->n];
}

void ledger_write(struct ledger *l, enum ledger_kind kind, uint32_t row,
		  const void *content)
{
	struct ckv_ledger_mark *mark = mark_of(l, kind, row);

	ledger_clear(l, kind, row);
	memcpy(mark + 1, (const struct ckv_ledger_mark *)content + 1,
	       shape[kind].row_bytes - sizeof *mark);
	mark->zero = 0;
	mark->seal = seal_of(mark, kind, row);
	ckv_state_store32(&mark->state, CKV_LEDGER_USED);
}

void ledger_clear(struct ledger *l, enum ledger_kind kind, uint32_t row)
{
	ckv_state_store32(&mark_of(l, kind, row)->state, 0);
	ckv_kill_fence();
}

void ledger_give(struct ledger *l, enum ledger_kind kind, uint32_t row)
{
	struct unused *u = &l->unused[kind];

	if (row == CKV_NONE)
		return;
	ledger_clear(l, kind, row);
	assert(u->n < shape[kind].n_rows);
	u->row[u->n++] = row;
}
