/* SPDX-License-Identifier: Apache-2.0 */
/* keeper.c - see keeper.h. */
#include "tests/lib/keeper.h"
#include "daemon/keeper.h"
#include "tests/lib/wait.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

char keeper_dir[FOLDER_BYTES], keeper_program_path[FOLDER_BYTES + 16];
int keeper_listener;
pid_t keeper;
struct fake now;

static char control[FOLDER_BYTES + 16], log_path[FOLDER_BYTES + 16], logged[1 << 16];

void copy_program(const char *path)
{
	static char bytes[1 << 16];
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ssize_t n;

	ck_assert_int_ge(out, 0);
	while ((n = read(in, bytes, sizeof bytes)) > 0)
		ck_assert_int_eq(write(out, bytes, (size_t)n), n);
	close(in);
	close(out);
}

void keeper_setup(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	folder_make(keeper_dir);
	setenv("TMPDIR", keeper_dir, 1);
	snprintf(keeper_program_path, sizeof keeper_program_path, "%s/program", keeper_dir);
	snprintf(control, sizeof control, "%s/control", keeper_dir);
	snprintf(log_path, sizeof log_path, "%s/log", keeper_dir);
	copy_program(keeper_program_path);
	strcpy(a.sun_path, control);
	keeper_listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(keeper_listener, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(keeper_listener, 8), 0);
	unsetenv("NOTIFY_SOCKET");
}

static void live(const struct life *life)
{
	static char option[] = "fake", argument[] = "argument";
	char *argv[] = { keeper_program_path, option, control, argument, NULL };
	int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	dup2(fd, 2);
	close_range(3, ~0u, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setenv("CKV_FAKE", "given", 1);
	if (life->max_fds > 0)
		setrlimit(RLIMIT_NOFILE, &(struct rlimit){ life->max_fds / 2, life->max_fds });
	if (life->child_ignored)
		signal(SIGCHLD, SIG_IGN);
	if (life->no_stdin)
		close(0);
	if (life->place != NULL)
		setenv("TMPDIR", life->place, 1);
	if (life->upper != NULL) {
		setenv("NOTIFY_SOCKET", life->upper, 1);
		snprintf(logged, sizeof logged, "%d", getpid());
		setenv("WATCHDOG_PID", logged, 1);
	}
	if (life->listen_fds != NULL) {
		setenv("LISTEN_FDS", life->listen_fds, 1);
		setenv("LISTEN_PID", "1", 1);
	}
	if (life->prepare != NULL)
		life->prepare();
	_exit(keeper_run(keeper_program_path, argv));
}

void begin_with(const struct life *life)
{
	unlink(log_path);
	fflush(NULL);
	keeper = fork();
	ck_assert_int_ge(keeper, 0);
	if (keeper == 0)
		live(life);
}

void next(void)
{
	ck_assert_int_eq(fake_accept(keeper_listener, A_MOMENT_MS, &now), 0);
}

void begin(void)
{
	begin_with(&(struct life){ 0 });
	next();
}

/* It ended; its exit status. */
int ended(void)
{
	int status = -1;

	WAIT_UNTIL(waitpid(keeper, &status, WNOHANG) == keeper);
	ck_assert(WIFEXITED(status));
	keeper = 0;
	return WEXITSTATUS(status);
}

const char *read_log(void)
{
	int fd = open(log_path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, logged, sizeof logged - 1);

	logged[n > 0 ? n : 0] = 0;
	close(fd);
	return logged;
}

void says(const char *text)
{
	WAIT_UNTIL(strstr(read_log(), text) != NULL);
	ck_assert_msg(strstr(logged, text) != NULL, "it does not say \"%s\": %s", text, logged);
}

/* The daemons end with the test, their keeper with them. */
void keeper_teardown(void)
{
	if (keeper > 0) {
		kill(keeper, SIGTERM);
		fake_exit(&now, 0);
		ended();
	}
}

int n_open_of(pid_t pid)
{
	char path[64];
	DIR *fds;
	int n = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	fds = opendir(path);
	ck_assert_ptr_nonnull(fds);
	while (readdir(fds) != NULL)
		n++;
	closedir(fds);
	return n;
}

void next_has(const char *names, const char *tags)
{
	char all[FAKE_TEXT] = "";

	ck_assert_int_eq(fake_barrier(&now), 0);
	fake_raise(&now, SIGKILL);
	next();
	ck_assert_str_eq(now.hello.names, names);
	for (int i = 0; i < now.hello.n_fds && i < FAKE_TAGS; i++)
		snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i > 0 ? " " : "",
			 now.hello.tags[i]);
	ck_assert_str_eq(all, tags);
}
