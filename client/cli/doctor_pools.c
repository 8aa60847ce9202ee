/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_pools.c - a daemon's configuration beside the memory that this machine gives.
 *
 * What a configuration takes is known to `ckvd --check`, which is run for it.
 */
#include "client/cli/cli.h"
#include "client/cli/doctor.h"
#include "client/cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/ckv/ckvd.conf"

static void become_check(const char *ckvd, const char *config, int out)
{
	char name[] = "ckvd", check[] = "--check", json[] = "--json";
	char key[] = "--config", *file = strdup(config);
	char *argv[] = { name, check, json, key, file, NULL };
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dup2(out, 1);
	dup2(null, 2);
	execvp(ckvd, argv);
	_exit(127);
}

/* What ckvd --check says about a configuration; NULL: nothing, as it cannot be run. */
static json_t *check_config(const char *ckvd, const char *config)
{
	json_t *said = NULL;
	int pair[2];
	FILE *in;
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return NULL;
	pid = fork();
	if (pid == 0)
		become_check(ckvd, config, pair[1]);
	close(pair[1]);
	in = fdopen(pair[0], "r");
	if (in == NULL) {
		close(pair[0]);
	} else {
		said = json_loadf(in, 0, NULL);
		fclose(in);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return said;
}

static void compare(struct doctor *doctor, const char *config, json_t *said)
{
	char need[TEXT_SHORT], limit[TEXT_SHORT], left[TEXT_SHORT];
	const char *by = "this machine";
	json_int_t takes = 0, limit_bytes = 0, free_bytes = INT64_MAX;

	/* What cannot be read is null, and leaves its number as it is. */
	(void)json_unpack(said, "{s:{s:I}}", "memory", "takes_bytes", &takes);
	(void)json_unpack(said, "{s:{s:s, s:I, s:I}}", "given", "by", &by,
			  "free_bytes", &free_bytes, "limit_bytes", &limit_bytes);
	if (free_bytes == INT64_MAX)
		doctor_add(doctor, DOCTOR_OK, "pools", NULL, NULL,
			   "%s takes %s", config,
			   text_bytes(need, (uint64_t)takes));
	else
		doctor_add(doctor, takes <= free_bytes ? DOCTOR_OK : DOCTOR_FAIL,
			   "pools", "ckvd refuses to start",
			   "make the pools smaller, or give the daemon more",
			   "%s takes %s, %s gives at most %s, %s of it free",
			   config, text_bytes(need, (uint64_t)takes), by,
			   text_bytes(limit, (uint64_t)limit_bytes),
			   text_bytes(left, (uint64_t)free_bytes));
}

void doctor_pools(struct doctor *doctor, const char *ckvd, const char *config)
{
	const char *file = config ? config : DEFAULT_CONFIG;
	const char *why;
	json_t *said;

	if (access(file, R_OK) != 0) {
		doctor_add(doctor, config ? DOCTOR_WARN : DOCTOR_OK, "pools",
			   "nothing was compared with this machine's memory",
			   "say --config FILE", "no configuration is looked at: "
			   "%s: %s", file, strerror(errno));
		return;
	}
	said = check_config(ckvd, file);
	if (json_unpack(said, "{s:{s:s}}", "error", "text", &why) == 0)
		doctor_add(doctor, DOCTOR_FAIL, "pools", "ckvd refuses to start",
			   "mend the file; ckvd --check --config FILE says all that "
			   "is wrong with it", "%s", why);
	else if (said == NULL)
		doctor_add(doctor, DOCTOR_WARN, "pools",
			   "nothing was compared with this machine's memory",
			   "say --ckvd PATH",
			   "%s was not looked at: %s cannot be run", file, ckvd);
	else
		compare(doctor, file, said);
	json_decref(said);
}
