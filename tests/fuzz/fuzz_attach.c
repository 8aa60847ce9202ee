/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_attach.c - two connections that send any messages, with any
 * descriptors, to a whole daemon in this process.
 *
 * Whatever comes, every reply is a whole message with the descriptors it
 * announces; and when both connections are gone, so are their lanes, every
 * descriptor they brought or were given, and every mapping made for them.
 */
#include "daemon/shell/daemon.h"
#include "daemon/shell/leave.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/folder.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define SPACES							\
	"[space tiny]\nmodel = tiny\nlayers = 1\nkv_heads = 1\n"	\
	"head_dim = 64\ndtype = f32\npool = 4M\nslab = 2M\n"	\
	"[space other]\nmodel = other\nlayers = 1\nkv_heads = 1\n"	\
	"head_dim = 64\npool = 4M\nslab = 2M\nallow_write = 65533\n"	\
	"layout = opaque\nblock_bytes = 5000\n"

enum { CONNECTIONS = 2, STEPS_MAX = 24 };

struct connection {
	int fd;
	struct client *client;
	uint32_t generation;
};

static struct daemon *daemon_here;
static char dir[FOLDER_BYTES];

static void say(void *context, const char *text)
{
	(void)context;
	fprintf(stderr, "%s\n", text);
}

static void stop(void)
{
	daemon_destroy(daemon_here);
	folder_remove(dir);
}

static void start(void)
{
	const struct config_complaint complaint = { say, NULL };
	struct config *config;
	char text[1024];
	sigset_t set;

	folder_make(dir);
	snprintf(text, sizeof text, "[daemon]\nsocket = %s/s\nloop = epoll\n"
		 "huge_pages = no\nworkers = 1\nmax_clients = 2\nmax_lanes = 3\n"
		 "max_clients_per_user = 2\nmax_lanes_per_user = 3\n"
		 "max_client_lanes = 2\nmax_lane_slots = 64\n"
		 "max_lane_pins = 2048\nmax_lane_arg_bytes = 256K\n"
		 "max_jobs = 2\n" SPACES, dir);
	log_setup(LOG_ERROR);
	assert(config_parse("fuzz", text, &complaint, &config) == 0);
	assert(daemon_start(config, "fuzz", &daemon_here) == 0);
	atexit(stop);
	sigfillset(&set);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert(d != NULL);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void open_connection(struct connection *c)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct daemon *d = daemon_here;
	int r;

	snprintf(address.sun_path, sizeof address.sun_path, "%s/s", dir);
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	r = connect(c->fd, (struct sockaddr *)&address, sizeof address);
	assert(c->fd >= 0 && r == 0);
	clients_accept(d);
	/* The other connection took the first place, if it is there. */
	for (uint32_t i = 0; i < d->n_clients_max; i++)
		if (d->client[i].state == CLIENT_CONNECTED &&
		    d->client[i].n_requests == 0)
			c->client = &d->client[i];
	assert(c->client != NULL);
	c->client->n_requests = 1;	/* taken */
	c->generation = c->client->generation;
}

static bool is_there(const struct connection *c)
{
	return c->client->state != CLIENT_FREE &&
	       c->client->state != CLIENT_ENDING &&
	       c->client->generation == c->generation;
}

/* Send bytes with the first n of some descriptors. */
static void send_bytes(const struct connection *c, const void *data,
		       size_t bytes, const int *fds, size_t n_fds)
{
	union {
		char bytes[CMSG_SPACE(3 * sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)data, bytes };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, n_fds * sizeof(int));
	}
	(void)sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Read every reply and close what came with it. */
static void receive_all(const struct connection *c)
{
	union {
		char bytes[CMSG_SPACE(CKV_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	char data[CKV_CONTROL_BYTES_MAX + 1];
	struct ckv_control_head head;
	ssize_t n;

	for (;;) {
		struct iovec iov = { data, sizeof data };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
				    .msg_control = control.bytes,
				    .msg_controllen = sizeof control.bytes };
		uint32_t n_fds = 0;

		n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return;
		for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h;
		     h = CMSG_NXTHDR(&m, h)) {
			int fd;

			for (size_t at = CMSG_LEN(0);
			     at + sizeof fd <= h->cmsg_len; at += sizeof fd) {
				memcpy(&fd, (char *)h + at, sizeof fd);
				close(fd);
				n_fds++;
			}
		}
		assert((size_t)n >= sizeof head);
		memcpy(&head, data, sizeof head);
		assert(head.magic == CKV_CONTROL_MAGIC && head.n_fds == n_fds &&
		       head.n_bytes == (size_t)n);
	}
}

union message {
	struct ckv_control_head head;
	struct ckv_hello hello;
	struct ckv_attach attach;
	struct ckv_lane_open lane_open;
	struct ckv_lane_close lane_close;
	struct ckv_control_id id;
	struct ckv_slabs slabs;
	uint8_t bytes[2 * CKV_CONTROL_BYTES_MAX];
};

static size_t make_attach(struct ckv_attach *a, struct fuzz_input *in)
{
	static const char *const name[] = { "tiny", "other", "neither" };
	uint8_t which = fuzz_u8(in), field;

	if (which < 3)
		memcpy(a->space, name[which], strlen(name[which]));
	else
		fuzz_take(in, a->space, sizeof a->space);
	a->access = fuzz_u8(in) ^ CKV_ACCESS_WRITE;
	a->any_geometry = fuzz_u8(in) ^ CKV_WANT_ANY;
	a->geometry = daemon_here->config->space[which % 2].geometry;
	field = fuzz_u8(in);
	/* Any part of it, by one byte. */
	if (field != 0)
		((uint8_t *)&a->geometry)[field * sizeof a->geometry / 256] ^= field;
	return sizeof *a;
}

/* A message as a client sends it, but for what the input says. */
static size_t make_message(union message *m, struct fuzz_input *in)
{
	uint32_t *number;
	uint8_t big;

	switch (m->head.type) {
	case CKV_HELLO:
		m->hello.layout_version = CKV_LAYOUT_VERSION + fuzz_u8(in);
		m->hello.pid = (uint32_t)getpid() + fuzz_u8(in);
		fuzz_take(in, m->hello.name, fuzz_u8(in) %
			  (sizeof m->hello.name + 1));
		return sizeof m->hello;
	case CKV_ATTACH:
		return make_attach(&m->attach, in);
	case CKV_LANE_OPEN:
		m->lane_open.space_id = fuzz_u8(in);
		number = &m->lane_open.shape.n_slots;
		big = fuzz_u8(in);
		for (int i = 0; i < 4; i++)
			if (big >> i & 1)
				number[i] = big & 16 ? fuzz_u32(in) :
					    1u << fuzz_u8(in) % 32;
		return sizeof m->lane_open;
	case CKV_LANE_CLOSE:
		/* Those opened last, one that is not there yet, or any of before. */
		m->lane_close.serial = daemon_here->next_serial + 1 -
				       fuzz_u8(in);
		return sizeof m->lane_close;
	case CKV_DETACH:
		m->id.id = fuzz_u8(in);
		if (m->id.id == 255)
			m->id.id = CKV_NONE;
		return sizeof m->id;
	case CKV_SLAB_WANT:
		m->slabs.space_id = fuzz_u8(in);
		m->slabs.first_slab = fuzz_u8(in);
		return sizeof m->slabs;
	case CKV_RELOAD:
		return sizeof m->head;
	default:
		return sizeof m->head + fuzz_take(in, m->bytes + sizeof m->head,
						  fuzz_u8(in));
	}
}

/* Nobody holds weights that are not known, and who writes holds them. */
static void check_weights(void)
{
	const struct daemon *d = daemon_here;

	for (uint32_t i = 0; i < d->n_clients_max; i++)
		for (uint32_t s = 0; s < d->n_spaces; s++) {
			const struct attachment *a = &d->client[i].attached[s];

			if (a->access == CKV_ACCESS_WRITE)
				assert(a->holds_weights);
			if (a->access != 0 && a->holds_weights)
				assert(d->served[s].weights_known);
		}
}

/* Whatever waits in its socket, and the rest of a long answer. */
static void read_all(struct connection *c)
{
	c->client->readable = is_there(c) && c->client->socket >= 0;
	while (is_there(c) && c->client->readable) {
		assert(c->client->n_awaited == 0);
		client_read(daemon_here, c->client);
		while (lanes_end(daemon_here))
			;
	}
}

/* What the daemon leaves to a thread is closed as well. */
static void wait_for_closer(void)
{
	struct daemon *d = daemon_here;
	uint64_t token[4];

	while (d->n_leaving > 0 || closer_waiting(d->closer) > 0) {
		assert(loop_wait(d->loop, 0, token, 4) >= 0);
		leave_collect(d);
		sched_yield();
	}
}

static void step(struct connection *connection, struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	struct connection *c = &connection[how >> 7];
	union message m = { .bytes = { 0 } };
	size_t n_fds = how >> 5 & 3, bytes;
	int fds[3];

	if (how & 1) {
		bytes = fuzz_take(in, &m, fuzz_u16(in) % sizeof m);
	} else {
		m.head = (struct ckv_control_head){
			.magic = CKV_CONTROL_MAGIC, .n_fds = n_fds > 0,
			.protocol_version = CKV_PROTOCOL_VERSION,
			.type = fuzz_u8(in) % 16,
		};
		bytes = make_message(&m, in);
		m.head.n_bytes = (uint32_t)bytes;
	}
	if (how & 2)
		m.bytes[fuzz_u8(in) % sizeof m.head] ^= fuzz_u8(in);
	if (how & 4)
		bytes -= bytes > 1;
	fds[0] = (int)syscall(SYS_pidfd_open, how & 8 ? getppid() : getpid(), 0);
	fds[1] = how & 16 ? dup(fds[0]) : eventfd(0, EFD_CLOEXEC);
	fds[2] = dup(fds[1]);
	/* A descriptor that is no process comes first now and then. */
	send_bytes(c, &m, bytes, fds + (n_fds == 1 && how & 16), n_fds);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	read_all(c);
	receive_all(c);
	check_weights();
}

static void close_connection(struct connection *c)
{
	close(c->fd);
	read_all(c);
	/* Not dead: what it holds is its own until the kernel says so. */
	if (is_there(c))
		client_died(daemon_here, c->client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	struct connection connection[CONNECTIONS] = { { .fd = -1 } };
	struct daemon *d;
	long descriptors, mapped_bytes;
	int n_fds;

	if (daemon_here == NULL)
		start();
	d = daemon_here;
	n_fds = count_descriptors();
	descriptors = sys_descriptors();
	mapped_bytes = sys_mapped_bytes();
	for (int i = 0; i < CONNECTIONS; i++)
		open_connection(&connection[i]);
	for (int n = 0; in.size > 0 && n < STEPS_MAX; n++)
		step(connection, &in);
	for (int i = 0; i < CONNECTIONS; i++)
		close_connection(&connection[i]);
	while (lanes_end(d))
		;
	/* Those that had not read what was sent to them have closed their ends. */
	for (uint32_t i = 0; i < d->n_clients_max; i++)
		if (d->client[i].state == CLIENT_ENDING)
			client_free(d, &d->client[i]);
	wait_for_closer();
	assert(d->n_clients == 0 && d->n_lanes == 0 && d->n_serving == 0);
	assert(d->n_mute == 0 && d->user[0].n_clients == 0);
	assert(sys_descriptors() == descriptors);
	assert(sys_mapped_bytes() == mapped_bytes);
	assert(count_descriptors() == n_fds);
	for (uint32_t i = 0; i < d->n_spaces; i++)
		space_check(d->served[i].core);
	return 0;
}
