/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config_show.c - what ckvd --check prints of a configuration.
 */
#include "daemon/shell/config.h"
#include "tests/lib/check_main.h"
#include "tests/lib/config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A name that is no UTF-8 is valid JSON all the same; one that is stays as it is. */
START_TEST(any_name_is_valid_json)
{
	static const char *const names[][2] = {
		{ "caf\xc3\xa9", "caf\xc3\xa9" }, { "caf\xe9", "caf\xc3\xa9" },
	};

	for (int i = 0; i < 2; i++) {
		struct config *config;
		char text[256], *printed;
		size_t bytes;
		FILE *out = open_memstream(&printed, &bytes);
		json_t *all, *json;

		snprintf(text, sizeof text, "[space a]\nmodel = %s\nlayout = opaque\n"
			 "pool = 1M\nblock_bytes = 4K\n", names[i][0]);
		ck_assert_int_eq(parse(text, &config), 0);
		fputc('{', out);
		config_print_json(config, out);
		fputc('}', out);
		fclose(out);
		all = json_loads(printed, 0, NULL);
		ck_assert_msg(all != NULL, "%s", printed);
		json = json_array_get(json_object_get(all, "spaces"), 0);
		ck_assert_str_eq(json_string_value(json_object_get(json, "model")),
				 names[i][1]);
		ck_assert(json_is_null(json_object_get(json, "layers")));
		json_decref(all);
		free(printed);
		config_free(config);
	}
}
END_TEST

/* Of keys that are not set, but for those that then mean nothing. */
static void expect_what_counts(char *printed)
{
	char *line, *rest = printed;

	while ((line = strsep(&rest, "\n")) != NULL)
		ck_assert_msg(strstr(line, " is not set") == NULL ||
			      strstr(line, " is not set: ") != NULL ||
			      strcmp(line, "# numa_node is not set") == 0 ||
			      strcmp(line, "# block_bytes is not set") == 0,
			      "%s", line);
}

/* What --check prints is a configuration that means the same. */
START_TEST(what_is_printed_can_be_read_again)
{
	char *printed;
	size_t bytes;
	FILE *out = open_memstream(&printed, &bytes);
	struct config *first, *second;

	ck_assert_int_eq(parse("[daemon]\nspin_min = 7us\n" GOOD
			       "compress = keydiff(keep=1/4)\nfloor = 0%\n",
			       &first), 0);
	config_print(first, out);
	fclose(out);
	ck_assert_msg(parse(printed, &second) == 0, "%s", said);
	ck_assert_mem_eq(&first->daemon, &second->daemon, sizeof first->daemon);
	ck_assert_mem_eq(&first->space[0].params, &second->space[0].params,
			 sizeof first->space[0].params);
	/* What is not set is said with what counts instead, never as a dash. */
	ck_assert_ptr_nonnull(strstr(printed, "# max_clients_per_user is not set: 64\n"));
	ck_assert_ptr_nonnull(strstr(printed, "# numa_node is not set\n"));
	ck_assert_ptr_nonnull(strstr(printed, "# head_dim_v is not set: 8\n"));
	ck_assert_ptr_nonnull(strstr(printed, "# slab is not set: 4MiB\n"));
	ck_assert_ptr_nonnull(strstr(printed, "# max_pins_per_client is not set: 65536\n"));
	ck_assert_ptr_null(strstr(printed, " = -"));
	expect_what_counts(printed);
	config_free(first);
	config_free(second);
	free(printed);
	/* So is what an opaque space need not have. */
	out = open_memstream(&printed, &bytes);
	ck_assert_int_eq(parse(OPAQUE "block_bytes = 4K\n", &first), 0);
	config_print(first, out);
	fclose(out);
	ck_assert_ptr_nonnull(strstr(printed, "# layers is not set\n"));
	ck_assert_msg(parse(printed, &second) == 0, "%s", said);
	config_free(first);
	config_free(second);
	free(printed);
}
END_TEST

CHECK_MAIN("config_show",
	CASE("show"),
	TEST(any_name_is_valid_json),
	TEST(what_is_printed_can_be_read_again))
