/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_processor.c - instructions that the hot paths use, clock.
 */
#include "client/cli/doctor.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

static int has_sha(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
}

static void check_instructions(struct doctor *doctor)
{
	int avx2 = __builtin_cpu_supports("avx2") != 0;
	int avx512 = __builtin_cpu_supports("avx512f") != 0;

	doctor_add(doctor, avx2 ? DOCTOR_OK : DOCTOR_WARN, "vectors",
		   "checksums and compression run several times slower",
		   "a processor with AVX2; in a virtual machine, pass it through",
		   "AVX2 %s, AVX-512 %s", avx2 ? "yes" : "no",
		   avx512 ? "yes" : "no");
	doctor_add(doctor, has_sha() ? DOCTOR_OK : DOCTOR_WARN, "SHA-256",
		   "deriving keys from tokens costs several times more",
		   "nothing, or let the engine give its own keys (keys = engine)",
		   "SHA instructions %s", has_sha() ? "yes" : "no");
}
#else
static void check_instructions(struct doctor *doctor)
{
	doctor_add(doctor, DOCTOR_WARN, "vectors",
		   "portable code is used, which is slower",
		   "nothing; it works", "not an x86-64 processor");
}
#endif

static void check_clock(struct doctor *doctor)
{
	char governor[32], source[32];

	doctor_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
		    governor, sizeof governor);
	doctor_read("/sys/devices/system/clocksource/clocksource0/"
		    "current_clocksource", source, sizeof source);
	doctor_add(doctor, *governor == '\0' ||
		   strcmp(governor, "performance") == 0 ||
		   strcmp(governor, "schedutil") == 0 ? DOCTOR_OK : DOCTOR_WARN,
		   "clock speed", "round trips after a pause are slower",
		   "cpupower frequency-set -g performance", "governor %s",
		   *governor ? governor : "not shown (virtual machine)");
	doctor_add(doctor, strcmp(source, "hpet") == 0 ||
		   strcmp(source, "acpi_pm") == 0 ? DOCTOR_WARN : DOCTOR_OK,
		   "clock source", "reading the time costs a system call",
		   "boot with a usable TSC (clocksource=tsc)", "%s",
		   *source ? source : "unknown");
}

static void check_processors(struct doctor *doctor)
{
	unsigned long mask[128];	/* 8192 of them */
	long online = sysconf(_SC_NPROCESSORS_ONLN), n = online;

	if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)mask) == 0)
		n = CPU_COUNT_S(sizeof mask, (cpu_set_t *)mask);
	doctor_add(doctor, n >= 2 ? DOCTOR_OK : DOCTOR_WARN, "processors",
		   "daemon and engine take turns, so a round trip is a switch",
		   "give it two or more: taskset, AllowedCPUs= or CPUAffinity=",
		   "%ld usable of %ld", n, online);
}

void doctor_processor(struct doctor *doctor)
{
	check_processors(doctor);
	check_instructions(doctor);
	check_clock(doctor);
}
