/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_method.c - any bytes as the text of a compression method, and behind its zero
 * an object for it. What is accepted lies within its limits, its canonical text means
 * the same, and what it settles to is settled and within its bytes.
 */
#include "kernels/ckv_kernels.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES 512u

static void check_always(const struct ckv_always *a)
{
	assert(a->n_ranges <= CKV_ALWAYS_RANGES);
	for (uint32_t i = 0; i < a->n_ranges; i++) {
		assert(a->range[i].from < a->range[i].to);
		assert(a->range[i].to <= CKV_KERNEL_MAX_TOKENS);
		assert(a->range[i].from > (i ? a->range[i - 1].to : a->n_sink));
	}
}

static void check_budget(const struct ckv_method *m)
{
	const struct ckv_selection *s = &m->select;

	assert((s->keep_den != 0) + (s->n_keep != 0) + (m->bytes_den != 0) == 1);
	assert(s->keep_num <= s->keep_den && s->keep_den <= 1000000);
	assert(m->bytes_num <= m->bytes_den && m->bytes_den <= 1000000);
	assert(s->keep_den == 0 || s->keep_num >= 1);
	assert(m->bytes_den == 0 || m->bytes_num >= 1);
	assert(s->n_keep <= CKV_KERNEL_MAX_TOKENS);
}

static void check(const struct ckv_method *m)
{
	const struct ckv_selection *s = &m->select;
	const struct ckv_encode *e = &m->encode;

	check_budget(m);
	check_always(&s->always);
	assert(s->kind < CKV_N_SELECTORS);
	if (s->kind == CKV_CHUNKKV) {
		assert(s->chunk >= 1 && s->chunk <= 65536);
		assert(s->n_reuse >= 1 && s->n_reuse <= 1024);
	}
	if (s->kind == CKV_CHUNKKV || s->kind == CKV_SNAPKV ||
	    s->kind == CKV_PYRAMIDKV) {
		assert(s->window >= 1 && s->window <= CKV_KERNEL_MAX_WINDOW);
		assert(s->kernel % 2 == 1 && s->kernel <= 4095);
	}
	if (e->kind == CKV_ENCODE_KIVI) {
		assert(m->bits_auto ? e->bits == 0 : e->bits == 2 ||
		       e->bits == 4 || e->bits == 8);
		assert(e->group % (32 / (m->bits_auto ? 4 : e->bits)) == 0);
		assert(e->group >= 4 && e->group <= 4096);
	}
	assert(memchr(m->text, 0, sizeof m->text) != NULL);
}

static struct ckv_object take_object(struct fuzz_input *in)
{
	struct ckv_object o = { .head_bytes = 512, .run_bytes = 96, .align = 64 };

	o.n_layers = fuzz_u8(in);
	o.n_kv_heads = fuzz_u8(in);
	o.n_q_heads = fuzz_u16(in);
	o.n_tokens = fuzz_u32(in);
	o.dim_k = fuzz_u16(in);
	o.dim_v = fuzz_u16(in);
	o.elem = fuzz_u8(in) % 4;
	return o;
}

/* Its size, if all layers keep what they are meant to and share no positions. */
static uint64_t most_bytes(const struct ckv_method *m, const struct ckv_object *o)
{
	uint64_t at = ckv_object_begin(o);

	for (uint32_t l = 0; l < o->n_layers; l++) {
		const struct ckv_layer_kept kept = {
			0, ckv_selection_budget(&m->select, l, o->n_layers,
						o->n_tokens) };
		struct ckv_layer_layout lay;

		ckv_layer_lay_out(o, &m->encode, &kept, at, &lay);
		assert(lay.end >= at);
		at = lay.end;
	}
	return at;
}

static void check_settled(const struct ckv_method *m, const struct ckv_object *o)
{
	char why[CKV_METHOD_WHY_BYTES] = "";
	struct ckv_method settled, again;
	unsigned __int128 plain = (unsigned __int128)o->n_layers * o->n_kv_heads *
				  o->n_tokens * (o->dim_k + o->dim_v) *
				  ckv_elem_bytes(o->elem);

	if (ckv_method_settle(m, o, &settled, why) < 0) {
		assert(why[0] != 0 && memchr(why, 0, sizeof why) != NULL);
		return;
	}
	assert(settled.bytes_den == 0 && !settled.bits_auto);
	assert(ckv_encode_check(&settled.encode) == 0);
	assert(ckv_method_settle(&settled, o, &again, why) == 0);
	assert(memcmp(&settled, &again, sizeof settled) == 0);
	if (m->bytes_den != 0)
		assert(most_bytes(&settled, o) <=
		       plain * m->bytes_num / m->bytes_den);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n = strnlen((const char *)data, size < TEXT_BYTES ? size : TEXT_BYTES);
	struct fuzz_input in = { data, n };
	struct fuzz_input rest = { data + n, size - n };
	char *text = calloc(1, TEXT_BYTES + 1);
	char why[CKV_METHOD_WHY_BYTES] = "";
	struct ckv_method m, again;
	struct ckv_object o;

	assert(text != NULL);
	memset(&m, 0x5a, sizeof m);
	again = m;
	fuzz_take(&in, text, TEXT_BYTES);
	fuzz_u8(&rest);		/* the zero */
	o = take_object(&rest);
	if (ckv_method_parse(text, &m, why) < 0) {
		assert(why[0] != 0 && memchr(why, 0, sizeof why) != NULL);
		for (const char *c = why; *c; c++)
			assert(*c >= ' ' && *c <= '~');
		assert(memcmp(&m, &again, sizeof m) == 0);
	} else {
		check(&m);
		memset(text, 0, TEXT_BYTES);
		memcpy(text, m.text, sizeof m.text);
		assert(ckv_method_parse(text, &again, why) == 0);
		assert(memcmp(&m, &again, sizeof m) == 0);
		check_settled(&m, &o);
	}
	free(text);
	return 0;
}
