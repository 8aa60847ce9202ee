/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_control.c - control messages that a client should not have sent.
 */
#include "tests/lib/check_main.h"
#include "tests/lib/wait.h"
#include "tests/lib/wire.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct test_daemon daemon_;

static void setup(void)
{
	wire_daemon_start(&daemon_);
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
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

static union wire attach_message(uint32_t access)
{
	union wire m = { .attach = { .space = "tiny", .access = access,
					.geometry = tiny() } };

	wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
	return m;
}

static void attach(int fd)
{
	union wire m = attach_message(CKV_ACCESS_WRITE);

	wire_send(fd, &m, sizeof m.attach, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_ATTACHED);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_SLABS);
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

/* On a busy machine that connection may have been among them. */
static void expect_descriptors(long want)
{
	WAIT_UNTIL(daemon_descriptors() <= want);
	ck_assert_int_le(daemon_descriptors(), want);
}

enum spoil {
	SPOIL_MAGIC, SPOIL_VERSION, SPOIL_TYPE, SPOIL_BYTES, SPOIL_FDS_SAID,
	SPOIL_FDS_SENT, SPOIL_SHORT, SPOIL_LONG, SPOIL_EMPTY, SPOIL_MANY_FDS,
	SPOIL_LAYOUT, SPOIL_FIRST, SPOILS,
};

static const int spoil_error[] = {
	[SPOIL_VERSION] = EPROTONOSUPPORT, [SPOIL_LAYOUT] = EPROTONOSUPPORT,
	[SPOILS] = 0,
};

/* A spoiled HELLO, by one kind of damage each. */
static void send_spoiled(int fd, enum spoil spoil)
{
	int fds[16], n_fds = 1;
	union wire m = { .hello = { .layout_version = CKV_LAYOUT_VERSION,
				       .pid = (uint32_t)getpid() } };
	size_t bytes = sizeof m.hello;

	wire_head(&m, CKV_HELLO, bytes, 1);
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
	if (spoil == SPOIL_FIRST)
		wire_head(&m, CKV_DETACH, bytes = sizeof m.id, 1);
	for (int i = 0; i < n_fds; i++)
		fds[i] = (int)syscall(SYS_pidfd_open, getpid(), 0);
	wire_send(fd, &m, bytes, fds, (uint32_t)n_fds);
	for (int i = 0; i < n_fds; i++)
		close(fds[i]);
}

/* A damaged first message is refused, the socket closed, no descriptor kept. */
START_TEST(a_damaged_hello_is_refused_and_leaks_nothing)
{
	long before = settled_descriptors();
	int want = spoil_error[_i] ? spoil_error[_i] : EPROTO;
	union wire m;
	int fd = wire_dial(&daemon_);

	send_spoiled(fd, (enum spoil)_i);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_REFUSED);
	ck_assert_msg((int)m.refused.error == want, "%s", m.refused.text);
	ck_assert_uint_gt(strlen(m.refused.text), 10);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), 0);
	close(fd);
	expect_descriptors(before);
}
END_TEST

/* Both versions are in the text. */
START_TEST(a_version_mismatch_names_both)
{
	union wire m;
	int fd = wire_dial(&daemon_);
	char ours[32];

	snprintf(ours, sizeof ours, "version %u", CKV_LAYOUT_VERSION);
	send_spoiled(fd, SPOIL_LAYOUT);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_REFUSED);
	ck_assert_ptr_nonnull(strstr(m.refused.text, "version 77"));
	ck_assert_ptr_nonnull(strstr(m.refused.text, ours));
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
		"space tiny: dtype is f32 here, f16 (2) at the client",
		"space tiny: layout is head-major here, token-major (2) at the client",
		"space tiny: key_scheme is tokens here, engine (2) at the client",
		"space tiny: model is tiny here, big at the client",
	};
	union wire m;
	int fd = wire_dial(&daemon_);

	wire_hello(fd, NULL);
	for (int i = 0; i < 10; i++) {
		m = attach_message(CKV_ACCESS_READ);
		if (i == 9)
			strcpy(m.attach.geometry.model, "big");
		else
			(&m.attach.geometry.n_layers)[i]++;
		wire_send(fd, &m, sizeof m.attach, NULL, 0);
		ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_REFUSED);
		ck_assert_uint_eq(m.refused.error, EINVAL);
		ck_assert_str_eq(m.refused.text, text[i]);
	}
	attach(fd);	/* and the connection goes on */
	close(fd);
}
END_TEST

static void expect_refusal(int fd, union wire *m, size_t bytes, int error)
{
	wire_send(fd, m, bytes, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, m, NULL), CKV_REFUSED);
	ck_assert_msg((int)m->refused.error == error, "%u %s", m->refused.error,
		      m->refused.text);
}

/* Requests that cannot be met are refused; the connection goes on. */
START_TEST(what_cannot_be_met_is_refused)
{
	union wire m = attach_message(CKV_ACCESS_WRITE);
	int fd = wire_dial(&daemon_);

	wire_hello(fd, NULL);
	strcpy(m.attach.space, "none");
	expect_refusal(fd, &m, sizeof m.attach, ENOENT);
	m = attach_message(9);
	expect_refusal(fd, &m, sizeof m.attach, EINVAL);
	m = (union wire){ .lane_open = { .space_id = 0 } };
	wire_head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	expect_refusal(fd, &m, sizeof m.lane_open, EINVAL);
	m = (union wire){ .lane_close = { .serial = UINT64_MAX } };
	wire_head(&m, CKV_LANE_CLOSE, sizeof m.lane_close, 0);
	expect_refusal(fd, &m, sizeof m.lane_close, EINVAL);
	m = (union wire){ .id = { .id = 3 } };
	wire_head(&m, CKV_DETACH, sizeof m.id, 0);
	expect_refusal(fd, &m, sizeof m.id, EINVAL);
	attach(fd);
	m = attach_message(CKV_ACCESS_WRITE);
	expect_refusal(fd, &m, sizeof m.attach, EALREADY);
	m = (union wire){ .lane_open = { .shape = { .n_slots = 3 } } };
	wire_head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	expect_refusal(fd, &m, sizeof m.lane_open, EINVAL);
	m = (union wire){ .lane_open = { .shape = { .n_pins = 1u << 30 } } };
	wire_head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	expect_refusal(fd, &m, sizeof m.lane_open, EDQUOT);
	close(fd);
}
END_TEST

static int close_lane(int fd, uint64_t serial)
{
	union wire m = { .lane_close = { .serial = serial } };

	wire_head(&m, CKV_LANE_CLOSE, sizeof m.lane_close, 0);
	wire_send(fd, &m, sizeof m.lane_close, NULL, 0);
	return wire_hear(fd, &m, NULL);
}

/*
 * Serials of lanes begin at the daemon's epoch, so one below it is of an earlier daemon:
 * nothing of it is here, which is what closing it asks for. A lane of another process is
 * not closed, and one that was closed is not known any more.
 */
START_TEST(lanes_are_closed_by_serial)
{
	int fd = wire_dial(&daemon_), other = wire_dial(&daemon_);
	uint64_t epoch = wire_hello(fd, NULL), serial;
	union wire m;

	wire_hello(other, NULL);
	attach(fd);
	m = (union wire){ .lane_open = { .space_id = 0 } };
	wire_head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	wire_send(fd, &m, sizeof m.lane_open, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_LANE_OPENED);
	serial = m.lane_opened.serial;
	ck_assert_uint_ge(serial, epoch);
	ck_assert_uint_eq(m.lane_opened.c_offset, 0);
	ck_assert_int_eq(close_lane(fd, epoch - 1), CKV_DONE);
	ck_assert_int_eq(close_lane(other, serial), CKV_REFUSED);
	ck_assert_int_eq(close_lane(fd, serial + 1), CKV_REFUSED);
	ck_assert_int_eq(close_lane(fd, serial), CKV_DONE);
	ck_assert_int_eq(close_lane(fd, serial), CKV_REFUSED);
	close(fd);
	close(other);
}
END_TEST

/* The limits of lanes and clients are kept, and what was refused cost nothing. */
START_TEST(limits_are_kept)
{
	long before = settled_descriptors();
	uint64_t serial[2] = { 0, 0 };
	union wire m;
	int fd[5];

	for (int i = 0; i < 4; i++) {
		fd[i] = wire_dial(&daemon_);
		wire_hello(fd[i], NULL);
	}
	fd[4] = wire_dial(&daemon_);
	ck_assert_int_eq(wire_hear(fd[4], &m, NULL), CKV_REFUSED);
	ck_assert_uint_eq(m.refused.error, EUSERS);
	attach(fd[0]);
	for (int i = 0; i < 3; i++) {
		m = (union wire){ .lane_open = { .space_id = 0 } };
		wire_head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
		wire_send(fd[0], &m, sizeof m.lane_open, NULL, 0);
		ck_assert_int_eq(wire_hear(fd[0], &m, NULL),
				 i < 2 ? CKV_LANE_OPENED : CKV_REFUSED);
		if (i < 2)
			serial[i] = m.lane_opened.serial;
	}
	ck_assert_uint_eq(m.refused.error, EMFILE);
	/* Lanes said goodbye to: then the client is forgotten at once. */
	for (uint32_t lane = 0; lane < 2; lane++) {
		m = (union wire){ .lane_close = { .serial = serial[lane] } };
		wire_head(&m, CKV_LANE_CLOSE, sizeof m.lane_close, 0);
		wire_send(fd[0], &m, sizeof m.lane_close, NULL, 0);
		ck_assert_int_eq(wire_hear(fd[0], &m, NULL), CKV_DONE);
	}
	for (int i = 0; i < 5; i++)
		close(fd[i]);
	expect_descriptors(before);
}
END_TEST

/* Who connects and says nothing is not waited for. */
START_TEST(a_silent_connection_is_closed)
{
	union wire m;
	int fd = wire_dial(&daemon_);

	ck_assert_int_eq(wire_hear(fd, &m, NULL), 0);
	close(fd);
}
END_TEST

/* A client that asks and never reads cannot hold the daemon up, and is put out. */
START_TEST(a_client_that_does_not_read_is_disconnected)
{
	union wire m = attach_message(CKV_ACCESS_WRITE), answer;
	int deaf = wire_dial(&daemon_), fd = wire_dial(&daemon_), r = 0;

	wire_hello(deaf, NULL);
	wire_hello(fd, NULL);
	for (int i = 0; i < 100000 && r == 0; i++) {
		m = attach_message(CKV_ACCESS_WRITE);
		r = send(deaf, &m, sizeof m.attach, MSG_NOSIGNAL) < 0;
		m = (union wire){ .id = { .id = 0 } };
		wire_head(&m, CKV_DETACH, sizeof m.id, 0);
		r |= send(deaf, &m, sizeof m.id, MSG_NOSIGNAL) < 0;
	}
	ck_assert_int_eq(r, 1);
	attach(fd);	/* others notice nothing */
	(void)answer;
	close(deaf);
	close(fd);
}
END_TEST

CHECK_MAIN("shell_control",
	CASE("control", .setup = setup, .teardown = teardown),
	LOOP(a_damaged_hello_is_refused_and_leaks_nothing, SPOILS),
	TEST(a_version_mismatch_names_both),
	TEST(a_geometry_mismatch_names_the_field),
	TEST(what_cannot_be_met_is_refused),
	TEST(lanes_are_closed_by_serial),
	TEST(limits_are_kept),
	TEST(a_silent_connection_is_closed),
	TEST(a_client_that_does_not_read_is_disconnected))
