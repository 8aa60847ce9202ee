/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_ring.c - two clients that write anything anywhere in their segments.
 *
 * An input is a list of steps: raw bytes into slots, pin words, touches, credits
 * and the argument area, now and then a decent request, and turns of the
 * daemon between them.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/served.h"

#include <stdlib.h>

/* A slot as it comes, whose sequence number is mostly the expected one. */
static void put_raw(struct served *s, int i, struct fuzz_input *in)
{
	struct ckv_req request = { .n = 0 };

	fuzz_take(in, &request, sizeof request);
	served_put(s, i, &request);
}

static void poke(struct served *s, int i, struct fuzz_input *in)
{
	uint32_t at = fuzz_u16(in) % (uint32_t)s->map.c_bytes;
	uint8_t bytes = fuzz_u8(in);

	if (bytes > s->map.c_bytes - at)
		bytes = (uint8_t)(s->map.c_bytes - at);
	fuzz_take(in, s->end[i].c + at, bytes);
}

static void hot_word(struct served *s, int i, struct fuzz_input *in)
{
	struct ckv_c_head *head = s->end[i].head;
	_Atomic uint32_t *word[] = {
		&head->comp_credit, &head->pin_high, &head->touch_tail,
		&head->need_wake, &head->event_arm,
	};
	uint8_t which = fuzz_u8(in);

	if (which % 6 == 5)
		ckv_hint_store64(&head->count[which / 6 % 16], fuzz_u32(in));
	else
		ckv_hint_store32(word[which % 6], fuzz_u32(in));
}

static void pin(struct served *s, int i, struct fuzz_input *in)
{
	uint32_t w = fuzz_u8(in) % s->lane[i].shape.n_pins;
	_Atomic uint64_t *pins = (void *)(s->end[i].c + s->map.pins);
	uint64_t slot = fuzz_u16(in);

	ckv_hint_store64(&pins[w], slot << 32 | fuzz_u16(in));
	if (ckv_hint_load32(&s->end[i].head->pin_high) <= w)
		ckv_hint_store32(&s->end[i].head->pin_high, w + 1);
}

/* The k-th item of a list: pages as they were lent last, or keys. */
static uint32_t put_item(struct served *s, uint8_t op, uint32_t k, char *args)
{
	struct ckv_publish_item item = { .name = core_last_name(&s->core, k % 256),
					 .n_tokens = CORE_TOKENS };
	struct ckv_key key = core_key(k % 64);

	switch (op) {
	case CKV_OP_ABORT:
		memcpy(args, &item.name, sizeof item.name);
		return sizeof item.name;
	case CKV_OP_PUBLISH:
		memcpy(args, &item, sizeof item);
		return sizeof item;
	default:
		memcpy(args, &key, sizeof key);
		return sizeof key;
	}
}

static uint32_t put_reserve(uint32_t parent, char *args)
{
	struct ckv_reserve_arg arg = { .parent = core_key(parent % 64),
				       .level = CKV_LEVEL_HOST };

	memcpy(args, &arg, sizeof arg);
	return sizeof arg;
}

/* A chain of keys under a parent, or pages 0, 1, 2 ...: what a client sends. */
static void put_decent(struct served *s, int i, struct fuzz_input *in)
{
	static const uint8_t op[] = { CKV_OP_RESERVE, CKV_OP_PUBLISH,
				      CKV_OP_ABORT, CKV_OP_DROP };
	uint32_t from = fuzz_u8(in), n = fuzz_u8(in) % 16;
	char *args = s->end[i].c + s->map.args;
	struct ckv_req request = { .op = op[fuzz_u8(in) % 4], .n = n };

	if (request.op == CKV_OP_RESERVE)
		request.arg_bytes = put_reserve(from++, args);
	for (uint32_t k = 0; k < n; k++)
		request.arg_bytes += put_item(s, request.op, from + k,
					      args + request.arg_bytes);
	served_put(s, i, &request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct served *s = malloc(sizeof *s);
	uint8_t step;
	int i;

	if (s == NULL)
		return 0;
	served_open(s);
	for (int n = 0; in.size > 0 && n < 64; n++) {
		step = fuzz_u8(&in);
		i = step >> 7;
		switch (step % 8) {
		case 0: put_raw(s, i, &in); break;
		case 1: poke(s, i, &in); break;
		case 2: hot_word(s, i, &in); break;
		case 3: pin(s, i, &in); break;
		case 4: put_decent(s, i, &in); break;
		case 5: served_allow_slabs(s, i, step & 8); break;
		default: served_turn(s, NULL); break;
		}
	}
	served_turn(s, NULL);
	served_close(s);
	free(s);
	return 0;
}
