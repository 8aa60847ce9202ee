/* SPDX-License-Identifier: Apache-2.0 */
/* test_keeper.c - what a keeper holds for its daemon, and whom it believes. */
#include "daemon/keeper_store.h"
#include "tests/lib/keeper.h"
#include "tests/lib/wait.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- what is kept ------------------------------------------------------- */

/* All descriptors come back in the order in which they were sent, and nothing else. */
START_TEST(what_was_stored_comes_back)
{
	int two[2] = { fake_memory("one"), fake_memory("two") };
	pid_t first;

	begin();
	ck_assert_int_eq(now.hello.n_fds, -1);
	ck_assert_int_eq(now.hello.listen_pid, 0);
	ck_assert_int_eq(now.hello.n_open, 0);
	first = now.hello.pid;
	ck_assert_int_eq(fake_send(&now, "FDSTORE=1\nFDNAME=a", two, 2), 0);
	fake_store(&now, "three", "FDNAME=b\n");
	next_has("a:a:b", "one two three");
	ck_assert_int_ne(now.hello.pid, first);
	ck_assert_int_eq(now.hello.listen_pid, now.hello.pid);
	ck_assert_int_eq(now.hello.parent, keeper);
	ck_assert_int_eq(now.hello.n_open, 3);
	next_has("a:a:b", "one two three");
	says("was killed by signal 9 (Killed); starting it with 3 kept descriptors");
}
END_TEST

/* A name is what systemd takes for one; else it is "stored". */
START_TEST(names_are_checked)
{
	char text[600], name[300];

	begin();
	fake_store(&now, "1", "");
	fake_store(&now, "2", "FDNAME=with:colon");
	fake_store(&now, "3", "FDNAME=with\ttab");
	fake_store(&now, "4", "FDNAME=");
	fake_store(&now, "5", "FDNAME= any other ~");
	memset(name, 'x', sizeof name);
	name[256] = 0;
	snprintf(text, sizeof text, "FDNAME=%s", name);
	fake_store(&now, "6", text);
	name[255] = 0;
	snprintf(text, sizeof text, "FDNAME=%s", name);
	fake_store(&now, "7", text);
	snprintf(text, sizeof text, "stored:stored:stored:: any other ~:stored:%s", name);
	next_has(text, "1 2 3 4 5 6 7");
	says("a name of descriptors is wrong, and ignored: \"with:colon\"");
	says("with\\ttab");
}
END_TEST

/* Removing takes all of one name, and no other. */
START_TEST(removing_takes_all_of_one_name)
{
	int n;

	begin();
	fake_store(&now, "1", "FDNAME=a");
	ck_assert_int_eq(fake_barrier(&now), 0);
	n = n_open_of(keeper);
	fake_store(&now, "2", "FDNAME=b");
	fake_store(&now, "3", "FDNAME=c");
	fake_store(&now, "4", "FDNAME=b");
	fake_store(&now, "5", "FDNAME=d");
	ck_assert_int_eq(fake_send(&now, "FDSTOREREMOVE=1\nFDNAME=b", NULL, 0), 0);
	ck_assert_int_eq(fake_send(&now, "FDSTOREREMOVE=1\nFDNAME=nobody", NULL, 0), 0);
	ck_assert_int_eq(fake_send(&now, "FDSTOREREMOVE=1", NULL, 0), 0);
	next_has("a:c:d", "1 3 5");
	ck_assert_int_eq(n_open_of(keeper), n + 2);
	/* In one message the old ones go and a new one comes. */
	fake_store(&now, "6", "FDSTOREREMOVE=1\nFDNAME=a");
	next_has("c:d:a", "3 5 6");
}
END_TEST

/* One open file is kept once; two of one name, or of one memory, both. */
START_TEST(one_file_is_kept_once)
{
	int fd = fake_memory("1"), again = dup(fd), read_only;
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	begin();
	ck_assert_int_eq(fake_send(&now, "FDSTORE=1\nFDNAME=a", &fd, 1), 0);
	ck_assert_int_eq(fake_send(&now, "FDSTORE=1\nFDNAME=b", &again, 1), 0);
	ck_assert_int_eq(fake_send(&now, "FDSTORE=1\nFDNAME=a", &read_only, 1), 0);
	next_has("a:a", "1 1");
	/* Its successors are the same file, too. */
	ck_assert_int_eq(fake_send(&now, "FDSTORE=1\nFDNAME=c", &fd, 1), 0);
	next_has("a:a", "1 1");
}
END_TEST

/* A barrier is answered when all before it is done; with other lines nothing is. */
START_TEST(a_barrier_answers_after_what_was_before)
{
	char text[64];

	begin();
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof text, "FDNAME=%d", i);
		fake_store(&now, "x", text);
	}
	ck_assert_int_eq(fake_barrier(&now), 0);
	kill(now.hello.pid, SIGKILL);
	close(now.fd);
	next();
	ck_assert_int_eq(now.hello.n_fds, 100);
	ck_assert_int_eq(strncmp(now.hello.names, "0:1:2:3:", 8), 0);
	fake_store(&now, "x", "FDNAME=more\nBARRIER=1");
	ck_assert_int_eq(fake_send(&now, "BARRIER=1", NULL, 0), 0);
	ck_assert_int_eq(fake_barrier(&now), 0);
	fake_raise(&now, SIGKILL);
	next();
	ck_assert_int_eq(now.hello.n_fds, 100);
}
END_TEST

/* What the daemon sent before it died counts, though all of it is read after that. */
START_TEST(last_words_count)
{
	struct pollfd end = { .events = POLLIN };

	begin();
	end.fd = (int)syscall(SYS_pidfd_open, now.hello.pid, 0);
	kill(keeper, SIGSTOP);
	fake_store(&now, "1", "FDNAME=a");
	fake_store(&now, "2", "FDNAME=b");
	fake_store(&now, "3", "FDNAME=c");
	fake_raise(&now, SIGKILL);
	ck_assert_int_eq(poll(&end, 1, A_MOMENT_MS), 1);
	kill(keeper, SIGCONT);
	next();
	ck_assert_str_eq(now.hello.names, "a:b:c");
	ck_assert_str_eq(now.hello.tags[2], "3");
}
END_TEST

/* A socket whose peer is gone is dropped, unless it is not to be watched. */
START_TEST(hung_up_ones_are_dropped)
{
	int a[2], b[2], n;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
	begin();
	ck_assert_int_eq(fake_send(&now, "FDSTORE=1\nFDNAME=watched", &a[0], 1), 0);
	ck_assert_int_eq(fake_send(&now, "FDSTORE=1\nFDNAME=not\nFDPOLL=0", &b[0], 1), 0);
	ck_assert_int_eq(fake_barrier(&now), 0);
	n = n_open_of(keeper);
	close(a[1]);
	close(b[1]);
	WAIT_UNTIL(n_open_of(keeper) < n);
	ck_assert_int_eq(n_open_of(keeper), n - 1);
	next_has("not", "");
}
END_TEST

/* As many as the limit of descriptors allows; the first one too many is told by name. */
START_TEST(full_is_said)
{
	const int max = (256 - 64) / 2;
	char text[64];

	begin_with(&(struct life){ .max_fds = 256 });
	next();
	ck_assert_int_eq(now.hello.most, max);
	for (int i = 0; i <= max; i++) {
		snprintf(text, sizeof text, "FDNAME=%d", i);
		fake_store(&now, "x", text);
	}
	says("\"96\" is not kept, so a next daemon will not have it: 96 descriptors with ");
	ck_assert_ptr_null(strstr(read_log(), "\"95\""));
	ck_assert_int_eq(fake_send(&now, "FDSTOREREMOVE=1\nFDNAME=0", NULL, 0), 0);
	fake_store(&now, "new", "FDNAME=new");
	ck_assert_int_eq(fake_barrier(&now), 0);
	fake_raise(&now, SIGKILL);
	next();
	ck_assert_int_eq(now.hello.n_fds, max);
	ck_assert_int_eq(now.hello.n_open, max);
	ck_assert_str_eq(now.hello.tags[max - 1], "new");
}
END_TEST

/* All names together are one text of the environment, which has a limit. */
START_TEST(names_are_bounded)
{
	char text[300], name[256];
	int n;

	memset(name, 'n', 255);
	name[255] = 0;
	snprintf(text, sizeof text, "FDNAME=%s", name);
	begin_with(&(struct life){ .max_fds = 4096 });
	next();
	for (int i = 0; i < 520; i++)
		fake_store(&now, "x", text);
	ck_assert_int_eq(fake_barrier(&now), 0);
	fake_raise(&now, SIGKILL);
	next();
	n = now.hello.n_fds;
	ck_assert_int_eq(n, (STORE_NAMES_BYTES - 16) / STORE_NAME_BYTES);
	ck_assert_int_eq(now.hello.n_open, n);
}
END_TEST

/* ---- who is believed, and what ------------------------------------------ */

/* Another process of the same user, also a child of the daemon, changes nothing. */
START_TEST(only_the_daemon_is_believed)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	static const char remove[] = "FDSTOREREMOVE=1\nFDNAME=a";
	int fd = fake_memory("lie"), out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), n;

	begin();
	fake_store(&now, "1", "FDNAME=a");
	ck_assert_int_eq(fake_barrier(&now), 0);
	n = n_open_of(keeper);
	ck_assert_int_eq(fake_child_sends(&now, "FDSTORE=1\nFDNAME=b", &fd, 1), 0);
	strcpy(a.sun_path, now.hello.notify);
	ck_assert_int_gt(sendto(out, remove, strlen(remove), 0, (struct sockaddr *)&a, sizeof a),
			 0);
	ck_assert_int_eq(fake_barrier(&now), 0);
	ck_assert_int_eq(n_open_of(keeper), n);
	says("is ignored: only the daemon's count");
	next_has("a", "1");
}
END_TEST

/* Nobody else comes in where its socket lies. */
START_TEST(its_socket_is_in_a_private_place)
{
	struct stat s;

	begin();
	*strrchr(now.hello.notify, '/') = 0;
	ck_assert_int_eq(stat(now.hello.notify, &s), 0);
	ck_assert_uint_eq(s.st_mode & 0777, 0700);
	kill(keeper, SIGTERM);
	fake_exit(&now, 0);
	ck_assert_int_eq(ended(), 0);
	ck_assert_int_ne(stat(now.hello.notify, &s), 0);
}
END_TEST

/* Messages that are too long, have a 0, say nothing or nonsense do nothing, and leak nothing. */
START_TEST(nonsense_does_nothing)
{
	static char big[5000];
	int fd = fake_memory("x"), many[253], n;

	begin();
	fake_store(&now, "1", "FDNAME=a");
	ck_assert_int_eq(fake_barrier(&now), 0);
	n = n_open_of(keeper);
	memset(big, '\n', sizeof big);
	memcpy(big, "FDSTORE=1", 9);
	ck_assert_int_eq(fake_send_bytes(&now, big, sizeof big, &fd, 1), 0);
	says("a message of 5000 bytes is ignored: 4096 is the most");
	ck_assert_int_eq(fake_send_bytes(&now, "FDSTORE=1\n\0FDNAME=b", 19, &fd, 1), 0);
	says("it has a 0 in it");
	ck_assert_int_eq(fake_send_bytes(&now, "", 0, NULL, 0), 0);
	for (int i = 0; i < 253; i++)
		many[i] = fd;
	ck_assert_int_eq(fake_send(&now, "FDSTORE=2\nXFDSTORE=1\nFDSTORE", many, 253), 0);
	ck_assert_int_eq(fake_send(&now, "FDSTORE=1\nFDNAME=c", NULL, 0), 0);
	ck_assert_int_eq(fake_send(&now, "\n\n=\n=1\nFDNAME", many, 253), 0);
	ck_assert_int_eq(fake_barrier(&now), 0);
	ck_assert_int_eq(n_open_of(keeper), n);
	/* As long as may be, with a 0 at the end. */
	big[STORE_MESSAGE_BYTES - 1] = 0;
	ck_assert_int_eq(fake_send_bytes(&now, big, STORE_MESSAGE_BYTES, &fd, 1), 0);
	next_has("a:stored", "1 x");
}
END_TEST

/* Whoever sends much nonsense does not fill the log. */
START_TEST(lines_about_messages_are_limited)
{
	const char *at;
	int n = 0;

	begin();
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(fake_send_bytes(&now, "\0\0", 2, NULL, 0), 0);
	ck_assert_int_eq(fake_barrier(&now), 0);
	says("more lines about messages are left out");
	for (at = read_log(); (at = strstr(at, "is ignored")) != NULL; at++)
		n++;
	ck_assert_int_eq(n, 20);
}
END_TEST

static char pipe_path[FOLDER_BYTES + 16];

static void log_to_pipe(void)
{
	dup2(open(pipe_path, O_WRONLY | O_CLOEXEC), 2);
}

/* A log that nobody reads stops nobody, and what is lost is counted. */
START_TEST(lost_lines_are_counted)
{
	static char full[4096], text[sizeof full];
	int fd, out;

	snprintf(pipe_path, sizeof pipe_path, "%s/pipe", keeper_dir);
	ck_assert_int_eq(mkfifo(pipe_path, 0600), 0);
	fd = open(pipe_path, O_RDONLY | O_NONBLOCK);
	out = open(pipe_path, O_WRONLY | O_NONBLOCK);
	ck_assert_int_gt(fcntl(fd, F_SETPIPE_SZ, sizeof full), 0);
	ck_assert_int_eq(write(out, full, sizeof full), sizeof full);
	begin_with(&(struct life){ .prepare = log_to_pipe });
	next();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(fake_send_bytes(&now, "\0\0", 2, NULL, 0), 0);
	ck_assert_int_eq(fake_barrier(&now), 0);
	ck_assert_int_eq(read(fd, text, sizeof text), sizeof text);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(fake_send_bytes(&now, "\0\0", 2, NULL, 0), 0);
	ck_assert_int_eq(fake_barrier(&now), 0);
	ck_assert_int_gt(read(fd, text, sizeof text - 1), 0);
	ck_assert_msg(strncmp(text, "ckvd: keeper: 3 lines were lost\nckvd: keeper: a message", 55)
		      == 0 && strstr(text + 10, " lost") == strstr(text, " lost"), "%s", text);
	close(out);
	close(fd);
}
END_TEST

KEEPER_MAIN("keeper",
	CASE("kept", .setup = keeper_setup, .teardown = keeper_teardown),
	TEST(what_was_stored_comes_back),
	TEST(names_are_checked),
	TEST(removing_takes_all_of_one_name),
	TEST(one_file_is_kept_once),
	TEST(a_barrier_answers_after_what_was_before),
	TEST(last_words_count),
	TEST(hung_up_ones_are_dropped),
	TEST(full_is_said),
	TEST(names_are_bounded),
	CASE("believed", .setup = keeper_setup, .teardown = keeper_teardown),
	TEST(only_the_daemon_is_believed),
	TEST(its_socket_is_in_a_private_place),
	TEST(nonsense_does_nothing),
	TEST(lines_about_messages_are_limited),
	TEST(lost_lines_are_counted))
