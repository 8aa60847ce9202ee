/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_observe.c - ckv's own connection, against a daemon made by hand.
 *
 * The other end is a thread with a listening socket that answers as the test
 * says; its memory is memfds, as the real one's.
 */
#include "client/cli/connect.h"
#include "client/cli/observe.h"
#include "client/cli/scan.h"
#include "client/cli/stats.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { N_BUCKETS = 4, SLOT_ROOT = 3, SLOT_LEAF = 40 };

static struct {
	char folder[FOLDER_BYTES], path[FOLDER_BYTES + 8];
	int listener;
	pthread_t thread;
	uint32_t layout;	/* what WELCOME says */
	int refuse_hello;	/* an errno; 0: WELCOME */
	uint32_t n_spaces_said;	/* in the stats head */
	bool is_dumb;		/* says something that is no message */
	bool is_mute;		/* says nothing */
} fake;

static int memory(size_t bytes, void **ret)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	*ret = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(*ret, MAP_FAILED);
	return fd;
}

static void answer(int fd, void *body, uint16_t type, uint32_t bytes,
		   const int *fds, uint32_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(4 * sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec part = { body, bytes };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
	struct ckv_control_head head = { CKV_CONTROL_MAGIC,
		CKV_PROTOCOL_VERSION, type, n_fds, bytes };

	memcpy(body, &head, sizeof head);
	if (n_fds) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, n_fds * sizeof(int));
	}
	(void)sendmsg(fd, &m, MSG_NOSIGNAL);
}

static void refuse(int fd, uint32_t error, const char *text)
{
	struct ckv_refused refused = { .error = error };

	snprintf(refused.text, sizeof refused.text, "%s", text);
	answer(fd, &refused, CKV_REFUSED, sizeof refused, NULL, 0);
}

static void welcome(int fd)
{
	struct ckv_welcome message = { .layout_version = fake.layout,
		.n_spaces = 1, .epoch = 5, .version = "9.9" };
	struct ckv_stats_head head = { .magic = CKV_STATS_MAGIC,
		.n_spaces = fake.n_spaces_said, .n_client_rows = 2,
		.version = "9.9", .loop = "hand" };
	void *world, *stats;
	int fds[2];

	fds[0] = memory(CKV_WORLD_BYTES, &world);
	fds[1] = memory(ckv_stats_bytes(1, 2), &stats);
	ckv_world_raise_epoch(world, 5);
	ckv_world_set_life(world, 1);
	memcpy(stats, &head, sizeof head);
	strcpy(ckv_stats_space(stats, 0)->name, "llama");
	answer(fd, &message, CKV_WELCOME, sizeof message, fds, 2);
	close(fds[0]);
	close(fds[1]);
}

static void put_block(struct ckv_index *index, uint32_t slot, uint8_t name,
		      uint32_t parent, uint8_t flags)
{
	struct ckv_bucket *bucket = &index->buckets[slot / CKV_BUCKET_ENTRIES];
	struct ckv_block block = {
		.key.byte = { name }, .generation = 2, .level = CKV_LEVEL_HOST,
		.n_tokens = 16, .host_page = 7, .parent_slot = parent,
		.n_pages = 1, .flags = flags, .device_page = CKV_NONE,
	};

	ckv_bucket_open(bucket);
	ckv_entry_store(ckv_index_entry(index, slot), &block);
	ckv_bucket_set_tag(bucket, slot % CKV_BUCKET_ENTRIES,
			   ckv_index_place(index, &block.key).tag);
	ckv_bucket_set_used(bucket, slot % CKV_BUCKET_ENTRIES, true);
	ckv_bucket_close(bucket);
}

static void attached(int fd, const struct ckv_attach *request)
{
	struct ckv_attached message = { .n_buckets = N_BUCKETS,
		.pool = { .page_bytes = 4096, .slab_stride = 2u << 20,
			  .slab_pages = 512, .n_slabs = 1, .n_block_pages = 512 } };
	struct ckv_slabs slabs = { .first_slab = 0 };
	struct ckv_index_head head = { .magic = CKV_INDEX_MAGIC,
		.n_buckets = N_BUCKETS, .seed = { 1, 2, 3, 4 } };
	struct ckv_index index = { .n_buckets = N_BUCKETS,
				   .seed = { 1, 2, 3, 4 } };
	struct ckv_control_id event = { .id = 0 };
	void *stats, *memory_of_index, *slab;
	int fds[2], slab_fd;

	if (strcmp(request->space, "llama") != 0) {
		refuse(fd, ENOENT, "there is no such space");
		return;
	}
	fds[0] = memory(CKV_SPACE_STATS_BYTES, &stats);
	fds[1] = memory(ckv_index_bytes(N_BUCKETS), &memory_of_index);
	slab_fd = memory(2u << 20, &slab);
	memcpy(memory_of_index, &head, sizeof head);
	index.buckets = (void *)((char *)memory_of_index + CKV_INDEX_HEAD_BYTES);
	put_block(&index, SLOT_ROOT, 1, CKV_NONE, CKV_ENTRY_SUMMED);
	put_block(&index, SLOT_LEAF, 2, SLOT_ROOT, 0);
	put_block(&index, SLOT_LEAF + 1, 3, CKV_NONE, CKV_ENTRY_VIEW);
	/* Unasked, in between: must be stepped over. */
	answer(fd, &event, CKV_EVENT, sizeof event, NULL, 0);
	answer(fd, &message, CKV_ATTACHED, sizeof message, fds,
	       request->access == CKV_ACCESS_STATS ? 1 : 2);
	if (request->access != CKV_ACCESS_STATS)
		answer(fd, &slabs, CKV_SLABS, sizeof slabs, &slab_fd, 1);
	close(fds[0]);
	close(fds[1]);
	close(slab_fd);
}

static void *serve(void *unused)
{
	union {
		struct ckv_control_head head;
		struct ckv_attach attach;
		char bytes[CKV_CONTROL_BYTES_MAX];
	} m;
	int fd = accept4(fake.listener, NULL, NULL, SOCK_CLOEXEC);

	(void)unused;
	while (fd >= 0 && recv(fd, &m, sizeof m, 0) > 0) {
		if (fake.is_mute)
			continue;
		if (fake.is_dumb)
			(void)send(fd, "220 mail.example.org", 20, MSG_NOSIGNAL);
		else if (m.head.type == CKV_HELLO && fake.refuse_hello)
			refuse(fd, (uint32_t)fake.refuse_hello,
			       "the client is of version 3, ckvd 9.9 of 4");
		else if (m.head.type == CKV_HELLO)
			welcome(fd);
		else
			attached(fd, &m.attach);
	}
	close(fd);
	return NULL;
}

static void setup(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memset(&fake, 0, sizeof fake);
	folder_make(fake.folder);
	snprintf(fake.path, sizeof fake.path, "%s/s", fake.folder);
	fake.layout = CKV_LAYOUT_VERSION;
	fake.n_spaces_said = 1;
	snprintf(address.sun_path, sizeof address.sun_path, "%s", fake.path);
	fake.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fake.listener, (void *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(fake.listener, 4), 0);
	ck_assert_int_eq(pthread_create(&fake.thread, NULL, serve, NULL), 0);
}

static void teardown(void)
{
	shutdown(fake.listener, SHUT_RDWR);
	close(fake.listener);
	pthread_join(fake.thread, NULL);
}

/* Attaching gives world, stats, and the space's index, whole. */
START_TEST(an_observer_reads_the_index)
{
	struct observed_space space;
	struct scan_summary sum;
	struct observer o;

	ck_assert_int_eq(observer_open(fake.path, &o), 0);
	ck_assert(ckv_world_alive(o.world, o.welcome.epoch));
	ck_assert_int_eq(observer_attach(&o, "llama", CKV_ACCESS_READ, &space), 0);
	scan_summarise(&space.index, &sum);
	ck_assert_uint_eq(sum.n_blocks, 2);
	ck_assert_uint_eq(sum.n_views, 1);
	ck_assert_uint_eq(sum.n_tokens, 32);
	ck_assert_uint_eq(sum.n_summed, 1);
	ck_assert_uint_eq(sum.n_roots, 1);
	ck_assert_uint_eq(sum.n_leaves, 1);
	ck_assert_uint_eq(sum.n_orphans, 0);
	ck_assert_uint_eq(sum.depth_max, 2);
	ck_assert_uint_eq(sum.at_level[CKV_LEVEL_HOST], 3);
	observer_release(&space);
	observer_close(&o);
}
END_TEST

/* A watch copies the counters and says who serves. */
START_TEST(a_watch_copies_the_counters)
{
	struct watch watch;
	struct shot shot;

	ck_assert_int_eq(watch_open(fake.path, &watch), 0);
	watch_shot(&watch, &shot);
	ck_assert(shot.alive);
	ck_assert_str_eq(shot.head.loop, "hand");
	ck_assert_uint_eq(shot.n_spaces, 1);
	ck_assert(shot.spaces[0].known);
	ck_assert_str_eq(shot.spaces[0].row.name, "llama");
	shot_free(&shot);
	watch_close(&watch);
}
END_TEST

/* A space that is not there: the answer lists those that are. */
START_TEST(an_unknown_space_is_answered_with_a_list)
{
	struct observed_space space;
	struct observer o;

	ck_assert_int_eq(observer_open(fake.path, &o), 0);
	ck_assert_int_eq(observer_attach(&o, "lama", CKV_ACCESS_STATS, &space),
			 -ENOENT);
	ck_assert_str_eq(o.why, "there is no space 'lama' here. There is: llama");
	observer_close(&o);
}
END_TEST

/* Versions differ: both are named, whoever notices first. */
START_TEST(different_versions_are_both_named)
{
	struct observer o;

	fake.refuse_hello = EPROTONOSUPPORT;
	ck_assert_int_eq(observer_open(fake.path, &o), -EPROTONOSUPPORT);
	ck_assert_ptr_nonnull(strstr(o.why, "ckvd 9.9 of 4"));
	ck_assert_ptr_nonnull(strstr(o.why, "this is ckv " CKV_VERSION));
}
END_TEST

START_TEST(a_different_layout_is_named)
{
	struct observer o;

	fake.layout = CKV_LAYOUT_VERSION + 1;
	ck_assert_int_eq(observer_open(fake.path, &o), -EPROTONOSUPPORT);
	ck_assert_ptr_nonnull(strstr(o.why, "the daemon is ckvd 9.9"));
	ck_assert_ptr_nonnull(strstr(o.why, "this is ckv " CKV_VERSION));
}
END_TEST

/* Counts that would reach beyond the memory are refused. */
START_TEST(stats_that_do_not_fit_their_memory_are_refused)
{
	struct observer o;

	fake.n_spaces_said = 4000;
	ck_assert_int_eq(observer_open(fake.path, &o), -EPROTO);
	ck_assert_ptr_nonnull(strstr(o.why, "damaged"));
}
END_TEST

/* Another program at the socket is not taken for a daemon. */
START_TEST(another_program_is_told_from_a_daemon)
{
	struct observer o;

	fake.is_dumb = true;
	ck_assert_int_eq(observer_open(fake.path, &o), -EPROTO);
	ck_assert_ptr_nonnull(strstr(o.why, "talking to the daemon failed"));
}
END_TEST

/* A daemon that is stopped is there; to start another one does not help. */
START_TEST(a_mute_daemon_is_explained)
{
	struct observer o;

	fake.is_mute = true;
	connect_timeout_ms = 50;
	ck_assert_int_eq(observer_open(fake.path, &o), -ETIMEDOUT);
	ck_assert_ptr_nonnull(strstr(o.why, "the daemon is there but does not answer"));
	ck_assert_ptr_nonnull(strstr(o.why, "ps -o pid,stat"));
}
END_TEST

/* No daemon: the text says where it was looked for and how to start it. */
START_TEST(an_absent_daemon_is_explained)
{
	struct observer o;

	ck_assert_int_eq(observer_open("/nonexistent/s", &o), -ENOENT);
	ck_assert_ptr_nonnull(strstr(o.why, "no daemon at /nonexistent/s"));
	ck_assert_ptr_nonnull(strstr(o.why, "ckvd --config"));
	ck_assert_ptr_nonnull(strstr(o.why, "its folder /nonexistent does not exist"));
	ck_assert_int_lt(observer_open("/etc/passwd", &o), 0);
	ck_assert_ptr_nonnull(strstr(o.why, "/etc/passwd is a file, not a socket"));
	if (geteuid() == 0) {	/* and whatever this user may do with it */
		ck_assert_int_eq(seteuid(65534), 0);
		ck_assert_int_eq(observer_open("/etc/passwd", &o), -EACCES);
		ck_assert_ptr_nonnull(strstr(o.why, "/etc/passwd is a file, not a socket"));
		ck_assert_int_eq(seteuid(0), 0);
	}
	ck_assert_int_lt(observer_open("/etc", &o), 0);
	ck_assert_ptr_nonnull(strstr(o.why, "/etc is a folder, not a socket"));
	ck_assert_int_lt(observer_open("/etc/passwd/sock", &o), 0);
	ck_assert_ptr_nonnull(strstr(o.why, "a part of the path is not a folder"));
	ck_assert_int_lt(observer_open("/etc/ckv-none.sock", &o), 0);
	ck_assert_ptr_nonnull(strstr(o.why, "the socket does not exist"));
}
END_TEST

/* What a user is told whom the socket, of this group and mode, keeps out. */
static void refused_text(gid_t gid, mode_t mode, uid_t uid, struct observer *o)
{
	chmod(fake.folder, 0755);
	ck_assert_int_eq(chown(fake.path, 0, gid), 0);
	ck_assert_int_eq(chmod(fake.path, mode), 0);
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setegid(65533), 0);
	ck_assert_int_eq(seteuid(uid), 0);
	ck_assert_int_eq(observer_open(fake.path, o), -EACCES);
	ck_assert_int_eq(seteuid(0), 0);
}

/*
 * Not permitted: the text names owner and group, and advises to join the group where
 * that helps and gives no more than the socket.
 */
START_TEST(a_forbidden_socket_names_its_group)
{
	struct observer o;

	if (!CHECK_IS_ROOT()) {
		chmod(fake.path, 0);
		ck_assert_int_eq(observer_open(fake.path, &o), -EACCES);
		ck_assert_ptr_nonnull(strstr(o.why, "may not connect"));
		return;
	}
	/* A group that exists everywhere and may nothing: mail. */
	refused_text(8, 0660, 65534, &o);
	ck_assert_ptr_nonnull(strstr(o.why, "belongs to root, group mail, mode 0660"));
	ck_assert_ptr_nonnull(strstr(o.why, "join the group ('usermod -aG mail nobody'"));
	/* The group's members may not connect either. */
	refused_text(8, 0600, 65534, &o);
	ck_assert_ptr_null(strstr(o.why, "join"));
	ck_assert_ptr_nonnull(strstr(o.why, "socket_group = GROUP and socket_mode = 0660 "
				     "in ckvd.conf, with user nobody in GROUP"));
	/* Nobody shall become a member of root for a cache. */
	refused_text(0, 0660, 65534, &o);
	ck_assert_ptr_nonnull(strstr(o.why, "belongs to root, group root, mode 0660"));
	ck_assert_ptr_null(strstr(o.why, "join"));
	ck_assert_ptr_nonnull(strstr(o.why, "socket_group = GROUP"));
	/* A user whose group it is, in a process that is not in it. */
	refused_text(65534, 0660, 65534, &o);
	ck_assert_ptr_nonnull(strstr(o.why, "user nobody is in group nogroup now"));
	/* The folder. */
	ck_assert_int_eq(chmod(fake.folder, 0700), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(observer_open(fake.path, &o), -EACCES);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_ptr_null(strstr(o.why, "join"));
	ck_assert_ptr_nonnull(strstr(o.why, "by another socket in ckvd.conf"));
}
END_TEST

/* No descriptor is left open by attaching, refused or not. */
START_TEST(observing_leaks_no_descriptor)
{
	struct observed_space space;
	struct observer o;
	int before = dup(0), after;

	close(before);
	ck_assert_int_eq(observer_open(fake.path, &o), 0);
	ck_assert_int_eq(observer_attach(&o, "lama", CKV_ACCESS_READ, &space),
			 -ENOENT);
	ck_assert_int_eq(observer_attach(&o, "llama", CKV_ACCESS_READ, &space), 0);
	observer_release(&space);
	observer_close(&o);
	after = dup(0);
	close(after);
	/* The fake's end of the connection may still be open. */
	ck_assert_int_le(after, before + 1);
}
END_TEST

CHECK_MAIN("cli_observe",
	CASE("all", .setup = setup, .teardown = teardown),
	TEST(an_observer_reads_the_index),
	TEST(a_watch_copies_the_counters),
	TEST(an_unknown_space_is_answered_with_a_list),
	TEST(different_versions_are_both_named),
	TEST(a_different_layout_is_named),
	TEST(stats_that_do_not_fit_their_memory_are_refused),
	TEST(another_program_is_told_from_a_daemon),
	TEST(a_mute_daemon_is_explained),
	TEST(an_absent_daemon_is_explained),
	TEST(a_forbidden_socket_names_its_group),
	TEST(observing_leaks_no_descriptor))
