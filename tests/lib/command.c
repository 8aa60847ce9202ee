/* SPDX-License-Identifier: Apache-2.0 */
/* command.c - see command.h. */
#include "tests/lib/command.h"
#include "tests/lib/built.h"

#include <check.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct command_said said;
uid_t run_as;

const char *ckv_path(void)
{
	static char path[512];
	const char *given = getenv("CKV");

	if (given != NULL)
		return given;
	built("ckv", path, sizeof path);
	return path;
}

void ckv_daemon_start(struct test_daemon *daemon)
{
	test_daemon_start(daemon, "socket_mode = 0666\n", TEST_SPACE_TINY
			  TEST_SPACE("closed", "pool = 4M\nallow_read = root\n"
				     "allow_write = root\n")
			  TEST_SPACE("empty", "pool = 4M\n"));
	ck_assert_int_eq(chmod(daemon->dir, 0755), 0);
	setenv("CKV_SOCKET", daemon->socket, 1);
	run_as = 0;
}

static void take_file(int fd, char *out, size_t bytes)
{
	ssize_t n = pread(fd, out, bytes - 1, 0);

	out[n > 0 ? n : 0] = 0;
	close(fd);
}

/* Run `ckv ARGS`, words separated by blanks, and keep what it says. */
void ckv(const char *args)
{
	char text[256], *argv[16] = { "ckv" }, *rest = text;
	int out = memfd_create("out", MFD_CLOEXEC), status, n = 1;
	int err = memfd_create("err", MFD_CLOEXEC);
	int program = open(ckv_path(), O_PATH | O_CLOEXEC);
	pid_t pid;

	snprintf(text, sizeof text, "%s", args);
	while ((argv[n] = strtok_r(rest, " ", &rest)) != NULL)
		n++;
	pid = fork();
	if (pid == 0) {
		dup2(out, 1);
		dup2(err, 2);
		if (run_as && (setgroups(0, NULL) < 0 || setuid(run_as) < 0))
			_exit(99);
		/* Another user may be unable to walk to where this was built. */
		if (run_as)
			fexecve(program, argv, environ);
		else
			execv(ckv_path(), argv);
		_exit(127);
	}
	close(program);
	waitpid(pid, &status, 0);
	said.rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
	take_file(out, said.out, sizeof said.out);
	take_file(err, said.err, sizeof said.err);
}

/* The same with --json, parsed. The caller gives it to json_decref(). */
json_t *ckv_json(const char *args)
{
	char all[256];
	json_t *json;

	snprintf(all, sizeof all, "%s --json", args);
	ckv(all);
	ck_assert_msg(said.rc == 0, "%s: %s", args, said.err);
	json = json_loads(said.out, JSON_REJECT_DUPLICATES, NULL);
	ck_assert_msg(json != NULL, "%s is no JSON: %s", args, said.out);
	return json;
}

long number(const json_t *json, const char *name)
{
	ck_assert_ptr_nonnull(json_object_get(json, name));
	return (long)json_integer_value(json_object_get(json, name));
}

long space_counter(const char *name)
{
	json_t *all = ckv_json("status");
	const json_t *space = json_array_get(json_object_get(all, "spaces"), 0);
	long n = number(json_object_get(space, "stats"), name);

	json_decref(all);
	return n;
}
