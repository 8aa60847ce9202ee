/* SPDX-License-Identifier: Apache-2.0 */
/*
 * observe.c - attaching as an observer, and mapping what it is given.
 *
 * Sizes come from the descriptors themselves (fstat) and are compared with what
 * the messages and heads say before anything is read through them.
 */
#include "client/cli/observe.h"
#include "client/cli/cli.h"
#include "client/cli/connect.h"
#include "client/cli/control.h"
#include "client/cli/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Map a whole descriptor read-only, at least `bytes` of it. */
static void *map_fd(int fd, size_t bytes, size_t *ret_bytes)
{
	struct stat st;
	void *memory;

	if (fstat(fd, &st) < 0 || st.st_size < 0 || (size_t)st.st_size < bytes)
		return NULL;
	memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return NULL;
	*ret_bytes = (size_t)st.st_size;
	return memory;
}

static int explain(struct observer *o, int error, const char *what)
{
	snprintf(o->why, sizeof o->why, "%s: %s", what, strerror(-error));
	return error;
}

static int explain_mute(struct observer *o)
{
	snprintf(o->why, sizeof o->why, "the daemon is there but does not answer. "
		 "'ps -o pid,stat,pcpu,comm -C ckvd' shows T if it is stopped; "
		 "ckv-troubleshooting(7) says what else it can be.");
	return -ETIMEDOUT;
}

/* One request, one reply. A refusal's text goes to o->why. */
static int ask(struct observer *o, void *request, uint16_t type, uint32_t bytes,
	       const int *fds, uint32_t n_fds, struct control_message *reply)
{
	int r;

	r = control_send(o->fd, request, type, bytes, fds, n_fds);
	if (r == 0 || r == -EPIPE)
		r = control_receive(o->fd, reply);
	if (r == -ETIMEDOUT)
		return explain_mute(o);
	if (r == -ECONNRESET)
		return explain(o, r, "the daemon closed the connection");
	if (r < 0)
		return explain(o, r, "talking to the daemon failed");
	if (reply->head.type != CKV_REFUSED)
		return 0;
	control_drop_fds(reply);
	text_clean(o->why, reply->refused.text, sizeof reply->refused.text);
	return reply->refused.error > 0 && reply->refused.error < 4096 ?
	       -(int)reply->refused.error : -EPROTO;
}

static int hello(struct observer *o, struct control_message *reply)
{
	struct ckv_hello request = {
		.layout_version = CKV_LAYOUT_VERSION,
		.pid = (uint32_t)getpid(),
		.name = "ckv",
	};
	int r, self = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (self < 0)
		return explain(o, -errno, "pidfd_open");
	r = ask(o, &request, CKV_HELLO, sizeof request, &self, 1, reply);
	close(self);
	/* It takes no descriptors now, so its kernel tells it of our death. */
	if (r == -EPERM)
		r = ask(o, &request, CKV_HELLO, sizeof request, NULL, 0, reply);
	if (r == -EPROTONOSUPPORT) {
		char text[300];

		snprintf(text, sizeof text, "%.250s", o->why);
		snprintf(o->why, sizeof o->why, "the daemon is of another version "
			 "(%s); this is ckv %s, protocol %u, layout %u. Use the "
			 "ckv that was installed with the daemon, or restart the "
			 "daemon with the new one.", text, CKV_VERSION,
			 CKV_PROTOCOL_VERSION, CKV_LAYOUT_VERSION);
	}
	return r;
}

static int welcome_check(struct observer *o, struct control_message *m)
{
	char version[CKV_NAME_BYTES];

	text_clean(version, m->welcome.version, sizeof version);
	if (m->head.type != CKV_WELCOME ||
	    m->head.n_bytes != sizeof m->welcome || m->n_fds != 2) {
		snprintf(o->why, sizeof o->why, "what answers there is no ckvd");
		return -EPROTO;
	}
	if (m->welcome.layout_version != CKV_LAYOUT_VERSION ||
	    m->head.protocol_version != CKV_PROTOCOL_VERSION) {
		snprintf(o->why, sizeof o->why, "the daemon is ckvd %s (protocol "
			 "%u, layout %u), this is ckv %s (protocol %u, layout %u)."
			 " Use the ckv that was installed with the daemon.",
			 version, m->head.protocol_version,
			 m->welcome.layout_version, CKV_VERSION,
			 CKV_PROTOCOL_VERSION, CKV_LAYOUT_VERSION);
		return -EPROTONOSUPPORT;
	}
	return 0;
}

/* Map world and global stats, and check that the counts in the head fit. */
static int welcome_map(struct observer *o, const struct control_message *m)
{
	size_t world_bytes = 0;

	o->world = map_fd(m->fds[0], CKV_WORLD_BYTES, &world_bytes);
	if (o->world == NULL)
		return explain(o, -ENOMEM, "the daemon's memory cannot be mapped");
	o->stats = map_fd(m->fds[1], CKV_STATS_ROWS_OFFSET, &o->stats_bytes);
	if (o->stats == NULL) {
		munmap(o->world, CKV_WORLD_BYTES);
		return explain(o, -ENOMEM, "the daemon's memory cannot be mapped");
	}
	memcpy(&o->head, o->stats, sizeof o->head);
	if (o->head.magic != CKV_STATS_MAGIC || o->head.n_spaces > 4096 ||
	    o->head.n_client_rows > 1u << 20 ||
	    ckv_stats_bytes(o->head.n_spaces, o->head.n_client_rows) >
	    o->stats_bytes) {
		munmap(o->stats, o->stats_bytes);
		munmap(o->world, CKV_WORLD_BYTES);
		return explain(o, -EPROTO, "the daemon's stats memory is damaged");
	}
	o->welcome = m->welcome;
	return 0;
}

int observer_open(const char *path, struct observer *ret)
{
	struct control_message m;
	int r;

	memset(ret, 0, sizeof *ret);
	ret->fd = connect_control(path, ret->why, sizeof ret->why);
	if (ret->fd < 0)
		return ret->fd;
	r = hello(ret, &m);
	if (r < 0)
		goto close_socket;
	r = welcome_check(ret, &m);
	if (r == 0)
		r = welcome_map(ret, &m);
	control_drop_fds(&m);
	if (r < 0)
		goto close_socket;
	return 0;

close_socket:
	close(ret->fd);
	return r;
}

void observer_close(struct observer *o)
{
	munmap(o->stats, o->stats_bytes);
	munmap(o->world, CKV_WORLD_BYTES);
	close(o->fd);
}

static int index_map(struct observer *o, struct observed_space *s, int fd)
{
	const struct ckv_index_head *head;

	s->index_memory = map_fd(fd, ckv_index_bytes(s->attached.n_buckets),
				 &s->index_bytes);
	if (s->index_memory == NULL)
		return explain(o, -ENOMEM, "the index cannot be mapped");
	head = s->index_memory;
	if (head->magic != CKV_INDEX_MAGIC ||
	    head->n_buckets != s->attached.n_buckets)
		return explain(o, -EPROTO, "the index is damaged");
	s->index.n_buckets = head->n_buckets;
	memcpy(s->index.seed, head->seed, sizeof s->index.seed);
	s->index.buckets = (void *)((char *)s->index_memory +
				    CKV_INDEX_HEAD_BYTES);
	return 0;
}

/* Take every slab's descriptor, and keep those that hold view pages. */
static int slabs_take(struct observer *o, struct observed_space *s)
{
	const struct ckv_pool_shape *pool = &s->attached.pool;
	uint32_t first_kept, n = 0;
	int r;

	if (pool->slab_pages == 0 || pool->page_bytes == 0 ||
	    pool->n_slabs > 1u << 20)
		return explain(o, -EPROTO, "the pool's shape makes no sense");
	first_kept = pool->first_view_page / pool->slab_pages;
	s->slab_fds = cli_alloc(pool->n_slabs, sizeof *s->slab_fds);
	for (uint32_t i = 0; i < pool->n_slabs; i++)
		s->slab_fds[i] = -1;
	while (n < pool->n_slabs) {
		struct control_message m;

		r = control_receive(o->fd, &m);
		if (r < 0)
			return explain(o, r, "the pool was not sent");
		if (m.head.type != CKV_SLABS || m.slabs.first_slab != n ||
		    m.n_fds == 0 || m.n_fds > pool->n_slabs - n) {
			control_drop_fds(&m);
			return explain(o, -EPROTO, "the pool was not sent");
		}
		for (uint32_t i = 0; i < m.n_fds; i++, n++) {
			if (n >= first_kept && pool->n_view_pages)
				s->slab_fds[n] = m.fds[i];
			else
				close(m.fds[i]);
		}
	}
	return 0;
}

static void list_spaces(struct observer *o, const char *asked)
{
	int n = snprintf(o->why, sizeof o->why, "there is no space '%s' here.%s",
			 asked, o->head.n_spaces ? " There is" : "");

	for (uint32_t i = 0; i < o->head.n_spaces; i++) {
		char name[CKV_NAME_BYTES];

		text_clean(name, ckv_stats_space(o->stats, i)->name, sizeof name);
		if (n > 0 && (size_t)n < sizeof o->why)
			n += snprintf(o->why + n, sizeof o->why - (size_t)n,
				      "%s %s", i ? "," : ":", name);
	}
}

int observer_attach(struct observer *o, const char *space, uint32_t access,
		    struct observed_space *ret)
{
	struct ckv_attach request = { .access = access, .any_geometry = CKV_WANT_ANY };
	struct observed_space s = { .stats = NULL };
	struct control_message m;
	size_t bytes = 0;
	int r;

	if (strlen(space) >= sizeof request.space) {
		list_spaces(o, space);
		return -ENOENT;
	}
	memcpy(request.space, space, strlen(space) + 1);
	r = ask(o, &request, CKV_ATTACH, sizeof request, NULL, 0, &m);
	if (r == -ENOENT)
		list_spaces(o, space);
	if (r < 0)
		return r;
	s.attached = m.attached;
	if (m.head.type != CKV_ATTACHED || m.head.n_bytes != sizeof m.attached ||
	    m.n_fds != (access == CKV_ACCESS_STATS ? 1 : 2))
		r = explain(o, -EPROTO, "attaching the space failed");
	else
		s.stats = map_fd(m.fds[0], CKV_SPACE_STATS_BYTES, &bytes);
	if (r == 0 && s.stats == NULL)
		r = explain(o, -ENOMEM, "the space's counters cannot be mapped");
	if (r == 0 && access != CKV_ACCESS_STATS)
		r = index_map(o, &s, m.fds[1]);
	control_drop_fds(&m);
	if (r == 0 && access != CKV_ACCESS_STATS)
		r = slabs_take(o, &s);
	if (r < 0) {
		observer_release(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void observer_release(struct observed_space *s)
{
	for (uint32_t i = 0; s->slab_fds && i < s->attached.pool.n_slabs; i++)
		if (s->slab_fds[i] >= 0)
			close(s->slab_fds[i]);
	free(s->slab_fds);
	if (s->index_memory)
		munmap(s->index_memory, s->index_bytes);
	if (s->stats)
		munmap(s->stats, CKV_SPACE_STATS_BYTES);
	memset(s, 0, sizeof *s);
}

const void *observer_map_slab(const struct observed_space *s, uint32_t slab)
{
	size_t bytes;

	if (slab >= s->attached.pool.n_slabs || s->slab_fds[slab] < 0)
		return NULL;
	return map_fd(s->slab_fds[slab], ckv_slab_bytes(&s->attached.pool),
		      &bytes);
}
