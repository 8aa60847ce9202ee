/*
 * fuzz_method.c - any bytes as the text of a compression method. What is
 * accepted lies within its limits, and its canonical text means the same.
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	char *text = calloc(1, TEXT_BYTES + 1);
	char why[CKV_METHOD_WHY_BYTES] = "";
	struct ckv_method m, again;

	assert(text != NULL);
	memset(&m, 0x5a, sizeof m);
	again = m;
	fuzz_take(&in, text, TEXT_BYTES);
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
	}
	free(text);
	return 0;
}
