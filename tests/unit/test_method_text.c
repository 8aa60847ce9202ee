/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_method_text.c - a method's text: what it means, and what is said about it.
 */
#include "kernels/ckv_kernels.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNKKV	"chunk=16, window=32, kernel=5, mode=kvpress, reuse=1)"
#define SNAPKV	"window=32, kernel=5, pool=avg, reduce=mean, mode=kvpress)"

static char why[CKV_METHOD_WHY_BYTES];

/* Equal methods have one text, with every parameter that counts. */
static const struct {
	const char *text, *canonical;
} right[] = {
	{ "chunkkv(keep=1/4)", "chunkkv(keep=1/4, " CHUNKKV },
	{ "chunkkv(keep=1/4, chunk=16, window=32)", "chunkkv(keep=1/4, " CHUNKKV },
	{ " chunkkv ( keep = 0.25,chunk=16 ,\twindow=32 ) ",
	  "chunkkv(keep=1/4, " CHUNKKV },
	{ "\r\nchunkkv\n(\n\tkeep\v=\n1/4\r\n,\fchunk=16\n)\n",
	  "chunkkv(keep=1/4, " CHUNKKV },
	{ "tova(keep=1/4)\n+\nint8\n", "tova(keep=1/4) + kivi(bits=8, group=64, "
	  "full=0)" },
	{ "chunkkv(reuse=2, keep=50/100, mode=paper, kernel=7)",
	  "chunkkv(keep=1/2, chunk=16, window=32, mode=paper, reuse=2)" },
	{ "chunkkv(keep=1)", "chunkkv(keep=1/1, " CHUNKKV },
	{ "chunkkv(keep=0.1)", "chunkkv(keep=1/10, " CHUNKKV },
	{ "chunkkv(tokens=0064)", "chunkkv(tokens=64, " CHUNKKV },
	{ "snapkv(bytes=0.125)+kivi(bits=auto,full=32)", "snapkv(bytes=1/8, "
	  SNAPKV " + kivi(bits=auto, group=64, full=32)" },
	{ "snapkv(keep=1/8, pool=max, reduce=sum, mode=official, kernel=7)",
	  "snapkv(keep=1/8, window=32, kernel=7, pool=max, reduce=sum, "
	  "mode=official)" },
	{ "pyramidkv(tokens=512)", "pyramidkv(tokens=512, window=32, kernel=5, "
	  "pool=avg, reduce=mean, beta=20, mode=official)" },
	{ "l2norm(keep=1/2)", "l2norm(keep=1/2, mode=kvpress, block=0)" },
	{ "l2norm(mode=official, keep=1/2, skip=0/1)", "l2norm(keep=1/2, "
	  "mode=official, block=0, skip=0-1, prune_after=0)" },
	{ "l2norm(skip=63/7-9/8-11/0, mode=official, keep=1/2, prune_after=2048)",
	  "l2norm(keep=1/2, mode=official, block=0, skip=0/7-11/63, "
	  "prune_after=2048)" },
	{ "l2norm(keep=1/2, mode=official)", "l2norm(keep=1/2, mode=official, "
	  "block=0, skip=none, prune_after=0)" },
	{ "keydiff(keep=1/2, block=128)", "keydiff(keep=1/2, block=128)" },
	{ "tova(keep=2/8)", "tova(keep=1/4)" },
	{ "h2o(keep=1/4)", "h2o(keep=1/4, reduce=mean, recent=32)" },
	{ "streamingllm(tokens=4096)", "streamingllm(tokens=4096, sinks=4)" },
	{ "random(keep=1/4, seed=123456789012345678)",
	  "random(keep=1/4, seed=123456789012345678)" },
	{ "fp8", "fp8(scale=head, full=0)" },
	{ "fp8()", "fp8(scale=head, full=0)" },
	{ "fp8(scale=block)", "fp8(scale=block, block=16, full=0)" },
	{ "bf16(full=3)", "bf16(full=3)" },
	{ "fp16", "fp16(full=0)" },
	{ "int8", "kivi(bits=8, group=64, full=0)" },
	{ "kivi(bits=8)", "kivi(bits=8, group=64, full=0)" },
	{ "kivi", "kivi(bits=4, group=64, full=0)" },
	{ "plain", "plain" },
	{ "plain(full=9)", "plain" },
	{ "tova(keep=1/4) + plain", "tova(keep=1/4)" },
	{ "tova(keep=1/4) + always(sinks=0)", "tova(keep=1/4)" },
	{ "tova(keep=1/4) + always(sinks=4, recent=8) + fp8",
	  "tova(keep=1/4) + always(sinks=4, recent=8) + fp8(scale=head, full=0)" },
	{ "tova(keep=1/4) + always(ranges=70-79/64-68/69/5)",
	  "tova(keep=1/4) + always(ranges=5/64-79)" },
	{ "tova(keep=1/4) + always(ranges=0-15/16-20/30)",
	  "tova(keep=1/4) + always(sinks=21, ranges=30)" },
	{ "tova(keep=1/4) + always(sinks=4, ranges=4-9)",
	  "tova(keep=1/4) + always(sinks=10)" },
};

START_TEST(equal_methods_have_one_text)
{
	struct ckv_method m, again;

	ck_assert_msg(ckv_method_parse(right[_i].text, &m, why) == 0, "%s: %s",
		      right[_i].text, why);
	ck_assert_str_eq(m.text, right[_i].canonical);
	ck_assert_msg(ckv_method_parse(m.text, &again, why) == 0, "%s", why);
	ck_assert_mem_eq(&m, &again, sizeof m);
}
END_TEST

/* Every field has its place: a text that names all of them. */
START_TEST(each_parameter_is_where_it_belongs)
{
	struct ckv_method m;
	const struct ckv_selection *s = &m.select;

	ck_assert_int_eq(ckv_method_parse("chunkkv(keep=3/7, chunk=11, window=13, "
		"kernel=17, mode=paper, reuse=19)", &m, why), 0);
	ck_assert(s->kind == CKV_CHUNKKV && s->mode == CKV_OF_PAPER);
	ck_assert_uint_eq(s->keep_num, 3);
	ck_assert_uint_eq(s->keep_den, 7);
	ck_assert_uint_eq(s->chunk, 11);
	ck_assert_uint_eq(s->window, 13);
	ck_assert_uint_eq(s->n_reuse, 19);
	ck_assert_int_eq(ckv_method_parse("pyramidkv(tokens=23, kernel=29, "
		"pool=max, reduce=sum, beta=31, mode=kvpress) + "
		"always(sinks=2, recent=3, ranges=5-6/9) + "
		"fp8(scale=block, block=37, full=41)", &m, why), 0);
	ck_assert(s->kind == CKV_PYRAMIDKV && s->mode == CKV_OF_KVPRESS);
	ck_assert(s->pool == CKV_POOL_MAX && s->reduce == CKV_REDUCE_SUM);
	ck_assert_uint_eq(s->keep_den, 0);
	ck_assert_uint_eq(s->n_keep, 23);
	ck_assert_uint_eq(s->kernel, 29);
	ck_assert_uint_eq(s->beta, 31);
	ck_assert_uint_eq(s->always.n_sink, 2);
	ck_assert_uint_eq(s->always.n_recent, 3);
	ck_assert_uint_eq(s->always.n_ranges, 2);
	ck_assert_uint_eq(s->always.range[0].from, 5);
	ck_assert_uint_eq(s->always.range[0].to, 7);	/* past the last */
	ck_assert_uint_eq(s->always.range[1].from, 9);
	ck_assert_uint_eq(s->always.range[1].to, 10);
	ck_assert(m.encode.kind == CKV_ENCODE_FP8);
	ck_assert(m.encode.scale == CKV_FP8_BLOCK);
	ck_assert_uint_eq(m.encode.block, 37);
	ck_assert_uint_eq(m.encode.n_full, 41);
	ck_assert_int_eq(ckv_method_parse("l2norm(bytes=5/11, block=43, skip=0/63, "
		"mode=official, prune_after=47) + kivi(bits=2, group=48)",
		&m, why), 0);
	ck_assert_uint_eq(m.bytes_num, 5);
	ck_assert_uint_eq(m.bytes_den, 11);
	ck_assert_uint_eq(s->keep_den, 0);
	ck_assert_uint_eq(s->block, 43);
	ck_assert_uint_eq(s->skip, 1ull << 63 | 1);
	ck_assert_uint_eq(s->prune_after, 47);
	ck_assert_uint_eq(m.encode.bits, 2);
	ck_assert_uint_eq(m.encode.group, 48);
	ck_assert_int_eq(ckv_method_parse("h2o(tokens=5, recent=53)", &m, why), 0);
	ck_assert_uint_eq(s->n_recent, 53);
	ck_assert_int_eq(ckv_method_parse("streamingllm(tokens=5, sinks=59)", &m,
					  why), 0);
	ck_assert_uint_eq(s->n_sink, 59);
	ck_assert_int_eq(ckv_method_parse("fp16", &m, why), 0);
	ck_assert(s->kind == CKV_KEEP_ALL && s->keep_num == s->keep_den);
	ck_assert(m.encode.kind == CKV_ENCODE_F16);
}
END_TEST

/* A wrong text is answered with what was expected. */
static const struct {
	const char *text, *part;
} wrong[] = {
	{ "", "there is no method \"\"; expected a name, as in chunkkv(" },
	{ "snapvk(keep=1/4)", "there is no method snapvk; did you mean snapkv?" },
	{ "zzzzzz", "there is no method zzzzzz; expected chunkkv, snapkv, "
	  "pyramidkv, l2norm, keydiff, tova, h2o, streamingllm, random, always, "
	  "plain, bf16, fp16, fp8, kivi or int8" },
	{ "chunkkv", "chunkkv: keep is missing; expected keep=1/4" },
	{ "chunkkv()", "chunkkv: keep is missing" },
	{ "random(seed=3)", "random: keep is missing" },
	{ "chunkkv(keep)", "chunkkv: expected key=value at" },
	{ "chunkkv(keep=)", "chunkkv: expected key=value" },
	{ "chunkkv(keep=1/4,)", "expected key=value at \")\", as in "
	  "chunkkv(keep=1/4)" },
	{ "chunkkv(keep=1/4", "chunkkv: expected , or ) after a value" },
	{ "chunkkv(keep=1/4) x", "expected + or nothing after a method, not \"x\"" },
	{ "chunkkv(keep=1/4) +", "there is no method \"\"" },
	{ "chunkkv(keep=1/4, keep=1/4)", "chunkkv: keep is given twice" },
	{ "chunkkv(keep=1/4, tokens=3)", "chunkkv: expected one of keep, tokens "
	  "and bytes, not two" },
	{ "tova(bytes=1/4, tokens=3, keep=1)", "not all three" },
	{ "chunkkv(keep=1/4, wndow=3)", "chunkkv has no wndow; did you mean "
	  "window?" },
	{ "chunkkv(keep=1/4, beta=3)", "chunkkv has no beta; expected keep, "
	  "tokens, bytes, chunk, window, kernel, mode or reuse" },
	{ "chunkkv(keep=0)", "chunkkv: keep=0: expected a fraction such as 1/4" },
	{ "chunkkv(keep=0/4)", "keep=0/4: expected a fraction" },
	{ "chunkkv(keep=1/0)", "keep=1/0: expected a fraction" },
	{ "chunkkv(keep=5/4)", "keep=5/4: expected a fraction" },
	{ "chunkkv(keep=-1/4)", "keep=-1/4: expected a fraction" },
	{ "chunkkv(keep=1e-1)", "keep=1e-1: expected a fraction" },
	{ "chunkkv(keep=0.00000001)", "expected a fraction" },
	{ "chunkkv(bytes=2)", "bytes=2: expected a fraction" },
	{ "chunkkv(tokens=0)", "tokens=0: expected 1 to 67108864 tokens" },
	{ "chunkkv(tokens=67108865)", "expected 1 to 67108864 tokens" },
	{ "chunkkv(keep=1/4, chunk=0)", "chunk=0: expected 1 to 65536 tokens" },
	{ "chunkkv(keep=1/4, window=5000)", "window=5000: expected 1 to 4096" },
	{ "chunkkv(keep=1/4, kernel=4)", "kernel=4: expected an odd number" },
	{ "chunkkv(keep=1/4, mode=official)", "mode=official: expected kvpress or "
	  "paper" },
	{ "snapkv(keep=1/4, mode=paper)", "mode=paper: expected kvpress or "
	  "official" },
	{ "snapkv(keep=1/4, pool=min)", "snapkv: pool=min: expected avg or max" },
	{ "snapkv(keep=1/4, reduce=min)", "reduce=min: expected mean, max or sum" },
	{ "pyramidkv(keep=1/4, beta=0)", "beta=0: expected 1 to 1024" },
	{ "chunkkv(keep=1/4, reuse=0)", "reuse=0: expected 1 to 1024 layers" },
	{ "chunkkv(keep=1/4, chunk=99999999999999999999)", "expected 1 to 65536" },
	{ "chunkkv(keep=1/4, chunk=16x)", "chunk=16x: expected 1 to 65536" },
	{ "l2norm(keep=1/2, skip=0-1)", "l2norm: skip counts with mode=official "
	  "only" },
	{ "l2norm(keep=1/2, mode=official, skip=64)", "skip=64: expected layers 0 "
	  "to 63 such as 0/1 or 0-1, or none" },
	{ "l2norm(keep=1/2, mode=official, skip=3-1)", "skip=3-1: expected" },
	{ "l2norm(keep=1/2, mode=official, skip=3/)", "skip=3/: expected" },
	{ "random(keep=1/2, seed=1234567890123456789)", "expected a number of at "
	  "most 18 digits" },
	{ "fp8(scale=row)", "fp8: scale=row: expected one, tensor, head or block" },
	{ "fp8(block=16)", "fp8: block counts with scale=block only" },
	{ "kivi(bits=3)", "kivi: bits=3: expected 2, 4, 8 or auto" },
	{ "kivi(bits=2, group=24)", "kivi: group=24: expected a multiple of 16 "
	  "with 2 bits" },
	{ "int8(group=6)", "int8: group=6: expected a multiple of 4 with 8 bits" },
	{ "kivi(bits=auto)", "kivi: bits=auto: expected a selection with bytes=" },
	{ "snapkv(keep=1/4) + kivi(bits=auto)", "bits=auto: expected a selection "
	  "with bytes=" },
	{ "snapkv(keep=1/4) + tova(keep=1/4)", "tova after snapkv: expected at "
	  "most one selection" },
	{ "fp8 + kivi", "kivi after fp8: expected at most one encoding" },
	{ "fp8 + tova(keep=1/4)", "tova after fp8: expected a selection, then "
	  "always, then an encoding" },
	{ "always(sinks=4)", "always: expected a selection before it" },
	{ "always(sinks=4) + fp8", "always: expected a selection before it" },
	{ "tova(keep=1/4) + always", "always: expected sinks, recent or ranges" },
	{ "tova(keep=1/4) + always(ranges=5-4)", "always: ranges=5-4: expected at "
	  "most 8 such as 0-15/64-79, or none" },
	{ "tova(keep=1/4) + always(ranges=1/3/5/7/9/11/13/15/17)", "at most 8" },
	{ "tova(keep=1/4) + always(ranges=67108864)", "expected at most 8" },
	{ "tova(keep=1/4\x01)", "keep=1/4?: expected" },
};

START_TEST(a_wrong_method_is_told_what_was_expected)
{
	struct ckv_method m, before;

	memset(&m, 0x5a, sizeof m);
	before = m;
	why[0] = 0;
	ck_assert_int_eq(ckv_method_parse(wrong[_i].text, &m, why), -EINVAL);
	ck_assert_msg(strstr(why, wrong[_i].part) != NULL, "%s: %s",
		      wrong[_i].text, why);
	ck_assert_mem_eq(&m, &before, sizeof m);
}
END_TEST

/* The longest of each stage do not fit together, and the answer counts. */
START_TEST(a_text_that_does_not_fit_is_refused)
{
	struct ckv_method m;

	ck_assert_int_eq(ckv_method_parse("pyramidkv(keep=123457/999999, "
		"window=4096, kernel=4095, beta=1024, mode=kvpress) + "
		"always(sinks=1000000, recent=10000000, "
		"ranges=20000000-20000001/30000000-30000001/40000000-40000001/"
		"50000000-50000001/60000000-60000001) + kivi", &m, why), -EINVAL);
	ck_assert_str_eq(why, "the method is too long: written out it has 275 "
			 "characters, expected at most 255");
}
END_TEST

static uint32_t n_methods(void)
{
	uint32_t n = 0;

	while (ckv_method_at(n) != NULL)
		n++;
	return n;
}

/* Every name in the table parses, and every default is what the table says. */
START_TEST(the_table_is_what_the_parser_reads)
{
	const struct ckv_method_info *info = ckv_method_at((uint32_t)_i);
	char bare[64], text[512];
	struct ckv_method a, b;
	size_t n;

	ck_assert_ptr_nonnull(info);
	ck_assert_str_ne(info->help, "");
	ck_assert_str_ne(info->needs, "");
	if (strcmp(info->stage, "always") == 0)
		return;		/* its defaults say nothing */
	snprintf(bare, sizeof bare, "%s(%s)", info->name,
		 strcmp(info->stage, "selection") == 0 ? "keep=1/4" : "");
	n = (size_t)snprintf(text, sizeof text, "%.*s", (int)strlen(bare) - 1,
			     bare);
	for (uint32_t k = 0; k < info->n_keys; k++) {
		const struct ckv_method_key *key = &info->key[k];
		int idle = strcmp(key->name, "skip") == 0 ||
			   strcmp(key->name, "prune_after") == 0 ||
			   (strcmp(key->name, "block") == 0 &&
			    strcmp(info->name, "fp8") == 0);

		ck_assert_str_ne(key->expected, "");
		ck_assert_str_ne(key->help, "");
		if (key->init != NULL && !idle)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s%s=%s",
					      text[n - 1] == '(' ? "" : ", ",
					      key->name, key->init);
	}
	snprintf(text + n, sizeof text - n, ")");
	ck_assert_msg(ckv_method_parse(bare, &a, why) == 0, "%s: %s", bare, why);
	ck_assert_msg(ckv_method_parse(text, &b, why) == 0, "%s: %s", text, why);
	ck_assert_mem_eq(&a, &b, sizeof a);
}
END_TEST

CHECK_MAIN("method_text",
	CASE("text"),
	EACH(equal_methods_have_one_text, right),
	TEST(each_parameter_is_where_it_belongs),
	EACH(a_wrong_method_is_told_what_was_expected, wrong),
	TEST(a_text_that_does_not_fit_is_refused),
	LOOP(the_table_is_what_the_parser_reads, n_methods()))
