/*
 * test_shell_life.c - a daemon from outside: its socket, its words, its signals.
 */
#include "proto/ckv_attach.h"
#include "proto/ckv_stats.h"
#include "proto/ckv_world.h"
#include "tests/lib/daemon.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct test_daemon daemon_;

static void setup(void)
{
	test_daemon_start(&daemon_, "log_level = debug\nmax_clients = 4\n"
			  "max_lanes = 4\nmax_client_lanes = 2\n"
			  "hello_timeout = 100ms\n", NULL);
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
}

/* ---- a bare client ---- */

union message {
	struct ckv_control_head head;
	struct ckv_hello hello;
	struct ckv_attach attach;
	struct ckv_attached attached;
	struct ckv_welcome welcome;
	struct ckv_lane_open lane_open;
	struct ckv_lane_opened lane_opened;
	struct ckv_control_id id;
	struct ckv_refused refused;
	char all[1024];
};

static int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, daemon_.socket);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static void send_fds(int fd, const void *bytes, size_t n_bytes, const int *fds,
		     uint32_t n_fds)
{
	union {
		char bytes[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { (void *)bytes, n_bytes };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > 0) {
		memset(&control, 0, sizeof control);
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, n_fds * sizeof(int));
	}
	ck_assert_int_eq(sendmsg(fd, &m, MSG_NOSIGNAL), (ssize_t)n_bytes);
}

static void head(union message *m, uint16_t type, size_t bytes, uint32_t n_fds)
{
	m->head = (struct ckv_control_head){
		.magic = CKV_CONTROL_MAGIC,
		.protocol_version = CKV_PROTOCOL_VERSION, .type = type,
		.n_fds = n_fds, .n_bytes = (uint32_t)bytes,
	};
}

/* The next message: its type, 0 when the daemon hung up. Descriptors to fds. */
static int hear(int fd, union message *m, int *fds)
{
	union {
		char bytes[CMSG_SPACE(CKV_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { m, sizeof *m };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof control };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct cmsghdr *c;
	ssize_t n;

	ck_assert_int_eq(poll(&p, 1, 5000), 1);
	n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return 0;
	ck_assert_uint_eq(m->head.n_bytes, (uint32_t)n);
	c = CMSG_FIRSTHDR(&h);
	for (uint32_t i = 0; i < m->head.n_fds; i++) {
		int got;

		ck_assert_ptr_nonnull(c);
		memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof got);
		if (fds && i < 4)
			fds[i] = got;
		else
			close(got);
	}
	return m->head.type;
}

static void say_hello(int fd, int *fds)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	union message m = { .hello = { .layout_version = CKV_LAYOUT_VERSION,
				       .pid = (uint32_t)getpid(),
				       .name = "test" } };

	head(&m, CKV_HELLO, sizeof m.hello, 1);
	send_fds(fd, &m, sizeof m.hello, &pidfd, 1);
	close(pidfd);
	ck_assert_int_eq(hear(fd, &m, fds), CKV_WELCOME);
}

static struct ckv_geometry tiny(void)
{
	return (struct ckv_geometry){
		.model = "tiny", .n_layers = 2, .n_kv_heads = 2, .dim_k = 32,
		.dim_v = 32, .block_tokens = 16, .n_ranks = 1,
		.dtype = CKV_DTYPE_F32, .layout = CKV_LAYOUT_HEAD_MAJOR,
		.key_scheme = CKV_KEYS_SHA256,
	};
}

static union message attach_message(uint32_t access)
{
	union message m = { .attach = { .space = "tiny", .access = access,
					.geometry = tiny() } };

	head(&m, CKV_ATTACH, sizeof m.attach, 0);
	return m;
}

static void attach(int fd)
{
	union message m = attach_message(CKV_ACCESS_WRITE);

	send_fds(fd, &m, sizeof m.attach, NULL, 0);
	ck_assert_int_eq(hear(fd, &m, NULL), CKV_ATTACHED);
	ck_assert_int_eq(hear(fd, &m, NULL), CKV_SLABS);
}

static long daemon_descriptors(void)
{
	char path[64];
	long n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)daemon_.pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Once the connection that waited for the start is gone. */
static long settled_descriptors(void)
{
	long n = daemon_descriptors(), last = -1;

	for (int i = 0; i < 100 && n != last; i++) {
		usleep(50000);
		last = n;
		n = daemon_descriptors();
	}
	return n;
}

static void expect_descriptors(long want)
{
	for (int i = 0; i < 1000 && daemon_descriptors() != want; i++)
		usleep(2000);
	ck_assert_int_eq(daemon_descriptors(), want);
}

/* ---- control messages ---- */

enum spoil {
	SPOIL_MAGIC, SPOIL_VERSION, SPOIL_TYPE, SPOIL_BYTES, SPOIL_FDS_SAID,
	SPOIL_FDS_SENT, SPOIL_SHORT, SPOIL_LONG, SPOIL_EMPTY, SPOIL_MANY_FDS,
	SPOIL_LAYOUT, SPOIL_PID, SPOIL_FIRST, SPOILS,
};

static const int spoil_error[] = {
	[SPOIL_VERSION] = EPROTONOSUPPORT, [SPOIL_LAYOUT] = EPROTONOSUPPORT,
	[SPOILS] = 0,
};

/* A spoiled HELLO, by one kind of damage each. */
static void send_spoiled(int fd, enum spoil spoil)
{
	int fds[16], n_fds = 1;
	union message m = { .hello = { .layout_version = CKV_LAYOUT_VERSION,
				       .pid = (uint32_t)getpid() } };
	size_t bytes = sizeof m.hello;

	head(&m, CKV_HELLO, bytes, 1);
	if (spoil == SPOIL_MAGIC)
		m.head.magic++;
	if (spoil == SPOIL_VERSION)
		m.head.protocol_version++;
	if (spoil == SPOIL_TYPE)
		m.head.type = CKV_WELCOME;
	if (spoil == SPOIL_BYTES)
		m.head.n_bytes--;
	if (spoil == SPOIL_FDS_SAID)
		m.head.n_fds = 2;
	if (spoil == SPOIL_FDS_SENT)
		n_fds = 0;
	if (spoil == SPOIL_SHORT)
		m.head.n_bytes = (uint32_t)(bytes = 20);
	if (spoil == SPOIL_LONG)
		m.head.n_bytes = (uint32_t)(bytes = 1000);
	if (spoil == SPOIL_EMPTY)
		bytes = 3;
	if (spoil == SPOIL_MANY_FDS)
		n_fds = 16;
	if (spoil == SPOIL_LAYOUT)
		m.hello.layout_version = 77;
	if (spoil == SPOIL_PID)
		m.hello.pid++;
	if (spoil == SPOIL_FIRST)
		head(&m, CKV_DETACH, bytes = sizeof m.id, 1);
	for (int i = 0; i < n_fds; i++)
		fds[i] = (int)syscall(SYS_pidfd_open, getpid(), 0);
	send_fds(fd, &m, bytes, fds, (uint32_t)n_fds);
	for (int i = 0; i < n_fds; i++)
		close(fds[i]);
}

/* A damaged first message is refused, the socket closed, no descriptor kept. */
START_TEST(a_damaged_hello_is_refused_and_leaks_nothing)
{
	long before = settled_descriptors();
	int want = spoil_error[_i] ? spoil_error[_i] : EPROTO;
	union message m;
	int fd = dial();

	send_spoiled(fd, (enum spoil)_i);
	ck_assert_int_eq(hear(fd, &m, NULL), CKV_REFUSED);
	ck_assert_msg((int)m.refused.error == want, "%s", m.refused.text);
	ck_assert_uint_gt(strlen(m.refused.text), 10);
	ck_assert_int_eq(hear(fd, &m, NULL), 0);
	close(fd);
	expect_descriptors(before);
}
END_TEST

/* Both versions are in the text. */
START_TEST(a_version_mismatch_names_both)
{
	union message m;
	int fd = dial();

	send_spoiled(fd, SPOIL_LAYOUT);
	ck_assert_int_eq(hear(fd, &m, NULL), CKV_REFUSED);
	ck_assert_ptr_nonnull(strstr(m.refused.text, "version 77"));
	ck_assert_ptr_nonnull(strstr(m.refused.text, "version 1"));
	close(fd);
}
END_TEST

/* Each field of the geometry is compared, and named with both values. */
START_TEST(a_geometry_mismatch_names_the_field)
{
	static const char *const text[] = {
		"space tiny: n_layers is 2 here, 3 at the client",
		"space tiny: n_kv_heads is 2 here, 3 at the client",
		"space tiny: dim_k is 32 here, 33 at the client",
		"space tiny: dim_v is 32 here, 33 at the client",
		"space tiny: block_tokens is 16 here, 17 at the client",
		"space tiny: n_ranks is 1 here, 2 at the client",
		"space tiny: dtype is 1 here, 2 at the client",
		"space tiny: layout is 1 here, 2 at the client",
		"space tiny: key_scheme is 1 here, 2 at the client",
		"space tiny: model is tiny here, big at the client",
	};
	union message m;
	int fd = dial();

	say_hello(fd, NULL);
	for (int i = 0; i < 10; i++) {
		m = attach_message(CKV_ACCESS_READ);
		if (i == 9)
			strcpy(m.attach.geometry.model, "big");
		else
			(&m.attach.geometry.n_layers)[i]++;
		send_fds(fd, &m, sizeof m.attach, NULL, 0);
		ck_assert_int_eq(hear(fd, &m, NULL), CKV_REFUSED);
		ck_assert_uint_eq(m.refused.error, EINVAL);
		ck_assert_str_eq(m.refused.text, text[i]);
	}
	attach(fd);	/* and the connection goes on */
	close(fd);
}
END_TEST

static void expect_refusal(int fd, union message *m, size_t bytes, int error)
{
	send_fds(fd, m, bytes, NULL, 0);
	ck_assert_int_eq(hear(fd, m, NULL), CKV_REFUSED);
	ck_assert_msg((int)m->refused.error == error, "%u %s", m->refused.error,
		      m->refused.text);
}

/* Requests that cannot be met are refused; the connection goes on. */
START_TEST(what_cannot_be_met_is_refused)
{
	union message m = attach_message(CKV_ACCESS_WRITE);
	int fd = dial();

	say_hello(fd, NULL);
	strcpy(m.attach.space, "none");
	expect_refusal(fd, &m, sizeof m.attach, ENOENT);
	m = attach_message(9);
	expect_refusal(fd, &m, sizeof m.attach, EINVAL);
	m = (union message){ .lane_open = { .space_id = 0 } };
	head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	expect_refusal(fd, &m, sizeof m.lane_open, EINVAL);
	m = (union message){ .id = { .id = 3 } };
	head(&m, CKV_LANE_CLOSE, sizeof m.id, 0);
	expect_refusal(fd, &m, sizeof m.id, EINVAL);
	head(&m, CKV_DETACH, sizeof m.id, 0);
	expect_refusal(fd, &m, sizeof m.id, EINVAL);
	attach(fd);
	m = attach_message(CKV_ACCESS_WRITE);
	expect_refusal(fd, &m, sizeof m.attach, EALREADY);
	m = (union message){ .lane_open = { .shape = { .n_slots = 3 } } };
	head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	expect_refusal(fd, &m, sizeof m.lane_open, EINVAL);
	m = (union message){ .lane_open = { .shape = { .n_pins = 1u << 30 } } };
	head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	expect_refusal(fd, &m, sizeof m.lane_open, EDQUOT);
	close(fd);
}
END_TEST

/* The limits of lanes and clients are kept, and what was refused cost nothing. */
START_TEST(limits_are_kept)
{
	long before = settled_descriptors();
	union message m;
	int fd[5];

	for (int i = 0; i < 4; i++) {
		fd[i] = dial();
		say_hello(fd[i], NULL);
	}
	fd[4] = dial();
	ck_assert_int_eq(hear(fd[4], &m, NULL), CKV_REFUSED);
	ck_assert_uint_eq(m.refused.error, EUSERS);
	attach(fd[0]);
	for (int i = 0; i < 3; i++) {
		m = (union message){ .lane_open = { .space_id = 0 } };
		head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
		send_fds(fd[0], &m, sizeof m.lane_open, NULL, 0);
		ck_assert_int_eq(hear(fd[0], &m, NULL),
				 i < 2 ? CKV_LANE_OPENED : CKV_REFUSED);
	}
	ck_assert_uint_eq(m.refused.error, EMFILE);
	/* Lanes said goodbye to: then the client is forgotten at once. */
	for (uint32_t lane = 0; lane < 2; lane++) {
		m = (union message){ .id = { .id = lane } };
		head(&m, CKV_LANE_CLOSE, sizeof m.id, 0);
		send_fds(fd[0], &m, sizeof m.id, NULL, 0);
		ck_assert_int_eq(hear(fd[0], &m, NULL), CKV_DONE);
	}
	for (int i = 0; i < 5; i++)
		close(fd[i]);
	expect_descriptors(before);
}
END_TEST

/* Who connects and says nothing is not waited for. */
START_TEST(a_silent_connection_is_closed)
{
	union message m;
	int fd = dial();

	ck_assert_int_eq(hear(fd, &m, NULL), 0);
	close(fd);
}
END_TEST

/* A client that asks and never reads cannot hold the daemon up, and is put out. */
START_TEST(a_client_that_does_not_read_is_disconnected)
{
	union message m = attach_message(CKV_ACCESS_WRITE), answer;
	int deaf = dial(), fd = dial(), r = 0;

	say_hello(deaf, NULL);
	say_hello(fd, NULL);
	for (int i = 0; i < 100000 && r == 0; i++) {
		m = attach_message(CKV_ACCESS_WRITE);
		r = send(deaf, &m, sizeof m.attach, MSG_NOSIGNAL) < 0;
		m = (union message){ .id = { .id = 0 } };
		head(&m, CKV_DETACH, sizeof m.id, 0);
		r |= send(deaf, &m, sizeof m.id, MSG_NOSIGNAL) < 0;
	}
	ck_assert_int_eq(r, 1);
	attach(fd);	/* others notice nothing */
	(void)answer;
	close(deaf);
	close(fd);
}
END_TEST

/* ---- life ---- */

/* The life word says alive, then died when it is killed; the epoch differs after. */
START_TEST(the_life_word_tells_of_death)
{
	int fd = dial(), fds[4];
	struct ckv_world *world;
	union message m;
	uint64_t epoch;

	say_hello(fd, fds);
	world = mmap(NULL, CKV_WORLD_BYTES, PROT_READ, MAP_SHARED, fds[0], 0);
	ck_assert_ptr_ne(world, MAP_FAILED);
	epoch = world->epoch;
	ck_assert(ckv_world_alive(world, epoch));
	ck_assert_uint_eq(world->life & CKV_LIFE_TID, (uint32_t)daemon_.pid);
	test_daemon_kill(&daemon_);
	ck_assert(!ckv_world_alive(world, epoch));
	ck_assert_uint_ne(world->life & CKV_LIFE_DIED, 0);
	close(fd);
	/* The socket it left behind is replaced. */
	test_daemon_restart(&daemon_);
	ck_assert(test_daemon_logged(&daemon_, "replacing the socket"));
	fd = dial();
	say_hello(fd, fds);
	world = mmap(NULL, CKV_WORLD_BYTES, PROT_READ, MAP_SHARED, fds[0], 0);
	ck_assert_uint_ne(world->epoch, epoch);
	ck_assert_int_eq(test_daemon_stop(&daemon_), 0);
	ck_assert_uint_eq(world->life, 0);
	ck_assert_int_eq(hear(fd, &m, NULL), 0);
	ck_assert_int_ne(access(daemon_.socket, F_OK), 0);
}
END_TEST

static int run_ckvd(const char *config)
{
	char path[512], *end;
	int status;
	ssize_t n;

	n = readlink("/proc/self/exe", path, sizeof path - 8);
	path[n] = 0;
	for (int i = 0; i < 2 && (end = strrchr(path, '/')); i++)
		*end = 0;
	strcat(path, "/ckvd");
	if (fork() == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		dup2(null, 2);
		execl(path, path, "--config", config, (char *)NULL);
		_exit(99);
	}
	wait(&status);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A second daemon at the same place gives up, and the first goes on. */
START_TEST(a_second_daemon_leaves_the_first_alone)
{
	int fd;

	ck_assert_int_eq(run_ckvd(daemon_.config), 1);
	fd = dial();
	say_hello(fd, NULL);
	close(fd);
}
END_TEST

/* A file that is not a socket is not removed. */
START_TEST(what_is_not_a_socket_is_left_there)
{
	test_daemon_stop(&daemon_);
	close(open(daemon_.socket, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(run_ckvd(daemon_.config), 1);
	ck_assert_int_eq(access(daemon_.socket, F_OK), 0);
}
END_TEST

/* SIGHUP takes what may change, names what may not, and a bad file changes nothing. */
START_TEST(reload_says_what_it_did)
{
	FILE *out = fopen(daemon_.config, "w");

	fprintf(out, "[daemon]\nsocket = /elsewhere\nspin_max = 33us\n"
		TEST_SPACE_TINY);
	fclose(out);
	kill(daemon_.pid, SIGHUP);
	ck_assert(test_daemon_logged(&daemon_, "daemon: spin_max is 33us, was "
				     "100us"));
	ck_assert(test_daemon_logged(&daemon_, "/elsewhere needs a restart"));
	out = fopen(daemon_.config, "w");
	fprintf(out, "[daemon]\nspin_max = soon\n");
	fclose(out);
	kill(daemon_.pid, SIGHUP);
	ck_assert(test_daemon_logged(&daemon_, "spin_max = soon: expected"));
	ck_assert(test_daemon_logged(&daemon_, "reload: nothing changed"));
}
END_TEST

/* With clients attached and nothing to do it sleeps, but for one tick a second. */
START_TEST(an_idle_daemon_sleeps)
{
	int fd = dial(), fds[4];
	struct stat s;
	struct ckv_global_stats *stats;
	uint64_t before;
	void *base;

	say_hello(fd, fds);
	attach(fd);
	ck_assert_int_eq(fstat(fds[1], &s), 0);
	base = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, fds[1], 0);
	stats = ckv_stats_global(base);
	sleep(1);
	before = ckv_hint_load64(&stats->reactor_sleeps);
	sleep(2);
	ck_assert_uint_le(ckv_hint_load64(&stats->reactor_sleeps) - before, 4);
	ck_assert_uint_ge(ckv_hint_load64(&stats->reactor_sleeps) - before, 1);
	ck_assert_uint_ge(ckv_hint_load64(&stats->uptime_s), 2);
	close(fd);
}
END_TEST

/* Stats and world cannot be written by who was sent them. */
START_TEST(what_is_sent_for_reading_is_only_read)
{
	int fd = dial(), fds[4];

	say_hello(fd, fds);
	for (int i = 0; i < 2; i++) {
		char path[64];

		ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				      MAP_SHARED, fds[i], 0), MAP_FAILED);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fds[i]);
		/* Even who may open it again cannot map or write it: sealed. */
		int again = open(path, O_RDWR);

		if (again >= 0) {
			ck_assert_int_lt(write(again, "x", 1), 0);
			ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					      MAP_SHARED, again, 0), MAP_FAILED);
			close(again);
		}
	}
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("shell_life");
	TCase *t = tcase_create("life");
	SRunner *runner;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_damaged_hello_is_refused_and_leaks_nothing, 0,
			    SPOILS);
	tcase_add_test(t, a_version_mismatch_names_both);
	tcase_add_test(t, a_geometry_mismatch_names_the_field);
	tcase_add_test(t, what_cannot_be_met_is_refused);
	tcase_add_test(t, limits_are_kept);
	tcase_add_test(t, a_silent_connection_is_closed);
	tcase_add_test(t, a_client_that_does_not_read_is_disconnected);
	tcase_add_test(t, the_life_word_tells_of_death);
	tcase_add_test(t, a_second_daemon_leaves_the_first_alone);
	tcase_add_test(t, what_is_not_a_socket_is_left_there);
	tcase_add_test(t, reload_says_what_it_did);
	tcase_add_test(t, an_idle_daemon_sleeps);
	tcase_add_test(t, what_is_sent_for_reading_is_only_read);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
