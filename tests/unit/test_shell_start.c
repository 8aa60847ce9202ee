/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_start.c - what a start refuses, before it has made any memory.
 */
#include "daemon/shell/budget.h"
#include "daemon/shell/daemon.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "tests/lib/check_main.h"
#include "tests/lib/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB	(1024ull * 1024)
#define SPACE	"[space a]\nmodel = m\nlayers = 1\nkv_heads = 1\nhead_dim = 64\n"

static char dir[FOLDER_BYTES];
static char said[8192];

static void setup(void)
{
	char path[FOLDER_BYTES + 16];
	int fd;

	folder_make(dir);
	log_setup(LOG_INFO);
	snprintf(path, sizeof path, "%s/log", dir);
	fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
	dup2(fd, 2);
	close(fd);
	signal(SIGXFSZ, SIG_IGN);
}

/* What was logged since the last time. */
static const char *logged(void)
{
	ssize_t n = pread(2, said, sizeof said - 1, 0);

	said[n > 0 ? n : 0] = 0;
	ck_assert_int_eq(ftruncate(2, 0), 0);
	return said;
}

static void complain(void *context, const char *text)
{
	(void)context;
	strncat(said, text, sizeof said - strlen(said) - 2);
	strcat(said, "\n");
}

static const struct config_complaint complaint = { complain, NULL };

/* The socket is DIR/sock unless the lines say another. */
static struct config *make(const char *lines, const char *spaces)
{
	struct config *config;
	char text[2048];

	snprintf(text, sizeof text, "[daemon]\nmax_clients = 2\nmax_lanes = 2\n"
		 "workers = 1\nhuge_pages = no\n%s%s", lines, spaces);
	said[0] = 0;
	ck_assert_msg(config_parse("test", text, &complaint, &config) == 0, "%s",
		      said);
	if (strstr(lines, "socket =") == NULL)
		snprintf(config->daemon.socket, sizeof config->daemon.socket,
			 "%s/sock", dir);
	return config;
}

/* A start is refused with this error and this text, and has made no memory at all. */
static void is_refused(const char *lines, const char *spaces, int error,
		       const char *text)
{
	struct config *config = make(lines, spaces);
	long memfds = sys_memfds();
	struct daemon *d;

	(void)logged();
	ck_assert_int_eq(daemon_start(config, "test", &d), error);
	ck_assert_msg(strstr(logged(), text) != NULL, "%s", said);
	ck_assert_int_eq(sys_memfds() - memfds, 0);
	config_free(config);
}

/* Another daemon at the socket: said at once. */
START_TEST(a_second_daemon_makes_no_memory)
{
	struct config *config = make("", SPACE "pool = 1MiB\n");
	long fds, mapped, memfds = sys_memfds();
	struct daemon *d;

	ck_assert_int_eq(daemon_start(config, "test", &d), 0);
	ck_assert_int_gt(sys_memfds(), memfds);
	fds = sys_descriptors();
	mapped = sys_mapped_bytes();
	is_refused("", SPACE "pool = 1GiB\n", -EADDRINUSE, "another ckvd serves");
	ck_assert_int_eq(sys_descriptors(), fds);
	ck_assert_int_eq(sys_mapped_bytes(), mapped);
	ck_assert_int_eq(access(config->daemon.socket, F_OK), 0);
	daemon_destroy(d);
}
END_TEST

/* A wrong path, group, node or loop, or somebody else's socket. */
START_TEST(what_is_wrong_is_said_before_memory_is_made)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char lines[128];
	int fd;

	is_refused("socket = /nowhere/at/all/sock\n", SPACE "pool = 1MiB\n", -ENOENT,
		   "/nowhere/at/all/sock.lock: its folder does not exist; make it");
	is_refused("socket_group = no-such-group\n", SPACE "pool = 1MiB\n", -EINVAL,
		   "socket_group = no-such-group: there is no such group");
	is_refused("numa_node = 1000\n", SPACE "pool = 1MiB\n", -EINVAL,
		   "none of that number");
	snprintf(a.sun_path, sizeof a.sun_path, "%s/theirs", dir);
	snprintf(lines, sizeof lines, "socket = %s\n", a.sun_path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	is_refused(lines, SPACE "pool = 1MiB\n", -EADDRINUSE,
		   "another program serves");
	close(fd);
	snprintf(lines, sizeof lines, "socket = %s/log\n", dir);
	is_refused(lines, SPACE "pool = 1MiB\n", -EEXIST, "is not a socket");
	ck_assert_int_eq(sys_descriptors(), 0);
}
END_TEST

static int queue_fd;

static void *close_later(void *argument)
{
	(void)argument;
	wait_moment();
	wait_moment();
	close(queue_fd);
	return NULL;
}

/* The socket of a killed daemon, which many want to connect to, until it is torn down. */
START_TEST(a_full_queue_may_be_that_of_the_dead)
{
	struct config *config = make("", SPACE "pool = 1MiB\n");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int other = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
	pthread_t thread;
	struct daemon *d;

	strcpy(a.sun_path, config->daemon.socket);
	queue_fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	ck_assert_int_eq(bind(queue_fd, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(queue_fd, 0), 0);
	ck_assert_int_eq(connect(other, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, close_later, NULL), 0);
	ck_assert_int_eq(daemon_start(config, "test", &d), 0);
	pthread_join(thread, NULL);
	close(other);
	daemon_destroy(d);
}
END_TEST

static uint64_t mapped_bytes(void)
{
	unsigned long pages = 0;
	FILE *in = fopen("/proc/self/statm", "r");

	ck_assert_ptr_nonnull(in);
	ck_assert_int_eq(fscanf(in, "%lu", &pages), 1);
	fclose(in);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Limits of this process, each named with both numbers. */
START_TEST(limits_are_named_before_memory_is_made)
{
	static const struct {
		__rlimit_resource_t resource;
		rlim_t limit;
		int error;
		const char *text;
	} row[] = {
		{ RLIMIT_FSIZE, MIB, -EFBIG, "space a: needs files of 2.0 MiB; "
		  "RLIMIT_FSIZE allows 1.0 MiB" },
		{ RLIMIT_AS, 6 * MIB, -ENOMEM, "B (LimitAS= in the unit, or ulimit -v)" },
		{ RLIMIT_NOFILE, 20, -EMFILE, "descriptors for its slabs; "
		  "RLIMIT_NOFILE allows 20" },
	};
	struct config *config = make("", SPACE "pool = 8MiB\n");
	struct rlimit before, limit;
	long memfds = sys_memfds();
	struct daemon *d;
	int r;

	getrlimit(row[_i].resource, &before);
	limit = (struct rlimit){ row[_i].limit, before.rlim_max };
	if (row[_i].resource == RLIMIT_AS)
		limit.rlim_cur += mapped_bytes();
	if (row[_i].resource == RLIMIT_NOFILE)	/* a start raises it to the hard one */
		limit.rlim_max = limit.rlim_cur;
	ck_assert_int_eq(setrlimit(row[_i].resource, &limit), 0);
	r = daemon_start(config, "test", &d);
	(void)setrlimit(row[_i].resource, &before);
	ck_assert_int_eq(r, row[_i].error);
	ck_assert_msg(strstr(logged(), row[_i].text) != NULL, "%s", said);
	ck_assert_int_eq(sys_memfds() - memfds, 0);
	config_free(config);
}
END_TEST

/* More than this very machine has. */
START_TEST(a_pool_above_the_machine_makes_no_memory)
{
	is_refused("", "[space big]\nmodel = m\nlayers = 32\nkv_heads = 32\n"
		   "head_dim = 128\npool = 16TiB\n", -ENOMEM,
		   "space big: needs 16.");
}
END_TEST

static struct config *config_;
static struct budget budget;

/* What machine gives, against one space of 512 MiB. */
static int judge(uint64_t free_bytes, const char *name)
{
	struct budget_given given = {
		.memory = { .free_bytes = free_bytes, .limit_bytes = 1024 * MIB },
		.file_bytes = UINT64_MAX, .range_bytes = UINT64_MAX,
		.n_files = UINT64_MAX,
	};

	strcpy(given.memory.name, name);
	said[0] = 0;
	return budget_judge(config_, &budget, &given, &complaint, &complaint);
}

/* All that is taken counts, to the byte; both numbers are said, and what may come. */
START_TEST(memory_is_compared_to_the_byte)
{
	config_ = make("max_lane_arg_bytes = 64MiB\n", SPACE "pool = 512MiB\n");
	budget_count(config_, &budget);
	ck_assert_uint_eq(budget.space[0].pages, 512 * MIB);
	ck_assert_uint_gt(budget.space[0].sum, 512 * MIB +
			  budget.space[0].index + budget.space[0].records);
	ck_assert_uint_eq(budget.sum, budget.space[0].sum + budget.own);
	ck_assert_int_eq(judge(budget.sum - 1, "control group /x"), -ENOMEM);
	ck_assert_msg(strstr(said, "space a: needs 5") != NULL &&
		      strstr(said, " MiB of memory (pages 512.0 MiB, index ") != NULL &&
		      strstr(said, "; control group /x gives at most 1.0 GiB, 5") != NULL,
		      "%s", said);
	/* Two lanes with 64 MiB each way may come on top. */
	ck_assert_uint_gt(budget.at_limits, 256 * MIB);
	ck_assert_int_eq(judge(budget.sum, "the machine"), 0);
	ck_assert_msg(strstr(said, "if all lanes and jobs") != NULL, "%s", said);
	ck_assert_int_eq(judge(budget.sum + budget.at_limits, "the machine"), 0);
	ck_assert_str_eq(said, "");
	ck_assert_int_eq(judge(MACHINE_UNKNOWN, ""), 0);
	ck_assert_msg(strstr(said, "cannot be read") != NULL, "%s", said);
	config_free(config_);
}
END_TEST

/* Spaces count together. */
START_TEST(spaces_are_added_up)
{
	config_ = make("", SPACE "pool = 512MiB\n[space b]\nmodel = m\nlayers = 1\n"
		       "kv_heads = 1\nhead_dim = 64\npool = 256MiB\n");
	budget_count(config_, &budget);
	ck_assert_int_eq(judge(700 * MIB, "the machine"), -ENOMEM);
	ck_assert_msg(strstr(said, "space a and the other spaces: needs 8") != NULL &&
		      strstr(said, "(pages 768.0 MiB") != NULL, "%s", said);
	config_free(config_);
}
END_TEST

/* The check tells of everything at once, takes nothing and leaves nothing. */
START_TEST(a_check_judges_like_a_start)
{
	struct config *config = make("socket_group = no-such-group\n"
				     "numa_node = 1000\n",
				     "[space big]\nmodel = m\nlayers = 32\n"
				     "kv_heads = 32\nhead_dim = 128\npool = 16TiB\n");
	long memfds = sys_memfds();
	struct budget_given given;
	char path[FOLDER_BYTES + 16];

	ck_assert_int_lt(daemon_check(config, &given), 0);
	(void)logged();
	ck_assert_msg(strstr(said, "no such group") && strstr(said, "of that number") &&
		      strstr(said, "space big: needs 16."), "%s", said);
	config_free(config);
	config = make("", SPACE "pool = 1MiB\n");
	ck_assert_int_eq(daemon_check(config, &given), 0);
	ck_assert_uint_gt(given.memory.free_bytes, 0);
	snprintf(path, sizeof path, "%s/sock.lock", dir);
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_int_eq(sys_memfds() - memfds, 0);
	ck_assert_int_eq(sys_descriptors(), 0);
	ck_assert_int_eq(sys_mapped_bytes(), 0);
	config_free(config);
}
END_TEST

/* Beside a running daemon a check passes: what that one holds will be free. */
START_TEST(a_check_beside_a_daemon_counts_its_memory_as_free)
{
	struct config *config = make("", SPACE "pool = 64MiB\n");
	struct budget_given before, after;
	struct daemon *d;

	ck_assert_int_eq(daemon_check(config, &before), 0);
	ck_assert_int_eq(daemon_start(config, "test", &d), 0);
	(void)logged();
	ck_assert_int_eq(daemon_check(config, &after), 0);
	ck_assert_msg(strstr(logged(), "its memory counts as free") != NULL, "%s",
		      said);
	ck_assert_int_eq(access(config->daemon.socket, F_OK), 0);
	daemon_destroy(d);
}
END_TEST

/* Judge as a user without rights, by a start or by a check: the error. */
static int judged_by_nobody(struct config *config, bool check)
{
	struct budget_given given;
	struct daemon *d;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
			_exit(255);
		_exit(-(check ? daemon_check(config, &given) :
				daemon_start(config, "test", &d)));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

/* Something else where the socket or its lock file belongs. Both say the same. */
START_TEST(a_check_knows_what_is_in_the_way)
{
	static const struct {
		const char *name, *text;
		bool link;
		int error;
	} other[] = {
		{ "sock.lock", "where the lock file belongs", false, -EISDIR },
		{ "sock.lock", "where the lock file belongs", true, -ELOOP },
		{ "sock", "is not a socket", false, -EEXIST },
		{ "sock", "a symbolic link to what is not there", true, -EEXIST },
	};
	struct config *config = make("", SPACE "pool = 1MiB\n");
	struct budget_given given;
	char path[FOLDER_BYTES + 16];

	for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, other[i].name);
		ck_assert_int_eq(other[i].link ? symlink("nothing", path) :
				 mkdir(path, 0700), 0);
		(void)logged();
		ck_assert_int_eq(daemon_check(config, &given), other[i].error);
		ck_assert_msg(strstr(logged(), other[i].text) != NULL, "%s", said);
		is_refused("", SPACE "pool = 1MiB\n", other[i].error, other[i].text);
		ck_assert_int_eq(remove(path), 0);
	}
	ck_assert_int_eq(daemon_check(config, &given), 0);
	config_free(config);
}
END_TEST

/* What its user may not have: a group, a lock file of somebody else. Both say the same. */
START_TEST(a_check_knows_what_this_user_may_not)
{
	static const char refused[] = "it belongs to uid 0, who serves this socket or did";
	struct config *config;
	char path[FOLDER_BYTES + 16];

	if (!CHECK_IS_ROOT())
		return;
	ck_assert_int_eq(chmod(dir, 01777), 0);
	config = make("socket_group = root\n", SPACE "pool = 1MiB\n");
	for (int check = 1; check >= 0; check--) {
		(void)logged();
		ck_assert_int_eq(judged_by_nobody(config, check), -EPERM);
		ck_assert_msg(strstr(logged(), "socket_group = root: this user is not "
				     "a member of it") != NULL, "%s", said);
	}
	config_free(config);
	snprintf(path, sizeof path, "%s/sock.lock", dir);
	unlink(path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	config = make("", SPACE "pool = 1MiB\n");
	for (int check = 1; check >= 0; check--) {
		(void)logged();
		ck_assert_int_eq(judged_by_nobody(config, check), -EACCES);
		ck_assert_msg(strstr(logged(), refused) != NULL, "%s", said);
	}
	config_free(config);
}
END_TEST

CHECK_MAIN("shell_start",
	CASE("start", .setup = setup),
	TEST(a_second_daemon_makes_no_memory),
	TEST(what_is_wrong_is_said_before_memory_is_made),
	TEST(a_full_queue_may_be_that_of_the_dead),
	TEST(a_pool_above_the_machine_makes_no_memory),
	TEST(memory_is_compared_to_the_byte),
	TEST(spaces_are_added_up),
	TEST(a_check_judges_like_a_start),
	TEST(a_check_knows_what_is_in_the_way),
	TEST(a_check_knows_what_this_user_may_not),
	TEST(a_check_beside_a_daemon_counts_its_memory_as_free),
	/* Last: a hard limit cannot be raised again. */
	LOOP(limits_are_named_before_memory_is_made, 3))
