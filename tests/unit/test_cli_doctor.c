/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_doctor.c - what `ckv doctor` says of memory and processors.
 */
#include "client/cli/doctor.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GIB	(1024ull * 1024 * 1024)

static const struct {
	struct machine_memory memory;
	enum doctor_level level;
	const char *what;
} amounts[] = {
	{ { 24 * GIB, 20 * GIB, 20 * GIB, 24 * GIB, "the machine" }, DOCTOR_OK,
	  "20.0 GiB of 24.0 GiB available" },
	{ { 24 * GIB, GIB / 2, GIB / 2, 24 * GIB, "the machine" }, DOCTOR_WARN,
	  "512 MiB of 24.0 GiB available" },
	{ { 24 * GIB, 20 * GIB, 2 * GIB, 4 * GIB, "control group /a" }, DOCTOR_OK,
	  "20.0 GiB of 24.0 GiB available; control group /a gives at most 4.0 GiB, "
	  "2.0 GiB of it free" },
	{ { 24 * GIB, 20 * GIB, GIB / 8, GIB / 8, "control group /a" }, DOCTOR_WARN,
	  "20.0 GiB of 24.0 GiB available; control group /a gives at most 128 MiB, "
	  "128 MiB of it free" },
	{ { 0, MACHINE_UNKNOWN, MACHINE_UNKNOWN, MACHINE_UNKNOWN, "the machine" },
	  DOCTOR_WARN, "cannot be read" },
};

/* The shortest counts, whoever gives it. */
START_TEST(the_shortest_memory_is_judged)
{
	struct doctor doctor = { .n = 0 };

	doctor_amount(&doctor, &amounts[_i].memory);
	ck_assert_uint_eq(doctor.n, 1);
	ck_assert_str_eq(doctor.finding[0].what, amounts[_i].what);
	ck_assert_int_eq(doctor.finding[0].level, amounts[_i].level);
}
END_TEST

static char dir[FOLDER_BYTES], config[FOLDER_BYTES + 8];

/* A configuration with this pool, in a directory of its own. */
static void write_config(const char *pool)
{
	FILE *out;

	folder_make(dir);
	snprintf(config, sizeof config, "%s/conf", dir);
	out = fopen(config, "w");
	ck_assert_ptr_nonnull(out);
	fprintf(out, "[daemon]\nsocket = %s/sock\n[space s]\nmodel = m\nlayers = 32\n"
		"kv_heads = 32\nhead_dim = 128\npool = %s\n", dir, pool);
	fclose(out);
}

static void run_doctor(void)
{
	char args[128];

	snprintf(args, sizeof args, "doctor --config %s", config);
	ckv(args);
}

/* Pools that do not fit fail, with both numbers; nothing is made by asking. */
START_TEST(pools_are_compared_with_this_machine)
{
	char args[128];

	write_config("16TiB");
	run_doctor();
	ck_assert_int_eq(said.rc, 1);
	ck_assert_msg(strstr(said.out, "fail  pools") != NULL &&
		      strstr(said.out, "conf takes 16.") != NULL &&
		      strstr(said.out, " gives at most ") != NULL, "%s", said.out);
	write_config("16MiB");
	run_doctor();
	ck_assert_msg(strstr(said.out, "ok    pools") != NULL &&
		      strstr(said.out, " of it free") != NULL, "%s", said.out);
	write_config("a lot");
	run_doctor();
	ck_assert_msg(strstr(said.out, "fail  pools") != NULL &&
		      strstr(said.out, "conf:8: pool = a lot: expected a size") != NULL, "%s",
		      said.out);
	write_config("16MiB");
	strcat(config, " --ckvd /nowhere/ckvd");
	snprintf(args, sizeof args, "doctor --config %s", config);
	ckv(args);
	ck_assert_msg(strstr(said.out, "was not looked at: /nowhere/ckvd cannot be run") !=
		      NULL, "%s", said.out);
	*strchr(config, ' ') = 0;
	unlink(config);
	rmdir(dir);
	strcpy(config, "/nowhere/conf");
	run_doctor();
	ck_assert_msg(strstr(said.out, "warn  pools") != NULL &&
		      strstr(said.out, "/nowhere/conf: No such file") != NULL, "%s",
		      said.out);
}
END_TEST

/* Processors are those that may be used. */
START_TEST(processors_are_those_that_may_be_used)
{
	cpu_set_t all, one;
	char want[64];

	ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
	CPU_ZERO(&one);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
	ckv("doctor");
	ck_assert_int_eq(sched_setaffinity(0, sizeof all, &all), 0);
	snprintf(want, sizeof want, "warn  processors     1 usable of %ld",
		 sysconf(_SC_NPROCESSORS_ONLN));
	ck_assert_msg(strstr(said.out, want) != NULL, "%s", said.out);
}
END_TEST

CHECK_MAIN("cli_doctor",
	CASE("doctor"),
	EACH(the_shortest_memory_is_judged, amounts),
	TEST(pools_are_compared_with_this_machine),
	TEST(processors_are_those_that_may_be_used))
