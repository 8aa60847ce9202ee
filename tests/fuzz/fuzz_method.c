/*
 * fuzz_method.c - any bytes as the text of a compression method. What is
 * accepted lies within its limits, and its canonical text means the same.
 */
#include "daemon/shell/method.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void check(const struct method *m)
{
	const struct ckv_chunkkv *c = &m->chunkkv;

	assert(m->keep_num >= 1 && m->keep_num <= m->keep_den);
	assert(m->keep_den <= 1000000);
	assert(c->removed >= 0 && c->removed < 1);
	assert(c->chunk >= 1 && c->chunk <= 65536);
	assert(c->window >= 1 && c->window <= CKV_KERNEL_MAX_WINDOW);
	assert(c->kernel % 2 == 1 && c->kernel <= 4095);
	assert(c->n_reuse >= 1 && c->n_reuse <= 1024);
	assert(memchr(m->text, 0, sizeof m->text) != NULL);
}

/* Paper mode does not pool, so its text leaves the kernel out. */
static void check_same(const struct method *a, const struct method *b)
{
	assert(memcmp(a->text, b->text, sizeof a->text) == 0);
	assert(a->keep_num == b->keep_num && a->keep_den == b->keep_den);
	assert(a->chunkkv.chunk == b->chunkkv.chunk);
	assert(a->chunkkv.window == b->chunkkv.window);
	assert(a->chunkkv.mode == b->chunkkv.mode);
	assert(a->chunkkv.n_reuse == b->chunkkv.n_reuse);
	assert(a->chunkkv.mode == CKV_CHUNKKV_PAPER ||
	       a->chunkkv.kernel == b->chunkkv.kernel);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	char *text = calloc(1, CKV_METHOD_BYTES);
	char why[METHOD_WHY_BYTES] = "";
	struct method m, again;

	assert(text != NULL);
	memset(&m, 0x5a, sizeof m);
	again = m;
	fuzz_take(&in, text, CKV_METHOD_BYTES);
	if (method_parse(text, &m, why) < 0) {
		assert(why[0] != 0 && memchr(why, 0, sizeof why) != NULL);
		assert(memcmp(&m, &again, sizeof m) == 0);
	} else {
		check(&m);
		memcpy(text, m.text, sizeof m.text);
		assert(method_parse(text, &again, why) == 0);
		check_same(&m, &again);
	}
	free(text);
	return 0;
}
