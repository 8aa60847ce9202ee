/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config.c - what a configuration file may say, and what is said of the rest.
 */
#include "tests/lib/check_main.h"
#include "tests/lib/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX_63	"0123456789abcdefABCDEF0123456789abcdef0123456789abcdef012345678"

/* Each wrong file is refused with the file, the line, the key, the value and what was expected. */
static const struct {
	const char *text, *complaint;
} wrong[] = {
	{ "", "f.conf: there is no [space NAME]: nothing to serve" },
	{ "[daemon]\nsoket = /x\n" GOOD,
	  "f.conf:2: soket = /x: there is no such key in [daemon], did you mean "
	  "socket; ckvd --help lists them" },
	{ "[daemon]\ncolour = red\n" GOOD,
	  "f.conf:2: colour = red: there is no such key in [daemon]; ckvd --help "
	  "lists them" },
	{ "[daemon]\nworkers = many\n" GOOD,
	  "f.conf:2: workers = many: expected a number of threads, 1 to 256" },
	{ "[daemon]\nworkers = 0\n" GOOD,
	  "f.conf:2: workers = 0: expected a number of threads, 1 to 256" },
	{ "[daemon]\nworkers = -1\n" GOOD,
	  "f.conf:2: workers = -1: expected a number of threads, 1 to 256" },
	{ "[daemon]\nworkers = 99999999999999999999\n" GOOD,
	  "f.conf:2: workers = 99999999999999999999: expected a number of "
	  "threads, 1 to 256" },
	{ "[daemon]\nspin_max = 5 parsecs\n" GOOD,
	  "f.conf:2: spin_max = 5 parsecs: expected a time with ns, us, ms or s, "
	  "0 to 100ms" },
	{ "[daemon]\nlane_arg_bytes = 1.5 MB\n" GOOD,
	  "f.conf:2: lane_arg_bytes = 1.5 MB: expected a size in bytes, or with K, "
	  "M, G, T, KiB, MiB, GiB or TiB, 4KiB to 64MiB" },
	{ "[daemon]\nhuge_pages = maybe\n" GOOD,
	  "f.conf:2: huge_pages = maybe: expected yes|no" },
	{ "[daemon]\nloop = kqueue\n" GOOD,
	  "f.conf:2: loop = kqueue: expected one of auto|uring|uring-plain|epoll" },
	{ "[daemon]\nsocket_mode = 0998\n" GOOD,
	  "f.conf:2: socket_mode = 0998: expected an octal mode, 0 to 0777" },
	{ "[daemon]\nlane_slots = 48\n" GOOD,
	  "f.conf:2: daemon: lane_slots and max_lane_slots: expected powers of "
	  "two, not 48 and 1024" },
	{ "[daemon]\nlane_pins = 2000\nmax_lane_pins = 1000\n" GOOD,
	  "f.conf:2: daemon: lane_pins is 2000, above max_lane_pins, 1000" },
	{ "[daemon]\nsocket_mode = 0444\n" GOOD,
	  "f.conf:2: daemon: socket_mode is 0444: who connects needs the permission to "
	  "write, and nobody has it" },
	{ "[daemon]\nspin_min = 50us\nspin_max = 40us\n" GOOD,
	  "f.conf:2: daemon: spin_min is longer than spin_max" },
	{ "[daemon]\nworkers = 1\nworkers = 2\n" GOOD,
	  "f.conf:3: workers = 2: this key was given already in this section" },
	{ "[daemon]\n[daemon]\n" GOOD,
	  "f.conf:2: [daemon]: this section was given already" },
	{ "workers = 2\n" GOOD,
	  "f.conf:1: workers = 2: expected a section, [daemon] or [space NAME], "
	  "before the first key" },
	{ "[spaces]\n" GOOD,
	  "f.conf:1: [spaces]: expected [daemon] or [space NAME]" },
	{ "[daemon\n" GOOD, "f.conf:1: [daemon: expected [daemon] or [space NAME]" },
	{ GOOD "nonsense\n",
	  "f.conf:7: 'nonsense': expected key = value or [section]" },
	{ GOOD "  lent_pages 64 ; = many\n",
	  "f.conf:7: 'lent_pages 64': expected key = value or [section]" },
	{ GOOD "= 64\n", "f.conf:7: '= 64': expected key = value or [section]" },
	{ GOOD "one\n\nslab = x\ntwo\n",
	  "f.conf:7: 'one': expected key = value or [section]\n"
	  "f.conf:9: slab = x: expected a size in bytes, or with K, M, G, T, KiB, "
	  "MiB, GiB or TiB, 4KiB to 64GiB\n"
	  "f.conf:10: 'two': expected key = value or [section]" },
	{ GOOD GOOD, "f.conf:7: [space a]: this space was described already" },
	{ "[space ]\n", "f.conf:1: [space ]: expected 1 to 40 letters, digits, "
	  "dots, dashes or underscores" },
	{ "[space a/b]\n", "f.conf:1: [space a/b]: expected 1 to 40 letters, "
	  "digits, dots, dashes or underscores" },
	{ "[space a]\nmodel = m\nlayers = 2\nkv_heads = 4\npool = 64M\n",
	  "f.conf:1: space a: the key head_dim is missing" },
	{ "[space a]\n", "f.conf:1: space a: the key pool is missing" },
	{ GOOD "dtype = int7\n",
	  "f.conf:7: dtype = int7: expected one of f32|f16|bf16|f8_e4m3" },
	{ GOOD "policy = random\n",
	  "f.conf:7: space a: policy = random: expected default or " },
	{ GOOD "views = 95\n",
	  "f.conf:7: views = 95: expected a number in percent, 0 to 90" },
	{ "[space a]\nmodel = m\nlayers = 100\nkv_heads = 100\nhead_dim = 100\n"
	  "pool = 1M\n",
	  "f.conf:6: space a: pool is 1048576 bytes, less than one page of "
	  "64000000 bytes" },
	{ "[space a]\nmodel = m\nlayers = 1024\nkv_heads = 1024\nhead_dim = 65536\n"
	  "block_tokens = 65535\npool = 1G\n",
	  "f.conf:3: space a: layers, kv_heads, head_dim and block_tokens make a "
	  "block of 18014123631575040 bytes; at most 64 GiB" },
	{ GOOD "slab = 4096\nslab = 8192\n",
	  "f.conf:8: slab = 8192: this key was given already in this section" },
	{ GOOD "slab = 4096\n",
	  "f.conf:7: space a: slab: the pool would be cut into 16384 slabs; at "
	  "most 4096: expected 16384 bytes or more, or no slab= at all" },
	{ "[space a]\nmodel = m\nlayers = 1\nkv_heads = 1\nhead_dim = 8\n"
	  "pool = 16TiB\n",
	  "f.conf:6: space a: pool: 4294967296 pages of 4096 bytes; at most "
	  "3374617136: expected a smaller pool or more block_tokens" },
	{ GOOD "allow_write = root, nobody-of-this-name\n",
	  "f.conf:7: space a: allow_write: there is no user nobody-of-this-name" },
	{ GOOD "allow_read = @no-such-group\n",
	  "f.conf:7: space a: allow_read: there is no group @no-such-group" },
	{ GOOD "secret_file = /nowhere\n",
	  "f.conf:7: space a: secret_file = /nowhere: No such file or directory" },
	{ GOOD "secret_file = /dev/null\n",
	  "f.conf:7: space a: secret_file = /dev/null: it is not a regular file" },
	{ GOOD "compress = keydif(keep=1/4)\n",
	  "f.conf:7: space a: compress = keydif(keep=1/4): there is no method keydif; "
	  "did you mean keydiff?" },
	{ GOOD "compress = snapkv(keep=1/4)\n",
	  "f.conf:7: space a: compress = snapkv(keep=1/4): it needs queries, which only "
	  "an engine has; l2norm, keydiff, streamingllm, random and encodings alone do "
	  "without" },
	{ GOOD "compress = tova(keep=1/4) + fp8\n", "it needs queries, which only" },
	{ GOOD "compress = h2o(keep=1/4)\n",
	  "it needs column sums of attention, which only" },
	{ GOOD "compress = keydiff(bytes=0.000001)\n",
	  "f.conf:7: space a: compress = keydiff(bytes=0.000001): keydiff: bytes=" },
	{ GOOD "views = 0\ncompress = fp8\n",
	  "f.conf:8: space a: compress = fp8: the pool has no pages for views; expected" },
	{ GOOD "dtype = f8_e4m3\ncompress = fp8\n",
	  "f.conf:8: space a: compress = fp8: blocks of this dtype are not compressed; "
	  "expected f32, f16 or bf16" },
	{ GOOD "layout = token-major\ncompress = fp8\n",
	  "f.conf:8: space a: compress = fp8: layout token-major cannot be compressed; "
	  "expected head-major" },
	{ OPAQUE "block_bytes = 4K\ncompress = fp8\n",
	  "f.conf:6: space a: compress = fp8: layout opaque cannot be compressed; "
	  "expected head-major" },
	{ OPAQUE, "f.conf:3: space a: layout = opaque: the key block_bytes is missing" },
	{ OPAQUE "block_bytes = 0\n", "f.conf:5: block_bytes = 0: expected a size in" },
	{ GOOD "block_bytes = 4K\n",
	  "f.conf:7: space a: block_bytes: only with layout = opaque" },
	{ GOOD "layout = 2\n",
	  "f.conf:7: layout = 2: expected one of head-major|token-major|opaque" },
	{ "[space a]\nmodel = m\nlayout = token-major\npool = 1M\n",
	  "f.conf:1: space a: the key layers is missing" },
	{ GOOD "weights = 12\n",
	  "f.conf:7: space a: weights = 12: expected 64 hex digits" },
	{ GOOD "weights = " HEX_63 "\n", HEX_63 ": expected 64 hex digits" },
	{ GOOD "weights = " HEX_63 "g\n", HEX_63 "g: expected 64 hex digits" },
	{ GOOD "weights = " HEX_63 "@\n", HEX_63 "@: expected 64 hex digits" },
	{ GOOD "weights = " HEX_63 "00\n", HEX_63 "00: expected 0 to 64 letters" },
	{ GOOD "floor = 1\ncompress = random(keep=1/2) + kivi(bits=2, group=32)\n",
	  "f.conf:8: space a: compress = random(keep=1/2) + kivi(bits=2, group=32): floor "
	  "1 %: random + kivi(bits=2, group=32) is not recorded; " },
	{ GOOD "compress_on = eviction\n",
	  "f.conf:7: compress_on = eviction: expected one of publish|pressure|demote" },
	{ GOOD "floor = 101%\n",
	  "f.conf:7: floor = 101%: expected a number in percent, 0 to 100" },
	{ GOOD "floor = 1/2\n", "f.conf:7: floor = 1/2: expected a number in percent" },
	{ GOOD "model = -\n",
	  "f.conf:7: model = -: this key was given already in this section" },
	{ GOOD "quota = 4095\n",
	  "f.conf:7: space a: quota is 4095 bytes, less than one page of 4096 bytes: "
	  "nothing could be stored" },
	{ GOOD "max_pins = 1000\n",
	  "f.conf: space a: max_pins is 1000, less than a lane has that asks for none: "
	  "no such lane could be opened; expected a larger one, or lane_pins in "
	  "[daemon] below 1024" },
	{ GOOD "max_pins = 2000\n",
	  "f.conf: space a: max_pins_per_user is 1000 (not set: half of max_pins), less" },
	{ GOOD "max_pins = 4092\n",
	  "f.conf: space a: max_pins_per_client is 1023 (not set: a quarter of "
	  "max_pins), less" },
	{ GOOD "max_pins_per_client = 7\n[daemon]\nlane_pins = 8\n",
	  "f.conf: space a: max_pins_per_client is 7, less" },
	{ "[daemon]\nmax_input_bytes = 100M\n" GOOD,
	  "f.conf: daemon: max_query_bytes is 256MiB, above max_input_bytes, "
	  "100MiB: what one" },
	{ "[daemon]\nmax_input_bytes_per_user = 268435455\n" GOOD,
	  "f.conf: daemon: max_query_bytes is 256MiB, above "
	  "max_input_bytes_per_user, 268435455: what one" },
	{ GOOD "block_tokens = -\n",
	  "f.conf:7: block_tokens = -: expected a number of tokens, 1 to 65535" },
};

START_TEST(a_wrong_file_is_refused_by_line_and_key)
{
	struct config *config = NULL;
	const char *want = wrong[_i].complaint;

	ck_assert_int_eq(parse(wrong[_i].text, &config), -EINVAL);
	ck_assert_ptr_null(config);
	ck_assert_msg(strstr(said, want) != NULL, "said\n%s not\n%s", said, want);
}
END_TEST

/* What follows a zero byte would not be seen: a file with one is no configuration. */
START_TEST(a_file_with_a_zero_byte_is_refused)
{
	static const char text[] = GOOD "views = 0\0\n[space b]\n";
	char folder[FOLDER_BYTES], path[FOLDER_BYTES + 8];
	struct config *config = NULL;

	folder_make(folder);
	folder_write(folder, "conf", text, sizeof text - 1);
	snprintf(path, sizeof path, "%s/conf", folder);
	said[0] = 0;
	ck_assert_int_eq(config_read(path, &complaint, &config), -EINVAL);
	ck_assert_ptr_null(config);
	ck_assert_msg(strncmp(said, path, strlen(path)) == 0 &&
		      strstr(said, ": it holds a zero byte") != NULL, "said %s", said);
}
END_TEST

/* Everything wrong in a file is told at once. */
START_TEST(all_complaints_come_at_once)
{
	struct config *config;

	ck_assert_int_eq(parse("[daemon]\na = 1\nb = 2\n[space x]\n", &config),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(said, "f.conf:2: a = 1"));
	ck_assert_ptr_nonnull(strstr(said, "f.conf:3: b = 2"));
	ck_assert_ptr_nonnull(strstr(said, "f.conf:4: space x"));
}
END_TEST

/* Units, comments, defaults, and the numbers that follow. */
START_TEST(numbers_follow_from_keys)
{
	struct config *c;
	const struct ckv_pool_shape *p;

	ck_assert_int_eq(parse("; a comment\n[daemon]\nspin_max = 1 ms\n"
			       "lane_arg_bytes = 8KiB\nsocket_mode = 0600\n"
			       GOOD "head_dim_v = 0\nslab = 4MiB\nviews = 25\n"
			       "quota = 1M\n", &c), 0);
	ck_assert_uint_eq(c->daemon.spin_max, 1000000);
	ck_assert_uint_eq(c->daemon.lane_arg_bytes, 8192);
	ck_assert_uint_eq(c->daemon.socket_mode, 0600);
	ck_assert_str_eq(c->daemon.socket, "/run/ckv/ckvd.sock");
	ck_assert_uint_eq(c->space[0].geometry.dim_v, 0);
	ck_assert_uint_eq(c->space[0].geometry.dtype, CKV_DTYPE_BF16);
	p = &c->space[0].pool;
	/* 2 layers, 4 heads, 16 tokens, 8 elements, 2 bytes, no values. */
	ck_assert_uint_eq(p->page_bytes, 4096);
	ck_assert_uint_eq(p->slab_pages, 1024);
	ck_assert_uint_eq(p->slab_stride, 4u << 20);
	ck_assert_uint_eq(p->n_slabs, 16);
	ck_assert_uint_eq(p->n_view_pages, 4 * 1024);
	ck_assert_uint_eq(p->first_view_page, 12 * 1024);
	ck_assert_uint_eq(c->space[0].n_pages_max, 256);
	config_free(c);
}
END_TEST

/* The fingerprint in the order it is written; none is zeros. Opaque pages have a size only. */
START_TEST(a_page_has_a_meaning)
{
	struct config *c;
	const struct ckv_geometry *g;

	ck_assert_int_eq(parse(GOOD "layout = token-major\n"
			       "weights = 00123456789abcdefABCDEF000000000"
			       "000000000000000000000000000000ff\n"
			       "[space\tb]\nmodel = m\nlayout = opaque\npool = 1\tM\n"
			       "block_bytes = 5000\nlayers = 7\ndtype = f16\n", &c), 0);
	g = &c->space[0].geometry;
	ck_assert_uint_eq(g->layout, CKV_LAYOUT_TOKEN_MAJOR);
	ck_assert_uint_eq(g->weights[1], 0x12);
	ck_assert_uint_eq(g->weights[7], 0xde);
	ck_assert_uint_eq(g->weights[9], 0xbc);
	ck_assert_uint_eq(g->weights[CKV_WEIGHTS_BYTES - 1], 0xff);
	ck_assert_uint_eq(g->opaque_bytes, 0);
	g = &c->space[1].geometry;
	ck_assert_uint_eq(g->layout, CKV_LAYOUT_OPAQUE);
	ck_assert_uint_eq(g->opaque_bytes, 5000);
	ck_assert_uint_eq(g->n_layers + g->n_kv_heads + g->dim_k + g->dim_v +
			  g->dtype + g->weights[0], 0);
	ck_assert_uint_eq(g->block_tokens, 16);
	ck_assert_uint_eq(c->space[1].pool.page_bytes, 8192);
	config_free(c);
}
END_TEST

/* A value of 255 letters is taken whole, with a comment behind it; one of 256 is refused. */
START_TEST(long_values_are_taken_whole)
{
	char text[4000], name[CONFIG_TEXT_BYTES + 1];
	struct config *c;

	memset(name, 'n', sizeof name);
	name[CONFIG_TEXT_BYTES - 1] = 0;
	snprintf(text, sizeof text, "; %s %s\n[space a]\n model\t=  %s \t; %s\r\n"
		 "layers = 2\nkv_heads = 4\nhead_dim = 8\npool = 1M\n", name, name,
		 name, name);
	ck_assert_msg(parse(text, &c) == 0, "%s", said);
	ck_assert_str_eq(c->space[0].geometry.model, name);
	config_free(c);
	name[CONFIG_TEXT_BYTES - 1] = 'n';
	name[CONFIG_TEXT_BYTES] = 0;
	snprintf(text, sizeof text, "[space a]\nmodel = %s\n", name);
	ck_assert_int_eq(parse(text, &c), -EINVAL);
	ck_assert_ptr_nonnull(strstr(said, ": expected 1 to 255 letters"));
	snprintf(text, sizeof text, GOOD "policy = %900s%300s\n", name, name);
	ck_assert_int_eq(parse(text, &c), -EINVAL);
	ck_assert_ptr_nonnull(strstr(said, "f.conf:7: the line is longer than 1023 "
				     "letters"));
	snprintf(text, sizeof text, "%s\n" GOOD "a = b\n", name);
	ck_assert_int_eq(parse(text, &c), -EINVAL);
	ck_assert_ptr_nonnull(strstr(said, "f.conf:1: expected key = value or "
				     "[section]"));
}
END_TEST

/* A pool of one page is a pool; views need a second slab. */
START_TEST(the_smallest_pool_is_one_page)
{
	struct config *c;

	ck_assert_int_eq(parse("[space a]\nmodel = m\nlayers = 1\nkv_heads = 1\n"
			       "head_dim = 64\npool = 4096\n", &c), 0);
	ck_assert_uint_eq(c->space[0].pool.n_block_pages, 1);
	ck_assert_uint_eq(c->space[0].pool.n_view_pages, 0);
	ck_assert_uint_eq(c->space[0].pool.slab_stride, CKV_HUGE_BYTES);
	config_free(c);
}
END_TEST

/* The bounds that are written down are taken, in bytes and as one would write them. */
static void take_bounds(const struct param *param, void *params)
{
	char text[CONFIG_TEXT_BYTES], expected[CONFIG_TEXT_BYTES];

	for (; param->name; param++) {
		const uint64_t bound[] = { param->min, param->max };

		for (int i = 0; param->type != PARAM_TEXT && i < 2; i++) {
			struct param row = *param;

			row.offset = 0;
			param_text(&row, &bound[i], text);
			ck_assert_msg(param_set(param, params, text, expected) == 0,
				      "%s = %s: expected %s", param->name, text,
				      expected);
			if (param->type != PARAM_BYTES)
				continue;
			snprintf(text, sizeof text, "%llu",
				 (unsigned long long)bound[i]);
			ck_assert_int_eq(param_set(param, params, text, expected),
					 0);
			snprintf(text, sizeof text, "%llu", (unsigned long long)
				 (i == 0 ? bound[i] - 1 : bound[i] + 1));
			if (bound[i] > 0)
				ck_assert_int_eq(param_set(param, params, text,
							   expected), -EINVAL);
		}
	}
}

START_TEST(the_bounds_of_each_key_are_taken)
{
	struct daemon_params daemon;
	struct space_params space;

	take_bounds(daemon_param, &daemon);
	take_bounds(space_param, &space);
}
END_TEST

/*
 * Any size of pool is cut by itself into a number of slabs that can be served:
 * little is left over, and slabs lie less than twice their size apart.
 */
START_TEST(an_unset_slab_follows_the_pool)
{
	static const char *const size[] = {
		"pool = 64KiB\n", "pool = 100MiB\n", "pool = 1536GiB\n",
		"pool = 4TiB\n", "pool = 5TiB\n", "pool = 16TiB\n",
		"pool = 17592186044416\n",
		/* A page of 2.94 MiB, and one of 64 GiB. */
		"pool = 64MiB\nlayers = 94\nhead_dim = 128\n",
		"pool = 16TiB\nlayers = 94\nhead_dim = 128\n",
		"pool = 16TiB\nlayers = 1024\nhead_dim = 16384\n"
		"block_tokens = 256\n",
	};
	char text[CONFIG_WHY_BYTES];
	struct config *c;

	for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
		const struct ckv_pool_shape *p;

		snprintf(text, sizeof text, "[space a]\nmodel = m\nkv_heads = 4\n"
			 "%s%s", size[i], strstr(size[i], "layers") ? "" :
			 "layers = 2\nhead_dim = 64\n");
		ck_assert_msg(parse(text, &c) == 0, "%s%s", text, said);
		p = &c->space[0].pool;
		ck_assert_uint_le(p->n_slabs, CONFIG_SLABS_MAX);
		ck_assert_uint_le(ckv_pool_bytes(p), c->space[0].params.pool);
		ck_assert_uint_gt(ckv_pool_bytes(p),
				  c->space[0].params.pool / 8 * 7);
		ck_assert_uint_lt(p->slab_stride - ckv_slab_bytes(p),
				  CKV_HUGE_BYTES);
		ck_assert_uint_ge(p->slab_stride, ckv_slab_bytes(p));
		config_free(c);
	}
}
END_TEST

/* Allow lists: users and groups by name and number; who writes may read. */
START_TEST(allow_lists_decide_who_attaches)
{
	struct config *c;
	const gid_t none[] = { 4711 }, group7[] = { 4711, 7 };
	const struct config_space *s;

	ck_assert_int_eq(parse(GOOD "allow_read = 1000 @7\nallow_write = root\n",
			       &c), 0);
	s = &c->space[0];
	ck_assert(config_allows(s, CKV_ACCESS_WRITE, 0, none, 1));
	ck_assert(config_allows(s, CKV_ACCESS_READ, 0, none, 1));
	ck_assert(config_allows(s, CKV_ACCESS_READ, 1000, none, 1));
	ck_assert(config_allows(s, CKV_ACCESS_STATS, 1000, none, 1));
	ck_assert(!config_allows(s, CKV_ACCESS_WRITE, 1000, none, 1));
	ck_assert(!config_allows(s, CKV_ACCESS_READ, 1001, none, 1));
	ck_assert(config_allows(s, CKV_ACCESS_READ, 1001, group7, 2));
	ck_assert(!config_allows(s, CKV_ACCESS_WRITE, 1001, group7, 2));
	config_free(c);
	ck_assert_int_eq(parse(GOOD "allow_read =\nallow_write =\n", &c), 0);
	ck_assert(!config_allows(&c->space[0], CKV_ACCESS_READ, 0, none, 1));
	config_free(c);
}
END_TEST

/* A reload takes what may change and names what may not; nothing else moves. */
START_TEST(a_reload_takes_some_and_refuses_the_rest_by_name)
{
	struct config *now, *wanted;
	char changed[sizeof said];

	ck_assert_int_eq(parse(GOOD "[space b]\nmodel = m\nlayers = 1\n"
			       "kv_heads = 1\nhead_dim = 1\npool = 8M\n", &now), 0);
	ck_assert_int_eq(parse("[daemon]\nworkers = 7\nspin_max = 50us\n"
			       "[space a]\nmodel = m\nlayers = 3\nkv_heads = 4\n"
			       "head_dim = 8\npool = 64M\nquota = 1M\n"
			       "lent_pages = 5\nallow_read = 12\n"
			       "[space c]\nmodel = m\nlayers = 1\nkv_heads = 1\n"
			       "head_dim = 1\npool = 8M\n", &wanted), 0);
	said[0] = 0;
	ck_assert_int_eq(config_reload(now, wanted, &complaint,
				       &(struct config_complaint){ collect, NULL }),
			 4);
	strcpy(changed, said);
	ck_assert_ptr_nonnull(strstr(changed, "daemon: workers stays not set; 7 needs "
				     "a restart"));
	ck_assert_ptr_nonnull(strstr(changed, "daemon: spin_max is 50us, was "
				     "100us"));
	ck_assert_ptr_nonnull(strstr(changed, "a: layers stays 2; 3 needs a "
				     "restart"));
	ck_assert_ptr_nonnull(strstr(changed, "a: lent_pages is 5, was 4096"));
	ck_assert_ptr_nonnull(strstr(changed, "space b: it stays"));
	ck_assert_ptr_nonnull(strstr(changed, "space c: a new space needs a "
				     "restart"));
	ck_assert_uint_eq(now->daemon.workers, CONFIG_NONE);
	ck_assert_uint_eq(now->space[0].params.layers, 2);
	ck_assert_uint_eq(now->space[0].n_pages_max,
			  (1u << 20) / now->space[0].pool.page_bytes);
	ck_assert(config_allows(&now->space[0], CKV_ACCESS_WRITE, 99,
				&(gid_t){ 1 }, 1));
	config_free(wanted);
	config_free(now);
}
END_TEST

/* Automatic views: the method in its canonical words, when, and a percentage with its sign. */
START_TEST(a_space_asks_for_views)
{
	struct config *c;
	const struct config_space *s;

	ck_assert_int_eq(parse(GOOD, &c), 0);
	ck_assert_int_eq(c->space[0].automatic, SPACE_AUTO_NONE);
	ck_assert_str_eq(c->space[0].compress.text, "");
	config_free(c);
	ck_assert_msg(parse(GOOD "compress = keydiff( keep=0.25 ) + fp8\n"
			    "compress_on = demote\n", &c) == 0, "%s", said);
	s = &c->space[0];
	ck_assert_int_eq(s->automatic, SPACE_AUTO_DEMOTE);
	ck_assert_str_eq(s->compress.text,
			 "keydiff(keep=1/4, block=0) + fp8(scale=head, full=0)");
	config_free(c);
	ck_assert_int_eq(parse(GOOD "compress = int8\nviews = 25%\nfloor = 0 %\n",
			       &c), 0);
	ck_assert_int_eq(c->space[0].automatic, SPACE_AUTO_PUBLISH);
	ck_assert_uint_eq(c->space[0].params.views, 25);
	config_free(c);
	ck_assert_int_eq(parse(GOOD "floor = 97%\n", &c), 0);
	ck_assert_uint_eq(c->space[0].params.floor, 97);
	config_free(c);
}
END_TEST

/* A reload changes method, time and floor, and what follows from them. */
START_TEST(a_reload_changes_automatic_views)
{
	struct config *now, *wanted;

	ck_assert_int_eq(parse(GOOD "compress = int8\n", &now), 0);
	ck_assert_int_eq(parse(GOOD "compress = l2norm(keep=1/2)\n"
			       "compress_on = pressure\n", &wanted), 0);
	ck_assert_int_eq(config_reload(now, wanted, &complaint, &complaint), 2);
	ck_assert_int_eq(now->space[0].automatic, SPACE_AUTO_PRESSURE);
	ck_assert_str_eq(now->space[0].compress.text,
			 wanted->space[0].compress.text);
	config_free(wanted);
	ck_assert_int_eq(parse(GOOD, &wanted), 0);
	ck_assert_int_eq(config_reload(now, wanted, &complaint, &complaint), 2);
	ck_assert_int_eq(now->space[0].automatic, SPACE_AUTO_NONE);
	config_free(wanted);
	config_free(now);
}
END_TEST

CHECK_MAIN("config",
	CASE("config"),
	EACH(a_wrong_file_is_refused_by_line_and_key, wrong),
	TEST(a_file_with_a_zero_byte_is_refused),
	TEST(all_complaints_come_at_once),
	TEST(numbers_follow_from_keys),
	TEST(a_page_has_a_meaning),
	TEST(long_values_are_taken_whole),
	TEST(the_smallest_pool_is_one_page),
	TEST(the_bounds_of_each_key_are_taken),
	TEST(an_unset_slab_follows_the_pool),
	TEST(allow_lists_decide_who_attaches),
	TEST(a_reload_takes_some_and_refuses_the_rest_by_name),
	TEST(a_space_asks_for_views),
	TEST(a_reload_changes_automatic_views))
