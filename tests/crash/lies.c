/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lies.c - one function per lie, each in a process of its own with an open lane.
 */
#include "tests/crash/lies.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

struct ckv_page_name lies_foreign_page;
const char *lies_socket;

static uint32_t draw_state = 12345;

static uint32_t draw(void)
{
	draw_state = draw_state * 1664525u + 1013904223u;
	return draw_state >> 7;
}

void lies_lose(struct raw_lane *lane, struct ckv_req request)
{
	request.tag = 1;
	if (raw_put(lane, &request) != 0)
		_exit(RAW_BROKEN);
	_exit(raw_closed(lane) == EPROTO ? 0 : 1);
}

static void bad_sequence(struct raw_lane *lane)
{
	uint64_t one = 1;

	ckv_hint_store64(&lane->requests.slots->word[0], 0x1234u);
	(void)!write(lane->eventfd, &one, sizeof one);
	_exit(raw_closed(lane) == EPROTO ? 0 : 1);
}

static void reserved_field(struct raw_lane *lane)
{
	lies_lose(lane, (struct ckv_req){ .op = CKV_OP_NOP, .zero1 = { 0, 1 } });
}

static void reserved_half(struct raw_lane *lane)
{
	lies_lose(lane, (struct ckv_req){ .op = CKV_OP_NOP, .zero0 = 9 });
}

static void argument_outside(struct raw_lane *lane)
{
	lies_lose(lane, (struct ckv_req){ .op = CKV_OP_DROP, .n = 1,
		     .arg_offset = lane->shape.arg_bytes, .arg_bytes = 32 });
}

static void argument_overflow(struct raw_lane *lane)
{
	lies_lose(lane, (struct ckv_req){ .op = CKV_OP_DROP, .n = 1,
		     .arg_offset = 0xfffffff8u, .arg_bytes = 32 });
}

static void argument_unaligned(struct raw_lane *lane)
{
	lies_lose(lane, (struct ckv_req){ .op = CKV_OP_DROP, .n = 1,
		     .arg_offset = 3, .arg_bytes = 32 });
}

/* The keys fit, the answers would not. */
static void answer_outside(struct raw_lane *lane)
{
	lies_lose(lane, (struct ckv_req){ .op = CKV_OP_RESERVE, .n = 8,
		     .flags = CKV_REQ_SCRATCH,
		     .arg_offset = lane->shape.arg_bytes - 8 });
}

/* Wrong, but politely refused: the lane stays and works. */
static void refused_requests(struct raw_lane *lane)
{
	struct ckv_key key = raw_key(9, 9);

	if (raw_request(lane, 77, 0, NULL, 0, 0, NULL, 0) != -EOPNOTSUPP ||
	    raw_request(lane, 0, 0, NULL, 0, 0, NULL, 0) != -EOPNOTSUPP ||
	    raw_request(lane, CKV_OP_NOP, 0xff, NULL, 0, 0, NULL, 0) != -EINVAL ||
	    raw_request(lane, CKV_OP_DROP, 0, &key, 32, 0xffffffffu, NULL,
			0) != -EINVAL ||
	    raw_request(lane, CKV_OP_DROP, 0, &key, 32, 2, NULL, 0) != -EINVAL ||
	    raw_request(lane, CKV_OP_NOP, 0, NULL, 0, 0, NULL, 0) != 0)
		_exit(1);
	_exit(0);
}

/* Completions that were never collected are claimed, and taken back. */
static void credit_lies(struct raw_lane *lane)
{
	struct ckv_req nop = { .op = CKV_OP_NOP };
	uint32_t n = lane->shape.n_slots;

	for (uint32_t i = 0; i < n; i++)
		(void)raw_put(lane, &nop);
	for (int i = 0; i < 200; i++) {
		ckv_hint_store32(&lane->c_head->comp_credit, draw());
		(void)raw_put(lane, &nop);
		raw_knock(lane);
		if (ckv_lane_state(lane->d_head) != 0)
			_exit(0);
		raw_nap();
	}
	_exit(1);
}

/* Everything a scan or a drain reads: noise, while blocks are evicted. */
static void noisy_words(struct raw_lane *lane)
{
	_Atomic uint64_t *pins = (void *)(lane->c + lane->map.pins);
	_Atomic uint32_t *touches = (void *)(lane->c + lane->map.touches);

	for (uint32_t i = 0; i < 2000000; i++) {
		uint32_t r = draw();

		ckv_hint_store64(&pins[r % lane->shape.n_pins],
				 (uint64_t)draw() << 40 ^ draw());
		ckv_hint_store32(&touches[r % lane->shape.n_touches], draw() * 64);
		ckv_hint_store32(&lane->c_head->pin_high, draw() * 128);
		ckv_hint_store32(&lane->c_head->touch_tail, draw() * 128);
		ckv_hint_store32(&lane->c_head->event_arm, r);
		ckv_hint_store32(&lane->c_head->need_wake, r & 1);
		ckv_hint_store64(&lane->c_head->count[r % 16],
				 (uint64_t)draw() << 41);
		if (i % 5000 == 0) {
			struct ckv_req nop = { .op = CKV_OP_NOP };
			struct ckv_comp comp;

			if (raw_put(lane, &nop) != 0 || raw_take(lane, &comp) != 0)
				_exit(1);
		}
	}
	_exit(0);
}

/* The whole C segment overwritten again and again, head and all. */
static void noisy_segment(struct raw_lane *lane)
{
	for (int round = 0; round < 40; round++) {
		for (size_t i = 0; i < lane->map.args; i += 4) {
			uint32_t r = draw() << 11 ^ draw();

			memcpy(lane->c + i, &r, sizeof r);
		}
		raw_knock(lane);
	}
	_exit(0);
}

/* Right slots with random contents: whatever the judge lets through, it must bear. */
static void noisy_requests(struct raw_lane *lane)
{
	struct ckv_comp comp;

	for (int i = 0; i < 3000; i++) {
		struct ckv_req request = {
			.op = (uint8_t)(draw() % 12), .n = draw() % 5,
			.flags = draw() % 8 == 0,
			.arg_offset = draw() % 64 * 8, .arg_bytes = 0,
		};
		static const uint16_t item[] = { 0, 0, 32, 16, 4, 32, 4, 0, 32, 288 };
		uint32_t r;

		if (request.op < 10)
			request.arg_bytes = item[request.op] * request.n +
				(request.op == CKV_OP_RESERVE ? 32 : 0);
		for (uint32_t b = 0; b < 1024; b += 4) {
			r = draw() % 64;
			memcpy(lane->c + lane->map.args + b, &r, sizeof r);
		}
		if (raw_put(lane, &request) != 0 || raw_take(lane, &comp) < 0)
			break;
	}
	_exit(0);
}

/* Its end of the eventfd: filled to the brim and made blocking. */
static void eventfd_full(struct raw_lane *lane)
{
	uint64_t most = UINT64_MAX - 1;

	fcntl(lane->eventfd, F_SETFL, fcntl(lane->eventfd, F_GETFL) & ~O_NONBLOCK);
	for (int i = 0; i < 50; i++) {
		fcntl(lane->eventfd, F_SETFL, O_NONBLOCK);
		(void)!write(lane->eventfd, &most, sizeof most);
		fcntl(lane->eventfd, F_SETFL, 0);
		raw_nap();
	}
	_exit(0);
}

/* Asks for an event at every completion and reads none of them. */
static void deaf_socket(struct raw_lane *lane)
{
	struct ckv_req nop = { .op = CKV_OP_NOP };
	struct ckv_comp comp;

	for (uint32_t i = 1; i < 5000; i++) {
		ckv_hint_store32(&lane->c_head->event_arm, i);
		if (raw_put(lane, &nop) != 0 || raw_take(lane, &comp) != 0)
			_exit(1);
	}
	_exit(0);
}

/* Opens lanes and reads no answer. */
static void deaf_opener(struct raw_lane *lane)
{
	struct ckv_lane_open open = { .space_id = lane->raw->space.space_id };

	raw_head(&open, CKV_LANE_OPEN, sizeof open, 0);
	fcntl(lane->raw->fd, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 2000; i++)
		if (raw_send(lane->raw->fd, &open, sizeof open, NULL, 0) < 0)
			raw_nap();
	_exit(0);
}

/* Wants a slab again and again, and reads none. */
static void deaf_wanter(struct raw_lane *lane)
{
	struct ckv_slabs want = { .space_id = lane->raw->space.space_id };
	struct ckv_key key = raw_key(77, 0);
	struct ckv_lent lent;

	(void)raw_reserve(lane, NULL, &key, &lent);
	raw_head(&want, CKV_SLAB_WANT, sizeof want, 0);
	fcntl(lane->raw->fd, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 5000; i++)
		if (raw_send(lane->raw->fd, &want, sizeof want, NULL, 0) < 0)
			raw_nap();
	_exit(0);
}

/* Wants a slab that is not there: hung up. */
static void wrong_slab(struct raw_lane *lane)
{
	struct ckv_slabs want = { .space_id = lane->raw->space.space_id,
				  .first_slab = UINT32_MAX };
	unsigned char bytes[CKV_CONTROL_BYTES_MAX];
	int fds[CKV_FDS_MAX];
	uint32_t n;
	ssize_t r;

	raw_head(&want, CKV_SLAB_WANT, sizeof want, 0);
	if (raw_send(lane->raw->fd, &want, sizeof want, NULL, 0) != 0)
		_exit(RAW_BROKEN);
	do
		r = raw_receive(lane->raw->fd, bytes, sizeof bytes, fds, &n);
	while (r > 0);
	_exit(r == 0 || r == -ECONNRESET ? 0 : (int)-r);
}

/* Closes every lane there may be, again and again; only its own may go. */
static void closes_all_lanes(struct raw_lane *lane)
{
	unsigned char bytes[CKV_CONTROL_BYTES_MAX];
	struct ckv_lane_close close_it = { .serial = 0 };
	int fds[CKV_FDS_MAX];
	uint32_t n;

	raw_head(&close_it, CKV_LANE_CLOSE, sizeof close_it, 0);
	for (uint64_t i = 0; i < 2000; i++) {
		close_it.serial = lane->serial + 100 - i;
		if (raw_send(lane->raw->fd, &close_it, sizeof close_it, NULL,
			     0) != 0 ||
		    raw_receive(lane->raw->fd, bytes, sizeof bytes, fds,
				&n) <= 0)
			_exit(RAW_BROKEN);
	}
	_exit(0);
}

/* Random bytes of random length: hung up at the first. */
static void garbage_message(struct raw_lane *lane)
{
	unsigned char bytes[600];
	int fds[CKV_FDS_MAX];
	uint32_t n;
	ssize_t r;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)draw();
	if (raw_send(lane->raw->fd, bytes, 1 + draw() % 599, NULL, 0) != 0)
		_exit(RAW_BROKEN);
	do
		r = raw_receive(lane->raw->fd, bytes, sizeof bytes, fds, &n);
	while (r > 0);
	_exit(r == 0 || r == -ECONNRESET ? 0 : (int)-r);
}

/* Messages of every type and plausible sizes with wrong insides. */
static void wrong_messages(struct raw_lane *lane)
{
	union {
		struct ckv_control_head head;
		uint32_t word[128];
	} m;

	for (uint16_t type = 0; type < 40; type++) {
		int fd = raw_connect(lies_socket);
		static const uint32_t bytes[] = {
			16, sizeof(struct ckv_control_id), 40,
			sizeof(struct ckv_hello), sizeof(struct ckv_welcome),
			sizeof(struct ckv_attach), sizeof(struct ckv_attached),
			sizeof(struct ckv_refused), 511,
		};

		for (size_t i = 0; fd >= 0 && i < 9; i++) {
			for (size_t w = 0; w < 128; w++)
				m.word[w] = draw() << 11 ^ draw();
			raw_head(&m, type, bytes[i], draw() % 3);
			(void)raw_send(i % 2 ? fd : lane->raw->fd, &m, bytes[i],
				       NULL, 0);
		}
		close(fd);
	}
	_exit(0);
}

/* As many descriptors as a message carries, again and again. */
static void flood_of_descriptors(struct raw_lane *lane)
{
	struct ckv_hello hello = { .layout_version = CKV_LAYOUT_VERSION,
				   .pid = (uint32_t)getpid() };
	int fds[CKV_FDS_MAX];

	for (uint32_t i = 0; i < CKV_FDS_MAX; i++)
		fds[i] = lane->eventfd;
	for (int i = 0; i < 200; i++) {
		int fd = raw_connect(lies_socket);

		raw_head(&hello, CKV_HELLO, sizeof hello, CKV_FDS_MAX);
		(void)raw_send(fd, &hello, sizeof hello, fds, CKV_FDS_MAX);
		(void)raw_send(fd, &hello, sizeof hello, fds, CKV_FDS_MAX);
		close(fd);
	}
	_exit(0);
}

static int refused_with(int fd, pid_t pid, uint32_t version, uint32_t error)
{
	union {
		struct ckv_refused refused;
		char bytes[CKV_CONTROL_BYTES_MAX];
	} reply;
	int type = raw_hello(fd, pid, version, &reply);

	close(fd);
	return type == CKV_REFUSED && reply.refused.error == error &&
	       reply.refused.text[0] != 0 ? 0 : 1;
}

/*
 * Who a peer is the kernel says, and where it does the number in the message is not looked
 * at: it may be of another pid namespace. Else it must be the peer's.
 */
static void another_process(struct raw_lane *lane)
{
	const char *mode = getenv("CKV_TEST_MODE");
	char reply[CKV_CONTROL_BYTES_MAX];
	int fd = raw_connect(lies_socket), pidfd;
	socklen_t bytes = sizeof pidfd;

	(void)lane;
	if ((mode == NULL || strcmp(mode, "no-peerpidfd") != 0) &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) == 0)
		_exit(raw_hello(fd, getppid(), CKV_LAYOUT_VERSION, reply) !=
		      CKV_WELCOME);
	_exit(refused_with(fd, getppid(), CKV_LAYOUT_VERSION, EPROTO));
}

/* Does a refusal name the client's version and the daemon's? */
static int names_versions(const char *text, unsigned client, unsigned daemon)
{
	char theirs[32], ours[32];

	snprintf(theirs, sizeof theirs, "version %u,", client);
	snprintf(ours, sizeof ours, "version %u", daemon);
	return strstr(text, theirs) != NULL && strstr(text, ours) != NULL;
}

/* An old client is told both versions. */
static void old_layout(struct raw_lane *lane)
{
	union {
		struct ckv_refused refused;
		char bytes[CKV_CONTROL_BYTES_MAX];
	} reply;
	int fd = raw_connect(lies_socket);

	(void)lane;
	if (raw_hello(fd, getpid(), CKV_LAYOUT_VERSION + 41, &reply) !=
	    CKV_REFUSED || reply.refused.error != EPROTONOSUPPORT)
		_exit(1);
	_exit(names_versions(reply.refused.text, CKV_LAYOUT_VERSION + 41,
			     CKV_LAYOUT_VERSION) ? 0 : 1);
}

static void old_protocol(struct raw_lane *lane)
{
	struct ckv_hello hello = { .pid = (uint32_t)getpid() };
	char reply[CKV_CONTROL_BYTES_MAX];
	const struct ckv_refused *refused = (void *)reply;
	int fd = raw_connect(lies_socket), fds[CKV_FDS_MAX];
	uint32_t n;

	(void)lane;
	raw_head(&hello, CKV_HELLO, sizeof hello, 0);
	hello.head.protocol_version = 77;
	if (raw_send(fd, &hello, sizeof hello, NULL, 0) != 0 ||
	    raw_receive(fd, reply, sizeof reply, fds, &n) <= 0 ||
	    refused->head.type != CKV_REFUSED ||
	    refused->error != EPROTONOSUPPORT ||
	    !names_versions(refused->text, 77, CKV_PROTOCOL_VERSION))
		_exit(1);
	_exit(0);
}

/* A space whose list does not name this user (a user of this test's own). */
static void not_invited(struct raw_lane *lane)
{
	struct ckv_attach attach = { .space = "closed", .access = CKV_ACCESS_READ,
				     .any_geometry = CKV_WANT_ANY };
	char reply[CKV_CONTROL_BYTES_MAX];
	const struct ckv_refused *refused = (void *)reply;
	int fds[CKV_FDS_MAX];
	uint32_t n;

	raw_head(&attach, CKV_ATTACH, sizeof attach, 0);
	if (raw_send(lane->raw->fd, &attach, sizeof attach, NULL, 0) != 0 ||
	    raw_receive(lane->raw->fd, reply, sizeof reply, fds, &n) <= 0)
		_exit(RAW_BROKEN);
	_exit(refused->head.type == CKV_REFUSED && refused->error == EACCES &&
	      n == 0 ? 0 : 1);
}

/* Connects and says nothing, many times at once. */
static void silent_crowd(struct raw_lane *lane)
{
	int fd[100];

	(void)lane;
	for (int i = 0; i < 100; i++)
		fd[i] = raw_connect(lies_socket);
	for (int i = 0; i < 500; i++)
		raw_nap();
	(void)fd;
	_exit(0);
}

/* Dies with everything in its hands: lent pages, pins, requests under way. */
static void dies_in_debt(struct raw_lane *lane)
{
	struct ckv_req nop = { .op = CKV_OP_NOP };
	_Atomic uint64_t *pins = (void *)(lane->c + lane->map.pins);
	struct ckv_lent lent;

	for (uint64_t i = 0; i < 50; i++) {
		struct ckv_key key = raw_key(3, i);

		(void)raw_reserve(lane, NULL, &key, &lent);
		ckv_pin_set(&pins[i], (uint32_t)i, 2);
	}
	ckv_hint_store32(&lane->c_head->pin_high, UINT32_MAX);
	for (int i = 0; i < 30; i++)
		(void)raw_put(lane, &nop);
	kill(getpid(), SIGKILL);
}

#define LIE(name) { #name, name, 0 }

const struct lie lies[] = {
	LIE(bad_sequence),
	LIE(reserved_field),
	LIE(reserved_half),
	LIE(argument_outside),
	LIE(argument_overflow),
	LIE(argument_unaligned),
	LIE(answer_outside),
	LIE(page_not_lent),
	LIE(page_of_another),
	LIE(page_of_another_time),
	LIE(publish_reserved),
	LIE(page_beyond_pool),
	LIE(page_of_no_level),
	LIE(name_reserved),
	LIE(reserve_reserved),
	LIE(refused_requests),
	LIE(reserve_at_no_level),
	LIE(credit_lies),
	LIE(noisy_words),
	LIE(noisy_segment),
	LIE(noisy_requests),
	LIE(eventfd_full),
	LIE(deaf_socket),
	LIE(deaf_opener),
	LIE(deaf_wanter),
	LIE(wrong_slab),
	LIE(closes_all_lanes),
	LIE(garbage_message),
	LIE(wrong_messages),
	LIE(flood_of_descriptors),
	LIE(another_process),
	LIE(old_layout),
	LIE(old_protocol),
	LIE(another_identity),
	LIE(not_invited),
	LIE(silent_crowd),
	LIE(compress_reserved),
	LIE(compress_foreign_page),
	LIE(compress_page_beyond),
	LIE(compress_wrong_fields),
	LIE(compress_moving_inputs),
	LIE(prefetch_wrong_fields),
	LIE(waits_of_one_tag),
	{ "dies_in_debt", dies_in_debt, SIGKILL },
};
const unsigned n_lies = sizeof lies / sizeof lies[0];
