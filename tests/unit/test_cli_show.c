/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_show.c - what ckv prints about a stats memory made by hand.
 */
#include "client/cli/show.h"
#include "client/cli/text.h"
#include "tests/lib/check_main.h"

#include <stdlib.h>

enum { N_SPACES = 2, N_ROWS = 4, OWN_PID = 99 };

static struct ckv_stats_head head = {
	.magic = CKV_STATS_MAGIC, .layout_version = CKV_LAYOUT_VERSION,
	.pid = 4711, .n_spaces = N_SPACES, .n_client_rows = N_ROWS,
	.n_workers = 2, .version = "0.1.0", .loop = "io_uring",
};
static void *stats;
static struct ckv_space_stats counters[N_SPACES];

static void add_client(uint32_t row, uint32_t pid, uint32_t state,
		       const char *name)
{
	struct ckv_client_row *c = ckv_stats_client(stats, N_SPACES, row);

	c->pid = pid;
	c->uid = 4000000;
	c->attached_s = 1000;
	ckv_hint_store64(&c->spaces, 2);
	ckv_hint_store64(&c->pins, 17);
	ckv_hint_store64(&c->requests, 1000 * pid);
	snprintf(c->name, sizeof c->name, "%s", name);
	ckv_client_set_state(c, state);
}

/* Two spaces, three clients of which one is the looking process. */
static void setup(void)
{
	static const char *const names[] = { "llama", "qwen-long" };
	_Atomic uint64_t *word;

	stats = calloc(1, ckv_stats_bytes(N_SPACES, N_ROWS));
	memset(counters, 0, sizeof counters);
	for (uint32_t i = 0; i < N_SPACES; i++) {
		struct ckv_space_row *row = ckv_stats_space(stats, i);

		snprintf(row->name, sizeof row->name, "%s", names[i]);
		snprintf(row->policy, sizeof row->policy, "slru");
		row->pool.page_bytes = 2u << 20;
		row->pool.n_block_pages = 512;
		row->pool.n_slabs = 1;
		row->pool.slab_stride = 1u << 30;
		row->huge_bytes = 1u << 29;
		row->numa_node = CKV_NONE;
		word = (_Atomic uint64_t *)&counters[i];
		for (uint32_t c = 0; c < N_SPACE_STATS; c++)
			ckv_hint_store64(&word[c], 100000 * (i + 1) + c);
	}
	word = (_Atomic uint64_t *)ckv_stats_global(stats);
	for (uint32_t c = 0; c < N_GLOBAL_STATS; c++)
		ckv_hint_store64(&word[c], 7000 + c);
	add_client(0, 31, CKV_CLIENT_ATTACHED, "vllm\033[2J");
	add_client(1, OWN_PID, CKV_CLIENT_ATTACHED, "ckv");
	add_client(3, 32, CKV_CLIENT_DETACHED, "sglang");
}

static void teardown(void)
{
	free(stats);
}

static struct shot take(bool second_known)
{
	struct ckv_space_stats *spaces[N_SPACES] = {
		&counters[0], second_known ? &counters[1] : NULL,
	};
	struct shot shot;

	shot_take(stats, &head, spaces, OWN_PID, &shot);
	shot.taken_s = 1090;
	if (!second_known)
		snprintf(shot.spaces[1].why, sizeof shot.spaces[1].why,
			 "only root may");
	return shot;
}

static char *text_of(void (*show)(FILE *, const struct shot *),
		     const struct shot *shot)
{
	char *text = NULL;
	size_t bytes;
	FILE *file = open_memstream(&text, &bytes);

	show(file, shot);
	fclose(file);
	return text;
}

static void status_all(FILE *file, const struct shot *shot)
{
	show_status(file, shot, "/nonexistent/s", true);
}

/* Model, weights and layout: short in the table, whole in --json. */
START_TEST(spaces_say_what_a_page_means)
{
	struct ckv_space_row *row = ckv_stats_space(stats, 0);
	struct shot shot;
	json_t *json, *g;
	char *text;

	shot = take(true);
	json = show_spaces_json(&shot);
	g = json_object_get(json_array_get(json, 0), "geometry");
	ck_assert(json_is_null(json_object_get(g, "weights")));
	json_decref(json);
	shot_free(&shot);
	memset(row->geometry.model, 'm', CKV_MODEL_BYTES - 1);
	row->geometry.model[CKV_MODEL_BYTES - 2] = 'e';
	memset(row->geometry.weights, 0xab, CKV_WEIGHTS_BYTES);
	row->geometry.layout = CKV_LAYOUT_OPAQUE;
	row->geometry.opaque_bytes = 12345;
	ckv_hint_store32(&row->weights_known, 1);
	ckv_hint_store32(&ckv_stats_space(stats, 1)->weights_known, 1);
	shot = take(true);
	text = text_of(show_spaces, &shot);
	ck_assert_ptr_nonnull(strstr(text, " ...mmm"));
	ck_assert_ptr_nonnull(strstr(text, "mme  abababababab  "));
	ck_assert_ptr_nonnull(strstr(text, "  opaque  "));
	ck_assert_ptr_nonnull(strstr(text, "  none  "));
	json = show_spaces_json(&shot);
	g = json_object_get(json_array_get(json, 0), "geometry");
	ck_assert_uint_eq(strlen(json_string_value(json_object_get(g, "model"))),
			  255);
	ck_assert_str_eq(json_string_value(json_object_get(g, "weights")),
			 "abababababababababababababababab"
			 "abababababababababababababababab");
	ck_assert_str_eq(json_string_value(json_object_get(g, "layout")), "opaque");
	ck_assert_int_eq(json_integer_value(json_object_get(g, "block_bytes")),
			 12345);
	ck_assert(json_is_null(json_object_get(g, "dtype")));
	json_decref(json);
	shot_free(&shot);
	free(text);
}
END_TEST

/* Every counter of the table is in --json with its value. */
START_TEST(status_json_has_every_counter)
{
	struct shot shot = take(true);
	json_t *json = show_status_json(&shot, "/nonexistent/s");
	json_t *g = json_object_get(json, "global");
	json_t *s = json_object_get(json_array_get(
			json_object_get(json, "spaces"), 1), "stats");

	ck_assert_ptr_nonnull(json);
	ck_assert_uint_eq(json_object_size(g), N_GLOBAL_STATS);
	ck_assert_uint_eq(json_object_size(s), N_SPACE_STATS);
#define CKV_GLOBAL_STAT(name, kind, unit, help)				\
	ck_assert_int_eq(json_integer_value(json_object_get(g, #name)),	\
			 7000 + GLOBAL_##name);
#define CKV_SPACE_STAT(name, kind, unit, help)				\
	ck_assert_int_eq(json_integer_value(json_object_get(s, #name)),	\
			 200000 + SPACE_##name);
#include "proto/ckv_stats.def"
	json_decref(json);
	shot_free(&shot);
}
END_TEST

/* --all explains every counter in words. */
START_TEST(status_all_explains_every_counter)
{
	struct shot shot = take(true);
	char *text = text_of(status_all, &shot);

#define CKV_GLOBAL_STAT(name, kind, unit, help)				\
	ck_assert_ptr_nonnull(strstr(text, "  " #name " "));		\
	ck_assert_ptr_nonnull(strstr(text, help));
#define CKV_SPACE_STAT(name, kind, unit, help)				\
	ck_assert_ptr_nonnull(strstr(text, "  " #name " "));		\
	ck_assert_ptr_nonnull(strstr(text, help));
#include "proto/ckv_stats.def"
	free(text);
	shot_free(&shot);
}
END_TEST

/* Hit ratios are named as what they are: clients' claims. */
START_TEST(status_says_whose_word_hits_are)
{
	struct shot shot = take(true);
	char *text = text_of(status_all, &shot);

	ck_assert_ptr_nonnull(strstr(text, "as clients report"));
	ck_assert_ptr_nonnull(strstr(text, "; a service manager was given them to keep"));
	free(text);
	shot_free(&shot);
}
END_TEST

/* A space whose counters may not be read is listed with the reason. */
START_TEST(status_shows_a_forbidden_space)
{
	struct shot shot = take(false);
	char *text = text_of(status_all, &shot);
	json_t *json = show_status_json(&shot, "/nonexistent/s");
	json_t *space = json_array_get(json_object_get(json, "spaces"), 1);

	ck_assert_ptr_nonnull(strstr(text, "qwen-long: counters not shown: "
				     "only root may"));
	ck_assert(json_is_null(json_object_get(space, "stats")));
	ck_assert_str_eq(json_string_value(json_object_get(space, "why")),
			 "only root may");
	json_decref(json);
	free(text);
	shot_free(&shot);
}
END_TEST

/* A client's name cannot send escape sequences to the terminal. */
START_TEST(client_names_are_made_printable)
{
	struct shot shot = take(true);
	char *text = text_of(show_clients, &shot);

	ck_assert_ptr_null(strchr(text, '\033'));
	ck_assert_ptr_nonnull(strstr(text, "vllm?[2J"));
	free(text);
	shot_free(&shot);
}
END_TEST

/* The looking process is not listed; free rows neither. */
START_TEST(clients_leave_out_ckv_itself)
{
	struct shot shot = take(true);
	json_t *json = show_clients_json(&shot);
	json_t *c = json_array_get(json, 1);

	ck_assert_uint_eq(json_array_size(json), 2);
	ck_assert_str_eq(json_string_value(json_object_get(c, "state")),
			 "detached");
	ck_assert_int_eq(json_integer_value(json_object_get(c, "age_s")), 90);
	ck_assert_int_eq(json_integer_value(json_object_get(c, "pins")), 17);
	ck_assert_str_eq(json_string_value(json_array_get(
		json_object_get(c, "spaces"), 0)), "qwen-long");
	json_decref(json);
	shot_free(&shot);
}
END_TEST

/* Columns are aligned: every line of a table ends where its head ends. */
START_TEST(tables_are_as_wide_as_their_widest_cell)
{
	static const char *const heads[] = { "NAME", ">N" };
	struct table t;
	char *text = NULL;
	size_t bytes;
	FILE *file = open_memstream(&text, &bytes);

	table_init(&t, heads, 2);
	table_cell(&t, "a");
	table_cell(&t, "1");
	table_cell(&t, "longer");
	table_cell(&t, "100");
	ck_assert_uint_eq(table_print(&t, file, 0, 0), 3);
	fclose(file);
	ck_assert_str_eq(text, "NAME      N\na         1\nlonger  100\n");
	free(text);
}
END_TEST

/* In a narrow window columns go from the right, in a low one rows from below. */
START_TEST(tables_fit_the_window)
{
	static const char *const heads[] = { "NAME", ">N", ">M" };
	struct table t;
	char *text = NULL;
	size_t bytes;
	FILE *file = open_memstream(&text, &bytes);

	table_init(&t, heads, 3);
	for (int i = 0; i < 15; i++)
		table_cell(&t, "%d", i);
	ck_assert_uint_eq(table_print(&t, file, 8, 3), 4);
	fclose(file);
	ck_assert_str_eq(text, "NAME   N\n0      1\n3      4\n... and 3 more\n");
	free(text);
}
END_TEST

/* top shows what happened per second, busiest client first. */
START_TEST(top_shows_rates)
{
	struct shot before = take(true), now = take(true);
	json_t *json, *space;

	now.taken_ns = before.taken_ns + 2000000000;
	now.global[GLOBAL_requests] += 300;
	now.spaces[0].stat[SPACE_published] += 50;
	now.clients[1].requests += 20;
	json = show_top_json(&before, &now);
	space = json_array_get(json_object_get(json, "spaces"), 0);
	ck_assert_double_eq(json_real_value(json_object_get(
		json_object_get(json, "per_s"), "requests")), 150);
	ck_assert_double_eq(json_real_value(json_object_get(
		json_object_get(space, "per_s"), "published")), 25);
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(
		json_object_get(json, "clients"), 0), "pid")), 32);
	json_decref(json);
	shot_free(&before);
	shot_free(&now);
}
END_TEST

/* No frame is wider or higher than its window, down to nothing. */
START_TEST(top_fits_every_window)
{
	struct shot before = take(true), now = take(true);

	for (unsigned width = 20; width < 140; width += 7) {
		for (unsigned height = 1; height < 30; height++) {
			char *text = NULL, *line, *rest;
			size_t bytes;
			FILE *file = open_memstream(&text, &bytes);
			unsigned lines = 0;

			show_top(file, &before, &now, width, height);
			fclose(file);
			for (line = text; *line; line = rest + 1, lines++) {
				rest = strchr(line, '\n');
				ck_assert_ptr_nonnull(rest);
				ck_assert_uint_le((size_t)(rest - line), width);
			}
			ck_assert_uint_le(lines, height);
			free(text);
		}
	}
	shot_free(&before);
	shot_free(&now);
}
END_TEST

/* Numbers for people are short and keep their unit. */
START_TEST(numbers_read_well)
{
	char out[TEXT_SHORT];

	ck_assert_str_eq(text_bytes(out, 1023), "1023 B");
	ck_assert_str_eq(text_bytes(out, 3u << 29), "1.5 GiB");
	ck_assert_str_eq(text_bytes(out, UINT64_MAX), "16777216 TiB");
	ck_assert_str_eq(text_age(out, 59), "59s");
	ck_assert_str_eq(text_age(out, 3 * 3600 + 60), "3h 1m");
	ck_assert_str_eq(text_age(out, 90000), "1d 1h");
	ck_assert_str_eq(text_percent(out, 1, 0), "-");
	ck_assert_str_eq(text_percent(out, 1, 3), "33.3%");
	ck_assert_str_eq(text_rate(out, 12345), "12.3k");
	ck_assert_str_eq(text_ns(out, 1250), "1.25 us");
}
END_TEST

CHECK_MAIN("cli_show",
	CASE("all", .setup = setup, .teardown = teardown),
	TEST(spaces_say_what_a_page_means),
	TEST(status_json_has_every_counter),
	TEST(status_all_explains_every_counter),
	TEST(status_says_whose_word_hits_are),
	TEST(status_shows_a_forbidden_space),
	TEST(client_names_are_made_printable),
	TEST(clients_leave_out_ckv_itself),
	TEST(tables_are_as_wide_as_their_widest_cell),
	TEST(tables_fit_the_window),
	TEST(top_shows_rates),
	TEST(top_fits_every_window),
	TEST(numbers_read_well))
